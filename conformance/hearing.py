"""Answers, where the end of the connection (or silence) tells something too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.verdict import Unverifiable
from conformance.wire import Answer, BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from typing import Self

    from conformance.tus import Tus
    from conformance.wire import Traffic, Wire


_MORE_WITHIN = 1.0
"""Seconds in which an answer to what was no request comes, if one does."""


class NoAnswer(str):
    """In words, what came in place of an answer."""

    def __new__(cls, words: str, traffic: Traffic, *, is_end: bool = False) -> Self:
        made = super().__new__(cls, words)
        made.traffic = traffic
        made.is_end = is_end
        return made

    traffic: Traffic
    is_end: bool
    """Whether the connection was closed, which may be an answer too."""


def heard(wire: Wire, method: str = "GET") -> Answer | NoAnswer:
    """The next answer, to a request with this method, or what came in its place."""
    try:
        return wire.answer(method)
    except ConnectionEnded as error:
        return NoAnswer(f"no answer: {error}", wire.traffic, is_end=True)
    except TimeoutError:
        return NoAnswer("no answer in time", wire.traffic)
    except BadAnswer as error:
        return NoAnswer(f"no HTTP: {error}", wire.traffic)


def heard_all(wire: Wire, *methods: str) -> list[Answer | NoAnswer]:
    """The answers to these requests, and to any behind them, until the connection is closed. It
    need not be once all are answered; a silence before stands last.
    """
    found: list[Answer | NoAnswer] = []
    while len(found) < len(methods) or wire.has_more(within=_MORE_WITHIN):
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        one = heard(wire, method)
        if isinstance(one, NoAnswer):
            return found if one.is_end else [*found, one]
        found.append(one)
    return found


def is_refused(got: Answer | NoAnswer) -> bool:
    """Whether it is a 4xx, or the connection was closed instead."""
    return got.status in range(400, 500) if isinstance(got, Answer) else got.is_end


def is_taken(got: Answer | NoAnswer) -> bool:
    """Whether it is a 2xx."""
    return isinstance(got, Answer) and got.status in range(200, 300)


def plain_upload(c: Tus) -> None:
    """Raises Unverifiable when an upload does not even work without any trouble, or HEAD does not
    tell how far it has come: trouble would show nothing then.
    """
    url, data = c.mk(4), b"abcd"
    for offset in (0, 2, 4):
        answer = c.hd(url)
        if answer.all("upload-offset") != [str(offset)]:
            raise Unverifiable(f"HEAD does not tell that a plain upload is at {offset}: {answer}")
        if offset < 4:
            c.sent(url, offset, data[offset : offset + 2])
