"""ROB-NUM: numbers in headers. What looks like a number to a lenient parser is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import NoAnswer, heard, is_refused
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import patch_headers, without
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer

_MIB = 1024 * 1024
HUGE = 2**32
"""Where 32 bits end."""
_BLOCK = 64 * _MIB
_TAIL = b"0123456789"
NO_NUMBERS = {
    "empty": b"",
    "-1": b"-1",
    "-0": b"-0",
    "+5": b"+5",
    "5.0": b"5.0",
    "5,0": b"5,0",
    "5e3": b"5e3",
    "0x10": b"0x10",
    "1_000": b"1_000",
    "5 5": b"5 5",
    "5,5": b"5,5",
    "5;x": b"5;x",
    "abc": b"abc",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "null": b"null",
    "an Arabic 5": "٥".encode(),
    "a full-width 5": "５".encode(),
    "a superscript 2": "²".encode(),
    "a byte 0xff": b"\xff",
    "20 nines": b"9" * 20,
    "5000 nines": b"9" * 5000,
    "2^64": b"18446744073709551616",
}
"""By a name that can be printed: values that are no number of bytes which a server could mean."""
_TOO_LARGE = {"20 nines", "5000 nines", "2^64"}


def raw_request(
    c: Probe, method: str, url: str, headers: dict[str, str], name: str, value: bytes, body: bytes
) -> Answer | NoAnswer:
    """A request in which one header has these bytes as its value."""
    head = c.head(method, url, headers).removesuffix(b"\r\n")
    with c.wire(url) as wire:
        wire.send(head + name.encode() + b": " + value + b"\r\n\r\n")
        wire.try_send(body)
        return heard(wire, method)


@check("ROB-NUM-01")
def lengths_that_are_none(c: Probe) -> None:
    for name, value in NO_NUMBERS.items():
        headers = {**VERSION, "Content-Length": "0"}
        got = raw_request(c, "POST", c.url, headers, "Upload-Length", value, b"")
        probe = f"POST with Upload-Length: {name}"
        passes = is_refused(got)
        c.expect("ROB-NUM-01", passes, "4xx" if name in _TOO_LARGE else "400", got, probe=probe)
        if not isinstance(got, NoAnswer):
            c.expect("ROB-NUM-01", "location" not in got, "no Location", got, probe=probe)
    answer = c.post({"Upload-Length": "007"})
    if answer.status not in CLIENT_ERRORS:
        length = c.hd(c.created(answer)).get("upload-length")
        c.expect("ROB-NUM-01", length == "7", "400, or Upload-Length: 7", length,
                 probe="Upload-Length: 007")  # fmt: skip


@check("ROB-NUM-02")
def offsets_that_are_none(c: Probe) -> None:
    headers = without(patch_headers(0, 1), "Upload-Offset")
    for offset in (0, 5):
        url = _standing_at(c, offset)
        for name, value in NO_NUMBERS.items():
            got = raw_request(c, "PATCH", url, headers, "Upload-Offset", value, b"x")
            probe = f"PATCH at {offset} with Upload-Offset: {name}"
            if not c.expect("ROB-NUM-02", is_refused(got), "400 or 409", got, probe=probe):
                # What it has done to this upload shall not be held against the next value.
                url = _standing_at(c, offset)
        probe = f"at {offset}, after all that were refused"
        c.intact("ROB-NUM-02", url, offset, b"helloworld"[offset:], probe=probe)
        c.content("ROB-NUM-02", url, b"helloworld", probe)


def _standing_at(c: Probe, offset: int) -> str:
    url = c.mk(10)
    if offset:
        c.sent(url, 0, b"helloworld"[:offset])
    return url


@check("ROB-NUM-03")
def large_lengths_are_exact(c: Probe) -> None:
    _judge_length(c, "ROB-NUM-03", "9007199254740993")


@check("ROB-NUM-04")
def extreme_lengths_do_no_harm(c: Probe) -> None:
    for length in ("2147483648", "4294967295", "4294967296", "9223372036854775807",
                   "9223372036854775808"):  # fmt: skip
        _judge_length(c, "ROB-NUM-04", length)
    c.live("ROB-NUM-04", probe="after all of them")


def _judge_length(c: Probe, row: str, length: str) -> None:
    answer = c.post({"Upload-Length": length})
    probe = f"Upload-Length: {length}"
    if answer.status != 201:
        c.status(row, answer, (*CLIENT_ERRORS, 507), expected="201, 4xx or 507", probe=probe)
        return
    url = c.created(answer)
    told = c.hd(url)
    c.expect(row, told.get("upload-length") == length, probe, told, probe=f"{probe}, then HEAD")
    if c.has("termination"):
        c.delete(url)


@check("ROB-NUM-05")
def offsets_do_not_wrap(c: Probe) -> None:
    url = c.mk(10)
    for offset in ("18446744073709551615", "18446744073709551616", "9223372036854775807"):
        answer = c.pa(url, offset, b"xx")
        c.status("ROB-NUM-05", answer, CLIENT_ERRORS, probe=f"Upload-Offset: {offset}")
    c.intact("ROB-NUM-05", url, 0, b"helloworld")


@check("ROB-NUM-06")
def repeated_fields(c: Probe) -> None:
    _repeated_offset(c)
    if c.has("creation"):
        _repeated_length(c)
    version = [("Tus-Resumable", "1.0.0"), ("Tus-Resumable", "0.2.2")]
    for pairs in (version, version[::-1]):
        url = c.mk(4)
        headers = [*pairs, *OCTETS.items(), ("Upload-Offset", "0"), ("Content-Length", "4")]
        answer = c.request("PATCH", url, headers, b"data")
        c.status("ROB-NUM-06", answer, CLIENT_ERRORS, probe=_told(pairs))
        c.intact("ROB-NUM-06", url, 0, probe=_told(pairs))


def _repeated_offset(c: Probe) -> None:
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    common = list(without(patch_headers(0, 5), "Upload-Offset").items())
    for first, second in (("0", "5"), ("5", "0")):
        pairs = [("Upload-Offset", first), ("Upload-Offset", second)]
        answer = c.request("PATCH", url, [*common, *pairs], b"world")
        c.status("ROB-NUM-06", answer, CLIENT_ERRORS, probe=_told(pairs))
        if not c.intact("ROB-NUM-06", url, 5, probe=_told(pairs)):
            return
    pairs = [("Upload-Offset", "5")] * 2
    answer = c.request("PATCH", url, [*common, *pairs], b"world")
    c.status("ROB-NUM-06", answer, (*CLIENT_ERRORS, 204), probe=_told(pairs))
    offset = 10 if answer.status in SUCCESS else 5
    c.intact("ROB-NUM-06", url, offset, probe=_told(pairs))


def _repeated_length(c: Probe) -> None:
    common = [*VERSION.items(), ("Content-Length", "0")]
    for first, second in (("5", "6"), ("6", "5")):
        pairs = [("Upload-Length", first), ("Upload-Length", second)]
        answer = c.request("POST", c.url, [*common, *pairs])
        c.status("ROB-NUM-06", answer, CLIENT_ERRORS, probe=_told(pairs))


def _told(pairs: list[tuple[str, str]]) -> str:
    return " and ".join(f"{name}: {value}" for name, value in pairs)


@check("ROB-NUM-07", alone=True)
def offsets_beyond_32_bits(c: Probe) -> None:
    length = HUGE + len(_TAIL)
    largest = c.discovery.max_size
    if largest is not None and largest < length:
        c.say("ROB-NUM-07", Verdict.INFO, "more than 4 GiB", f"Tus-Max-Size: {largest}")
        return
    url = c.mk(length)
    try:
        _send_beyond(c, url)
    finally:
        if c.has("termination"):
            c.delete(url)


def _send_beyond(c: Probe, url: str) -> None:
    row, length, block = "ROB-NUM-07", HUGE + len(_TAIL), bytes(_BLOCK)
    for offset in range(0, HUGE, _BLOCK):
        got = c.pa(url, offset, block)
        if got.status in (413, 507):
            c.give_up(f"there is no room: {got}")
        c.demand(row, got.get("upload-offset") == str(offset + _BLOCK),
                 f"Upload-Offset: {offset + _BLOCK}", got)  # fmt: skip
    got = c.pa(url, HUGE, _TAIL)
    c.expect(row, got.get("upload-offset") == str(length), f"Upload-Offset: {length}", got)
    told = c.hd(url)
    c.expect(row, told.get("upload-offset") == str(length), f"Upload-Offset: {length}", told)
    if not c.has("get"):
        c.unseen += 1
        return
    with c.wire(url) as wire:
        wire.send(c.head("GET", url, {**VERSION, "Range": f"bytes={HUGE}-"}))
        if wire.interim(within=c.target.timeout) != 206:
            # All 4 GiB would come for the sake of the last few bytes.
            c.unseen += 1
            return
        tail = wire.answer("GET")
    c.expect(row, tail.body == _TAIL, "the bytes behind 4 GiB", tail)
