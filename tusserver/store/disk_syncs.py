"""Syncs of several files and directories at once, awaited by the event loop, done by threads.

The kernel's own workers do the same for less (`kernel_syncs`), where it lets us.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tusserver.store import filesystem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.store.calls import Calls

_THREADS = 4
"""More wait better for the disk, and worse for the interpreter, which they all want afterwards."""


class Job(NamedTuple):
    """One sync: of a file's bytes and size only, or of all that is known of it."""

    descriptor: int
    is_data_only: bool = False


class DiskSyncs(Protocol):
    """Brings files and directories to the disk."""

    def all(self, jobs: Sequence[Job]) -> asyncio.Future[list[OSError | None]]:
        """Ends when each of these is on the disk or has failed, and tells which.

        Of a file whose sync has failed nobody knows what is on the disk, and no later sync can be
        believed. The descriptors must stay open until the end.
        """
        ...

    def close(self) -> None:
        """To be called when nothing is under way."""
        ...


class ThreadSyncs:
    """Syncs done by a few threads, each with its share."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def all(self, jobs: Sequence[Job]) -> asyncio.Future[list[OSError | None]]:
        return asyncio.ensure_future(self._all(jobs))

    async def _all(self, jobs: Sequence[Job]) -> list[OSError | None]:
        loop = asyncio.get_running_loop()
        shares = [jobs[start::_THREADS] for start in range(min(_THREADS, len(jobs)))]
        found: list[OSError | None] = [None] * len(jobs)
        parts = [loop.run_in_executor(self._calls.threads, _sync_all, share) for share in shares]
        for start, part in enumerate(parts):
            found[start::_THREADS] = await part
        return found

    def close(self) -> None:
        """The threads are another's."""


def _sync_all(jobs: Sequence[Job]) -> list[OSError | None]:
    return [_sync(job) for job in jobs]


def _sync(job: Job) -> OSError | None:
    try:
        if job.is_data_only:
            filesystem.sync_data(job.descriptor)
        else:
            os.fsync(job.descriptor)
    except OSError as error:
        return error
    return None
