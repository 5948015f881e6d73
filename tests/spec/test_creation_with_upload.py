"""CWU: bytes that come with the creation (creation-with-upload)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, eventually
from tests.wire import Answer, Wire, chunked, head
from tusserver.events.base import Event, UploadCreated, UploadFinished, UploadTerminated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Serve

DEFERRED = {"Upload-Defer-Length": "1"}
Picky = tuple[Tus, Path, list[Event]]


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Picky]:
    """A server for uploads of at most 10 bytes, its directory, and its events. It is for requests
    that leave nothing.
    """
    upload_dir, events = tmp_path_factory.mktemp("picky") / "uploads", list[Event]()
    with serving(upload_dir, events=events, max_size="10") as tus:
        yield tus, upload_dir, events


@pytest.fixture
def events(picky: Picky) -> list[Event]:
    """What has happened on the picky server since the beginning of the test."""
    picky[2].clear()
    return picky[2]


def post_chunked(tus: Tus, headers: dict[str, str], *pieces: bytes) -> Answer:
    return tus.request(
        "POST",
        tus.creation,
        {**VERSION, **OCTETS, "Transfer-Encoding": "chunked", **headers},
        chunked(*pieces),
    )


def digest_of(data: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {b64encode(sha1(data).digest()).decode()}"}


def stored_in(upload_dir: Path) -> list[str]:
    """All that lies in a directory of uploads, but for what a server has for itself."""
    own = [upload_dir / ".tusserver" / name for name in ("locks", "workers")]
    return sorted(
        str(path.relative_to(upload_dir))
        for path in upload_dir.rglob("*")
        if not path.is_dir() and not any(path.is_relative_to(place) for place in own)
    )


def finishes(events: list[Event]) -> int:
    return sum(isinstance(event, UploadFinished) for event in events)


def assert_stands(tus: Tus, url: str, offset: int, length: int | None) -> None:
    answer = tus.hd(url)
    assert answer["Upload-Offset"] == str(offset)
    assert answer.get("Upload-Length") == (None if length is None else str(length))
    assert answer.get("Upload-Defer-Length") == ("1" if length is None else None)


def read_continue(wire: Wire) -> None:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        data = wire.socket.recv(4096)
        assert data, received
        received += data
    assert received == b"HTTP/1.1 100 Continue\r\n\r\n"


@spec("CWU-01", "CWU-02", "CWU-11")
def test_creation_with_upload_is_announced_together_with_creation_and_works(tus: Tus) -> None:
    """It cannot be switched off, so CWU-11 (a body without the extension) has no server here to be
    shown on.
    """
    extensions = tus.options()["Tus-Extension"].split(",")
    assert {"creation", "creation-with-upload"} <= set(extensions)
    answer = tus.post({"Upload-Length": "5", **OCTETS}, b"hello")
    assert (answer.status, answer["Upload-Offset"]) == (201, "5")


@spec("CWU-05", "CWU-06")
@pytest.mark.parametrize("framing", ["announced", "chunked"])
@pytest.mark.parametrize("sent", [1, 5, 9])
def test_first_bytes_may_come_with_the_creation(tus: Tus, framing: str, sent: int) -> None:
    headers, data = {"Upload-Length": "10"}, b"helloworld"
    if framing == "announced":
        answer = tus.post({**headers, **OCTETS}, data[:sent])
    else:
        answer = post_chunked(tus, headers, data[:sent])
    assert (answer.status, answer["Upload-Offset"]) == (201, str(sent))
    url = tus.location(answer)
    assert_stands(tus, url, sent, 10)
    assert tus.pa(url, sent, data[sent:]).status == 204
    assert tus.content(url) == data


@spec("CWU-05", "CWU-06")
@pytest.mark.parametrize("size", [1, 64 * 1024, 3 * 1024 * 1024 + 1])
def test_a_whole_file_may_come_with_the_creation(tus: Tus, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    answer = tus.post({"Upload-Length": str(size), **OCTETS}, data[:size])
    assert (answer.status, answer["Upload-Offset"]) == (201, str(size))
    url = tus.location(answer)
    assert_stands(tus, url, size, size)
    assert tus.content(url) == data[:size]


@spec("CWU-07")
@pytest.mark.parametrize(
    "label",
    [
        pytest.param({"Content-Type": "text/plain"}, id="text"),
        pytest.param({"Content-Type": "application/octet-stream"}, id="octets"),
        pytest.param({"Content-Type": "application/offset+octet-stream2"}, id="longer"),
        pytest.param({"Content-Type": ""}, id="empty"),
        pytest.param({}, id="none"),
    ],
)
def test_a_body_with_another_label_is_refused(picky: Picky, label: dict[str, str]) -> None:
    tus, upload_dir, _ = picky
    headers = {"Upload-Length": "5", **label}
    chunked_headers = [*VERSION.items(), *headers.items(), ("Transfer-Encoding", "chunked")]
    answers = [
        tus.post(headers, b"hello"),
        tus.request("POST", tus.creation, chunked_headers, chunked(b"hello")),
    ]
    for answer in answers:
        assert answer.status == 415
        assert answer.get("Location") is None
    assert stored_in(upload_dir) == []


@spec("CWU-09")
def test_the_body_is_asked_for_before_it_is_sent(tus: Tus) -> None:
    headers = {**VERSION, **OCTETS, "Upload-Length": "5", "Content-Length": "5"}
    with tus.wire() as wire:
        wire.send(head("POST", tus.creation, {**headers, "Expect": "100-continue"}))
        read_continue(wire)
        wire.send(b"hello")
        answer = wire.answer("POST")
    assert (answer.status, answer["Upload-Offset"], answer.interim) == (201, "5", [])
    assert tus.content(tus.location(answer)) == b"hello"


@spec("CWU-09")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Upload-Length": "11", "Content-Length": "11"}, 413, id="above-the-limit"),
        pytest.param({"Upload-Length": "5", "Content-Length": "6"}, 413, id="above-the-length"),
        pytest.param({**DEFERRED, "Content-Length": "11"}, 413, id="above-the-limit-deferred"),
        pytest.param({"Upload-Length": "x", "Content-Length": "5"}, 400, id="malformed"),
        pytest.param(
            {"Upload-Length": "5", "Content-Length": "5", "Content-Type": "text/plain"},
            415,
            id="another-label",
        ),
    ],
)
def test_a_body_that_is_not_wanted_is_not_asked_for(
    picky: Picky, headers: dict[str, str], status: int
) -> None:
    with picky[0].wire() as wire:
        expecting = {**VERSION, **OCTETS, "Expect": "100-continue", **headers}
        answer = wire.request("POST", picky[0].creation, expecting)
    assert (answer.status, answer.interim) == (status, [])
    assert answer.get("Location") is None


@spec("CWU-10")
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Upload-Length": "5"}, id="known"),
        pytest.param({"Upload-Length": "0"}, id="zero"),
        pytest.param(DEFERRED, id="deferred"),
    ],
)
def test_a_body_longer_than_the_upload_leaves_nothing(
    picky: Picky, events: list[Event], headers: dict[str, str]
) -> None:
    tus, upload_dir, _ = picky
    answers = [
        tus.post({**headers, **OCTETS}, b"helloworld!"),
        post_chunked(tus, headers, b"hello", b"world!"),
        post_chunked(tus, headers, b"hello", b"world" * 100_000),
    ]
    for answer in answers:
        assert answer.status == 413
        assert answer.get("Location") is None
    assert stored_in(upload_dir) == []
    assert finishes(events) == 0


@spec("CWU-12")
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_bytes_may_come_with_a_creation_of_deferred_length(tus: Tus, framing: str) -> None:
    if framing == "announced":
        answer = tus.post({**DEFERRED, **OCTETS}, b"hello")
    else:
        answer = post_chunked(tus, DEFERRED, b"hel", b"lo")
    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    url = tus.location(answer)
    assert_stands(tus, url, 5, None)
    assert tus.pa(url, 5, b"world", {"Upload-Length": "10"}).status == 204
    assert tus.content(url) == b"helloworld"


@spec("CWU-13")
@pytest.mark.parametrize(
    ("size", "length"), [({"Upload-Length": "10"}, 10), (DEFERRED, None)], ids=["known", "deferred"]
)
def test_a_label_without_bytes_is_no_harm(
    tus: Tus, size: dict[str, str], length: int | None
) -> None:
    for answer in (tus.post({**size, **OCTETS}), post_chunked(tus, size)):
        assert (answer.status, answer["Upload-Offset"]) == (201, "0")
        assert_stands(tus, tus.location(answer), 0, length)


@spec("CWU-14")
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_an_empty_file_is_finished_once_by_its_creation(serve: Serve, framing: str) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    size = {"Upload-Length": "0"}
    answer = tus.post({**size, **OCTETS}) if framing == "announced" else post_chunked(tus, size)
    assert (answer.status, answer["Upload-Offset"]) == (201, "0")
    url = tus.location(answer)
    assert_stands(tus, url, 0, 0)
    assert tus.pa(url, 0, b"").status == 204
    assert tus.content(url) == b""
    assert [type(event) for event in events] == [UploadCreated, UploadFinished]


@spec("CWU-14")
@pytest.mark.parametrize("sent", [0, 5, 10])
def test_a_file_that_comes_with_its_creation_is_finished_once(serve: Serve, sent: int) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    answer = tus.post({"Upload-Length": "10", **OCTETS}, b"helloworld"[:sent])
    url = tus.location(answer)
    assert finishes(events) == (sent == 10)
    assert tus.pa(url, sent, b"helloworld"[sent:]).status == 204
    assert tus.off(url) == 10
    assert tus.pa(url, 10, b"").status == 204
    assert [type(event) for event in events] == [UploadCreated, UploadFinished]


@spec("CWU-05", "CWU-06")
@pytest.mark.parametrize(
    ("checksum", "kept"),
    [pytest.param({}, 5, id="plain"), pytest.param(digest_of(b"helloworld"), 0, id="checksummed")],
)
def test_a_creation_that_the_server_cuts_off_tells_what_it_has(
    serve: Serve, checksum: dict[str, str], kept: int
) -> None:
    tus = serve(network_timeout="0.5s")
    headers = {**VERSION, **OCTETS, **checksum, "Upload-Length": "10", "Content-Length": "10"}
    with tus.wire() as wire:
        wire.send(head("POST", tus.creation, headers) + b"hello")
        answer = wire.answer("POST")
    assert (answer.status, answer["Upload-Offset"]) == (201, str(kept))
    url = tus.location(answer)
    tus.assert_intact(url, kept, b"helloworld"[kept:])
    assert tus.content(url) == b"helloworld"


@spec("CWU-15")
@pytest.mark.parametrize(
    ("headers", "half"),
    [
        pytest.param({"Upload-Length": "10", "Content-Length": "10"}, b"hello", id="announced"),
        pytest.param({**DEFERRED, "Content-Length": "10"}, b"hello", id="deferred"),
        pytest.param(
            {"Upload-Length": "10", "Transfer-Encoding": "chunked"},
            chunked(b"hello", end=False),
            id="chunked",
        ),
        pytest.param(
            {"Upload-Length": "5", "Transfer-Encoding": "chunked"},
            chunked(b"hello", end=False),
            id="without-the-last-chunk",
        ),
    ],
)
def test_a_creation_that_breaks_off_leaves_nothing(
    picky: Picky, events: list[Event], headers: dict[str, str], half: bytes
) -> None:
    tus, upload_dir, _ = picky
    for ending in (Wire.close, Wire.reset):
        events.clear()
        wire = tus.wire()
        wire.send(head("POST", tus.creation, {**VERSION, **OCTETS, **headers}) + half)
        # Else the server might never see this request as one that had begun.
        eventually(lambda: len(events) == 1)
        ending(wire)
        eventually(lambda: len(events) == 2)
        assert [type(event) for event in events] == [UploadCreated, UploadTerminated]
        assert stored_in(upload_dir) == []
        tus.assert_live()


@spec("CWU-16")
@pytest.mark.parametrize("sent", [0, 5, 10])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_bytes_that_match_their_checksum_are_taken(tus: Tus, framing: str, sent: int) -> None:
    data = b"helloworld"
    headers = {"Upload-Length": "10", **digest_of(data[:sent])}
    if framing == "announced":
        answer = tus.post({**headers, **OCTETS}, data[:sent])
    else:
        answer = post_chunked(tus, headers, *([data[:sent]] if sent else []))
    assert (answer.status, answer["Upload-Offset"]) == (201, str(sent))
    url = tus.location(answer)
    tus.assert_intact(url, sent, data[sent:])
    assert tus.content(url) == data


@spec("CWU-16")
@pytest.mark.parametrize(
    ("checksum", "status"),
    [
        pytest.param(digest_of(b"hellO"), 460, id="mismatch"),
        pytest.param({"Upload-Checksum": "foo123 AAAA"}, 400, id="unknown-algorithm"),
        pytest.param({"Upload-Checksum": "sha1 ???"}, 400, id="malformed"),
    ],
)
@pytest.mark.parametrize("length", [5, 10])
def test_bytes_that_do_not_match_leave_nothing(
    picky: Picky, events: list[Event], length: int, checksum: dict[str, str], status: int
) -> None:
    tus, upload_dir, _ = picky
    headers = {"Upload-Length": str(length), **checksum}
    answers = [
        tus.post({**headers, **OCTETS}, b"hello"),
        tus.post({**headers, **OCTETS}),
        post_chunked(tus, headers, b"hel", b"lo"),
    ]
    for answer in answers:
        assert answer.status == status
        assert answer.get("Location") is None
    assert stored_in(upload_dir) == []
    assert finishes(events) == 0
