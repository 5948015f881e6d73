"""What may be on a disk after a loss of power, by the rules of POSIX and nothing more.

What a completed fsync or fdatasync of a file covers (its bytes and its size), and a completed fsync
of a directory (its entries), is there. Everything else that had been asked for by then may be there
or not, each for itself and in no order: an entry is the old or the new one, each page of a write is
old, zero or new, a size is any that the file has had since. The model knows nothing of journals,
which promise more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tests.e2e.disk_model import (
    Change,
    Directory,
    Disk,
    Entry,
    File,
    Node,
    Resize,
    Write,
    apply,
    resize,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PAGE = 4096
Fate = Literal["old", "zero", "new", "mixed"]
"""What has become of a change that was not synced; of an entry `old` or not."""
Tree = dict[str, bytes | None]
"""Paths and their contents; None for a directory."""


class Crash:
    """The power is lost at this moment: what was asked for by then, and what of it is certain."""

    def __init__(self, disk: Disk, moment: int) -> None:
        self._disk = disk
        self._moment = moment

    def pending(self) -> list[Change]:
        """The changes that may be there or not, those asked for last at the end."""
        found: list[Change] = []
        nodes: list[Node] = [self._disk.root]
        seen: set[int] = set()
        while nodes:
            node = nodes.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, Directory):
                issued = [entry for entry in node.changes if entry.begun <= self._moment]
                found += self._uncertain(node, issued)
                nodes += [entry.node for entry in issued if entry.node is not None]
            elif isinstance(node, File):
                found += self._uncertain(node, node.changes)
        return sorted(found, key=lambda change: change.begun)

    def _uncertain(self, node: Node, changes: Iterable[Change]) -> Iterator[Change]:
        until = node.synced_until(self._moment)
        return (
            change for change in changes if until <= change.done and change.begun <= self._moment
        )

    def tree(self, fate: Callable[[Change], Fate], size: Callable[[list[int]], int | None]) -> Tree:
        """The disk when each pending change meets its fate.

        `size` may choose among the sizes that a file has had, instead of the one that follows.
        """
        found: Tree = {}
        self._grow(found, "", self._disk.root, fate, size)
        return found

    def _grow(
        self,
        tree: Tree,
        path: str,
        directory: Directory,
        fate: Callable[[Change], Fate],
        size: Callable[[list[int]], int | None],
    ) -> None:
        pending = set(self._uncertain(directory, directory.changes))
        entries: dict[str, Node | None] = {}
        for entry in directory.changes:
            is_issued = entry.begun <= self._moment
            if is_issued and (entry not in pending or fate(entry) != "old"):
                entries[entry.name] = entry.node
        for name, node in sorted(entries.items()):
            if isinstance(node, Directory):
                tree[path + name] = None
                self._grow(tree, f"{path}{name}/", node, fate, size)
            elif isinstance(node, File):
                tree[path + name] = self._content(node, fate, size)

    def _content(
        self,
        file: File,
        fate: Callable[[Change], Fate],
        size: Callable[[list[int]], int | None],
    ) -> bytes:
        pending = list(self._uncertain(file, file.changes))
        certain = sum(change.begun <= self._moment for change in file.changes) - len(pending)
        content = bytearray(file.base(certain))
        now = bytearray(content)
        sizes = [len(content)]
        for change in pending:
            assert not isinstance(change, Entry)
            apply(now, change)
            sizes.append(len(now))
            _partly(content, change, fate(change))
        chosen = size(sizes) if pending else None
        if chosen is not None:
            resize(content, chosen)
        return bytes(content)


def _partly(content: bytearray, change: Write | Resize, fate: Fate) -> None:
    if fate == "old":
        return
    if isinstance(change, Resize):
        resize(content, change.size)
        return
    resize(content, max(len(content), change.offset + len(change.data)))
    for number, start in enumerate(range(0, len(change.data), PAGE)):
        piece = change.data[start : start + PAGE]
        # Mixed: which pages make it is as good as random, and must be the same for the same state.
        outcome = fate if fate != "mixed" else ("new", "zero", "old")[(number + change.done) % 3]
        offset = change.offset + start
        if outcome == "new":
            content[offset : offset + len(piece)] = piece
        elif outcome == "zero":
            content[offset : offset + len(piece)] = bytes(len(piece))
