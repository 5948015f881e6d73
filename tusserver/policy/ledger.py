"""Who has reserved how many bytes, over processes and crashes: one SQLite file for all workers.

Each change is one transaction, so that sums are exact whoever is killed when. A loss of power may
take the last changes (`synchronous=NORMAL` of a write-ahead log) but leaves the file whole; what it
says that the store does not know is put right by `Limits`. Blocking; one connection, to be used by
one thread at a time and opened after a fork.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

Order = Literal["created", "name", "size"]

_PATIENCE = 10.0
"""Seconds to wait for the transactions of others."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY, owner TEXT NOT NULL, size INTEGER NOT NULL,
    created REAL NOT NULL, is_active INTEGER NOT NULL, name TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_of_owner ON uploads (owner, created);
CREATE INDEX IF NOT EXISTS uploads_by_time ON uploads (created);
CREATE INDEX IF NOT EXISTS active_uploads ON uploads (is_active, created) WHERE is_active;
"""
_ADD = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)"
_SUMS = "SELECT COALESCE(SUM(size), 0), COUNT(*), COALESCE(SUM(is_active), 0) FROM uploads"


class LedgerUnusable(Exception):
    """The file cannot be used; one sentence for the operator."""


class LedgerFailed(Exception):
    """Reading or writing failed; nothing has changed. `is_full`: there is no room on the disk."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(f"the ledger: {error}")
        self.is_full = _code(error) == sqlite3.SQLITE_FULL


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

    def where(self) -> tuple[str, list[object]]:
        """The condition in SQL, and its parameters."""
        terms, values = ["TRUE"], list[object]()
        if self.owner is not None:
            terms.append("owner = ?")
            values.append(self.owner)
        if self.name:
            terms.append("instr(lower(name), lower(?)) > 0")
            values.append(self.name)
        if self.is_active is not None:
            terms.append("is_active = ?")
            values.append(int(self.is_active))
        if self.since is not None:
            terms.append("created > ?")
            values.append(self.since)
        return " AND ".join(terms), values


