"""What a Redis lacks is noticed and named; the locks in it are left alone."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checking import states, tried
from tests.checking.rewriting import rewriting
from tests.lock.redis_server import PREFIX, RedisServer, redis_server
from tests.servers import free_port
from tusserver.checking.base import Result, State
from tusserver.checking.redis import redis_section
from tusserver.lock.redis import RedisLocker

pytestmark = pytest.mark.anyio

COMMANDS = "run commands"
CONNECT, SCRIPTS, HEAR = "reach Redis", "run scripts", "hear messages"
LOCK, POLICY, KIND = "take, renew and free a lock", "keep what it was told", "version and kind"
_LOSE = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"
RUN_OUT = "free it after its lease"
MANUAL = Path(__file__).parents[2] / "docs" / "redis-locks.md"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def checked(address: str, *only: str) -> dict[str, Result]:
    return await tried(redis_section(address), *only)


def rights() -> list[str]:
    found = re.search(r"rights: `([^`]+)`", MANUAL.read_text())
    assert found
    return found[1].split()


async def test_a_good_redis_has_everything_and_its_locks_are_left_alone(redis: RedisServer) -> None:
    locker = RedisLocker(redis.address)
    await locker.start()
    lock = await locker.acquire("a" * 32, 5)
    found = await checked(redis.address)
    assert states(found, State.OK) == {}
    assert lock.is_held
    assert not lock.release_requested
    with redis.client() as client:
        assert set(client.keys()) == {
            f"{PREFIX}{key}" for key in ("ground", "fence", "lock:" + "a" * 32)
        }
    await lock.release()
    await locker.close()


async def test_the_rights_of_the_manual_are_enough_and_are_what_is_advised(
    redis: RedisServer,
) -> None:
    address = as_user(redis, *rights())
    assert states(await checked(address), State.OK) == {}
    address = as_user(redis, *rights(), "-publish")
    advice = (await checked(address, HEAR))[HEAR].advice
    assert advice.removeprefix("give the user ").split() == rights()


def as_user(redis: RedisServer, *rights: str) -> str:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "tus", "reset", "on", ">secret", *rights)
    return redis.address.replace("://", "://tus:secret@")


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ("info", CONNECT), ("evalsha", SCRIPTS), ("publish", HEAR), ("subscribe", HEAR),
        *((name, COMMANDS) for name in (
            "set", "get", "exists", "pexpire", "hmget", "hset", "time", "del",
        )),
    ],
)  # fmt: skip
async def test_a_right_that_is_missing_is_named(
    redis: RedisServer, missing: str, name: str
) -> None:
    result = (await checked(as_user(redis, *rights(), f"-{missing}"), name))[name]
    assert result.state is State.MISSING
    assert result.text.startswith("not allowed: ")
    assert missing in result.text.lower()
    assert f"+{missing}" in result.advice


@pytest.mark.parametrize(
    ("right", "name"), [("resetchannels", HEAR), ("resetkeys", COMMANDS)], ids=["channel", "keys"]
)
async def test_channels_and_keys_need_rights_too(redis: RedisServer, right: str, name: str) -> None:
    result = (await checked(as_user(redis, *rights(), right), name))[name]
    assert (result.state, "not allowed" in result.text) == (State.MISSING, True), result


async def test_a_wrong_password_is_told_and_never_shown(redis: RedisServer) -> None:
    as_user(redis, *rights())
    found = await checked(redis.address.replace("://", "://tus:another@"))
    assert "the password is refused" in found[CONNECT].text
    del found[CONNECT]
    assert set(states(found).values()) == {State.UNTRIED}
    assert "another" not in repr(found)


async def test_a_redis_that_is_not_there_is_told() -> None:
    result = (await checked(f"redis://127.0.0.1:{free_port()}", CONNECT))[CONNECT]
    assert (result.state, "connecting to 127.0.0.1" in result.text) == (State.MISSING, True)


async def test_a_redis_that_throws_keys_away_is_told(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as redis:
        unlimited = (await checked(redis.address, POLICY))[POLICY]
        assert (unlimited.state, "allkeys-lru" in unlimited.text) == (State.NOTE, True)
        with redis.client() as client:
            client.config_set("maxmemory", "50mb")
        limited = (await checked(redis.address, POLICY))[POLICY]
        assert (limited.state, "may throw locks away" in limited.text) == (State.MISSING, True)


async def test_a_replica_is_told(redis: RedisServer, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--replicaof", "127.0.0.1", str(redis.port)) as replica:
        found = await checked(replica.address, KIND)
    assert (found[KIND].state, "replica" in found[KIND].text) == (State.MISSING, True)


async def test_a_cluster_is_told(tmp_path: Path) -> None:
    # Without it, a port that many free ones are too high for.
    bus = ("--cluster-port", str(free_port()))
    with redis_server(tmp_path, "--cluster-enabled", "yes", *bus) as node:
        found = await checked(node.address, KIND)
    assert (found[KIND].state, "cluster" in found[KIND].text) == (State.NOTE, True)


async def test_one_that_is_new_is_told_when_it_gives_out_locks(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--loglevel", "warning") as redis:
        found = await checked(redis.address, LOCK)
    assert (found[SCRIPTS].state, "it is new" in found[SCRIPTS].text) == (State.NOTE, True)
    assert found[LOCK].state is State.OK


@contextmanager
def losing(redis: RedisServer, keys: str) -> Iterator[None]:
    """Such keys vanish all the time."""
    is_over = threading.Event()

    def lose() -> None:
        with redis.client() as client:
            while not is_over.is_set():
                client.eval(_LOSE, 0, f"{PREFIX}{keys}")

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


async def test_locks_that_do_not_last_for_their_lease_are_told(redis: RedisServer) -> None:
    with losing(redis, "lock:check-*-short"):
        result = (await checked(redis.address, RUN_OUT))[RUN_OUT]
    assert result.state is State.MISSING
    assert re.search(r"a lock for 0.5 s was free after 0.\d\d s", result.text)


async def test_locks_that_vanish_are_told(redis: RedisServer) -> None:
    with losing(redis, "lock:check-*"):
        result = (await checked(redis.address, LOCK))[LOCK]
    assert result.state is State.MISSING
    assert "given out once more" in result.text or "could not be renewed" in result.text


@pytest.mark.parametrize(
    ("words", "name", "state", "told"),
    [
        ({b"redis_version:7": b"redis_version:4"}, KIND, State.MISSING, "Redis 4."),
        ({b"redis_version:7": b"redis_version:6"}, KIND, State.NOTE, "Redis 6."),
        ({b"redis_mode:standalone": b"redis_mode:sentinel  "}, KIND, State.MISSING, "a Sentinel"),
        ({b"maxmemory_policy": b"maxmemory_nothing"[:16]}, POLICY, State.NOTE, "does not tell"),
        ({b"*2\r\n$10\r\n1": b"*2\r\n$10\r\n2"}, "clocks agree", State.NOTE, "differ by 10000000"),
        ({b"freed\0check": b"lost!\0check"}, HEAR, State.MISSING, "did not come back"),
    ],
    ids=["old", "untried", "sentinel", "policy", "clock", "messages"],
)
async def test_a_redis_that_is_not_as_it_should_be_is_told(
    redis: RedisServer, words: dict[bytes, bytes], name: str, state: State, told: str
) -> None:
    with rewriting(redis.port, words) as address:
        result = (await checked(address, name))[name]
    assert (result.state, told in result.text) == (state, True), result


async def test_a_redis_that_is_far_away_is_told(redis: RedisServer) -> None:
    name = "answer fast"
    with rewriting(redis.port, {}, delay=0.025) as address:
        result = (await checked(address, name))[name]
    assert (result.state, "twice as long" in result.advice) == (State.NOTE, True)
