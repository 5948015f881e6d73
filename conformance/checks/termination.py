"""TERM: uploads that are ended before (or after) they are finished."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from conformance.check import check
from conformance.discovery import VERSION, items
from conformance.hearing import NoAnswer, heard, is_refused, plain_upload
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import eventually
from conformance.verdict import Verdict
from conformance.wire import Answer

_ENDED = (404, 410)
_RETRIED = (409, 423)
_PATIENCE = 30.0
"""Seconds in which an upload that is in use is ended."""
_LOCKED = 5.0
"""Seconds after which the one who uses it is let finish, where it has the upload for itself."""
_LATE = 2.0
"""Seconds in which a late writer brings an upload back, if one does."""
_KIB = 1024
_SHARE = 64 * _KIB
_FILES_UP_TO = 1024 * _KIB


@check("TERM-01")
def termination_is_announced(c: Probe) -> None:
    if "termination" in items(c.options().get("tus-extension")):
        c.say("TERM-01", Verdict.PASS, "termination in Tus-Extension")
        return
    url = c.mk(4)
    answer = c.delete(url)
    works = answer.status in SUCCESS and c.hd(url).status in _ENDED
    c.expect("TERM-01", not works, "no end by DELETE where it is not announced", answer)


@check("TERM-02", "TERM-05")
def uploads_in_every_state_can_be_ended(c: Probe) -> None:
    partial = c.mk(10)
    c.sent(partial, 0, b"hello")
    states = {"fresh": c.mk(10), "partial": partial, "finished": c.made(b"hello")}
    for state, url in states.items():
        probe = f"DELETE of a {state} upload"
        if state == "finished" and (found := c.hd(url)).status in GONE:
            c.say(
                "TERM-05", Verdict.INFO, "a finished upload", found, probe="moved away at its end"
            )
            continue
        with c.wire(url) as wire:
            wire.send(c.head("DELETE", url, VERSION))
            answer = wire.answer("DELETE")
            wire.try_send(c.head("OPTIONS", url))
            behind = heard(wire, "OPTIONS")
        c.expect("TERM-05", answer.status in SUCCESS, "2xx", answer, probe=probe)
        if answer.status not in SUCCESS and state == "finished":
            continue  # A policy on finished ones is a matter of TERM-05 alone.
        c.status("TERM-02", answer, (204,), probe=probe)
        good = not answer.body and (isinstance(behind, Answer) or behind.is_end)
        c.expect("TERM-02", good, "no body", behind if not good else "", probe=probe)


@check("TERM-03", alone=True)
def room_comes_free(c: Probe) -> None:
    if c.target.storage is not None:
        _files_are_gone(c)
        return
    if not c.has("creation"):
        c.give_up("uploads cannot be created one after the other")
    largest = c.discovery.max_size
    size = _FILES_UP_TO if largest is None else min(_FILES_UP_TO, largest)
    data = bytes(min(_SHARE, size))
    for number in range(100):
        # As nobody else creates any, there is room for this one if there was for the first.
        answer = c.post({"Upload-Length": str(size)})
        if answer.status == 429 or not number:
            c.created(answer)
        told = f"201 to the creation of upload {number + 1}, each ended before the next"
        if not c.expect("TERM-03", answer.status == 201, told, answer):
            return
        url = c.created(answer)
        c.sent(url, 0, data)
        answer = c.delete(url)
        if answer.status not in SUCCESS:
            c.give_up(f"upload {number + 1} could not be ended: {answer}")


def _files_are_gone(c: Probe) -> None:
    mark = f"tus-conformance-{secrets.token_hex(16)}".encode()
    url = c.made(mark)
    stored = _files_with(c, mark)
    answer = c.delete(url)
    if not stored or answer.status not in SUCCESS:
        c.give_up(f"no file with the bytes in --storage-dir, or not ended: {answer}")
    eventually(lambda: not _files_with(c, mark), 5.0)
    left = _files_with(c, mark)
    c.expect("TERM-03", not left, "no file that holds the bytes", ", ".join(left))


def _files_with(c: Probe, mark: bytes) -> list[str]:
    """The small files in the storage that hold this."""
    assert c.target.storage is not None
    found = []
    for path in c.target.storage.rglob("*"):
        # Others may be removed before our eyes.
        with suppress(OSError):
            is_small = path.is_file() and path.stat().st_size < _FILES_UP_TO
            if is_small and mark in path.read_bytes():
                found.append(path.name)
    return found


@check("TERM-04")
def an_ended_upload_is_not_there(c: Probe) -> None:
    partial = c.mk(10)
    c.sent(partial, 0, b"hello")
    states = {"fresh": (c.mk(10), 0), "partial": (partial, 5), "finished": (c.made(b"hello"), 5)}
    for state, (url, offset) in states.items():
        ended = c.delete(url)
        if ended.status not in SUCCESS:
            if state == "finished":
                continue
            c.give_up(f"an upload could not be ended: {ended}")
        answers = {
            "HEAD": c.hd(url),
            "PATCH at 0": c.pa(url, 0, b"hello"),
            "PATCH at its offset": c.pa(url, offset, b"world"),
            "DELETE": c.delete(url),
            "GET": c.get(url),
        }
        for method, answer in answers.items():
            probe = f"{method} of an ended {state} upload"
            # Not everyone answers GET at all.
            others = (405, 501) if method == "GET" else ()
            c.status("TERM-04", answer, (*_ENDED, *others), probe=probe)
            c.expect("TERM-04", "upload-offset" not in answer, "no Upload-Offset", answer,
                     probe=probe)  # fmt: skip


@check("TERM-06")
def what_never_was_cannot_be_ended(c: Probe) -> None:
    answer = c.delete(c.stranger(c.mk(4)))
    c.status("TERM-06", answer, _ENDED)


@check("TERM-07")
def delete_without_the_extension(c: Probe) -> None:
    url = c.mk(5)
    answer = c.delete(url)
    c.status("TERM-07", answer, (*CLIENT_ERRORS, 501))
    c.intact("TERM-07", url, 0, b"hello", probe="after DELETE")


@check("TERM-08")
def end_of_an_upload_in_use(c: Probe) -> None:
    plain_upload(c)
    row, url = "TERM-08", c.mk(1000)
    with c.begin_patch(url, 0, 1000) as slow:
        slow.send(bytes(500))
        # HEAD would make some servers end the running PATCH: it is only given time to begin.
        slow.has_more(within=0.3)
        last = _ended(c, url, _LOCKED)
        is_locked = last.status in _RETRIED
        slow.try_send(bytes(500))
        got = heard(slow, "PATCH")
        if is_locked:
            last = _ended(c, url, _PATIENCE - _LOCKED)
    probe = "DELETE when the PATCH had ended" if is_locked else "DELETE while PATCH runs"
    c.status(row, last, (204,), infos=SUCCESS, probe=probe)
    if last.status not in SUCCESS:
        return
    if not is_locked:
        stopped = is_refused(got) or not isinstance(got, Answer)
        # A success for bytes that are gone misleads its client for as long as it does not look.
        c.expect(row, stopped, "4xx or a closed connection", got, probe="the PATCH that ran",
                 broken=Verdict.WARN)  # fmt: skip
    for wait in (0.0, _LATE):
        eventually(lambda: c.hd(url).status not in GONE, wait, every=0.5)
        answer = c.hd(url)
        c.expect(row, answer.status in GONE, "404 or 410", answer,
                 probe=f"HEAD, {wait:.0f} s after it")  # fmt: skip


def _ended(c: Probe, url: str, within: float) -> Answer:
    """The answer to DELETE, which is sent again as long as the upload is in use."""
    deadline = time.monotonic() + within
    while True:
        with c.wire(url, timeout=_PATIENCE) as wire:
            wire.send(c.head("DELETE", url, VERSION))
            answer = wire.answer("DELETE")
        if answer.status not in _RETRIED or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


@check("TERM-09")
def two_ends_at_once(c: Probe) -> None:
    for _ in range(5):
        url = c.mk(4)
        head = c.head("DELETE", url, VERSION)
        with c.wire(url) as one, c.wire(url) as other:
            for wire in (one, other):
                wire.send(head[:-1])
            for wire in (one, other):
                wire.send(head[-1:])
            got = [heard(wire, "DELETE") for wire in (one, other)]
        statuses = [each.status for each in got if isinstance(each, Answer)]
        ok = set(statuses) <= {204, *GONE, *_RETRIED} and 204 in statuses and len(statuses) == 2
        c.expect("TERM-09", ok, "204 once, and 204, 404, 410, 409 or 423",
                 " and ".join(str(each) for each in got))  # fmt: skip
        answer = c.hd(url)
        c.expect("TERM-09", answer.status in GONE, "404 or 410 from then on", answer)


@check("TERM-10", alone=True)
def the_creation_url_cannot_be_ended(c: Probe) -> None:
    url = c.mk(4)
    # Whoever allows DELETE there is asked no further: who knows what else lies there.
    allowed = c.request("PUT", c.url, VERSION).get("allow") or ""
    if "DELETE" in allowed.upper():
        c.say("TERM-10", Verdict.INFO, "no DELETE in Allow", allowed)
        return
    answer = c.delete(c.url)
    c.status("TERM-10", answer, CLIENT_ERRORS, infos=(501,))
    c.intact("TERM-10", url, 0, b"data", probe="an upload below it")


@check("TERM-11")
def framing_of_delete(c: Probe) -> None:
    for name, headers, body in (
        ("Content-Length: 0", {"Content-Length": "0"}, b""),
        ("no Content-Length", {}, b""),
        ("a body of 5 bytes", {"Content-Length": "5"}, b"hello"),
    ):
        url = c.mk(4)
        with c.wire(url) as wire:
            head = c.head("DELETE", url, {**VERSION, **headers})
            wire.send(head + body + c.head("OPTIONS", c.url))
            first, behind = heard(wire, "DELETE"), heard(wire, "OPTIONS")
        passes = (204, 400, 413) if body else (204,)
        ok = isinstance(first, Answer) and first.status in passes
        c.expect("TERM-11", ok, "204", first, probe=name)
        in_sync = behind.is_end if isinstance(behind, NoAnswer) else behind.status in SUCCESS
        c.expect("TERM-11", in_sync, "the answer to OPTIONS behind it, or a closed connection",
                 behind, probe=name)  # fmt: skip


@check("TERM-12")
def another_version_ends_nothing(c: Probe) -> None:
    url = c.mk(5)
    answer = c.delete(url, {"Tus-Resumable": "9.9.9"})
    c.status("TERM-12", answer, (412,), warns=CLIENT_ERRORS)
    c.intact("TERM-12", url, 0, b"hello", probe="after DELETE with Tus-Resumable: 9.9.9")
