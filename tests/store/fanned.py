"""A file store whose uploads lie in folders, as with `--fan-out`, behind the ids that the tests of
the contract know.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from tusserver.protocol.checksum import Checksum
from tusserver.protocol.decision import Append
from tusserver.protocol.upload import Final, Upload
from tusserver.store.base import Appended, Body
from tusserver.store.file import FileStore


def fanned(upload_id: str) -> str:
    return f"{upload_id[:2]}/{upload_id[2:4]}/{upload_id[4:]}"


def flat(upload_id: str) -> str:
    return upload_id.replace("/", "")


def _renamed(upload: Upload, rename: Callable[[str], str]) -> Upload:
    concat = upload.concat
    if isinstance(concat, Final):
        concat = Final(tuple(map(rename, concat.partials)), concat.raw)
    return replace(upload, upload_id=rename(upload.upload_id), concat=concat)


class FannedOutStore(FileStore):
    """Takes and gives flat ids, and stores fanned-out ones."""

    async def create(self, upload: Upload) -> Upload:
        return _renamed(await super().create(_renamed(upload, fanned)), flat)

    async def get(self, upload_id: str, *, is_held: bool = False) -> Upload:
        return _renamed(await super().get(fanned(upload_id), is_held=is_held), flat)

    async def open(self, upload_id: str) -> Upload:
        return _renamed(await super().open(fanned(upload_id)), flat)

    async def append(
        self, upload: Upload, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        appended = await super().append(_renamed(upload, fanned), plan, body, late_checksum)
        return Appended(_renamed(appended.upload, flat), appended.outcome)

    def read(self, upload: Upload, start: int, end: int) -> AsyncGenerator[bytes, None]:
        return super().read(_renamed(upload, fanned), start, end)

    async def ids(self) -> AsyncIterator[str]:
        async for upload_id in super().ids():
            yield flat(upload_id)

    async def terminate(self, upload_id: str) -> None:
        await super().terminate(fanned(upload_id))

    async def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        parts = [_renamed(partial, fanned) for partial in partials]
        return _renamed(await super().concatenate(_renamed(upload, fanned), parts), flat)

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        parts = [_renamed(partial, fanned) for partial in partials]
        await super().await_partials(_renamed(upload, fanned), parts)

    async def waiting_for(self, partial_id: str) -> Sequence[str]:
        return [flat(final_id) for final_id in await super().waiting_for(fanned(partial_id))]

    async def sync(self, upload_id: str) -> None:
        await super().sync(fanned(upload_id))
