"""Rows that are judged by every answer of the run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.check import check

if TYPE_CHECKING:
    from conformance.probe import Probe

_LEAKS = (
    b"Traceback (most recent",
    b"goroutine ",
    b"/site-packages/",
    b"node_modules",
    b"SQLSTATE",
)


@check("CORE-HDR-01", "CORE-HDR-02", summary=True)
def numbers_are_numbers(c: Probe) -> None:
    for row, name in (("CORE-HDR-01", "upload-offset"), ("CORE-HDR-02", "upload-length")):
        answers = [each.answer for each in c.seen if name in each.answer]
        bad = [each for each in answers if not re.fullmatch("[0-9]+", each.get(name) or "")]
        if not answers:
            continue
        got = bad[0] if bad else f"{len(answers)} answers"
        c.expect(row, not bad, f"one {name} of digits only", got)


@check("ROB-SEC-09", summary=True)
def no_server_errors(c: Probe) -> None:
    errors = [each for each in c.seen if each.answer.status in (500, 502, 503, 504)]
    got = errors[0].answer if errors else f"{len(c.seen)} answers"
    probe = f"{len(errors)} of them, the first in {errors[0].check}" if errors else ""
    c.expect("ROB-SEC-09", not errors, "no 500, 502, 503 or 504 in the whole run", got, probe=probe)


@check("ROB-SEC-07", summary=True)
def errors_do_not_leak(c: Probe) -> None:
    refused = [each for each in c.seen if each.answer.status >= 400]
    for each in refused:
        body, kind = each.answer.body, each.answer.get("content-type") or ""
        if any(leak in body for leak in _LEAKS):
            c.expect("ROB-SEC-07", False, "nothing of the inside", each.answer, probe=each.check)
        elif body and "html" in kind and each.answer.status != 400:
            c.expect("ROB-SEC-07", False, "plain text or JSON", each.answer, probe=each.check)
    c.expect("ROB-SEC-07", True, "nothing of the inside", f"{len(refused)} refusals")
