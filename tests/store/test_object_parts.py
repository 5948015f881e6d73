"""The arithmetic of parts, for any sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.store.object_parts import (
    MAX_OBJECT,
    MAX_PARTS,
    MIB,
    MIN_PART,
    NoPartsLeft,
    PartRules,
    least_size,
    part_size,
    plan_join,
)

SMALL = PartRules(usual=8, least=5, most=40, count=50)
EQUAL = PartRules(usual=8, least=5, most=8, count=1000, are_equal=True)
SENT = PartRules(usual=8, least=5, most=8, count=1000, are_copied=False)
RULES = st.sampled_from([SMALL, EQUAL, SENT])


@given(st.integers(1, MAX_OBJECT), st.integers(0, 2000), st.sampled_from([8 * MIB, 64 * MIB]))
def test_an_upload_of_any_length_fits_into_the_part_numbers(
    length: int, lost: int, usual: int
) -> None:
    rules = PartRules(usual)
    stored, used = 0, lost
    while stored < length:
        size = part_size(rules, stored, length, used)
        assert size >= MIN_PART
        # Many equal steps at once: it would be asked ten thousand times otherwise.
        steps = max(1, min((length - stored) // size // 2, 500))
        stored, used = stored + steps * size, used + steps
    assert used <= MAX_PARTS


@pytest.mark.parametrize("length", [60 * 1024 * MIB, 2 * MIB * MIB, None])
def test_bodies_that_are_smaller_than_a_part_fit_into_the_part_numbers(length: int | None) -> None:
    rules, body, total = PartRules(), 5 * MIB, length or 300 * 1024 * MIB
    stored = used = tail = 0
    while stored + tail < total:
        tail += body
        while tail >= (size := part_size(rules, stored, length, used)):
            stored, used, tail = stored + size, used + 1, tail - size
        if tail >= least_size(rules, stored, length, used):
            stored, used, tail = stored + tail, used + 1, 0
    assert used <= MAX_PARTS


def test_an_upload_of_unknown_length_can_grow_to_the_largest_object() -> None:
    rules = PartRules()
    stored = used = 0
    while stored < MAX_OBJECT:
        stored, used = stored + part_size(rules, stored, None, used), used + 1
    assert used <= MAX_PARTS


def test_when_all_numbers_are_used_there_is_no_next_part() -> None:
    assert part_size(PartRules(), 0, None, MAX_PARTS - 1) == 8 * MIB
    with pytest.raises(NoPartsLeft):
        part_size(PartRules(), 0, None, MAX_PARTS)


def test_equal_parts_do_not_grow() -> None:
    rules = PartRules(are_equal=True)
    assert part_size(rules, 100_000 * MIB, None, 5000) == 8 * MIB


@given(st.lists(st.integers(0, 60), max_size=12), RULES)
def test_a_join_takes_every_byte_once_and_in_order(sizes: list[int], rules: PartRules) -> None:
    plan = plan_join(sizes, rules)
    wanted = [(source, at) for source, size in enumerate(sizes) for at in range(size)]
    found = [
        (piece.source, at)
        for part in plan
        for piece in part
        for at in range(piece.start, piece.end)
    ]
    assert found == wanted


@given(st.lists(st.integers(0, 60), max_size=12), RULES)
def test_the_parts_of_a_join_are_such_as_the_service_takes(
    sizes: list[int], rules: PartRules
) -> None:
    plan = [sum(piece.size for piece in part) for part in plan_join(sizes, rules)]
    assert all(rules.least <= size <= rules.most for size in plan[:-1])
    assert all(0 < size <= rules.most for size in plan[-1:])
    if rules.are_equal or not rules.are_copied:
        assert {*plan[:-1]} <= {rules.usual}


@given(st.lists(st.integers(0, 60), max_size=12))
def test_of_a_source_at_most_a_smallest_part_is_sent(sizes: list[int]) -> None:
    sent = [0] * len(sizes)
    for part in plan_join(sizes, SMALL):
        if len(part) > 1:
            for piece in part:
                sent[piece.source] += piece.size
    assert all(each < 2 * SMALL.least for each in sent)