class Ledger:
    """The ledger in this file, which is made if it is missing. All but `open` and `close` raise
    LedgerFailed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Raises LedgerUnusable."""
        try:
            # Nobody else's business, whatever the umask. A file that is there must not be opened:
            # closing it again would take away the locks that SQLite has on it in this process, and
            # the next process to close it would remove the log that we go on writing to.
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            database = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(database)
            except BaseException:
                database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise LedgerUnusable(f"cannot keep the ledger {self._path}: {error}") from error
        self._database = database

    def close(self) -> None:
        """It may be opened again."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def reserve(self, entry: Entry, quota: Quota) -> None:
        """Adds an upload if what its owner has then is within the quota. Raises Exceeded."""
        with self._transaction() as database:
            usage = self.usage(entry.owner)
            after = Usage(usage.size + entry.size, usage.uploads + 1, usage.active + 1)
            which = quota.exceeded_by(after)
            if which is not None:
                raise Exceeded(which, usage)
            row = (entry.upload_id, entry.owner, entry.size, entry.created)
            database.execute(_ADD, (*row, int(entry.is_active), entry.name))

    def resize(self, upload_id: str, size: int, quota: Quota) -> None:
        """Makes an upload larger if that is within the quota of its owner, or smaller. Raises
        Exceeded; an unknown upload is left alone.
        """
        with self._transaction() as database:
            entry = self.get(upload_id)
            if entry is None or entry.size == size:
                return
            usage = self.usage(entry.owner)
            after = Usage(usage.size - entry.size + size, usage.uploads, usage.active)
            if size > entry.size and quota.size is not None and after.size > quota.size:
                raise Exceeded("size", usage)
            database.execute("UPDATE uploads SET size = ? WHERE upload_id = ?", (size, upload_id))

    def stretch(self, upload_id: str, offset: int, limit: int | None, quota: Quota) -> int:
        """Reserves as much as there is behind `offset` for an upload of unknown length, `limit`
        bytes at most (None: no bound), and returns how many. Raises Exceeded if it is none.
        """
        assert quota.size is not None
        with self._transaction() as database:
            entry = self.get(upload_id)
            if entry is None:
                return quota.size if limit is None else limit
            usage = self.usage(entry.owner)
            room = quota.size - usage.size + entry.size - offset
            if room <= 0:
                raise Exceeded("size", usage)
            room = room if limit is None else min(room, limit)
            size = "UPDATE uploads SET size = ? WHERE upload_id = ?"
            database.execute(size, (offset + room, upload_id))
            return room

    def put(self, entry: Entry) -> None:
        """Makes this the entry of its upload, whatever the quota."""
        row = (entry.upload_id, entry.owner, entry.size, entry.created)
        self._do(_ADD, (*row, int(entry.is_active), entry.name))

    def settle(self, upload_id: str, size: int, is_active: bool) -> None:
        """The upload has this size now, whatever the quota; an unknown upload is left alone."""
        values = (size, int(is_active), upload_id)
        self._do("UPDATE uploads SET size = ?, is_active = ? WHERE upload_id = ?", values)

    def finish(self, upload_id: str) -> None:
        """The upload is not active any more."""
        self._do("UPDATE uploads SET is_active = 0 WHERE upload_id = ?", (upload_id,))

    def release(self, upload_id: str) -> None:
        """The upload is gone."""
        self._do("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))

    def usage(self, owner: str) -> Usage:
        """What this owner has."""
        return Usage(*self._do(f"{_SUMS} WHERE owner = ?", (owner,))[0])

    def total(self) -> Usage:
        """What all owners have together."""
        return Usage(*self._do(_SUMS, ())[0])

    def known(self, upload_ids: Iterable[str]) -> set[str]:
        """Those of these uploads that have an entry."""
        wanted = json.dumps(list(upload_ids))
        query = "SELECT upload_id FROM uploads WHERE upload_id IN (SELECT value FROM json_each(?))"
        return {str(row[0]) for row in self._do(query, (wanted,))}

    def find(self, upload_ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of these uploads, of those that have one."""
        wanted = json.dumps(list(upload_ids))
        query = "SELECT * FROM uploads WHERE upload_id IN (SELECT value FROM json_each(?))"
        return {str(row[0]): _entry(row) for row in self._do(query, (wanted,))}

    def batch(self, after: Entry | None, owner: str | None, count: int) -> list[Entry]:
        """The next entries behind this one (None: the first), of an owner (None: of all), the
        oldest first; as cheap in the middle as at the beginning.
        """
        terms, values = ["TRUE"], list[object]()
        if owner is not None:
            terms.append("owner = ?")
            values.append(owner)
        if after is not None:
            terms.append("(created, upload_id) > (?, ?)")
            values += (after.created, after.upload_id)
        where = " AND ".join(terms)
        query = f"SELECT * FROM uploads WHERE {where} ORDER BY created, upload_id LIMIT ?"
        return [_entry(row) for row in self._do(query, [*values, count])]

    def get(self, upload_id: str) -> Entry | None:
        """The entry of this upload."""
        rows = self._do("SELECT * FROM uploads WHERE upload_id = ?", (upload_id,))
        return _entry(rows[0]) if rows else None

    def entries(
        self,
        wanted: Filter,
        *,
        order: Order = "created",
        descending: bool = True,
        limit: int = 100,
        skip: int = 0,
    ) -> list[Entry]:
        """A page of entries; those that are alike in `order` come by their id."""
        where, values = wanted.where()
        direction = "DESC" if descending else "ASC"
        # `order` is one of three words, nothing of a stranger's.
        query = f"SELECT * FROM uploads WHERE {where} ORDER BY {order} {direction}, upload_id LIMIT ? OFFSET ?"  # noqa: E501
        return [_entry(row) for row in self._do(query, [*values, limit, skip])]

    def count(self, wanted: Filter) -> int:
        """How many entries there are."""
        where, values = wanted.where()
        count: int = self._do(f"SELECT COUNT(*) FROM uploads WHERE {where}", values)[0][0]
        return count

    def _do(self, statement: str, values: Sequence[object]) -> list[tuple[int, ...]]:
        assert self._database is not None, "the ledger is not open"
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerFailed(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._database is not None, "the ledger is not open"
        database = self._database
        try:
            # At once the only writer: what is read before a write still holds then.
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerFailed(error) from error
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")


def _prepare(database: sqlite3.Connection) -> None:
    """Another process that does the same at this moment is waited for: SQLite itself does not, once
    two want the write-ahead log.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _code(error: sqlite3.Error) -> int | None:
    """The primary result code; None for an error that is not SQLite's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _entry(row: Sequence[object]) -> Entry:
    upload_id, owner, size, created, is_active, name = row
    return Entry(
        str(upload_id),
        str(owner),
        int(size),  # type: ignore[call-overload]
        float(created),  # type: ignore[arg-type]
        bool(is_active),
        str(name),
    )
