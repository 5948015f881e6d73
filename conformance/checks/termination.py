"""TERM: uploads that are ended before (or after) they are finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from conformance.check import check
from conformance.discovery import VERSION, items
from conformance.hearing import heard, heard_all, is_refused, plain_upload
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import eventually
from conformance.verdict import Verdict
from conformance.wire import Answer

_ENDED = (404, 410)
_RETRIED = (409, 423)
_PATIENCE = 30.0
"""Seconds in which an upload that is in use is ended."""


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
        answer = c.delete(url)
        probe = f"DELETE of a {state} upload"
        c.expect("TERM-05", answer.status in SUCCESS, "2xx", answer, probe=probe)
        if answer.status not in SUCCESS and state == "finished":
            continue  # A policy on finished ones is a matter of TERM-05 alone.
        c.status("TERM-02", answer, (204,), probe=probe)
        c.expect("TERM-02", not answer.body, "no body", answer, probe=probe)


@check("TERM-03")
def room_comes_free(c: Probe) -> None:
    if c.target.storage is not None:
        _files_are_gone(c)
        return
    data = bytes(64 * 1024)
    for number in range(20):
        url = c.mk(len(data))
        c.sent(url, 0, data)
        answer = c.delete(url)
        if answer.status not in SUCCESS:
            c.give_up(f"upload {number} could not be ended: {answer}")
    c.say("TERM-03", Verdict.PASS, "creations that go on working", "20 uploads, each ended")


def _files_are_gone(c: Probe) -> None:
    assert c.target.storage is not None
    mark = f"tus-conformance-{id(c)}".encode()

    def holding() -> int:
        assert c.target.storage is not None
        files = [path for path in c.target.storage.rglob("*") if path.is_file()]
        return sum(mark in path.read_bytes() for path in files if path.stat().st_size < 2**20)

    url = c.made(mark)
    stored = holding()
    answer = c.delete(url)
    if not stored or answer.status not in SUCCESS:
        c.give_up(f"no file with the bytes in --storage-dir, or not ended: {answer}")
    c.expect("TERM-03", eventually(lambda: not holding(), 5.0), "no file that holds the bytes",
             f"{holding()} files")  # fmt: skip


@check("TERM-04")
def an_ended_upload_is_not_there(c: Probe) -> None:
    for finished in (False, True):
        url = c.made(b"hello") if finished else c.mk(10)
        ended = c.delete(url)
        if ended.status not in SUCCESS:
            if finished:
                continue
            c.give_up(f"an upload could not be ended: {ended}")
        answers = {
            "HEAD": c.hd(url),
            "PATCH": c.pa(url, 0, b"hello"),
            "DELETE": c.delete(url),
            "GET": c.get(url),
        }
        for method, answer in answers.items():
            probe = f"{method} of an ended {'finished' if finished else 'fresh'} upload"
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
    url = c.mk(1000)
    with c.begin_patch(url, 0, 1000) as slow:
        slow.send(bytes(500))
        # HEAD would make some servers end the running PATCH: it is only given time to begin.
        slow.has_more(within=0.3)
        answers: list[Answer] = []

        def ended() -> bool:
            answers.append(c.delete(url))
            return answers[-1].status not in _RETRIED

        eventually(ended, _PATIENCE, every=0.5)
        last = answers[-1]
        c.status("TERM-08", last, (204,), infos=SUCCESS, probe="DELETE while PATCH runs")
        if last.status not in SUCCESS:
            return
        slow.try_send(bytes(500))
        got = heard(slow, "PATCH")
        c.expect("TERM-08", is_refused(got) or not isinstance(got, Answer),
                 "4xx or a closed connection", got, probe="the PATCH that ran")  # fmt: skip
    for wait in (0.0, 1.0):
        came_back = eventually(lambda: c.hd(url).status not in _ENDED, wait)
        c.expect("TERM-08", not came_back, "404 or 410", c.hd(url),
                 probe=f"HEAD, {wait:.0f} s after it")  # fmt: skip


@check("TERM-09")
def two_ends_at_once(c: Probe) -> None:
    for _ in range(5):
        url = c.mk(4)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _, url=url: c.delete(url), range(2)))
        statuses = sorted(each.status for each in answers)
        ok = set(statuses) <= {204, *_ENDED, *_RETRIED} and 204 in statuses
        c.expect("TERM-09", ok, "204, and 204, 404, 410, 409 or 423", f"{statuses}")
        status = c.hd(url).status
        c.expect("TERM-09", status in _ENDED, "404 or 410 from then on", status)


@check("TERM-10")
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
            got = heard_all(wire, "DELETE", "OPTIONS")
        first = got[0] if got else None
        passes = (204, 400, 413) if body else (204,)
        ok = isinstance(first, Answer) and first.status in passes
        c.expect("TERM-11", ok, "204", first, probe=name)
        rest = [each for each in got[1:] if not isinstance(each, Answer) or each.status >= 300]
        c.expect("TERM-11", len(got) <= 2 and not rest,
                 "an answer to the OPTIONS behind it, or a closed connection",
                 " and ".join(str(each) for each in got), probe=name)  # fmt: skip


@check("TERM-12")
def another_version_ends_nothing(c: Probe) -> None:
    url = c.mk(5)
    answer = c.delete(url, {"Tus-Resumable": "9.9.9"})
    c.status("TERM-12", answer, (412,), warns=CLIENT_ERRORS)
    c.intact("TERM-12", url, 0, b"hello", probe="after DELETE with Tus-Resumable: 9.9.9")
