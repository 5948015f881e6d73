"""One body on its way into the bucket.

Its bytes are gathered into parts, each of which is sent while the next one is being gathered. A
part counts once it and all before it are stored and the record names it. What is left at the end
and is too small for a part becomes a *tail*, an object of its own: it is read again when there is
enough for a part, and removed only after the record has ceased to name it.

Part numbers are reserved in the record before they are used. So a part that a dead request of
another node still sends never takes the place of one that counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tusserver.protocol.checksum import ALGORITHMS, Checksum
from tusserver.protocol.decision import Outcome, Trailer
from tusserver.protocol.errors import StorageFull, TusError, UploadDamaged
from tusserver.store.base import BodyInterrupted
from tusserver.store.bucket import MultipartMissing
from tusserver.store.object_assembly import assembled
from tusserver.store.object_keys import new_token
from tusserver.store.object_parts import NoPartsLeft, least_size, part_size
from tusserver.store.object_record import Tail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tusserver.protocol.checksum import Digest
    from tusserver.protocol.decision import Append
    from tusserver.store.base import Body
    from tusserver.store.object_assembly import ObjectGround
    from tusserver.store.object_buffers import PartBuffer
    from tusserver.store.object_record import Kept, ObjectRecord, ObjectState, Part

_RESERVED = 16
"""Part numbers that are reserved at once: as many get lost when the server dies."""
_MOST_TAILS = 32
"""Tails that are read one by one; more are made one first."""
_COMMIT = 2.0
"""Seconds after which parts that are stored are recorded."""
_LARGE = 64 * 1024


class ObjectSession:
    """Takes one body behind an upload. It must be closed."""

    def __init__(self, ground: ObjectGround, kept: Kept, plan: Append, body: Body) -> None:
        self._ground = ground
        self._kept = kept
        self._state = kept.state
        """What is recorded next."""
        self._plan = plan
        self._body = body
        self._id = kept.record.upload_id
        self._used = kept.state.reserved
        self._buffer: PartBuffer | None = None
        self._front: tuple[Tail, ...] = ()
        """The tails whose bytes belong into the front of the buffer and are not there yet."""
        self._covered = 0
        """Up to where the buffer lies in tails, too."""
        self._sending: deque[asyncio.Task[Part]] = deque()
        self._in_parts = kept.state.in_parts
        """Bytes in parts, those on their way included."""
        self._equal_size = kept.state.parts[0].size if kept.state.parts else 0
        self._places = asyncio.Semaphore(ground.options.sending)
        self._turn = asyncio.Lock()
        self._error: BaseException | None = None
        self._committed_at = time.monotonic()
        self._has_taken = False
        self._first = bytearray(kept.state.first)
        # Where the first bytes of all have not been kept, these are not the first ones.
        is_kept = len(self._first) == kept.state.offset
        self._missing_first = max(0, ground.options.keep_first - len(self._first)) * is_kept
        self._digests = _digests(plan)

    async def write_all(self) -> Outcome:
        """Takes the whole body and says how it ended."""
        keeping = None if self._plan.is_staged else asyncio.create_task(self._keep())
        try:
            while data := await self._body.read():
                async with self._turn:
                    await self._take(data)
        except BodyInterrupted as interruption:
            return interruption.outcome
        finally:
            if keeping is not None:
                async with self._turn:
                    keeping.cancel()
        return Outcome.COMPLETE

    async def _take(self, data: bytes | bytearray) -> None:
        self._has_taken = True
        await self._digest(data)
        if self._missing_first:
            self._first += data[: self._missing_first]
            self._missing_first = max(0, self._missing_first - len(data))
        view = memoryview(data)
        while view:
            if self._error is not None:
                raise self._error
            buffer = self._buffer or await self._begin_part()
            view = view[buffer.write(view) :]
            if buffer.is_full:
                await self._send()
                await self._record_parts()

    async def _digest(self, data: bytes | bytearray) -> None:
        digests = self._digests.values()
        if len(self._digests) > 1 and len(data) >= _LARGE:
            await asyncio.to_thread(_feed, digests, data)
        else:
            _feed(digests, data)

    # Parts.

    async def _begin_part(self) -> PartBuffer:
        """Makes room for the next part, once few enough are on their way."""
        await self._places.acquire()
        try:
            self._front = () if self._sending else self._state.tails
            front = sum(tail.size for tail in self._front)
            self._buffer = self._ground.part_buffer(self._next_size(front), front)
        except BaseException:
            self._places.release()
            raise
        self._covered = front
        return self._buffer

    def _next_size(self, front: int) -> int:
        rules = self._ground.options.rules
        if rules.are_equal and self._equal_size:
            return self._equal_size
        try:
            size = part_size(rules, self._in_parts, self._length(), self._used)
        except NoPartsLeft as error:
            raise StorageFull("the upload has no parts left; it cannot grow further") from error
        self._equal_size = size if size > front else front + rules.least
        return self._equal_size

    def _length(self) -> int | None:
        declared = self._plan.declare
        return self._kept.record.length if declared is None else declared

    async def _send(self) -> None:
        """Sends what has been gathered as the next part."""
        if self._used >= self._state.reserved or not self._state.multipart:
            await self._reserve()
        buffer, self._buffer = self._buffer, None
        assert buffer is not None
        self._used += 1
        self._in_parts += buffer.filled
        sending = asyncio.create_task(self._put_part(self._used, buffer, self._front))
        self._front = ()
        self._sending.append(sending)
        sending.add_done_callback(self._sent)

    async def _reserve(self) -> None:
        """Records that the next part numbers are ours; from here on nobody who has seen an older
        record can write one.
        """
        most = self._ground.options.rules.count
        self._state = replace(self._state, reserved=min(self._used + _RESERVED, most))
        if self._state.multipart:
            return await self._commit()
        self._recorded(await self._ground.begin_multipart(self._kept, self._stamped(self._state)))

    async def _put_part(self, number: int, buffer: PartBuffer, front: tuple[Tail, ...]) -> Part:
        try:
            await self._ground.read_tails(self._id, front, buffer)
            key, multipart = self._ground.keys.data(self._id), self._state.multipart
            span, has_crc32 = buffer.span(), self._state.has_crc32
            return await self._ground.bucket.put_part(
                key, multipart, number, span, has_crc32=has_crc32
            )
        except MultipartMissing:
            # Somebody has ended it in the service itself, by hand or by a rule of the bucket.
            raise UploadDamaged from None
        finally:
            buffer.close()

    def _sent(self, sending: asyncio.Task[Part]) -> None:
        self._places.release()
        if not sending.cancelled():
            self._fail(sending.exception())

    def _fail(self, error: BaseException | None) -> None:
        """Ends the body at the first error."""
        if error is not None and self._error is None:
            self._error = error
            self._body.interrupt(Outcome.CANCELLED)

    def _harvest(self) -> None:
        """Counts the parts that are stored, as far as all before them are."""
        while self._sending and self._sending[0].done():
            sending = self._sending[0]
            if sending.cancelled() or sending.exception() is not None:
                return
            part = sending.result()
            self._sending.popleft()
            offset = self._state.offset - self._state.in_tails + part.size
            parts = (*self._state.parts, part)
            self._state = replace(self._state, parts=parts, tails=(), offset=offset)

    async def _record_parts(self) -> None:
        if not self._plan.is_staged:
            self._harvest()
            if time.monotonic() - self._committed_at >= _COMMIT:
                await self._commit_if_changed()

    async def _all_sent(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending)
        self._harvest()

    # Tails.

    async def _keep(self) -> None:
        """Stores what a slow client has sent every now and then: little is lost with the server."""
        while True:
            await asyncio.sleep(self._ground.options.flush)
            async with self._turn:
                try:
                    await self._flush()
                except TusError as error:
                    return self._fail(error)

    async def _flush(self) -> None:
        self._harvest()
        if self._state.offset == self._kept.state.offset and not self._sending:
            await self._put_tail()
        await self._commit_if_changed()

    async def _put_tail(self) -> None:
        """Stores what has been gathered and lies in no tail yet as one."""
        buffer, tails = self._buffer, self._state.tails
        if buffer is None or buffer.filled == self._covered:
            return
        start = self._covered
        if len(tails) >= _MOST_TAILS:
            await self._fill_front(buffer)
            tails, start = (), 0
        span = buffer.span(start)
        tail = Tail(new_token(), len(span))
        await self._ground.bucket.put(self._ground.keys.tail(self._id, tail.token), span)
        offset = self._state.offset + (buffer.filled - self._covered)
        self._covered = buffer.filled
        self._state = replace(self._state, tails=(*tails, tail), offset=offset)

    async def _fill_front(self, buffer: PartBuffer) -> None:
        await self._ground.read_tails(self._id, self._front, buffer)
        self._front = ()

    # The end.

    async def complete(self, outcome: Outcome, late: Checksum | None) -> tuple[Kept, Outcome]:
        """Decides which of the bytes stay, after the body has ended, with the checksum of its
        trailer if there was one. Returns the record as it is then.
        """
        if self._error is not None:
            raise self._error
        if self._plan.is_staged and outcome is Outcome.COMPLETE and not self._matches(late):
            outcome = Outcome.MISMATCH
        if outcome is Outcome.MISMATCH or (
            outcome is not Outcome.COMPLETE and not self._plan.keeps_prefix
        ):
            return self._kept, outcome
        await self._all_sent()
        await self._store_rest()
        return self._kept, outcome

    async def abandon(self) -> None:
        """After an error: what is stored and may stay is recorded, if that is possible."""
        if self._plan.is_staged:
            return
        with suppress(TusError):
            await self._all_sent()
            await self._commit_if_changed()

    def _matches(self, late: Checksum | None) -> bool:
        checksums = [checksum for checksum in (self._plan.checksum, late) if checksum is not None]
        return all(checksum.matches(self._digests[checksum.algorithm]) for checksum in checksums)

    def _declared(self) -> ObjectRecord:
        """The record with the length that the request has brought."""
        record, length = self._kept.record, self._plan.declare
        if length is None:
            return record
        return replace(record, size=length, size_is_deferred=False)

    async def _store_rest(self) -> None:
        if self._error is not None:
            raise self._error
        if self._state.is_assembled:
            return  # An empty body behind the last byte.
        gathered = 0 if self._buffer is None else self._buffer.filled - self._covered
        total = self._state.offset + gathered
        if total == self._declared().length:
            return await self._store_whole(total)
        rules = self._ground.options.rules
        if gathered and self._buffer is not None:
            # Bodies that are all smaller than a part should be must not use up the numbers.
            least = least_size(rules, self._in_parts, self._length(), self._used)
            if self._buffer.filled >= least and not rules.are_equal:
                await self._send_rest()
            else:
                await self._put_tail()
        await self._commit_if_changed(is_last=True)

    async def _send_rest(self) -> None:
        await self._send()
        await self._all_sent()
        if self._error is not None:
            raise self._error

    async def _store_whole(self, length: int) -> None:
        """All bytes are there: makes one object of them."""
        if self._buffer is None and (self._state.tails or not self._state.parts):
            await self._begin_part()
        if not self._state.parts:
            assert self._buffer is not None
            await self._fill_front(self._buffer)
            if await self._ground.put_whole(self._kept.record, self._buffer):
                multipart = self._state.multipart
                self._state = assembled(self._state, length)
                await self._commit(is_last=True)
                return self._abort(multipart)
        if self._buffer is not None:
            await self._send_rest()
        self._state = replace(self._state, offset=self._kept.state.offset, is_whole=True)
        await self._commit(is_last=True)
        kept, self._kept = self._kept, await self._ground.assemble(self._kept)
        self._ground.drop_tails(self._id, kept.state.tails)

    def _abort(self, multipart: str) -> None:
        if multipart:
            key = self._ground.keys.data(self._id)
            self._ground.in_background(self._ground.bucket.abort(key, multipart))

    async def _commit_if_changed(self, *, is_last: bool = False) -> None:
        is_declared = is_last and self._plan.declare is not None
        if self._state != self._kept.state or is_declared:
            await self._commit(is_last=is_last)

    async def _commit(self, *, is_last: bool = False) -> None:
        """Records how far the upload has got; from here on it may be acknowledged."""
        state = self._state
        if is_last:
            # Every part has been answered for, so that no number is in doubt.
            state = replace(state, reserved=0 if not state.multipart else self._used)
        record = self._declared() if is_last else None
        self._recorded(await self._ground.records.replace(self._kept, self._stamped(state), record))

    def _stamped(self, state: ObjectState) -> ObjectState:
        """The state with what changes whenever there are more bytes."""
        if state.offset == self._kept.state.offset and not (state.is_whole and self._has_taken):
            return state
        first = b"" if state.is_assembled else bytes(self._first)
        return replace(state, modified_at=datetime.now(UTC), first=first)

    def _recorded(self, kept: Kept) -> None:
        former, self._kept, self._state = self._kept.state, kept, kept.state
        self._committed_at = time.monotonic()
        offset, tell = kept.state.offset, self._ground.on_stored
        if tell is not None and offset not in (former.offset, kept.record.length):
            tell(self._id, offset)
        named = self._state.tails
        self._ground.drop_tails(self._id, [tail for tail in former.tails if tail not in named])

    async def close(self) -> None:
        """Ends what is still under way."""
        for sending in self._sending:
            sending.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
        if self._buffer is not None:
            self._buffer.close()


def _digests(plan: Append) -> dict[str, Digest]:
    """Which algorithm a trailer uses is told after the last byte, and parts that are sent cannot be
    read again; so for such bodies all are computed.
    """
    if plan.trailer is not Trailer.ABSENT:
        return {name: Checksum(name, b"").start() for name in ALGORITHMS}
    return {} if plan.checksum is None else {plan.checksum.algorithm: plan.checksum.start()}


def _feed(digests: Iterable[Digest], data: bytes | bytearray) -> None:
    for digest in digests:
        digest.update(data)
