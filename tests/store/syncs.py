"""Looks over the shoulder of a store that syncs, and lets some of its syncs fail."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tusserver.store.disk_syncs import DiskSyncs, Job
from tusserver.store.file import FileStore


class WatchedSyncs:
    """Passes jobs on, after it has noted what they are for.

    `fails` says of a path whether its sync shall fail; `gate` holds every batch up until it is set.
    """

    Fails = Callable[[Path], bool]

    def __init__(self, syncs: DiskSyncs) -> None:
        self._syncs = syncs
        self.batches: list[list[str]] = []
        self.fails: WatchedSyncs.Fails = lambda path: False
        self.error = errno.EIO
        self.gate = asyncio.Event()
        self.gate.set()

    def all(self, jobs: Sequence[Job]) -> asyncio.Future[list[OSError | None]]:
        return asyncio.ensure_future(self._all(jobs))

    async def _all(self, jobs: Sequence[Job]) -> list[OSError | None]:
        paths = [Path(os.readlink(f"/proc/self/fd/{job.descriptor}")) for job in jobs]
        self.batches.append(sorted(kind_of(path) for path in paths))
        await self.gate.wait()
        errors = await self._syncs.all(jobs)
        return [
            OSError(self.error, "told to fail") if self.fails(path) else error
            for path, error in zip(paths, errors, strict=True)
        ]

    def close(self) -> None:
        self._syncs.close()


def kind_of(path: Path) -> str:
    """What is synced here: `data` of an upload, a `record` before it takes its place, or the
    `directory`.
    """
    if path.is_dir():
        return "directory"
    return "record" if path.parent.name == "tmp" or path.suffix == ".info" else "data"


def is_data(path: Path) -> bool:
    return kind_of(path) == "data"


def is_record(path: Path) -> bool:
    return kind_of(path) == "record"


def watch(store: FileStore) -> WatchedSyncs:
    """From now on, for a store that has been started."""
    watched = WatchedSyncs(store._commits._syncs)
    store._commits._syncs = watched
    return watched
