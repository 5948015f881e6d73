"""EXP: unfinished uploads that are removed after a while, and whether one is told."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import items
from conformance.hearing import NoAnswer, heard
from conformance.probe import SUCCESS, Probe
from conformance.tus import eventually
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer

_IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_REMOVED = (404, 410)
_SWEEP = 10.0
"""Seconds after the deadline in which an upload is removed."""


def _deadline(answer: Answer) -> datetime | None:
    """What Upload-Expires says; None without it, or when it is no date."""
    value = answer.get("upload-expires")
    if value is None or not _IMF_FIXDATE.fullmatch(value):
        return None
    return parsedate_to_datetime(value)


@check("EXP-01")
def uploads_may_expire(c: Probe) -> None:
    c.say("EXP-01", Verdict.PASS, "uploads that expire, or do not")


@check("EXP-02", summary=True)
def expiration_is_announced(c: Probe) -> None:
    answer = c.options()
    if "expiration" in items(answer.get("tus-extension")):
        c.say("EXP-02", Verdict.PASS, "expiration in Tus-Extension")
        return
    if not c.seen and c.has("creation"):
        c.mk(4)
    told = [each for each in c.seen if "upload-expires" in each.answer]
    c.expect("EXP-02", not told, "no Upload-Expires where expiration is not announced",
             told[0].answer if told else "", probe=told[0].check if told else "")  # fmt: skip


@check("EXP-03", "EXP-04", "EXP-05", "EXP-06", "EXP-09")
def deadlines_are_told(c: Probe) -> None:
    created = c.post({"Upload-Length": "10"})
    url = c.created(created)
    first, head = c.pa(url, 0, b"hello"), c.hd(url)
    if first.status not in SUCCESS:
        c.give_up(f"PATCH was answered {first}")
    is_told = any("upload-expires" in each for each in (created, first, head))
    # Announced and never told: perhaps no upload expires, as the operator has set no time.
    c.expect("EXP-03", "upload-expires" in first, "Upload-Expires", first,
             broken=None if is_told else Verdict.WARN)  # fmt: skip
    c.expect("EXP-04", "upload-expires" in created, "Upload-Expires in the 201", created,
             broken=Verdict.WARN)  # fmt: skip
    c.expect("EXP-09", "upload-expires" in head, "Upload-Expires from HEAD, too", head,
             broken=Verdict.INFO)  # fmt: skip
    _judge_dates(c, {"POST": created, "PATCH": first, "HEAD": head})
    refused = c.pa(url, 0, b"x")
    if "upload-expires" not in refused:
        c.say("EXP-03", Verdict.PASS, "nothing: a refusal may leave it out", refused)


def _judge_dates(c: Probe, answers: dict[str, Answer]) -> None:
    told = {method: each for method, each in answers.items() if "upload-expires" in each}
    if not told:
        for row in ("EXP-05", "EXP-06"):
            c.say(row, Verdict.UNVERIFIABLE, "Upload-Expires", "nowhere")
        return
    for method, answer in told.items():
        deadline, value = _deadline(answer), answer.get("upload-expires")
        ok = deadline is not None and value is not None and _weekday_agrees(value, deadline)
        c.expect("EXP-05", ok and len(answer.all("upload-expires")) == 1,
                 "a date like 'Wed, 25 Jun 2014 16:00:00 GMT'", value, probe=method)  # fmt: skip
        if deadline is None:
            continue
        now = answer.get("date")
        sent = parsedate_to_datetime(now) if now else datetime.now(UTC)
        c.expect("EXP-06", deadline >= sent - timedelta(seconds=1), "no time that is past",
                 f"{value}, at {now}", probe=method)  # fmt: skip


def _weekday_agrees(value: str, deadline: datetime) -> bool:
    # Not by strftime, which speaks the language of whoever runs this.
    return value[:3] == _WEEKDAYS[deadline.weekday()]


def _seconds_left(c: Probe, answer: Answer) -> float:
    """Until the deadline. Raises Unverifiable when that is too long to wait for."""
    deadline = _deadline(answer)
    if deadline is None:
        c.give_up(f"no deadline is told: {answer}")
        raise AssertionError
    left = (deadline - datetime.now(UTC)).total_seconds()
    if left > c.target.max_wait:
        c.give_up(f"uploads expire in {left:.0f} s: that is more than --max-wait")
    return max(0.0, left)


@check("EXP-07")
def what_has_expired_is_gone(c: Probe) -> None:
    url = c.mk(10)
    answer = c.pa(url, 0, b"hello")
    time.sleep(_seconds_left(c, answer) + 1.0)
    eventually(lambda: c.hd(url).status in _REMOVED, _SWEEP, every=0.5)
    for method, got in (("HEAD", c.hd(url)), ("PATCH", c.pa(url, 5, b"world"))):
        probe = f"{method} after the deadline"
        c.status("EXP-07", got, _REMOVED, probe=probe)
        c.expect("EXP-07", "upload-offset" not in got, "no Upload-Offset", got, probe=probe)


@check("EXP-10")
def what_is_finished_stays(c: Probe) -> None:
    url = c.mk(10)
    left = _seconds_left(c, c.pa(url, 0, b"hello"))
    c.sent(url, 5, b"world")
    time.sleep(left + 2.0)
    c.status("EXP-10", c.hd(url), (200, 204), probe="HEAD after the former deadline")


@check("EXP-11")
def a_running_patch_is_not_torn(c: Probe) -> None:
    url = c.mk(1000)
    left = _seconds_left(c, c.pa(url, 0, b"a" * 100))
    sent = 100
    with c.begin_patch(url, 100, 900) as wire:
        end = time.monotonic() + left + 2.0
        while time.monotonic() < end and sent < 900:
            if not wire.try_send(b"a") or wire.has_more(within=0.2):
                break
            sent += 1
        wire.try_send(b"a" * (1000 - sent))
        got = heard(wire, "PATCH")
    answer = c.hd(url)
    if not isinstance(got, NoAnswer) and got.status in SUCCESS:
        c.expect("EXP-11", answer.get("upload-offset") == "1000", "Upload-Offset: 1000", answer)
        return
    refused = isinstance(got, NoAnswer) or got.status in range(400, 500)
    c.expect("EXP-11", refused, "204 or 4xx", got)
    half = answer.status in SUCCESS and answer.get("upload-offset") == "0"
    c.expect("EXP-11", answer.status < 500 and not half, "404, 410 or what was stored", answer)
