"""COMPAT: what deployed clients send, byte for byte as far as it matters, and what they rely on.

The requests are those of tus-js-client 4 and 5 (in browsers and in Node), tus-py-client 1.1 and its
main branch, and URLSession.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest

from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, eventually, patch_headers
from tests.wire import Wire, chunked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve
    from tests.wire import Answer

Headers = list[tuple[str, str]]

TUS: Headers = [("Tus-Resumable", "1.0.0")]
OCTET_STREAM: Headers = [("Content-Type", "application/offset+octet-stream")]
PARTIAL: Headers = [("Upload-Concat", "partial")]
CHUNKED: Headers = [("Transfer-Encoding", "chunked")]
BROWSER: Headers = [
    ("Connection", "keep-alive"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    ("Accept", "*/*"),
    ("Origin", "https://app.example"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
    ("Referer", "https://app.example/"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9"),
]
PYTHON: Headers = [
    ("User-Agent", "python-requests/2.34.2"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Accept", "*/*"),
    ("Connection", "keep-alive"),
]


def sized(data: bytes) -> Headers:
    return [("Content-Length", str(len(data)))]


def at(offset: int) -> Headers:
    return [("Upload-Offset", str(offset))]


def upload_id(tus: Tus, url: str) -> str:
    return url.removeprefix(tus.creation)


@spec("COMPAT-01", "COMPAT-07")
def test_head_and_patch_tell_all_that_tus_js_client_needs_at_every_stage(tus: Tus) -> None:
    known, deferred, empty = tus.mk(6), tus.mk(None), tus.mk(0)
    partial = tus.mk(6, dict(PARTIAL))
    for offset in (0, 3, 6):
        for url, length in ((known, "6"), (partial, "6"), (deferred, None)):
            head = tus.hd(url)
            assert (head.status, head["Upload-Offset"]) == (200, str(offset))
            assert head.get("Upload-Length") == length
            assert head.get("Upload-Defer-Length") == (None if length else "1")
            data = b"abc" if offset < 6 else b""
            assert tus.pa(url, offset, data)["Upload-Offset"] == str(offset + len(data))
    final = tus.location(tus.post({"Upload-Concat": f"final;{partial}"}))
    for url, length in ((empty, "0"), (final, "6")):
        head = tus.hd(url)
        assert head["Upload-Offset"] == head["Upload-Length"] == length


@pytest.mark.parametrize(
    ("headers", "visible"),
    [
        pytest.param({}, 5, id="plain"),
        pytest.param({"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}, 0, id="checksum"),
    ],
)
@spec("COMPAT-01")
def test_head_tells_it_also_while_a_request_is_running(
    tus: Tus, headers: dict[str, str], visible: int
) -> None:
    url = tus.mk(11)
    with tus.begin_patch(url, 0, 11, headers) as wire:
        wire.send(b"hello")
        eventually(lambda: tus.off(url) == visible)
        assert tus.hd(url)["Upload-Length"] == "11"
        wire.send(b" world")
        assert wire.answer("PATCH")["Upload-Offset"] == "11"


@spec("COMPAT-02")
def test_a_request_that_gives_way_to_a_newer_one_is_told_to_try_again(tus: Tus) -> None:
    url = tus.mk(10)
    with tus.begin_patch(url, 0, 10) as older:
        older.send(b"hello")
        eventually(lambda: tus.off(url) == 5)
        newer = tus.pa(url, 5, b"world")
        assert newer.status == 204
        assert newer["Upload-Offset"] == "10"
        answer = older.answer("PATCH")
    assert answer.status == 423
    assert int(answer["Retry-After"]) >= 1
    assert tus.content(url) == b"helloworld"


@pytest.mark.skipif(sys.platform != "linux", reason="locks between processes need Linux")
@spec("COMPAT-02", "COMPAT-09")
def test_an_upload_that_another_process_does_not_let_go_is_told_to_be_locked(
    serve: Serve, tmp_path: Path
) -> None:
    from tusserver.lock.file import FileLocker

    tus = serve(lock="file", acquire_lock_timeout="0.2s")
    url = tus.mk(5)

    async def with_lock_held_elsewhere() -> list[Answer]:
        locker = FileLocker(tmp_path / "uploads" / ".tusserver")
        await locker.start()
        lock = await locker.try_acquire(upload_id(tus, url))
        assert lock is not None
        requests = (lambda: tus.hd(url)), (lambda: tus.pa(url, 0, b"x")), (lambda: tus.delete(url))
        answers = [await asyncio.to_thread(request) for request in requests]
        await lock.release()
        await locker.close()
        return answers

    head, patch, delete = asyncio.run(with_lock_held_elsewhere())
    assert (head.status, head["Upload-Offset"]) == (200, "0")
    for answer in (patch, delete):
        assert answer.status == 423
        assert int(answer["Retry-After"]) >= 1
    assert tus.pa(url, 0, b"hello").status == 204


@pytest.mark.directory
@spec("COMPAT-02", "COMPAT-09")
def test_a_storage_that_fails_for_a_moment_does_not_make_clients_start_over(
    serve: Serve, tmp_path: Path
) -> None:
    tus = serve()
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    record = tmp_path / "uploads" / f"{upload_id(tus, url)}.info"
    kept = record.rename(tmp_path / "kept")
    record.symlink_to(record)  # Reading it is an I/O error that is not 'no such file'.
    head, patch = tus.hd(url), tus.pa(url, 5, b"world")
    assert head.status == 423
    assert int(head["Retry-After"]) >= 1
    assert head.get("Upload-Offset") is None
    assert patch.status == 500
    kept.rename(record)
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        pytest.param(sized(b"hello"), b"hello", id="browser"),
        pytest.param(CHUNKED, chunked(b"he", b"llo"), id="node"),
    ],
)
@spec("COMPAT-03")
def test_tus_js_client_may_send_its_patch_as_post(tus: Tus, framing: Headers, body: bytes) -> None:
    url = tus.mk(10)
    override = [*TUS, ("X-HTTP-Method-Override", "PATCH")]
    headers = [*BROWSER, *override, *at(0), *OCTET_STREAM, *framing]
    answer = tus.request("POST", url, headers, body)
    assert answer.status == 204
    assert answer["Upload-Offset"] == "5"
    assert answer.get("Location") is None
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@spec("COMPAT-04")
def test_tus_js_client_gets_the_204_it_wants_for_delete_at_every_stage(tus: Tus) -> None:
    begun = tus.mk(5)
    assert tus.pa(begun, 0, b"he").status == 204
    parts = [tus.made(b"hello", dict(PARTIAL)), tus.mk(5, dict(PARTIAL))]
    finals = [tus.location(tus.post({"Upload-Concat": f"final;{part}"})) for part in parts]
    for url in (tus.mk(5), tus.mk(None), tus.mk(0), begun, tus.made(b"hello"), *finals, *parts):
        answer = tus.request("DELETE", url, [*BROWSER, *TUS])
        assert answer.status == 204
        assert answer["Tus-Resumable"] == "1.0.0"
        assert tus.hd(url).status == 404


def send_part(wire: Wire, tus: Tus, data: bytes, *, in_node: bool) -> str:
    """One of the partial uploads of tus-js-client, which repeats Upload-Concat on PATCH."""
    common = [*([] if in_node else BROWSER), *TUS, *PARTIAL]
    created = wire.request(
        "POST", tus.creation, [*common, ("Upload-Length", str(len(data))), *sized(b"")]
    )
    assert created.status == 201
    framing, body = (CHUNKED, chunked(data)) if in_node else (sized(data), data)
    url = tus.location(created)
    patched = wire.request("PATCH", url, [*common, *at(0), *OCTET_STREAM, *framing], body)
    assert (patched.status, patched["Upload-Offset"]) == (204, str(len(data)))
    head = wire.request("HEAD", url, common)
    assert head["Upload-Offset"] == head["Upload-Length"] == str(len(data))
    return url


@pytest.mark.parametrize("in_node", [False, True], ids=["browser", "node"])
@spec("COMPAT-05")
def test_tus_js_client_uploads_in_parallel(tus: Tus, in_node: bool) -> None:
    data = bytes(range(256)) * 100 + b"odd"
    size = len(data) // 4
    pieces = [data[index * size : (index + 1) * size] for index in range(3)] + [data[3 * size :]]
    wires = [tus.wire() for _ in pieces]
    urls = [
        send_part(wire, tus, piece, in_node=in_node)
        for wire, piece in zip(wires, pieces, strict=True)
    ]
    concat = "final;" + " ".join(urljoin("http://localhost/files/", url) for url in urls)
    metadata = "filename ZGF0YS5oNQ==,filetype YXBwbGljYXRpb24veC1oZGY1"
    wanted = [("Upload-Concat", concat), ("Upload-Metadata", metadata)]
    answer = wires[0].request("POST", tus.creation, [*BROWSER, *TUS, *wanted, *sized(b"")])
    for wire in wires:
        wire.close()
    assert answer.status == 201
    head = tus.hd(tus.location(answer))
    assert head["Upload-Offset"] == head["Upload-Length"] == str(len(data))
    assert head["Upload-Metadata"] == metadata
    assert head["Upload-Concat"] == concat
    assert tus.content(tus.location(answer)) == data


@pytest.mark.parametrize("label", [[], OCTET_STREAM], ids=["plain", "with data on creation"])
@spec("COMPAT-06")
def test_tus_js_client_is_done_with_an_empty_file_after_its_post(tus: Tus, label: Headers) -> None:
    headers = [*BROWSER, *TUS, ("Upload-Length", "0"), *label, *sized(b"")]
    answer = tus.request("POST", tus.creation, headers)
    assert answer.status == 201
    head = tus.hd(tus.location(answer))
    assert head["Upload-Offset"] == head["Upload-Length"] == "0"
    assert tus.content(tus.location(answer)) == b""


@pytest.mark.parametrize("first", [b"hel", b"hello", b""], ids=["a chunk", "the file", "nothing"])
@spec("COMPAT-07")
def test_tus_js_client_finds_the_offset_after_data_on_creation(tus: Tus, first: bytes) -> None:
    headers = [*BROWSER, *TUS, ("Upload-Length", "5"), *OCTET_STREAM, *sized(first)]
    answer = tus.request("POST", tus.creation, headers, first)
    assert answer.status == 201
    assert answer["Upload-Offset"] == str(len(first))
    url, rest = tus.location(answer), b"hello"[len(first) :]
    if rest:
        headers = [*BROWSER, *TUS, *at(len(first)), *OCTET_STREAM, *sized(rest)]
        assert tus.request("PATCH", url, headers, rest)["Upload-Offset"] == "5"
    assert tus.content(url) == b"hello"


@spec("COMPAT-07")
def test_tus_js_client_in_node_streams_a_file_of_unknown_length(tus: Tus) -> None:
    created = tus.request(
        "POST", tus.creation, [*TUS, ("Upload-Defer-Length", "1"), ("Connection", "keep-alive"),
                               *sized(b"")]
    )  # fmt: skip
    url = tus.location(created)
    common = [*TUS, *OCTET_STREAM, ("Connection", "keep-alive"), *CHUNKED]
    first = tus.request("PATCH", url, [*common, *at(0)], chunked(b"hello"))
    assert (first.status, first["Upload-Offset"]) == (204, "5")
    last = tus.request(
        "PATCH", url, [*common, *at(5), ("Upload-Length", "11")], chunked(b" wor", b"ld")
    )
    assert (last.status, last["Upload-Offset"]) == (204, "11")
    assert tus.content(url) == b"hello world"


@spec("COMPAT-08")
def test_tus_py_client_uploads_in_chunks_with_its_own_spelling(tus: Tus) -> None:
    created = tus.request(
        "POST",
        tus.creation,
        [*PYTHON, *TUS, ("upload-length", "5"), ("upload-metadata", ""), *sized(b"")],
    )
    assert created.status == 201
    url = tus.location(created)
    sums = ("sha1 Nhez1m04BJZkKINmzi75+Ll0eIM=", "sha1 Y46PAXFXWGQybwbSpfjnIodCexU=")
    for offset, data, checksum in ((0, b"hel", sums[0]), (3, b"lo", sums[1])):
        own = [("upload-offset", str(offset)), *OCTET_STREAM, *TUS, ("upload-checksum", checksum)]
        answer = tus.request("PATCH", url, [*PYTHON, *own, *sized(data)], data)
        assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + len(data)))
    head = tus.request("HEAD", url, [*PYTHON, *TUS])
    assert head["Upload-Offset"] == "5"
    assert head.get("Upload-Metadata") is None
    assert tus.content(url) == b"hello"


@spec("COMPAT-08")
def test_tus_py_client_ends_a_deferred_upload_with_an_empty_patch(tus: Tus) -> None:
    deferred = [("upload-defer-length", "1"), ("upload-metadata", "")]
    created = tus.request("POST", tus.creation, [*PYTHON, *TUS, *deferred, *sized(b"")])
    assert created.status == 201
    url = tus.location(created)
    last = [("upload-length", "6")]
    for offset, data, extra in ((0, b"hel", []), (3, b"lo!", []), (6, b"", last)):
        own = [("upload-offset", str(offset)), *OCTET_STREAM, *TUS, *extra]
        answer = tus.request("PATCH", url, [*PYTHON, *own, *sized(data)], data)
        assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + len(data)))
    head = tus.request("HEAD", url, [*PYTHON, *TUS])
    assert head["Upload-Offset"] == head["Upload-Length"] == "6"
    assert head.get("Upload-Defer-Length") is None
    assert tus.content(url) == b"hello!"


@pytest.mark.parametrize("location", ["path", "url"])
@pytest.mark.parametrize("base_path", ["/files/", "/files", "/api/v1/uploads/", "/"])
@spec("COMPAT-10")
def test_location_leads_to_the_upload_from_the_endpoint_as_the_user_wrote_it(
    serve: Serve, base_path: str, location: str
) -> None:
    tus = serve(base_path=base_path, location=location)
    assert isinstance(tus.address, tuple)
    host, port = tus.address
    written = {f"http://{host}:{port}{base_path.rstrip('/')}{slash}" for slash in ("", "/")}
    for endpoint in written:
        headers = [("Host", f"{host}:{port}"), *TUS, ("Upload-Length", "5"), *sized(b"")]
        answer = tus.request("POST", urlsplit(endpoint).path or "/", headers)
        assert answer.status == 201
        found = urlsplit(urljoin(endpoint, answer["Location"]))
        assert found.hostname is not None
        assert found.port is not None
        with Wire((found.hostname, found.port)) as wire:
            head = wire.request("HEAD", found.path, VERSION)
        assert (head.status, head["Upload-Offset"]) == (200, "0")


APPLE = [
    pytest.param([("Upload-Complete", "?1"), ("Upload-Draft-Interop-Version", "8")], id="8"),
    pytest.param([("Upload-Complete", "?1"), ("Upload-Draft-Interop-Version", "6")], id="6"),
    pytest.param([("Upload-Complete", "?0"), ("Upload-Draft-Interop-Version", "6")], id="6 more"),
    pytest.param([("Upload-Complete", "?1"), ("Upload-Draft-Interop-Version", "5")], id="5"),
    pytest.param([("Upload-Incomplete", "?0"), ("Upload-Draft-Interop-Version", "3")], id="3"),
    pytest.param([("Upload-Incomplete", "?1"), ("Upload-Draft-Interop-Version", "3")], id="3 more"),
]


@pytest.mark.parametrize("draft", APPLE)
@spec("COMPAT-11")
def test_draft_headers_of_urlsession_do_not_change_tus(tus: Tus, draft: Headers) -> None:
    created = tus.request(
        "POST",
        tus.creation,
        [*TUS, *draft, ("Upload-Length", "11"), *OCTET_STREAM, *sized(b"hello")],
        b"hello",
    )
    assert (created.status, created["Upload-Offset"], created.interim) == (201, "5", [])
    url = tus.location(created)
    head = tus.request("HEAD", url, [*TUS, *draft])
    assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "5", "11")
    wrong = tus.request("PATCH", url, [*TUS, *draft, *at(4), *OCTET_STREAM, *sized(b"x")], b"x")
    assert wrong.status == 409
    right = [*TUS, *draft, *at(5), *OCTET_STREAM, *sized(b" world")]
    patched = tus.request("PATCH", url, right, b" world")
    assert (patched.status, patched["Upload-Offset"], patched.interim) == (204, "11", [])
    for answer in (created, head, wrong, patched):
        assert answer["Tus-Resumable"] == "1.0.0"
        assert answer.get("Upload-Complete") is None
        assert answer.get("Upload-Draft-Interop-Version") is None
    assert tus.content(url) == b"hello world"


NOISE = {
    "X-Request-ID": "5ff4c2d7-6bd5-4f0e-9f4e-3d1f1d3b3a55",
    "X-Requested-With": "XMLHttpRequest",
    "Upload-Foo": "1",
    "Upload-Expires": "Wed, 25 Jun 2014 16:00:00 GMT",
    "Tus-Foo": "1",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "x",
    "Tus-Max-Size": "1",
    "Tus-Checksum-Algorithm": "md4",
    "Authorization": "Bearer x",
    "Cookie": "session=x; Upload-Offset=7",
    "Forwarded": "for=192.0.2.1;host=evil.example;proto=gopher",
    "X-Forwarded-Host": "evil.example",
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
}


def life_of_an_upload(tus: Tus, extra: dict[str, str]) -> list[tuple[int, set[tuple[str, str]]]]:
    """Status and headers of each answer, but for those that differ each time."""
    created = tus.post({"Upload-Length": "10", "Upload-Metadata": "a YQ==", **extra})
    url = tus.location(created)
    answers = [
        created,
        tus.request("PATCH", url, patch_headers(0, 5, extra), b"hello"),
        tus.request("PATCH", url, patch_headers(0, 5, extra), b"hello"),
        tus.request("HEAD", url, {**VERSION, **extra}),
        tus.request("PATCH", url, patch_headers(5, 5, extra), b"world"),
        tus.request("GET", url, extra),
        tus.request("OPTIONS", url, extra),
        tus.delete(url, extra),
    ]
    assert answers[5].body == b"helloworld"
    assert created["Location"].startswith(tus.creation)
    fleeting = {"date", "location", "upload-expires", "last-modified", "etag"}
    return [
        (answer.status, {header for header in answer.headers if header[0] not in fleeting})
        for answer in answers
    ]


@spec("COMPAT-12")
def test_unknown_request_headers_have_no_effect(tus: Tus) -> None:
    quiet = life_of_an_upload(tus, {})
    assert [status for status, _ in quiet] == [201, 204, 409, 200, 204, 200, 200, 204]
    assert life_of_an_upload(tus, NOISE) == quiet
    assert life_of_an_upload(tus, {name.lower(): value for name, value in NOISE.items()}) == quiet


@spec("COMPAT-12")
def test_a_foreign_label_or_language_on_creation_has_no_effect(tus: Tus) -> None:
    for extra in ({"Accept": "text/html"}, {"Accept-Language": "x"}, {"Content-Type": "text/html"}):
        created = tus.post({"Upload-Length": "5", **extra})
        assert created.status == 201
        assert tus.pa(tus.location(created), 0, b"hello", OCTETS).status == 204
