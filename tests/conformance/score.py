"""The mutation score: how many of the tiny server's mutants the suite's checks catch.

`python -m tests.conformance.score` runs, for each mutant, the checks of the row it breaks; with
`--kin` all checks, and tells which other rows failed with it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.check import Check, checks
from conformance.cli import chosen_rows
from conformance.discovery import discover
from conformance.requirements import requirements
from conformance.runner import Report, Runner
from conformance.target import Target
from conformance.verdict import Verdict
from tests.conformance.mutants import Mutant, mutants
from tests.conformance.tiny import Tiny

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE = 10


@dataclass(frozen=True)
class Outcome:
    """What the suite said of a mutant: the verdict on its row, and the other rows that failed."""

    mutant: Mutant
    verdict: Verdict
    words: str
    kin: tuple[str, ...]

    @property
    def is_caught(self) -> bool:
        """Whether its row got the verdict that it deserves, or a worse one."""
        return self.verdict >= self.mutant.verdict


def examine(mutant: Mutant, *, with_kin: bool = False, jobs: int = 2) -> Outcome:
    """Starts the mutant and runs the checks of its row, or all."""
    with mutant.kind() as server:
        report = judged(server, None if with_kin else mutant.row, jobs=jobs)
    result = report.rows[mutant.row]
    told = result.worst[0] if result.worst else None
    words = f"{told.probe}: {told.got}" if told else result.reason
    kin = [
        row
        for row, each in report.rows.items()
        if row != mutant.row and each.verdict is Verdict.FAIL
    ]
    return Outcome(mutant, result.verdict, words, tuple(kin))


@dataclass(frozen=True)
class InProcess(Target):
    """A tiny server in this process, which needs no command to be restarted."""

    server: Tiny | None = None

    def restart(self) -> None:
        assert self.server is not None
        self.server.restart()


def judged(server: Tiny, row: str | None, *, jobs: int = 2) -> Report:
    """A run of the checks of one row, or of all."""
    needs = requirements()[row].needs if row is not None else frozenset[str]()
    target = InProcess(
        server.url,
        timeout=3.0,
        is_slow="slow" in needs,
        max_stall=10.0,
        max_wait=10.0,
        restart_command="in this process" if "restart" in needs else None,
        server=server,
    )
    runner = Runner(target, discover(target), jobs=jobs)
    return runner.run(_checks_of(row), None if row is None else [row])


def _checks_of(row: str | None) -> list[Check]:
    """Those that judge the row; others as well where it is judged by the answers to all."""
    found = [each for each in checks().values() if row is None or row in each.rows]
    if row is None or not any(each.is_summary for each in found):
        return found
    seen = ("CORE-HEAD", "CORE-VER", "CREATE")
    return [each for each in checks().values() if each in found or each.group in seen]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="IDS", help="rows or groups between commas")
    parser.add_argument("--kin", action="store_true", help="run all checks on each mutant")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    options = parser.parse_args()
    rows = set(chosen_rows(options.only))
    chosen = [each for each in mutants().values() if each.row in rows]
    if options.list:
        for each in chosen:
            print(f"{each.row:14} {each.name:40} {each.fault}")
        return 0
    return told(examine_all(chosen, with_kin=options.kin), rows)


def examine_all(chosen: Iterable[Mutant], *, with_kin: bool = False) -> list[Outcome]:
    """Several at once, as most of it is waiting. What got away is looked at once more alone: some
    faults show only in a race, which a busy machine decides otherwise.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda each: examine(each, with_kin=with_kin), chosen))
    return [
        each if each.is_caught else examine(each.mutant, with_kin=with_kin) for each in outcomes
    ]


def told(outcomes: list[Outcome], rows: set[str]) -> int:
    """Prints the score; 1 when a mutant got away, or a FAIL-level row of a server has none."""
    for each in outcomes:
        fate = "caught " if each.is_caught else "MISSED "
        kin = f"  with {', '.join(each.kin)}" if each.kin else ""
        print(f"{fate} {each.mutant.row:14} {each.mutant.name:40} {each.verdict.word}{kin}")
        if not each.is_caught:
            print(f"        {each.mutant.fault}\n        {each.words}")
    caught = sum(each.is_caught for each in outcomes)
    bare = [row for row in without_mutant() if row in rows]
    print(f"\n{caught} of {len(outcomes)} mutants caught")
    if bare:
        print(f"FAIL-level rows without a mutant: {', '.join(bare)}")
    return 0 if caught == len(outcomes) and not bare else 1


def without_mutant() -> list[str]:
    """The rows that can fail a server, and that no mutant breaks."""
    broken = {each.row for each in mutants().values()}
    return [
        row.id
        for row in requirements().values()
        if row.broken is Verdict.FAIL and not row.is_for_clients and row.id not in broken
    ]


if __name__ == "__main__":
    sys.exit(main())
