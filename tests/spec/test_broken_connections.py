"""ROB-NET: connections that break, stall or crawl, and servers that are killed."""

from __future__ import annotations

import hashlib
import random
import socket
from base64 import b64encode
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.servers import process_server, running, serving
from tests.spec_ids import spec
from tests.tus import Tus, chunked_headers, eventually, patch_headers
from tests.wire import Wire, chunked, head
from tusserver import create_app
from tusserver.serving import connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Serve
    from tests.servers import ProcessServer

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(10 * MIB)


def await_offset(tus: Tus, url: str, offset: int) -> None:
    """Waits until so many bytes of the running request are stored."""
    eventually(lambda: tus.off(url) == offset)


def finish(tus: Tus, url: str, data: bytes, *, at_least: int = 0) -> None:
    """Completes the upload as clients do: ask, send the rest, ask again when that was refused.

    The offset must never shrink, starting with `at_least`.
    """
    for _ in range(10):
        offset = tus.off(url)
        assert at_least <= offset <= len(data)
        at_least = offset
        if tus.pa(url, offset, data[offset:]).status == 204:
            break
    assert tus.content(url) == data


@spec("ROB-NET-01", "CORE-PATCH-11")
@pytest.mark.parametrize("sent", [1, 300_000, MIB - 1])
def test_what_came_before_a_close_is_kept(tus: Tus, sent: int) -> None:
    data = DATA[:MIB]
    url = tus.mk(MIB)
    with tus.begin_patch(url, 0, MIB) as wire:
        wire.send(data[:sent])
    await_offset(tus, url, sent)
    finish(tus, url, data, at_least=sent)


@spec("ROB-NET-02", "CORE-PATCH-11")
def test_what_was_stored_before_a_reset_is_kept(tus: Tus) -> None:
    data = DATA[:MIB]
    url = tus.mk(MIB)
    with tus.begin_patch(url, 0, MIB) as wire:
        wire.send(data[:200_000])
        await_offset(tus, url, 200_000)
        # These may be lost with the reset, as the kernel throws away what nobody has read yet.
        wire.send(data[200_000:300_000])
        wire.reset()
    assert 200_000 <= tus.off(url) <= 300_000
    finish(tus, url, data, at_least=200_000)


@spec("ROB-NET-03", "CORE-PATCH-11")
@pytest.mark.parametrize(
    ("body", "stored"),
    [
        pytest.param(chunked(*[b"x" * 1000] * 3, end=False), 3000, id="between two chunks"),
        pytest.param(
            chunked(*[b"x" * 1000] * 3, end=False) + b"3e8\r\n" + b"x" * 500,
            3500,
            id="inside a chunk",
        ),
        pytest.param(
            chunked(*[b"x" * 1000] * 3, end=False) + b"3e", 3000, id="inside the size of a chunk"
        ),
        pytest.param(chunked(b"x" * 5000, end=False), 5000, id="before the last chunk"),
        pytest.param(chunked(b"x" * 5000, end=False) + b"0\r\n", 5000, id="before the trailers"),
    ],
)
def test_what_came_before_a_close_in_a_chunked_body_is_kept(
    tus: Tus, body: bytes, stored: int
) -> None:
    url = tus.mk(5000)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0)) + body)
    await_offset(tus, url, stored)
    finish(tus, url, b"x" * 5000, at_least=stored)


