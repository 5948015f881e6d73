"""How bytes are cut into the parts of a multipart upload; pure arithmetic.

The rules of S3, which others loosen: at most 10,000 parts with ascending numbers, each of 5 MiB to
5 GiB, only the last one may be smaller. Numbers need not be consecutive, so those that a dead
request may have used are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MIB = 1024 * 1024
MIN_PART, MAX_PART = 5 * MIB, 5 * 1024 * MIB
MAX_PARTS = 10_000
MAX_OBJECT = 5 * MIB * MIB
"""Bytes of the largest object that all services take: 5 TiB."""

_GROWTH = 1000
"""While the length is unknown a part is a thousandth of what is stored: 5 TiB take about 7,500
parts.
"""
_COPY = 512 * MIB
"""Bytes that one copy inside the service moves: few calls, and none that takes minutes."""


@dataclass(frozen=True, slots=True)
class PartRules:
    """The sizes of parts, in bytes: the usual one, and what the service allows. With `are_equal`
    all parts but the last of an upload have the same size. `are_copied`: the service can make a
    part of another object by itself.
    """

    usual: int = 8 * MIB
    least: int = MIN_PART
    most: int = MAX_PART
    count: int = MAX_PARTS
    are_equal: bool = False
    are_copied: bool = True


def part_size(rules: PartRules, stored: int, length: int | None, used: int) -> int:
    """The size of the next part, when the parts so far hold `stored` bytes and their numbers reach
    up to `used`; so large that the rest of `length` (None: unknown) fits into the numbers that are
    left.

    Raises NoPartsLeft.
    """
    return max(least_size(rules, stored, length, used), min(rules.usual, rules.most))


def least_size(rules: PartRules, stored: int, length: int | None, used: int) -> int:
    """The same for a part that is sent because a body is over: so many bytes are worth a number.

    Raises NoPartsLeft.
    """
    left = rules.count - used
    if left < 1:
        raise NoPartsLeft
    if length is None:
        wanted = 0 if rules.are_equal else stored // _GROWTH
    else:
        # A quarter is left for numbers that get lost when a server dies.
        wanted = _divided(max(0, length - stored), max(1, left * 3 // 4))
    return min(max(rules.least, _divided(wanted, MIB) * MIB), rules.most)


class NoPartsLeft(Exception):
    """An upload has used up the numbers of its parts."""


def _divided(count: int, by: int) -> int:
    """Rounded up."""
    return -(-count // by)


class Slice(NamedTuple):
    """The bytes [start, end) of the source with this index."""

    source: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def plan_copy(size: int) -> Iterator[tuple[int, int]]:
    """The bytes [start, end) of each part of a copy of a whole object of `size` bytes, of at most
    MAX_OBJECT; all but the last have the same size.
    """
    step = max(_COPY, _divided(size, MAX_PARTS))
    return ((start, min(start + step, size)) for start in range(0, size, step))


def plan_join(sizes: Sequence[int], rules: PartRules) -> list[tuple[Slice, ...]]:
    """The parts that sources of these sizes are joined in, each made of the slices that follow one
    another in it: one slice can be copied inside the service, several have to be read and sent.

    Nothing is sent that could be copied: at the most so much that what is left of a source before
    it is filled up to the smallest part.
    """
    total = sum(sizes)
    if rules.are_equal or not rules.are_copied:
        size = part_size(rules, 0, total, 0)
        return list(_filled(_slices(sizes), size, size))
    most = min(max(_COPY, _divided(total, rules.count // 4)), rules.most)
    return list(_filled(_slices(sizes), rules.least, most))


def _slices(sizes: Iterable[int]) -> Iterator[Slice]:
    return (Slice(index, 0, size) for index, size in enumerate(sizes) if size)


def _filled(slices: Iterable[Slice], least: int, most: int) -> Iterator[tuple[Slice, ...]]:
    """Parts of `least` to `most` bytes, of a single slice wherever one is large enough."""
    pending: list[Slice] = []
    for piece in slices:
        rest = piece
        while rest.size:
            held = sum(waiting.size for waiting in pending)
            taken = min(rest.size, most if not pending else least - held)
            pending.append(Slice(rest.source, rest.start, rest.start + taken))
            rest = rest._replace(start=rest.start + taken)
            if held + taken >= least:
                yield tuple(pending)
                pending = []
    if pending:
        yield tuple(pending)
