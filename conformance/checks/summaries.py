"""Rows that are judged by every answer of the run."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.check import check
from conformance.discovery import VERSION
from conformance.verdict import Unverifiable

if TYPE_CHECKING:
    from conformance.probe import Probe
    from conformance.wire import Answer

_LEAKS = re.compile(
    rb"Traceback \(most recent|goroutine \d|/site-packages/|node_modules"
    rb"|SQLSTATE|\bSELECT \S+ FROM "
    rb"|\bat \S+ \(\S+:\d+:\d+\)|(?<![\w./%-])/(?:home|root|srv|tmp|usr|var)/[\w.-]+"
)
"""Traces of several languages, databases, and paths of files."""


@check("CORE-HDR-01", "CORE-HDR-02", summary=True)
def numbers_are_numbers(c: Probe) -> None:
    with suppress(Unverifiable):
        c.hd(c.made(b"abcd"))
        if c.has("creation", "defer"):
            c.hd(c.mk(None))
    for row, name in (("CORE-HDR-01", "upload-offset"), ("CORE-HDR-02", "upload-length")):
        answers = [each.answer for each in c.seen if name in each.answer]
        bad = [each for each in answers if not re.fullmatch("[0-9]+", each.get(name) or "")]
        if not answers:
            continue
        got = bad[0] if bad else f"{len(answers)} answers"
        c.expect(row, not bad, f"one {name} of digits only", got)


@check("ROB-SEC-09", summary=True)
def no_server_errors(c: Probe) -> None:
    if not c.seen:
        c.give_up("no other check has run")
    errors = [each for each in c.seen if _is_error(each.answer)]
    got = errors[0].answer if errors else f"{len(c.seen)} answers"
    probe = f"{len(errors)} of them, the first in {errors[0].check}" if errors else ""
    c.expect("ROB-SEC-09", not errors, "no 500, 502, 503 or 504 in the whole run", got, probe=probe)


def _is_error(answer: Answer) -> bool:
    """A 503 that says when to come again is no failure but an answer."""
    if answer.status == 503:
        return "retry-after" not in answer
    return answer.status in (500, 502, 504)


@check("ROB-SEC-07", summary=True)
def errors_do_not_leak(c: Probe) -> None:
    c.request("PATCH", c.stranger(c.url + "x"), VERSION)
    refused = [each for each in c.seen if each.answer.status >= 400]
    for each in refused:
        body, kind = each.answer.body, (each.answer.get("content-type") or "").lower()
        if leaks := _leaks(body, c.url):
            c.expect("ROB-SEC-07", False, "nothing of the inside", each.answer,
                     probe=f"{each.check}: {leaks[0]}")  # fmt: skip
        elif body and "html" in kind and each.answer.status != 400:
            c.expect("ROB-SEC-07", False, "plain text or JSON", each.answer, probe=each.check)
    if not refused:
        c.give_up("nothing was refused")
    c.expect("ROB-SEC-07", True, "nothing of the inside", f"{len(refused)} refusals")


def _leaks(body: bytes, url: str) -> list[str]:
    """What of the inside a body tells; paths that it quotes from our URLs do not count."""
    found = [each[0].decode("latin-1") for each in _LEAKS.finditer(body)]
    first = f"/{urlsplit(url).path.strip('/').partition('/')[0]}"
    return [each for each in found if first == "/" or not each.startswith(f"{first}/")]
