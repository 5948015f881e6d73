"""`bench/run --quick`: a few minutes beside tusd that end in a verdict, for continuous integration.

What is lost is measured once more, by itself and when the machine has come to rest: so that nothing
is lost for what else it was busy with.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cases import Case, cases
from bench.measuring import machine_cpu
from bench.rounds import measure, say
from bench.verdict import BOUND_CASES, CALM, cases_of, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.cases import Sample
    from bench.servers import Server
    from bench.verdict import Loss

SCALE = 0.25
LONGEST_WAIT = 60.0
"""Seconds to wait for a machine that is busy, before each of the two times."""
ROUNDS = 3
_SLOW = "-case slow -parallel 100 -seconds 5 -rate 65536"


def quick_cases() -> dict[str, Case]:
    """The cases that have a bound, as small as their figures stay steady."""
    known = {name: case for name, case in cases(SCALE).items() if name in BOUND_CASES}
    slow = "100 clients of 64 KiB/s, 320 KiB each"
    known["slow"] = replace(known["slow"], title=slow, load=tuple(_SLOW.split()))
    return known


def run(
    servers: list[Server], media: dict[str, Path], program: Path, rounds: int = ROUNDS
) -> tuple[list[Sample], list[Loss]]:
    """All samples, and what is lost in the end."""
    known = quick_cases()

    def measured(names: Sequence[str]) -> list[Sample]:
        wait_for_calm(LONGEST_WAIT)
        chosen = [known[name] for name in names]
        return list(measure(chosen, servers, media, rounds, program))

    return with_second_chance(known, measured)


def wait_for_calm(longest: float) -> None:
    """Returns when the machine has been idle for two seconds, or after so many at the latest."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        before = machine_cpu()
        time.sleep(2)
        if machine_cpu() - before < 2 * CALM:
            return
    say("the machine is busy with something else; that does the figures no good")


def with_second_chance(
    known: dict[str, Case], measured: Callable[[Sequence[str]], list[Sample]]
) -> tuple[list[Sample], list[Loss]]:
    """Measures all cases, and those that are lost once more; the second time counts for them.
    Returns the samples that counted, and what is lost.
    """
    samples = measured(list(known))
    losses = judge(samples, known)
    if not losses:
        return samples, []
    again = cases_of(losses)
    for loss in losses:
        say(f"lost, once more: {loss.sentence}")
    kept = [sample for sample in samples if sample.case not in again]
    samples = kept + measured(again)
    return samples, judge(samples, known)


def tell(losses: Sequence[Loss]) -> int:
    """Says the verdict; returns the exit code."""
    for loss in losses:
        say(f"LOST  {loss.sentence}")
    if losses:
        say("The benchmark is lost; bench/verdict.py has the bounds, bench/run repeats it.")
        return 1
    say("Nothing is lost against tusd.")
    return 0
