"""ROB-CONC: several requests at once. How a server orders them is its own matter (it may lock,
queue, or let the newer one take over); what comes of it must be one consistent file.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.hearing import NoAnswer, heard, is_taken, plain_upload
from conformance.probe import SUCCESS, Probe
from conformance.tus import eventually, offset_of
from conformance.verdict import Unverifiable, Verdict
from conformance.wire import Answer, BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from conformance.wire import Wire

_KIB = 1024
_SIZE = 64 * _KIB
_HALF = _SIZE // 2
_BUSY = (409, 423)
_BEGUN = 0.3
"""Seconds in which the first bytes of a body have been taken."""
_AT_ONCE, _IN_THE_END = 5.0, 60.0
"""Seconds until an upload whose client has died can be resumed."""


@check("ROB-CONC-01")
def parallel_patches_at_one_offset(c: Probe) -> None:
    plain_upload(c)
    for number in range(12):
        _storm(c, 8 if number % 3 == 2 else 2, pieces=1 + number % 2)


def _storm(c: Probe, writers: int, pieces: int) -> None:
    """So many PATCHes of a whole upload at once, each of bytes of its own."""
    url, start = c.mk(_SIZE), threading.Barrier(writers)
    probe = f"{writers} PATCHes at once, bodies in {pieces} pieces"

    def write(number: int) -> Answer | NoAnswer:
        data, step = bytes([number + 1]) * _SIZE, _SIZE // pieces
        with c.begin_patch(url, 0, _SIZE) as wire:
            start.wait(10)
            for begin in range(0, _SIZE, step):
                wire.try_send(data[begin : begin + step])
            return heard(wire, "PATCH")

    with ThreadPoolExecutor(writers) as pool:
        got = list(pool.map(write, range(writers)))
    winners = [each for each in got if isinstance(each, Answer) and each.status in SUCCESS]
    whole = [each for each in winners if offset_of(each) == _SIZE]
    c.expect("ROB-CONC-01", len(whole) <= 1, "one success at most",
             f"{len(whole)} of them", probe=probe)  # fmt: skip
    offset = _settled(c, url)
    c.expect("ROB-CONC-01", offset is not None and offset <= _SIZE,
             f"an offset of {_SIZE} at most", offset, probe=probe)  # fmt: skip
    if offset == _SIZE and c.has("get"):
        marks = set(c.get(url).body)
        c.expect("ROB-CONC-01", len(marks) == 1, "the bytes of one of them",
                 f"bytes of {len(marks)}", probe=probe)  # fmt: skip


def _settled(c: Probe, url: str) -> int | None:
    """The offset, once HEAD tells one."""
    eventually(lambda: c.off(url) is not None, _AT_ONCE)
    return c.off(url)


@check("ROB-CONC-02")
def a_second_patch_during_a_slow_one(c: Probe) -> None:
    plain_upload(c)
    url, ours, theirs = c.mk(_SIZE), b"a" * _SIZE, b"b" * _SIZE
    with c.begin_patch(url, 0, _SIZE) as slow, c.begin_patch(url, 0, _SIZE) as second:
        slow.send(ours[:_HALF])
        slow.has_more(within=_BEGUN)
        second.try_send(theirs)
        # Where it is queued, the first one must end before it is answered.
        second.has_more(within=3.0)
        slow.try_send(ours[_HALF:])
        first_got, second_got = heard(slow, "PATCH"), heard(second, "PATCH")
    both = is_taken(first_got) and is_taken(second_got)
    c.expect("ROB-CONC-02", not both, "one success at most", "2")
    _complete(c, "ROB-CONC-02", url, [ours, theirs])


def _complete(c: Probe, row: str, url: str, candidates: list[bytes]) -> None:
    """Brings the upload to its end, and judges whether what was stored before is of one writer."""
    deadline = time.monotonic() + _AT_ONCE
    while True:
        offset = _settled(c, url)
        if offset is None:
            c.expect(row, False, "an upload that tells where it stands", c.hd(url))
            return
        if offset >= _SIZE:
            break
        answer = c.pa(url, offset, b"c" * (_SIZE - offset))
        if answer.status in SUCCESS or time.monotonic() > deadline:
            c.expect(row, answer.status in SUCCESS, "204 to the rest", answer)
            break
    if not c.has("get"):
        c.unseen += 1
        return
    body = c.get(url).body
    known = [each[:offset] + b"c" * (_SIZE - offset) for each in candidates]
    c.expect(row, body in known, "the bytes of one writer up to where it ended",
             f"{len(body)} bytes, {_runs(body)}")  # fmt: skip


def _runs(body: bytes) -> str:
    """Of which bytes the body consists, in order."""
    runs: list[list[int]] = []
    for byte in body:
        if runs and runs[-1][0] == byte:
            runs[-1][1] += 1
        else:
            runs.append([byte, 1])
    return ", ".join(f"{length} × {chr(byte)!r}" for byte, length in runs[:6])


@check("ROB-CONC-03")
def head_during_a_patch(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-CONC-03", c.mk(_SIZE)
    with c.begin_patch(url, 0, _SIZE) as slow:
        slow.send(b"a" * _HALF)
        slow.has_more(within=_BEGUN)
        seen = 0
        for _ in range(3):
            answer = c.hd(url)
            if answer.status in _BUSY:
                c.say(row, Verdict.PASS, "an offset, 423 or 409", answer)
                continue
            offset = offset_of(answer)
            ok = offset is not None and seen <= offset <= _HALF
            c.demand(row, ok, f"an offset from {seen} to {_HALF}", answer)
            seen = offset or 0
    offset = _settled(c, url) or 0
    c.expect(row, seen <= offset <= _HALF, f"an offset from {seen} to {_HALF}", offset,
             probe="HEAD when the PATCH has broken off")  # fmt: skip
    _complete(c, row, url, [b"a" * _SIZE])


@check("ROB-CONC-04")
def a_dead_connection_blocks_nothing(c: Probe) -> None:
    plain_upload(c)
    for how in ("silent", "reset"):
        url = c.mk(_SIZE)
        with c.begin_patch(url, 0, _SIZE) as dead:
            dead.send(b"a" * _HALF)
            dead.has_more(within=_BEGUN)
            if how == "reset":
                dead.reset()
            seconds = _resumed_after(c, url)
        verdict = Verdict.PASS if seconds <= _AT_ONCE else Verdict.WARN
        if seconds > _IN_THE_END:
            verdict = Verdict.FAIL
        c.say("ROB-CONC-04", verdict, f"resumed within {_AT_ONCE:.0f} s", f"{seconds:.0f} s",
              probe=f"HEAD and PATCH while the client before is {how}")  # fmt: skip


def _resumed_after(c: Probe, url: str) -> float:
    """Seconds until HEAD and PATCH from its offset have worked."""
    begun = time.monotonic()
    while (seconds := time.monotonic() - begun) <= _IN_THE_END:
        try:
            offset = c.off(url)
            if offset is not None:
                answer = c.pa(url, offset, b"b" * (_SIZE - offset))
                if answer.status in SUCCESS:
                    return time.monotonic() - begun
        except (ConnectionEnded, BadAnswer, TimeoutError):
            """As a client that retries."""
        time.sleep(min(1.0, 0.1 + seconds))
    return seconds


@check("ROB-CONC-05")
def late_bytes_of_a_superseded_request(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-CONC-05", c.mk(_SIZE)
    with c.begin_patch(url, 0, _SIZE) as slow:
        slow.send(b"a" * _HALF)
        slow.has_more(within=_BEGUN)
        taken_over = _taken_over(c, url)
        slow.try_send(b"a" * _HALF)
        got = heard(slow, "PATCH")
    if taken_over is None:
        # It locks, and the first one has gone on: nothing was superseded.
        _complete(c, row, url, [b"a" * _SIZE])
        return
    c.expect(row, not is_taken(got), "no success for the request that was superseded", got)
    answer = c.hd(url)
    c.expect(row, answer.get("upload-offset") == str(_SIZE), f"Upload-Offset: {_SIZE}", answer)
    c.content(row, url, b"a" * taken_over + b"b" * (_SIZE - taken_over))


def _taken_over(c: Probe, url: str) -> int | None:
    """From which offset on a second request has brought the rest; None if it was kept out."""
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        offset = c.off(url)
        if offset is None:
            return None
        if c.pa(url, offset, b"b" * (_SIZE - offset)).status in SUCCESS:
            return offset
        time.sleep(0.2)
    return None


@check("ROB-CONC-06")
def parallel_creations(c: Probe) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: c.post({"Upload-Length": "4"}), range(50)))
    wrong = [each for each in answers if each.status != 201]
    c.demand("ROB-CONC-06", not wrong, "201", wrong[0] if wrong else "50 times")
    urls = [c.created(each) for each in answers]
    c.expect("ROB-CONC-06", len(set(urls)) == 50, "50 URLs", len(set(urls)))
    c.sent(urls[0], 0, b"data")
    offsets = {c.off(url) for url in urls[1:]}
    c.expect("ROB-CONC-06", offsets == {0}, "each at 0", str(offsets), probe="after one got bytes")


@check("ROB-CONC-07")
def uploads_do_not_mix(c: Probe) -> None:
    plain_upload(c)
    count, piece, pieces = 20, 16 * _KIB, 8
    urls = [c.mk(piece * pieces) for _ in range(count)]
    contents = [bytes([number + 1]) * (piece * pieces) for number in range(count)]

    def send(number: int) -> str:
        url, data = urls[number], contents[number]
        for offset in range(0, len(data), piece):
            answer = c.pa(url, offset, data[offset : offset + piece])
            if answer.get("upload-offset") != str(offset + piece):
                return f"{answer} to the PATCH at {offset}"
        return ""

    with ThreadPoolExecutor(count) as pool:
        faults = [each for each in pool.map(send, range(count)) if each]
    c.expect("ROB-CONC-07", not faults, "204 to each PATCH", faults[0] if faults else "")
    for url, data in zip(urls, contents, strict=True):
        c.content("ROB-CONC-07", url, data)


@check("ROB-CONC-08", alone=True)
def slow_uploads_do_not_hold_up_others(c: Probe) -> None:
    _cycle(c)
    stop = threading.Event()

    def drip(wires: list[Wire]) -> None:
        while not stop.wait(1.0):
            for wire in wires:
                wire.try_send(b"a")

    with ExitStack() as stack:
        urls = [c.mk(1000) for _ in range(10)]
        wires = [stack.enter_context(c.begin_patch(url, 0, 1000)) for url in urls]
        for wire in wires:
            wire.send(b"a")
        dripping = threading.Thread(target=drip, args=(wires,), daemon=True)
        dripping.start()
        try:
            slowest = max(_cycle(c) for _ in range(20))
        except (Unverifiable, TimeoutError) as error:
            c.expect("ROB-CONC-08", False, "a creation and a PATCH that work", str(error),
                     probe="beside 10 slow uploads")  # fmt: skip
            return
        finally:
            stop.set()
            dripping.join()
    c.expect("ROB-CONC-08", slowest < 2.0, "a creation and a PATCH in less than 2 s",
             f"{slowest:.1f} s", probe="beside 10 slow uploads")  # fmt: skip


def _cycle(c: Probe) -> float:
    begun = time.monotonic()
    c.made(b"data")
    return time.monotonic() - begun


@check("ROB-CONC-09")
def completion_happens_once(c: Probe) -> None:
    plain_upload(c)
    for _ in range(10):
        url = c.mk(10)
        c.sent(url, 0, b"hello")
        start = threading.Barrier(2)

        def finish(data: bytes, url: str = url, start: threading.Barrier = start) -> bool:
            with c.begin_patch(url, 5, 5) as wire:
                start.wait(10)
                wire.try_send(data)
                return is_taken(heard(wire, "PATCH"))

        with ThreadPoolExecutor(2) as pool:
            successes = sum(pool.map(finish, (b"world", b"there")))
        c.expect("ROB-CONC-09", successes <= 1, "one success at most", successes)
        if successes:
            offset = _settled(c, url)
            c.expect("ROB-CONC-09", offset == 10, "an offset of 10", offset)
