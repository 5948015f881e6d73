"""The stream body on its own: bounds, interruptions, silence, servers that know more or less."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tusserver.asgi.body import EXTENSION, StreamBody
from tusserver.protocol.decision import Outcome
from tusserver.store.base import BodyInterrupted

pytestmark = pytest.mark.anyio


class Channel:
    """The receive callable of a server: gives these messages, then waits for more."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in messages:
            self.queue.put_nowait(message)

    async def __call__(self) -> dict[str, Any]:
        return await self.queue.get()


class Extension:
    """What our own server tells besides."""

    trailers = ((b"x-foo", b"1"),)
    body_outcome = Outcome.SHUTDOWN
    is_abandoned = False
    is_gone = False
    has_news = False

    def abandon_body(self) -> None:
        self.is_abandoned = True


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: dict[str, Any] = {"type": "http.disconnect"}


def a_body(*messages: dict[str, Any], idle: float = 30.0, extension: object = None) -> StreamBody:
    scope = {"extensions": {EXTENSION: extension}} if extension else {}
    return StreamBody(scope, Channel(*messages), idle)


async def drained(body: StreamBody) -> tuple[bytes, Outcome]:
    data = b""
    try:
        while buffer := await body.read():
            data += buffer
    except BodyInterrupted as interruption:
        return data, interruption.outcome
    return data, Outcome.COMPLETE


async def test_messages_are_given_out_as_they_come_and_empty_ones_skipped() -> None:
    body = a_body(part(b"a"), part(b""), part(b"bc"), part(b"", more=False))
    assert await body.read() == b"a"
    assert await body.read() == b"bc"
    assert await body.read() == b""
    assert await body.read() == b""


async def test_a_message_without_keys_is_the_end() -> None:
    assert await drained(a_body({"type": "http.request"})) == (b"", Outcome.COMPLETE)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, (b"abcde", Outcome.COMPLETE)),
        (6, (b"abcde", Outcome.COMPLETE)),
        (5, (b"abcde", Outcome.COMPLETE)),
        (4, (b"abcd", Outcome.TOO_LONG)),
        (3, (b"abc", Outcome.TOO_LONG)),
        (0, (b"", Outcome.TOO_LONG)),
    ],
)
async def test_a_bound_is_kept_to_the_byte(
    limit: int | None, expected: tuple[bytes, Outcome]
) -> None:
    body = a_body(part(b"abc"), part(b"de", more=False))
    body.bound(limit)
    assert await drained(body) == expected


async def test_a_client_that_goes_away_is_told_after_its_bytes() -> None:
    assert await drained(a_body(part(b"abc"), GONE)) == (b"abc", Outcome.DISCONNECTED)


async def test_our_server_says_why_the_body_broke_off() -> None:
    assert await drained(a_body(part(b"a"), GONE, extension=Extension())) == (
        b"a",
        Outcome.SHUTDOWN,
    )


async def test_trailers_come_from_a_server_that_has_them() -> None:
    assert list(a_body(extension=Extension()).trailers) == [(b"x-foo", b"1")]
    assert list(a_body().trailers) == []


async def test_our_server_is_told_that_the_rest_is_not_waited_for() -> None:
    extension = Extension()
    body = a_body(part(b"a"), extension=extension, idle=0.01)
    await body.read()
    assert not extension.is_abandoned
    with pytest.raises(BodyInterrupted):
        await body.read()
    assert extension.is_abandoned


async def test_silence_ends_the_body() -> None:
    assert await drained(a_body(part(b"a"), idle=0.01)) == (b"a", Outcome.IDLE)


async def test_slow_but_steady_clients_are_not_silent() -> None:
    channel = Channel()
    body = StreamBody({}, channel, 0.2)

    async def drip() -> None:
        for _ in range(5):
            await asyncio.sleep(0.1)
            channel.queue.put_nowait(part(b"x"))
        channel.queue.put_nowait(part(b"", more=False))

    (data, outcome), _ = await asyncio.gather(drained(body), drip())
    assert (data, outcome) == (b"xxxxx", Outcome.COMPLETE)


async def interrupted_while_waiting(act: Callable[[StreamBody], object]) -> tuple[bytes, Outcome]:
    body = a_body(part(b"a"))
    reading = asyncio.create_task(drained(body))
    await asyncio.sleep(0.01)
    act(body)
    return await reading


async def test_an_interruption_reaches_one_who_waits() -> None:
    result = await interrupted_while_waiting(lambda body: body.interrupt(Outcome.RELEASED))
    assert result == (b"a", Outcome.RELEASED)


async def test_the_first_interruption_counts() -> None:
    def twice(body: StreamBody) -> None:
        body.interrupt(Outcome.RELEASED)
        body.interrupt(Outcome.SHUTDOWN)

    assert await interrupted_while_waiting(twice) == (b"a", Outcome.RELEASED)


async def test_an_interruption_before_reading_leaves_nothing_to_read() -> None:
    body = a_body(part(b"a"))
    body.interrupt(Outcome.CANCELLED)
    assert await drained(body) == (b"", Outcome.CANCELLED)


async def test_a_cancelled_request_stays_cancelled() -> None:
    body = a_body(part(b"a"))
    reading = asyncio.create_task(drained(body))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_cancelled_and_interrupted_at_once_is_cancelled() -> None:
    body = a_body(part(b"a"))
    reading = asyncio.create_task(drained(body))
    await asyncio.sleep(0.01)
    body.interrupt(Outcome.RELEASED)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
