"""CORE-PATCH: bytes at an offset, and what is refused there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import NoAnswer, heard, is_refused, plain_upload
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import eventually, offset_of, patch_headers, without
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIB = 1024 * 1024
_CHUNKS = (1, 2, 4095, 4096, 65537, _MIB, 77)
_OTHER_LABELS = (
    None,
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
)
_GIB = 1024 * _MIB
_ANSWERED = 5.0
"""Seconds in which a doomed request is answered."""


@check("CORE-PATCH-01", "CORE-PATCH-06", "CORE-PATCH-07")
def bytes_are_appended(c: Probe) -> None:
    url = c.mk(10)
    for offset, data in ((0, b"hello"), (5, b"world")):
        answer = c.pa(url, offset, data)
        probe = f"PATCH at {offset}"
        c.expect("CORE-PATCH-01", answer.status in SUCCESS, "204", answer, probe=probe)
        if answer.status not in SUCCESS:
            return
        c.status("CORE-PATCH-06", answer, (204,), probe=probe)
        c.expect("CORE-PATCH-07", len(answer.all("upload-offset")) == 1, "one Upload-Offset",
                 answer, probe=probe)  # fmt: skip
    c.content("CORE-PATCH-01", url, b"helloworld")


@check("CORE-PATCH-03")
def other_media_types(c: Probe) -> None:
    plain_upload(c)
    for label in _OTHER_LABELS:
        url = c.mk(4)
        headers = without(patch_headers(0, 4), "Content-Type")
        if label is not None:
            headers["Content-Type"] = label
        answer = c.request("PATCH", url, headers, b"data")
        probe = f"Content-Type: {label}" if label else "no Content-Type"
        others = (*CLIENT_ERRORS, *SUCCESS)
        c.status("CORE-PATCH-03", answer, (415,), warns=others, probe=probe)
        if answer.status in SUCCESS:
            continue
        now = c.hd(url)
        c.expect("CORE-PATCH-03", now.get("upload-offset") == "0", "Upload-Offset: 0", now,
                 probe=f"after {probe}", broken=Verdict.FAIL)  # fmt: skip


@check("CORE-PATCH-04", "CORE-PATCH-05")
def other_offsets_conflict(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    for offset in (0, 4, 6, 10, 11, 10**9):
        answer = c.pa(url, offset, b"x")
        probe = f"PATCH at {offset} of an upload that stands at 5"
        c.status("CORE-PATCH-04", answer, (409,), probe=probe)
        if not c.intact("CORE-PATCH-05", url, 5, probe=f"after {probe}"):
            return
    c.intact("CORE-PATCH-05", url, 5, b"world", probe="after all of them")
    answer = c.pa(url, 5, b"x")
    c.expect("CORE-PATCH-04", answer.status not in SUCCESS, "409", answer,
             probe="PATCH at 5 of a finished upload")  # fmt: skip
    if answer.status not in SUCCESS:
        # What is finished may be refused for that already.
        c.status("CORE-PATCH-04", answer, (409,), infos=(403, *GONE),
                 probe="PATCH at 5 of a finished upload")  # fmt: skip
    c.content("CORE-PATCH-05", url, b"helloworld")


@check("CORE-PATCH-08")
def offsets_add_up(c: Probe) -> None:
    data = bytes(range(251)) * (sum(_CHUNKS) // 251 + 1)
    data, offset = data[: sum(_CHUNKS)], 0
    url = c.mk(len(data))
    for size in _CHUNKS:
        answer = c.pa(url, offset, data[offset : offset + size])
        told, probe = offset_of(answer), f"PATCH of {size} bytes at {offset}"
        if told is None:
            c.give_up(f"{probe} was answered {answer}")
            return
        now = c.off(url)
        ok = told == offset + size or offset <= told == now
        c.expect("CORE-PATCH-08", ok, f"Upload-Offset: {offset + size}", answer, probe=probe)
        finished = offset + size == len(data) and now is None
        c.expect("CORE-PATCH-08", finished or now == told, f"{told} from HEAD, too", now,
                 probe=probe)  # fmt: skip
        if told != offset + size:
            return
        offset = told
    c.content("CORE-PATCH-08", url, data)


@check("CORE-PATCH-09")
def patch_of_what_is_not_there(c: Probe) -> None:
    answer = c.pa(c.stranger(c.mk(4)), 0, b"data")
    c.status("CORE-PATCH-09", answer, (404, 410, 403))


@check("CORE-PATCH-10")
def many_small_patches_on_one_connection(c: Probe) -> None:
    plain_upload(c)
    url, wire, answer = c.mk(200), c.wire(), None
    try:
        for offset in range(200):
            if wire.is_ended(within=0.0):
                wire.close()
                wire = c.wire(url)
            wire.send(c.head("PATCH", url, patch_headers(offset, 1)) + b"x")
            answer = wire.answer("PATCH")
            if answer.get("upload-offset") != str(offset + 1):
                break
    finally:
        wire.close()
    ok = answer is not None and answer.get("upload-offset") == "200"
    c.expect("CORE-PATCH-10", ok, "200 times 204", answer)


@check("CORE-PATCH-11")
def little_is_lost(c: Probe) -> None:
    plain_upload(c)
    url, size, sent = c.mk(_MIB), _MIB, 300_000
    with c.begin_patch(url, 0, size) as wire:
        wire.send(bytes(sent))
        wire.has_more(within=0.5)
    eventually(lambda: (c.off(url) or 0) > 0, 5.0)
    offset = c.off(url) or 0
    c.expect("CORE-PATCH-11", 0 < offset <= sent, f"up to {sent} bytes of what was sent", offset,
             probe="HEAD after a body that broke off")  # fmt: skip


@check("CORE-PATCH-12", alone=True)
def silence_is_not_waited_out(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(1000)
    begun = time.monotonic()
    with c.begin_patch(url, 0, 1000, timeout=c.target.max_stall + 5) as wire:
        wire.send(bytes(500))
        ended = wire.has_more(within=c.target.max_stall)
        got = heard(wire, "PATCH") if ended else "nothing"
        closed = isinstance(got, NoAnswer) or (ended and wire.is_ended(within=5.0))
    seconds = time.monotonic() - begun
    c.expect("CORE-PATCH-12", ended and closed, f"an end within {c.target.max_stall:.0f} s",
             f"{got}, after {seconds:.0f} s")  # fmt: skip
    if c.has("expiration") and c.hd(url).status in GONE:
        return  # The silence outlasted the upload.
    c.intact("CORE-PATCH-12", url, 500, bytes(500))


@check("CORE-PATCH-13")
def how_errors_are_noticed(c: Probe) -> None:
    c.say("CORE-PATCH-13", Verdict.PASS, "any means")


@check("CORE-PATCH-14")
def patch_without_an_offset(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(4)
    answer = c.request("PATCH", url, without(patch_headers(0, 4), "Upload-Offset"), b"data")
    c.status("CORE-PATCH-14", answer, (400,), warns=CLIENT_ERRORS)
    c.intact("CORE-PATCH-14", url, 0, b"data")


@check("CORE-PATCH-15")
def the_media_type_is_a_media_type(c: Probe) -> None:
    plain_upload(c)
    answer = c.pa(c.mk(4), 0, b"data", {"Content-Type": "Application/Offset+Octet-Stream"})
    c.status("CORE-PATCH-15", answer, (204,), warns=(415,), probe="in capitals")
    label = "application/offset+octet-stream; charset=binary"
    answer = c.pa(c.mk(4), 0, b"data", {"Content-Type": label})
    c.status("CORE-PATCH-15", answer, (204, 415), warns=CLIENT_ERRORS, probe="with a parameter")


@check("CORE-PATCH-16")
def more_bytes_than_there_is_room_for(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    answer = c.pa(url, 0, b"helloworld")
    c.status("CORE-PATCH-16", answer, CLIENT_ERRORS, probe="10 bytes for an upload of 5")
    _judge_overrun(c, "CORE-PATCH-16", url)


def _judge_overrun(c: Probe, row: str, url: str) -> None:
    """The upload holds the first bytes at most, and is or can be completed with the others."""
    answer = c.hd(url)
    offset = offset_of(answer)
    if not c.expect(row, offset is not None and offset <= 5, "Upload-Offset: 5 at most", answer):
        return
    if offset is not None and offset < 5:
        rest = c.pa(url, offset, b"hello"[offset:])
        c.expect(row, rest.status == 204, "204 to the rest of the 5 bytes", rest)
    c.content(row, url, b"hello")


@check("CORE-PATCH-17")
def more_bytes_than_announced_anywhere(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    with c.begin_chunked(url, 0) as wire:
        wire.try_send(chunked(b"hell", b"owor", b"ld"))
        got = heard(wire, "PATCH")
    c.expect("CORE-PATCH-17", is_refused(got), "4xx", got, probe="10 bytes in 3 chunks")
    _judge_overrun(c, "CORE-PATCH-17", url)
    url, chunk = c.mk(5), chunked(b"hello" * 13_000, end=False)
    with c.begin_chunked(url, 0) as wire:
        for _ in range(100 * _MIB // len(chunk)):
            if not wire.try_send(chunk) or wire.has_more(within=0.0):
                break
        else:
            wire.try_send(chunked())
        got = heard(wire, "PATCH")
    c.expect("CORE-PATCH-17", is_refused(got), "4xx", got, probe="an endless stream")
    _judge_overrun(c, "CORE-PATCH-17", url)


@check("CORE-PATCH-18")
def an_empty_patch_changes_nothing(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    answer = c.pa(url, 5, b"")
    c.status("CORE-PATCH-18", answer, (204,))
    c.expect("CORE-PATCH-18", answer.get("upload-offset") == "5", "Upload-Offset: 5", answer)
    c.intact("CORE-PATCH-18", url, 5, b"world")


@check("CORE-PATCH-19")
def what_is_complete_stays(c: Probe) -> None:
    plain_upload(c)
    url = c.made(b"helloworld")
    answer = c.pa(url, 10, b"")
    c.status("CORE-PATCH-19", answer, (204, *CLIENT_ERRORS), probe="an empty PATCH at the end")
    answer = c.pa(url, 10, b"x")
    dropped = answer.status == 204 and answer.get("upload-offset") == "10"
    if dropped:
        c.say("CORE-PATCH-19", Verdict.WARN, "4xx", answer, probe="one byte more")
    else:
        c.status("CORE-PATCH-19", answer, CLIENT_ERRORS, probe="one byte more")
    now = c.hd(url)
    if now.status not in GONE:
        c.expect("CORE-PATCH-19", now.get("upload-offset") == "10", "Upload-Offset: 10", now)
    c.content("CORE-PATCH-19", url, b"helloworld")


@check("CORE-PATCH-20")
def a_body_without_a_length(c: Probe) -> None:
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    with c.begin_chunked(url, 5) as wire:
        wire.try_send(chunked(b"wor", b"ld"))
        got = heard(wire, "PATCH")
    taken = isinstance(got, Answer) and got.status == 204
    c.expect("CORE-PATCH-20", taken, "204", got)
    if taken:
        c.content("CORE-PATCH-20", url, b"helloworld")


@check("CORE-PATCH-21")
def doomed_requests_are_answered_at_once(c: Probe) -> None:
    plain_upload(c)
    big = min(_GIB, c.target.big_ok, c.discovery.max_size or _GIB)
    url = c.mk(big)
    headers = patch_headers(0, big)
    _judge_early(c, "wrong offset", url, {**headers, "Upload-Offset": "7"}, (409,))
    _judge_early(c, "unknown upload", c.stranger(url), headers, GONE)
    _judge_early(c, "wrong version", url, {**headers, "Tus-Resumable": "9.9.9"}, (412,))
    _judge_early(c, "wrong type", url, {**headers, "Content-Type": "text/plain"}, (415,))
    if c.has("concat"):
        parts = c.post({**VERSION, "Upload-Concat": "partial", "Upload-Length": "0"})
        if parts.status == 201:
            joined = c.post({"Upload-Concat": f"final;{c.created(parts)}"})
            if joined.status == 201:
                _judge_early(c, "final upload", c.created(joined), headers, (403,))
    if c.has("termination"):
        c.delete(url)


def _judge_early(
    c: Probe, probe: str, url: str, headers: Mapping[str, str], wanted: tuple[int, ...]
) -> None:
    """PATCH of which no byte of the body is sent. Which refusal it is other rows judge."""
    with c.wire(url, timeout=_ANSWERED) as wire:
        wire.send(c.head("PATCH", url, {**OCTETS, **headers}))
        got = heard(wire, "PATCH")
    ok = isinstance(got, Answer) and got.status in (*wanted, *CLIENT_ERRORS)
    expected = f"{wanted[0]} within {_ANSWERED:.0f} s"
    c.expect("CORE-PATCH-21", ok, expected, got, probe=probe)


@check("CORE-PATCH-22")
def a_conflict_tells_the_offset(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    answer = c.pa(url, 0, b"x")
    if answer.status != 409:
        c.give_up(f"a wrong offset was answered {answer}")
    value = answer.get("upload-offset")
    worst = Verdict.INFO if value is None else None
    c.expect("CORE-PATCH-22", value == "5", "Upload-Offset: 5 with the 409", answer, broken=worst)
