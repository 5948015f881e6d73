"""CONCU: final uploads that are asked for before their parts are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve
    from tests.wire import Answer

PARTIAL = {"Upload-Concat": "partial"}


def pending(tus: Tus, *parts: str) -> str:
    """A final upload that waits for one of these parts at least."""
    answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
    assert answer.status == 201, answer
    assert answer.get("Upload-Offset") is None
    return tus.location(answer)


def head_of_pending(tus: Tus, url: str) -> Answer:
    answer = tus.hd(url)
    assert answer.status == 200
    assert answer.get("Upload-Offset") is None
    assert answer.get("Upload-Defer-Length") is None
    return answer


def joined_content(tus: Tus, url: str) -> bytes:
    """The bytes, once HEAD says that they are all there."""
    eventually(lambda: tus.hd(url).get("Upload-Offset") is not None)
    answer = tus.hd(url)
    data = tus.content(url)
    assert answer["Upload-Offset"] == answer["Upload-Length"] == str(len(data))
    return data


@spec("CONCU-01", "CONCU-02", "CONCU-03", "CONCAT-15", "CONCAT-17", "CONCAT-18")
def test_a_final_upload_may_be_made_of_parts_without_a_byte(tus: Tus) -> None:
    assert "concatenation-unfinished" in tus.options()["Tus-Extension"].split(",")
    concat = f"final;{tus.mk(5, PARTIAL)} {tus.mk(6, PARTIAL)}"
    answer = tus.post({"Upload-Concat": concat})
    assert answer.status == 201
    assert answer["Upload-Concat"] == concat
    head = head_of_pending(tus, tus.location(answer))
    assert head["Upload-Concat"] == concat
    assert head["Upload-Length"] == "11"
    # A labelled request is told an offset where there is one; here there is none yet.
    assert tus.post({**OCTETS, "Upload-Concat": concat}).get("Upload-Offset") is None


@spec("CONCU-02", "CONCAT-17", "CONCAT-30")
def test_the_length_is_told_as_soon_as_all_parts_have_declared_theirs(tus: Tus) -> None:
    known, deferred = tus.mk(5, PARTIAL), tus.mk(None, PARTIAL)
    url = pending(tus, known, deferred)
    assert head_of_pending(tus, url).get("Upload-Length") is None
    assert tus.pa(deferred, 0, b" wo").status == 204
    assert head_of_pending(tus, url).get("Upload-Length") is None
    assert tus.pa(deferred, 3, b"", {"Upload-Length": "6"}).status == 204
    assert head_of_pending(tus, url)["Upload-Length"] == "11"
    assert tus.pa(deferred, 3, b"rld").status == 204
    assert tus.pa(known, 0, b"hello").status == 204
    assert joined_content(tus, url) == b"hello world"


@spec("CONCU-03", "CONCU-04", "CONCAT-14")
def test_parts_may_be_done_in_any_order_and_are_joined_as_listed(tus: Tus) -> None:
    parts = [tus.mk(3, PARTIAL) for _ in range(4)]
    url = pending(tus, *parts)
    for index in (3, 1, 0, 2):
        head_of_pending(tus, url)
        assert tus.get(url).status == 404
        assert tus.pa(parts[index], 0, b"%03d" % index).status == 204
    assert joined_content(tus, url) == b"000001002003"


@spec("CONCU-04")
def test_the_last_part_may_end_with_the_declaration_of_its_length(tus: Tus) -> None:
    done, deferred = tus.made(b"hello", PARTIAL), tus.mk(None, PARTIAL)
    assert tus.pa(deferred, 0, b" world").status == 204
    url = pending(tus, done, deferred)
    assert tus.pa(deferred, 6, b"", {"Upload-Length": "6"}).status == 204
    assert joined_content(tus, url) == b"hello world"


@spec("CONCU-04", "CONCAT-12")
def test_several_final_uploads_may_wait_for_one_part_and_use_it_twice(tus: Tus) -> None:
    part = tus.mk(3, PARTIAL)
    once, twice = pending(tus, part), pending(tus, part, part)
    assert tus.pa(part, 0, b"abc").status == 204
    assert joined_content(tus, once) == b"abc"
    assert joined_content(tus, twice) == b"abcabc"


@spec("CONCU-04")
def test_a_pending_final_upload_outlives_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "uploads") as tus:
        parts = [tus.mk(3, PARTIAL), tus.mk(3, PARTIAL)]
        url = pending(tus, *parts)
        concat = tus.hd(url)["Upload-Concat"]
        assert tus.pa(parts[1], 0, b"def").status == 204
    with serving(tmp_path / "uploads") as tus:
        assert head_of_pending(tus, url)["Upload-Concat"] == concat
        assert tus.pa(parts[0], 0, b"abc").status == 204
        assert joined_content(tus, url) == b"abcdef"


@spec("CONCU-05", "CONCAT-13")
def test_patch_on_a_pending_final_upload_is_forbidden(tus: Tus) -> None:
    parts = [tus.mk(5, PARTIAL), tus.mk(6, PARTIAL)]
    url = pending(tus, *parts)
    for offset, data in ((0, b"x"), (0, b""), (11, b""), (0, b"hello world")):
        answer = tus.pa(url, offset, data)
        assert answer.status == 403
        assert answer.get("Upload-Offset") is None
    head_of_pending(tus, url)
    assert [tus.off(part) for part in parts] == [0, 0]
    for part, data in zip(parts, (b"hello", b" world"), strict=True):
        assert tus.pa(part, 0, data).status == 204
    assert joined_content(tus, url) == b"hello world"


@pytest.mark.parametrize("stored", [b"", b"he", b"hello"], ids=["empty", "begun", "finished"])
@spec("CONCU-06")
def test_a_final_upload_whose_part_has_gone_never_completes(tus: Tus, stored: bytes) -> None:
    doomed, other = tus.mk(5, PARTIAL), tus.mk(6, PARTIAL)
    url = pending(tus, doomed, other)
    assert tus.pa(doomed, 0, stored).status == 204
    assert tus.delete(doomed).status == 204
    head_of_pending(tus, url)
    assert tus.pa(other, 0, b" world").status == 204
    for _ in range(20):  # Each look is an occasion for it to be joined.
        head_of_pending(tus, url)
        assert tus.get(url).status == 404
    assert tus.pa(url, 0, b"hello").status == 403
    assert tus.content(other) == b" world"
    assert tus.delete(url).status == 204
    assert tus.hd(url).status == 404


@spec("CONCU-06", "CONCAT-28")
def test_a_pending_final_upload_can_be_ended_and_does_not_come_back(tus: Tus) -> None:
    parts = [tus.mk(5, PARTIAL), tus.mk(6, PARTIAL)]
    url, other = pending(tus, *parts), pending(tus, *parts)
    assert tus.delete(url).status == 204
    for part, data in zip(parts, (b"hello", b" world"), strict=True):
        assert tus.pa(part, 0, data).status == 204
    # Both would be joined at the same occasion: when the one is, the other has had its chance.
    assert joined_content(tus, other) == b"hello world"
    for method in ("HEAD", "GET", "DELETE"):
        assert tus.request(method, url, VERSION).status == 404


@spec("CONCU-04", "CONCAT-21")
def test_parts_that_outgrow_the_limit_together_are_never_joined(serve: Serve) -> None:
    tus = serve(max_size="10")
    parts = [tus.mk(None, PARTIAL), tus.mk(None, PARTIAL)]
    url = pending(tus, *parts)
    for part in parts:
        assert tus.pa(part, 0, b"sixsix", {"Upload-Length": "6"}).status == 204
    for _ in range(20):
        head_of_pending(tus, url)
    assert tus.get(url).status == 404
    assert [tus.content(part) for part in parts] == [b"sixsix", b"sixsix"]
