"""Header values: what is accepted, what is refused, and that parsing and formatting undo each
other.
"""

from __future__ import annotations

import base64
import string
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.protocol import grammar

KEY_CHARACTERS = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in ",;"]
keys = st.text(KEY_CHARACTERS, min_size=1, max_size=20)
pairs = st.dictionaries(keys, st.binary(max_size=40), max_size=6).map(
    lambda entries: tuple(entries.items())
)


@given(st.integers(0, grammar.MAX_INTEGER))
def test_every_number_below_2_63_is_read_exactly(number: int) -> None:
    assert grammar.parse_integer(str(number)) == number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("0000000000000000005", 5)])
def test_leading_zeros_do_not_matter(text: str, number: int) -> None:
    assert grammar.parse_integer(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "-0", "+5", "5.0", "5,0", "5e3", "0x10", "1_000", "5 5", "5,5", "5;x", "abc",
     "NaN", "Infinity", "null", "٥", "５", "²", "\xff", "9" * 20, "9" * 5000,
     "9223372036854775808", "18446744073709551616", " 5", "5 ", "5\n"],
)  # fmt: skip
def test_nothing_else_is_a_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not"):
        grammar.parse_integer(text)


@given(pairs)
def test_metadata_survives_formatting_and_parsing(entries: grammar.MetadataPairs) -> None:
    assert grammar.parse_metadata(grammar.format_metadata(entries)) == entries


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("", ()),
        (" \t", ()),
        ("k", (("k", b""),)),
        ("k ", (("k", b""),)),
        ("a YQ==", (("a", b"a"),)),
        ("a YQ==,b", (("a", b"a"), ("b", b""))),
        ("a YQ== , b Yg==", (("a", b"a"), ("b", b"b"))),
        ("A YQ==,a Yg==", (("A", b"a"), ("a", b"b"))),
        ("__proto__ YQ==,file/name YQ==,.. YQ==,a=b YQ==", (
            ("__proto__", b"a"), ("file/name", b"a"), ("..", b"a"), ("a=b", b"a"))),
        ("x " + base64.b64encode(bytes(range(256))).decode(), (("x", bytes(range(256))),)),
    ],
)  # fmt: skip
def test_metadata_is_read(value: str, parsed: grammar.MetadataPairs) -> None:
    assert grammar.parse_metadata(value) == parsed


@pytest.mark.parametrize(
    "value",
    ["a  YQ==", "a YQ== x", ",", "a YQ==,", ",a YQ==", "a YQ==,,b", "a;YQ==", "a YQ==;b Yg==",
     "a YQ==,a Yg==", "naïve YQ==", "a !!!!", "a YQ=", "a YQ", "a Y=Q=", "a YQ==YQ==", "a YQ==\tx",
     "a -_-_", "a\x7f YQ==", "k\x00", "a YQ==\n"],
)  # fmt: skip
def test_malformed_metadata_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        grammar.parse_metadata(value)


def test_keys_that_cannot_stand_in_the_header_are_left_out() -> None:
    foreign = (("ä", b"1"), ("a b", b"2"), ("good", b"3"), ("", b"4"))
    assert grammar.format_metadata(foreign) == "good Mw=="


@given(st.binary(max_size=100))
def test_base64_is_read_back(data: bytes) -> None:
    assert grammar.decode_base64(base64.b64encode(data).decode()) == data


@given(st.text(string.ascii_letters + string.digits + "+/=-_ ,\n", max_size=12))
def test_only_canonical_padding_is_base64(value: str) -> None:
    try:
        decoded = grammar.decode_base64(value)
    except ValueError:
        return
    assert len(base64.b64encode(decoded)) == len(value)
    assert set(value) <= set(string.ascii_letters + string.digits + "+/=")


def test_a_checksum_is_a_name_a_blank_and_a_digest() -> None:
    assert grammar.parse_checksum("sha1 YQ==") == ("sha1", b"a")


@pytest.mark.parametrize(
    "value",
    ["", "sha1", "sha1 ", " YQ==", "sha1  YQ==", "sha1 YQ== x", "sha1 ???", "sha1 YQ==,md5 YQ==",
     "sha1\tYQ==", "sha1 YQ==\n"],
)  # fmt: skip
def test_malformed_checksums_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        grammar.parse_checksum(value)


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("partial", None),
        ("final;/files/a", ("/files/a",)),
        ("final;/files/a http://h/files/b", ("/files/a", "http://h/files/b")),
        ("final; /files/a  /files/b", ("/files/a", "/files/b")),
    ],
)
def test_upload_concat_is_read(value: str, urls: tuple[str, ...] | None) -> None:
    assert grammar.parse_concat(value) == urls


@pytest.mark.parametrize("value", ["", "final", "final;", "final; ", "PARTIAL", "partial;x", "foo",
                                   "Final;/files/a", "finals;/files/a", " partial"])  # fmt: skip
def test_malformed_upload_concat_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        grammar.parse_concat(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/offset+octet-stream", True),
        ("Application/Offset+Octet-Stream", True),
        ("application/offset+octet-stream; charset=binary", True),
        (" application/offset+octet-stream ", True),
        (None, False),
        ("", False),
        ("application/octet-stream", False),
        ("text/application/offset+octet-stream", False),
        ("application/offset+octet-streamx", False),
    ],
)
def test_the_label_of_upload_bytes_is_a_media_type(value: str | None, expected: bool) -> None:
    assert grammar.is_offset_octet_stream(value) is expected


def test_lists_are_split_at_commas() -> None:
    assert grammar.list_tokens(" X-Foo ,, Upload-Checksum\t,") == ("x-foo", "upload-checksum")


@given(
    st.datetimes(
        timezones=st.just(timezone(timedelta(hours=9))),
        min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - hypothesis wants a naive one
    )
)
def test_dates_are_imf_fixdates(moment: datetime) -> None:
    text = grammar.format_http_date(moment).decode()
    assert len(text) == 29
    assert text.endswith(" GMT")
    assert parsedate_to_datetime(text) == moment.replace(microsecond=0)


def test_a_known_date() -> None:
    moment = datetime(2014, 6, 25, 16, 0, tzinfo=UTC)
    assert grammar.format_http_date(moment) == b"Wed, 25 Jun 2014 16:00:00 GMT"
