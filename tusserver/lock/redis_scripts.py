"""What is asked of Redis: a few scripts, each of them one step that nothing can come between.

All keys begin with `{tusserver}:`, whose braces keep them in one slot of a cluster.

`lock:<id>` holds the token of one acquisition and runs out after the lease.
`wanted:<id>` stands while somebody waits for the lock and looks again. So a release knows whether
to tell of it, and a renewal tells its holder of a plea that it did not hear.
`fence` is the highest number given with a lock. It never goes back, not even when Redis has
forgotten everything, since it is at least the time in microseconds.
`ground` tells which run of Redis the locks are of, and since when. A Redis that knows nothing of it
has lost locks: it was started anew, emptied, or is a replica that took over. It gives none out
before all those that it may have lost have run out; their holders put them back meanwhile. The
first question of anybody makes the ground, so that the holders need not come first.
`bus` is the channel of pleas, of news of freed locks, and of who watches (`redis_hints`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, cast

from redis.exceptions import NoScriptError

from tusserver.lock.redis_line import FAILURES, Line
from tusserver.protocol.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.lock.redis_line import Word

_PREFIX = "{tusserver}:"
LOCK, _WANTED, _FENCE, _GROUND, BUS, HINTS = (
    _PREFIX + name for name in ("lock:", "wanted:", "fence", "ground", "bus", "hints:")
)
PLEA, FREED, WATCHED, ASKED = b"plea", b"freed", b"watched", b"asked"
BATCH = 500
"""How many locks are renewed in one step, which takes Redis some 2.5 ms."""

# KEYS[1] is the ground and ARGV[1] the lease in milliseconds. The time is that of Redis, by which
# keys run out, too. A time before the birth of the ground means that the clock was set back.
_GROUND_FIRST = """
local at = redis.call('TIME')
local now = at[1] * 1000000 + at[2]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known = redis.call('HMGET', KEYS[1], 'run_id', 'born')
local born = tonumber(known[2])
if known[1] ~= run or not born or born > now then
    born = now
    redis.call('HSET', KEYS[1], 'run_id', run, 'born', string.format('%.0f', born))
end
local fresh = math.max(0, born + ARGV[1] * 1000 - now)
"""

# KEYS: ground, lock, wanted, fence, channel. ARGV: lease, token, plea (empty: nobody is to be
# disturbed), for how many milliseconds it holds.
_ACQUIRE = (
    _GROUND_FIRST
    + """
if fresh > 0 then return {0, fresh} end
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[1]) then
    -- The same token: the answer to this very question was lost on its way.
    if redis.call('GET', KEYS[2]) ~= ARGV[2] then
        if ARGV[3] ~= '' then
            redis.call('SET', KEYS[3], '', 'PX', ARGV[4])
            redis.call('PUBLISH', KEYS[5], ARGV[3])
        end
        return {0, 0}
    end
end
redis.call('DEL', KEYS[3])
local fence = math.max(tonumber(redis.call('GET', KEYS[4]) or '0') + 1, now)
redis.call('SET', KEYS[4], string.format('%.0f', fence))
return {fence, 0}
"""
)

# KEYS: ground, then pairs of lock and wanted. ARGV: lease, tokens. A missing lock is put back
# on a fresh ground only: elsewhere it has run out, and may have been somebody else's since.
_RENEW = (
    _GROUND_FIRST
    + """
local kept = {fresh}
for number = 2, #ARGV do
    local lock = KEYS[2 * number - 2]
    local token = redis.call('GET', lock)
    if token == ARGV[number] then
        redis.call('PEXPIRE', lock, ARGV[1])
        kept[number] = 1 + redis.call('EXISTS', KEYS[2 * number - 1])
    elseif not token and fresh > 0 then
        redis.call('SET', lock, ARGV[number], 'PX', ARGV[1])
        kept[number] = 1
    else
        kept[number] = 0
    end
end
return kept
"""
)

# KEYS: lock, wanted, channel. ARGV: token, news.
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
redis.call('DEL', KEYS[1])
if redis.call('DEL', KEYS[2]) == 1 then redis.call('PUBLISH', KEYS[3], ARGV[2]) end
return {1}
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer to an acquisition: the number that came with the lock, or 0 if it was not given;
    then for how many more seconds Redis gives out none at all.
    """

    fence: int
    fresh_for: float


class Kept(IntEnum):
    """What a renewal says of one lock."""

    LOST = 0
    HELD = 1
    WANTED = 2


class Scripts:
    """The scripts, on one line. Each raises StorageUnavailable if Redis does not answer."""

    def __init__(self, line: Line, lease: float, look_again: float) -> None:
        """Locks run out after `lease` seconds; whoever waits asks each `look_again` seconds."""
        self._line = line
        self._lease = round(lease * 1000)
        # An answer may take as long as a renewal is apart from the next one.
        self._plea = round((lease / 4 + look_again) * 1000)

    async def acquire(self, upload_id: str, token: str, *, pleads: bool) -> Asked:
        """Takes the lock if it is free; else, if it is to, asks the holder to let go."""
        keys = [_GROUND, *_keys_of(upload_id), _FENCE, BUS]
        plea = message(PLEA, upload_id) if pleads else b""
        fence, fresh = await self._run(_ACQUIRE, keys, [self._lease, token, plea, self._plea])
        return Asked(fence, fresh / 1_000_000)

    async def renew(self, locks: Sequence[tuple[str, str]]) -> tuple[float, list[Kept]]:
        """Renews these locks, given by id and token. For how many more seconds Redis gives out
        none, and what became of each.
        """
        keys = [_GROUND, *(key for upload_id, _ in locks for key in _keys_of(upload_id))]
        tokens = [token for _, token in locks]
        fresh, *kept = await self._run(_RENEW, keys, [self._lease, *tokens])
        return fresh / 1_000_000, [Kept(one) for one in kept]

    async def release(self, upload_id: str, token: str) -> None:
        """Frees the lock, if it is held with this token, and tells whoever waits for it."""
        news = message(FREED, upload_id)
        await self._run(_RELEASE, [*_keys_of(upload_id), BUS], [token, news])

    async def _run(self, script: str, keys: Sequence[str], words: Sequence[Word]) -> list[int]:
        rest = (len(keys), *keys, *words)
        try:
            try:
                answer = await self._line.ask("EVALSHA", _digest(script), *rest)
            except NoScriptError:
                # Redis remembers it from now on, until it is restarted.
                answer = await self._line.ask("EVAL", script, *rest)
        except FAILURES as error:
            raise StorageUnavailable(
                "the locks cannot be reached; try again in a moment"
            ) from error
        return cast("list[int]", answer)


@cache
def _digest(script: str) -> str:
    """The name by which Redis knows a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _keys_of(upload_id: str) -> tuple[str, str]:
    return LOCK + upload_id, _WANTED + upload_id


def message(kind: bytes, upload_id: str) -> bytes:
    """What is said on the bus."""
    return kind + b"\0" + upload_id.encode()


def read_message(data: bytes) -> tuple[bytes, str]:
    """What was said on the bus, and about which upload; whatever it is, without an error."""
    kind, _, upload_id = data.partition(b"\0")
    return kind, upload_id.decode("utf-8", "replace")
