"""ROB-HTTP: refusals that come before the body has; the client sees them, and no byte of the body
is taken for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, patch_headers
from tests.wire import chunked, head

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
MAX_SIZE = 1000 * MIB


@dataclass(frozen=True)
class Doomed:
    """A request that is refused by its head. `target` and `headers` for one with so many bytes."""

    status: int
    method: str
    target: Callable[[Tus], str]
    headers: Callable[[int], dict[str, str]]


def upload(tus: Tus) -> str:
    return tus.mk(10)


def unknown(tus: Tus) -> str:
    return f"{tus.creation}{'0' * 32}"


def creation(tus: Tus) -> str:
    return tus.creation


def final(tus: Tus) -> str:
    part = tus.made(b"part", {"Upload-Concat": "partial"})
    answer = tus.post({"Upload-Concat": f"final;{part}"})
    assert answer.status == 201
    return tus.location(answer)


def patch_with(headers: dict[str, str], offset: int = 0) -> Callable[[int], dict[str, str]]:
    return lambda length: patch_headers(offset, length, headers)


def create_with(headers: dict[str, str]) -> Callable[[int], dict[str, str]]:
    base = {**VERSION, **OCTETS, "Upload-Length": str(MAX_SIZE)}
    return lambda length: {**base, "Content-Length": str(length), **headers}


DOOMED = {
    "wrong offset": Doomed(409, "PATCH", upload, patch_with({}, 5)),
    "unknown upload": Doomed(404, "PATCH", unknown, patch_with({})),
    "wrong version": Doomed(412, "PATCH", upload, patch_with({"Tus-Resumable": "0.2.2"})),
    "wrong type": Doomed(415, "PATCH", upload, patch_with({"Content-Type": "text/plain"})),
    "too long": Doomed(413, "PATCH", upload, patch_with({})),
    "bad checksum": Doomed(400, "PATCH", upload, patch_with({"Upload-Checksum": "sha1 x"})),
    "final upload": Doomed(403, "PATCH", final, patch_with({})),
    "other method": Doomed(405, "PUT", upload, patch_with({})),
    "creation without length": Doomed(400, "POST", creation, patch_with({})),
    "creation of too long": Doomed(
        413, "POST", creation, create_with({"Upload-Length": str(MAX_SIZE + 1)})
    ),
    "creation with wrong type": Doomed(
        415, "POST", creation, create_with({"Content-Type": "text/plain"})
    ),
    "creation with wrong version": Doomed(
        412, "POST", creation, create_with({"Tus-Resumable": "0.2.2"})
    ),
    "no such page": Doomed(404, "POST", lambda tus: "/elsewhere", patch_with({})),
}
EACH = pytest.mark.parametrize("doomed", DOOMED.values(), ids=DOOMED)
# Without an announced length these are refused only when the body comes.
JUDGED_BY_LENGTH = {"too long", "creation with wrong type"}
EACH_CHUNKED = pytest.mark.parametrize(
    "doomed",
    [pytest.param(it, id=name) for name, it in DOOMED.items() if name not in JUDGED_BY_LENGTH],
)
WHEN = pytest.mark.parametrize("is_late", [False, True], ids=["at once", "after the refusal"])


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tus]:
    with serving(tmp_path_factory.mktemp("limited") / "uploads", max_size=MAX_SIZE) as tus:
        yield tus


def without_length(headers: dict[str, str]) -> dict[str, str]:
    """The same for a chunked body."""
    return {
        **{name: value for name, value in headers.items() if name != "Content-Length"},
        "Transfer-Encoding": "chunked",
    }


@spec("ROB-HTTP-02")
@EACH
def test_a_doomed_body_that_is_held_back_is_not_asked_for(limited: Tus, doomed: Doomed) -> None:
    headers = {**doomed.headers(1000), "Expect": "100-continue"}
    with limited.wire() as wire:
        wire.send(head(doomed.method, doomed.target(limited), headers))
        answer = wire.answer(doomed.method)
        assert (answer.status, answer.interim) == (doomed.status, [])
        # Whether the client sends the body after all is anybody's guess.
        assert answer["Connection"] == "close"
        assert wire.is_ended()


@spec("ROB-HTTP-02", "CORE-PATCH-21")
@EACH
def test_a_doomed_request_is_answered_without_waiting_for_its_body(
    limited: Tus, doomed: Doomed
) -> None:
    with limited.wire() as wire:
        wire.send(head(doomed.method, doomed.target(limited), doomed.headers(1024 * MIB)))
        assert wire.answer(doomed.method).status == doomed.status


@spec("ROB-HTTP-06")
@WHEN
@EACH
def test_an_unwanted_body_is_dropped_and_the_connection_goes_on(
    limited: Tus, doomed: Doomed, is_late: bool
) -> None:
    bystander = limited.mk(10)
    body = head("DELETE", bystander, VERSION)
    rest = body + head("OPTIONS", limited.creation)
    start = head(doomed.method, doomed.target(limited), doomed.headers(len(body)))
    with limited.wire() as wire:
        wire.send(start if is_late else start + rest)
        assert wire.answer(doomed.method).status == doomed.status
        if is_late:
            wire.send(rest)
        assert wire.answer("OPTIONS").status == 200
    limited.assert_intact(bystander, 0, b"0123456789")


@spec("ROB-HTTP-06")
@WHEN
@EACH_CHUNKED
def test_an_unwanted_chunked_body_is_not_taken_for_a_request(
    limited: Tus, doomed: Doomed, is_late: bool
) -> None:
    bystander = limited.mk(10)
    body = head("DELETE", bystander, VERSION)
    rest = chunked(body, body) + head("OPTIONS", limited.creation)
    start = head(doomed.method, doomed.target(limited), without_length(doomed.headers(0)))
    with limited.wire() as wire:
        wire.send(start if is_late else start + rest)
        assert wire.answer(doomed.method).status == doomed.status
        if is_late:
            # Nobody knows how much there is to drop: the connection is given up.
            wire.send(rest)
            assert wire.is_ended()
        else:
            assert wire.answer("OPTIONS").status == 200
    limited.assert_intact(bystander, 0, b"0123456789")


@spec("ROB-HTTP-06")
def test_the_body_of_a_connect_is_not_taken_for_a_request(tus: Tus) -> None:
    bystander = tus.mk(10)
    body = head("DELETE", bystander, VERSION)
    with tus.wire() as wire:
        headers = {"Content-Length": str(len(body))}
        assert wire.request("CONNECT", bystander, headers, body).status in (400, 405)
    tus.assert_intact(bystander, 0, b"0123456789")


@spec("ROB-HTTP-06")
def test_what_follows_a_request_that_closes_is_not_executed(tus: Tus) -> None:
    url, bystander = tus.mk(5), tus.mk(10)
    with tus.wire() as wire:
        headers = patch_headers(0, 5, {"Connection": "close"})
        wire.send(head("PATCH", url, headers) + b"hello" + head("DELETE", bystander, VERSION))
        assert wire.answer("PATCH").status == 204
        assert wire.is_ended()
    tus.assert_intact(bystander, 0, b"0123456789")


EAGER = {
    "409": (409, {}),
    "409, and closes": (409, {"Connection": "close"}),
    "415": (415, {"Content-Type": "text/plain"}),
    "412": (412, {"Tus-Resumable": "0.2.2"}),
}


@spec("ROB-HTTP-18")
@pytest.mark.parametrize(("status", "headers"), EAGER.values(), ids=EAGER)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["known length", "chunked"])
def test_a_client_that_sends_eagerly_sees_why_it_is_refused(
    tus: Tus, status: int, headers: dict[str, str], is_chunked: bool
) -> None:
    url = tus.mk(200 * MIB)
    framing = without_length if is_chunked else dict
    piece = chunked(bytes(MIB), end=False) if is_chunked else bytes(MIB)
    for _ in range(3):
        with tus.wire() as wire:
            wire.send(head("PATCH", url, framing(patch_headers(1, 100 * MIB, headers))))
            for _ in range(100):
                wire.send(piece)
            answer = wire.answer("PATCH")
            assert (answer.status, answer["Connection"]) == (status, "close")
            assert wire.is_ended()
    tus.assert_intact(url, 0)


@spec("ROB-HTTP-18")
@pytest.mark.parametrize("size", [1, 64 * 1024, 64 * 1024 + 1, MIB])
def test_a_client_that_sends_a_little_sees_why_it_is_refused(tus: Tus, size: int) -> None:
    url = tus.mk(2 * MIB)
    for _ in range(20):
        with tus.wire() as wire:
            wire.send(head("PATCH", url, patch_headers(1, size)) + bytes(size))
            assert wire.answer("PATCH").status == 409
