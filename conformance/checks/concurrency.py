"""ROB-CONC: several requests at once. How a server orders them is its own matter (it may lock,
queue, or let the newer one take over); what comes of it must be one consistent file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION
from conformance.hearing import heard, is_taken, plain_upload
from conformance.probe import GONE, SUCCESS, Probe
from conformance.race import Writer, judge, race
from conformance.tus import eventually, offset_of
from conformance.verdict import Unverifiable, Verdict
from conformance.wire import Answer, BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from conformance.wire import Wire

_KIB = 1024
_SIZE = 64 * _KIB
_HALF = _SIZE // 2
_OURS, _THEIRS = b"a" * _SIZE, b"b" * _SIZE
_BUSY = (409, 423)
_BEGUN = 0.3
"""Seconds in which the first bytes of a body have been taken."""
_QUEUED = 3.0
"""Seconds after which a request that is not answered waits for the one before."""
_ENOUGH = 4.0
"""Seconds of races: where each waits for a lock, only few take place."""
_AT_ONCE, _IN_THE_END = 5.0, 60.0
"""Seconds until an upload whose client has died can be resumed."""
_LONGEST_HEAD = 30.0
_FAST = 2.0


@check("ROB-CONC-01")
def parallel_patches_at_one_offset(c: Probe) -> None:
    plain_upload(c)
    begun = time.monotonic()
    for number in range(42):
        count, pieces = (2, 8)[number % 2], 1 + number // 2 % 3
        url = c.mk(_SIZE)
        bodies = [bytes([ord("a") + writer]) * _SIZE for writer in range(count)]
        probe = f"{count} PATCHes at once, in {pieces} pieces"
        judge(c, "ROB-CONC-01", url, race(c, url, 0, bodies, pieces), probe)
        if number >= 5 and time.monotonic() - begun > _ENOUGH:
            break


def _begun(c: Probe, url: str) -> Wire:
    """A PATCH of the whole upload, half of which has been sent."""
    wire = c.begin_patch(url, 0, _SIZE)
    wire.send(_OURS[:_HALF])
    wire.has_more(within=_BEGUN)
    return wire


def _settled(c: Probe, url: str) -> int | None:
    """The offset, once HEAD tells one."""
    found: list[int | None] = []

    def is_told() -> bool:
        found.append(offset_of(_patient_head(c, url)))
        return found[-1] is not None

    eventually(is_told, _AT_ONCE, every=0.2)
    return found[-1]


def _patient_head(c: Probe, url: str) -> Answer:
    with c.wire(url, timeout=_LONGEST_HEAD) as wire:
        wire.send(c.head("HEAD", url, VERSION))
        return wire.answer("HEAD")


@check("ROB-CONC-02")
def a_second_patch_during_a_slow_one(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(_SIZE)
    with _begun(c, url) as slow, c.begin_patch(url, 0, _SIZE) as second:
        second.try_send(_THEIRS)
        # Where it is queued, the first one must end before it is answered.
        second.has_more(within=_QUEUED)
        slow.try_send(_OURS[_HALF:])
        writers = [
            Writer(_OURS, heard(slow, "PATCH")),
            Writer(_THEIRS, heard(second, "PATCH")),
        ]
    judge(c, "ROB-CONC-02", url, writers, "PATCH at 0, half of it sent, and a whole one at 0")


@check("ROB-CONC-03")
def head_during_a_patch(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-CONC-03", c.mk(_SIZE)
    with _begun(c, url):
        seen = 0
        for _ in range(3):
            answer = _patient_head(c, url)
            if answer.status in _BUSY:
                c.say(row, Verdict.PASS, "an offset, 423 or 409", answer)
                continue
            offset = offset_of(answer)
            ok = offset is not None and seen <= offset <= _HALF
            c.demand(row, ok, f"an offset from {seen} to {_HALF}", answer)
            seen = offset or 0
    offset, probe = _settled(c, url), "HEAD when the PATCH has broken off"
    ok = offset is not None and seen <= offset <= _HALF
    c.expect(row, ok, f"an offset from {seen} to {_HALF}", offset, probe=probe)
    judge(c, row, url, [Writer(_OURS)], "PATCH from the offset that HEAD told")


@check("ROB-CONC-04")
def a_dead_connection_blocks_nothing(c: Probe) -> None:
    plain_upload(c)
    for how in ("silent", "reset"):
        url = c.mk(_SIZE)
        with _begun(c, url) as dead:
            if how == "reset":
                dead.reset()
            seconds = _resumed_after(c, url)
        verdict = Verdict.PASS if seconds <= _AT_ONCE else Verdict.WARN
        if seconds > _IN_THE_END:
            verdict = Verdict.FAIL
        c.say("ROB-CONC-04", verdict, f"resumed within {_AT_ONCE:.0f} s", f"{seconds:.1f} s",
              probe=f"HEAD and PATCH while the client before is {how}")  # fmt: skip


def _resumed_after(c: Probe, url: str) -> float:
    """Seconds until HEAD and PATCH from its offset have worked."""
    begun = time.monotonic()
    while (seconds := time.monotonic() - begun) <= _IN_THE_END:
        try:
            offset = c.off(url)
            if offset is not None:
                answer = c.pa(url, offset, _THEIRS[offset:])
                if answer.status in SUCCESS:
                    return time.monotonic() - begun
        except (ConnectionEnded, BadAnswer, TimeoutError):
            """As a client that retries."""
        time.sleep(min(1.0, 0.1 + seconds))
    return seconds


@check("ROB-CONC-05")
def late_bytes_of_a_superseded_request(c: Probe) -> None:
    plain_upload(c)
    url, probe = c.mk(_SIZE), "the rest of a PATCH when another has brought it"
    with _begun(c, url) as slow:
        newer = _taken_over(c, url)
        slow.try_send(_OURS[_HALF:])
        older = Writer(_OURS, heard(slow, "PATCH"))
    _judge_superseded(c, url, older, newer, probe)


@check("ROB-CONC-05")
def late_bytes_among_those_of_a_newer_request(c: Probe) -> None:
    plain_upload(c)
    url, probe = c.mk(_SIZE), "the rest of a PATCH while another brings it"
    with _begun(c, url) as slow:
        offset = _settled(c, url)
        if offset is None:
            raise Unverifiable("HEAD tells no offset while a PATCH runs")
        rest = _THEIRS[offset:]
        middle = len(rest) // 2
        with c.begin_patch(url, offset, len(rest)) as fast:
            fast.try_send(rest[:middle])
            fast.has_more(within=_BEGUN)
            slow.try_send(_OURS[_HALF:])
            slow.has_more(within=_BEGUN)
            fast.try_send(rest[middle:])
            newer = Writer(_OURS[:offset] + rest, heard(fast, "PATCH"))
        older = Writer(_OURS, heard(slow, "PATCH"))
    _judge_superseded(c, url, older, newer, probe)


def _taken_over(c: Probe, url: str) -> Writer | None:
    """Who brings the rest from where HEAD says that it goes on; None where that tells nothing."""
    deadline = time.monotonic() + _QUEUED
    while (offset := _settled(c, url)) is not None:
        answer = c.pa(url, offset, _THEIRS[offset:])
        if answer.status in SUCCESS or time.monotonic() > deadline:
            return Writer(_OURS[:offset] + _THEIRS[offset:], answer)
        time.sleep(0.2)
    return None


def _judge_superseded(c: Probe, url: str, older: Writer, newer: Writer | None, probe: str) -> None:
    row = "ROB-CONC-05"
    if newer is not None and newer.has_finished:
        # One that tells truly how far it has come misleads no client.
        broken = Verdict.FAIL if older.has_finished else Verdict.WARN
        is_told = older.got is not None and not is_taken(older.got)
        c.expect(row, is_told, "an error or a closed connection for the older PATCH", older.got,
                 probe=probe, broken=broken)  # fmt: skip
    judge(c, row, url, [older] if newer is None else [older, newer], probe)
    answer = c.hd(url)
    if answer.status not in GONE:
        c.expect(row, answer.get("upload-length") == str(_SIZE), f"Upload-Length: {_SIZE}",
                 answer, probe=probe)  # fmt: skip


@check("ROB-CONC-06")
def parallel_creations(c: Probe) -> None:
    row, lengths = "ROB-CONC-06", range(1, 51)
    with ExitStack() as stack:
        wires = [stack.enter_context(c.wire()) for _ in lengths]
        for wire, length in zip(wires, lengths, strict=True):
            headers = {**VERSION, "Upload-Length": str(length), "Content-Length": "0"}
            wire.send(c.head("POST", c.url, headers)[:-1])
        for wire in wires:
            wire.try_send(b"\n")
        got = [heard(wire, "POST") for wire in wires]
    answers = [each for each in got if isinstance(each, Answer)]
    if any(each.status == 429 for each in answers):
        c.give_up("so many creations at once are not allowed: 429")
    wrong = [each for each in got if not isinstance(each, Answer) or each.status != 201]
    c.demand(row, not wrong, "201 to each of 50", wrong[0] if wrong else "50 times")
    urls = [c.created(each) for each in answers]
    c.expect(row, len(set(urls)) == len(urls), "50 URLs", len(set(urls)))
    c.sent(urls[0], 0, b"d")
    for number, url in enumerate(urls):
        answer, offset = c.hd(url), 0 if number else 1
        told = (answer.get("upload-offset"), answer.get("upload-length"))
        if not number and answer.status in GONE:
            continue
        c.expect(row, told == (str(offset), str(lengths[number])),
                 f"offset {offset} of {lengths[number]}", answer)  # fmt: skip


@check("ROB-CONC-07")
def uploads_do_not_mix(c: Probe) -> None:
    plain_upload(c)
    count, piece, pieces = 20, 16 * _KIB, 8
    size = min(piece * pieces, c.discovery.max_size or piece * pieces)
    urls = [c.mk(size) for _ in range(count)]
    contents = [hashlib.shake_128(bytes([number])).digest(size) for number in range(count)]

    def send(number: int) -> str:
        url, data = urls[number], contents[number]
        for offset in range(0, size, piece):
            part = data[offset : offset + piece]
            answer = c.pa(url, offset, part)
            if answer.get("upload-offset") != str(offset + len(part)):
                return f"{answer} to the PATCH at {offset}"
        return ""

    with ThreadPoolExecutor(count) as pool:
        faults = [each for each in pool.map(send, range(count)) if each]
    c.expect("ROB-CONC-07", not faults, "204 to each PATCH", faults[0] if faults else "")
    for url, data in zip(urls, contents, strict=True):
        c.content("ROB-CONC-07", url, data)


@check("ROB-CONC-08", alone=True)
def slow_uploads_do_not_hold_up_others(c: Probe) -> None:
    row, probe, stop = "ROB-CONC-08", "beside 10 slow uploads", threading.Event()
    _cycle(c)

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
            slowest = _slowest(c)
        except (Unverifiable, TimeoutError) as error:
            c.expect(row, False, "a creation and a PATCH that work", str(error), probe=probe)
            return
        finally:
            stop.set()
            dripping.join()
    c.expect(row, slowest < _FAST, f"a creation and a PATCH in less than {_FAST:.0f} s",
             f"{slowest:.1f} s", probe=probe)  # fmt: skip


def _slowest(c: Probe) -> float:
    """Of 20 uploads, or the first one that is slow, as the others will be too."""
    slowest = 0.0
    for _ in range(20):
        slowest = max(slowest, _cycle(c))
        if slowest >= _FAST:
            break
    return slowest


def _cycle(c: Probe) -> float:
    begun = time.monotonic()
    c.made(b"data")
    return time.monotonic() - begun


@check("ROB-CONC-09")
def completion_happens_once(c: Probe) -> None:
    plain_upload(c)
    begun = time.monotonic()
    for number in range(20):
        url = c.mk(10)
        c.sent(url, 0, b"hello")
        raced = race(c, url, 5, [b"a" * 5, b"b" * 5])
        writers = [Writer(b"hello" + each.data, each.got) for each in raced]
        judge(c, "ROB-CONC-09", url, writers, "two PATCHes at once, each with the rest")
        if number >= 1 and time.monotonic() - begun > _ENOUGH:
            break
