"""CORE-PATCH: bytes for the end of an upload, and only there."""

from __future__ import annotations

import asyncio
import random
import secrets
import select
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.servers import running
from tests.spec.test_core_general import JSON, assert_refused
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually, patch_headers
from tests.wire import Answer, ConnectionEnded, Wire, chunked, head
from tusserver import create_app
from tusserver.lock.file import FileLocker


@spec("CORE-PATCH-01", "CORE-PATCH-06", "CORE-PATCH-07")
def test_patch_appends_its_body(tus: Tus) -> None:
    url = tus.mk(10)
    for offset, data in ((0, b"hello"), (5, b"world")):
        answer = tus.pa(url, offset, data)
        assert answer.status == 204
        assert answer["Upload-Offset"] == str(offset + 5)
        assert answer.get("Content-Length") is None
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-03")
@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/offset+octet-streams",
        "text/plain; a=application/offset+octet-stream",
        "application/partial-upload",
    ],
)
def test_bytes_under_another_label_are_refused(tus: Tus, label: str | None) -> None:
    url = tus.mk(4)
    headers = patch_headers(0, 4)
    del headers["Content-Type"]
    if label is not None:
        headers["Content-Type"] = label
    assert tus.request("PATCH", url, headers, b"abcd").status == 415
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-PATCH-04", "CORE-PATCH-05", "CORE-PATCH-22")
def test_a_wrong_offset_is_a_conflict_that_tells_the_right_one(tus: Tus) -> None:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    for offset in (0, 4, 6, 10, 11, 10**9):
        for data in (b"x", b"", b"too many bytes"):
            answer = tus.pa(url, offset, data)
            assert answer.status == 409
            assert answer["Upload-Offset"] == "5"
            assert tus.off(url) == 5
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-04", "CORE-PATCH-05", "CORE-PATCH-22")
def test_a_wrong_offset_is_a_conflict_after_the_end_too(tus: Tus) -> None:
    url = tus.made(b"helloworld")
    for offset, data in ((5, b"world"), (0, b"helloworld"), (11, b""), (0, b"")):
        answer = tus.pa(url, offset, data)
        assert answer.status == 409
        assert answer["Upload-Offset"] == "10"
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-06", "CORE-PATCH-07", "CORE-PATCH-08")
def test_each_answer_tells_the_offset_behind_the_bytes_of_its_request(tus: Tus) -> None:
    data = random.Random(8).randbytes(1_200_000)
    url, offset = tus.mk(len(data)), 0
    for size in (1, 2, 4095, 4096, 65537, 1024 * 1024, 0, len(data)):
        piece = data[offset : offset + size]
        answer = tus.pa(url, offset, piece)
        assert answer.status == 204
        offset += len(piece)
        assert answer["Upload-Offset"] == str(offset)
        assert tus.off(url) == offset
    assert tus.content(url) == data


@spec("CORE-PATCH-09")
@pytest.mark.parametrize("offset", [0, 5])
def test_patch_on_an_unknown_upload_finds_nothing(tus: Tus, offset: int) -> None:
    url = f"{tus.creation}{secrets.token_hex(16)}"
    answer = tus.pa(url, offset, b"abcd")
    assert answer.status == 404
    assert answer.get("Upload-Offset") is None
    assert tus.hd(url).status == 404


@spec("CORE-PATCH-10")
def test_two_hundred_patches_of_one_byte_share_a_connection(tus: Tus) -> None:
    data = bytes(range(200))
    url = tus.mk(len(data))
    with tus.wire() as wire:
        for offset in range(200):
            piece = data[offset : offset + 1]
            answer = wire.request("PATCH", url, patch_headers(offset, 1), piece)
            assert answer.status == 204
            assert answer["Upload-Offset"] == str(offset + 1)
    assert tus.content(url) == data


@spec("CORE-PATCH-11")
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_the_bytes_before_a_broken_connection_are_stored(tus: Tus, framing: str) -> None:
    data = random.Random(11).randbytes(300_000)
    url = tus.mk(2 * len(data))
    with tus.wire() as wire:
        if framing == "chunked":
            sent = head("PATCH", url, chunked_headers(0)) + chunked(data, end=False)
        else:
            sent = head("PATCH", url, patch_headers(0, 2 * len(data))) + data
        wire.send(sent)
    eventually(lambda: tus.off(url) == len(data))
    tus.assert_intact(url, len(data), data)
    assert tus.content(url) == data + data


