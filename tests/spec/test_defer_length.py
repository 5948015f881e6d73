"""DEFER: uploads whose length the client does not know yet (creation-defer-length)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.spec_ids import spec
from tests.tus import VERSION, Tus, chunked_headers
from tests.wire import chunked
from tusserver.events.base import Event, UploadFinished

if TYPE_CHECKING:
    from tests.conftest import Serve

Patches = list[tuple[bytes, int | None]]
"""Bodies in their order, each with the length that is declared along with it."""


def as_sent(text: str) -> str:
    """A header value that reaches the wire as the UTF-8 of this text."""
    return text.encode().decode("latin-1")


BAD_LENGTHS = {
    "empty": "",
    "negative": "-1",
    "negative-zero": "-0",
    "plus": "+5",
    "fraction": "5.0",
    "decimal-comma": "5,0",
    "exponent": "5e3",
    "hexadecimal": "0x10",
    "underscore": "1_000",
    "blank-inside": "5 5",
    "list": "5,5",
    "parameter": "5;x",
    "word": "abc",
    "nan": "NaN",
    "infinity": "Infinity",
    "null": "null",
    "arabic-digit": as_sent("٥"),
    "full-width-digit": as_sent("５"),
    "superscript": as_sent("²"),
    "latin-1-superscript": "\xb2",
    "latin-1-letter": "\xff",
    "20-digits": "9" * 20,
    "5000-digits": "9" * 5000,
    "2^63": str(2**63),
    "2^64": str(2**64),
}


def by_name(table: dict[str, str]) -> list[object]:
    return [pytest.param(value, id=name) for name, value in table.items()]


def assert_deferred(tus: Tus, url: str, offset: int) -> None:
    answer = tus.hd(url)
    assert answer.status == 200
    assert answer["Upload-Defer-Length"] == "1"
    assert answer.get("Upload-Length") is None
    assert answer["Upload-Offset"] == str(offset)


def assert_known(tus: Tus, url: str, offset: int, length: int) -> None:
    answer = tus.hd(url)
    assert answer.status == 200
    assert answer.get("Upload-Defer-Length") is None
    assert answer["Upload-Length"] == str(length)
    assert answer["Upload-Offset"] == str(offset)


@spec("DEFER-01", "DEFER-14")
def test_deferring_is_announced_and_works(tus: Tus) -> None:
    """It cannot be switched off, so DEFER-14 (without the extension a deferred POST is refused)
    has no server here to be shown on.
    """
    assert "creation-defer-length" in tus.options()["Tus-Extension"].split(",")
    answer = tus.post({"Upload-Defer-Length": "1"})
    assert answer.status == 201
    assert_deferred(tus, tus.location(answer), 0)


@spec("DEFER-02", "DEFER-04")
def test_head_says_1_as_long_as_the_length_is_unknown(tus: Tus) -> None:
    url = tus.mk(None)
    for offset, data in ((0, b"hello"), (5, b""), (5, b"world"), (10, b"!")):
        assert_deferred(tus, url, offset)
        answer = tus.pa(url, offset, data)
        assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + len(data)))
    assert_deferred(tus, url, 11)


@spec("DEFER-03")
@pytest.mark.parametrize(
    "value",
    by_name(
        {
            "0": "0",
            "2": "2",
            "10": "10",
            "true": "true",
            "leading-zero": "01",
            "fraction": "1.0",
            "negative": "-1",
            "plus": "+1",
            "list": "1, 1",
            "parameter": "1;x",
            "empty": "",
            "structured-boolean": "?1",
            "full-width-1": as_sent("１"),
        }
    ),
)
def test_other_values_than_1_are_refused(tus: Tus, value: str) -> None:
    answer = tus.post({"Upload-Defer-Length": value})
    assert answer.status == 400
    assert answer.get("Location") is None


@spec("DEFER-03")
@pytest.mark.parametrize("second", ["1", "0"])
def test_two_lines_of_the_header_are_refused(tus: Tus, second: str) -> None:
    lines = [*VERSION.items(), ("Upload-Defer-Length", "1"), ("Upload-Defer-Length", second)]
    answer = tus.request("POST", tus.creation, [*lines, ("Content-Length", "0")])
    assert answer.status == 400
    assert answer.get("Location") is None


@spec("DEFER-06", "DEFER-07")
@pytest.mark.parametrize(
    "patches",
    [
        pytest.param([(b"helloworld", 10)], id="with-all-the-bytes"),
        pytest.param([(b"hello", 10), (b"world", None)], id="with-the-first-bytes"),
        pytest.param([(b"", 10), (b"helloworld", None)], id="before-the-first-byte"),
        pytest.param([(b"he", None), (b"llo", 10), (b"world", None)], id="in-the-middle"),
        pytest.param([(b"hello", 10), (b"world", 10)], id="twice-the-same"),
        pytest.param([(b"hello", None), (b"world", 10)], id="with-the-last-bytes"),
        pytest.param([(b"hello", None), (b"world", None), (b"", 10)], id="after-the-last-byte"),
        pytest.param([(b"", 0)], id="of-an-empty-file"),
    ],
)
def test_the_length_may_come_with_any_patch(tus: Tus, patches: Patches) -> None:
    url = tus.mk(None)
    sent, length = b"", None
    for data, declared in patches:
        headers = {} if declared is None else {"Upload-Length": str(declared)}
        assert tus.pa(url, len(sent), data, headers).status == 204
        sent, length = sent + data, declared if length is None else length
        if length is None:
            assert_deferred(tus, url, len(sent))
        else:
            assert_known(tus, url, len(sent), length)
    assert length == len(sent)
    assert tus.content(url) == sent


@spec("DEFER-06")
def test_the_length_may_come_with_a_chunked_patch(tus: Tus) -> None:
    url = tus.mk(None)
    body = chunked(b"hello", b"world")
    assert (
        tus.request("PATCH", url, chunked_headers(0, {"Upload-Length": "10"}), body).status == 204
    )
    assert_known(tus, url, 10, 10)
    assert tus.content(url) == b"helloworld"


@spec("DEFER-07")
@pytest.mark.parametrize("length", [0, 1, 10])
def test_an_upload_of_known_length_is_never_called_deferred(tus: Tus, length: int) -> None:
    answer = tus.post({"Upload-Length": str(length)})
    assert answer.get("Upload-Defer-Length") is None
    url = tus.location(answer)
    assert_known(tus, url, 0, length)
    assert tus.pa(url, 0, b"x" * length).status == 204
    assert_known(tus, url, length, length)


@spec("DEFER-08")
@pytest.mark.parametrize("offset", [5, 10])
@pytest.mark.parametrize("other", ["9", "11", "0", "5"])
def test_a_declared_length_stays(tus: Tus, offset: int, other: str) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"helloworld"[:offset], {"Upload-Length": "10"}).status == 204
    for data in (b"", b"x"):
        assert tus.pa(url, offset, data, {"Upload-Length": other}).status == 400
    assert_known(tus, url, offset, 10)
    assert tus.pa(url, offset, b"helloworld"[offset:]).status == 204
    assert tus.content(url) == b"helloworld"


@spec("DEFER-09")
@pytest.mark.parametrize("data", [b"", b"hello", b"helloworld!"])
def test_no_length_above_the_limit_can_be_declared(serve: Serve, data: bytes) -> None:
    tus = serve(max_size="10")
    assert tus.options()["Tus-Max-Size"] == "10"
    url = tus.mk(None)
    assert tus.pa(url, 0, data, {"Upload-Length": "11"}).status == 413
    assert_deferred(tus, url, 0)
    assert tus.pa(url, 0, b"helloworld", {"Upload-Length": "10"}).status == 204
    assert tus.content(url) == b"helloworld"


@spec("DEFER-09")
def test_the_limit_binds_bytes_whose_end_is_announced(serve: Serve) -> None:
    tus = serve(max_size="10")
    url = tus.mk(None)
    assert tus.pa(url, 0, b"helloworld!").status == 413
    assert_deferred(tus, url, 0)
    assert tus.pa(url, 0, b"helloworld").status == 204
    assert tus.pa(url, 10, b"!").status == 413
    assert_deferred(tus, url, 10)
    assert tus.pa(url, 10, b"", {"Upload-Length": "10"}).status == 204
    assert tus.content(url) == b"helloworld"


@spec("DEFER-09")
def test_the_limit_binds_bytes_whose_end_is_not_announced(serve: Serve) -> None:
    tus = serve(max_size="10")
    url = tus.mk(None)
    body = chunked(b"hell", b"owor", b"ld!", b"x" * 100_000)
    assert tus.request("PATCH", url, chunked_headers(0), body).status == 413
    assert_deferred(tus, url, 10)
    assert tus.pa(url, 10, b"", {"Upload-Length": "10"}).status == 204
    assert tus.content(url) == b"helloworld"


@spec("DEFER-10")
@pytest.mark.parametrize("length", [0, 5])
@pytest.mark.parametrize("data", [b"", b"x"])
def test_a_length_below_the_offset_is_refused(tus: Tus, length: int, data: bytes) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"abcdef").status == 204
    assert tus.pa(url, 6, data, {"Upload-Length": str(length)}).status == 400
    assert_deferred(tus, url, 6)
    assert tus.pa(url, 6, b"", {"Upload-Length": "6"}).status == 204
    assert tus.content(url) == b"abcdef"


@spec("DEFER-11")
@pytest.mark.parametrize("offset", [0, 4, 6])
def test_a_patch_at_a_wrong_offset_declares_nothing(tus: Tus, offset: int) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"hello").status == 204
    answer = tus.pa(url, offset, b"world", {"Upload-Length": "10"})
    assert (answer.status, answer["Upload-Offset"]) == (409, "5")
    assert_deferred(tus, url, 5)


@spec("DEFER-12")
def test_all_bytes_without_a_length_do_not_make_an_upload_complete(serve: Serve) -> None:
    events: list[Event] = []
    tus = serve(events=events)
    url = tus.mk(None)
    assert tus.pa(url, 0, b"helloworld").status == 204
    assert_deferred(tus, url, 10)
    assert tus.get(url).status == 404
    assert not [event for event in events if isinstance(event, UploadFinished)]
    assert tus.pa(url, 10, b"", {"Upload-Length": "10"}).status == 204
    assert_known(tus, url, 10, 10)
    assert len([event for event in events if isinstance(event, UploadFinished)]) == 1


@spec("DEFER-13")
def test_more_announced_bytes_than_are_declared_are_not_begun_with(tus: Tus) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"helloworld", {"Upload-Length": "4"}).status == 413
    assert_deferred(tus, url, 0)
    tus.assert_intact(url, 0, b"other")


@spec("DEFER-13")
def test_more_unannounced_bytes_than_are_declared_end_at_the_length(tus: Tus) -> None:
    url = tus.mk(None)
    headers = chunked_headers(0, {"Upload-Length": "4"})
    assert tus.request("PATCH", url, headers, chunked(b"hel", b"lowo", b"rld")).status == 413
    assert_known(tus, url, 4, 4)
    assert tus.content(url) == b"hell"


@spec("DEFER-15")
@pytest.mark.parametrize("value", by_name(BAD_LENGTHS))
def test_an_invalid_length_is_refused_and_changes_nothing(tus: Tus, value: str) -> None:
    url = tus.mk(None)
    assert tus.pa(url, 0, b"abc").status == 204
    assert tus.pa(url, 3, b"defgh", {"Upload-Length": value}).status == 400
    assert_deferred(tus, url, 3)
    assert tus.pa(url, 3, b"de", {"Upload-Length": "5"}).status == 204
    assert tus.content(url) == b"abcde"
