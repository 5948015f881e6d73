"""What is told about one upload, as JSON says it (see docs/status-api.md)."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec looks at it
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from tusserver.protocol import grammar
from tusserver.protocol.upload import Partial

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload


class State(StrEnum):
    """Where an upload is in its life."""

    UPLOADING = "uploading"
    FINISHING = "finishing"
    """All bytes are there; something is still to be done with them."""
    FINISHED = "finished"
    REFUSED = "refused"
    EXPIRED = "expired"
    """Its time is over, and it is about to be removed."""

    @property
    def is_active(self) -> bool:
        """More is going to happen to it."""
        return self in (State.UPLOADING, State.FINISHING)


class Work(Struct, frozen=True):
    """The step of a finish that is under way; bytes, None where the step cannot tell."""

    step: str
    done: int | None = None
    total: int | None = None


class Reason(Struct, frozen=True):
    """Why an upload was refused."""

    code: str
    message: str


class Status(Struct, frozen=True):
    """One upload at one moment. Sizes in bytes, `rate` in bytes per second."""

    id: str
    url: str
    filename: str | None
    length: int | None
    offset: int
    percent: float | None
    state: State
    owner: str | None
    created: datetime
    modified: datetime
    expires: datetime | None
    destination: str | None
    place: str | None
    digests: dict[str, str]
    scan: str | None
    refusal: Reason | None
    finish: Work | None
    rate: float | None
    concat: Literal["partial", "final"] | None
    metadata: dict[str, str]


def describe(
    upload: Upload,
    *,
    over_at: datetime | None,
    now: datetime,
    work: Work | None = None,
    rate: float | None = None,
) -> Status:
    """The status of an upload, still without its URL. `over_at` is when it is removed if nothing
    more comes, None: never.
    """
    metadata = {
        key: value.decode("utf-8", "replace")
        for key, value in grammar.parse_metadata(upload.metadata)
    }
    finish, state = upload.finish, _state(upload, over_at, now)
    refusal = None if finish is None else finish.refusal
    return Status(
        id=upload.upload_id,
        url="",
        filename=metadata.get("filename") or metadata.get("name"),
        length=upload.length,
        offset=upload.offset,
        percent=_percent(upload.offset, upload.length),
        state=state,
        owner=upload.owner,
        created=upload.created_at,
        modified=upload.modified_at,
        expires=over_at,
        destination=metadata.get("destination"),
        place=(finish and finish.place) or None,
        digests={} if finish is None else dict(finish.digests),
        scan=(finish and finish.scan) or None,
        refusal=None if refusal is None else Reason(refusal.code, refusal.message),
        finish=work if state is State.FINISHING else None,
        rate=rate if state is State.UPLOADING else None,
        concat=_concat(upload),
        metadata=metadata,
    )


def advanced(status: Status, offset: int, moment: datetime, rate: float | None) -> Status:
    """The status of an upload of which `offset` bytes were stored at this moment, and which is
    still not complete.
    """
    modified = max(moment, status.modified)
    # The deadline slides with the last byte.
    slid = modified - status.modified
    return replace(
        status,
        offset=offset,
        percent=_percent(offset, status.length),
        modified=modified,
        expires=None if status.expires is None else status.expires + slid,
        rate=rate,
    )


def _state(upload: Upload, over_at: datetime | None, now: datetime) -> State:
    if upload.is_refused:
        return State.REFUSED
    if upload.is_finished:
        return State.FINISHED
    if upload.is_complete:
        return State.FINISHING
    return State.EXPIRED if over_at is not None and over_at <= now else State.UPLOADING


def _percent(offset: int, length: int | None) -> float | None:
    """Rounded down: nothing is at 100 before its last byte."""
    if length is None:
        return None
    return offset * 10_000 // length / 100 if length else 100.0


def _concat(upload: Upload) -> Literal["partial", "final"] | None:
    if upload.concat is None:
        return None
    return "partial" if isinstance(upload.concat, Partial) else "final"
