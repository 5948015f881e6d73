"""Runs the checks against a server, several at once, and gathers what they found."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.probe import Probe, Seen
from conformance.requirements import requirements
from conformance.target import UsageError
from conformance.verdict import CheckEnded, Finding, Unverifiable, Verdict
from conformance.wire import BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.check import Check
    from conformance.discovery import Discovery
    from conformance.requirements import Requirement
    from conformance.target import Target


@dataclass
class RowResult:
    """What came out for one row. `reason` says why when nothing was found."""

    requirement: Requirement
    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    reason: str = ""
    unseen: int = 0
    """Comparisons of content that could not be made."""

    @property
    def worst(self) -> list[Finding]:
        """The findings that its verdict rests on."""
        return [each for each in self.findings if each.verdict is self.verdict]


@dataclass
class Report:
    """All rows by id, in the order of the check list; times in seconds."""

    target: Target
    discovery: Discovery
    rows: dict[str, RowResult]
    seconds: float
    down_after: str = ""
    """The row after which the server no longer answered; the rest was not run."""

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict is verdict for result in self.rows.values())


@dataclass
class _Outcome:
    """One check that has run."""

    check: Check
    probe: Probe
    trouble: str = ""


class Runner:
    """Runs checks against one target. `tell` hears of each that is done."""

    def __init__(
        self,
        target: Target,
        discovery: Discovery,
        *,
        jobs: int = 4,
        tell: Callable[[Check, list[Finding]], None] = lambda check, findings: None,
    ) -> None:
        self.target = target
        self.discovery = discovery
        self._jobs = jobs
        self._tell = tell
        self._seen: list[Seen] = []
        self._outcomes: list[_Outcome] = []
        self._lock = threading.Lock()
        self._down_after = ""

    def run(self, checks: Iterable[Check], rows: Iterable[str] | None = None) -> Report:
        """All these checks: first those that bear company, then those that do not. The report is
        about these rows, all by default.
        """
        begun = time.monotonic()
        chosen = [check for check in checks if self._applies(check)]
        with ThreadPoolExecutor(self._jobs) as pool:
            together = [each for each in chosen if not (each.is_alone or each.is_summary)]
            list(pool.map(self._run, together))
        for check in chosen:
            if check.is_alone:
                self._run(check)
        for check in chosen:
            if check.is_summary:
                self._run(check)
        results = {row: self._result(row) for row in (requirements() if rows is None else rows)}
        seconds = time.monotonic() - begun
        return Report(self.target, self.discovery, results, seconds, self._down_after)

    def _applies(self, check: Check) -> bool:
        lacks = self.discovery.lacks
        return any(not lacks(requirements()[row].needs) for row in check.rows)

    def _run(self, check: Check) -> None:
        if self._down_after:
            return
        probe = Probe(self.target, self.discovery, check.name, check.rows, self._seen)
        outcome = _Outcome(check, probe)
        try:
            check.run(probe)
        except CheckEnded:
            """It has said what it had to say."""
        except Unverifiable as reason:
            outcome.trouble = str(reason)
        except (ConnectionEnded, BadAnswer, OSError, UsageError) as error:
            self._blame(probe, error)
        with self._lock:
            self._outcomes.append(outcome)
            self._look_whether_it_lives(probe)
            self._tell(check, probe.findings)

    def _blame(self, probe: Probe, error: Exception) -> None:
        """A server that does not answer has not kept the rows that were still to be shown."""
        judged = {finding.row for finding in probe.findings}
        open_rows = [row for row in probe.rows if row not in judged]
        if not open_rows and probe.findings:
            open_rows = [probe.findings[-1].row]
        detail = "no answer in time" if isinstance(error, TimeoutError) else f"{error!r}"
        for row in open_rows:
            probe.say(row, requirements()[row].broken, "an answer", detail)

    def _look_whether_it_lives(self, probe: Probe) -> None:
        failed = [each.row for each in probe.findings if each.verdict is Verdict.FAIL]
        if failed and not self._down_after and not any(probe.is_live() for _ in range(2)):
            self._down_after = failed[-1]

    def _result(self, row: str) -> RowResult:
        requirement = requirements()[row]
        if requirement.is_for_clients:
            return RowResult(requirement, Verdict.NOT_APPLICABLE, reason="binds clients only")
        if lacking := self.discovery.lacks(requirement.needs):
            return RowResult(requirement, Verdict.NOT_APPLICABLE, reason=_lacking(lacking))
        ran = [each for each in self._outcomes if row in each.probe.rows]
        findings = [each for ran_ in ran for each in ran_.probe.findings if each.row == row]
        unseen = sum(each.probe.unseen for each in ran)
        if findings:
            worst = max(each.verdict for each in findings)
            return RowResult(requirement, worst, findings, unseen=unseen)
        trouble = next((each.trouble for each in ran if each.trouble), "")
        if not trouble and self._down_after:
            trouble = f"not run: the server was down after {self._down_after}"
        reason = trouble or ("nothing was shown" if ran else "not run")
        return RowResult(requirement, Verdict.UNVERIFIABLE, reason=reason, unseen=unseen)


_REASONS = {
    "slow": "takes long: run with --slow",
    "restart": "needs --restart-cmd",
    "get": "the server serves no content",
    "cors": "the server does not answer CORS requests",
    "tls-h2": "needs https and HTTP/2",
    "max-size": "no Tus-Max-Size is announced",
    "url": "no upload can be created: give --upload-url-cmd",
    "options": "OPTIONS does not tell what there is: run with --assume",
}


def _lacking(needs: list[str]) -> str:
    told = []
    for need in needs:
        if need.startswith("absent:"):
            told.append(f"the server offers {need.removeprefix('absent:')}")
        else:
            told.append(_REASONS.get(need, f"the server does not offer {need}"))
    return ", ".join(told)
