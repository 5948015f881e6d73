"""The ledger of one host, over processes and crashes: one SQLite file for all workers.

Each change is one transaction, so that sums are exact whoever is killed when. A loss of power may
take the last changes (`synchronous=NORMAL` of a write-ahead log) but leaves the file whole; what it
says that the store does not know is put right by `Accounts`. It is opened after a fork.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tusserver.policy.ledger import Entry, Exceeded, LedgerFailed, LedgerUnusable, Quota, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tusserver.policy.ledger import Filter, Order

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
_PUT = "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)"
_ADD_UNKNOWN = _PUT.replace("REPLACE", "IGNORE")
_SUMS = "SELECT COALESCE(SUM(size), 0), COUNT(*), COALESCE(SUM(is_active), 0) FROM uploads"


class FileLedger:
    """The ledger in this file, which is made if it is missing; see `Ledger`."""

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
        if self._database is not None:
            self._database.close()
            self._database = None

    def is_whole(self) -> bool:
        """Always: the file loses nothing but by what is reviewed anyway."""
        return True

    def begin_count(self) -> str:
        return ""

    def end_count(self, token: str) -> bool:
        return True

    def reserve(self, entry: Entry, quota: Quota) -> None:
        with self._transaction() as database:
            usage = self.usage(entry.owner)
            after = Usage(usage.size + entry.size, usage.uploads + 1, usage.active + 1)
            which = quota.exceeded_by(after)
            if which is not None:
                raise Exceeded(which, usage)
            database.execute(_PUT, _row(entry))

    def resize(self, upload_id: str, size: int, quota: Quota) -> None:
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
        self._do(_PUT, _row(entry))

    def add(self, entries: Sequence[Entry]) -> None:
        with self._transaction() as database:
            database.executemany(_ADD_UNKNOWN, [_row(entry) for entry in entries])

    def release(self, upload_id: str) -> None:
        self._do("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))

    def usage(self, owner: str) -> Usage:
        return Usage(*self._do(f"{_SUMS} WHERE owner = ?", (owner,))[0])

    def total(self) -> Usage:
        return Usage(*self._do(_SUMS, ())[0])

    def known(self, upload_ids: Iterable[str]) -> set[str]:
        wanted = json.dumps(list(upload_ids))
        query = "SELECT upload_id FROM uploads WHERE upload_id IN (SELECT value FROM json_each(?))"
        return {str(row[0]) for row in self._do(query, (wanted,))}

    def find(self, upload_ids: Iterable[str]) -> dict[str, Entry]:
        wanted = json.dumps(list(upload_ids))
        query = "SELECT * FROM uploads WHERE upload_id IN (SELECT value FROM json_each(?))"
        return {str(row[0]): _entry(row) for row in self._do(query, (wanted,))}

    def batch(self, after: Entry | None, owner: str | None, count: int) -> list[Entry]:
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
        where, values = _where(wanted)
        direction = "DESC" if descending else "ASC"
        # `order` is one of three words, nothing of a stranger's.
        query = f"SELECT * FROM uploads WHERE {where} ORDER BY {order} {direction}, upload_id {direction} LIMIT ? OFFSET ?"  # noqa: E501
        return [_entry(row) for row in self._do(query, [*values, limit, skip])]

    def count(self, wanted: Filter) -> int:
        where, values = _where(wanted)
        count: int = self._do(f"SELECT COUNT(*) FROM uploads WHERE {where}", values)[0][0]
        return count

    def _do(self, statement: str, values: Sequence[object]) -> list[tuple[int, ...]]:
        assert self._database is not None, "the ledger is not open"
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(error) from error

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
            raise _failed(error) from error
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


def _row(entry: Entry) -> tuple[object, ...]:
    """As the table has it."""
    counted = (entry.size, entry.created, int(entry.is_active))
    return (entry.upload_id, entry.owner, *counted, entry.name)


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


def _where(wanted: Filter) -> tuple[str, list[object]]:
    """The condition in SQL, and its parameters."""
    terms, values = ["TRUE"], list[object]()
    if wanted.owner is not None:
        terms.append("owner = ?")
        values.append(wanted.owner)
    if wanted.name:
        terms.append("instr(lower(name), lower(?)) > 0")
        values.append(wanted.name)
    if wanted.is_active is not None:
        terms.append("is_active = ?")
        values.append(int(wanted.is_active))
    if wanted.since is not None:
        terms.append("created > ?")
        values.append(wanted.since)
    return " AND ".join(terms), values


def _failed(error: sqlite3.Error) -> LedgerFailed:
    return LedgerFailed(str(error), is_full=_code(error) == sqlite3.SQLITE_FULL)
