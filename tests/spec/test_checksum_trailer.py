"""CHKT: digests that come after the bytes they are of (checksum-trailer).

The extension works where the HTTP server hands the trailer of a request over, as ours does. Under
another one it must be neither promised nor believed in.
"""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import md5, sha1
from typing import TYPE_CHECKING, Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.servers import running
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually
from tests.wire import chunked, head
from tusserver import create_app
from tusserver.events.base import Event, UploadFinished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Serve
    from tests.wire import Answer

ANNOUNCED = {"Trailer": "Upload-Checksum"}
RIGHT = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
"""Of 'hello world', as the specification has it."""
WRONG = {"Upload-Checksum": f"sha1 {b64encode(sha1(b'hello worlD').digest()).decode()}"}
UNKNOWN_ALGORITHM = {"Upload-Checksum": "foo123 AAAA"}
MALFORMED = {"Upload-Checksum": "sha1 ???"}
announced_or_not = pytest.mark.parametrize(
    "announcement", [ANNOUNCED, {}], ids=["announced", "unannounced"]
)


@pytest.fixture(scope="module", params=[HttpToolsProtocol, H11Protocol], ids=["httptools", "h11"])
def stock_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Tus, Path]]:
    """The same application behind a connection of uvicorn's own, and its directory."""
    http: type[Any] = request.param
    upload_dir = tmp_path_factory.mktemp("stock") / "uploads"
    with running(create_app(upload_dir=upload_dir, access_log=False), http=http) as server:
        yield Tus(server.address), upload_dir


def send(
    tus: Tus,
    url: str,
    headers: dict[str, str],
    trailers: dict[str, str],
    *pieces: bytes,
) -> Answer:
    """A chunked PATCH at 0, of 'hello world' unless told otherwise."""
    body = chunked(*(pieces or (b"hello world",)), trailers=trailers)
    return tus.request("PATCH", url, chunked_headers(0, headers), body)


def offered(tus: Tus) -> list[str]:
    return tus.options()["Tus-Extension"].split(",")


@spec("CHKT-01")
def test_trailers_are_announced_together_with_checksums(tus: Tus) -> None:
    assert {"checksum", "checksum-trailer"} <= set(offered(tus))


@spec("CHKT-02", "CHKT-05")
@announced_or_not
@pytest.mark.parametrize("length", [11, 20])
def test_bytes_that_match_the_trailer_are_taken(
    tus: Tus, announcement: dict[str, str], length: int
) -> None:
    url = tus.mk(length)
    answer = send(tus, url, announcement, RIGHT)
    assert (answer.status, answer["Upload-Offset"]) == (204, "11")
    tail = b"x" * (length - 11)
    tus.assert_intact(url, 11, tail)
    assert tus.content(url) == b"hello world" + tail


@pytest.mark.directory
@spec("CHKT-03", "CHKT-05")
@announced_or_not
@pytest.mark.parametrize(
    ("trailer", "status"),
    [
        pytest.param(WRONG, 460, id="mismatch"),
        pytest.param(UNKNOWN_ALGORITHM, 400, id="unknown-algorithm"),
        pytest.param(MALFORMED, 400, id="malformed"),
        pytest.param({"Upload-Checksum": ""}, 400, id="empty"),
    ],
)
def test_bytes_that_do_not_match_the_trailer_are_thrown_away(
    shared_server: tuple[Tus, Path],
    announcement: dict[str, str],
    trailer: dict[str, str],
    status: int,
) -> None:
    tus, upload_dir = shared_server
    url = tus.mk(11)
    answer = send(tus, url, announcement, trailer)
    assert answer.status == status
    data = upload_dir / url.rpartition("/")[2]
    assert data.stat().st_size == 0
    assert not data.with_name(f"{data.name}.marker").exists()
    tus.assert_intact(url, 0, b"hello world")
    assert tus.content(url) == b"hello world"


