"""Runs the suite in a test, and says readably what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.check import checks
from conformance.discovery import discover
from conformance.runner import Report, Runner
from conformance.target import Target
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.verdict import Finding


def judge(url: str, only: Collection[str] | None = None, **options: Any) -> Report:
    """A run of all checks, or of those that claim one of these rows."""
    target = Target(url, **options)
    chosen = [each for each in checks().values() if only is None or set(each.rows) & set(only)]
    return Runner(target, discover(target), jobs=4).run(chosen, only)


def not_kept(report: Report) -> dict[str, str]:
    """The rows that are FAIL or WARN, with what was seen."""
    return {
        row: f"{result.verdict.word} {_words(result.worst[0])}"
        for row, result in report.rows.items()
        if result.verdict >= Verdict.WARN
    }


def _words(finding: Finding) -> str:
    where = finding.probe or finding.check
    return f"{where}: expected {finding.expected}, got {finding.got}\n{finding.exchange[:1500]}"


def with_verdict(report: Report, *verdicts: Verdict) -> dict[str, str]:
    """The rows with one of these verdicts, and why."""
    return {row: result.reason for row, result in report.rows.items() if result.verdict in verdicts}
