"""The core protocol: OPTIONS, HEAD and PATCH."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol import expiration, finished
from tusserver.protocol.body_plan import BodyHead, refuse_broken, room_for
from tusserver.protocol.decision import Append, Outcome, Repeat, Reply
from tusserver.protocol.errors import InvalidUploadLength, ModifyFinal, OffsetMismatch
from tusserver.protocol.upload import Final, Partial, Upload

if TYPE_CHECKING:
    from datetime import datetime

    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.errors import Header
    from tusserver.protocol.urls import UploadUrls

NO_STORE: Header = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Options:
    """OPTIONS on any tus URL: what the server offers."""

    capabilities: Capabilities

    def reply(self) -> Reply:
        """200 rather than 204, because some preflights and probes want it; both are allowed."""
        return Reply(200, self.capabilities.headers(), is_versioned=False)


class Head(Struct, frozen=True):
    """HEAD on an upload: where it stands."""

    upload_id: str
    urls: UploadUrls

    def reply(self, upload: Upload, capabilities: Capabilities, now: datetime) -> Reply:
        """200 with offset, length, metadata. Raises UploadGone."""
        expiration.refuse_expired(upload, capabilities.expires_after, now)
        headers = [NO_STORE, *self._progress(upload), *finished.headers(upload)]
        if upload.metadata:
            headers.append((b"upload-metadata", upload.metadata.encode("latin-1")))
        if upload.concat is not None:
            headers.append((b"upload-concat", self._concat(upload.concat)))
        return Reply(200, (*headers, *expiration.headers(upload, capabilities.expires_after)))

    def _progress(self, upload: Upload) -> list[Header]:
        # 'The response MUST NOT contain Upload-Offset' as long as a final upload has not been
        # joined, and its length is not the client's to declare.
        headers: list[Header] = (
            [] if upload.is_pending else [(b"upload-offset", b"%d" % upload.shown_offset)]
        )
        if upload.length is not None:
            headers.append((b"upload-length", b"%d" % upload.length))
        elif not upload.is_pending:
            headers.append((b"upload-defer-length", b"1"))
        return headers

    def _concat(self, concat: Partial | Final) -> bytes:
        """`Upload-Concat` as received; rebuilt for records of servers that did not keep it."""
        if isinstance(concat, Partial):
            return b"partial"
        if concat.raw:
            return concat.raw.encode("latin-1")
        return b"final;" + b" ".join(self.urls.location(partial) for partial in concat.partials)


class Patch(Struct, frozen=True):
    """PATCH on an upload: bytes for its end. `length` is an `Upload-Length` that the client
    declares with them.
    """

    upload_id: str
    offset: int
    length: int | None
    body: BodyHead

    def decide(self, upload: Upload, capabilities: Capabilities, now: datetime) -> Append | Repeat:
        """What may be stored. Raises the refusal; a wrong offset is judged before all that concerns
        the body.
        """
        expiration.refuse_expired(upload, capabilities.expires_after, now)
        if isinstance(upload.concat, Final):
            raise ModifyFinal
        finished.refuse_refused(upload)
        if self._repeats_last_byte(upload):
            self.body.plan(1)
            return Repeat(1)
        # 'If the offsets do not match, the Server MUST respond with 409 without modifying the
        # upload resource.'
        if self.offset != upload.shown_offset:
            raise OffsetMismatch(upload.shown_offset)
        declare = self._declared(upload)
        room = room_for(upload, upload.length if declare is None else declare, capabilities)
        return self.body.plan(room, declare=declare)

    def _repeats_last_byte(self, upload: Upload) -> bool:
        """HEAD has shown, while the finish was under way, that one byte is missing."""
        finish = upload.finish
        is_shown_less = finish is not None and upload.is_complete and not finish.in_background
        return is_shown_less and self.offset == upload.offset - 1

    def _declared(self, upload: Upload) -> int | None:
        """The length to record, or None if there is nothing to record.

        Raises InvalidUploadLength.
        """
        if self.length is None or self.length == upload.length:
            return None
        # 'Once set the length MUST NOT be changed.' The same value again is no change.
        if upload.length is not None:
            raise InvalidUploadLength(
                f"the length of this upload is {upload.length} and cannot be changed"
            )
        if self.length < upload.offset:
            raise InvalidUploadLength(
                f"the upload already has {upload.offset} bytes, more than this length"
            )
        return self.length

    def is_hopeless(self, upload: Upload) -> bool:
        """The offset never moves back, so an offset that lies behind it is wrong for ever; so is
        PATCH on a final.
        """
        return self.offset < upload.offset or isinstance(upload.concat, Final)

    def settle(
        self, upload: Upload, outcome: Outcome, capabilities: Capabilities, now: datetime
    ) -> Reply:
        """204 with the new offset. Raises what a broken body stands for."""
        refuse_broken(upload, outcome)
        finished.refuse_refused(upload)
        offset = (b"upload-offset", b"%d" % upload.shown_offset)
        headers = (offset, *finished.headers(upload))
        return Reply(204, (*headers, *expiration.headers(upload, capabilities.expires_after)))
