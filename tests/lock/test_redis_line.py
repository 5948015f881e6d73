"""One connection for many questions: each gets its own answer, whatever becomes of the others and
of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.lock.redis_server import RedisServer, redis_server
from tusserver.lock.redis_client import open_line
from tusserver.lock.redis_line import FAILURES, Line

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def line(redis: RedisServer) -> AsyncIterator[Line]:
    with redis.client() as client:
        client.delete("n")
    made = open_line(redis.address, 1)
    yield made
    await made.close()


def hang_up(redis: RedisServer) -> None:
    """Redis ends all connections but its own."""
    with redis.client() as client:
        client.client_kill_filter(skipme=True, _type="normal")


async def test_questions_that_are_asked_together_get_their_own_answers(line: Line) -> None:
    answers = await asyncio.gather(*(line.ask("ECHO", number) for number in range(200)))
    assert answers == [str(number).encode() for number in range(200)]


@pytest.mark.parametrize("word", [b"", b"\r\n$1\r\n", b"\xff\0", "é", "x" * 200_000, -5])
async def test_words_of_every_kind(line: Line, word: bytes | str | int) -> None:
    expected = word if isinstance(word, bytes) else str(word).encode()
    assert await line.ask("ECHO", word) == expected


async def test_a_question_that_is_refused_does_not_disturb_the_others(line: Line) -> None:
    asked = (line.ask("ECHO", "a"), line.ask("NONSENSE"), line.ask("ECHO", "b"))
    first, refused, second = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, second) == (b"a", b"b")
    assert isinstance(refused, FAILURES)


async def test_a_connection_that_was_closed_while_nobody_asked_is_made_again(
    redis: RedisServer, line: Line
) -> None:
    for _ in range(3):
        assert await line.ask("ECHO", "a") == b"a"
        hang_up(redis)


async def test_nobody_there_is_an_error_for_all_who_ask(redis: RedisServer) -> None:
    line = open_line("redis://127.0.0.1:1", 1)
    answers = await asyncio.gather(*(line.ask("PING") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, FAILURES) for answer in answers)
    await line.close()


async def test_an_answer_that_came_too_late_is_not_taken_for_another(redis: RedisServer) -> None:
    line = open_line(redis.address, 0.2)
    assert await line.ask("ECHO", "before") == b"before"
    redis.pause()
    with pytest.raises(FAILURES, match=r"no answer within 0\.2 s"):
        await line.ask("ECHO", "late")
    redis.go_on()
    for number in range(20):
        while (answer := await patiently(line, number)) is None:
            await asyncio.sleep(0.01)
        assert answer == str(number).encode()
    await line.close()


async def patiently(line: Line, number: int) -> object:
    try:
        return await line.ask("ECHO", number)
    except FAILURES:
        return None


@pytest.mark.parametrize("is_cut", [False, True], ids=["", "over a lost connection"])
async def test_what_is_given_up_is_asked_all_the_same_and_before_what_follows(
    redis: RedisServer, line: Line, is_cut: bool
) -> None:
    await line.ask("PING")
    if is_cut:
        hang_up(redis)
    given_up = asyncio.create_task(line.ask("INCR", "n"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await line.ask("GET", "n") == b"1"
    assert given_up.cancelled()


async def test_closing_waits_for_what_has_been_asked(redis: RedisServer, line: Line) -> None:
    asked = [asyncio.create_task(line.ask("INCR", "n")) for _ in range(5)]
    await asyncio.sleep(0)
    await line.close()
    assert [task.result() for task in asked] == [1, 2, 3, 4, 5]
