"""ROB-HTTP: where a request ends, and that nothing of its body is taken for another one."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import heard, heard_all, is_refused, is_taken, plain_upload
from conformance.tus import chunked_headers, offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.hearing import NoAnswer
    from conformance.probe import Probe

_LAST = {"Connection": "close"}
_BASE = (*VERSION.items(), *OCTETS.items(), ("Upload-Offset", "0"))


def http_1_0(data: bytes) -> bytes:
    """The same request in the version before."""
    return data.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)


# Pipelining.


@check("ROB-HTTP-05")
def pipelined_patches(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-HTTP-05", c.mk(4)
    look = c.head("HEAD", url, VERSION)
    last = c.head("HEAD", url, {**VERSION, **_LAST})
    patches = [c.head("PATCH", url, patch_headers(at, 2)) + b"abcd"[at : at + 2] for at in (0, 2)]
    with c.wire(url) as wire:
        wire.send(look + b"".join(patches) + last)
        answers = heard_all(wire, "HEAD", "PATCH", "PATCH", "HEAD")
    # A server that closes after an earlier answer is right too.
    c.demand(row, 1 <= len(answers) <= 4, "four answers, or a close after an earlier one",
             f"{len(answers)} answers")  # fmt: skip
    for number, (answer, offset) in enumerate(zip(answers, (0, 2, 4, 4), strict=False), start=1):
        told = offset_of(answer) if isinstance(answer, Answer) else None
        good = is_taken(answer) and told in (None, offset)
        c.demand(row, good, f"Upload-Offset: {offset}", answer, probe=f"answer {number} of 4")
    if len(answers) >= 3:
        c.expect(row, c.off(url) == 4, "Upload-Offset: 4", c.off(url), probe="afterwards")
        c.content(row, url, b"abcd", "afterwards")


@check("ROB-HTTP-05")
def pipelined_creations(c: Probe) -> None:
    plain_upload(c)
    if not c.has("creation"):
        return
    row, create = "ROB-HTTP-05", {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
    with c.wire() as wire:
        wire.send(c.head("POST", c.url, create) + c.head("POST", c.url, {**create, **_LAST}))
        answers = heard_all(wire, "POST", "POST")
    probe = "two POST in one write"
    locations = []
    for answer in answers:
        created = isinstance(answer, Answer) and answer.status == 201
        c.demand(row, created, "201", answer, probe=probe)
        locations += answer.all("location")[:1] if isinstance(answer, Answer) else []
    good = len(answers) in (1, 2) and len(set(locations)) == len(locations)
    c.expect(row, good, "an upload each", f"{len(answers)}: {locations}", probe=probe)


# Bodies of refused requests.


@dataclass(frozen=True)
class _Doomed:
    """A PATCH that is refused by its head. What comes behind that comes `is_late` only after the
    refusal.
    """

    probe: str
    url: str
    start: bytes
    rest: bytes
    is_late: bool


def _doomed(c: Probe, bystander: str) -> list[_Doomed]:
    """Refused for all kinds of reasons; the body is a request that would do harm."""
    body, made = _harm(c, bystander), []
    for is_chunked, is_late in product((False, True), repeat=2):
        url = c.mk(1000)
        kinds: tuple[tuple[str, str, int, dict[str, str]], ...] = (
            ("wrong offset", url, 5, {}),
            ("unknown upload", c.stranger(url), 0, {}),
            ("wrong version", url, 0, {"Tus-Resumable": "0.2.2"}),
            ("wrong type", url, 0, {"Content-Type": "text/plain"}),
            ("too long", c.mk(10), 0, {}),
        )
        for name, named, offset, headers in kinds:
            common = chunked_headers(offset) if is_chunked else patch_headers(offset, len(body))
            made.append(
                _Doomed(
                    f"{name}{', chunked' * is_chunked}{', body later' * is_late}",
                    named,
                    c.head("PATCH", named, {**common, **headers}),
                    (chunked(body) if is_chunked else body) + c.head("OPTIONS", c.url, _LAST),
                    is_late,
                )
            )
    return made


@check("ROB-HTTP-06")
def left_over_bodies(c: Probe) -> None:
    plain_upload(c)
    row, bystander = "ROB-HTTP-06", c.mk(10)
    doomed = _doomed(c, bystander)
    with ExitStack() as stack:
        wires = [stack.enter_context(c.wire(each.url)) for each in doomed]
        for wire, each in zip(wires, doomed, strict=True):
            wire.send(each.start if each.is_late else each.start + each.rest)
        # Some answer only when the body has come.
        deadline = time.monotonic() + 0.5
        for wire, each in zip(wires, doomed, strict=True):
            if each.is_late:
                wire.has_more(within=max(0.0, deadline - time.monotonic()))
                wire.try_send(each.rest)
        for wire, each in zip(wires, doomed, strict=True):
            answers = heard_all(wire, "PATCH", "OPTIONS")
            good = len(answers) < 2
            if len(answers) == 2 and isinstance(answers[1], Answer):
                good = answers[1].status == c.discovery.options.status
            c.expect(row, good, "two answers, the second to OPTIONS, or a close after the first",
                     _summary(answers), probe=each.probe)  # fmt: skip
    c.intact(row, bystander, 0, b"0123456789", probe="the upload that the bodies name")


def _summary(answers: list[Answer | NoAnswer]) -> Answer | NoAnswer | str:
    """The first answer that should not be there, or how many there are."""
    return answers[1] if len(answers) > 1 else f"{len(answers)} answers"


def _harm(c: Probe, bystander: str) -> bytes:
    if c.has("termination"):
        return c.head("DELETE", bystander, {**VERSION, "Content-Length": "0"})
    return c.head("PATCH", bystander, patch_headers(0, 1)) + b"x"


# Framing.

_CHUNKED = ("Transfer-Encoding", "chunked")
_BOTH = {
    "length of all, then chunked": [("Content-Length", "15"), _CHUNKED],
    "chunked, then length of all": [_CHUNKED, ("Content-Length", "15")],
    "chunked, then length of less": [_CHUNKED, ("Content-Length", "5")],
}


def _framed(
    c: Probe,
    url: str,
    framing: list[tuple[str, str]],
    version: Callable[[bytes], bytes] = bytes,
) -> list[Answer | NoAnswer]:
    """The answers to a chunked `hello` that is announced so, and to OPTIONS behind it."""
    with c.wire(url) as wire:
        start = version(c.head("PATCH", url, [*_BASE, *framing]))
        wire.send(start + chunked(b"hello") + c.head("OPTIONS", c.url, _LAST))
        return heard_all(wire, "PATCH", "OPTIONS")


def _judge_state(c: Probe, url: str, is_stored: bool, probe: str) -> None:
    """Nothing, or just what the chunks held."""
    row, story = "ROB-HTTP-07", b"hello, and the rest."
    stands = 5 if is_stored else 0
    if c.intact(row, url, stands, story[stands:], probe):
        c.content(row, url, story, probe)


@check("ROB-HTTP-07")
def length_and_chunked(c: Probe) -> None:
    plain_upload(c)
    row = "ROB-HTTP-07"
    for probe, framing in _BOTH.items():
        url = c.mk(20)
        answers = _framed(c, url, framing)
        if not answers or is_refused(answers[0]):
            _judge_state(c, url, False, probe)
            continue
        good = is_taken(answers[0])
        c.demand(row, good, "400, or 204 and a close", answers[0], probe=probe)
        c.expect(row, len(answers) == 1, "a close after the answer", answers[-1], probe=probe)
        _judge_state(c, url, True, probe)


@check("ROB-HTTP-07")
def other_codings(c: Probe) -> None:
    plain_upload(c)
    for coding in ("gzip, chunked", "xchunked", "chunked, chunked"):
        url = c.mk(20)
        answers = _framed(c, url, [("Transfer-Encoding", coding)])
        good = not answers or _is_unknown(answers[0])
        got = answers[0] if answers else "no answer"
        c.expect("ROB-HTTP-07", good, "400 or 501", got, probe=coding)
        _judge_state(c, url, not good and c.off(url) == 5, coding)


@check("ROB-HTTP-07")
def chunked_in_http_1_0(c: Probe) -> None:
    plain_upload(c)
    row, probe, url = "ROB-HTTP-07", "chunked in HTTP/1.0", c.mk(20)
    answers = _framed(c, url, [_CHUNKED], http_1_0)
    got = answers[0] if answers else "no answer"
    good = not answers or _is_unknown(answers[0])
    # RFC 9112 lets a server process it, as long as it closes the connection then.
    is_harmless = len(answers) == 1 and is_taken(answers[0])
    broken = Verdict.WARN if is_harmless else Verdict.FAIL
    c.expect(row, good, "400 or 501", got, probe=probe, broken=broken)
    _judge_state(c, url, not good and c.off(url) == 5, probe)


def _is_unknown(got: Answer | NoAnswer) -> bool:
    return is_refused(got) or (isinstance(got, Answer) and got.status == 501)


_LENGTHS: dict[str, list[str]] = {
    "-1": ["-1"],
    "+5": ["+5"],
    "5, 5": ["5, 5"],
    "5,6": ["5,6"],
    "5 and 6 in two lines": ["5", "6"],
    "6 and 5 in two lines": ["6", "5"],
    "0x5": ["0x5"],
    "5_0": ["5_0"],
    "an Arabic 5": ["٥".encode().decode("latin-1")],
    "30 digits": ["9" * 30],
}


@check("ROB-HTTP-08")
def bad_content_length(c: Probe) -> None:
    plain_upload(c)
    row, story = "ROB-HTTP-08", b"hello " * 10
    for probe, values in _LENGTHS.items():
        url = c.mk(len(story))
        lines = [("Content-Length", value) for value in values]
        with c.wire(url) as wire:
            wire.send(c.head("PATCH", url, [*_BASE, *lines]) + story[:5])
            got = heard(wire, "PATCH")
        is_accepted = probe == "5, 5" and is_taken(got)
        good = is_refused(got) or is_accepted
        expected = "400 (or 204, as both are the same)" if probe == "5, 5" else "400"
        c.demand(row, good, expected, got, probe=probe)
        c.intact(row, url, 5 if is_accepted else 0, probe=probe)


@check("ROB-HTTP-08")
def content_length_twice(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    with c.wire(url) as wire:
        wire.send(c.head("PATCH", url, [*_BASE, *[("Content-Length", "5")] * 2]) + b"hello")
        got = heard(wire, "PATCH")
    probe = "5 and 5 in two lines"
    if c.expect("ROB-HTTP-08", is_taken(got) or is_refused(got), "400, or 204", got, probe=probe):
        c.intact("ROB-HTTP-08", url, 5 if is_taken(got) else 0, probe=probe)
