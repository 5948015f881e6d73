"""What locks in Redis need, tried with the real locker on locks that nobody else has.

Whatever a check leaves when it dies runs out by itself, within a lease.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from statistics import median
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from tusserver.checking.base import Check, Found, Lacking, Section
from tusserver.lock.base import LockerUnusable
from tusserver.lock.redis import Lease, RedisLocker, boot_time
from tusserver.lock.redis_client import bus_client, open_line, policy_in, shown
from tusserver.lock.redis_line import FAILURES, Line
from tusserver.lock.redis_scripts import BUS, FREED, LOCK, Kept, Scripts, message
from tusserver.protocol.errors import TusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

_TRIPS = 20
_SLOW = 0.02
"""Seconds of a round trip from which on every short request is felt to wait for its lock."""
_SHORT_LEASE = 0.5
_TOLERANCE = 0.9
"""Clocks run at the same speed within a tenth, or locks are not safe."""
_WARN_SKEW = 60.0
_OLDEST, _TRIED = 5, 7
"""Major versions of Redis: the first with what the scripts do, and the one that is tried."""
_RIGHTS = (
    "give the user ~{tusserver}:* &{tusserver}:* +eval +evalsha +script|load +info +time +ping "
    "+select +subscribe +unsubscribe +publish +get +set +del +exists +pexpire +hmget +hset +hget "
    "+hincrby +zadd +zrem +zrange +zcount"
)
_COMMANDS, _CONNECT, _SCRIPTS, _LOCK = (
    "run commands",
    "reach Redis",
    "run scripts",
    "take, renew and free a lock",
)
_DENIED = re.compile(r"NOPERM|no permissions|ACL failure|can't run this command")


def explain(error: Exception) -> Lacking:
    """What an error of Redis means for the operator."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    reason = str(error) or type(error).__name__
    if _DENIED.search(reason):
        return Lacking(f"not allowed: {reason}", _RIGHTS)
    if "WRONGPASS" in reason or "NOAUTH" in reason or "invalid username" in reason:
        return Lacking(f"the password is refused: {reason}", "see user and password of --lock")
    return Lacking(reason, "see the address of --lock and the log of Redis")


async def refuse_denied(ask: Callable[..., Awaitable[object]], *commands: tuple[str, ...]) -> None:
    """Raises Lacking with the names of those that the user of Redis may not run. They may fail in
    any other way.
    """
    refused = list[str]()
    # Rights are looked at first: that a key is no hash is said only to one who may ask.
    for words in commands:
        try:
            await ask(*words)
        except ResponseError as error:
            if _DENIED.search(str(error)):
                refused.append(words[0])
    if refused:
        raise Lacking(f"not allowed: {', '.join(refused)}", _RIGHTS)


