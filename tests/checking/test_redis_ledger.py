"""What a ledger in Redis lacks is noticed and named; that of the servers is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.checking import states, tried
from tests.checking.rewriting import rewriting
from tests.checking.test_redis import as_user, losing, rights
from tests.lock.redis_server import PREFIX, RedisServer, redis_server
from tests.servers import free_port
from tusserver.checking.base import Result, State
from tusserver.checking.redis_ledger import ledger_section
from tusserver.policy.ledger import Entry
from tusserver.policy.ledger_redis import RedisLedger

pytestmark = pytest.mark.anyio

CONNECT, COMMANDS, COUNT = "reach the ledger", "run its commands", "count what there is"
RESERVE, LIST = "reserve within a quota", "list uploads"
FORGET = "forget an upload"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def checked(address: str, *only: str) -> dict[str, Result]:
    return await tried(ledger_section(address), *only)


def keys(redis: RedisServer) -> set[str]:
    with redis.client() as client:
        return set(client.keys())


async def test_a_good_redis_has_everything_and_its_ledger_is_left_alone(
    redis: RedisServer,
) -> None:
    ledger = RedisLedger(redis.address)
    ledger.open()
    entry = Entry("a" * 32, "somebody", 10, 1.0)
    ledger.put(entry)
    before = keys(redis)
    assert states(await checked(redis.address), State.OK) == {}
    assert keys(redis) == before
    assert ledger.find([entry.upload_id]) == {entry.upload_id: entry}
    ledger.release(entry.upload_id)
    ledger.close()


async def test_the_rights_of_the_manual_are_enough(redis: RedisServer) -> None:
    assert states(await checked(as_user(redis, *rights())), State.OK) == {}


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ("ping", CONNECT),
        *((name, COMMANDS) for name in (
            "set", "get", "exists", "hmget", "hset", "hincrby", "zadd", "zrem", "zrange", "zcount",
            "eval", "evalsha", "del",
        )),
    ],
)  # fmt: skip
async def test_a_right_that_is_missing_is_named(
    redis: RedisServer, missing: str, name: str
) -> None:
    found = await checked(as_user(redis, *rights(), f"-{missing}"))
    assert found[name].state is State.MISSING
    assert found[name].text.startswith("not allowed: ")
    assert missing in found[name].text.lower()
    assert f"+{missing}" in found[name].advice
    assert found[COUNT].state is State.UNTRIED


async def test_keys_of_others_are_not_enough(redis: RedisServer) -> None:
    found = await checked(as_user(redis, *rights(), "resetkeys", "~{tusserver}:lock*"), COMMANDS)
    assert "not allowed: SET, GET" in found[COMMANDS].text


async def test_a_redis_that_is_not_there_is_told() -> None:
    found = await checked(f"redis://127.0.0.1:{free_port()}")
    assert "connecting to 127.0.0.1" in found[CONNECT].text
    del found[CONNECT]
    assert set(states(found).values()) == {State.UNTRIED}


@pytest.mark.parametrize("lost", ["whole", "usage:*", "upload:*"])
async def test_a_ledger_that_does_not_last_is_told(redis: RedisServer, lost: str) -> None:
    with losing(redis, f"check-*:{lost}"):
        found = await checked(redis.address)
    first = next(result for result in found.values() if result.state is not State.OK)
    assert (first.state, first.name in (COUNT, RESERVE, LIST, FORGET)) == (State.MISSING, True)
    assert "no Redis to keep them in" in first.advice


async def test_what_could_not_be_removed_is_told_and_runs_out(redis: RedisServer) -> None:
    address = as_user(redis, *rights(), "-del")
    found = await checked(address, COMMANDS)
    assert "could not remove {tusserver}:check-" in found["leave nothing behind"].text
    left = {key for key in keys(redis) if key.startswith(f"{PREFIX}check-")}
    assert left
    with redis.client() as client:
        assert all(0 < client.pttl(key) <= 60_000 for key in left)
        client.delete(*left)


async def test_sums_that_are_wrong_are_told(redis: RedisServer) -> None:
    with rewriting(redis.port, {b"$2\r\n10\r\n": b"$2\r\n11\r\n"}) as address:
        found = await checked(address, COUNT)
    assert (found[COUNT].state, "is told instead of" in found[COUNT].text) == (State.MISSING, True)