@spec("CHKT-02", "CHKT-03")
@pytest.mark.parametrize("size", [1, 64 * 1024, 8 * 1024 * 1024], ids=["1B", "64KiB", "8MiB"])
def test_the_trailer_is_of_the_bytes_of_its_request(tus: Tus, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    url = tus.mk(5 + size)
    assert tus.pa(url, 0, b"first").status == 204
    for of, status in ((b"first" + data, 460), (data + b"\0", 460), (data, 204)):
        trailers = {"Upload-Checksum": f"md5 {b64encode(md5(of).digest()).decode()}"}
        body = chunked(data[: size // 3], data[size // 3 :], trailers=trailers)
        if size // 3 == 0:
            body = chunked(data, trailers=trailers)
        answer = tus.request("PATCH", url, chunked_headers(5, ANNOUNCED), body)
        assert answer.status == status
        assert tus.off(url) == 5 + (size if status == 204 else 0)
    assert tus.content(url) == b"first" + data


@spec("CHKT-02", "CHKT-03")
@pytest.mark.parametrize(("trailer", "status"), [(RIGHT, 204), (WRONG, 460)], ids=["ok", "wrong"])
def test_the_trailer_may_come_byte_by_byte(tus: Tus, trailer: dict[str, str], status: int) -> None:
    url = tus.mk(11)
    with tus.wire() as wire:
        wire.send_slowly(
            head("PATCH", url, chunked_headers(0, ANNOUNCED))
            + chunked(b"hello", b" world", trailers=trailer)
        )
        assert wire.answer("PATCH").status == status
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == str(11 * (status == 204))


@spec("CHKT-03")
def test_a_wrong_trailer_finishes_nothing_and_declares_nothing(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    url = tus.mk(None)
    assert send(tus, url, {**ANNOUNCED, "Upload-Length": "11"}, WRONG).status == 460
    answer = tus.hd(url)
    assert (answer["Upload-Defer-Length"], answer["Upload-Offset"]) == ("1", "0")
    assert not [event for event in events if isinstance(event, UploadFinished)]
    assert send(tus, url, {**ANNOUNCED, "Upload-Length": "11"}, RIGHT).status == 204
    assert tus.content(url) == b"hello world"
    assert len([event for event in events if isinstance(event, UploadFinished)]) == 1


@pytest.mark.directory
@spec("CHKT-03")
def test_head_shows_no_bytes_whose_trailer_is_still_to_come(
    shared_server: tuple[Tus, Path],
) -> None:
    tus, upload_dir = shared_server
    url = tus.mk(11)
    data = upload_dir / url.rpartition("/")[2]
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0, ANNOUNCED)))
        wire.send(chunked(b"hello world", end=False))
        eventually(lambda: data.stat().st_size == 11)
        assert tus.off(url) == 0
        assert tus.get(url).status == 404
        wire.send(chunked(trailers=WRONG))
        assert wire.answer("PATCH").status == 460
    tus.assert_intact(url, 0, b"hello world")


@spec("CHKT-03", "CHKT-06")
@pytest.mark.parametrize(
    ("trailer", "status"),
    [
        pytest.param(RIGHT, 201, id="match"),
        pytest.param(WRONG, 460, id="mismatch"),
        pytest.param({}, 400, id="missing"),
    ],
)
def test_a_creation_may_end_with_a_trailer_too(
    serve: Serve, tmp_path: Path, trailer: dict[str, str], status: int
) -> None:
    tus = serve()
    headers = {**VERSION, **OCTETS, **ANNOUNCED, "Upload-Length": "11"}
    body = chunked(b"hello world", trailers=trailer)
    chunked_post = {**headers, "Transfer-Encoding": "chunked"}
    answer = tus.request("POST", tus.creation, chunked_post, body)
    assert answer.status == status
    if status == 201:
        assert tus.content(tus.location(answer)) == b"hello world"
    else:
        assert answer.get("Location") is None
        assert os.listdir(tmp_path / "uploads") == [".tusserver"]


@spec("CHKT-06")
@pytest.mark.parametrize(
    "value",
    ["Upload-Checksum", "upload-checksum", "X-Foo, Upload-Checksum", "Upload-Checksum,, X-Foo"],
)
@pytest.mark.parametrize("trailers", [{}, {"X-Foo": "1"}], ids=["none", "another"])
def test_an_announced_trailer_must_come(tus: Tus, value: str, trailers: dict[str, str]) -> None:
    url = tus.mk(11)
    assert send(tus, url, {"Trailer": value}, trailers).status == 400
    tus.assert_intact(url, 0, b"hello world")


@spec("CHKT-06")
def test_a_trailer_that_cannot_come_is_missing(tus: Tus) -> None:
    url = tus.mk(11)
    assert tus.pa(url, 0, b"hello world", ANNOUNCED).status == 400
    tus.assert_intact(url, 0, b"hello world")


@pytest.mark.directory
@spec("CHKT-06")
def test_bytes_whose_announced_trailer_was_cut_off_are_thrown_away(
    shared_server: tuple[Tus, Path],
) -> None:
    tus, upload_dir = shared_server
    url = tus.mk(11)
    data = upload_dir / url.rpartition("/")[2]
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0, ANNOUNCED)))
        wire.send(chunked(b"hello world", end=False) + b"0\r\nUpload-Checksum: sha1 Kq5s")
        eventually(lambda: data.stat().st_size == 11)
    eventually(lambda: data.stat().st_size == 0)
    tus.assert_intact(url, 0, b"hello world")


