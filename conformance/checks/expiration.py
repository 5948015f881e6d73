"""EXP: unfinished uploads that are removed after a while, and whether one is told."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import items
from conformance.hearing import NoAnswer, heard
from conformance.probe import GONE, SUCCESS, Probe
from conformance.tus import eventually, offset_of
from conformance.verdict import Unverifiable, Verdict

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
"""Seconds after the deadline that an upload is at least given to be removed."""


def _deadline(answer: Answer) -> datetime | None:
    """What Upload-Expires says; None without it, or when it is no date."""
    value = answer.get("upload-expires")
    return _date(value) if value is not None and _IMF_FIXDATE.fullmatch(value) else None


def _date(value: str | None) -> datetime | None:
    """None for no date, and for none that the calendar has."""
    with suppress(ValueError):
        found = parsedate_to_datetime(value or "")
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _now(answer: Answer) -> datetime:
    """By the clock of the server, which sets the deadlines; by ours where it tells no time."""
    return _date(answer.get("date")) or datetime.now(UTC)


@check("EXP-01")
def uploads_may_expire(c: Probe) -> None:
    c.say("EXP-01", Verdict.PASS, "uploads that expire, or do not")


@check("EXP-02", summary=True)
def expiration_is_announced(c: Probe) -> None:
    answer = c.options()
    if "expiration" in items(answer.get("tus-extension")):
        c.say("EXP-02", Verdict.PASS, "expiration in Tus-Extension")
        return
    if c.has("url"):
        with suppress(Unverifiable):
            url = c.mk(4)
            c.pa(url, 0, b"ab")
            c.hd(url)
    told = [each for each in c.seen if "upload-expires" in each.answer]
    c.expect("EXP-02", not told, "no Upload-Expires where expiration is not announced",
             told[0].answer if told else "", probe=told[0].check if told else "")  # fmt: skip


@check("EXP-03", "EXP-04", "EXP-05", "EXP-06", "EXP-09")
def deadlines_are_told(c: Probe) -> None:
    answers = {}
    if c.has("creation"):
        answers["POST"] = c.post({"Upload-Length": "10"})
        url = c.created(answers["POST"])
    else:
        url = c.mk(10)
    answers["PATCH"], answers["HEAD"] = c.pa(url, 0, b"hello"), c.hd(url)
    first, head = answers["PATCH"], answers["HEAD"]
    if first.status not in SUCCESS:
        c.give_up(f"PATCH was answered {first}")
    is_told = any("upload-expires" in each for each in answers.values())
    # Announced and never told: perhaps no upload expires, as the operator has set no time.
    c.expect("EXP-03", "upload-expires" in first, "Upload-Expires", first,
             broken=None if is_told else Verdict.WARN)  # fmt: skip
    if created := answers.get("POST"):
        c.expect("EXP-04", "upload-expires" in created, "Upload-Expires in the 201", created,
                 broken=Verdict.WARN)  # fmt: skip
    if head.status in SUCCESS:
        c.expect("EXP-09", "upload-expires" in head, "Upload-Expires from HEAD, too", head,
                 broken=Verdict.INFO)  # fmt: skip
    else:
        c.say("EXP-09", Verdict.UNVERIFIABLE, "an answer to HEAD", head)
    _judge_dates(c, answers)
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
        sent = _now(answer)
        c.expect("EXP-06", deadline >= sent - timedelta(seconds=1), "no time that is past",
                 f"{value}, at {format_datetime(sent)}", probe=method)  # fmt: skip


def _weekday_agrees(value: str, deadline: datetime) -> bool:
    # Not by strftime, which speaks the language of whoever runs this.
    return value[:3] == _WEEKDAYS[deadline.weekday()]


def _seconds_left(c: Probe, answer: Answer) -> float:
    """Until the deadline. Raises Unverifiable when that is too long to wait for."""
    deadline = _deadline(answer)
    if deadline is None:
        c.give_up(f"no deadline is told: {answer}")
        raise AssertionError
    left = (deadline - _now(answer)).total_seconds()
    if left > c.target.max_wait:
        c.give_up(f"uploads expire in {left:.0f} s: that is more than --max-wait")
    return max(0.0, left)


@check("EXP-07")
def what_has_expired_is_gone(c: Probe) -> None:
    url = c.mk(10)
    answer = c.pa(url, 0, b"hello")
    left = _seconds_left(c, answer)
    time.sleep(left + 1.0)
    # What is swept up late is no fault: until then the upload is not removed.
    patience = max(_SWEEP, c.target.max_wait - left)
    eventually(lambda: c.hd(url).status in _REMOVED, patience, every=0.5)
    for method, got in (("HEAD", c.hd(url)), ("PATCH", c.pa(url, 5, b"world"))):
        probe = f"{method} after the deadline"
        c.status("EXP-07", got, _REMOVED, probe=probe)
        c.expect("EXP-07", "upload-offset" not in got, "no Upload-Offset", got, probe=probe)


@check("EXP-10")
def what_is_finished_stays(c: Probe) -> None:
    url = c.mk(10)
    left = _seconds_left(c, c.pa(url, 0, b"hello"))
    c.sent(url, 5, b"world")
    if c.hd(url).status in GONE:
        c.give_up("what is finished is moved away at once")
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
    # The first 100 were acknowledged.
    half = answer.status in SUCCESS and (offset_of(answer) or 0) < 100
    c.expect("EXP-11", answer.status < 500 and not half, "404, 410 or what was stored", answer)