@spec("CORE-PATCH-12")
@pytest.mark.parametrize("length", [10, 1_000_000, None], ids=["short", "long", "unannounced"])
def test_a_silent_client_is_told_and_cut_off(serve: Serve, length: int | None) -> None:
    tus = serve(network_timeout="0.3s")
    url = tus.mk(length or 10)
    headers = patch_headers(0, length) if length else chunked_headers(0)
    sent = b"hello" if length else chunked(b"hello", end=False)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, headers) + sent)
        answer = wire.answer("PATCH")
        assert answer.status == 503
        assert answer["Upload-Offset"] == "5"
        assert answer["Retry-After"] == "1"
        assert answer.body.startswith(b"ERR_READ_TIMEOUT: ")
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    tus.assert_intact(url, 5, b"world")
    assert tus.off(url) == 10


@spec("CORE-PATCH-13")
def test_a_slow_client_is_not_cut_off(serve: Serve) -> None:
    tus = serve(network_timeout="2s")
    url = tus.mk(26)
    started = time.monotonic()
    with tus.begin_patch(url, 0, 26) as wire:
        # Longer than the time-out altogether, but never silent for so long.
        wire.send_slowly(26 * b"x", pause=0.09)
        assert time.monotonic() - started > 2
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == 26 * b"x"


@spec("CORE-PATCH-14")
def test_patch_without_an_offset_is_refused(tus: Tus) -> None:
    url = tus.mk(4)
    headers = patch_headers(0, 4)
    del headers["Upload-Offset"]
    answer = tus.request("PATCH", url, headers, b"abcd")
    assert answer.status == 400
    assert answer.body.startswith(b"ERR_INVALID_OFFSET: ")
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-PATCH-15")
@pytest.mark.parametrize(
    "label",
    [
        "Application/Offset+Octet-Stream",
        "APPLICATION/OFFSET+OCTET-STREAM",
        "application/offset+octet-stream; charset=binary",
        "application/offset+octet-stream;charset=utf-8",
        "application/offset+octet-stream ;x=y",
    ],
)
def test_the_label_is_compared_as_a_media_type(tus: Tus, label: str) -> None:
    url = tus.mk(4)
    assert tus.pa(url, 0, b"abcd", {"Content-Type": label}).status == 204
    assert tus.content(url) == b"abcd"


@spec("CORE-PATCH-16")
def test_an_announced_body_that_is_too_long_is_refused_whole(tus: Tus) -> None:
    url = tus.mk(5)
    for offset, too_long, piece in ((0, b"0123456789", b"he"), (2, b"llo!", b"llo")):
        answer = tus.pa(url, offset, too_long)
        assert answer.status == 413
        assert answer.body.startswith(b"ERR_UPLOAD_SIZE_EXCEEDED: ")
        tus.assert_intact(url, offset, piece)
    assert tus.content(url) == b"hello"


@spec("CORE-PATCH-17")
def test_an_unannounced_body_is_stopped_at_the_length(tus: Tus) -> None:
    url = tus.mk(5)
    with tus.wire() as wire:
        body = chunked(b"0123", b"4567", b"89")
        answer = wire.request("PATCH", url, chunked_headers(0), body)
        assert answer.status == 413
        assert answer["Upload-Offset"] == "5"
    assert tus.off(url) == 5
    assert tus.content(url) == b"01234"
    # The bytes that were too many count for nothing, in the next request either.
    assert tus.pa(url, 5, b"").status == 204


@spec("CORE-PATCH-17")
def test_an_endless_body_is_answered_at_the_length_and_cut_off(tus: Tus) -> None:
    url = tus.mk(5)
    piece = chunked(64 * 1024 * b"x", end=False)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0)))
        answer_comes = _send_until_answered(wire, piece, times=1600)
        assert answer_comes
        answer = wire.answer("PATCH")
        assert answer.status == 413
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    assert tus.off(url) == 5
    assert tus.content(url) == b"xxxxx"


def _send_until_answered(wire: Wire, piece: bytes, times: int) -> bool:
    for _ in range(times):
        wire.send(piece)
        if select.select([wire.socket], [], [], 0)[0]:
            return True
    return False


@spec("CORE-PATCH-18")
def test_an_empty_body_at_the_right_offset_changes_nothing(tus: Tus) -> None:
    url = tus.mk(10)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        for _ in range(2):
            answer = tus.pa(url, offset, b"")
            assert answer.status == 204
            assert answer["Upload-Offset"] == str(offset)
        assert tus.pa(url, offset, data).status == 204
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-19")
@pytest.mark.parametrize("data", [b"", b"x"])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_a_complete_upload_does_not_change(tus: Tus, data: bytes, framing: str) -> None:
    url = tus.made(b"helloworld")
    if framing == "announced":
        answer = tus.pa(url, 10, data)
    else:
        answer = tus.request("PATCH", url, chunked_headers(10), chunked(*filter(None, [data])))
    assert answer.status == (413 if data else 204)
    if not data:
        assert answer["Upload-Offset"] == "10"
    assert tus.off(url) == 10
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-20")
def test_a_body_of_unannounced_length_is_stored(tus: Tus) -> None:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"he").status == 204
    with tus.wire() as wire:
        answer = wire.request("PATCH", url, chunked_headers(2), chunked(b"llo", b"w", b"orld"))
        assert answer.status == 204
        assert answer["Upload-Offset"] == "10"
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == "10"
    assert tus.content(url) == b"helloworld"


