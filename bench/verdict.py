"""Whether tusserver has clearly lost what it wins: the bounds of the quick run, and its verdict.

A bound leaves a generous margin to what was measured when it was set, since two figures of one
machine differ; it is there to catch a change that takes the advantage away, not one of a few
percent. Raise one when tusserver has become better for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cases import MIB, REFERENCE, Sample, cost, rate
from bench.report import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from bench.cases import Case

SUBJECT = "tusserver"
CALM = 0.3
"""CPUs that the rest of the machine may use while a round is measured that counts for sure."""


def memory(sample: Sample, unit: str) -> float:
    """Peak memory in MiB."""
    return sample.peak_rss / MIB


FIGURES: dict[str, tuple[str, Callable[[Sample, str], float]]] = {
    "rate": ("the throughput", rate),
    "cost": ("the CPU", cost),
    "memory": ("the memory", memory),
}


@dataclass(frozen=True)
class Bound:
    """The ratio to tusd that one figure of one case keeps to."""

    case: str
    figure: str
    at_least: float = 0.0
    at_most: float = float("inf")

    def holds(self, ratio: float) -> bool:
        return self.at_least <= ratio <= self.at_most


# What each was when the bound was set stands behind it.
BOUNDS = (
    Bound("patch", "cost", at_most=0.70),  # 0.34
    Bound("patch", "rate", at_least=1.3),  # 2.8
    Bound("patch", "memory", at_most=3.0),  # 1.2
    Bound("chunks", "cost", at_most=0.80),  # 0.44
    Bound("chunks", "rate", at_least=1.1),  # 2.2
    Bound("parallel", "cost", at_most=0.80),  # 0.45
    Bound("parallel", "rate", at_least=1.0),  # 1.7
    Bound("crc32", "cost", at_most=0.95),  # 0.64
    Bound("crc32", "rate", at_least=0.9),  # 1.4
    Bound("small", "cost", at_most=1.4),  # 0.95
    Bound("small", "rate", at_least=0.45),  # 0.71
    Bound("post", "cost", at_most=1.2),  # 0.80
    Bound("post", "rate", at_least=0.50),  # 0.77
    Bound("head", "cost", at_most=0.85),  # 0.54
    Bound("head", "rate", at_least=0.80),  # 1.2
    Bound("head-one", "cost", at_most=0.65),  # 0.32
    Bound("head-one", "rate", at_least=1.8),  # 3.3
    Bound("slow", "cost", at_most=1.2),  # 0.70
    Bound("concat", "cost", at_most=0.95),  # 0.41
    Bound("download", "cost", at_most=1.5),  # 1.0
    Bound("download", "rate", at_least=0.70),  # 1.1
)
BOUND_CASES = tuple(dict.fromkeys(bound.case for bound in BOUNDS))


@dataclass(frozen=True)
class Loss:
    """A bound that does not hold, and a sentence that says so."""

    case: str
    sentence: str
    is_measured: bool = True


def judge(
    samples: Sequence[Sample], known: dict[str, Case], bounds: Iterable[Bound] = BOUNDS
) -> list[Loss]:
    """What is lost: by the median over the rounds of the ratio to tusd within a round. A case of
    which there is no such round is lost, too: a server that fails must not pass.

    Rounds during which the machine was busy with something else count only where there are no
    others, and never for throughput, which says nothing then.
    """
    busy = {_round(sample) for sample in samples if _is_busy(sample)}
    calm = {_round(sample)[:2] for sample in samples if _round(sample) not in busy}
    results = Results(calmest(samples), known)
    media = results.media() or ["any"]
    return [
        loss
        for medium in media
        for bound in bounds
        if (loss := _loss(results, known[bound.case], medium, bound)) is not None
        and (bound.figure != "rate" or not loss.is_measured or (bound.case, medium) in calm)
    ]


def calmest(samples: Sequence[Sample]) -> list[Sample]:
    """Of each case on each medium its calm rounds, or all where none is."""
    busy = {_round(sample) for sample in samples if _is_busy(sample)}
    calm = {_round(sample)[:2] for sample in samples if _round(sample) not in busy}
    return [
        sample for sample in samples if _round(sample) not in busy or _round(sample)[:2] not in calm
    ]


def _is_busy(sample: Sample) -> bool:
    return sample.noise > CALM * sample.seconds


def _round(sample: Sample) -> tuple[str, str, int]:
    return sample.case, sample.medium, sample.round


def _loss(results: Results, case: Case, medium: str, bound: Bound) -> Loss | None:
    words, figure = FIGURES[bound.figure]

    def of(sample: Sample) -> float:
        return figure(sample, case.unit)

    ratios = results.ratios(case, medium, SUBJECT, of)
    if not ratios:
        sentence = f"{case.title}, {medium}: there is nothing to compare, see what failed above"
        return Loss(case.name, sentence, is_measured=False)
    ratio = results.ratio(case, medium, SUBJECT, of)
    if ratio is not None and bound.holds(ratio):
        return None
    limit = f"at least {bound.at_least:g}" if bound.at_least else f"at most {bound.at_most:g}"
    rounds = ", ".join(f"{each:.2f}" for each in ratios)
    return Loss(
        case.name,
        f"{case.title}, {medium}: {words} of {SUBJECT} is {ratio:.2f} × that of {REFERENCE}, "
        f"where {limit} is wanted (rounds: {rounds})",
    )


def cases_of(losses: Collection[Loss]) -> list[str]:
    """The cases that are to be measured once more."""
    return list(dict.fromkeys(loss.case for loss in losses))
