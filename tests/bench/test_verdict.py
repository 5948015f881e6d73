"""The verdict of the quick benchmark, on made-up samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench.cases import GIB, MIB, Sample
from bench.quick import quick_cases, tell, with_second_chance
from bench.verdict import BOUND_CASES, BOUNDS, Bound, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = quick_cases()
COST = (Bound("patch", "cost", at_most=0.7),)
RATE = (Bound("patch", "rate", at_least=1.3),)
MEMORY = (Bound("patch", "memory", at_most=3.0),)


def sample(server: str, number: int = 0, *, case: str = "patch", cpu: float = 1.0) -> Sample:
    return Sample(
        case=case, server=server, medium="disk", round=number, seconds=1.0, bytes=GIB,
        requests=1000, cpu=cpu, client_cpu=0.1, noise=0.0, p50=0.1, p99=0.2,
        peak_rss=40 * MIB, threads=2,
    )  # fmt: skip


def rounds(*ratios: float, case: str = "patch") -> list[Sample]:
    """tusd's CPU is another in each round, tusserver's this many times as much."""
    return [
        sample(server, number, case=case, cpu=(1.0 + number) * factor)
        for number, ratio in enumerate(ratios)
        for server, factor in (("tusserver", ratio), ("tusd", 1.0))
    ]


def won() -> list[Sample]:
    """Every case, within its bounds."""
    found = []
    for case in BOUND_CASES:
        ours = replace(sample("tusserver", case=case, cpu=0.5), seconds=0.5)
        found += [ours, sample("tusd", case=case)]
    return found


def test_what_keeps_to_its_bounds_is_won() -> None:
    assert judge(won(), KNOWN) == []


def test_the_median_of_the_ratios_within_rounds_counts() -> None:
    assert judge(rounds(0.5, 0.6, 9.0), KNOWN, COST) == []
    (loss,) = judge(rounds(0.5, 0.8, 0.9), KNOWN, COST)
    assert loss.case == "patch"
    assert loss.sentence == (
        "one PATCH, disk: the CPU of tusserver is 0.80 × that of tusd, where at most 0.7 is wanted "
        "(rounds: 0.50, 0.80, 0.90)"
    )


@pytest.mark.parametrize(("ratio", "count"), [(0.7, 0), (0.71, 1)])
def test_a_bound_itself_is_still_won(ratio: float, count: int) -> None:
    assert len(judge(rounds(ratio), KNOWN, COST)) == count


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 0), (0.76, 0), (0.78, 1), (2.0, 1)])
def test_throughput_is_lost_when_it_is_too_little(seconds: float, count: int) -> None:
    ours = replace(sample("tusserver"), seconds=seconds)
    assert len(judge([ours, sample("tusd")], KNOWN, RATE)) == count


def test_memory_is_lost_when_it_is_too_much() -> None:
    ours = sample("tusserver")
    assert judge([ours, sample("tusd")], KNOWN, MEMORY) == []
    whole_body = replace(ours, peak_rss=512 * MIB)
    (loss,) = judge([whole_body, sample("tusd")], KNOWN, MEMORY)
    assert "the memory of tusserver is 12.80 × that of tusd" in loss.sentence


def test_rounds_in_which_the_machine_was_busy_do_not_count() -> None:
    noisy = [
        replace(each, noise=0.9 if each.round < 2 and each.server == "tusserver" else 0.1)
        for each in rounds(5.0, 5.0, 0.5)
    ]
    assert judge(noisy, KNOWN, COST) == []


def test_rounds_in_which_the_machine_was_busy_count_where_there_are_no_others() -> None:
    noisy = [replace(each, noise=0.9) for each in rounds(5.0, 5.0, 0.5)]
    (loss,) = judge(noisy, KNOWN, COST)
    assert "(rounds: 5.00, 5.00, 0.50)" in loss.sentence


def test_throughput_is_lost_only_where_the_machine_was_not_busy() -> None:
    slow = [replace(sample("tusserver"), seconds=2.0), sample("tusd")]
    assert len(judge(slow, KNOWN, RATE)) == 1
    assert judge([slow[0], replace(slow[1], noise=0.9)], KNOWN, RATE) == []
    assert len(judge(slow[:1], KNOWN, RATE)) == 1


@pytest.mark.parametrize("missing", ["tusserver", "tusd"])
def test_a_case_that_failed_is_lost(missing: str) -> None:
    left = [each for each in rounds(0.5, 0.5) if each.server != missing]
    (loss,) = judge(left, KNOWN, COST)
    assert "nothing to compare" in loss.sentence


def test_without_any_sample_every_case_is_lost() -> None:
    assert {loss.case for loss in judge([], KNOWN)} == set(BOUND_CASES)


def test_every_bound_is_of_a_case_of_the_quick_run_and_bounds_something() -> None:
    for bound in BOUNDS:
        assert bound.case in KNOWN
        assert (bound.at_least > 0) != (bound.at_most < float("inf"))


def chance(*answers: Sequence[Sample]) -> tuple[list[list[str]], list[str]]:
    """What was measured, and the cases that are lost in the end, when these are the samples."""
    asked: list[list[str]] = []
    left = iter(answers)

    def measured(names: Sequence[str]) -> list[Sample]:
        asked.append(list(names))
        return list(next(left))

    _, losses = with_second_chance(KNOWN, measured)
    return asked, [loss.case for loss in losses]


def slower(case: str) -> list[Sample]:
    return [each for each in won() if each.case != case] + rounds(1.9, 2.0, 2.1, case=case)


def test_nothing_is_measured_twice_when_nothing_is_lost() -> None:
    assert chance(won()) == ([list(KNOWN)], [])


def test_only_what_is_lost_is_measured_once_more() -> None:
    again = [each for each in won() if each.case == "chunks"]
    assert chance(slower("chunks"), again) == ([list(KNOWN), ["chunks"]], [])


def test_what_is_lost_twice_is_lost() -> None:
    asked, lost = chance(slower("chunks"), rounds(1.9, case="chunks"))
    assert len(asked) == 2
    assert set(lost) == {"chunks"}


def test_the_verdict_is_said_and_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell([]) == 0
    losses = judge(rounds(0.9), KNOWN, COST)
    assert tell(losses) == 1
    assert "LOST  one PATCH, disk: the CPU of tusserver is 0.90" in capsys.readouterr().err
