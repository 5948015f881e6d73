"""What services of objects do wrong, whichever they are."""

from __future__ import annotations

import time
from email.utils import formatdate

from tests.checking.proxy import Fault, Request, Response, Way


def no_atomic_writes(call: str, refused: Response) -> Fault:
    """Looks first and writes then, so that another one may come in between."""

    def fault(request: Request, way: Way) -> Response:
        wanted = request.headers.get("if-match")
        if request.call != call or wanted is None:
            return way(request)
        answer = way(Request("HEAD", request.target, {}, b""))
        if answer.headers.get("etag", "").strip('"') != wanted.strip('"'):
            return refused
        time.sleep(0.3)
        request.drop("if-match")
        return way(request)

    return fault


class WritesAllTheSame:
    """Says that it refuses a second write, and does it."""

    def __init__(self, call: str, refused: Response) -> None:
        self._call, self._refused = call, refused
        self._written = set[str]()

    def __call__(self, request: Request, way: Way) -> Response:
        if request.call != self._call or "if-none-match" not in request.headers:
            return way(request)
        request.drop("if-none-match")
        answer = way(request)
        if request.target in self._written:
            return self._refused
        self._written.add(request.target)
        return answer


def other_tags(call: str) -> Fault:
    """An object is told with another tag than it was written with."""

    def fault(request: Request, way: Way) -> Response:
        answer = way(request)
        if request.call == call:
            answer.headers["etag"] = '"another"'
        return answer

    return fault


def hanging_up(call: str) -> Fault:
    """The connection ends instead of an answer."""

    def fault(request: Request, way: Way) -> Response:
        if request.call == call:
            raise ConnectionAbortedError
        return way(request)

    return fault


def at_another_time(seconds: float, header: str, status: int = 0) -> Fault:
    """By a clock that is so much ahead; with another status, if there is one."""

    def fault(request: Request, way: Way) -> Response:
        answer = way(request)
        answer.headers[header] = formatdate(time.time() + seconds, usegmt=True)
        answer.status = status or answer.status
        return answer

    return fault
