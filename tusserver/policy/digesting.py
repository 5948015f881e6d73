"""The digest of the whole file, computed when its last byte is there: no hash object of the
standard library can be saved, so that one which goes along would not survive a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.errors import StorageFailed
from tusserver.protocol.refusals import UploadRefused
from tusserver.store.base import DescriptorStore, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tusserver.protocol.digests import Digests
    from tusserver.protocol.upload import Upload

_BUFFER = 1024 * 1024
_AT_ONCE = 2
"""So many files are read at the same time: more would only make each of them slower."""


class DigestStep:
    """Computes these digests of each upload, and those that its client gave, which must be as it
    said.

    `progress` is how many bytes have been read so far, by upload.
    """

    name = "digest"

    def __init__(self, store: Store, algorithms: Iterable[str]) -> None:
        self._store = store
        self._algorithms = tuple(algorithms)
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self.progress: dict[str, int] = {}

    def is_needed(self, upload: Upload) -> bool:
        return bool(self._missing(upload))

    def _missing(self, upload: Upload) -> set[str]:
        assert upload.finish is not None
        wanted = {*self._algorithms, *(algorithm for algorithm, _ in upload.finish.expected)}
        return wanted - {algorithm for algorithm, _ in upload.finish.digests}

    def done(self, upload_id: str) -> int | None:
        """Bytes that have been read so far; None while others have their turn."""
        return self.progress.get(upload_id)

    async def run(self, upload: Upload) -> Upload:
        finish = upload.finish
        assert finish is not None
        async with self._turn:
            try:
                digests = await self._compute(upload, self._missing(upload))
            finally:
                self.progress.pop(upload.upload_id, None)
        found = (*finish.digests, *digests)
        for algorithm, expected in finish.expected:
            if dict(found)[algorithm] != expected:
                raise UploadRefused(
                    "ERR_DIGEST_MISMATCH",
                    f"the {algorithm} of the stored bytes is {dict(found)[algorithm]}, not "
                    f"{expected} as was said; the file has changed, send it again",
                )
        return replace(upload, finish=replace(finish, digests=found))

    async def _compute(self, upload: Upload, algorithms: set[str]) -> Digests:
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(algorithms)}
        if isinstance(self._store, DescriptorStore):
            size = await self._read_descriptor(self._store, upload, list(hashes.values()))
        else:
            size = 0
            async for buffer in self._store.read(upload, 0, upload.offset):
                for each in hashes.values():
                    each.update(buffer)
                size += len(buffer)
                self.progress[upload.upload_id] = size
        if size != upload.offset:
            raise StorageFailed
        return tuple((name, each.hexdigest()) for name, each in hashes.items())

    async def _read_descriptor(
        self, store: DescriptorStore, upload: Upload, hashes: list[hashlib._Hash]
    ) -> int:
        descriptor = await store.descriptor(upload)
        is_wanted = True

        def tick(size: int) -> bool:
            self.progress[upload.upload_id] = size
            return is_wanted

        reading = asyncio.ensure_future(asyncio.to_thread(_read, descriptor, hashes, tick))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            is_wanted = False
            await asyncio.wait((reading,))
            raise
        finally:
            os.close(descriptor)


def _read(descriptor: int, hashes: list[hashlib._Hash], tick: Callable[[int], bool]) -> int:
    """Feeds a whole file to these hashes; returns how many bytes it had. `tick` is told how far it
    has got, and says whether to go on.
    """
    buffer, size = memoryview(bytearray(_BUFFER)), 0
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        while tick(size) and (count := file.readinto(buffer)):
            for each in hashes:
                each.update(buffer[:count])
            size += count
    return size
