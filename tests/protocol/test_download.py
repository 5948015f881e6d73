"""GET of a finished upload: conditions, ranges, and how the bytes are described."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.protocol.download import Download, Span, parse_download
from tusserver.protocol.fields import Fields
from tusserver.protocol.upload import Upload

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
ETAG, DATE = '"abc-a"', "Fri, 02 Jan 2026 03:04:05 GMT"
EARLIER, LATER = "Thu, 01 Jan 2026 00:00:00 GMT", "Sat, 03 Jan 2026 00:00:00 GMT"


def an_upload(metadata: dict[str, str] | None = None, length: int = 10) -> Upload:
    pairs = (f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in (metadata or {}).items())
    return Upload("abc", length, length, MODIFIED, MODIFIED, ",".join(pairs))


def header(request: Download, name: bytes, upload: Upload | None = None) -> str | None:
    reply, _ = request.reply(upload or an_upload())
    value = dict(reply.headers).get(name)
    return None if value is None else value.decode()


def test_without_conditions_the_whole_is_sent() -> None:
    reply, span = Download("abc").reply(an_upload())
    assert (reply.status, span) == (200, Span(0, 10))
    assert header(Download("abc"), b"etag") == ETAG
    assert header(Download("abc"), b"last-modified") == DATE
    assert header(Download("abc"), b"accept-ranges") == "bytes"


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-4", Span(2, 5)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("bytes=5-99", Span(5, 10)),
        ("Bytes=9-9", Span(9, 10)),
        (" bytes=0-9 ", Span(0, 10)),
    ],
)
def test_a_range_is_sent_as_partial_content(value: str, span: Span) -> None:
    reply, found = Download("abc", range=value).reply(an_upload())
    assert (reply.status, found) == (206, span)
    expected = f"bytes {span.start}-{span.end - 1}/10"
    assert header(Download("abc", range=value), b"content-range") == expected


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=99-", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(value: str) -> None:
    reply, span = Download("abc", range=value).reply(an_upload())
    assert (reply.status, span) == (416, None)
    assert header(Download("abc", range=value), b"content-range") == "bytes */10"


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_no_range_of_an_empty_upload_can_be_satisfied(value: str) -> None:
    reply, _ = Download("abc", range=value).reply(an_upload(length=0))
    assert reply.status == 416


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=4-2", "bytes=0-1,3-4", "lines=0-1",
     "bytes=+0-1", "bytes=０-1", "bytes=0-99999999999999999999"],
)  # fmt: skip
def test_other_ranges_are_ignored(value: str) -> None:
    reply, span = Download("abc", range=value).reply(an_upload())
    assert (reply.status, span) == (200, Span(0, 10))


@given(st.integers(0, 30), st.integers(0, 30) | st.none(), st.integers(1, 20))
def test_any_range_lies_within_the_upload(first: int, last: int | None, length: int) -> None:
    request = Download("abc", range=f"bytes={first}-{'' if last is None else last}")
    reply, span = request.reply(an_upload(length=length))
    if span is None:
        assert (reply.status, first >= length) == (416, True)
    else:
        assert 0 <= span.start < span.end <= length
        whole = range(length)[slice(first, None if last is None else last + 1)]
        assert reply.status == 200 or range(span.start, span.end) == whole


@pytest.mark.parametrize(
    ("if_range", "status"),
    [(ETAG, 206), ('"other"', 200), (f"W/{ETAG}", 200), (DATE, 206), (EARLIER, 200), (LATER, 200),
     ("nonsense", 200)],
)  # fmt: skip
def test_a_range_is_sent_only_of_the_same_bytes(if_range: str, status: int) -> None:
    request = Download("abc", range="bytes=0-1", if_range=if_range)
    assert request.reply(an_upload())[0].status == status


@pytest.mark.parametrize(
    ("if_match", "if_unmodified_since", "status"),
    [
        (ETAG, None, 206),
        (f'"x", {ETAG}', None, 206),
        ("*", None, 206),
        ('"x"', None, 412),
        (f"W/{ETAG}", None, 412),
        ('"x"', LATER, 412),
        (ETAG, EARLIER, 206),
        (None, DATE, 206),
        (None, LATER, 206),
        (None, EARLIER, 412),
        (None, "nonsense", 206),
    ],
)
def test_a_download_of_other_bytes_is_not_gone_on_with(
    if_match: str | None, if_unmodified_since: str | None, status: int
) -> None:
    request = Download(
        "abc",
        range="bytes=0-1",
        if_match=if_match,
        if_unmodified_since=if_unmodified_since,
        if_none_match='"y"',
    )
    reply, span = request.reply(an_upload())
    assert (reply.status, span is None) == (status, status == 412)


def test_all_conditions_of_a_request_are_read() -> None:
    conditions = ("range", "if_range", "if_match", "if_none_match", "if_modified_since",
                  "if_unmodified_since")  # fmt: skip
    raw = [(name.replace("_", "-").encode(), b"x") for name in conditions]
    assert parse_download("abc", Fields(raw)) == Download("abc", **dict.fromkeys(conditions, "x"))


@pytest.mark.parametrize(
    ("if_none_match", "if_modified_since", "status"),
    [
        (ETAG, None, 304),
        (f'"x", W/{ETAG}', None, 304),
        ("*", None, 304),
        ('"x"', None, 200),
        ('"x"', LATER, 200),
        (ETAG, EARLIER, 304),
        (None, DATE, 304),
        (None, LATER, 304),
        (None, EARLIER, 200),
        (None, "nonsense", 200),
        (None, "", 200),
    ],
)
def test_what_the_client_has_is_not_sent_again(
    if_none_match: str | None, if_modified_since: str | None, status: int
) -> None:
    request = Download("abc", if_none_match=if_none_match, if_modified_since=if_modified_since)
    reply, span = request.reply(an_upload())
    assert reply.status == status
    assert (span is None) == (status == 304)
    assert dict(reply.headers)[b"etag"].decode() == ETAG


@pytest.mark.parametrize(
    ("filetype", "shown", "kind"),
    [
        ("image/png", "image/png", "inline"),
        ("Text/Plain", "text/plain", "inline"),
        ("video/mp4", "video/mp4", "inline"),
        ("text/html", "text/html", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("text/html\r\nX-Evil: 1", "application/octet-stream", "attachment"),
        ("text/html; charset=x", "application/octet-stream", "attachment"),
        ("nonsense", "application/octet-stream", "attachment"),
    ],
)
def test_uploads_are_inert(filetype: str, shown: str, kind: str) -> None:
    upload = an_upload({"filetype": filetype})
    assert header(Download("abc"), b"content-type", upload) == shown
    assert header(Download("abc"), b"content-disposition", upload) == kind
    assert header(Download("abc"), b"x-content-type-options", upload) == "nosniff"
    assert "sandbox" in (header(Download("abc"), b"content-security-policy", upload) or "")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("plan.pdf", "filename=\"plan.pdf\"; filename*=UTF-8''plan.pdf"),
        ("입력.h5", "filename=\"__.h5\"; filename*=UTF-8''%EC%9E%85%EB%A0%A5.h5"),
        ('a"b\\c;d', "filename=\"a_b_c;d\"; filename*=UTF-8''a%22b%5Cc%3Bd"),
        ('x"\r\nSet-Cookie: pwn=1', "filename=\"x_Set-Cookie: pwn=1\"; "
         "filename*=UTF-8''x%22Set-Cookie%3A%20pwn%3D1"),
        ("../../etc/passwd", "filename=\"../../etc/passwd\"; "
         "filename*=UTF-8''..%2F..%2Fetc%2Fpasswd"),
    ],
)  # fmt: skip
def test_the_name_of_a_download_is_quoted(filename: str, expected: str) -> None:
    for key in ("filename", "name"):
        found = header(Download("abc"), b"content-disposition", an_upload({key: filename}))
        assert found == f"attachment; {expected}"


@pytest.mark.parametrize("filename", ["", "\r\n\0"])
def test_without_a_printable_name_there_is_none(filename: str) -> None:
    upload = an_upload({"filename": filename})
    assert header(Download("abc"), b"content-disposition", upload) == "attachment"