class RedisChecks:
    """A Redis at one address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lease = Lease()
        self._name = f"check-{secrets.token_hex(16)}"
        self._line: Line | None = None
        self._bus: Redis | None = None
        self._lockers: list[RedisLocker] = []
        self._info: dict[str, str] = {}

    def section(self) -> Section:
        """All of them, in the order in which they build on each other."""
        checks = (
            Check(_CONNECT, self._connect),
            Check("version and kind", self._version, after=(_CONNECT,)),
            Check("keep what it was told", self._policy, after=(_CONNECT,)),
            Check(_COMMANDS, self._commands, after=(_CONNECT,)),
            Check(_SCRIPTS, self._scripts, after=(_CONNECT, _COMMANDS)),
            Check("hear messages", self._hear, after=(_CONNECT,)),
            Check(_LOCK, self._lock, after=(_CONNECT, _SCRIPTS)),
            Check("free it after its lease", self._run_out, after=(_CONNECT, _SCRIPTS, _LOCK)),
            Check("answer fast", self._trip, after=(_CONNECT, _SCRIPTS)),
            Check("clocks agree", self._clock, is_needed=False, after=(_CONNECT,)),
        )
        failures = (LockerUnusable, TusError, *FAILURES)
        title = f"Locks in Redis at {shown(self._address)}"
        return Section(title, checks, failures, explain, self._close)

    async def _close(self) -> str:
        for locker in self._lockers:
            await locker.close()
        if self._bus is not None:
            await self._bus.aclose()
        if self._line is not None:
            await self._line.close()
        return ""

    @property
    def _asked(self) -> Line:
        assert self._line is not None
        return self._line

    async def _connect(self) -> Found:
        started = time.monotonic()
        self._line = open_line(self._address, self._lease.renewed_every)
        told = await self._line.ask("INFO")
        assert isinstance(told, bytes)
        pairs = (line.partition(":") for line in told.decode("utf-8", "replace").splitlines())
        self._info = {key: value.strip() for key, colon, value in pairs if colon}
        return Found(f"answered in {(time.monotonic() - started) * 1000:.0f} ms")

    async def _version(self) -> Found:
        version = self._info.get("redis_version", "")
        kind, role = self._info.get("redis_mode", "standalone"), self._info.get("role", "master")
        if role != "master":
            text = "it is a replica, which takes no locks"
            raise Lacking(text, "name the primary, by a host name that moves with it")
        if kind == "sentinel":
            raise Lacking("it is a Sentinel", "name the Redis that it watches over")
        major = re.match(r"\d+", version)
        if major and int(major[0]) < _OLDEST:
            raise Lacking(f"Redis {version}", f"Redis {_OLDEST} is the oldest that may work")
        told = f"Redis {version or 'of unknown version'}, {kind}"
        if kind == "cluster":
            advice = "the servers follow no redirections: name the node that has the locks"
            return Found(told, advice, is_note=True)
        if major and int(major[0]) < _TRIED:
            return Found(told, f"tried is Redis {_TRIED}", is_note=True)
        return Found(told)

    async def _policy(self) -> Found:
        told = await self._asked.ask("INFO", "memory")
        policy = policy_in(told)
        if policy is None:
            return Found("it does not tell its maxmemory-policy", is_note=True)
        limit, name = policy
        if name == "noeviction":
            return Found("maxmemory-policy noeviction")
        advice = "set maxmemory-policy to noeviction"
        if limit:
            text = f"it may throw locks away when it is short of memory (maxmemory-policy {name})"
            raise Lacking(text, advice)
        return Found(f"maxmemory-policy {name}, without a limit", advice, is_note=True)

    async def _commands(self) -> Found:
        """Those that the scripts run, for of a script Redis does not say which one is refused."""
        key = f"{LOCK}{self._name}"
        await self._asked.ask("SET", key, "", "PX", "1000")
        await refuse_denied(
            self._asked.ask,
            ("GET", key), ("EXISTS", key), ("PEXPIRE", key, "1000"), ("HMGET", key, "a"),
            ("HSET", key, "a", "b"), ("TIME",), ("INFO", "server"), ("DEL", key),
        )  # fmt: skip
        return Found()

    def _our_scripts(self, lease: float) -> Scripts:
        return Scripts(self._asked, lease, self._lease.look_again)

    async def _scripts(self) -> Found:
        fresh_for, _ = await self._our_scripts(self._lease.seconds).renew(())
        if not fresh_for:
            return Found()
        text = f"it is new, or was emptied, and gives out locks in {fresh_for:.1f} s"
        return Found(text, is_note=True)

    async def _hear(self) -> Found:
        self._bus = bus_client(self._address, self._lease.renewed_every)
        # Of a lock that nobody has: whoever else hears of it has nothing to do.
        told, bus = message(FREED, self._name), self._bus.pubsub()
        try:
            async with asyncio.timeout(self._lease.renewed_every):
                await bus.subscribe(BUS)
                await bus.get_message(timeout=None)
                await self._asked.ask("PUBLISH", BUS, told)
                while (await bus.get_message(timeout=None) or {}).get("data") != told:
                    pass
        except TimeoutError:
            text = f"a message did not come back within {self._lease.renewed_every:g} s"
            raise Lacking(text, "requests would wait for locks that are free already") from None
        finally:
            await bus.aclose()  # type: ignore[no-untyped-call]
        return Found()

    async def _lock(self) -> Found:
        """Two lockers, as on two hosts."""
        ours, other = RedisLocker(self._address), RedisLocker(self._address)
        self._lockers += [ours, other]
        for locker in (ours, other):
            await locker.start()
        lock = await ours.try_acquire(self._name)
        if lock is None:
            raise Lacking("a lock that nobody has is not given out", _DOUBTFUL)
        if await other.try_acquire(self._name) is not None:
            raise Lacking("a lock that is held was given out once more", _DOUBTFUL)
        _, kept = await self._our_scripts(self._lease.seconds).renew([(self._name, lock.token)])
        if kept != [Kept.HELD]:
            raise Lacking("a lock that is held could not be renewed", _DOUBTFUL)
        asked = asyncio.Event()
        lock.on_release_request(asked.set)
        taking = asyncio.create_task(other.acquire(self._name, self._lease.seconds))
        try:
            async with asyncio.timeout(self._lease.seconds):
                await asked.wait()
        except TimeoutError:
            taking.cancel()
            raise Lacking("the holder did not hear that its lock is wanted", _DOUBTFUL) from None
        await lock.release()
        await (await taking).release()
        return Found("and hand it over")

    async def _run_out(self) -> Found:
        scripts, name = self._our_scripts(_SHORT_LEASE), f"{self._name}-short"
        started = boot_time()
        if not (await scripts.acquire(name, "first", pleads=False)).fence:
            raise Lacking("a lock that nobody has is not given out", _DOUBTFUL)
        while not (await scripts.acquire(name, "second", pleads=False)).fence:
            if boot_time() - started > _SHORT_LEASE * 4:
                raise Lacking("a lock that is not renewed is not freed", _DOUBTFUL)
            await asyncio.sleep(_SHORT_LEASE / 50)
        took = boot_time() - started
        await scripts.release(name, "second")
        if took < _SHORT_LEASE * _TOLERANCE:
            text = f"a lock for {_SHORT_LEASE:g} s was free after {took:.2f} s"
            raise Lacking(text, "see why the clock of Redis runs so fast, or was set")
        return Found(f"{took:.2f} s for one of {_SHORT_LEASE:g} s")

    async def _trip(self) -> Found:
        scripts, spans = self._our_scripts(self._lease.seconds), list[float]()
        for _ in range(_TRIPS):
            started = time.monotonic()
            await scripts.renew(())
            spans.append(time.monotonic() - started)
        text = f"{median(spans) * 1000:.1f} ms in the middle, {max(spans) * 1000:.1f} ms at most"
        if median(spans) < _SLOW:
            return Found(text)
        return Found(text, "each short request waits twice as long for its lock", is_note=True)

    async def _clock(self) -> Found:
        before = time.time()
        told = await self._asked.ask("TIME")
        ours = (before + time.time()) / 2
        assert isinstance(told, list)
        skew = int(told[0]) + int(told[1]) / 1e6 - ours
        if abs(skew) < _WARN_SKEW:
            return Found(f"within {max(0.01, abs(skew)):.2f} s")
        advice = "locks do not rely on it; but if it is set forward now, all locks run out at once"
        return Found(f"they differ by {abs(skew):.0f} s", advice, is_note=True)


_DOUBTFUL = "two servers could take the same upload: this is no Redis to keep locks in"


def redis_section(address: str) -> Section:
    """The locks at this address, whose password is never shown."""
    return RedisChecks(address).section()
