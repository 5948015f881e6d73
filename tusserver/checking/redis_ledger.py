"""What quotas and lists in Redis need, tried with the real ledger under keys that nobody else has.

Each step gives whatever it has left a minute to live, so a check that dies leaves nothing for long.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking, Section
from tusserver.checking.redis import explain, refuse_denied
from tusserver.lock.redis_client import open_line, shown
from tusserver.lock.redis_line import FAILURES
from tusserver.policy.ledger import (
    Entry,
    Exceeded,
    Filter,
    LedgerFailed,
    LedgerLost,
    LedgerUnusable,
    Quota,
    Usage,
)
from tusserver.policy.ledger_redis import RedisLedger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.lock.redis_line import Line

_CONNECT, _COMMANDS, _COUNT = "reach the ledger", "run its commands", "count what there is"
_ANSWER = 1.0
"""Seconds."""
_TTL = "60000"
"""Milliseconds."""
_DOUBTFUL = "quotas would not be kept: this is no Redis to keep them in"
_OWNER, _FIRST, _SECOND, _THIRD = "somebody", "a" * 32, "b" * 32, "c" * 32
_NAMES = (
    "whole", "counting", "total", "all", "active", f"of:{_OWNER}", f"usage:{_OWNER}",
    f"upload:{_FIRST}", f"upload:{_SECOND}", f"upload:{_THIRD}", "command",
)  # fmt: skip
_QUOTA = Quota(size=100, uploads=2)


def _entry(upload_id: str, size: int, created: float) -> Entry:
    return Entry(upload_id, _OWNER, size, created)


def _explain(error: Exception) -> Lacking:
    if isinstance(error, LedgerLost):
        return Lacking("what was counted is lost", _DOUBTFUL)
    if isinstance(error, Exceeded):
        return Lacking("an upload within the quota is refused", _DOUBTFUL)
    return explain(error)


class LedgerChecks:
    """A ledger of its own in the Redis at one address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._prefix = f"{{tusserver}}:check-{secrets.token_hex(16)}:"
        self._keys = [self._prefix + name for name in _NAMES]
        self._ledger = RedisLedger(address, self._prefix)
        self._line: Line | None = None

    def section(self) -> Section:
        """All of them, in the order in which they build on each other."""
        ready = (_CONNECT, _COMMANDS, _COUNT)
        reserve = "reserve within a quota"
        checks = (
            Check(_CONNECT, self._connect),
            Check(_COMMANDS, self._commands, after=(_CONNECT,)),
            Check(_COUNT, self._step(self._count), after=(_CONNECT, _COMMANDS)),
            Check(reserve, self._step(self._reserve), after=ready),
            Check("list uploads", self._step(self._list), after=(*ready, reserve)),
            Check("forget an upload", self._step(self._forget), after=(*ready, reserve)),
        )
        failures = (LedgerFailed, LedgerUnusable, LedgerLost, Exceeded, *FAILURES)
        title = f"Quotas and lists in Redis at {shown(self._address)}"
        return Section(title, checks, failures, _explain, self._close)

    def _step(self, work: Callable[[], None]) -> Callable[[], Awaitable[Found]]:
        """The ledger blocks, so it works in a thread."""

        async def run() -> Found:
            try:
                await asyncio.to_thread(work)
            finally:
                with suppress(*FAILURES):
                    for key in self._keys:
                        await self._asked.ask("PEXPIRE", key, _TTL)
            return Found()

        return run

    async def _close(self) -> str:
        await asyncio.to_thread(self._ledger.close)
        if self._line is None:
            return ""
        try:
            await self._line.ask("DEL", *self._keys)
        except FAILURES:
            return f"could not remove {self._prefix}*, which goes in a minute"
        finally:
            await self._line.close()
        return ""

    @property
    def _asked(self) -> Line:
        assert self._line is not None
        return self._line

    async def _connect(self) -> Found:
        await asyncio.to_thread(self._ledger.open)
        self._line = open_line(self._address, _ANSWER)
        return Found()

    async def _commands(self) -> Found:
        """Those of the scripts, too, for of a script Redis does not say which one is refused."""
        key = self._keys[-1]
        await refuse_denied(
            self._asked.ask,
            ("SET", key, "", "PX", _TTL), ("GET", key), ("EXISTS", key), ("HMGET", key, "a"),
            ("HSET", key, "a", "b"), ("HINCRBY", key, "a", "1"), ("ZADD", key, "1", "a"),
            ("ZREM", key, "a"), ("ZRANGE", key, "0", "1"), ("ZCOUNT", key, "0", "1"),
            ("EVAL", "return 1", "0"), ("EVALSHA", "0" * 40, "0"), ("DEL", key),
        )  # fmt: skip
        return Found()

    def _count(self) -> None:
        """As after Redis has lost its memory."""
        ledger = self._ledger
        try:
            ledger.reserve(_entry(_FIRST, 10, 1.0), _QUOTA)
        except LedgerLost:
            pass
        else:
            raise Lacking("an upload is reserved in a ledger that nobody has counted", _DOUBTFUL)
        token = ledger.begin_count()
        ledger.add([_entry(_FIRST, 10, 1.0)])
        if not ledger.end_count(token) or not ledger.is_whole():
            raise Lacking("what was counted is lost", _DOUBTFUL)
        self._expect(Usage(10, 1, 1))

    def _reserve(self) -> None:
        ledger = self._ledger
        ledger.reserve(_entry(_SECOND, 20, 2.0), _QUOTA)
        self._refuse_more(ledger.reserve, _entry(_THIRD, 1, 3.0), _QUOTA)
        self._refuse_more(ledger.resize, _SECOND, 91, _QUOTA)
        ledger.resize(_SECOND, 30, _QUOTA)
        self._expect(Usage(40, 2, 2))
        if ledger.stretch(_SECOND, 5, None, _QUOTA) != 85:
            raise Lacking("not what the quota has left is reserved", _DOUBTFUL)
        ledger.put(Entry(_SECOND, _OWNER, 25, 2.0, is_active=False))
        self._expect(Usage(35, 2, 1))

    def _refuse_more(self, work: Callable[..., None], *args: object) -> None:
        with suppress(Exceeded):
            work(*args)
            raise Lacking("more than the quota is reserved", _DOUBTFUL)

    def _list(self) -> None:
        ledger = self._ledger
        first, second = _entry(_FIRST, 10, 1.0), Entry(_SECOND, _OWNER, 25, 2.0, is_active=False)
        if ledger.entries(Filter(), descending=False) != [first, second]:
            raise Lacking("other uploads are listed than were put down", _DOUBTFUL)
        if ledger.batch(first, _OWNER, 10) != [second] or ledger.count(Filter()) != len(
            ledger.find([_FIRST, _SECOND])
        ):
            raise Lacking("lists are not whole", _DOUBTFUL)

    def _forget(self) -> None:
        for upload_id in (_FIRST, _SECOND):
            self._ledger.release(upload_id)
        self._expect(Usage(0, 0, 0))

    def _expect(self, usage: Usage) -> None:
        for told in (self._ledger.usage(_OWNER), self._ledger.total()):
            if told != usage:
                raise Lacking(f"{told} is told instead of {usage}", _DOUBTFUL)


def ledger_section(address: str) -> Section:
    """The ledger at this address, whose password is never shown."""
    return LedgerChecks(address).section()
