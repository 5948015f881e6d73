"""What a site lets in: kinds of files, places, quotas, room on the disk, and what the application
says.

Each refusal comes before a byte is stored, but for the one by the first bytes of a file.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from tusserver.policy.hooks import Hooks
from tusserver.policy.kinds import SNIFF_SIZE, KindRefused, KindRules
from tusserver.policy.ledger import Entry, Exceeded, Filter, Ledger, LedgerUnusable, Quota
from tusserver.policy.placement import text_metadata
from tusserver.protocol import grammar
from tusserver.protocol.errors import MaxSizeExceeded, StorageFull, UploadNotFound
from tusserver.protocol.refusals import (
    Forbidden,
    InvalidName,
    KindNotAllowed,
    QuotaExceeded,
    TooManyUploads,
)
from tusserver.protocol.upload import Partial, Upload
from tusserver.store.base import StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from tusserver.policy.placement import Destinations
    from tusserver.protocol.access import Caller, Grant
    from tusserver.protocol.decision import Append

_T = TypeVar("_T")
_logger = logging.getLogger("tusserver")

_NOBODY = ""
"""The owner in the ledger of uploads that have none."""
_DOUBTFUL_AFTER = 60.0
"""Seconds after which an upload that is in the ledger must be in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """The limits of a site; each may be missing. `free_bytes` tells how much room there is, of
    which `min_free` bytes must stay.
    """

    kinds: KindRules = field(default_factory=KindRules)
    destinations: Destinations | None = None
    quota: Quota = field(default_factory=Quota)
    min_free: int | None = None
    hooks: Hooks = field(default_factory=Hooks)


class Limits:
    """Keeps these limits. `ledger` is needed for quotas, and for lists of uploads. `get` loads an
    upload of the store.
    """

    def __init__(
        self,
        options: LimitOptions,
        ledger: Ledger | None,
        get: Callable[[str], Awaitable[Upload]],
        free_bytes: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._get = get
        self._free_bytes = free_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "ledger")

    async def start(self) -> None:
        if self._ledger is not None:
            try:
                await self._call(self._ledger.open)
            except LedgerUnusable as error:
                raise StoreUnusable(str(error)) from error

    async def close(self) -> None:
        if self._ledger is not None:
            await self._call(self._ledger.close)

    async def _call(self, work: Callable[..., _T], *args: object) -> _T:
        """In the one thread that the ledger is for."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def admit(self, upload: Upload, caller: Caller | None) -> Upload:
        if caller is not None and caller.grant is not None:
            upload = _bound(upload, caller.grant)
        hooks = self._options.hooks
        if hooks.on_create is not None:
            changes = await hooks.call(hooks.on_create(upload, caller))
            upload = _with_metadata(upload, changes or {})
        metadata = text_metadata(upload)
        if not isinstance(upload.concat, Partial):
            self._check_kind(metadata)
            if self._options.destinations is not None:
                self._options.destinations.check(upload, self._clock())
        self._keep_room(upload.length or 0)
        await self._reserve(upload, metadata)
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

    async def _reserve(self, upload: Upload, metadata: dict[str, str]) -> None:
        if self._ledger is None:
            return
        owner = upload.owner or _NOBODY
        entry = Entry(
            upload.upload_id,
            owner,
            upload.length or 0,
            upload.created_at.timestamp(),
            name=_name(metadata),
        )
        try:
            await self._call(self._ledger.reserve, entry, self._options.quota)
        except Exceeded as error:
            # Perhaps by what a crash has left in the ledger and not in the store.
            if not await self._forget_lost(owner):
                raise self._refusal(error) from None
            await self._within(self._ledger.reserve, entry, self._options.quota)

    async def _within(self, work: Callable[..., None], *args: object) -> None:
        """Raises QuotaExceeded, TooManyUploads."""
        try:
            await self._call(work, *args)
        except Exceeded as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exceeded) -> QuotaExceeded | TooManyUploads:
        usage, quota = error.usage, self._options.quota
        if error.which == "active":
            return TooManyUploads(
                f"you have {usage.active} unfinished uploads, of {quota.active} that you may have; "
                "finish or delete one first"
            )
        if error.which == "uploads":
            return QuotaExceeded(
                f"you have {usage.uploads} uploads, of {quota.uploads} that you may have; delete "
                "one first"
            )
        return QuotaExceeded(
            f"this needs more than the {max((quota.size or 0) - usage.size, 0)} bytes that are "
            f"left of your {quota.size}"
        )

    async def _forget_lost(self, owner: str) -> bool:
        assert self._ledger is not None
        latest = self._clock().timestamp() - _DOUBTFUL_AFTER
        entries = await self._call(lambda ledger: ledger.entries(Filter(owner=owner), limit=-1),
                                   self._ledger)  # fmt: skip
        lost = [
            entry.upload_id
            for entry in entries
            if entry.created < latest and not await self._exists(entry.upload_id)
        ]
        for upload_id in lost:
            await self._call(self._ledger.release, upload_id)
        return bool(lost)

    async def _exists(self, upload_id: str) -> bool:
        try:
            await self._get(upload_id)
        except UploadNotFound:
            return False
        return True

    async def grow(self, upload: Upload, plan: Append) -> Append:
        if self._options.quota.size is None or self._ledger is None or upload.length is not None:
            return plan
        quota = self._options.quota
        length = plan.declare
        if length is None and plan.expected is not None:
            length = upload.offset + plan.expected
        if length is not None:
            await self._within(self._ledger.resize, upload.upload_id, length, quota)
            return plan
        entry = await self._call(self._ledger.get, upload.upload_id)
        if entry is None:
            return plan
        usage = await self._call(self._ledger.usage, entry.owner)
        room = max(self._options.quota.size - usage.size + entry.size - upload.offset, 0)
        limit = room if plan.limit is None else min(room, plan.limit)
        await self._within(self._ledger.resize, upload.upload_id, upload.offset + limit, quota)
        return replace(plan, limit=limit)

    async def grown(self, upload: Upload) -> None:
        if self._options.quota.size is not None and self._ledger is not None:
            size = 0 if upload.is_refused else max(upload.length or 0, upload.offset)
            await self._call(self._ledger.resize, upload.upload_id, size, Quota())

    async def terminate(self, upload: Upload) -> None:
        hooks = self._options.hooks
        if hooks.on_terminate is not None:
            await hooks.call(hooks.on_terminate(upload))

    async def ended(self, upload: Upload) -> None:
        if self._ledger is not None:
            await self._call(self._ledger.finish, upload.upload_id)
            await self.grown(upload)
        hooks = self._options.hooks
        if hooks.on_finish is not None:
            await hooks.call(hooks.on_finish(upload))

    async def removed(self, upload_id: str) -> None:
        if self._ledger is not None:
            await self._call(self._ledger.release, upload_id)

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
    return _with_metadata(upload, {"destination": grant.destination})


def _with_metadata(upload: Upload, changes: Mapping[str, str]) -> Upload:
    if not changes:
        return upload
    pairs = dict(grammar.parse_metadata(upload.metadata))
    pairs.update((key, value.encode()) for key, value in changes.items())
    metadata = grammar.format_metadata(tuple(pairs.items()))
    if len(grammar.parse_metadata(metadata)) != len(pairs):
        raise InvalidName("a key of the metadata cannot be sent in a header")
    return replace(upload, metadata=metadata)


def _name(metadata: dict[str, str]) -> str:
    return metadata.get("filename") or metadata.get("name") or ""


def _media_type(metadata: dict[str, str]) -> str:
    return metadata.get("filetype") or metadata.get("type") or ""