@spec("CORE-PATCH-21")
@pytest.mark.parametrize(
    ("status", "target", "headers"),
    [
        pytest.param(409, "unfinished", {"Upload-Offset": "3"}, id="wrong offset"),
        pytest.param(404, "unknown", {}, id="unknown upload"),
        pytest.param(412, "unfinished", {"Tus-Resumable": "2.0.0"}, id="wrong version"),
        pytest.param(415, "unfinished", {"Content-Type": "text/plain"}, id="wrong label"),
        pytest.param(415, "unfinished", {"Content-Encoding": "gzip"}, id="coded"),
        pytest.param(403, "final", {}, id="final upload"),
        pytest.param(413, "unfinished", {}, id="too long"),
        pytest.param(400, "unfinished", {"Upload-Offset": "x"}, id="no offset"),
        pytest.param(400, "unfinished", {"Upload-Length": "11"}, id="other length"),
    ],
)
def test_a_doomed_request_is_answered_before_its_body_comes(
    tus: Tus, status: int, target: str, headers: dict[str, str]
) -> None:
    partial = tus.made(b"abcd", {"Upload-Concat": "partial"})
    urls = {"unfinished": tus.mk(10), "unknown": f"{tus.creation}{secrets.token_hex(16)}"}
    joined = tus.post({"Upload-Concat": f"final;{partial}"})
    urls["final"] = tus.location(joined)
    with tus.wire(timeout=5) as wire:
        wire.send(head("PATCH", urls[target], patch_headers(0, 1024**3, headers)))
        answer = wire.answer("PATCH")
        assert answer.status == status
        assert answer["Connection"] == "close"
        assert wire.is_ended()
    tus.assert_intact(urls["unfinished"], 0, b"helloworld")


@spec("CORE-PATCH-21")
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_a_doomed_creation_is_answered_before_its_body_comes(tus: Tus, framing: str) -> None:
    size = {"Content-Length": str(1024**3)}
    if framing == "chunked":
        size = {"Transfer-Encoding": "chunked"}
    with tus.wire(timeout=5) as wire:
        wire.send(head("POST", tus.creation, {**VERSION, **OCTETS, **size}))
        assert wire.answer("POST").status == 400
        with pytest.raises(ConnectionEnded):
            wire.answer("POST")


# The form of refusals; `uploads` is the directory of the server that a provocation starts.


@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (400, "ERR_INVALID_OFFSET", {"Upload-Offset": "+0"}),
        (400, "ERR_INVALID_UPLOAD_LENGTH", {"Upload-Length": "5"}),
        (400, "ERR_INVALID_UPLOAD_LENGTH", {"Upload-Length": "\xb2<script>" + 5000 * "9"}),
        (400, "ERR_INVALID_CHECKSUM", {"Upload-Checksum": "sha1"}),
        (400, "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM", {"Upload-Checksum": "sha0 YWJjZA=="}),
        (409, "ERR_MISMATCHED_OFFSET", {"Upload-Offset": "1"}),
        (412, "ERR_UNSUPPORTED_VERSION", {"Tus-Resumable": "2.0.0"}),
        (415, "ERR_INVALID_CONTENT_TYPE", {"Content-Type": "text/plain"}),
        (415, "ERR_INVALID_CONTENT_ENCODING", {"Content-Encoding": "gzip"}),
        (460, "ERR_CHECKSUM_MISMATCH", {"Upload-Checksum": "sha1 " + 27 * "A" + "="}),
    ],
)
def test_refusals_of_patch_have_a_code_and_a_sentence(
    tus: Tus, status: int, code: str, headers: dict[str, str], accept: dict[str, str]
) -> None:
    url = tus.mk(4)
    assert_refused(tus.pa(url, 0, b"abcd", {**headers, **accept}), status, code, accept)
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("code", "body", "headers"),
    [
        ("ERR_MALFORMED_BODY", b"zz\r\nabcd\r\n", {}),
        ("ERR_INVALID_CHECKSUM", chunked(b"abcd"), {"Trailer": "Upload-Checksum"}),
    ],
)
def test_refusals_of_chunked_bodies_have_a_code_and_a_sentence(
    tus: Tus, code: str, body: bytes, headers: dict[str, str], accept: dict[str, str]
) -> None:
    url = tus.mk(4)
    answer = tus.request("PATCH", url, chunked_headers(0, {**headers, **accept}), body)
    assert_refused(answer, 400, code, accept)
    tus.assert_intact(url, 0, b"abcd")


Provocation = Callable[[Serve, Path, dict[str, str]], Answer]


