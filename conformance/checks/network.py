"""ROB-NET: connections that break, stall or crawl, and a server that is killed."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.hearing import heard, is_refused, is_taken, plain_upload
from conformance.tus import eventually, offset_of
from conformance.verdict import Verdict
from conformance.wire import Answer, ConnectionEnded, Wire, chunked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.probe import Probe

MIB = 1024 * 1024
_SENT = 300_000
_PAUSE = 1.0
"""Seconds in which a server takes what was sent before the connection breaks."""
_PATIENCE = 10.0
"""Seconds in which what was sent must show."""


def _pause(c: Probe, *wires: Wire) -> None:
    """Raises Unverifiable when the server does not wait for the rest of the body."""
    deadline = time.monotonic() + _PAUSE
    for wire in wires:
        if wire.has_more(within=max(0.0, deadline - time.monotonic())):
            c.give_up(f"PATCH was not waited for: {heard(wire, 'PATCH')}")


def _offset_soon(c: Probe, url: str, hoped: int) -> int | None:
    """What HEAD says as soon as it says this, or after a while."""
    found: list[int | None] = [None]

    def is_there() -> bool:
        found.append(c.off(url))
        return found[-1] == hoped

    eventually(is_there, _PATIENCE, every=0.1)
    return found[-1]


def _complete(c: Probe, row: str, url: str, data: bytes, probe: str) -> None:
    """Goes on as clients do: asks, sends the rest, and asks again when that was refused."""
    answer = c.hd(url)
    for _ in range(5):
        offset = offset_of(answer)
        if offset is None or offset >= len(data):
            break
        c.pa(url, offset, data[offset:])
        answer = c.hd(url)
    full = f"an upload that can be completed to {len(data):,} bytes"
    if c.expect(row, offset_of(answer) == len(data), full, answer, probe=probe):
        c.content(row, url, data, probe)


@check("ROB-NET-01")
def close_in_mid_patch(c: Probe) -> None:
    plain_upload(c)
    data = random.Random(1).randbytes(MIB)
    url = c.mk(MIB)
    with c.begin_patch(url, 0, MIB) as wire:
        wire.send(data[:_SENT])
        _pause(c, wire)
    probe = f"closed after {_SENT:,} of {MIB:,} bytes"
    offset = _offset_soon(c, url, _SENT)
    is_less = offset is not None and 0 < offset < _SENT
    broken = Verdict.WARN if is_less else Verdict.FAIL
    c.expect("ROB-NET-01", offset == _SENT, f"Upload-Offset: {_SENT}", offset, probe=probe,
             broken=broken)  # fmt: skip
    _complete(c, "ROB-NET-01", url, data, probe)


@check("ROB-NET-02")
def reset_in_mid_patch(c: Probe) -> None:
    plain_upload(c)
    data = random.Random(2).randbytes(MIB)
    url = c.mk(MIB)
    with c.begin_patch(url, 0, MIB) as wire:
        wire.send(data[:_SENT])
        _pause(c, wire)
        wire.reset()
    probe = f"reset after {_SENT:,} of {MIB:,} bytes"
    # What the kernel had and nobody had read is lost with the reset, so no number is hoped for.
    eventually(lambda: (c.off(url) or 0) > 0, _PATIENCE, every=0.1)
    offset = c.off(url)
    good = offset is not None and 1 <= offset <= _SENT
    c.expect("ROB-NET-02", good, f"an offset from 1 to {_SENT}", offset, probe=probe)
    _complete(c, "ROB-NET-02", url, data, probe)


_THREE = chunked(*[b"x" * 1000] * 3, end=False)
_CUT_CHUNKS = (
    ("closed between two chunks", _THREE, 3000, 3000),
    ("closed inside a chunk", _THREE + b"3e8\r\n" + b"x" * 500, 3000, 3500),
    ("closed inside the size of a chunk", _THREE + b"3e", 3000, 3000),
    ("closed before the last chunk", chunked(b"x" * 5000, end=False), 0, 5000),
    ("closed before the trailers", chunked(b"x" * 5000, end=False) + b"0\r\n", 0, 5000),
)
"""What is sent of a body of 5000 bytes, and the least and most that may be kept of it."""


@check("ROB-NET-03")
def close_inside_a_chunked_body(c: Probe) -> None:
    plain_upload(c)
    row, urls = "ROB-NET-03", [c.mk(5000) for _ in _CUT_CHUNKS]
    with ExitStack() as stack:
        wires = [stack.enter_context(c.begin_chunked(url, 0)) for url in urls]
        for wire, (_, body, _, _) in zip(wires, _CUT_CHUNKS, strict=True):
            wire.send(body)
        _pause(c, *wires)
    for url, (probe, _, least, most) in zip(urls, _CUT_CHUNKS, strict=True):
        offset = _offset_soon(c, url, most) if least else c.off(url)
        good = offset is not None and least <= offset <= most
        c.expect(row, good, f"an offset from {least} to {most}", offset, probe=probe)
        _complete(c, row, url, b"x" * 5000, probe)


_BROKEN_CHUNKS = {
    "size zz": (b"zz\r\nhello\r\n0\r\n\r\n", 0),
    "size zz, and an empty line": (b"zz\r\n\r\n", 0),
    "size -1": (b"-1\r\nhello\r\n0\r\n\r\n", 0),
    "size -5": (b"-5\r\nhello\r\n0\r\n\r\n", 0),
    "size 0x5": (b"0x5\r\nhello\r\n0\r\n\r\n", 0),
    "size beyond 64 bits": (b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", 0),
    "no size": (b"\r\nhello\r\n0\r\n\r\n", 0),
    "bare line feeds": (b"5\nhello\n0\n\n", 0),
    # The bytes that the chunk announced had come before its framing broke.
    "no line end after the bytes": (b"5\r\nhello0\r\n\r\n", 5),
    "other bytes for the line end": (b"5\r\nhello\r\r0\r\n\r\n", 5),
    "more bytes than announced": (b"5\r\nhello world\r\n0\r\n\r\n", 5),
}
"""What comes after a good chunk, and how many bytes of it may be kept."""
_STORY = b"good hello world, and so much more that all of the framing would find room in it"


@check("ROB-NET-04")
def broken_chunk_framing(c: Probe) -> None:
    plain_upload(c)
    row = "ROB-NET-04"
    for probe, (bad, kept) in _BROKEN_CHUNKS.items():
        url = c.mk(len(_STORY))
        with c.begin_chunked(url, 0) as wire:
            wire.try_send(chunked(_STORY[:5], end=False) + bad)
            got = heard(wire, "PATCH")
        is_refused = got.status >= 400 if isinstance(got, Answer) else got.is_end
        c.demand(row, is_refused, "400, or a closed connection", got, probe=probe)
        offset = c.off(url)
        most = 5 + kept
        good = offset is not None and offset <= most
        c.demand(row, good, f"an offset of at most {most}", offset, probe=probe)
        _complete(c, row, url, _STORY, probe)


@check("ROB-NET-04")
def chunk_extensions_are_legal(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    with c.begin_chunked(url, 0) as wire:
        wire.try_send(b"5;ext=1\r\nhello\r\n0\r\n\r\n")
        got = heard(wire, "PATCH")
    c.expect("ROB-NET-04", is_taken(got), "204 to 5;ext=1", got, probe="size 5;ext=1")
    c.expect("ROB-NET-04", c.off(url) == 5, "Upload-Offset: 5", c.off(url), probe="size 5;ext=1")


@check("ROB-NET-05")
def several_breaks_in_a_row(c: Probe) -> None:
    plain_upload(c)
    row, chance = "ROB-NET-05", random.Random(5)
    largest = c.discovery.max_size
    data = chance.randbytes(min(10 * MIB, 10 * MIB if largest is None else largest))
    url = c.mk(len(data))
    before = 0
    for number in range(20):
        answer = _standing(c, url)
        offset = offset_of(answer)
        good = offset is not None and before <= offset <= len(data)
        c.demand(row, good, f"an offset that does not shrink, from {before} on", answer)
        before = offset or 0
        rest = data[before:]
        if not rest:
            break
        with c.begin_patch(url, before, len(rest)) as wire:
            wire.try_send(rest[: chance.randrange(len(data) // 20)])
            # Else HEAD may come before any of it is read.
            wire.has_more(within=0.05)
            if number % 2:
                wire.reset()
    answer = _standing(c, url)
    good = before <= (offset_of(answer) or 0)
    c.demand(row, good, f"an offset that does not shrink, from {before} on", answer)
    _complete(c, row, url, data, "broken 20 times")


def _standing(c: Probe, url: str) -> Answer:
    """What HEAD answers. One that stumbles and recovers loses nothing; ROB-SEC-09 counts it."""
    answer = c.hd(url)
    deadline = time.monotonic() + 3.0
    while answer.status >= 500 and time.monotonic() < deadline:
        time.sleep(0.1)
        answer = c.hd(url)
    return answer


@check("ROB-NET-06", alone=True)
def acknowledged_bytes_survive_a_restart(c: Probe) -> None:
    plain_upload(c)
    row, data = "ROB-NET-06", random.Random(6).randbytes(MIB)
    told = {"Upload-Metadata": "filename aGVsbG8="}
    if c.has("concat"):
        told["Upload-Concat"] = "partial"
    acknowledged, running = c.mk(_SENT, told), c.mk(MIB)
    c.sent(acknowledged, 0, data[:100_000])
    with c.begin_patch(running, 0, MIB) as wire:
        wire.send(data[:_SENT])
        _pause(c, wire)
        c.target.restart()
    if not eventually(c.is_live, 60.0):
        c.demand(row, False, "a server that answers after the restart")
    answer = c.hd(acknowledged)
    c.expect(
        row,
        (offset_of(answer) or 0) >= 100_000,
        "an offset of at least 100000, as acknowledged",
        answer,
    )
    told["Upload-Length"] = str(_SENT)
    kept = all(answer.get(name) == value for name, value in told.items())
    c.expect(row, kept, f"what was told before: {told}", answer, probe="what belongs to it")
    _complete(c, row, acknowledged, data[:_SENT], "restarted after a PATCH")
    answer = c.hd(running)
    offset = offset_of(answer)
    good = offset is not None and offset <= _SENT
    probe = "restarted in mid-PATCH"
    if c.expect(row, good, f"an offset of at most {_SENT}", answer, probe=probe):
        _complete(c, row, running, data, probe)


@check("ROB-NET-07")
def slow_but_steady_body(c: Probe) -> None:
    plain_upload(c)
    data = random.Random(7).randbytes(20 * 1024)
    url = c.mk(len(data))
    with c.begin_patch(url, 0, len(data)) as wire:
        with suppress(ConnectionEnded):
            wire.send_slowly(data, pause=1.0, step=1024)
        got = heard(wire, "PATCH")
    if c.expect("ROB-NET-07", is_taken(got), "204", got, probe="1 KiB a second for 20 seconds"):
        c.content("ROB-NET-07", url, data)


@check("ROB-NET-08", alone=True)
def idle_sockets_are_dropped(c: Probe) -> None:
    row, half = "ROB-NET-08", c.head("OPTIONS", c.url, {"X-Half": "1"})[:-4]
    with ExitStack() as stack:
        wires: list[Wire] = []
        # A server that lets one client have only so many is right too.
        with suppress(OSError, ConnectionEnded):
            while len(wires) < 200:
                wires.append(stack.enter_context(c.wire(timeout=5.0)))
                wires[-1].send(half)
        c.live(row, f"with {len(wires)} half heads")
        kept = _kept(wires, c.target.max_stall)
        c.live(row, "when they have been waited for")
    limit = f"all of {len(wires)} closed within {c.target.max_stall:g} seconds (408 before or not)"
    c.expect(row, not kept, limit, f"{kept} left open")


def _kept(wires: Iterable[Wire], within: float) -> int:
    """How many of these connections are not closed in time."""
    deadline = time.monotonic() + within
    kept = 0
    for wire in wires:
        is_closed = wire.has_more(within=max(0.0, deadline - time.monotonic()))
        if is_closed and isinstance(heard(wire, "OPTIONS"), Answer):
            is_closed = wire.is_ended(within=5.0)
        kept += not is_closed
    return kept


@check("ROB-NET-09")
def lost_answer(c: Probe) -> None:
    plain_upload(c)
    row, data = "ROB-NET-09", b"hello world"
    for probe in ("closed with the answer unread", "closed at once"):
        url = c.mk(len(data))
        with c.begin_patch(url, 0, len(data)) as wire:
            wire.send(data)
            is_answered = probe != "closed at once"
            if is_answered and not wire.has_more(within=c.target.timeout):
                c.give_up("PATCH was not answered")
        offset = _offset_soon(c, url, len(data))
        # Who sees the end of the connection first cannot know that nothing was missing.
        broken = Verdict.FAIL if is_answered else Verdict.WARN
        full = f"Upload-Offset: {len(data)}"
        c.expect(row, offset == len(data), full, offset, probe=probe, broken=broken)
        if offset == len(data):
            _send_again(c, url, data, f"{probe}, and sent again")


def _send_again(c: Probe, url: str, data: bytes, probe: str) -> None:
    """The PATCH that was done already."""
    row = "ROB-NET-09"
    with c.begin_patch(url, 0, len(data)) as wire:
        wire.try_send(data)
        got = heard(wire, "PATCH")
    broken = Verdict.WARN if is_refused(got) else Verdict.FAIL
    is_conflict = isinstance(got, Answer) and got.status == 409
    c.expect(row, is_conflict, "409", got, probe=probe, broken=broken)
    offset = c.off(url)
    c.expect(row, offset == len(data), f"Upload-Offset: {len(data)}", offset, probe=probe)
    c.content(row, url, data, probe)
