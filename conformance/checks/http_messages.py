"""ROB-HTTP: expectations, kept connections, methods, bodies, and what answers look like."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import NoAnswer, heard, heard_all, is_refused, is_taken, plain_upload
from conformance.probe import CLIENT_ERRORS, SUCCESS
from conformance.tus import chunked_headers, offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from conformance.probe import Probe
    from conformance.wire import Wire

MIB = 1024 * 1024
_EXPECT = {"Expect": "100-continue"}
_ASKED_WITHIN = 3.0
"""Seconds in which a body that is held back is asked for."""
_POST = {**VERSION, **OCTETS}


# Expect.


@check("ROB-HTTP-01")
def body_that_is_held_back(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    if _hold_back(c, "PATCH", url, patch_headers(0, 5, _EXPECT)):
        c.expect("ROB-HTTP-01", c.off(url) == 5, "Upload-Offset: 5", c.off(url), probe="PATCH")
    if c.has("cwu"):
        headers = {**_POST, **_EXPECT, "Upload-Length": "5", "Content-Length": "5"}
        _hold_back(c, "POST", c.url, headers)


def _hold_back(c: Probe, method: str, url: str, headers: dict[str, str]) -> bool:
    with c.wire(url) as wire:
        wire.send(c.head(method, url, headers))
        status = _first_status(wire)
        if status in (None, 100):
            wire.try_send(b"hello")
        got = heard(wire, method)
    is_deadlock = isinstance(got, NoAnswer) and not got.is_end
    probe = method if status == 100 else f"{method}, no 100 in {_ASKED_WITHIN:g} seconds"
    return c.expect("ROB-HTTP-01", status == 100 and is_taken(got), "100, then 2xx", got,
                    probe=probe, broken=Verdict.FAIL if is_deadlock else None)  # fmt: skip


def _first_status(wire: Wire) -> int | None:
    """100, or the final one, which stays to be read; None when nothing comes."""
    status = wire.interim(_ASKED_WITHIN)
    while status is not None and 100 < status < 200:
        status = wire.interim(_ASKED_WITHIN)
    return status


@check("ROB-HTTP-02")
def doomed_body_that_is_held_back(c: Probe) -> None:
    url, create = c.mk(1000), {**_POST, "Upload-Length": "1000", "Content-Length": "1000"}
    for probe, method, asked, headers in (
        ("wrong offset", "PATCH", url, patch_headers(5, 1000)),
        ("wrong type", "PATCH", url, patch_headers(0, 1000, {"Content-Type": "text/plain"})),
        ("too long", "PATCH", c.mk(10), patch_headers(0, 1000)),
        ("unknown upload", "PATCH", c.stranger(url), patch_headers(0, 1000)),
        ("creation with a bad length", "POST", c.url, {**create, "Upload-Length": "many"}),
    ):
        _doomed(c, probe, method, asked, headers)
    if c.discovery.max_size is not None:
        too_much = {**create, "Upload-Length": str(c.discovery.max_size + 1)}
        _doomed(c, "creation beyond the maximum", "POST", c.url, too_much)


def _doomed(c: Probe, probe: str, method: str, url: str, headers: dict[str, str]) -> None:
    row, body = "ROB-HTTP-02", b"x" * 1000
    with c.wire(url) as wire:
        wire.send(c.head(method, url, {**headers, **_EXPECT}))
        status = _first_status(wire)
        if status in (None, 100):
            wire.try_send(body)
        got = heard(wire, method)
        if is_taken(got):
            return  # That it is not refused is not what is judged here.
        expected = "the refusal at once, without 100"
        if status in (None, 100):
            broken = Verdict.INFO if is_refused(got) and status == 100 else None
            c.expect(row, False, expected, got, probe=probe, broken=broken)
        else:
            c.expect(row, is_refused(got), expected, got, probe=probe)
            # Whether the client sends the body after all is anybody's guess.
            wire.try_send(body)
        wire.try_send(c.head("OPTIONS", c.url, {"Connection": "close"}))
        rest = heard_all(wire, "OPTIONS")
    good = not rest or (len(rest) == 1 and is_taken(rest[0]))
    c.expect(row, good, "a close, or a body that is thrown away", rest[0] if rest else "",
             probe=f"{probe}, what comes behind")  # fmt: skip


@check("ROB-HTTP-03")
def unknown_expectation(c: Probe) -> None:
    answer = c.pa(c.mk(5), 0, b"hello", {"Expect": "foo"})
    good = answer.status == 417 or answer.status in SUCCESS
    c.expect("ROB-HTTP-03", good, "417, or 204", answer, probe="Expect: foo")


# Kept connections.


@check("ROB-HTTP-04")
def kept_connection(c: Probe) -> None:
    plain_upload(c)
    row, size = "ROB-HTTP-04", 16
    with c.wire() as wire:

        def asked(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
            wire.send(c.head(method, url, headers) + body)
            got = heard(wire, method)
            c.demand(row, is_taken(got), "an answer of 2xx on the same connection", got,
                     probe=method)  # fmt: skip
            assert isinstance(got, Answer)
            return got

        if c.has("creation"):
            create = {**VERSION, "Upload-Length": str(size), "Content-Length": "0"}
            url = c.created(asked("POST", c.url, create))
        else:
            url = c.mk(size)
        asked("HEAD", url, VERSION)
        for offset in range(size):
            asked("PATCH", url, patch_headers(offset, 1), b"x")
        offset_told = offset_of(asked("HEAD", url, VERSION))
        c.expect(row, offset_told == size, f"Upload-Offset: {size}", offset_told)
        if c.has("termination"):
            wire.send(c.head("DELETE", url, VERSION))
            got = heard(wire, "DELETE")
            c.expect(row, isinstance(got, Answer), "an answer", got, probe="DELETE")


@check("ROB-HTTP-04")
def connection_that_is_to_be_closed(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    with c.wire(url) as wire:
        wire.send(c.head("HEAD", url, {**VERSION, "Connection": "close"}))
        answer = wire.answer("HEAD")
        closed = wire.is_ended(within=5.0)
    c.expect("ROB-HTTP-04", closed, "a close after the answer", answer, probe="Connection: close")


# Methods, and the shape of answers.


@check("ROB-HTTP-15")
def unsupported_methods(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-HTTP-15", c.mk(5)
    headers = {**VERSION, **OCTETS, "Upload-Offset": "0", "Content-Length": "5"}
    for method in ("PUT", "POST", "TRACE", "CONNECT", "FOO"):
        sent = {**headers, "Upload-Length": "5"} if method == "POST" else headers
        answer = c.request(method, url, sent, b"hello")
        _refused_method(c, answer, f"{method} on an upload")
        if method == "POST":
            created = answer.status == 201 or "location" in answer
            c.expect(row, not created, "no creation", answer, probe=f"{method} on an upload")
        c.expect(row, c.off(url) == 0, "no effect", c.off(url), probe=f"{method} on an upload")
    for method in ("PATCH", "PUT"):
        answer = c.request(method, c.url, headers, b"hello")
        _refused_method(c, answer, f"{method} on the creation URL")
    # Elsewhere it may be a folder that is deleted with all that is in it: only where it is told
    # not to be served.
    if answer.status == 405 and "delete" not in (answer.get("allow") or "delete").lower():
        _refused_method(c, c.delete(c.url), "DELETE on the creation URL")


def _refused_method(c: Probe, answer: Answer, probe: str) -> None:
    row = "ROB-HTTP-15"
    c.status(row, answer, (405, 404, 400, 501), infos=CLIENT_ERRORS, probe=probe,
             expected="405, 404, 400 or 501")  # fmt: skip
    if answer.status == 405:
        c.expect(row, "allow" in answer, "Allow in a 405", answer, probe=probe)


@check("ROB-HTTP-16")
def get_is_sane(c: Probe) -> None:
    row, url = "ROB-HTTP-16", c.mk(10)
    c.sent(url, 0, b"hello")
    for data, rest in ((b"hello", b"world"), (b"helloworld", b"")):
        probe = f"GET at {len(data)} of 10"
        answer = c.get(url)
        # To another place where the content is.
        c.status(row, answer, (200, 204, 404, 405, 403), infos=(301, 302, 303, 307, 308),
                 expected="200, 204, 403, 404 or 405", probe=probe)  # fmt: skip
        if answer.status == 200:
            c.expect(row, answer.body == data, f"the {len(data)} bytes that are there",
                     f"{len(answer.body):,} bytes: {answer.body[:60]!r}", probe=probe)  # fmt: skip
        if rest:
            c.sent(url, 5, rest)


@check("ROB-HTTP-17")
def no_content_has_no_framing(c: Probe) -> None:
    url = c.mk(10)
    answers = {"PATCH": c.pa(url, 0, b"hello"), "PATCH to the end": c.pa(url, 5, b"world")}
    if c.has("termination"):
        answers["DELETE"] = c.delete(url)
    for probe, answer in answers.items():
        if answer.status == 204:
            plain = not {"transfer-encoding", "content-length"} & {key for key, _ in answer.headers}
            c.expect("ROB-HTTP-17", plain, "neither Transfer-Encoding nor Content-Length", answer,
                     probe=probe)  # fmt: skip


# Bodies.


@check("ROB-HTTP-14")
def content_codings_are_not_undone(c: Probe) -> None:
    plain_upload(c)
    row, coded = "ROB-HTTP-14", gzip.compress(b"hello", mtime=0)
    url = c.mk(len(coded))
    answer = c.pa(url, 0, coded, {"Content-Encoding": "gzip"})
    probe = "5 bytes that gzip makes into " + str(len(coded))
    if answer.status in SUCCESS:
        offset = c.off(url)
        if c.expect(row, offset == len(coded), f"Upload-Offset: {len(coded)}", offset, probe=probe):
            c.content(row, url, coded, probe)
    else:
        c.status(row, answer, (415,), warns=CLIENT_ERRORS, expected="415, or 204", probe=probe)
        c.intact(row, url, 0, coded, probe)


@check("ROB-HTTP-20")
def odd_but_legal_bodies(c: Probe) -> None:
    plain_upload(c)
    data = bytes(number % 251 for number in range(1000))
    ones = chunked(*(data[at : at + 1] for at in range(len(data))))
    pieces = [data[at : at + 250] for at in range(0, 1000, 250)]
    extended = b"".join(b"fa;a=b\r\n%s\r\n" % piece for piece in pieces)
    for probe, body in {
        "1000 chunks of one byte": ones,
        "chunk extensions": extended + b"0;last\r\n\r\n",
        "leading zeros in sizes": b"0003e8\r\n" + data + b"\r\n000\r\n\r\n",
        "body in the segment of the head": b"",
    }.items():
        url = c.mk(1000)
        headers = chunked_headers(0) if body else patch_headers(0, 1000)
        with c.wire(url) as wire:
            wire.send(c.head("PATCH", url, headers) + (body or data))
            _right(c, heard(wire, "PATCH"), url, 1000, probe)
        c.content("ROB-HTTP-20", url, data, probe)


@check("ROB-HTTP-20")
def empty_bodies_after_expect(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    for probe, headers, body in (
        ("no bytes, held back", patch_headers(5, 0, _EXPECT), b""),
        ("no chunks, held back", chunked_headers(5, _EXPECT), chunked()),
    ):
        with c.wire(url) as wire:
            wire.send(c.head("PATCH", url, headers) + body)
            got = heard(wire, "PATCH")
        if isinstance(got, Answer) and got.status == 417:
            continue  # It knows no expectations, which is another matter.
        _right(c, got, url, 5, probe)


def _right(c: Probe, got: Answer | NoAnswer, url: str, offset: int, probe: str) -> None:
    c.expect("ROB-HTTP-20", is_taken(got), "204", got, probe=probe)
    found = c.off(url)
    c.expect("ROB-HTTP-20", found == offset, f"Upload-Offset: {offset}", found, probe=probe)


_EAGER_FOR = 1.5
"""Seconds after which no further run is begun as long as all went well: not to load a slow line."""


@check("ROB-HTTP-18", alone=True)
def early_refusal_is_readable(c: Probe) -> None:
    size = min(100 * MIB, c.target.big_ok, c.discovery.max_size or 100 * MIB)
    url, begun = c.mk(size), time.monotonic()
    seen: list[Answer | NoAnswer] = []
    lost: list[Answer | NoAnswer] = []
    while len(seen) + len(lost) < 10 and len(lost) < 2:
        got = _eager(c, url, size)
        (seen if isinstance(got, Answer) and is_refused(got) else lost).append(got)
        if not lost and time.monotonic() - begun > _EAGER_FOR:
            break
    expected = "the refusal, in at least 9 of 10 runs"
    c.expect("ROB-HTTP-18", len(lost) < 2, expected, (lost or seen)[-1],
             probe=f"{size:,} bytes, sent eagerly: {len(seen)} seen, {len(lost)} lost")  # fmt: skip


def _eager(c: Probe, url: str, size: int) -> Answer | NoAnswer:
    """The answer to a PATCH at a wrong offset, read only when all is sent."""
    piece = bytes(MIB)
    with c.begin_patch(url, 1, size) as wire:
        for _ in range(size // MIB):
            if not wire.try_send(piece):
                break
        return heard(wire, "PATCH")