def unknown(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    return serve().pa(f"/files/{secrets.token_hex(16)}", 0, b"abcd", accept)


def final(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve()
    partial = tus.made(b"abcd", {"Upload-Concat": "partial"})
    joined = tus.post({"Upload-Concat": f"final;{partial}"})
    return tus.pa(tus.location(joined), 0, b"abcd", accept)


def too_long(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve()
    return tus.pa(tus.mk(4), 0, b"abcde", accept)


def longer_than_the_maximum(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve(max_size="10")
    return tus.pa(tus.mk(None), 0, b"abcd", {"Upload-Length": "11", **accept})


def expired(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve(expire_after="0.2s")
    url = tus.mk(4)
    eventually(lambda: tus.hd(url).status == 410)
    return tus.pa(url, 0, b"abcd", accept)


def with_a_damaged_record(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve()
    url = tus.mk(4)
    (uploads / f"{url.rpartition('/')[2]}.info").write_text("{")
    return tus.pa(url, 0, b"abcd", accept)


def held_by_a_process_that_hangs(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve(acquire_lock_timeout="0.2s", lock="file")
    url = tus.mk(4)

    async def ask_while_held() -> Answer:
        locker = FileLocker(uploads / ".tusserver")
        await locker.start()
        try:
            assert await locker.try_acquire(url.rpartition("/")[2]) is not None
            # Blocks this loop, so that nobody hears the plea to let go.
            return tus.pa(url, 0, b"abcd", accept)
        finally:
            await locker.close()

    return asyncio.run(ask_while_held())


def taken_over(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve()
    url = tus.mk(4)
    with tus.begin_patch(url, 0, 4, accept) as wire:
        wire.send(b"ab")
        eventually(lambda: tus.off(url) == 2)
        assert tus.pa(url, 2, b"cd").status == 204
        return wire.answer("PATCH")


def with_a_record_that_cannot_be_read(
    serve: Serve, uploads: Path, accept: dict[str, str]
) -> Answer:
    tus = serve()
    url = tus.made(b"abcd")
    record = uploads / f"{url.rpartition('/')[2]}.info"
    record.unlink()
    record.symlink_to(record.name)
    return tus.get(url, accept)


def with_bytes_that_cannot_be_opened(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve()
    url = tus.mk(1_000_000)
    data = uploads / url.rpartition("/")[2]
    data.unlink()
    data.mkdir()
    return tus.pa(url, 0, b"abcd", accept)


def silent(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    tus = serve(network_timeout="0.2s")
    with tus.begin_patch(tus.mk(4), 0, 4, accept) as wire:
        return wire.answer("PATCH")


def at_the_stop_of_the_server(serve: Serve, uploads: Path, accept: dict[str, str]) -> Answer:
    with running(create_app(upload_dir=uploads, access_log=False)) as server:
        tus = Tus(server.address)
        url = tus.mk(4)
        with tus.begin_patch(url, 0, 4, accept) as wire:
            wire.send(b"ab")
            eventually(lambda: tus.off(url) == 2)
            server.server.should_exit = True
            return wire.answer("PATCH")


PROVOCATIONS: list[tuple[int, str, Provocation]] = [
    (403, "ERR_MODIFY_FINAL", final),
    (404, "ERR_UPLOAD_NOT_FOUND", unknown),
    (410, "ERR_UPLOAD_DAMAGED", with_a_damaged_record),
    (410, "ERR_UPLOAD_EXPIRED", expired),
    (413, "ERR_MAX_SIZE_EXCEEDED", longer_than_the_maximum),
    (413, "ERR_UPLOAD_SIZE_EXCEEDED", too_long),
    (423, "ERR_STORAGE_UNAVAILABLE", with_a_record_that_cannot_be_read),
    (423, "ERR_UPLOAD_INTERRUPTED", taken_over),
    (423, "ERR_UPLOAD_LOCKED", held_by_a_process_that_hangs),
    (500, "ERR_STORAGE_FAILED", with_bytes_that_cannot_be_opened),
    (503, "ERR_READ_TIMEOUT", silent),
    (503, "ERR_SERVER_SHUTDOWN", at_the_stop_of_the_server),
]


@pytest.mark.directory
@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("status", "code", "provoke"), PROVOCATIONS, ids=[row[2].__name__ for row in PROVOCATIONS]
)
def test_refusals_of_requests_in_trouble_have_the_same_form(
    serve: Serve,
    tmp_path: Path,
    status: int,
    code: str,
    provoke: Provocation,
    accept: dict[str, str],
) -> None:
    answer = provoke(serve, tmp_path / "uploads", accept)
    assert_refused(answer, status, code, accept)
    # What passes by itself says so; clients try again then.
    assert answer.get("Retry-After") == ("1" if status in (423, 503) else None)
