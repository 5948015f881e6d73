"""TERM: clients end uploads (termination)."""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually, patch_headers
from tests.wire import chunked, head
from tusserver.events.base import Event, UploadCreated, UploadTerminated

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Serve
    from tests.wire import Answer, Wire

UNKNOWN = "0123456789abcdef" * 2
DIGEST = {"Upload-Checksum": f"sha1 {b64encode(sha1(b'helloworld').digest()).decode()}"}
PARTIAL = {"Upload-Concat": "partial"}


def fresh(tus: Tus) -> str:
    return tus.mk(10)


def half(tus: Tus) -> str:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    return url


def deferred(tus: Tus) -> str:
    return tus.mk(None)


def complete(tus: Tus) -> str:
    return tus.made(b"helloworld")


def empty(tus: Tus) -> str:
    return tus.mk(0)


def final_of(tus: Tus, *partials: str) -> str:
    answer = tus.post({"Upload-Concat": f"final;{' '.join(partials)}"})
    assert answer.status == 201
    return tus.location(answer)


def joined(tus: Tus) -> str:
    return final_of(tus, tus.made(b"hello", PARTIAL), tus.made(b"world", PARTIAL))


def waiting(tus: Tus) -> str:
    return final_of(tus, tus.made(b"hello", PARTIAL), tus.mk(5, PARTIAL))


def awaited(tus: Tus) -> str:
    url = tus.mk(5, PARTIAL)
    final_of(tus, tus.made(b"hello", PARTIAL), url)
    return url


STATES = [fresh, half, deferred, complete, empty, joined, waiting, awaited]
in_each_state = pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)


def remains(upload_dir: Path, url: str) -> list[str]:
    """What of an upload is still there: files that are named after it, and open ones that hold
    their room though they have no name any more.
    """
    upload_id = url.rpartition("/")[2]
    # Not rglob, which fails when the server removes a directory before its eyes.
    named = [
        os.path.join(where, name)
        for where, directories, files in os.walk(upload_dir)
        for name in (*directories, *files)
        if upload_id in name
    ]
    return named + [link for link in open_files() if upload_id in link]


