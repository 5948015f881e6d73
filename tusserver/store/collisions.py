"""What happens when a finished upload is to get a name that somebody else's file has already."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class OnCollision(Enum):
    """What is done about it."""

    NUMBER = "number"
    REFUSE = "refuse"
    REPLACE = "replace"


def candidates(
    name: str, on_collision: OnCollision, numbered: Callable[[str, int], str]
) -> Iterator[str]:
    """The names that may be tried, one after the other; `numbered` makes another name of a name and
    a number from 1 on.
    """
    yield name
    if on_collision is OnCollision.NUMBER:
        yield from (numbered(name, number) for number in count(1))
