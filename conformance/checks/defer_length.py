"""DEFER: uploads whose length is told later (creation-defer-length)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import items
from conformance.hearing import heard, is_refused
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import chunked_headers, offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.hearing import NoAnswer

_OTHER_VALUES = ("0", "2", "true", "01", "1.0", "-1", "1, 1", "")
_LARGEST = 2**63 - 1
_SMALL = 4 * 1024 * 1024
"""A maximum up to which it is tried to send more."""
_WAYS = {
    "with all the bytes": ((b"helloworld", 10),),
    "with the first bytes": ((b"hello", 10), (b"world", None)),
    "in the middle": ((b"he", None), (b"llo", 10), (b"world", None)),
    "with the last bytes": ((b"hello", None), (b"world", 10)),
    "after the last bytes": ((b"hello", None), (b"world", None), (b"", 10)),
}
"""Bodies in their order, each with the length that is declared along with it."""


def _as_sent(text: str) -> str:
    """A header value that reaches the wire as the UTF-8 of this text."""
    return text.encode().decode("latin-1")


_BAD_LENGTHS = (
    "", "-1", "-0", "+5", "5.0", "5,0", "5e3", "0x10", "1_000", "5 5", "5,5", "5;x", "abc", "NaN",
    "Infinity", "null", _as_sent("٥"), _as_sent("５"), _as_sent("²"), "\xff", "9" * 20, "9" * 5000,
    str(2**64),
)  # fmt: skip
"""Those that some library takes for a number mean one that 2 bytes at 3 of an upload fit into."""


def _plain_deferral(c: Probe) -> None:
    """Raises Unverifiable when an upload whose length comes with its last bytes does not work, or
    HEAD does not tell how it stands: nothing else would show anything then.
    """
    _plain(c, c.mk(None), {"Upload-Length": "6"}, None)


def _plain(c: Probe, url: str, last: dict[str, str], length: str | None) -> None:
    """Sends 6 bytes in two, these headers with the last. Raises Unverifiable."""
    for offset in (0, 3, 6):
        head = c.hd(url)
        if offset == 6 and head.status in GONE:
            return  # What is complete is moved away.
        told = [head.get("upload-offset"), head.get("upload-length")]
        if told != [str(offset), "6" if offset == 6 else length]:
            c.give_up(f"HEAD of a plain upload at {offset} does not tell this: {head}")
        if offset < 6:
            c.sent(url, offset, b"abc", last if offset else {})


def _sent(
    c: Probe, url: str, headers: Mapping[str, str], body: bytes, method: str = "PATCH"
) -> Answer | NoAnswer:
    """The answer, where a closed connection may be one too."""
    with c.wire(url) as wire:
        wire.send(c.head(method, url, headers))
        if body:
            wire.try_send(body)
        return heard(wire, method)


def _is_deferred_at(head: Answer, offset: int) -> bool:
    """Whether an upload stands there, of unknown length. That HEAD says so in so many words is a
    row of its own.
    """
    return (
        head.status in SUCCESS
        and head.get("upload-offset") == str(offset)
        and "upload-length" not in head
    )


def _stays_deferred(c: Probe, row: str, url: str, offset: int, probe: str) -> bool:
    head, expected = c.hd(url), f"Upload-Offset: {offset}, and no Upload-Length"
    return c.expect(row, _is_deferred_at(head, offset), expected, head, probe=f"{probe}, then HEAD")


def _finish(c: Probe, row: str, url: str, offset: int, rest: bytes, probe: str) -> bool:
    """Whether the upload can still be given these bytes and the length that results."""
    total = offset + len(rest)
    answer = c.pa(url, offset, rest, {"Upload-Length": str(total)})
    probe = f"{probe}, then the rest with Upload-Length: {total}"
    return c.expect(row, answer.status in SUCCESS, "204", answer, probe=probe)


# How it is announced and asked for


@check("DEFER-01", "DEFER-14")
def deferring_is_announced(c: Probe) -> None:
    options = c.options()
    is_announced = "creation-defer-length" in items(options.get("tus-extension"))
    answer, probe = c.post({"Upload-Defer-Length": "1"}), "POST with Upload-Defer-Length: 1"
    works = answer.status == 201
    expected = "creation-defer-length in Tus-Extension" if works else "no 201 where it is not there"
    c.expect("DEFER-01", is_announced or not works, expected, options if works else answer,
             probe=f"{probe}: {answer.status}")  # fmt: skip
    if c.has("creation", "absent:defer"):
        c.mk(4)
        c.status("DEFER-14", answer, (*CLIENT_ERRORS, 501), expected="4xx or 501", probe=probe)


@check("DEFER-03")
def other_values_than_1(c: Probe) -> None:
    row = "DEFER-03"
    c.created(c.post({"Upload-Length": "4"}))
    good: tuple[int, ...] = (400, 501)
    if c.has("defer"):
        c.mk(None)
        good = (400,)
    for value in _OTHER_VALUES:
        answer = c.post({"Upload-Defer-Length": value})
        probe = f"Upload-Defer-Length: {value or '(empty)'}"
        if answer.status in SUCCESS:
            c.say(row, Verdict.FAIL, "400", answer, probe=probe)
        else:
            c.status(row, answer, good, expected="400", probe=probe)


# What HEAD says


@check("DEFER-02", "DEFER-04")
def head_tells_that_the_length_is_unknown(c: Probe) -> None:
    url = c.mk(None)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        head, probe = c.hd(url), f"HEAD at {offset}"
        if head.status not in SUCCESS:
            c.give_up(f"{probe} was answered {head}")
        told = head.all("upload-defer-length")
        ok = bool(told) and "upload-length" not in head
        expected = "Upload-Defer-Length, and no Upload-Length"
        c.expect("DEFER-04", ok, expected, head, probe=probe)
        if told:
            c.expect("DEFER-02", told == ["1"], "Upload-Defer-Length: 1", head, probe=probe)
        if data:
            c.sent(url, offset, data)


@check("DEFER-07")
def head_says_nothing_of_deferring_where_the_length_is_known(c: Probe) -> None:
    deferred = c.mk(None)
    uploads = {"created with its length": c.mk(10), "of length 0": c.mk(0), "declared": deferred}
    c.sent(deferred, 0, b"hello", {"Upload-Length": "10"})
    uploads["declared, complete"] = c.mk(None)
    c.sent(uploads["declared, complete"], 0, b"hello", {"Upload-Length": "5"})
    uploads["created with its length, complete"] = c.made(b"hello")
    for probe, url in uploads.items():
        head = c.hd(url)
        if head.status in GONE and ("complete" in probe or "length 0" in probe):
            continue
        if head.status not in SUCCESS:
            c.give_up(f"HEAD was answered {head}")
        ok = "upload-defer-length" not in head
        c.expect("DEFER-07", ok, "no Upload-Defer-Length", head, probe=f"HEAD of one {probe}")


# The length on a PATCH


@check("DEFER-06")
def the_length_comes_with_a_patch(c: Probe) -> None:
    _plain(c, c.mk(6), {}, "6")
    for way, patches in _WAYS.items():
        _declare(c, way, patches)


def _declare(c: Probe, way: str, patches: tuple[tuple[bytes, int | None], ...]) -> None:
    row, url, sent, is_known = "DEFER-06", c.mk(None), b"", False
    for data, length in patches:
        headers = {} if length is None else {"Upload-Length": str(length)}
        is_known = is_known or length is not None
        if not is_known:
            c.sent(url, len(sent), data)
            sent += data
            continue
        answer, probe = c.pa(url, len(sent), data, headers), f"{way}, PATCH at {len(sent)}"
        if not c.expect(row, answer.status in SUCCESS, "204", answer, probe=probe):
            return
        sent += data
        head = c.hd(url)
        if len(sent) == 10 and head.status in GONE:
            continue  # Moved away, which is judged elsewhere.
        told = [head.get("upload-offset"), head.get("upload-length")]
        expected = f"Upload-Offset: {len(sent)}, Upload-Length: 10"
        c.expect(row, told == [str(len(sent)), "10"], expected, head, probe=f"{probe}, then HEAD")
    c.content(row, url, sent, way)


@check("DEFER-08")
def a_declared_length_stays(c: Probe) -> None:
    _plain_deferral(c)
    row, url = "DEFER-08", c.mk(None)
    c.sent(url, 0, b"hello", {"Upload-Length": "10"})
    for length, data in (("11", b""), ("9", b""), ("11", b"x"), ("5", b"")):
        at = offset_of(c.hd(url)) or 0
        probe = f"PATCH of {len(data)} bytes at {at} with Upload-Length: {length}"
        answer = c.pa(url, at, data, {"Upload-Length": length})
        _judge_length(c, c.hd(url), probe)
        # One who takes no notice of the header has not changed the length.
        ignores = Verdict.WARN if answer.status in SUCCESS else None
        c.expect(row, answer.status in CLIENT_ERRORS, "4xx", answer, probe=probe, broken=ignores)
    at = offset_of(c.hd(url)) or 0
    c.sent(url, at, b"helloworld"[at:])
    for length in ("11", "9"):
        c.pa(url, 10, b"", {"Upload-Length": length})
        head = c.hd(url)
        if head.status not in GONE:
            _judge_length(c, head, f"PATCH at the end with Upload-Length: {length}")


def _judge_length(c: Probe, head: Answer, probe: str) -> None:
    ok = head.get("upload-length") == "10"
    c.demand("DEFER-08", ok, "Upload-Length: 10", head, probe=f"{probe}, then HEAD")


@check("DEFER-10")
def a_length_below_the_offset(c: Probe) -> None:
    _plain_deferral(c)
    row = "DEFER-10"
    for data in (b"", b"x"):
        url = c.mk(None)
        c.sent(url, 0, b"abcdef")
        answer = c.pa(url, 6, data, {"Upload-Length": "5"})
        probe = f"PATCH of {len(data)} bytes at 6 with Upload-Length: 5"
        stays = _stays_deferred(c, row, url, 6, probe)
        # One who takes no notice of the header has done no harm.
        ignores = Verdict.WARN if stays and answer.status in SUCCESS else None
        c.expect(row, answer.status in CLIENT_ERRORS, "4xx", answer, probe=probe, broken=ignores)
        if stays and _finish(c, row, url, 6, b"gh", probe):
            c.content(row, url, b"abcdefgh", probe)


@check("DEFER-11")
def a_wrong_offset_declares_nothing(c: Probe) -> None:
    _plain_deferral(c)
    row = "DEFER-11"
    for offset in (0, 6):
        url = c.mk(None)
        c.sent(url, 0, b"hello")
        answer = c.pa(url, offset, b"world", {"Upload-Length": "10"})
        if answer.status in SUCCESS:
            c.give_up(f"PATCH at {offset} of an upload at 5 was answered {answer}")
        probe = f"PATCH at {offset} instead of 5 with Upload-Length: 10: {answer.status}"
        if _stays_deferred(c, row, url, 5, probe):
            # HEAD may keep to itself what was recorded.
            _finish(c, row, url, 5, b"!", probe)


@check("DEFER-12")
def all_bytes_without_a_length(c: Probe) -> None:
    _plain_deferral(c)
    row, url, probe = "DEFER-12", c.mk(None), "all bytes sent, no length told"
    c.sent(url, 0, b"helloworld")
    if not _stays_deferred(c, row, url, 10, probe):
        return
    if _finish(c, row, url, 10, b"", probe):
        head = c.hd(url)
        ok = head.get("upload-length") == "10" or head.status in GONE
        c.expect(row, ok, "Upload-Length: 10", head, probe="told with an empty PATCH, then HEAD")
        c.content(row, url, b"helloworld")


@check("DEFER-13")
def a_body_longer_than_the_length_beside_it(c: Probe) -> None:
    _plain_deferral(c)
    row, length, data = "DEFER-13", {"Upload-Length": "4"}, b"helloworld"
    framings = {
        "Content-Length: 10": (patch_headers(0, 10, length), data),
        "a chunked body": (chunked_headers(0, length), chunked(b"hel", b"lowo", b"rld")),
    }
    for framing, (headers, body) in framings.items():
        url = c.mk(None)
        answer, probe = _sent(c, url, headers, body), f"Upload-Length: 4 with 10 bytes, {framing}"
        c.expect(row, is_refused(answer), "4xx", answer, probe=probe)
        head, probe = c.hd(url), f"{probe}, then HEAD"
        if head.status in GONE:
            continue  # Complete with 4 bytes and moved away, or given up.
        offset = offset_of(head)
        c.expect(row, offset is not None and offset <= 4, "Upload-Offset: 4 at most", head,
                 probe=probe)  # fmt: skip
        c.expect(row, head.get("upload-length") in (None, "4"), "Upload-Length: 4, or none", head,
                 probe=probe)  # fmt: skip


@check("DEFER-15")
def lengths_that_are_none(c: Probe) -> None:
    _plain_deferral(c)
    row, url = "DEFER-15", ""
    for value in _BAD_LENGTHS:
        if not url:
            url = c.mk(None)
            c.sent(url, 0, b"abc")
        answer = _sent(c, url, patch_headers(3, 2, {"Upload-Length": value}), b"de")
        spelt = ascii(value)[:30] if value else "(empty)"
        probe = f"PATCH with Upload-Length: {spelt}"
        if not value and isinstance(answer, Answer) and answer.status in SUCCESS:
            _judge_empty_length(c, row, url, answer)
            url = ""
            continue
        is_fine = c.expect(row, is_refused(answer), "4xx", answer, probe=probe)
        if not (_stays_deferred(c, row, url, 3, probe) and is_fine):
            url = ""
    if url:
        _finish(c, row, url, 3, b"de", "all refused")


def _judge_empty_length(c: Probe, row: str, url: str, answer: Answer) -> None:
    """An empty header may be read as none: then the bytes are taken, and nothing is declared."""
    probe = "PATCH with an empty Upload-Length, read as none"
    if _stays_deferred(c, row, url, 5, probe):
        c.say(row, Verdict.INFO, "4xx", answer, probe=probe)


# The maximum


@check("DEFER-09")
def the_maximum_binds_deferred_uploads(c: Probe) -> None:
    maximum = c.discovery.max_size
    if maximum is None:
        return
    _plain_deferral(c)
    row, url = "DEFER-09", c.mk(None)
    probe = f"PATCH with Upload-Length: {maximum + 1}, one more than the maximum"
    answer = c.pa(url, 0, b"abc", {"Upload-Length": str(maximum + 1)})
    # A number that fits into no 64 bits may be no number at all.
    good = (413,) if maximum < _LARGEST else (413, 400)
    c.status(row, answer, good, warns=CLIENT_ERRORS, probe=probe)
    head = c.hd(url)
    ok = head.status in SUCCESS and "upload-length" not in head
    c.expect(row, ok, "no Upload-Length", head, probe=f"{probe}, then HEAD")
    if maximum <= _SMALL:
        _send_too_much(c, maximum)


def _send_too_much(c: Probe, maximum: int) -> None:
    row, size = "DEFER-09", maximum + 1
    framings = {
        f"Content-Length: {size}": (patch_headers(0, size), b"x" * size),
        "a chunked body": (chunked_headers(0), chunked(b"x" * maximum, b"x")),
    }
    for framing, (headers, body) in framings.items():
        url, probe = c.mk(None), f"{size} bytes without Upload-Length, {framing}"
        refusal = _sent(c, url, headers, body)
        c.expect(row, is_refused(refusal), "4xx", refusal, probe=probe)
        head = c.hd(url)
        offset = offset_of(head)
        ok = offset is None or offset <= maximum
        c.expect(row, ok, f"Upload-Offset: {maximum} at most", head, probe=f"{probe}, then HEAD")