def open_files() -> list[str]:
    """Where the descriptors of this process, and so of the server in its thread, lead to."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(descriptor))
        except FileNotFoundError:
            continue
    return links


def assert_gone(tus: Tus, url: str) -> None:
    answers = [tus.hd(url), tus.get(url), tus.delete(url)]
    answers += [tus.pa(url, offset, b"world") for offset in (0, 5, 10, 99)]
    answers.append(tus.pa(url, 0, b""))
    for answer in answers:
        assert answer.status == 404
        assert answer.get("Upload-Offset") is None


@spec("TERM-01", "TERM-02", "TERM-04", "TERM-05")
@in_each_state
def test_any_upload_can_be_ended(tus: Tus, state: Callable[[Tus], str]) -> None:
    assert "termination" in tus.options()["Tus-Extension"].split(",")
    url = state(tus)
    with tus.wire() as wire:
        answer = wire.request("DELETE", url, VERSION)
        assert wire.request("OPTIONS", tus.creation).status == 200
    assert answer.status == 204
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer.get("Content-Length") is None
    assert answer.get("Transfer-Encoding") is None
    assert_gone(tus, url)


@pytest.mark.directory
@spec("TERM-03")
@in_each_state
def test_nothing_is_left_of_an_upload_that_was_ended(
    shared_server: tuple[Tus, Path], state: Callable[[Tus], str]
) -> None:
    tus, upload_dir = shared_server
    url = state(tus)
    assert remains(upload_dir, url)
    assert tus.delete(url).status == 204
    assert remains(upload_dir, url) == []


@pytest.mark.directory
@spec("TERM-03")
def test_nothing_is_left_of_an_upload_that_a_crash_has_torn(
    shared_server: tuple[Tus, Path],
) -> None:
    tus, upload_dir = shared_server
    url = half(tus)
    data = upload_dir / url.rpartition("/")[2]
    # What a killed process leaves of a request with a checksum.
    data.with_name(f"{data.name}.marker").write_text("5 verify\n")
    data.write_bytes(b"hello, unverified")
    assert tus.delete(url).status == 204
    assert remains(upload_dir, url) == []


@pytest.mark.directory
@spec("TERM-03", "TERM-04")
def test_an_end_that_a_crash_interrupted_is_an_end(shared_server: tuple[Tus, Path]) -> None:
    tus, upload_dir = shared_server
    url = half(tus)
    # The data goes first.
    (upload_dir / url.rpartition("/")[2]).unlink()
    assert_gone(tus, url)
    assert remains(upload_dir, url) == []


@spec("TERM-03", "TERM-04")
def test_the_end_is_told_once(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    url = half(tus)
    for status in (204, 404, 404):
        assert tus.delete(url).status == status
    assert [type(event) for event in events] == [UploadCreated, UploadTerminated]


@spec("TERM-05")
def test_what_was_joined_outlives_its_partials_and_they_outlive_it(tus: Tus) -> None:
    partials = [tus.made(b"hello", PARTIAL), tus.made(b"world", PARTIAL)]
    first, second = final_of(tus, *partials), final_of(tus, *partials)
    assert tus.delete(first).status == 204
    assert [tus.off(url) for url in partials] == [5, 5]
    for url in partials:
        assert tus.delete(url).status == 204
    assert tus.content(second) == b"helloworld"


@spec("TERM-06")
@pytest.mark.parametrize("name", [UNKNOWN, "x", f"{UNKNOWN}.info", f"{UNKNOWN}/{UNKNOWN}"])
def test_an_unknown_upload_cannot_be_ended(tus: Tus, name: str) -> None:
    answer = tus.delete(f"{tus.creation}{name}")
    assert answer.status == 404
    assert answer.get("Upload-Offset") is None


@spec("TERM-01", "TERM-07")
def test_where_termination_is_off_delete_is_refused_and_harmless(serve: Serve) -> None:
    """TERM-07 needs a server without the extension: `disable_termination`."""
    tus = serve(disable_termination=True)
    assert "termination" not in tus.options()["Tus-Extension"].split(",")
    override = {**VERSION, "X-HTTP-Method-Override": "DELETE", "Content-Length": "0"}
    for state in STATES:
        url = state(tus)
        before = tus.hd(url)
        for answer in (tus.delete(url), tus.request("POST", url, override)):
            assert (answer.status, answer["Allow"]) == (405, "HEAD, PATCH, GET, OPTIONS")
        after = tus.hd(url)
        assert after.status == 200
        for name in ("Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Concat"):
            assert after.get(name) == before.get(name)


@spec("TERM-07")
def test_an_upload_goes_on_after_a_delete_that_is_not_offered(serve: Serve) -> None:
    """TERM-07 needs a server without the extension: `disable_termination`."""
    tus = serve(disable_termination=True)
    url = half(tus)
    assert tus.delete(url).status == 405
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


def announced(tus: Tus, url: str) -> Wire:
    wire = tus.begin_patch(url, 0, 10)
    wire.send(b"hello")
    return wire


def checksummed(tus: Tus, url: str) -> Wire:
    wire = tus.begin_patch(url, 0, 10, DIGEST)
    wire.send(b"hello")
    return wire


def unannounced(tus: Tus, url: str) -> Wire:
    wire = tus.wire()
    wire.send(head("PATCH", url, chunked_headers(0)) + chunked(b"hello", end=False))
    return wire


RUNNING = [announced, checksummed, unannounced]


@pytest.mark.directory
@spec("TERM-03", "TERM-08")
@pytest.mark.parametrize("begin", RUNNING, ids=lambda begin: begin.__name__)
def test_delete_ends_a_running_patch(
    shared_server: tuple[Tus, Path], begin: Callable[[Tus, str], Wire]
) -> None:
    tus, upload_dir = shared_server
    url = fresh(tus)
    data = upload_dir / url.rpartition("/")[2]
    with begin(tus, url) as wire:
        eventually(lambda: data.stat().st_size == 5)
        assert tus.delete(url).status == 204
        assert tus.hd(url).status == 404
        assert wire.answer("PATCH").status == 423
        wire.send(b"world")
        assert_gone(tus, url)
    eventually(lambda: remains(upload_dir, url) == [])
    assert_gone(tus, url)


@spec("TERM-09")
def test_of_two_deletes_at_once_one_ends_the_upload(tus: Tus) -> None:
    with tus.wire() as one, tus.wire() as other:
        for _ in range(20):
            url = half(tus)
            for wire in (one, other):
                wire.send(head("DELETE", url, VERSION))
            assert sorted(wire.answer("DELETE").status for wire in (one, other)) == [204, 404]


@spec("TERM-10")
@pytest.mark.parametrize("target", ["/files/", "/files"])
def test_the_creation_url_cannot_be_ended(tus: Tus, target: str) -> None:
    url = half(tus)
    answer = tus.delete(target)
    assert (answer.status, answer["Allow"]) == (405, "POST, OPTIONS")
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@spec("TERM-11")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b"", id="no-length"),
        pytest.param({"Content-Length": "0"}, b"", id="zero-length"),
        pytest.param({"Content-Length": "5"}, b"hello", id="a-body"),
        pytest.param({**OCTETS, "Content-Length": "5"}, b"hello", id="a-labelled-body"),
    ],
)
def test_delete_takes_any_framing(tus: Tus, headers: dict[str, str], body: bytes) -> None:
    first, second = fresh(tus), fresh(tus)
    with tus.wire() as wire:
        assert wire.request("DELETE", first, {**VERSION, **headers}, body).status == 204
        wire.send(head("DELETE", second, {**VERSION, **headers}))
        answer = wire.answer("DELETE")
        # The body of a request that has been answered must not be taken for the next request.
        wire.send(body)
        assert answer.status == 204
        assert wire.request("HEAD", first, VERSION).status == 404
        assert wire.request("OPTIONS", tus.creation).status == 200


def without_version(tus: Tus, url: str) -> Answer:
    return tus.request("DELETE", url)


def other_version(tus: Tus, url: str) -> Answer:
    return tus.delete(url, {"Tus-Resumable": "9.9.9"})


def other_version_by_override(tus: Tus, url: str) -> Answer:
    headers = {"X-HTTP-Method-Override": "DELETE", "Content-Length": "0"}
    return tus.request("POST", url, {**headers, "Tus-Resumable": "9.9.9"})


@spec("TERM-12")
@pytest.mark.parametrize(
    "ask",
    [without_version, other_version, other_version_by_override],
    ids=lambda ask: ask.__name__,
)
def test_delete_of_another_version_has_no_effect(
    tus: Tus, ask: Callable[[Tus, str], Answer]
) -> None:
    url = half(tus)
    with tus.wire() as running:
        running.send(head("PATCH", url, patch_headers(5, 5)) + b"wo")
        answer = ask(tus, url)
        assert (answer.status, answer["Tus-Version"]) == (412, "1.0.0")
        running.send(b"rld")
        assert running.answer("PATCH").status == 204
    assert tus.content(url) == b"helloworld"
