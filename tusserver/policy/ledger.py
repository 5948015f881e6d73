"""Who has reserved how many bytes: what is kept of each upload, and what is asked of it.

The ledger of one host is a file (`ledger_file`), that of several hosts is in Redis
(`ledger_redis`). Each is used by one thread at a time, and blocks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Order = Literal["created", "name", "size"]


class LedgerUnusable(Exception):
    """The ledger cannot be used; one sentence for the operator."""


class LedgerFailed(Exception):
    """Reading or writing failed; nothing has changed, as far as anybody knows. `is_full`: there is
    no room. `is_passing`: it does not answer for the moment.
    """

    def __init__(self, reason: str, *, is_full: bool = False, is_passing: bool = False) -> None:
        super().__init__(f"the ledger: {reason}")
        self.is_full = is_full
        self.is_passing = is_passing


class LedgerLost(Exception):
    """The ledger has lost its memory, or never had any: it has to be counted anew."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One upload. `size` in bytes: its length, or what it may hold so far; `created` in seconds
    since the epoch. `is_active` as long as it is unfinished.
    """

    upload_id: str
    owner: str
    size: int
    created: float
    is_active: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner has: bytes, uploads, and how many of them are unfinished."""

    size: int
    uploads: int
    active: int


@dataclass(frozen=True, slots=True)
class Quota:
    """What an owner may have; None: no bound."""

    size: int | None = None
    uploads: int | None = None
    active: int | None = None

    def exceeded_by(self, usage: Usage) -> Literal["size", "uploads", "active"] | None:
        """Which of the bounds this is beyond."""
        for which in ("size", "uploads", "active"):
            limit: int | None = getattr(self, which)
            if limit is not None and getattr(usage, which) > limit:
                return which
        return None


class Exceeded(Exception):
    """`which` bound would be passed; `usage` is what the owner has now."""

    def __init__(self, which: Literal["size", "uploads", "active"], usage: Usage) -> None:
        super().__init__(which)
        self.which = which
        self.usage = usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are asked for: of an owner (None: of all), with this text in their name,
    created after a moment.
    """

    owner: str | None = None
    name: str = ""
    is_active: bool | None = None
    since: float | None = None


class Ledger(Protocol):
    """A ledger. All but `open` and `close` raise LedgerFailed.

    What is reserved is never more than the quota, whoever reserves at the same time. The sums that
    `usage` and `total` give are those of the entries, at any moment.
    """

    def open(self) -> None:
        """Raises LedgerUnusable."""
        ...

    def close(self) -> None:
        """It may be opened again."""
        ...

    def is_whole(self) -> bool:
        """Whether every upload has an entry, but for those that a crash has come between. What is
        reserved in a ledger that is not is refused with LedgerLost.
        """
        ...

    def begin_count(self) -> str:
        """All uploads are about to be added; gives a token for the end of it."""
        ...

    def end_count(self, token: str) -> bool:
        """All uploads have been added: the ledger is whole, unless it has lost its memory since
        `begin_count`.
        """
        ...

    def reserve(self, entry: Entry, quota: Quota) -> None:
        """Adds an upload if what its owner has then is within the quota. Raises Exceeded,
        LedgerLost.
        """
        ...

    def resize(self, upload_id: str, size: int, quota: Quota) -> None:
        """Makes an upload larger if that is within the quota of its owner, or smaller. Raises
        Exceeded, LedgerLost; an unknown upload is left alone.
        """
        ...

    def stretch(self, upload_id: str, offset: int, limit: int | None, quota: Quota) -> int:
        """Reserves as much as there is behind `offset` for an upload of unknown length, `limit`
        bytes at most (None: no bound), and returns how many. Raises Exceeded if it is none,
        LedgerLost. Of an unknown upload nothing is reserved.
        """
        ...

    def put(self, entry: Entry) -> None:
        """Makes this the entry of its upload, whatever the quota."""
        ...

    def add(self, entries: Sequence[Entry]) -> None:
        """Puts those of these whose uploads have no entry."""
        ...

    def release(self, upload_id: str) -> None:
        """The upload is gone."""
        ...

    def usage(self, owner: str) -> Usage:
        """What this owner has."""
        ...

    def total(self) -> Usage:
        """What all owners have together."""
        ...

    def known(self, upload_ids: Iterable[str]) -> set[str]:
        """Those of these uploads that have an entry."""
        ...

    def find(self, upload_ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of these uploads, of those that have one."""
        ...

    def batch(self, after: Entry | None, owner: str | None, count: int) -> list[Entry]:
        """The next entries behind this one (None: the first), of an owner (None: of all), the
        oldest first; as cheap in the middle as at the beginning.
        """
        ...

    def entries(
        self,
        wanted: Filter,
        *,
        order: Order = "created",
        descending: bool = True,
        limit: int = 100,
        skip: int = 0,
    ) -> list[Entry]:
        """A page of entries; those that are alike in `order` come by their id, in the same
        direction.
        """
        ...

    def count(self, wanted: Filter) -> int:
        """How many entries there are."""
        ...
