"""What a site lets in: kinds of files, places, quotas, room on the disk, and what the application
says.

Each refusal comes before a byte is stored, but for the one by the first bytes of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tusserver.policy.accounts import Accounts
from tusserver.policy.hooks import Hooks, with_metadata
from tusserver.policy.kinds import SNIFF_SIZE, KindRefused, KindRules
from tusserver.policy.ledger import Ledger, Quota
from tusserver.policy.placement import text_metadata
from tusserver.protocol.errors import InvalidConcat, MaxSizeExceeded, StorageFull
from tusserver.protocol.refusals import Forbidden, KindNotAllowed
from tusserver.protocol.upload import Final, Partial, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime

    from tusserver.lock.base import Locker
    from tusserver.policy.placement import Destinations
    from tusserver.protocol.access import Caller, Grant
    from tusserver.protocol.decision import Append


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """The limits of a site; each may be missing. Of the room on the disk `min_free` bytes must
    stay.
    """

    kinds: KindRules = field(default_factory=KindRules)
    destinations: Destinations | None = None
    quota: Quota = field(default_factory=Quota)
    min_free: int | None = None
    hooks: Hooks = field(default_factory=Hooks)


class Limits:
    """Keeps these limits. `ledger` is needed for quotas, and for lists of uploads. `ids` lists
    the uploads of the store, `get` loads one, `free_bytes` tells how much room there is.

    Parts and the upload that they are joined to count both, as long as both are there.
    """

    def __init__(
        self,
        options: LimitOptions,
        ledger: Ledger | None,
        ids: Callable[[], AsyncIterator[str]],
        get: Callable[[str], Awaitable[Upload]],
        free_bytes: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._options = options
        self._accounts = None if ledger is None else Accounts(ledger, options.quota, ids, get)
        self._free_bytes = free_bytes
        self._clock = clock

    async def start(self, locker: Locker) -> None:
        if self._accounts is not None:
            await self._accounts.start(locker)

    async def close(self) -> None:
        if self._accounts is not None:
            await self._accounts.close()

    async def admit(self, upload: Upload, caller: Caller | None) -> Upload:
        if caller is not None and caller.grant is not None:
            upload = _bound(upload, caller.grant)
        upload = await self._options.hooks.created(upload, caller)
        if not isinstance(upload.concat, Partial):
            self._check_kind(text_metadata(upload))
            if self._options.destinations is not None:
                self._options.destinations.check(upload, self._clock())
        self._keep_room(upload.length or 0)
        if self._accounts is not None:
            self._refuse_unknown_sum(upload)
            await self._accounts.reserve(upload)
        return upload

    def _check_kind(self, metadata: dict[str, str]) -> None:
        try:
            self._options.kinds.check_claims(_name(metadata), _media_type(metadata))
        except KindRefused as refusal:
            raise KindNotAllowed(str(refusal)) from None

    def _keep_room(self, size: int) -> None:
        min_free = self._options.min_free
        if min_free is not None and self._free_bytes() - size < min_free:
            raise StorageFull("the server is running out of room; try again later")

    def _refuse_unknown_sum(self, upload: Upload) -> None:
        """It would grow in one go, when its last part is finished and nobody can be told."""
        is_unknown = isinstance(upload.concat, Final) and upload.length is None
        if is_unknown and self._options.quota.size is not None:
            raise InvalidConcat("declare the lengths of the parts before they are joined")

    async def grow(self, upload: Upload, plan: Append) -> Append:
        if upload.length is not None:
            return plan
        brought = plan.expected if plan.declare is None else plan.declare - upload.offset
        self._keep_room(brought or 0)
        return plan if self._accounts is None else await self._accounts.grow(upload, plan)

    async def grown(self, upload: Upload) -> None:
        # What has a length has been counted with it since it was declared.
        if self._accounts is not None and (upload.length is None or upload.is_refused):
            await self._accounts.settle(upload)

    async def terminate(self, upload: Upload) -> None:
        hooks = self._options.hooks
        if hooks.on_terminate is not None:
            await hooks.call(hooks.on_terminate, upload)

    async def ended(self, upload: Upload) -> None:
        if self._accounts is not None:
            await self._accounts.settle(upload)
        hooks = self._options.hooks
        if hooks.on_finish is not None and not isinstance(upload.concat, Partial):
            await hooks.call(hooks.on_finish, upload)

    async def removed(self, upload_id: str) -> None:
        if self._accounts is not None:
            await self._accounts.release(upload_id)

    async def review(self, uploads: Sequence[Upload]) -> None:
        if self._accounts is not None:
            await self._accounts.review(uploads)

    async def review_all(self) -> AsyncIterator[None]:
        if self._accounts is not None:
            async for _ in self._accounts.review_entries():
                yield

    @property
    def sniff_size(self) -> int:
        return SNIFF_SIZE if self._options.kinds.checks_content else 0

    def check_content(self, upload: Upload, first: bytes) -> None:
        metadata = text_metadata(upload)
        try:
            self._options.kinds.check_content(first, _name(metadata), _media_type(metadata))
        except KindRefused as refusal:
            raise KindNotAllowed(str(refusal)) from None


def _bound(upload: Upload, grant: Grant) -> Upload:
    """The upload as this grant allows it. Raises MaxSizeExceeded, Forbidden."""
    if grant.max_size is not None:
        if upload.length is None:
            raise Forbidden("this URL allows uploads of a length that is told at once")
        if upload.length > grant.max_size:
            raise MaxSizeExceeded(grant.max_size)
    if grant.destination is None:
        return upload
    asked = text_metadata(upload).get("destination", grant.destination)
    if asked != grant.destination:
        raise Forbidden(f"this URL allows uploads to {grant.destination!r} only")
    return with_metadata(upload, {"destination": grant.destination})


def _name(metadata: dict[str, str]) -> str:
    return metadata.get("filename") or metadata.get("name") or ""


def _media_type(metadata: dict[str, str]) -> str:
    return metadata.get("filetype") or metadata.get("type") or ""