@spec("CHKT-06")
@pytest.mark.parametrize("second", ["Upload-Checksum", "upload-checksum"])
def test_two_digests_in_one_trailer_are_refused(tus: Tus, second: str) -> None:
    url = tus.mk(11)
    value = RIGHT["Upload-Checksum"]
    end = f"0\r\nUpload-Checksum: {value}\r\n{second}: {value}\r\n\r\n".encode()
    body = chunked(b"hello world", end=False) + end
    assert tus.request("PATCH", url, chunked_headers(0, ANNOUNCED), body).status == 400
    tus.assert_intact(url, 0, b"hello world")


@spec("CHKT-06")
@pytest.mark.parametrize("trailers", [RIGHT, {}], ids=["right", "missing"])
def test_a_trailer_of_the_bytes_that_fit_does_not_save_a_body_that_is_too_long(
    tus: Tus, trailers: dict[str, str]
) -> None:
    url = tus.mk(11)
    assert send(tus, url, ANNOUNCED, trailers, b"hello world", b"!").status == 413
    tus.assert_intact(url, 0, b"other bytes")
    assert tus.content(url) == b"other bytes"


@spec("CHKT-07")
@announced_or_not
@pytest.mark.parametrize(
    ("header", "trailer", "status"),
    [
        pytest.param(RIGHT, RIGHT, 204, id="both-right"),
        pytest.param(
            RIGHT, {"Upload-Checksum": "md5 XrY7u+Ae7tCTyyK7j1rNww=="}, 204, id="two-algorithms"
        ),
        pytest.param(WRONG, RIGHT, 460, id="wrong-header"),
        pytest.param(RIGHT, WRONG, 460, id="wrong-trailer"),
        pytest.param(WRONG, WRONG, 460, id="both-wrong"),
        pytest.param(RIGHT, MALFORMED, 400, id="malformed-trailer"),
        pytest.param(UNKNOWN_ALGORITHM, RIGHT, 400, id="unknown-algorithm-in-the-header"),
    ],
)
def test_of_header_and_trailer_both_must_match(
    tus: Tus,
    announcement: dict[str, str],
    header: dict[str, str],
    trailer: dict[str, str],
    status: int,
) -> None:
    url = tus.mk(11)
    assert send(tus, url, {**announcement, **header}, trailer).status == status
    if status != 204:
        tus.assert_intact(url, 0, b"hello world")
    assert tus.content(url) == b"hello world"


@spec("CHKT-07")
def test_a_right_header_does_not_make_up_for_a_missing_trailer(tus: Tus) -> None:
    url = tus.mk(11)
    assert send(tus, url, {**ANNOUNCED, **RIGHT}, {}).status == 400
    tus.assert_intact(url, 0, b"hello world")


INJECTED = {
    "offset": {"Upload-Offset": "999"},
    "length": {"Upload-Length": "11"},
    "version": {"Tus-Resumable": "0"},
    "media-type": {"Content-Type": "text/plain"},
    "override": {"X-HTTP-Method-Override": "DELETE"},
    "metadata": {"Upload-Metadata": "name YQ=="},
    "concat": {"Upload-Concat": "partial"},
    "host": {"Host": "elsewhere.example"},
    "coding": {"Content-Encoding": "gzip"},
}


@spec("CHKT-08")
@pytest.mark.parametrize("trailers", INJECTED.values(), ids=INJECTED)
@pytest.mark.parametrize("length", [20, None], ids=["known", "deferred"])
def test_other_trailers_have_no_effect(
    tus: Tus, length: int | None, trailers: dict[str, str]
) -> None:
    url = tus.mk(length)
    with tus.wire() as wire:
        body = chunked(b"hello world", trailers=trailers)
        answer = wire.request("PATCH", url, chunked_headers(0), body)
        assert (answer.status, answer["Upload-Offset"]) == (204, "11")
        seen = wire.request("HEAD", url, VERSION)
    assert seen["Upload-Offset"] == "11"
    assert seen.get("Upload-Length") == (None if length is None else "20")
    assert seen.get("Upload-Metadata") is None
    assert seen.get("Upload-Concat") is None
    assert tus.pa(url, 11, b"123456789", {"Upload-Length": "20"}).status == 204
    assert tus.content(url) == b"hello world123456789"


@spec("CHKT-08")
@pytest.mark.parametrize(
    "trailers",
    [{"Content-Length": "3"}, {"Transfer-Encoding": "identity"}, {"Content-Length": "x"}],
)
def test_framing_in_a_trailer_is_refused_and_has_no_effect(
    tus: Tus, trailers: dict[str, str]
) -> None:
    """The parser calls such a trailer malformed; the bytes before it are as good as any."""
    url = tus.mk(20)
    assert send(tus, url, {}, trailers).status == 400
    tus.assert_intact(url, 11, b"123456789")
    assert tus.content(url) == b"hello world123456789"


