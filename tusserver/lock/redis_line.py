"""One connection to Redis on which many ask at once.

What is asked while an answer is awaited goes out together afterwards, so that one trip serves many.
The library's own way, a connection for each question that is under way, takes half as long again
for one that is alone, and three times as long where fifty ask.

Questions are asked in the order in which they came. One whose asker does not wait any more is asked
all the same, so whoever gives up an acquisition can release it behind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

FAILURES = (RedisError, OSError)
"""What the library raises when Redis does not answer, or not as it should."""
Word = str | bytes | int


class _Question:
    """What is sent, and the answer to come."""

    __slots__ = ("answer", "is_answered", "sent")

    def __init__(self, words: Sequence[Word]) -> None:
        self.sent = _packed(words)
        self.is_answered = False
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: object) -> None:
        """The answer, or the error that stands for it."""
        self.is_answered = True
        if self.answer.done():
            return  # Nobody waits for it any more.
        if isinstance(outcome, asyncio.CancelledError):
            self.answer.cancel()
        elif isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class Line:
    """The connection; it is made with the first question, and again after it was lost."""

    def __init__(self, make: Callable[[], AbstractConnection], answer_within: float) -> None:
        """`make` gives a connection without time-outs of its own. All that is asked at a time has
        to be answered within so many seconds.
        """
        self._make = make
        self._answer_within = answer_within
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Question] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, *words: Word) -> object:
        """The answer of Redis. Raises what is in FAILURES."""
        question = _Question(words)
        self._waiting.append(question)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await question.answer

    async def close(self) -> None:
        """Waits for what has been asked, and hangs up."""
        while self._worker is not None:
            await asyncio.wait({self._worker})
        await self._hang_up()

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._converse(asked)
        finally:
            self._worker = None

    async def _converse(self, asked: list[_Question]) -> None:
        """Settles all of these, whatever happens."""
        try:
            async with asyncio.timeout(self._answer_within):
                was_idle = self._connection is not None
                try:
                    await self._exchange(asked)
                except RedisConnectionError:
                    # Of a connection that Redis has closed meanwhile one hears only now. To ask
                    # twice does no harm: all that we ask is asked with the token of one lock, or
                    # is a hint.
                    if not was_idle:
                        raise
                    await self._hang_up()
                    await self._exchange(asked)
        except BaseException as error:
            # Answers that come after all must not be taken for those to other questions.
            await self._hang_up()
            for question in asked:
                question.settle(self._told(error))
            if not isinstance(error, FAILURES):
                raise

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, TimeoutError):
            return RedisTimeoutError(f"no answer within {self._answer_within:g} s")
        return error

    async def _exchange(self, asked: list[_Question]) -> None:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._make()
            await connection.connect()  # type: ignore[no-untyped-call]
        todo = [question for question in asked if not question.is_answered]
        await connection.send_packed_command([one.sent for one in todo], check_health=False)
        for question in todo:
            try:
                answer = await connection.read_response(disable_decoding=True)
            except ResponseError as error:
                answer = error  # Redis has refused this one; the others follow.
            question.settle(answer)

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _packed(words: Sequence[Word]) -> bytes:
    """As Redis reads it: the number of words, then each with its length."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
