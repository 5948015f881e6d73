"""Uploads as files in one directory, in tusd's format both ways; the paths are told in file_layout,
crashes in file_folder.

**The offset is the size of the data file.** The record changes only when the upload's nature does,
and when it is noted how far the bytes have been brought to the disk. What a reply promises about a
loss of power is set by `Sync`; a killed process loses nothing that the kernel has, whatever the
setting.

Every blocking operation runs as one whole step in a thread of the store's own. While one batch of
buffers is being written the next is gathered from the client, so that batches grow with the speed
of the client and memory stays bounded.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import TusError, UploadNotFound
from tusserver.protocol.upload import Partial
from tusserver.store import direct_io, file_quarantine, file_walk, filesystem
from tusserver.store.base import Appended
from tusserver.store.buffers import BufferPool
from tusserver.store.calls import Calls, Placement
from tusserver.store.direct_io import LARGE, DirectIO
from tusserver.store.file_folder import UploadFolder
from tusserver.store.file_inspection import Inspection
from tusserver.store.file_layout import Layout
from tusserver.store.file_survey import Survey
from tusserver.store.file_writer import LARGE_BUFFER, DirectWriter, StreamWriter
from tusserver.store.filesystem import storage_errors
from tusserver.store.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
        Sequence,
    )

    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.decision import Append
    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Body, Finding, Known, Mark, Surveyed
    from tusserver.store.file_places import Places
    from tusserver.store.file_session import AppendSession
    from tusserver.store.filesystem import Staged
    from tusserver.store.placing import Placer

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")

_READ_SIZE = 512 * 1024
_IDS_PER_STEP = 256


class Sync(Enum):
    """What survives a loss of power."""

    NONE = "none"
    """Nothing is promised; nothing is ever synced."""
    FINISH = "finish"
    """A finished upload is on the disk before its last reply; an unfinished one goes back to its
    last background sync, and is gone if there has been none.
    """
    PATCH = "patch"
    """Every acknowledged byte is on the disk before its reply."""


@dataclass(frozen=True, slots=True)
class FileStoreOptions:
    """How a FileStore works. Modes are those of new files and directories, before the umask of the
    process. `placer` knows where finished uploads go; None: they stay.
    """

    sync: Sync = Sync.FINISH
    file_mode: int = 0o664
    directory_mode: int = 0o775
    calls: Placement = Placement.AUTO
    direct_io: DirectIO = DirectIO.OFF
    placer: Placer | None = None


class FileStore:
    """One directory of uploads, shared by any number of processes of one host that share a locker.

    `boot_id` tells one run of the kernel from the next; given only by tests that play a loss of
    power.
    """

    def __init__(
        self,
        directory: Path,
        options: FileStoreOptions | None = None,
        *,
        boot_id: str | None = None,
    ) -> None:
        options = options or FileStoreOptions()
        keeps_notes = options.sync is not Sync.NONE
        # Without links and dots, so that a path in a record can be compared with it.
        root = Path(os.path.realpath(directory))
        self._layout = Layout(root, keeps_notes, options.file_mode, options.directory_mode)
        self._folder = UploadFolder(
            self._layout,
            keeps_notes=keeps_notes,
            syncs_each_append=options.sync is Sync.PATCH,
            boot_id=filesystem.boot_id() if boot_id is None else boot_id,
        )
        self._inspection = Inspection(self._folder)
        self._survey = Survey(self._folder, self._inspection)
        self._places: Places | None = None
        if options.placer is not None:
            from tusserver.store.file_places import Places

            self._places = Places(self._folder, options.placer)
        self._calls = Calls(options.calls)
        self._commits = GroupCommit(self._calls)
        self._direct_io = options.direct_io
        self._buffers = BufferPool(LARGE_BUFFER)
        self._on_stored: Callable[[str, int], None] | None = None

    async def start(self) -> None:
        """Creates the directory if it is missing.

        Raises StoreUnusable when it cannot be written.
        """
        await self._call(self._folder.prepare)
        if self._layout.durable:
            self._commits.start(self._layout.root)
        self._direct_io = await self._call(direct_io.settle, self._direct_io, self._layout)

    async def close(self) -> None:
        """Waits for the commits that are under way; the store may be started again."""
        await self._commits.close()
        self._calls.close()

    async def _call(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """One whole operation in one thread."""
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._calls.threads, call)

    def _quick_call(
        self, is_quick: bool, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
    ) -> Awaitable[_R]:
        """One whole operation, on the event loop if it is a quick one and the file system fast."""
        call = self._calls.make if is_quick else self._call
        return call(function, *args, **kwargs)

    async def create(self, upload: Upload) -> Upload:
        if not self._layout.has_folder(upload.upload_id):
            await self._call(self._make_folder, upload.upload_id)
        if not self._layout.durable:
            return await self._calls.make(self._folder.create, upload)
        creation = await self._calls.make(self._folder.begin_creation, upload)
        # The first note of an upload makes its entries certain, too; until then it may get lost.
        is_promised = self._folder.syncs_each_append or creation.upload.is_finished
        directory = os.path.dirname(creation.record.path) if is_promised else None
        with storage_errors():
            try:
                await self._commits.commit(creation.record, directory=directory)
                await self._calls.make(creation.create_data)
                if directory is not None:
                    await self._commits.commit(directory=directory)
            except OSError as error:
                await self._call(creation.undo, error)
                raise
        return creation.upload

    def _make_folder(self, upload_id: str) -> None:
        with storage_errors():
            self._layout.make_folder(upload_id)

    async def get(self, upload_id: str, *, is_held: bool = False) -> Upload:
        return await self._quick_call(True, self._folder.load, upload_id, is_held=is_held)

    async def open(self, upload_id: str) -> Upload:
        return await self._call(self._folder.open, upload_id)

    async def append(
        self, upload: Upload, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        is_quick = self._folder.begins_at_once(upload)
        session = await self._quick_call(is_quick, self._folder.begin_append, upload, plan)
        if self._writes_past_cache(upload, plan):
            session.write_past_cache()
        if self._on_stored is not None:
            session.on_stored(self._on_stored)
        writer = (
            StreamWriter(session, self._calls, body)
            if body.direct is None
            else DirectWriter(session, self._calls, body.direct, self._buffers)
        )
        late = None
        try:
            outcome = await writer.write_all()
        except BaseException:
            await writer.settle()
            await self._call(session.abandon, keeps_prefix=plan.keeps_prefix)
            raise
        try:
            if outcome is Outcome.COMPLETE and plan.trailer is not Trailer.ABSENT:
                late = late_checksum()
        except TusError:
            await self._call(session.abandon, keeps_prefix=False)
            raise
        is_quick = session.completes_at_once
        completed = await self._quick_call(is_quick, session.complete, outcome, late)
        if isinstance(completed, Appended):
            return completed
        return await self._commit(session, completed)

    async def _commit(self, session: AppendSession, note: Staged) -> Appended:
        with storage_errors():
            try:
                await self._commits.commit(
                    note, data=session.descriptor, directory=os.path.dirname(note.path)
                )
            except OSError as error:
                await self._call(session.failed, error)
                raise
            except BaseException:
                session.committed()
                raise
        return await self._calls.make(session.committed)

    def on_stored(self, listener: Callable[[str, int], None]) -> None:
        self._on_stored = listener

    def _writes_past_cache(self, upload: Upload, plan: Append) -> bool:
        if self._direct_io is not DirectIO.AUTO:
            return self._direct_io is DirectIO.ON
        # Partial uploads are soon read again, to be joined.
        is_large = plan.expected is not None and plan.expected >= LARGE
        return is_large and not isinstance(upload.concat, Partial)

    async def read(self, upload: Upload, start: int, end: int) -> AsyncGenerator[bytes, None]:
        opening = asyncio.ensure_future(self._call(self._open_for_reading, upload.upload_id))
        try:
            descriptor = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        try:
            while start < end:
                size = min(_READ_SIZE, end - start)
                buffer = await self._call(_read_at, descriptor, size, start)
                if not buffer:
                    raise UploadNotFound
                start += len(buffer)
                yield buffer
        finally:
            os.close(descriptor)

    def _open_for_reading(self, upload_id: str) -> int:
        with storage_errors():
            record, _ = self._layout.read_record(upload_id)
            finish = record.tusserver.finish
            if finish is not None and finish.place:
                if self._places is None:
                    raise UploadNotFound
                return self._places.open(finish, record.size)
            return filesystem.open_file(self._layout.data(upload_id, record), read_only=True)

    async def place(
        self,
        upload: Upload,
        folders: Sequence[str],
        name: str,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Upload:
        assert self._places is not None
        return await self._call(self._places.place, upload, folders, name, on_step)

    async def set_aside(self, upload: Upload, directory: str) -> None:
        await self._call(file_quarantine.set_aside, self._folder, upload.upload_id, directory)

    async def record_finish(self, upload: Upload, finish: Finish) -> Upload:
        return await self._call(self._folder.record_finish, upload, finish)

    async def descriptor(self, upload: Upload) -> int:
        return await self._call(self._open_for_reading, upload.upload_id)

    def ids(self) -> AsyncIterator[str]:
        return self._iterate(file_walk.ids(self._layout))

    async def _iterate(
        self, items: Iterator[_T], per_step: int = _IDS_PER_STEP
    ) -> AsyncIterator[_T]:
        """The items of a blocking iterator, so many per step in a thread."""

        while batch := await self._call(_next_batch, items, per_step):
            for item in batch:
                yield item

    async def terminate(self, upload_id: str) -> None:
        await self._call(self._folder.terminate, upload_id)

    async def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        return await self._call(self._folder.concatenate, upload, partials)

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        await self._call(self._folder.await_partials, upload, partials)

    async def waiting_for(self, partial_id: str) -> Sequence[str]:
        return await self._call(self._folder.waiting_for, partial_id)

    async def sync(self, upload_id: str) -> None:
        await self._call(self._folder.sync, upload_id)

    def findings(self) -> AsyncIterator[Finding]:
        return self._iterate(self._inspection.findings())

    async def mark(self) -> Mark | None:
        return await self._call(self._survey.mark)

    def survey(
        self, wants: Callable[[Upload], bool], known: Known | None = None
    ) -> AsyncIterator[Surveyed]:
        return self._iterate(self._survey.steps(wants, known), per_step=1)

    async def mend(self, finding: Finding) -> bool:
        return await self._call(self._inspection.mend, finding)


def _close_opened(opening: asyncio.Future[int]) -> None:
    """For a reader who was cancelled before the descriptor came."""
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    with storage_errors():
        return filesystem.read_at(descriptor, size, offset)


def _next_batch(items: Iterator[_T], size: int) -> list[_T]:
    with storage_errors():
        return list(islice(items, size))
