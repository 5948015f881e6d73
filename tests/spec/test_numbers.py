"""ROB-NUM: numbers in headers are decimal, exact and bounded, or the request is refused."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.servers import running
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, patch_headers
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.lock.memory import MemoryLocker
from tusserver.store.memory import MemoryStore
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Serve


def utf8(text: str) -> str:
    """As a test writes a header value whose bytes are to be this text in UTF-8."""
    return text.encode().decode("latin-1")


def spellings(number: int) -> dict[str, str]:
    """What a careless parser takes for this digit, under the name of the mistake."""
    return {
        "minus": f"-{number}",
        "plus": f"+{number}",
        "fraction": f"{number}.0",
        "bare point": f"{number}.",
        "comma": f"{number},0",
        "exponent": f"{number}e0",
        "hexadecimal": f"0x{number}",
        "octal": f"0o{number}",
        "binary": f"0b{number % 2}",
        "underscore": f"0_{number}",
        "C suffix": f"{number}L",
        "twice with a blank": f"{number} {number}",
        "twice with a comma": f"{number},{number}",
        "parameter": f"{number};x",
        "quoted": f'"{number}"',
        "no-break space": f"\xa0{number}",
        "no-break space behind": f"{number}\xa0",
        "next line": f"\x85{number}",
        "Arabic-Indic": utf8(chr(0x660 + number)),
        "full width": utf8(chr(0xFF10 + number)),
        "superscript": utf8("⁰¹²³⁴⁵"[number]),
        "twenty digits": f"{number:020}",
    }


ABSURD = {
    "empty": "",
    "a thousand": "1_000",
    "a fraction": "2.5",
    "big exponent": "5e3",
    "hex sixteen": "0x10",
    "text": "abc",
    "not a number": "NaN",
    "infinity": "Infinity",
    "null": "null",
    "superscript in Latin-1": "\xb2",
    "a high byte": "\xff",
    "minus one": "-1",
    "2^63": str(2**63),
    "2^64": str(2**64),
    "2^64 and 5": str(2**64 + 5),
    "twenty nines": "9" * 20,
    "more digits than int() takes": "9" * 5000,
    "zeros without end": "0" * 5000,
}
MISTAKES = list(spellings(0))


@pytest.fixture
def roomy() -> Iterator[Tus]:
    """A server in memory, where no length is too long for the disk."""
    uploads = Uploads(MemoryStore(), MemoryLocker())
    app = whole_server(Application(uploads, EndpointOptions(), None), "/files/")
    with running(app) as server:
        yield Tus(server.address)


def files_in(upload_dir: Path) -> set[str]:
    """All files, those in our own directory included."""
    return {str(path) for path in upload_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "value",
    [*spellings(5).values(), *ABSURD.values()],
    ids=[*spellings(5), *ABSURD],
)
@spec("ROB-NUM-01")
def test_a_bad_length_is_refused_at_creation(tus: Tus, value: str) -> None:
    answer = tus.post({"Upload-Length": value})
    assert answer.status == 400
    assert answer.body.startswith(b"ERR_INVALID_UPLOAD_LENGTH: ")
    assert answer.get("Location") is None
    with_bytes = tus.post({**OCTETS, "Upload-Length": value}, b"hello")
    assert with_bytes.status == 400
    assert with_bytes.get("Location") is None


@spec("ROB-NUM-01")
def test_a_refused_length_leaves_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    tus = serve()
    before = files_in(tmp_path / "uploads")
    for value in (*spellings(5).values(), *ABSURD.values()):
        assert tus.post({**OCTETS, "Upload-Length": value}, b"hello").status == 400
    assert files_in(tmp_path / "uploads") == before


@pytest.mark.parametrize("value", ["007", "7", "0000000000000000007", "  7\t"])
@spec("ROB-NUM-01")
def test_leading_zeros_and_outer_blanks_do_not_change_a_length(tus: Tus, value: str) -> None:
    answer = tus.post({"Upload-Length": value})
    assert answer.status == 201
    assert tus.hd(tus.location(answer))["Upload-Length"] == "7"


def assert_offset_refused(tus: Tus, url: str, value: str) -> None:
    answer = tus.pa(url, value, b"x")
    assert answer.status == 400
    assert answer.body.startswith(b"ERR_INVALID_OFFSET: ")


@pytest.mark.parametrize("mistake", MISTAKES)
@spec("ROB-NUM-02")
def test_an_offset_that_would_match_if_it_were_repaired_is_refused(tus: Tus, mistake: str) -> None:
    url = tus.mk(10)
    assert_offset_refused(tus, url, spellings(0)[mistake])
    tus.assert_intact(url, 0, b"hello")
    assert_offset_refused(tus, url, spellings(5)[mistake])
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@pytest.mark.parametrize("value", ABSURD.values(), ids=list(ABSURD))
@spec("ROB-NUM-02")
def test_an_absurd_offset_is_refused(tus: Tus, value: str) -> None:
    url = tus.mk(10)
    assert_offset_refused(tus, url, value)
    tus.assert_intact(url, 0, b"hello")
    assert_offset_refused(tus, url, value)
    tus.assert_intact(url, 5, b"world")
    assert tus.content(url) == b"helloworld"


@pytest.mark.parametrize("value", ["5", "05", "0000000000000000005", "   5  "])
@spec("ROB-NUM-02")
def test_leading_zeros_and_outer_blanks_do_not_change_an_offset(tus: Tus, value: str) -> None:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    answer = tus.pa(url, value, b"world")
    assert answer.status == 204
    assert answer["Upload-Offset"] == "10"


LARGE = {
    "2^31": 2**31,
    "2^32 - 1": 2**32 - 1,
    "2^32": 2**32,
    "2^53 + 1": 2**53 + 1,
    "2^63 - 1": 2**63 - 1,
}


@pytest.mark.parametrize("length", LARGE.values(), ids=list(LARGE))
@spec("ROB-NUM-03", "ROB-NUM-04")
def test_large_lengths_are_exact(roomy: Tus, length: int) -> None:
    url = roomy.mk(length)
    assert roomy.hd(url)["Upload-Length"] == str(length)
    assert roomy.pa(url, 0, b"hello")["Upload-Offset"] == "5"
    assert roomy.pa(url, 5, b"", {"Upload-Length": str(length)}).status == 204
    assert roomy.pa(url, 5, b"", {"Upload-Length": str(length - 1)}).status == 400
    head = roomy.hd(url)
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("5", str(length))
    assert roomy.delete(url).status == 204
    roomy.assert_live()


@pytest.mark.directory
@pytest.mark.parametrize("length", LARGE.values(), ids=list(LARGE))
@spec("ROB-NUM-03")
def test_large_lengths_that_are_declared_later_are_exact(tus: Tus, length: int) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"hello", {"Upload-Length": str(length)}).status == 204
    head = tus.hd(url)
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("5", str(length))
    assert tus.delete(url).status == 204


@pytest.mark.directory
@pytest.mark.parametrize("length", LARGE.values(), ids=list(LARGE))
@spec("ROB-NUM-03", "ROB-NUM-04")
def test_large_lengths_take_no_room_before_their_bytes_come(
    serve: Serve, tmp_path: Path, length: int
) -> None:
    tus = serve()
    before = files_in(tmp_path / "uploads")
    has_room = length <= shutil.disk_usage(tmp_path).free
    answer = tus.post({"Upload-Length": str(length)})
    if not has_room:
        assert answer.status == 507
        assert answer.get("Location") is None
        assert files_in(tmp_path / "uploads") == before
    else:
        assert answer.status == 201
        url = tus.location(answer)
        assert tus.hd(url)["Upload-Length"] == str(length)
        assert os.stat(data_file(tmp_path / "uploads", url)).st_blocks == 0
    tus.assert_live()


@pytest.mark.parametrize("length", [2**63, 2**63 + 5, 2**64 - 1], ids=["2^63", "more", "2^64 - 1"])
@spec("ROB-NUM-04")
def test_lengths_from_2_to_the_63_on_are_refused(roomy: Tus, length: int) -> None:
    answer = roomy.post({"Upload-Length": str(length)})
    assert answer.status == 400
    assert answer.get("Location") is None
    url = roomy.mk(None)
    assert roomy.pa(url, 0, b"hello", {"Upload-Length": str(length)}).status == 400
    assert roomy.hd(url)["Upload-Defer-Length"] == "1"
    assert roomy.off(url) == 0
    roomy.assert_live()


@spec("ROB-NUM-04")
def test_lengths_of_parts_cannot_come_to_2_to_the_63(roomy: Tus) -> None:
    partial = {"Upload-Concat": "partial"}
    halves = [roomy.mk(2**62, partial), roomy.mk(2**62, partial), roomy.mk(2**62 - 1, partial)]
    answer = roomy.post({"Upload-Concat": f"final;{halves[0]} {halves[1]}"})
    assert answer.status == 400
    assert answer.get("Location") is None
    answer = roomy.post({"Upload-Concat": f"final;{halves[0]} {halves[2]}"})
    assert answer.status == 201
    assert roomy.hd(roomy.location(answer))["Upload-Length"] == str(2**63 - 1)


@pytest.mark.parametrize(
    ("offset", "status"),
    [
        pytest.param(2**64 - 1, 400, id="2^64 - 1"),
        pytest.param(2**64, 400, id="2^64"),
        pytest.param(2**64 + 5, 400, id="2^64 + 5"),
        pytest.param(2**63, 400, id="2^63"),
        pytest.param(2**63 - 1, 409, id="2^63 - 1"),
        pytest.param(2**63 - 2, 409, id="2^63 - 2"),
        pytest.param(2**32, 409, id="2^32"),
        pytest.param(2**32 + 5, 409, id="2^32 + 5"),
    ],
)
@spec("ROB-NUM-05")
def test_offset_arithmetic_cannot_wrap(tus: Tus, offset: int, status: int) -> None:
    for url in (tus.mk(10), tus.mk(None)):
        assert tus.pa(url, offset, b"xy").status == status
        tus.assert_intact(url, 0, b"hello")
        answer = tus.pa(url, offset, b"xy")
        assert answer.status == status
        assert answer.get("Upload-Offset") == ("5" if status == 409 else None)
        tus.assert_intact(url, 5, b"world")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([("Upload-Offset", "0"), ("Upload-Offset", "5")], id="right one first"),
        pytest.param([("Upload-Offset", "5"), ("Upload-Offset", "0")], id="right one last"),
        pytest.param([("Upload-Offset", "0"), ("upload-offset", "0")], id="twice the same"),
        pytest.param([("Upload-Offset", "0"), ("Upload-Offset", "")], id="one empty"),
    ],
)
@spec("ROB-NUM-06")
def test_repeated_offsets_are_refused(tus: Tus, lines: list[tuple[str, str]]) -> None:
    url = tus.mk(5)
    headers = {**patch_headers(0, 5)}
    del headers["Upload-Offset"]
    answer = tus.request("PATCH", url, [*headers.items(), *lines], b"hello")
    assert answer.status == 400
    tus.assert_intact(url, 0, b"hello")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([("Upload-Length", "5"), ("Upload-Length", "6")], id="lengths"),
        pytest.param([("Upload-Length", "6"), ("upload-length", "5")], id="lengths in any case"),
        pytest.param([("Upload-Length", "5"), ("Upload-Length", "5")], id="equal lengths"),
        pytest.param([("Upload-Defer-Length", "1"), ("Upload-Defer-Length", "1")], id="deferred"),
    ],
)
@spec("ROB-NUM-06")
def test_repeated_lengths_are_refused(tus: Tus, lines: list[tuple[str, str]]) -> None:
    answer = tus.request("POST", tus.creation, [*VERSION.items(), ("Content-Length", "0"), *lines])
    assert answer.status == 400
    assert answer.get("Location") is None
    if lines[0][0] == "Upload-Length":
        url = tus.mk(None)
        headers = [*patch_headers(0, 5).items(), *lines]
        assert tus.request("PATCH", url, headers, b"hello").status == 400
        assert tus.hd(url)["Upload-Defer-Length"] == "1"
        assert tus.off(url) == 0


@pytest.mark.parametrize("second", ["1.0.0", "0.2.2", ""])
@spec("ROB-NUM-06")
def test_repeated_versions_are_refused(tus: Tus, second: str) -> None:
    url = tus.mk(5)
    lines = [*VERSION.items(), ("Tus-Resumable", second)]
    headers = {**patch_headers(0, 5)}
    del headers["Tus-Resumable"]
    for ordered in (lines, lines[::-1]):
        answers = [
            tus.request("POST", tus.creation, [*ordered, ("Upload-Length", "5")]),
            tus.request("PATCH", url, [*ordered, *headers.items()], b"hello"),
            tus.request("HEAD", url, ordered),
            tus.request("DELETE", url, ordered),
        ]
        assert {answer.status for answer in answers} <= {400, 412}
        assert all(answer.get("Location") is None for answer in answers)
    tus.assert_intact(url, 0, b"hello")


def data_file(upload_dir: Path, url: str) -> Path:
    return upload_dir / url.rpartition("/")[2]


@pytest.mark.directory
@spec("ROB-NUM-07")
def test_offsets_above_2_to_the_32_work(serve: Serve, tmp_path: Path) -> None:
    tus = serve()
    # Deferred, so that the disk need not have room for what is not going to be written.
    url = tus.mk(None)
    start, length = 2**32 + 3, 2**32 + 10
    os.truncate(data_file(tmp_path / "uploads", url), start)
    assert tus.off(url) == start
    assert tus.pa(url, 3, b"x").status == 409
    first = tus.pa(url, start, b"tail", {"Upload-Length": str(length)})
    assert (first.status, first["Upload-Offset"]) == (204, str(start + 4))
    last = tus.pa(url, start + 4, b"end")
    assert (last.status, last["Upload-Offset"]) == (204, str(length))
    head = tus.hd(url)
    assert head["Upload-Offset"] == head["Upload-Length"] == str(length)
    tail = tus.get(url, {"Range": f"bytes={2**32}-"})
    assert (tail.status, tail.body) == (206, b"\0\0\0tailend")
    assert tail["Content-Range"] == f"bytes {2**32}-{length - 1}/{length}"
    assert tus.get(url, {"Range": "bytes=-3"}).body == b"end"
    assert tus.request("GET", url, {"Range": f"bytes={length}-"}).status == 416
    assert tus.delete(url).status == 204
