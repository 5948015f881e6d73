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


FALLS = "ROB-SEC-09"
"""The row that a server breaks which goes down."""


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
    falls: tuple[str, ...] = ()
    """The checks in which it went down, and was started again by the operator's means."""

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
        self._done: set[str] = set()
        self._falls = [discovery.fell_at] if discovery.fell_at else []
        self._has_fallen = False
        """Whether it is down, with others than the culprit at work: they are run again alone."""

    def run(self, checks: Iterable[Check], rows: Iterable[str] | None = None) -> Report:
        """All these checks: first those that bear company, then those that do not. The report is
        about these rows, all by default.
        """
        begun = time.monotonic()
        chosen = [check for check in checks if self._applies(check)]
        with ThreadPoolExecutor(self._jobs) as pool:
            together = [each for each in chosen if not (each.is_alone or each.is_summary)]
            list(pool.map(self._run_in_company, together))
        again = [each for each in together if each.name not in self._done]
        alone = [each for each in chosen if each.is_alone]
        self._run_alone(again + alone)
        for check in chosen:
            if check.is_summary:
                self._run(check)
        results = {row: self._result(row) for row in (requirements() if rows is None else rows)}
        seconds = time.monotonic() - begun
        falls = tuple(self._falls)
        return Report(self.target, self.discovery, results, seconds, self._down_after, falls)

    def _applies(self, check: Check) -> bool:
        lacks = self.discovery.lacks
        return any(not lacks(requirements()[row].needs) for row in check.rows)

    def _run_in_company(self, check: Check) -> None:
        """What was at work when the server fell says nothing: the fault may be another's."""
        if self._has_fallen:
            return
        outcome = self._run(check)
        if outcome is None or not self._has_fallen:
            return
        with self._lock:
            self._outcomes.remove(outcome)
            self._done.discard(check.name)

    def _run_alone(self, checks: list[Check]) -> None:
        """One after the other; a server that has gone down is started again if that is possible."""
        if self._has_fallen:
            self.target.restart()
        for check in checks:
            self._has_fallen = False
            self._run(check)
            if self._has_fallen or (self.target.can_restart and not self.target.is_live()):
                self._falls.append(check.name)
                self.target.restart()

    def _run(self, check: Check) -> _Outcome | None:
        if self._down_after:
            return None
        probe = Probe(self.target, self.discovery, check.name, check.rows, self._seen)
        outcome = _Outcome(check, probe)
        try:
            check.run(probe)
        except CheckEnded:
            """It has said what it had to say."""
        except Unverifiable as reason:
            outcome.trouble = str(reason)
        except ValueError as error:
            # As of a Location that is no URL: a matter of the row that judges it.
            outcome.trouble = f"what came could not be read: {error}"
        except (ConnectionEnded, BadAnswer, OSError, UsageError) as error:
            self._blame(probe, error)
        with self._lock:
            self._look_whether_it_lives(probe)
            self._done.add(check.name)
            self._outcomes.append(outcome)
            self._tell(check, probe.findings)
        return outcome

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
        if not failed or self._down_after or any(probe.is_live() for _ in range(2)):
            return
        if self.target.can_restart:
            self._has_fallen = True
        else:
            self._down_after = failed[-1]

    def _result(self, row: str) -> RowResult:
        requirement = requirements()[row]
        if requirement.is_for_clients:
            return RowResult(requirement, Verdict.NOT_APPLICABLE, reason="binds clients only")
        if lacking := self.discovery.lacks(requirement.needs):
            return RowResult(requirement, Verdict.NOT_APPLICABLE, reason=_lacking(lacking))
        ran = [each for each in self._outcomes if row in each.probe.rows]
        findings = [each for ran_ in ran for each in ran_.probe.findings if each.row == row]
        findings += self._findings_of_falls(row)
        unseen = sum(each.probe.unseen for each in ran)
        if findings:
            worst = max(each.verdict for each in findings)
            return RowResult(requirement, worst, findings, unseen=unseen)
        trouble = next((each.trouble for each in ran if each.trouble), "")
        if not trouble and self._down_after:
            trouble = f"not run: the server was down after {self._down_after}"
        reason = trouble or ("nothing was shown" if ran else "not run")
        return RowResult(requirement, Verdict.UNVERIFIABLE, reason=reason, unseen=unseen)

    def _findings_of_falls(self, row: str) -> list[Finding]:
        """All falls count as one fault, and not for the rows that were at work."""
        if row != FALLS or not self._falls:
            return []
        got = f"it no longer answered after {', '.join(dict.fromkeys(self._falls))}"
        return [
            Finding(
                row, Verdict.FAIL, "runner", expected="a server that goes on answering", got=got
            )
        ]


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
