"""The suite's client: what it sends is what it was told, what comes is what it says came."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from conformance.wire import BadAnswer, ConnectionEnded, Wire, chunked, head

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def peer(*answers: bytes, pause: float = 0.0) -> Iterator[Wire]:
    """A wire to somebody who says this, piece by piece, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            for each in answers:
                accepted.sendall(each)
                time.sleep(pause)
            accepted.shutdown(socket.SHUT_WR)
            while accepted.recv(65536):
                """Whatever it is."""

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with Wire(listener.getsockname()[:2], timeout=5) as wire:
        yield wire
    thread.join(5)
    listener.close()


def test_an_answer_in_pieces_with_interim_ones_before_it() -> None:
    pieces = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 104 \r\nUpload-",
        b"Offset: 5\r\n\r\nHTTP/1.1 201 Created\r\nLocation: /x\r\nContent-Le",
        b"ngth: 5\r\n\r\nhel",
        b"lo",
    )
    with peer(*pieces, pause=0.02) as wire:
        answer = wire.answer()
    assert (answer.status, answer.body, answer.interim) == (201, b"hello", (100, 104))
    assert answer.get("LOCATION") == "/x"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_chunked_answer(size: int) -> None:
    data = bytes(range(256)) * 4
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    body = chunked(*pieces, trailers={"X-Late": "1"})
    first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    with peer(first + b"HTTP/1.1 204 No Content\r\n\r\n") as wire:
        assert wire.answer().body == data
        assert wire.answer().status == 204


def test_a_body_until_the_connection_ends() -> None:
    with peer(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo") as wire:
        assert wire.answer().body == b"hello"


def test_answers_to_head_have_no_body() -> None:
    with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 No\r\n\r\n") as wire:
        assert wire.answer("HEAD").status == 200
        assert wire.answer("HEAD").status == 404


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(garbage: bytes) -> None:
    with peer(garbage) as wire, pytest.raises(BadAnswer):
        wire.answer()


@pytest.mark.parametrize(
    "part",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh"],
)
def test_an_answer_that_breaks_off(part: bytes) -> None:
    with peer(part) as wire, pytest.raises(ConnectionEnded):
        wire.answer()


def test_interim_tells_what_comes_first_and_leaves_the_final_answer() -> None:
    with peer(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n") as wire:
        assert wire.interim(within=2) == 100
        assert wire.interim(within=2) == 204
        assert wire.answer().status == 204
        assert wire.is_ended(within=2)


def test_silence_is_no_interim_answer() -> None:
    with peer(b"", pause=0.5) as wire:
        assert wire.interim(within=0.1) is None


def test_a_head_is_what_it_was_told() -> None:
    pairs = [("host", "a"), ("X", "1"), ("X", "é")]
    assert head("PATCH", "/x", pairs) == b"PATCH /x HTTP/1.1\r\nhost: a\r\nX: 1\r\nX: \xe9\r\n\r\n"
    assert head("GET", "*", host="b") == b"GET * HTTP/1.1\r\nHost: b\r\n\r\n"


def test_the_record_shows_what_went_over_the_wire() -> None:
    with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x00\xffab") as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 5000)
        answer = wire.answer()
    assert answer.traffic is not None
    told = answer.traffic.text()
    assert told.startswith("> GET / HTTP/1.1\n> \n> xxx")
    assert "> … 5,018 bytes in all" in told
    assert "< \\x00\xffab" in told or "< \\x00\\xffab" in told