BROKEN_CHUNKS = {
    "size of other letters": (b"zz\r\nhello\r\n0\r\n\r\n", 0),
    "negative size": (b"-5\r\nhello\r\n0\r\n\r\n", 0),
    "size with a prefix": (b"0x5\r\nhello\r\n0\r\n\r\n", 0),
    "size with a blank": (b"5 \r\nhello\r\n0\r\n\r\n", 0),
    "size beyond 64 bits": (b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", 0),
    "no size": (b"\r\nhello\r\n0\r\n\r\n", 0),
    "bare line feeds": (b"5\nhello\n0\n\n", 0),
    "bare carriage return": (b"5\rhello\r0\r\r", 0),
    "line feed in an extension": (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 0),
    # The five bytes that the chunk announced had come before its framing broke.
    "no line end after the bytes": (b"5\r\nhello0\r\n\r\n", 5),
    "more bytes than announced": (b"5\r\nhello world\r\n0\r\n\r\n", 5),
    "bare line feed after the bytes": (b"5\r\nhello\n0\r\n\r\n", 5),
}


@spec("ROB-NET-04")
@pytest.mark.parametrize(("bad", "kept"), BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_broken_chunk_framing_ends_the_body_there(tus: Tus, bad: bytes, kept: int) -> None:
    data = b"good hello world"
    url = tus.mk(len(data))
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0)) + chunked(b"good ", end=False) + bad)
        answer = wire.answer("PATCH")
        assert answer.status == 400
        assert answer["Upload-Offset"] == str(5 + kept)
        assert answer["Connection"] == "close"
        assert answer.body.startswith(b"ERR_MALFORMED_BODY")
        assert wire.is_ended()
    assert tus.off(url) == 5 + kept
    finish(tus, url, data)


@spec("ROB-NET-04", "ROB-HTTP-20")
@pytest.mark.parametrize(
    "size", [b"5;ext=1", b'5;a="b;c";d', b"005", b"5;ext"], ids=lambda size: size.decode()
)
def test_odd_but_legal_chunk_framing_is_understood(tus: Tus, size: bytes) -> None:
    url = tus.mk(5)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0)) + size + b"\r\nhello\r\n0\r\n\r\n")
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"hello"


@spec("ROB-NET-05")
@pytest.mark.parametrize("seed", range(3))
def test_an_upload_survives_many_breaks_in_a_row(tus: Tus, seed: int) -> None:
    chance = random.Random(seed)
    url = tus.mk(len(DATA))
    offset = 0
    for _ in range(20):
        before, offset = offset, tus.off(url)
        assert before <= offset
        rest = DATA[offset:]
        with tus.begin_patch(url, offset, len(rest)) as wire:
            wire.send(rest[: chance.randrange(512 * 1024)])
            chance.choice((Wire.close, Wire.reset))(wire)
    finish(tus, url, DATA, at_least=offset)


RESTARTS = pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "two workers"])


def kill_and_restart(server: ProcessServer) -> None:
    server.kill()
    # Workers die a little after the process that the kill has waited for.
    eventually(lambda: is_refused(server.port))
    server.start()


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def await_stored(path: Path, size: int) -> None:
    """Waits for bytes that HEAD must not tell of yet."""
    eventually(lambda: path.stat().st_size == size)


@spec("ROB-NET-06")
@RESTARTS
def test_what_was_acknowledged_survives_a_killed_server(tmp_path: Path, workers: str) -> None:
    data = DATA[:300_000]
    described = {"Upload-Metadata": "filename aGVsbG8=,is_draft", "Upload-Concat": "partial"}
    with process_server(tmp_path / "uploads", "--workers", workers) as server:
        tus = server.tus
        known, deferred = tus.mk(len(data), described), tus.mk(None)
        assert tus.pa(known, 0, data[:100_000]).status == 204
        assert tus.pa(deferred, 0, data[:1]).status == 204
        kill_and_restart(server)
        answer = tus.hd(known)
        assert answer["Upload-Offset"] == "100000"
        assert answer["Upload-Length"] == "300000"
        assert {name: answer[name] for name in described} == described
        assert tus.pa(known, 100_000, data[100_000:]).status == 204
        answer = tus.hd(deferred)
        assert (answer["Upload-Offset"], answer["Upload-Defer-Length"]) == ("1", "1")
        kill_and_restart(server)
        assert tus.hd(known)["Upload-Offset"] == "300000"
        assert tus.content(known) == data


CHECKSUM = {"Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(DATA[:MIB]).digest()).decode()}"}