@spec("CHKT-08")
def test_trailers_of_one_request_are_none_of_the_next(tus: Tus) -> None:
    first, second = tus.mk(11), tus.mk(11)
    with tus.wire() as wire:
        body = chunked(b"hello world", trailers=RIGHT)
        assert wire.request("PATCH", first, chunked_headers(0), body).status == 204
        body = chunked(b"other bytes")
        assert wire.request("PATCH", second, chunked_headers(0), body).status == 204
        again = wire.request("PATCH", second, chunked_headers(11, ANNOUNCED), chunked())
        assert again.status == 400
    assert tus.content(second) == b"other bytes"


@spec("CHKT-09")
@pytest.mark.parametrize(
    "announcement", [{}, {"Trailer": "X-Foo"}], ids=["unannounced", "announced"]
)
def test_unknown_trailers_are_ignored(tus: Tus, announcement: dict[str, str]) -> None:
    url = tus.mk(22)
    with tus.wire() as wire:
        for offset in (0, 11):
            body = chunked(b"hello ", b"world", trailers={"X-Foo": "1", "X-Bar": "a, b"})
            headers = chunked_headers(offset, announcement)
            assert wire.request("PATCH", url, headers, body).status == 204
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == "22"
    assert tus.content(url) == b"hello world" * 2


@spec("CHKT-01")
def test_where_trailers_do_not_reach_us_they_are_not_announced(
    stock_server: tuple[Tus, Path],
) -> None:
    tus, _ = stock_server
    extensions = offered(tus)
    assert "checksum" in extensions
    assert "checksum-trailer" not in extensions
    url = tus.mk(11)
    assert tus.pa(url, 0, b"hello world", WRONG).status == 460
    assert tus.pa(url, 0, b"hello world", RIGHT).status == 204


def send_in_two(
    tus: Tus,
    url: str,
    data: Path,
    headers: dict[str, str],
    trailers: dict[str, str],
    *,
    shown: int,
) -> Answer:
    """As `send`, but in two: the end of the body comes after all its bytes have been stored, while
    HEAD shows `shown` of them.
    """
    with tus.wire() as wire:
        wire.send(head("PATCH", url, chunked_headers(0, headers)))
        wire.send(chunked(b"hello world", end=False))
        eventually(lambda: data.stat().st_size == 11)
        assert tus.off(url) == shown
        wire.send(chunked(trailers=trailers))
        return wire.answer("PATCH")


@spec("CHKT-01", "CHKT-06")
@pytest.mark.parametrize("trailers", [RIGHT, WRONG, {}], ids=["right", "wrong", "missing"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "in-two"])
def test_where_trailers_do_not_reach_us_an_announced_one_is_missing(
    stock_server: tuple[Tus, Path], trailers: dict[str, str], *, at_once: bool
) -> None:
    tus, upload_dir = stock_server
    url = tus.mk(11)
    if at_once:
        answer = send(tus, url, ANNOUNCED, trailers)
    else:
        data = upload_dir / url.rpartition("/")[2]
        answer = send_in_two(tus, url, data, ANNOUNCED, trailers, shown=0)
    assert answer.status == 400
    tus.assert_intact(url, 0, b"hello world")
    assert tus.content(url) == b"hello world"


@spec("CHKT-08", "CHKT-09")
@pytest.mark.parametrize(
    "trailers", [{}, {"X-Foo": "1"}, *INJECTED.values()], ids=["none", "unknown", *INJECTED]
)
def test_where_trailers_do_not_reach_us_none_has_an_effect(
    stock_server: tuple[Tus, Path], trailers: dict[str, str]
) -> None:
    tus, upload_dir = stock_server
    url = tus.mk(None)
    data = upload_dir / url.rpartition("/")[2]
    answer = send_in_two(tus, url, data, {}, trailers, shown=11)
    assert (answer.status, answer["Upload-Offset"]) == (204, "11")
    seen = tus.hd(url)
    assert (seen["Upload-Defer-Length"], seen["Upload-Offset"]) == ("1", "11")


@spec("CHKT-08")
def test_where_trailers_do_not_reach_us_none_has_an_effect_in_a_small_request(
    request: pytest.FixtureRequest, stock_server: tuple[Tus, Path]
) -> None:
    """Here the whole request is parsed before the application sees any of it."""
    if "httptools" in request.node.callspec.id:
        reason = "uvicorn's httptools protocol adds trailer fields to the headers of the scope"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    tus, _ = stock_server
    url = tus.mk(None)
    assert send(tus, url, {}, {"Upload-Length": "11"}).status == 204
    assert tus.hd(url)["Upload-Defer-Length"] == "1"
