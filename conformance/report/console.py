"""A run in the terminal: one live line per group, then what is not as it should be."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from conformance.requirements import requirements
from conformance.verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.check import Check
    from conformance.discovery import Discovery
    from conformance.runner import Report, RowResult
    from conformance.target import Target

_COLOURS = {Verdict.FAIL: "31", Verdict.WARN: "33", Verdict.INFO: "36", Verdict.PASS: "32"}
_WIDTH = 20
_SHOWN_LINES = 24
TOLD = (Verdict.FAIL, Verdict.WARN, Verdict.INFO, Verdict.PASS, Verdict.NOT_APPLICABLE,
        Verdict.UNVERIFIABLE)  # fmt: skip
"""The verdicts in the order in which they are counted out."""


class Console:
    """Writes to a terminal with colours and live lines, to anything else plainly."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_live = out.isatty()
        self._total: dict[str, int] = {}
        self._found: dict[str, dict[str, Counter[Verdict]]] = {}
        """By group and check; one that is run again counts as it went then."""

    def error(self, text: str) -> None:
        self._say(self._coloured(text, Verdict.FAIL))

    def listing(self, rows: Iterable[str]) -> None:
        for row in rows:
            entry = requirements()[row]
            self._say(f"{row:14} {entry.level:6} {entry.sentence}")

    def begin(self, target: Target, discovery: Discovery, wanted: Iterable[Check]) -> None:
        extensions = ", ".join(sorted(discovery.extensions)) or "none"
        self._say(f"{target.url}\n  extensions: {extensions}")
        if "options" not in discovery.holds:
            self._say(self._coloured("  OPTIONS tells nothing: run with --assume", Verdict.WARN))
        # Those that do not apply are not run.
        self._total = Counter(
            check.group
            for check in wanted
            if any(not discovery.lacks(requirements()[row].needs) for row in check.rows)
        )
        self._found = {group: {} for group in self._total}

    def done(self, check: Check, findings: list[Finding]) -> None:
        """One check is done: its group's line moves on."""
        group = check.group
        self._found[group][check.name] = Counter(each.verdict for each in findings)
        if self._is_live:
            self._out.write(f"\r\x1b[K{self._line(group)}")
        if len(self._found[group]) == self._total[group]:
            self._say("" if self._is_live else self._line(group))
        self._out.flush()

    def _line(self, group: str) -> str:
        total = self._total[group]
        done = len(self._found[group])
        bar = "█" * (_WIDTH * done // total)
        found = sum(self._found[group].values(), Counter[Verdict]())
        told = [f"{found[each]} {each.word}" for each in TOLD[:4] if found[each]]
        worst = max(found, default=Verdict.PASS)
        return f"  {group:10} {bar:░<{_WIDTH}} " + self._coloured("  ".join(told), worst)

    def end(self, report: Report) -> None:
        for verdict in (Verdict.INFO, Verdict.WARN, Verdict.FAIL):
            for result in report.rows.values():
                if result.verdict is verdict:
                    self._tell(result)
        counts = [
            self._coloured(f"{report.count(each)} {each.word}", each)
            for each in TOLD
            if report.count(each)
        ]
        self._say(f"\n{'   '.join(counts)}   in {report.seconds:.0f} s")
        if report.down_after:
            self.error(f"The server was down after {report.down_after}; the rest was not run.")

    def _tell(self, result: RowResult) -> None:
        row = result.requirement
        first = f"\n{result.verdict.word} {row.id} ({row.level}, {row.section})"
        self._say(self._coloured(first, result.verdict))
        self._say(textwrap.fill(row.sentence, 96, initial_indent="  ", subsequent_indent="  "))
        if row.link:
            self._say(f"  {row.link}")
        is_brief = result.verdict is Verdict.INFO
        for finding in result.worst[: 1 if is_brief else 6]:
            self._say(f"  - {finding.probe or finding.check}")
            self._say(f"      expected  {finding.expected}")
            self._say(f"      got       {finding.got}")
        if is_brief:
            return
        lines = result.worst[0].exchange.splitlines()
        for line in lines[:_SHOWN_LINES]:
            self._say(f"      │ {line}")
        if len(lines) > _SHOWN_LINES:
            self._say(f"      │ … {len(lines) - _SHOWN_LINES} lines more, in --json and --html")

    def _coloured(self, text: str, verdict: Verdict) -> str:
        colour = _COLOURS.get(verdict)
        return f"\x1b[{colour}m{text}\x1b[0m" if self._is_live and colour else text

    def _say(self, text: str) -> None:
        self._out.write(f"{text}\n")