@spec("ROB-NET-06")
@RESTARTS
def test_a_server_killed_in_the_middle_of_a_patch_keeps_what_had_come(
    tmp_path: Path, workers: str
) -> None:
    data = DATA[:MIB]
    with process_server(tmp_path / "uploads", "--workers", workers) as server, ExitStack() as stack:
        tus = server.tus
        plain, checked = tus.mk(MIB), tus.mk(MIB)
        for url, headers in ((plain, {}), (checked, CHECKSUM)):
            wire = stack.enter_context(tus.begin_patch(url, 0, MIB, headers))
            wire.send(data[:300_000])
            await_stored(server.upload_dir / url.rpartition("/")[2], 300_000)
        kill_and_restart(server)
        assert tus.off(plain) == 300_000
        # Nothing says that these bytes are what the checksum was made of.
        assert tus.off(checked) == 0
        finish(tus, plain, data)
        finish(tus, checked, data)


@spec("ROB-NET-07")
def test_a_slow_but_steady_body_is_fine(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 2.0)
    tus = serve(network_timeout="2s")
    url = tus.mk(25)
    with tus.begin_patch(url, 0, 25) as wire:
        # Longer than either time-out, and never silent for anything like as long.
        wire.send_slowly(b"x" * 25, pause=0.1)
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"x" * 25


@spec("ROB-NET-07", "CORE-PATCH-12", "CORE-PATCH-13")
@pytest.mark.parametrize(
    ("headers", "start"),
    [
        pytest.param(patch_headers(0, 10), b"hello", id="a little missing"),
        pytest.param(patch_headers(0, MIB), b"hello", id="much missing"),
        pytest.param(chunked_headers(0), chunked(b"hello", end=False), id="chunked"),
    ],
)
def test_a_silent_body_is_cut_off_and_what_had_come_is_kept(
    serve: Serve, headers: dict[str, str], start: bytes
) -> None:
    tus = serve(network_timeout="0.5s")
    url = tus.mk(MIB)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, headers) + start)
        answer = wire.answer("PATCH")
        assert answer.status == 503
        assert answer["Upload-Offset"] == "5"
        assert answer["Retry-After"] == "1"
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    finish(tus, url, b"hello" + DATA[: MIB - 5], at_least=5)


@spec("ROB-NET-08")
def test_half_heads_are_dropped_and_meanwhile_the_server_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 2.0)
    monkeypatch.setattr(connection, "LINGER_SILENCE", 0.2)
    with serving(tmp_path / "uploads") as tus, ExitStack() as stack:
        wires = [stack.enter_context(tus.wire()) for _ in range(200)]
        for wire in wires:
            wire.send(b"PATCH /files/1 HTTP/1.1\r\nHost: localhost\r\nTus-")
        tus.assert_live()
        for wire in wires:
            answer = wire.answer()
            assert answer.status == 408
            assert answer["Connection"] == "close"
            assert wire.is_ended()
        tus.assert_live()


@spec("ROB-NET-08")
def test_connections_on_which_nothing_is_said_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.5)
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    with running(app, timeout_keep_alive=1) as server:
        tus = Tus(server.address)
        with tus.wire() as never_used, tus.wire() as used:
            assert used.request("OPTIONS", tus.creation).status == 200
            assert never_used.is_ended()
            assert used.is_ended()
        eventually(lambda: not server.server.server_state.connections)


@spec("ROB-NET-09")
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["closes", "resets"])
def test_a_client_that_leaves_before_the_answer_finds_its_bytes(
    tus: Tus, leave: Callable[[Wire], None]
) -> None:
    data = b"hello world"
    url = tus.mk(len(data))
    with tus.begin_patch(url, 0, len(data)) as wire:
        wire.send(data[:-1])
        await_offset(tus, url, len(data) - 1)
        wire.send(data[-1:])
        if leave is Wire.reset:
            await_offset(tus, url, len(data))
        leave(wire)
    await_offset(tus, url, len(data))
    again = tus.pa(url, 0, data)
    assert again.status == 409
    assert again["Upload-Offset"] == str(len(data))
    assert tus.content(url) == data
