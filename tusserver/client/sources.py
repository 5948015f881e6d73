"""What is to be sent: files, folders with all that is in them, and standard input."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.client.answers import printable
from tusserver.client.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `path` is None for standard input; `size` is in bytes, None for unknown.

    `filename` and `destination` are what the server is told.
    """

    path: Path | None
    filename: str
    destination: str
    size: int | None

    @property
    def label(self) -> str:
        """How people know it, harmless to a terminal."""
        return printable(_text(str(self.path))) if self.path is not None else "standard input"

    @property
    def metadata(self) -> dict[str, str]:
        """For `Upload-Metadata`."""
        found = {"filename": self.filename}
        if self.destination:
            found["destination"] = self.destination
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """The files, each once, and sentences about what is left out."""

    sources: tuple[Source, ...]
    left_out: tuple[str, ...]


def find(names: tuple[str, ...], destination: str = "", stdin_name: str = "stdin") -> Found:
    """Looks at what the user named. A folder brings its name along (`run1` gives `run1/a/b`), but
    not with a slash behind it, as rsync has it. Raises Unreadable.
    """
    sources: dict[tuple[Path | None, str], Source] = {}
    left_out: list[str] = []
    for name in names:
        for found in _found(name, destination, stdin_name, left_out):
            sources.setdefault((found.path, found.destination), found)
    return Found(tuple(sources.values()), tuple(left_out))


def _found(name: str, destination: str, stdin_name: str, left_out: list[str]) -> Iterator[Source]:
    if name == STDIN:
        yield Source(None, stdin_name, destination, None)
        return
    path = Path(name)
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(f"cannot read {name}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        root = "" if name.endswith(("/", "/.")) or name in (".", "..") else path.name
        yield from _tree(path, Path(destination, root), left_out)
    elif stat.S_ISREG(status.st_mode):
        yield _file(path, destination, status.st_size)
    else:
        raise Unreadable(f"{name} is neither a file nor a folder")


def _tree(root: Path, destination: Path, left_out: list[str]) -> Iterator[Source]:
    """All files below, in the order of their names. Links to folders are not followed: they may
    lead in a circle.
    """

    def refuse(error: OSError) -> None:
        raise Unreadable(f"cannot read {error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders.sort()
        below = Path(folder)
        left_out += [
            f"{printable(_text(str(below / name)))} is a link to a folder"
            for name in folders
            if (below / name).is_symlink()
        ]
        where = destination / below.relative_to(root)
        for name in sorted(files):
            try:
                status = (below / name).stat()
            except OSError as error:
                raise Unreadable(f"cannot read {below / name}: {error.strerror}") from error
            if stat.S_ISREG(status.st_mode):
                yield _file(below / name, "" if where == Path() else str(where), status.st_size)
            else:
                left_out.append(f"{printable(_text(str(below / name)))} is no file")


def _file(path: Path, destination: str, size: int) -> Source:
    return Source(path, _text(path.name), _text(destination), size)


def _text(name: str) -> str:
    """Bytes of a name that are no UTF-8 become question marks, since metadata has to be text."""
    return os.fsencode(name).decode("utf-8", "replace")
