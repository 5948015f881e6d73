"""Answers as bytes: lengths, chunks, closes, and nothing that breaks out of its line."""

from __future__ import annotations

import pytest

from tusserver.serving.framing import Framing


def answer(
    status: int,
    headers: list[tuple[bytes, bytes]],
    *pieces: bytes,
    is_head: bool = False,
    closes: bool = False,
) -> bytes:
    framing = Framing(is_head=is_head)
    data = framing.head(status, headers, closes=closes)
    for piece in pieces[:-1]:
        data += framing.body(piece, is_last=False)
    return data + framing.body(pieces[-1] if pieces else b"", is_last=True)


LENGTH = [(b"Content-Length", b"5")]


@pytest.mark.parametrize(
    ("given", "bytes_sent"),
    [
        (
            answer(200, LENGTH, b"hel", b"lo"),
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            answer(200, [(b"x", b"y")], b"hel", b"", b"lo"),
            b"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ),
        (
            answer(200, [(b"Transfer-Encoding", b"chunked")], b"hello"),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (answer(204, []), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (answer(304, []), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (
            answer(200, LENGTH, b"hello", is_head=True),
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        (answer(200, [], b"hello", is_head=True), b"HTTP/1.1 200 OK\r\n\r\n"),
        (
            answer(204, [], closes=True),
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
        ),
        (
            answer(204, [(b"Connection", b"Close")], closes=True),
            b"HTTP/1.1 204 No Content\r\nconnection: Close\r\n\r\n",
        ),
        (answer(460, [(b"content-length", b"0")]), b"HTTP/1.1 460 \r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_the_bytes_of_an_answer(given: bytes, bytes_sent: bytes) -> None:
    assert given == bytes_sent


def test_an_application_may_ask_to_close() -> None:
    framing = Framing(is_head=False)
    framing.head(200, [(b"connection", b"keep-alive, close")], closes=False)
    assert framing.asks_to_close


@pytest.mark.parametrize("pieces", [(b"hell",), (b"hel", b"loo"), (b"hello!",), ()])
def test_a_body_of_another_length_than_was_told_is_an_error(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(RuntimeError, match="Content-Length"):
        answer(200, LENGTH, *pieces)


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b", b"a\nb", b"a\rb"])
def test_a_header_cannot_break_out_of_its_line(value: bytes) -> None:
    for header in ((b"x", value), (value, b"x")):
        with pytest.raises(RuntimeError, match="end of a line"):
            answer(200, [header])
