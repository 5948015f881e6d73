"""CWU: bytes that come with the creation (creation-with-upload)."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION, items
from conformance.hearing import heard, is_refused
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import offset_of
from conformance.verdict import Verdict
from conformance.wire import Answer, Wire, chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.hearing import NoAnswer

_PATIENCE = 3.0
"""Seconds in which a server asks for a body that is held back."""
_CHUNKED = {"Transfer-Encoding": "chunked"}


def _create(c: Probe, headers: Mapping[str, str], data: bytes) -> Answer:
    """The answer to a creation that brings these bytes."""
    return c.post({**OCTETS, **headers}, data)


def _create_chunked(c: Probe, headers: Mapping[str, str], *pieces: bytes) -> Answer | NoAnswer:
    """The same of bytes whose number is not announced; a closed connection may be an answer too."""
    with c.wire() as wire:
        wire.send(c.head("POST", c.url, {**VERSION, **OCTETS, **_CHUNKED, **headers}))
        wire.try_send(chunked(*pieces))
        return heard(wire, "POST")


def _create_announced(c: Probe, headers: Mapping[str, str], data: bytes) -> Answer | NoAnswer:
    """The same of bytes whose number is announced."""
    length = {"Content-Length": str(len(data))}
    with c.wire() as wire:
        wire.send(c.head("POST", c.url, {**VERSION, **OCTETS, **length, **headers}))
        wire.try_send(data)
        return heard(wire, "POST")


def _plain_creation(c: Probe) -> None:
    """Raises Unverifiable when bytes with a creation do not even work without any trouble."""
    c.created(_create(c, {"Upload-Length": "5"}, b"hello"))


def _plain_upload(c: Probe) -> None:
    """Raises Unverifiable when an upload without any trouble does not work, or HEAD does not tell
    how it stands.
    """
    url = c.mk(10)
    for offset in (0, 5):
        head = c.hd(url)
        if head.get("upload-offset") != str(offset):
            c.give_up(f"HEAD of a plain upload at {offset} does not tell this: {head}")
        c.sent(url, offset, b"hello")


# How it is announced


@check("CWU-01", "CWU-02")
def creation_with_upload_is_announced(c: Probe) -> None:
    options = c.options()
    announced = items(options.get("tus-extension"))
    is_announced = "creation-with-upload" in announced
    answer = _create(c, {"Upload-Length": "10"}, b"hello")
    offset = offset_of(answer) if answer.status == 201 else None
    told = f"Upload-Offset: {offset}" if offset is not None else "no Upload-Offset"
    c.expect("CWU-01", is_announced or not offset, "creation-with-upload in Tus-Extension",
             options if offset else answer,
             probe=f"POST with 5 bytes: {answer.status}, {told}")  # fmt: skip
    ok = not is_announced or "creation" in announced
    c.expect("CWU-02", ok, "creation beside creation-with-upload", options)


# What becomes of the bytes


@check("CWU-05")
def as_many_bytes_as_possible(c: Probe) -> None:
    _plain_upload(c)
    answer = _create(c, {"Upload-Length": "10"}, b"hello")
    url = c.created(answer)
    offset = offset_of(answer)
    if offset is None:
        offset = c.off(url)
    if offset is None:
        c.give_up(f"neither POST nor HEAD tells the offset: {answer}")
    c.expect("CWU-05", offset == 5, "Upload-Offset: 5", answer, probe="POST with 5 of 10 bytes")


@check("CWU-06")
def the_201_tells_the_offset(c: Probe) -> None:
    _plain_upload(c)
    large = bytes(range(256)) * 1200
    for data, sent in ((b"helloworld", 5), (b"helloworld", 10), (large, len(large) - 5)):
        headers = {"Upload-Length": str(len(data))}
        answer, probe = _create(c, headers, data[:sent]), f"POST with {sent} of {len(data)} bytes"
        _judge_offset(c, answer, data, sent, probe)
    got = _create_chunked(c, {"Upload-Length": "10"}, b"he", b"llo")
    if isinstance(got, Answer) and got.status == 201:
        _judge_offset(c, got, b"helloworld", 5, "POST with 5 of 10 bytes, chunked")


def _judge_offset(c: Probe, answer: Answer, data: bytes, sent: int, probe: str) -> None:
    """By HEAD, and by whether the rest fits there. Fewer bytes than came are a row of its own."""
    row, url = "CWU-06", c.created(answer)
    told = answer.all("upload-offset")
    offset = offset_of(answer)
    ok = len(told) == 1 and offset is not None and offset <= sent
    if not c.expect(row, ok, f"one Upload-Offset, of {sent}", answer, probe=probe):
        return
    head = c.hd(url)
    if head.status in GONE and offset == len(data):
        return  # Complete, and moved away.
    if head.status not in SUCCESS or offset_of(head) is None:
        c.give_up(f"HEAD does not tell an offset: {head}")
    same = f"Upload-Offset: {offset}, as in the 201"
    if not c.expect(row, offset_of(head) == offset, same, head, probe=f"{probe}, then HEAD"):
        return
    assert offset is not None
    if offset < len(data):
        rest = c.pa(url, offset, data[offset:])
        ok = rest.status in SUCCESS
        c.expect(row, ok, "204", rest, probe=f"{probe}, then PATCH at {offset}")
    elif head.get("upload-length") not in (None, str(len(data))):
        c.expect(row, False, f"Upload-Length: {len(data)}", head, probe=f"{probe}, then HEAD")
    c.content(row, url, data, probe)


@check("CWU-07")
def a_body_with_another_label(c: Probe) -> None:
    _plain_creation(c)
    for kind in ("text/plain", "application/octet-stream"):
        answer = c.post({"Upload-Length": "5", "Content-Type": kind}, b"hello")
        stored = ""
        if answer.status == 201 and "location" in answer:
            stored = f", the upload is at {c.off(c.created(answer))}"
        c.status("CWU-07", answer, (415,), probe=f"Content-Type: {kind}, 5 bytes{stored}")


@check("CWU-10")
def a_body_longer_than_the_upload(c: Probe) -> None:
    _plain_creation(c)
    length, data = {"Upload-Length": "5"}, b"helloworld"
    _judge_excess(c, _create_announced(c, length, data), "10 bytes for 5")
    got = _create_chunked(c, length, data[:4], data[4:])
    _judge_excess(c, got, "10 bytes for 5, chunked")


def _judge_excess(c: Probe, got: Answer | NoAnswer, probe: str) -> None:
    row, offset, broken = "CWU-10", None, None
    if isinstance(got, Answer) and "location" in got:
        head = c.hd(c.target.resolve(got.all("location")[0]))
        offset = offset_of(head)
        ok = offset is None or offset <= 5
        c.expect(row, ok, "Upload-Offset: 5 at most", head,
                 probe=f"{probe}, then HEAD of the Location")  # fmt: skip
        if got.status == 201 and offset == 0:
            # One who makes an upload and takes nothing of the body has done no harm.
            broken = Verdict.WARN
    c.expect(row, is_refused(got), "4xx", got, probe=probe, broken=broken)


@check("CWU-11")
def a_body_without_the_extension(c: Probe) -> None:
    row, probe = "CWU-11", "POST with 5 of 10 bytes"
    c.mk(10)
    usual = c.options()
    headers = {**VERSION, **OCTETS, "Upload-Length": "10", "Content-Length": "5"}
    with c.wire() as wire:
        wire.send(c.head("POST", c.url, headers) + b"hello")
        answer = wire.answer("POST")
        wire.try_send(c.head("OPTIONS", c.url))
        behind = heard(wire, "OPTIONS")
    c.status(row, answer, (201, *CLIENT_ERRORS), infos=(501,), expected="201 or 4xx", probe=probe)
    if answer.status == 201 and "location" in answer:
        head = c.hd(c.created(answer))
        if offset_of(head) is None:
            c.give_up(f"HEAD tells no offset: {head}")
        c.expect(row, offset_of(head) == 0, "Upload-Offset: 0", head, probe=f"{probe}, then HEAD")
    in_step = behind.status == usual.status if isinstance(behind, Answer) else behind.is_end
    c.expect(row, in_step, f"{usual.status}, or a closed connection", behind,
             probe=f"{probe}, then OPTIONS on the same connection")  # fmt: skip


@check("CWU-12")
def bytes_and_a_deferred_length(c: Probe) -> None:
    _plain_creation(c)
    c.mk(None)
    row, probe = "CWU-12", "POST with Upload-Defer-Length: 1 and 5 bytes"
    answer = _create(c, {"Upload-Defer-Length": "1"}, b"hello")
    ok = answer.status == 201 and offset_of(answer) == 5
    c.demand(row, ok, "201, Upload-Offset: 5", answer, probe=probe)
    url = c.created(answer)
    head = c.hd(url)
    ok = "upload-length" not in head and head.get("upload-offset") == "5"
    c.expect(row, ok, "Upload-Offset: 5, and no Upload-Length", head, probe=f"{probe}, then HEAD")
    rest = c.pa(url, 5, b"world", {"Upload-Length": "10"})
    probe = f"{probe}, then PATCH with the rest and the length"
    if c.expect(row, rest.status in SUCCESS, "204", rest, probe=probe):
        c.content(row, url, b"helloworld")


@check("CWU-13", "CWU-14")
def the_label_without_bytes(c: Probe) -> None:
    for row, length in (("CWU-13", 10), ("CWU-14", 0)):
        plain = _state(c.hd(c.mk(length)))
        if plain != ["0", str(length)] and length:
            c.give_up(f"HEAD of a plain upload tells as offset and length {plain}")
        probe = f"POST with the label, no bytes, Upload-Length: {length}"
        answer = _create(c, {"Upload-Length": str(length)}, b"")
        if not c.status(row, answer, (201,), probe=probe):
            continue
        told = answer.get("upload-offset")
        c.expect(row, told in (None, "0"), "Upload-Offset: 0, or none", answer, probe=probe)
        head = c.hd(c.created(answer))
        # What is complete may be moved away, or lack some header, with the label or without.
        ok = _state(head) == plain
        expected = f"offset and length {plain}, as without the label"
        c.expect(row, ok, expected, head, probe=f"{probe}, then HEAD")


def _state(head: Answer) -> list[str | None]:
    """The offset and the length."""
    return [head.get("upload-offset"), head.get("upload-length")]


# How the body comes


@check("CWU-09")
def the_body_is_asked_for(c: Probe) -> None:
    _plain_creation(c)
    row, probe = "CWU-09", "Expect: 100-continue"
    with _holding_back(c, {"Upload-Length": "5"}) as wire:
        status = wire.interim(within=_PATIENCE)
        # A creation that takes nothing of the body needs none of it.
        verdict = {100: Verdict.PASS, 201: Verdict.INFO}.get(status or 0, Verdict.WARN)
        c.say(row, verdict, "100", status or f"nothing within {_PATIENCE:.0f} s", probe=probe)
        if status is None or status < 200:
            wire.try_send(b"hello")
            got = heard(wire, "POST")
            ok = isinstance(got, Answer) and got.status == 201
            c.expect(row, ok, "201", got, probe=f"{probe}, then the body")
    maximum = c.discovery.max_size
    if maximum is not None:
        _judge_refusal(c, maximum + 1)


def _holding_back(c: Probe, headers: Mapping[str, str]) -> Wire:
    """A connection on which the head of a creation with 5 bytes has been sent."""
    expecting = {**VERSION, **OCTETS, "Content-Length": "5", "Expect": "100-continue", **headers}
    wire = c.wire()
    wire.send(c.head("POST", c.url, expecting))
    return wire


def _judge_refusal(c: Probe, length: int) -> None:
    """Whether a body is refused before it is sent."""
    probe = f"Expect: 100-continue, Upload-Length: {length}, one more than the maximum"
    with _holding_back(c, {"Upload-Length": str(length)}) as wire:
        status = wire.interim(within=_PATIENCE)
        if status is None or status < 200:
            wire.try_send(b"hello")
        got = heard(wire, "POST")
    if isinstance(got, Answer) and got.status in SUCCESS:
        return  # That the maximum binds is a row of its own.
    verdict = Verdict.PASS if is_refused(got) else Verdict.WARN
    if verdict is Verdict.PASS and (status is None or status < 200):
        verdict, probe = Verdict.INFO, f"{probe}, only after the body was sent"
    c.say("CWU-09", verdict, "413 before the body is sent", got, probe=probe)


@check("CWU-15")
def a_creation_that_breaks_off(c: Probe) -> None:
    _plain_creation(c)
    row, data = "CWU-15", b"x" * 1000
    framings = {"announced": {"Content-Length": "2000"}, "chunked": _CHUNKED}
    for framing, headers in framings.items():
        for ending in (Wire.close, Wire.reset):
            probe = f"{framing}, half sent, {ending.__name__}"
            with c.wire() as wire:
                sent = {**VERSION, **OCTETS, "Upload-Length": "2000", **headers}
                half = data if framing == "announced" else chunked(data, end=False)
                wire.send(c.head("POST", c.url, sent) + half)
                ending(wire)
            if not c.live(row, probe):
                return
    answer = _create(c, {"Upload-Length": "5"}, b"hello")
    c.status(row, answer, (201,), probe="another creation afterwards")


@check("CWU-16")
def a_checksum_of_the_bytes(c: Probe) -> None:
    _plain_creation(c)
    row, length = "CWU-16", {"Upload-Length": "10"}
    if "sha1" not in c.discovery.algorithms:
        c.give_up("sha1 is not announced")
    answer = _create(c, {**length, **_digest(b"hello")}, b"hello")
    c.status(row, answer, (201,), probe="the right digest")
    answer = _create(c, {**length, **_digest(b"hellO")}, b"hello")
    c.status(row, answer, (460,), probe="a wrong digest")
    if "location" in answer:
        head = c.hd(c.target.resolve(answer.all("location")[0]))
        ok, probe = not offset_of(head), "a wrong digest, then HEAD of the Location"
        c.expect(row, ok, "Upload-Offset: 0, or no upload", head, probe=probe)


def _digest(data: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {b64encode(hashlib.sha1(data).digest()).decode()}"}
