"""CORE-HEAD: where an upload stands."""

from __future__ import annotations

import secrets

import pytest

from tests.spec_ids import spec
from tests.tus import VERSION, Tus


@spec("CORE-HEAD-01", "CORE-HEAD-02", "CORE-HEAD-03", "CORE-HEAD-04", "CORE-HEAD-06")
def test_head_tells_offset_and_length_at_every_stage(tus: Tus) -> None:
    url = tus.mk(10)
    for offset, data in ((0, b"abc"), (3, b"defghij"), (10, b"")):
        answer = tus.hd(url)
        assert answer.status == 200
        assert answer["Upload-Offset"] == str(offset)
        assert answer["Upload-Length"] == "10"
        assert tus.pa(url, offset, data).status == 204


@spec("CORE-HEAD-05")
@pytest.mark.parametrize("with_version", [True, False])
def test_an_unknown_upload_is_not_found_and_has_no_offset(tus: Tus, with_version: bool) -> None:
    url = f"{tus.creation}{secrets.token_hex(16)}"
    answer = tus.request("HEAD", url, VERSION if with_version else {})
    assert answer.status == 404
    assert answer.get("Upload-Offset") is None
    assert answer.get("Upload-Length") is None


@spec("CORE-HEAD-05")
def test_a_terminated_upload_is_not_found_and_has_no_offset(tus: Tus) -> None:
    url = tus.made(b"abcd")
    assert tus.delete(url).status == 204
    answer = tus.hd(url)
    assert answer.status == 404
    assert answer.get("Upload-Offset") is None


@spec("CORE-HEAD-07")
def test_head_forbids_caching_at_every_stage(tus: Tus) -> None:
    url = tus.mk(10)
    for offset, data in ((0, b"abc"), (3, b"defghij"), (10, b"")):
        assert tus.hd(url)["Cache-Control"] == "no-store"
        assert tus.pa(url, offset, data).status == 204


@spec("CORE-HEAD-08")
def test_answers_to_head_have_no_body(tus: Tus) -> None:
    url = tus.mk(10)
    with tus.wire() as wire:
        answer = wire.request("HEAD", url, VERSION)
        assert answer.status == 200
        # Not the size of the upload, which clients would wait for.
        assert answer.get("Content-Length") in (None, "0")
        assert answer.get("Transfer-Encoding") is None
        assert wire.request("OPTIONS", tus.creation).status == 200


@spec("CORE-HEAD-09")
def test_head_changes_nothing(tus: Tus) -> None:
    url = tus.mk(10, {"Upload-Metadata": "k YQ=="})
    assert tus.pa(url, 0, b"abc").status == 204
    heads = [tus.hd(url) for _ in range(5)]
    for head in heads:
        assert [field for field in head.headers if field[0] != "date"] == [
            field for field in heads[0].headers if field[0] != "date"
        ]
    tus.assert_intact(url, 3, b"defghij")
    assert tus.content(url) == b"abcdefghij"


@spec("CORE-HEAD-10")
@pytest.mark.parametrize("creation", ["/files/", "/files"])
def test_head_on_the_creation_url_is_not_allowed(tus: Tus, creation: str) -> None:
    answer = tus.request("HEAD", creation, VERSION)
    assert answer.status == 405
    assert answer["Allow"] == "POST, OPTIONS"
    assert answer.get("Upload-Offset") is None


@spec("CORE-HEAD-11")
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        pytest.param("/files/" + 32 * "0", VERSION, 404, id="unknown upload"),
        pytest.param("/files/", VERSION, 405, id="creation URL"),
        pytest.param("/files/" + 32 * "0", {"Tus-Resumable": "2.0.0"}, 412, id="version"),
        pytest.param("/files/" + 32 * "0", {**VERSION, "Host": 'a"b'}, 400, id="malformed"),
    ],
)
def test_refusals_of_head_have_no_body(
    tus: Tus, target: str, headers: dict[str, str], status: int
) -> None:
    with tus.wire() as wire:
        answer = wire.request("HEAD", target, {**headers, "Accept": "application/json"})
        assert answer.status == status
        assert answer.get("Content-Length") in (None, "0")
        assert answer.get("Transfer-Encoding") is None
        # Were there a body, it would stand before the next status line.
        assert wire.request("OPTIONS", tus.creation).status == 200
