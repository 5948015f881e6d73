"""Where finished files go: the destinations, and the quarantine."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.directory import MAKE, explain, in_thread
from tusserver.store import filesystem
from tusserver.store.copying import COPIED
from tusserver.store.placing import CLAIMED

if TYPE_CHECKING:
    from tusserver.store.file_layout import Layout
    from tusserver.store.placing import Placer

_CONTENT = b"A check of tusserver; may be removed.\n"


def place_check(layout: Layout, placer: Placer, *, in_folders: bool) -> Check:
    """Moves a file to the root of the destinations, as finished uploads are. `in_folders`: they go
    to folders below it, which may be there already.
    """

    def place() -> Found:
        name, steps = f".tusserver-check-{secrets.token_hex(8)}", list[str]()
        source = _new_file(layout)
        try:
            placer.place(
                Path(source), (), name, name, None, lambda intent: None,
                on_step=steps.append,
            )  # fmt: skip
        except PermissionError as error:
            if not in_folders:
                raise Lacking(f"{placer.root}: {error.strerror}", _RIGHTS) from error
            text = f"no new folder can be made in {placer.root}"
            return Found(text, "folders that are there already were not tried", is_note=True)
        except OSError as error:
            raise explain(error) from error
        finally:
            for left in (placer.root / name, placer.root / f".{name}.part"):
                with suppress(OSError):
                    filesystem.remove(str(left))
            filesystem.remove(source)
        return _told(placer.root, steps)

    return Check("place a finished file", in_thread(place), after=(MAKE,))


_RIGHTS = "let the server's user write there, and be in the group of --destination-group"


def _new_file(layout: Layout) -> str:
    path = layout.new_temporary("check")
    descriptor = filesystem.open_file(path, layout.file_mode, create=True)
    try:
        filesystem.write_at(descriptor, [_CONTENT], 0)
    finally:
        os.close(descriptor)
    return path


def _told(root: Path, steps: list[str]) -> Found:
    if COPIED in steps:
        advice = "on the file system of the uploads they would only be renamed"
        text = f"{root} is on another file system: finished files are copied"
        return Found(text, advice, is_note=True)
    if CLAIMED in steps:
        advice = "after a crash an empty file may stay where one was about to be placed"
        return Found("without hard links and exclusive renames", advice, is_note=True)
    return Found(f"in {root}, without copying")


def quarantine_check(layout: Layout, directory: Path) -> Check:
    """Writes where infected files are kept."""

    def write() -> Found:
        was_there = directory.is_dir()
        os.makedirs(directory, 0o700, exist_ok=True)
        path = str(directory / f"check.{secrets.token_hex(8)}")
        try:
            os.close(filesystem.open_file(path, create=True))
            is_near = directory.stat().st_dev == layout.root.stat().st_dev
        finally:
            filesystem.remove(path)
            if not was_there:
                directory.rmdir()
        return Found(f"in {directory}" + ("" if is_near else ", by copying"))

    return Check("keep infected files", in_thread(write), after=(MAKE,))
