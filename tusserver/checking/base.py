"""What a check of a service is, and how checks are run one after the other.

A check tries one thing that the server needs, on the service itself, and says in one sentence what
it found. Checks are data: which ones there are for which settings is decided in `compose_checks`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable


class State(Enum):
    """What came of a check."""

    OK = "ok"
    NOTE = "note"
    """It works, with something that the operator should know; or what does not is not needed."""
    MISSING = "missing"
    """Something that the server needs does not work."""
    UNTRIED = "untried"
    """What it builds on does not work."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, in a few words, and what to do about it."""

    text: str = ""
    advice: str = ""
    is_note: bool = False


class Lacking(Exception):
    """What was tried does not work: in one sentence, and with what to do next."""

    def __init__(self, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to be tried. `run` raises Lacking, or what its section explains. If it is not
    `is_needed`, a server works without it. It is tried only if all checks named in `after` have
    worked.
    """

    name: str
    run: Callable[[], Awaitable[Found]]
    is_needed: bool = True
    after: tuple[str, ...] = ()


async def _nothing_left() -> str:
    return ""


def _cannot_explain(error: Exception) -> Lacking:
    return Lacking(str(error) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class Section:
    """The checks of one service. `failures` are what they may raise besides Lacking, which
    `explain` makes one of. `close` removes what they have made, also after a cancellation, and says
    what could not be removed.
    """

    title: str
    checks: tuple[Check, ...]
    failures: tuple[type[Exception], ...] = ()
    explain: Callable[[Exception], Lacking] = _cannot_explain
    close: Callable[[], Awaitable[str]] = _nothing_left


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check."""

    section: str
    name: str
    state: State
    is_needed: bool
    text: str = ""
    advice: str = ""
    works: bool = True
    """Whether what builds on it can be tried."""


@dataclass(slots=True)
class Totals:
    """How many checks came to what."""

    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    is_good: bool = True
    """All that is needed has been tried and works."""

    def add(self, result: Result) -> None:
        """Counts this one."""
        self.counts[result.state] += 1
        if result.state is State.MISSING or (result.state is State.UNTRIED and result.is_needed):
            self.is_good = False


async def results(sections: Iterable[Section]) -> AsyncGenerator[Result, None]:
    """What came of each check, as soon as it is known. To be closed, so that nothing stays
    behind.
    """
    for section in sections:
        left = list[str]()
        async with _closed_after(section, left):
            failed = set[str]()
            for check in section.checks:
                result = await _result(section, check, failed)
                if not result.works:
                    failed.add(check.name)
                yield result
        for what in filter(None, left):
            yield Result(section.title, "leave nothing behind", State.NOTE, False, what)


@asynccontextmanager
async def _closed_after(section: Section, left: list[str]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        left.append(await section.close())


async def _result(section: Section, check: Check, failed: set[str]) -> Result:
    title, name, is_needed = section.title, check.name, check.is_needed
    in_the_way = [earlier for earlier in check.after if earlier in failed]
    if in_the_way:
        text = f"needs what did not work: {', '.join(in_the_way)}"
        return Result(title, name, State.UNTRIED, is_needed, text, works=False)
    try:
        found = await check.run()
    except Lacking as error:
        lacking = error
    except section.failures as error:
        lacking = section.explain(error)
    else:
        state = State.NOTE if found.is_note else State.OK
        return Result(title, name, state, is_needed, found.text, found.advice)
    state = State.MISSING if is_needed else State.NOTE
    return Result(title, name, state, is_needed, lacking.text, lacking.advice, works=False)
