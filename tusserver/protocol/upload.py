"""The upload as the protocol sees it: a frozen value; nobody else holds the truth about one, the
store makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import astuple

from tusserver.protocol.finish import Finish, FinishState

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Partial:
    """An upload that is meant as a piece of a final one (concatenation extension)."""


@dataclass(frozen=True, slots=True)
class Final:
    """An upload that is joined from partial ones, in this order.

    `raw` is `Upload-Concat` as the client sent it, given back verbatim; empty for records of other
    servers.
    """

    partials: tuple[str, ...]
    raw: str = ""


class Upload(Struct, frozen=True, eq=False):
    """One upload at one moment. Sizes in bytes, moments aware and in UTC.

    `offset` counts the bytes that are stored and verified; `length` is None while the client has
    not declared it. `metadata` is the raw `Upload-Metadata` header, given back verbatim; empty when
    there was none. `modified_at` is when bytes were last stored (or the upload was created).
    `is_settled` is False while a running request, or one that a crash ended, leaves open how far
    the upload has got: `offset` is then what is certain, and opening the upload under its lock
    settles the rest. `owner` is the user it belongs to, None where nobody has been asked. `finish`
    is the state of the checks and steps after the last byte; None for an upload that has none.
    """

    upload_id: str
    offset: int
    length: int | None
    created_at: datetime
    modified_at: datetime
    metadata: str = ""
    concat: Partial | Final | None = None
    is_settled: bool = True
    owner: str | None = None
    finish: Finish | None = None
    origin: object = None
    """What the store that made this value wants to find again when it is handed back; no part of
    the value.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Upload) and astuple(self)[:-1] == astuple(other)[:-1]

    def __hash__(self) -> int:
        return hash(astuple(self)[:-1])

    @property
    def is_complete(self) -> bool:
        """All bytes are there: the length is known and reached."""
        return self.offset == self.length

    @property
    def is_finished(self) -> bool:
        """All bytes are there, and all that was to be done with them is done."""
        return self.offset == self.length and (
            self.finish is None or self.finish.state is FinishState.DONE
        )

    @property
    def is_due(self) -> bool:
        """All bytes are there, and something is still to be done with them."""
        return self.is_complete and self.finish is not None and not self.finish.is_over

    @property
    def is_refused(self) -> bool:
        """A check has refused it for good."""
        return self.finish is not None and self.finish.state is FinishState.REFUSED

    @property
    def shown_offset(self) -> int:
        """The offset that clients are told. Every client takes `offset == length` for success, so
        that nobody may see it before the finish is done.
        """
        finish = self.finish
        if self.offset != self.length or self.is_finished or (finish and finish.in_background):
            return self.offset
        return max(self.offset - 1, 0)

    @property
    def is_pending(self) -> bool:
        """A final upload whose partials have not been joined yet."""
        return isinstance(self.concat, Final) and not self.is_complete
