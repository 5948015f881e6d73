"""Walks through a directory of uploads, however many there are: nothing is read or kept of them but
their names.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.store.file_layout import INFO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.store.file_layout import Layout


def walk(layout: Layout, *suffixes: str) -> Iterator[tuple[str, str]]:
    """The files of uploads that end in one of these suffixes, as id and suffix, in any order; what
    comes or goes meanwhile may be among them or not. Raises OSError.
    """
    folders = [""]
    while folders:
        prefix = folders.pop()
        # Below the root there may be what is not ours to read, as lost+found.
        passed = (FileNotFoundError, PermissionError) if prefix else (FileNotFoundError,)
        with suppress(*passed), os.scandir(layout.root / prefix) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{prefix}{name}/")
                elif name.endswith(suffixes):
                    stem, dot, suffix = name.rpartition(".")
                    # Other programs' files may be named like records.
                    if layout.is_possible(upload_id := prefix + stem):
                        yield upload_id, dot + suffix


def ids(layout: Layout) -> Iterator[str]:
    """The ids of all uploads: whatever has a record."""
    for upload_id, _ in walk(layout, INFO):
        yield upload_id
