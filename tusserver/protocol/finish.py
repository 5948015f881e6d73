"""What becomes of an upload between its last byte and its last reply, as a value of its record."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec looks at it
from enum import StrEnum

from msgspec import Struct


class FinishState(StrEnum):
    """How far the finish has got."""

    DUE = "due"
    """Checks are to be passed before the upload counts as finished."""
    DONE = "done"
    REFUSED = "refused"


class Refusal(Struct, frozen=True):
    """Why an upload was refused for good: a code, a sentence for a person, and the HTTP status."""

    code: str
    message: str
    status: int = 422


class Intent(Struct, frozen=True):
    """What is about to appear in the destination: noted before it does, so that after a crash it
    can be told from what somebody else has put there.

    `path` is relative to the destination root, with slashes; `device` and `inode` are the file's.
    """

    path: str
    device: int
    inode: int


class Finish(Struct, frozen=True, omit_defaults=True):
    """The state of one finish.

    `expected` are the digests that the client gave, `digests` those of the stored bytes, both
    hexadecimal by algorithm. `scan` says what the virus scan found ("clean", "not scanned: …";
    empty: there was none), `is_approved` that the application has agreed. `place` is where the file
    has gone, relative to the destination root. `ended_at` is the moment of the outcome, `event_id`
    names the one event that tells of it, and `is_told` says that everybody has heard it.
    `in_background`: clients are not kept waiting, the upload counts as finished for them once all
    bytes are there.
    """

    state: FinishState = FinishState.DUE
    refusal: Refusal | None = None
    in_background: bool = False
    expected: tuple[tuple[str, str], ...] = ()
    digests: tuple[tuple[str, str], ...] = ()
    scan: str = ""
    is_approved: bool = False
    intent: Intent | None = None
    place: str = ""
    ended_at: datetime | None = None
    event_id: str = ""
    is_told: bool = False

    @property
    def is_over(self) -> bool:
        """The outcome is certain."""
        return self.state is not FinishState.DUE

    @property
    def has_left(self) -> bool:
        """The bytes are for certain not in the store any more, or of no more use in it."""
        return bool(self.place) or self.state is FinishState.REFUSED
