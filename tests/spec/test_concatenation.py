"""CONCAT: one upload joined from several (concatenation extension)."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.servers import running
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually
from tests.wire import Answer, chunked
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.events.base import Event, UploadFinished
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.capabilities import CONCATENATION_UNFINISHED
from tusserver.store.memory import MemoryStore
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Serve

PARTIAL = {"Upload-Concat": "partial"}


@pytest.fixture
def finished_only() -> Iterator[Tus]:
    """A server that does not offer concatenation-unfinished."""
    uploads = Uploads(MemoryStore(), MemoryLocker())
    extensions = uploads.capabilities.extensions - {CONCATENATION_UNFINISHED}
    uploads.capabilities = replace(uploads.capabilities, extensions=extensions)
    app = whole_server(Application(uploads, EndpointOptions(), None), "/files/")
    with running(app) as server:
        yield Tus(server.address)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port on this machine that nobody has any business to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def part(tus: Tus, data: bytes, headers: dict[str, str] | None = None) -> str:
    """A finished partial upload with these bytes."""
    return tus.made(data, {**PARTIAL, **(headers or {})})


def join(tus: Tus, *parts: str, headers: dict[str, str] | None = None) -> Answer:
    """The answer to the request for a final upload."""
    return tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **(headers or {})})


def joined(tus: Tus, *parts: str, headers: dict[str, str] | None = None) -> str:
    """A final upload."""
    answer = join(tus, *parts, headers=headers)
    assert answer.status == 201, answer
    return tus.location(answer)


def extensions_of(tus: Tus) -> set[str]:
    return set(tus.options()["Tus-Extension"].split(","))


def files_in(upload_dir: Path) -> set[str]:
    """All files, those in our own directory included."""
    return {str(path) for path in upload_dir.rglob("*") if path.is_file()}


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.body.decode().startswith(f"{code}: ")
    assert answer.get("Location") is None


@spec("CONCAT-01", "CONCAT-04")
def test_concatenation_is_announced_where_it_works(tus: Tus) -> None:
    assert "concatenation" in extensions_of(tus)
    answer = join(tus, part(tus, b"hello"), part(tus, b" world"))
    assert answer.status == 201
    assert tus.hd(tus.location(answer)).status == 200


@spec("CONCAT-01", "CONCAT-27")
def test_without_the_extension_both_kinds_are_refused_and_nothing_is_announced(
    serve: Serve,
) -> None:
    tus = serve(disable_concatenation=True)
    assert extensions_of(tus).isdisjoint({"concatenation", "concatenation-unfinished"})
    url = tus.made(b"hello")
    for answer in (tus.post({**PARTIAL, "Upload-Length": "5"}), join(tus, url)):
        assert_refused(answer, 400, "ERR_CONCATENATION_UNSUPPORTED")


@spec("CONCAT-02", "CONCAT-16", "CONCAT-18")
def test_a_partial_upload_is_used_like_any_other(tus: Tus) -> None:
    url = tus.mk(5, PARTIAL)
    for offset, data in ((0, b"he"), (2, b"llo"), (5, b"")):
        answer = tus.hd(url)
        assert answer.status == 200
        assert answer["Upload-Offset"] == str(offset)
        assert answer["Upload-Length"] == "5"
        assert answer["Upload-Concat"] == "partial"
        patched = tus.pa(url, offset, data)
        assert patched.status == 204
        assert patched["Upload-Offset"] == str(offset + len(data))
    assert tus.content(url) == b"hello"


@spec("CONCAT-03")
def test_only_the_final_upload_is_told_to_be_finished(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    url = joined(tus, part(tus, b"hello"), part(tus, b" world"), part(tus, b""))
    finished = [event.upload.upload_id for event in events if isinstance(event, UploadFinished)]
    assert finished == [url.removeprefix(tus.creation)]


@spec("CONCAT-05", "CONCAT-06", "CONCAT-14", "CONCAT-17")
def test_parts_are_joined_in_the_listed_order(tus: Tus) -> None:
    first, second = part(tus, b"hello"), part(tus, b" world")
    for parts, data in (
        ((first, second), b"hello world"),
        ((second, first), b" worldhello"),
        ((first,), b"hello"),
    ):
        url = joined(tus, *parts)
        answer = tus.hd(url)
        assert answer["Upload-Length"] == answer["Upload-Offset"] == str(len(data))
        assert answer.get("Upload-Defer-Length") is None
        assert tus.content(url) == data


@spec("CONCAT-06")
def test_sizes_that_fill_no_block_are_joined_byte_by_byte(tus: Tus) -> None:
    # Where the file system shares extents, only whole blocks can be shared.
    pieces = [bytes([index]) * size for index, size in enumerate((4096, 65537, 1, 8192, 4095))]
    url = joined(tus, *(part(tus, piece) for piece in pieces))
    assert tus.content(url) == b"".join(pieces)


@pytest.mark.parametrize(
    "length",
    [
        pytest.param({"Upload-Length": "3"}, id="another length"),
        pytest.param({"Upload-Length": "11"}, id="the right length"),
        pytest.param({"Upload-Defer-Length": "1"}, id="deferred"),
    ],
)
@spec("CONCAT-07")
def test_a_final_upload_with_a_length_of_its_own_is_refused(
    tus: Tus, length: dict[str, str]
) -> None:
    answer = join(tus, part(tus, b"hello"), part(tus, b" world"), headers=length)
    assert_refused(answer, 400, "ERR_INVALID_CONCAT")


@spec("CONCAT-09")
def test_unfinished_parts_are_refused_where_joining_them_is_not_on_offer(
    finished_only: Tus,
) -> None:
    tus = finished_only
    assert "concatenation-unfinished" not in extensions_of(tus)
    done, empty, half = part(tus, b"hello"), tus.mk(6, PARTIAL), tus.mk(6, PARTIAL)
    assert tus.pa(half, 0, b" wo").status == 204
    for parts in ((done, empty), (half, done), (empty, half)):
        assert_refused(join(tus, *parts), 400, "ERR_UPLOAD_NOT_FINISHED")
    assert tus.pa(half, 3, b"rld").status == 204
    assert tus.content(joined(tus, done, half)) == b"hello world"


@spec("CONCAT-10")
def test_metadata_of_parts_is_not_carried_over(tus: Tus) -> None:
    parts = [part(tus, b"hello", {"Upload-Metadata": f"{key} YQ=="}) for key in "ab"]
    assert tus.hd(joined(tus, *parts)).get("Upload-Metadata") is None
    url = joined(tus, *parts, headers={"Upload-Metadata": "b Yg=="})
    assert tus.hd(url)["Upload-Metadata"] == "b Yg=="
    assert tus.hd(parts[0])["Upload-Metadata"] == "a YQ=="


@spec("CONCAT-11", "CONCAT-12")
def test_parts_are_kept_and_may_be_used_again(tus: Tus) -> None:
    first, second = part(tus, b"hello"), part(tus, b" world")
    assert tus.content(joined(tus, first, first)) == b"hellohello"
    assert tus.content(joined(tus, first, second)) == b"hello world"
    assert tus.content(joined(tus, second, first, second)) == b" worldhello world"
    for url, data in ((first, b"hello"), (second, b" world")):
        assert tus.off(url) == len(data)
        assert tus.content(url) == data


@spec("CONCAT-13")
def test_patch_on_a_final_upload_is_forbidden_and_changes_nothing(tus: Tus) -> None:
    parts = [part(tus, b"hello"), part(tus, b" world")]
    url = joined(tus, *parts)
    for offset, data in ((11, b"x"), (11, b""), (0, b"x"), (0, b""), (5, b" world"), (12, b"x")):
        assert_refused(tus.pa(url, offset, data), 403, "ERR_MODIFY_FINAL")
    assert_refused(tus.pa(url, 11, b"x", {"Upload-Length": "12"}), 403, "ERR_MODIFY_FINAL")
    assert tus.hd(url)["Upload-Length"] == tus.hd(url)["Upload-Offset"] == "11"
    assert tus.content(url) == b"hello world"
    assert [tus.content(part_url) for part_url in parts] == [b"hello", b" world"]


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param("{url}", id="as in Location"),
        pytest.param("http://localhost{url}", id="absolute"),
        pytest.param("HTTP://LOCALHOST{url}", id="in capitals"),
        pytest.param("https://uploads.example:8443{url}", id="as a proxy shows it"),
        pytest.param("{id}", id="relative"),
        pytest.param("./{id}", id="relative with a dot"),
        pytest.param("../files/{id}", id="relative with dots"),
    ],
)
@spec("CONCAT-18", "CONCAT-20")
def test_part_urls_may_be_absolute_or_relative_and_come_back_as_they_were(
    tus: Tus, spelling: str
) -> None:
    urls = [part(tus, b"hello"), part(tus, b" world")]
    spelled = [spelling.format(url=url, id=url.removeprefix(tus.creation)) for url in urls]
    for value in (f"final;{spelled[0]} {spelled[1]}", f"final;{spelled[0]} {urls[1]}"):
        answer = tus.post({"Upload-Concat": value})
        assert answer.status == 201
        assert answer["Upload-Concat"] == value
        url = tus.location(answer)
        assert tus.hd(url)["Upload-Concat"] == value
        assert tus.content(url) == b"hello world"


@spec("CONCAT-18", "CONCAT-19")
def test_a_blank_after_the_semicolon_is_taken(tus: Tus) -> None:
    value = f"final; {part(tus, b'hello')}  {part(tus, b' world')}"
    answer = tus.post({"Upload-Concat": value})
    assert answer.status == 201
    assert tus.hd(tus.location(answer))["Upload-Concat"] == value
    assert tus.content(tus.location(answer)) == b"hello world"


@pytest.mark.parametrize(
    "value",
    [
        *("", "final", "final;", "final; ", "final;,", "PARTIAL", "Partial", "partial;x"),
        *("partial;", "partial {url}", "partial, partial", "foo", "Final;{url}", "FINAL;{url}"),
        *("final:{url}", "final {url}", "final;{url},{url}", "partial,final;{url}", "{url}"),
    ],
)
@spec("CONCAT-19")
def test_other_values_of_upload_concat_are_refused(tus: Tus, value: str) -> None:
    concat = {"Upload-Concat": value.format(url=part(tus, b"hello"))}
    # A final upload has no length and a partial one has: neither may be what is complained of.
    for headers in (concat, {**concat, "Upload-Length": "5"}):
        assert_refused(tus.post(headers), 400, "ERR_INVALID_CONCAT")


@pytest.mark.parametrize("separator", ["\xa0", "\x85", "\t"], ids=["no-break", "NEL", "tab"])
@spec("CONCAT-19")
def test_only_blanks_separate_part_urls(tus: Tus, separator: str) -> None:
    url = part(tus, b"hello")
    answer = tus.post({"Upload-Concat": f"final;{url}{separator}{url}"})
    assert_refused(answer, 400, "ERR_INVALID_CONCAT")


@spec("CONCAT-21")
def test_the_size_limit_applies_to_the_sum(serve: Serve, tmp_path: Path) -> None:
    tus = serve(max_size="10")
    whole, half, other = part(tus, b"0123456789"), part(tus, b"abcde"), part(tus, b"fghij")
    unfinished, one = tus.mk(6, PARTIAL), part(tus, b"x")
    assert tus.content(joined(tus, half, other)) == b"abcdefghij"
    before = files_in(tmp_path / "uploads")
    for parts in ((whole, one), (half, half, one), (half, unfinished), (whole,) * 64):
        assert_refused(join(tus, *parts), 413, "ERR_MAX_SIZE_EXCEEDED")
    assert files_in(tmp_path / "uploads") == before


FOREIGN = [
    "{creation}doesnotexist",
    "{creation}",
    "/files",
    "{url}.info",
    "{url}/x",
    "{creation}.tusserver/locks",
    "{creation}..%2f..%2fetc%2fpasswd",
    "../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "file://{url}",
    "ftp://127.0.0.1:{port}{url}",
    "gopher://127.0.0.1:{port}{url}",
    "http://127.0.0.1:{port}/x",
    "http://127.0.0.1:{port}/files/doesnotexist",
    "http://user:secret@127.0.0.1:{port}/x",
    "//127.0.0.1:{port}/x",
    "http://[::1",
    "http://127.0.0.1:{port}",
    "http:",
    "javascript:alert(1)",
    "data:,x",
    "?",
    "#",
    "%",
    "\xff",
]


def assert_nobody_connected(listener: socket.socket) -> None:
    """Connections are accepted in the order in which they were made: the first is our own."""
    with socket.create_connection(listener.getsockname(), timeout=10) as ours:
        accepted, peer = listener.accept()
        accepted.close()
        assert peer == ours.getsockname()


@pytest.mark.parametrize("foreign", FOREIGN)
@spec("CONCAT-22")
def test_unknown_and_foreign_part_urls_are_refused_and_never_fetched(
    tus: Tus, listener: socket.socket, foreign: str
) -> None:
    url = part(tus, b"hello")
    bad = foreign.format(creation=tus.creation, url=url, port=listener.getsockname()[1])
    for parts in ((url, bad), (bad, url), (bad,)):
        assert_refused(join(tus, *parts), 400, "ERR_INVALID_CONCAT")
    assert_nobody_connected(listener)
    assert tus.content(url) == b"hello"


@spec("CONCAT-22")
def test_a_part_on_another_host_is_taken_for_ours_and_never_fetched(
    tus: Tus, listener: socket.socket
) -> None:
    foreign = f"http://127.0.0.1:{listener.getsockname()[1]}"
    url = joined(tus, f"{foreign}{part(tus, b'hello')}", f"{foreign}{part(tus, b' world')}")
    assert tus.content(url) == b"hello world"
    assert_nobody_connected(listener)


@spec("CONCAT-23")
def test_only_partial_uploads_can_be_joined(tus: Tus) -> None:
    good, regular = part(tus, b"hello"), tus.made(b"hello")
    final, unfinished = joined(tus, good), tus.mk(5)
    for other in (regular, final, unfinished):
        for parts in ((good, other), (other, good), (other,)):
            assert_refused(join(tus, *parts), 400, "ERR_INVALID_CONCAT")


@pytest.mark.parametrize(
    "headers",
    [pytest.param(OCTETS, id="labelled"), pytest.param({}, id="bare")],
)
@spec("CONCAT-24")
def test_a_final_upload_with_a_body_is_forbidden(
    serve: Serve, tmp_path: Path, headers: dict[str, str]
) -> None:
    tus = serve()
    url = part(tus, b"hello")
    before = files_in(tmp_path / "uploads")
    concat = {**VERSION, **headers, "Upload-Concat": f"final;{url}"}
    assert_refused(tus.post(concat, b" world"), 403, "ERR_MODIFY_FINAL")
    assert files_in(tmp_path / "uploads") == before
    assert tus.content(url) == b"hello"


@spec("CONCAT-24")
def test_a_final_upload_with_an_unannounced_body_is_forbidden_too(
    serve: Serve, tmp_path: Path
) -> None:
    tus = serve()
    url = part(tus, b"hello")
    concat = {**chunked_headers(0), "Upload-Concat": f"final;{url}"}
    del concat["Upload-Offset"]
    before = files_in(tmp_path / "uploads")
    answer = tus.request("POST", tus.creation, concat, chunked(b" world"))
    assert files_in(tmp_path / "uploads") == before
    assert tus.content(url) == b"hello"
    assert tus.request("POST", tus.creation, concat, chunked()).status == 201
    assert_refused(answer, 403, "ERR_MODIFY_FINAL")


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (0, 5), (5, 0, 0, 6)], ids=str)
@spec("CONCAT-25")
def test_parts_without_bytes_can_be_joined(tus: Tus, sizes: tuple[int, ...]) -> None:
    url = joined(tus, *(part(tus, b"x" * size) for size in sizes))
    answer = tus.hd(url)
    assert answer["Upload-Offset"] == answer["Upload-Length"] == str(sum(sizes))
    assert tus.content(url) == b"x" * sum(sizes)


def many_parts(tus: Tus, count: int) -> list[str]:
    """Parts of two bytes that tell their number, made on one connection."""
    headers = {**VERSION, **OCTETS, **PARTIAL, "Upload-Length": "2", "Content-Length": "2"}
    with tus.wire() as wire:
        answers = [
            wire.request("POST", tus.creation, headers, b"%02x" % index) for index in range(count)
        ]
    assert {answer["Upload-Offset"] for answer in answers} == {"2"}
    return [tus.location(answer) for answer in answers]


@spec("CONCAT-26")
def test_many_parts_can_be_joined(tus: Tus) -> None:
    parts = many_parts(tus, 64)
    data = b"".join(b"%02x" % index for index in range(64))
    assert tus.content(joined(tus, *parts)) == data
    assert tus.content(joined(tus, *(parts * 16)[:1000])) == (data * 16)[:2000]
    too_many = join(tus, *parts * 64)
    assert too_many.status == 431
    assert too_many.get("Location") is None
    tus.assert_live()


@spec("CONCAT-28")
def test_parts_and_the_final_upload_live_and_end_apart(tus: Tus) -> None:
    first, second = part(tus, b"hello"), part(tus, b" world")
    kept, ended = joined(tus, first, second), joined(tus, first, second)
    assert tus.delete(ended).status == 204
    assert tus.hd(ended).status == 404
    assert [tus.content(url) for url in (first, second)] == [b"hello", b" world"]
    assert tus.delete(first).status == 204
    assert tus.hd(first).status == 404
    assert tus.hd(kept)["Upload-Offset"] == "11"
    assert tus.content(kept) == b"hello world"
    assert_refused(join(tus, first, second), 400, "ERR_INVALID_CONCAT")


@spec("CONCAT-29")
def test_a_part_that_is_being_written_is_joined_only_once_it_is_whole(tus: Tus) -> None:
    first, second = part(tus, b"hello"), tus.mk(6, PARTIAL)
    with tus.begin_patch(second, 0, 6) as wire:
        wire.send(b" wo")
        eventually(lambda: tus.off(second) == 3)
        url = joined(tus, second, first)
        assert tus.hd(url).get("Upload-Offset") is None
        assert tus.get(url).status == 404
        wire.send(b"rld")
        assert wire.answer("PATCH").status == 204
    eventually(lambda: tus.hd(url).get("Upload-Offset") == "11")
    assert tus.content(url) == b" worldhello"


@spec("CONCAT-29")
def test_a_part_that_is_being_written_is_refused_where_parts_must_be_finished(
    finished_only: Tus,
) -> None:
    tus = finished_only
    url = tus.mk(6, PARTIAL)
    with tus.begin_patch(url, 0, 6) as wire:
        wire.send(b" wo")
        eventually(lambda: tus.off(url) == 3)
        assert_refused(join(tus, url), 400, "ERR_UPLOAD_NOT_FINISHED")
        wire.send(b"rld")
        assert wire.answer("PATCH").status == 204
    assert tus.content(joined(tus, url)) == b" world"


@spec("CONCAT-30")
def test_a_part_of_deferred_length_can_be_joined_once_it_is_complete(finished_only: Tus) -> None:
    tus = finished_only
    url = tus.mk(None, PARTIAL)
    assert tus.hd(url)["Upload-Concat"] == "partial"
    assert_refused(join(tus, url), 400, "ERR_UPLOAD_NOT_FINISHED")
    assert tus.pa(url, 0, b"hello").status == 204
    assert_refused(join(tus, url), 400, "ERR_UPLOAD_NOT_FINISHED")
    assert tus.pa(url, 5, b"", {"Upload-Length": "5"}).status == 204
    assert tus.content(joined(tus, url, part(tus, b" world"))) == b"hello world"
