"""The ledger of several hosts: in the Redis that has their locks, too.

Each change is one script (`ledger_scripts`), so that sums are exact whoever is killed when. A Redis
that is restarted without its data, or emptied, has lost all of it; then nothing is reserved until
`Accounts` has counted all uploads anew.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from tusserver.policy import ledger_scripts as scripts
from tusserver.policy.ledger import (
    Entry,
    Exceeded,
    LedgerFailed,
    LedgerLost,
    LedgerUnusable,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tusserver.policy.ledger import Filter, Order, Quota

_TIMEOUT = 1.0
"""Seconds for an answer, as for locks: requests wait for each other here."""
_TRIES = 1
"""Once more, since of a connection that was closed meanwhile one hears only then."""
_AT_ONCE = 500
_FIELDS = ("owner", "size", "created", "is_active", "name")
_BOUNDS: tuple[Literal["size", "uploads", "active"], ...] = ("size", "uploads", "active")


class RedisLedger:
    """The ledger in the Redis at this address, whose keys begin so; see `Ledger`."""

    def __init__(self, address: str, prefix: str = scripts.PREFIX) -> None:
        self._address = address
        self._prefix = prefix
        self._redis: Redis | None = None

    def open(self) -> None:
        self._redis = Redis.from_url(
            self._address,
            decode_responses=True,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), _TRIES),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
        )
        try:
            self._redis.ping()
        except (RedisError, OSError) as error:
            self.close()
            raise LedgerUnusable(f"cannot keep the ledger in Redis: {error}") from error

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def is_whole(self) -> bool:
        return bool(self._do("EXISTS", f"{self._prefix}whole"))

    def begin_count(self) -> str:
        token = secrets.token_hex(8)
        self._do("SET", f"{self._prefix}counting", token)
        return token

    def end_count(self, token: str) -> bool:
        return bool(self._run(scripts.END_COUNT, token)[1])

    def reserve(self, entry: Entry, quota: Quota) -> None:
        bounds = (_or_none(quota.size), _or_none(quota.uploads), _or_none(quota.active))
        self._run(scripts.RESERVE, *_words(entry), *bounds)

    def resize(self, upload_id: str, size: int, quota: Quota) -> None:
        self._run(scripts.RESIZE, upload_id, size, _or_none(quota.size))

    def stretch(self, upload_id: str, offset: int, limit: int | None, quota: Quota) -> int:
        words = (upload_id, offset, _or_none(limit), _or_none(quota.size))
        return self._run(scripts.STRETCH, *words)[1]

    def put(self, entry: Entry) -> None:
        self._run(scripts.PUT, *_words(entry))

    def add(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._run(scripts.ADD, *_words(entry))

    def release(self, upload_id: str) -> None:
        self._run(scripts.RELEASE, upload_id)

    def usage(self, owner: str) -> Usage:
        return self._sums(f"usage:{owner}")

    def total(self) -> Usage:
        return self._sums("total")

    def _sums(self, name: str) -> Usage:
        found = self._do("HMGET", self._prefix + name, "size", "uploads", "active")
        return Usage(*(int(number or 0) for number in found))

    def known(self, upload_ids: Iterable[str]) -> set[str]:
        return set(self.find(upload_ids))

    def find(self, upload_ids: Iterable[str]) -> dict[str, Entry]:
        wanted = list(upload_ids)
        found: dict[str, Entry] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            asked = [("HMGET", f"{self._prefix}upload:{each}", *_FIELDS) for each in some]
            for upload_id, values in zip(some, self._do_all(asked), strict=True):
                if values[0] is not None:
                    found[upload_id] = _entry(upload_id, values)
        return found

    def batch(self, after: Entry | None, owner: str | None, count: int) -> list[Entry]:
        index = "all" if owner is None else f"of:{owner}"
        first = "-inf" if after is None else repr(after.created)
        found: list[Entry] = []
        skip = 0
        while len(found) < count:
            # Of the same time there may be many, of which some have been seen.
            ids = self._ids(index, first, skip, count)
            if not ids:
                break
            skip += len(ids)
            entries = self.find(ids)
            found += [
                entries[each]
                for each in ids
                if each in entries
                and (
                    after is None
                    or (entries[each].created, each) > (after.created, after.upload_id)
                )
            ]
        return found[:count]

    def _ids(self, index: str, first: str, skip: int, count: int) -> list[str]:
        limit = ("LIMIT", skip, count)
        return cast(
            "list[str]",
            self._do("ZRANGE", self._prefix + index, first, "+inf", "BYSCORE", *limit),
        )

    def entries(
        self,
        wanted: Filter,
        *,
        order: Order = "created",
        descending: bool = True,
        limit: int = 100,
        skip: int = 0,
    ) -> list[Entry]:
        if order == "created" and _is_index(wanted):
            bounds = [_after(wanted), "+inf"]
            words = (*reversed(bounds), "BYSCORE", "REV") if descending else (*bounds, "BYSCORE")
            index = self._prefix + _index(wanted)
            ids = self._do("ZRANGE", index, *words, "LIMIT", skip, limit)
            entries = self.find(ids)
            return [entries[each] for each in ids if each in entries]
        chosen = self._all(wanted)
        chosen.sort(key=lambda entry: (getattr(entry, order), entry.upload_id), reverse=descending)
        return chosen[skip : skip + limit]

    def count(self, wanted: Filter) -> int:
        if not _is_index(wanted):
            return len(self._all(wanted))
        return int(self._do("ZCOUNT", self._prefix + _index(wanted), _after(wanted), "+inf"))

    def _all(self, wanted: Filter) -> list[Entry]:
        index = self._prefix + _index(wanted)
        ids = self._do("ZRANGE", index, _after(wanted), "+inf", "BYSCORE")
        return [entry for entry in self.find(ids).values() if _is_wanted(wanted, entry)]

    def _run(self, script: str, *words: object) -> list[int]:
        """The answer of a script. Raises Exceeded, LedgerLost."""
        try:
            answer = self._do("EVALSHA", _digest(script), 0, self._prefix, *words)
        except NoScriptError:
            # Redis remembers it from now on, until it is restarted.
            answer = self._do("EVAL", script, 0, self._prefix, *words)
        if answer[0] < 0:
            raise LedgerLost
        if answer[0] > 0:
            raise Exceeded(_BOUNDS[answer[0] - 1], Usage(*answer[1:]))
        return cast("list[int]", answer)

    def _do(self, *words: Any) -> Any:  # noqa: ANN401
        assert self._redis is not None, "the ledger is not open"
        try:
            return self._redis.execute_command(*words)  # type: ignore[no-untyped-call]
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise _failed(error) from error

    def _do_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        assert self._redis is not None, "the ledger is not open"
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                return pipeline.execute()
        except (RedisError, OSError) as error:
            raise _failed(error) from error


def _failed(error: Exception) -> LedgerFailed:
    is_passing = isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError))
    is_full = isinstance(error, OutOfMemoryError)
    return LedgerFailed(str(error), is_full=is_full, is_passing=is_passing)


@cache
def _digest(script: str) -> str:
    """The name by which Redis knows a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _words(entry: Entry) -> tuple[object, ...]:
    """As the scripts take it."""
    created = repr(float(entry.created))
    return (
        entry.upload_id, entry.owner, entry.size, created, int(entry.is_active), entry.name,
    )  # fmt: skip


def _entry(upload_id: str, values: Sequence[str]) -> Entry:
    owner, size, created, is_active, name = values
    return Entry(upload_id, owner, int(size), float(created), is_active == "1", name)


def _or_none(value: int | None) -> object:
    return "" if value is None else value


def _index(wanted: Filter) -> str:
    """The narrowest list of ids in which all are that are wanted."""
    if wanted.owner is not None:
        return f"of:{wanted.owner}"
    return "active" if wanted.is_active else "all"


def _is_index(wanted: Filter) -> bool:
    """Whether that list has nothing else."""
    is_of_all = wanted.is_active is None or (wanted.is_active and wanted.owner is None)
    return not wanted.name and is_of_all


def _after(wanted: Filter) -> str:
    return "-inf" if wanted.since is None else f"({wanted.since!r}"


def _is_wanted(wanted: Filter, entry: Entry) -> bool:
    if wanted.is_active is not None and entry.is_active != wanted.is_active:
        return False
    return wanted.name.lower() in entry.name.lower()
