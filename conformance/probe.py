"""What a check is given: a client of the server, and the means to say what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.hearing import NoAnswer
from conformance.requirements import requirements
from conformance.tus import Tus
from conformance.verdict import CheckEnded, Finding, Unverifiable, Verdict
from conformance.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Container

    from conformance.discovery import Discovery
    from conformance.target import Target

CLIENT_ERRORS = range(400, 500)
SUCCESS = range(200, 300)
GONE = (403, 404, 410)
"""Statuses for an upload that is not there."""
_KEPT_TRAFFIC = 8


@dataclass(frozen=True)
class Seen:
    """One answer of the whole run, and the method it answers."""

    check: str
    method: str
    answer: Answer


class Probe(Tus):
    """One run of one check, which judges the rows it claims.

    Findings about rows whose preconditions do not hold are dropped, so that a check can judge
    several rows without asking each time.
    """

    def __init__(
        self,
        target: Target,
        discovery: Discovery,
        name: str,
        rows: tuple[str, ...],
        seen: list[Seen],
    ) -> None:
        super().__init__(target, self._note)
        self.discovery = discovery
        self.name = name
        self.rows = tuple(row for row in rows if not discovery.lacks(requirements()[row].needs))
        self.findings: list[Finding] = []
        self.unseen = 0
        """Comparisons of content that could not be made, as the server serves none."""
        self.seen = seen
        """All answers so far, of all checks: what summaries judge by."""
        self._recent: list[Answer] = []

    def has(self, *words: str) -> bool:
        """Whether these preconditions hold, in the words of `requirements.toml`."""
        return not self.discovery.lacks(frozenset(words))

    @property
    def lenient(self) -> Verdict:
        """For what differs in spelling only: FAIL with --strict, else WARN."""
        return Verdict.FAIL if self.target.strict else Verdict.WARN

    def expect(
        self,
        row: str,
        ok: bool,
        expected: str,
        got: Answer | str | int | None = "",
        *,
        probe: str = "",
        broken: Verdict | None = None,
    ) -> bool:
        """Judges a row: PASS, or what a broken requirement of its level comes to."""
        worst = requirements()[row].broken if broken is None else broken
        self.say(row, Verdict.PASS if ok else worst, expected, got, probe=probe)
        return ok

    def demand(
        self,
        row: str,
        ok: bool,
        expected: str,
        got: Answer | str | int | None = "",
        *,
        probe: str = "",
    ) -> None:
        """As `expect`; what is not so ends the check."""
        if not self.expect(row, ok, expected, got, probe=probe):
            raise CheckEnded

    def status(
        self,
        row: str,
        answer: Answer,
        passes: Container[int],
        *,
        infos: Container[int] = (),
        warns: Container[int] = (),
        expected: str = "",
        probe: str = "",
    ) -> bool:
        """Judges a row by a status; any other than these breaks it. True for a pass."""
        known = ((passes, Verdict.PASS), (infos, Verdict.INFO), (warns, Verdict.WARN))
        verdict = next((each for group, each in known if answer.status in group), None)
        if verdict is None:
            verdict = requirements()[row].broken
        self.say(row, verdict, expected or _statuses(passes), answer, probe=probe)
        return verdict is Verdict.PASS

    def say(
        self,
        row: str,
        verdict: Verdict,
        expected: str = "",
        got: Answer | str | int | None = "",
        *,
        probe: str = "",
    ) -> None:
        """Notes a finding. Worth reading are those that are no PASS; they keep the exchange."""
        if row not in requirements():
            raise KeyError(row)
        if row not in self.rows:
            return
        exchange = "" if verdict <= Verdict.PASS else self._exchange(got)
        finding = Finding(row, verdict, self.name, probe, expected, str(got), exchange)
        self.findings.append(finding)

    def intact(self, row: str, url: str, offset: int, rest: bytes = b"", probe: str = "") -> bool:
        """INTACT: the upload stands at `offset` and, given the rest, is completed from there."""
        answer = self.hd(url)
        expected = f"an upload that still stands at {offset}"
        if not self.expect(
            row, answer.get("upload-offset") == str(offset), expected, answer, probe=probe
        ):
            return False
        if not rest:
            return True
        answer = self.pa(url, offset, rest)
        return self.expect(
            row, answer.status == 204, "204 to the rest of the bytes", answer, probe=probe
        )

    def content(self, row: str, url: str, data: bytes, probe: str = "") -> bool:
        """CONTENT: the finished bytes are these, as far as the server serves them."""
        if not self.has("get"):
            self.unseen += 1
            return True
        answer = self.get(url)
        good = answer.status == 200 and answer.body == data
        got = (
            answer if answer.status != 200 else f"{len(answer.body):,} bytes: {answer.body[:60]!r}"
        )
        return self.expect(
            row, good, f"the {len(data):,} bytes that were sent", "" if good else got, probe=probe
        )

    def is_live(self) -> bool:
        """LIVE: OPTIONS on a new connection is answered within 5 seconds."""
        return self.target.is_live()

    def live(self, row: str, probe: str = "") -> bool:
        """Judges a row by whether the server still answers."""
        return self.expect(row, self.is_live(), "a server that still answers", probe=probe)

    def give_up(self, reason: str) -> None:
        """Ends the check: nothing can be shown."""
        raise Unverifiable(reason)

    def _note(self, method: str, answer: Answer) -> None:
        self.seen.append(Seen(self.name, method, answer))
        self._recent = [*self._recent[1 - _KEPT_TRAFFIC :], answer]

    def _exchange(self, got: Answer | str | int | None) -> str:
        """What went over the wire: of that answer, else of the last few."""
        if isinstance(got, (Answer, NoAnswer)):
            return got.traffic.text() if got.traffic else ""
        traffics = dict.fromkeys(each.traffic for each in self._recent[-2:] if each.traffic)
        return "\n\n".join(each.text() for each in traffics)


def _statuses(group: Container[int]) -> str:
    if isinstance(group, range):
        return f"{group.start // 100}xx"
    return " or ".join(str(status) for status in range(100, 600) if status in group)
