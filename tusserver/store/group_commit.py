"""Brings what uploads have been promised to the disk: of all that want it at the same time
together.

A commit has up to three steps, each of which is over before the next begins: the bytes and the new
record are synced; the record takes its place; the directory is synced. What is gathered while one
batch of commits goes through them is the next batch: it syncs its files side by side, and each
directory once for all the records that have taken their places in it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.store import filesystem
from tusserver.store.calls import Placement
from tusserver.store.disk_syncs import Job, ThreadSyncs
from tusserver.store.kernel_syncs import KernelSyncs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tusserver.store.calls import Calls
    from tusserver.store.disk_syncs import DiskSyncs
    from tusserver.store.filesystem import Staged


class DataNotSynced(OSError):
    """The bytes did not get to the disk, and no later sync of them can be believed."""


class EntriesNotSynced(OSError):
    """The directory did not get to the disk: the record has taken its place, but may lose it."""


@dataclass(slots=True, eq=False)
class _Commit:
    staged: Staged | None
    data: int | None
    directory: str | None
    done: asyncio.Future[None]
    error: OSError | None = None


class GroupCommit:
    """The commits of one store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._syncs: DiskSyncs = ThreadSyncs(calls)
        self._gathered: list[_Commit] = []
        self._batch: list[_Commit] = []
        self._working: asyncio.Task[None] | None = None

    def start(self, directory: Path) -> None:
        """Chooses how files on the file system of this directory are synced. Raises OSError."""
        by_kernel = None
        if self._calls.placement is not Placement.THREADS:
            by_kernel = KernelSyncs.open(directory)
        self._syncs = by_kernel or ThreadSyncs(self._calls)

    async def close(self) -> None:
        """Waits for the commits that are under way."""
        while self._working is not None:
            await asyncio.wait((self._working,))
        self._syncs.close()
        self._syncs = ThreadSyncs(self._calls)

    async def commit(
        self,
        staged: Staged | None = None,
        *,
        data: int | None = None,
        directory: str | None = None,
    ) -> None:
        """Returns when the data file of this descriptor and the staged file were on the disk, the
        staged file has taken its place since, and the entries of this directory have got to the
        disk after that.

        Goes on when it is cancelled; CancelledError then means that all is done. Raises OSError:
        DataNotSynced, EntriesNotSynced, or another one, after which nothing has changed. The staged
        file is used up in any case.
        """
        if sys.platform == "win32":
            directory = None  # Directories cannot be opened there; NTFS journals them.
        loop = asyncio.get_running_loop()
        commit = _Commit(staged, data, directory, loop.create_future())
        self._gathered.append(commit)
        if self._working is None:
            self._working = loop.create_task(self._work())
            self._working.add_done_callback(self._ended)
        await _uncancelled(commit.done)

    async def _work(self) -> None:
        while self._gathered:
            self._batch, self._gathered = self._gathered, []
            await self._commit_all(self._batch)
        # At once: the next commit may come before anybody is told that this task has ended.
        self._working = None

    def _ended(self, working: asyncio.Task[None]) -> None:
        error = None if working.cancelled() else working.exception()
        if error is None and not working.cancelled():
            return
        self._working = None
        # Nobody must wait for ever.
        for commit in (*self._batch, *self._gathered):
            if not commit.done.done():
                commit.done.set_exception(error or RuntimeError("the commits were cancelled"))
        self._gathered = []

    async def _commit_all(self, batch: Sequence[_Commit]) -> None:
        await self._sync_files(batch)
        await self._calls.make(_put_all, batch)
        _tell([commit for commit in batch if commit.error is not None or not commit.directory])
        await self._sync_directories([commit for commit in batch if not commit.done.done()])

    async def _sync_files(self, batch: Sequence[_Commit]) -> None:
        jobs, owners = [], []
        for commit in batch:
            if commit.data is not None:
                jobs.append(Job(commit.data, is_data_only=True))
                owners.append(commit)
            if commit.staged is not None:
                jobs.append(Job(commit.staged.descriptor))
                owners.append(commit)
        if not jobs:
            return
        errors = await self._syncs.all(jobs)
        for job, commit, error in zip(jobs, owners, errors, strict=True):
            if error is None:
                continue
            if job.is_data_only:
                commit.error = DataNotSynced(error.errno, error.strerror)
            elif commit.error is None:
                commit.error = error

    async def _sync_directories(self, batch: Sequence[_Commit]) -> None:
        opened, failed = _open_all({commit.directory for commit in batch if commit.directory})
        try:
            jobs = [Job(descriptor) for descriptor in opened.values()]
            errors = await self._syncs.all(jobs) if jobs else []
        finally:
            for descriptor in opened.values():
                os.close(descriptor)
        failed.update(zip(opened, errors, strict=True))
        for commit in batch:
            error = failed[commit.directory or ""]
            if error is not None:
                commit.error = EntriesNotSynced(error.errno, error.strerror)
        _tell(batch)


def _open_all(directories: Iterable[str]) -> tuple[dict[str, int], dict[str, OSError | None]]:
    """The descriptors, and what became of those that cannot be opened."""
    opened: dict[str, int] = {}
    failed: dict[str, OSError | None] = {}
    for directory in directories:
        try:
            opened[directory] = filesystem.open_directory(directory)
        except OSError as error:
            failed[directory] = error
    return opened, failed


def _put_all(batch: Sequence[_Commit]) -> None:
    """One after another in the order of their coming."""
    for commit in batch:
        if commit.staged is None:
            continue
        try:
            if commit.error is None:
                commit.staged.put()
            else:
                commit.staged.discard()
        except OSError as error:
            commit.error = commit.error or error


def _tell(commits: Sequence[_Commit]) -> None:
    for commit in commits:
        if commit.error is None:
            commit.done.set_result(None)
        else:
            commit.done.set_exception(commit.error)


async def _uncancelled(done: asyncio.Future[None]) -> None:
    """Waits for the end, also while it is being cancelled; an error goes before that."""
    try:
        await asyncio.shield(done)
    except asyncio.CancelledError:
        while not done.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((done,))
        done.result()
        raise
