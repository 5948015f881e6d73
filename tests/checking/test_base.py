"""How checks are run one after the other."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from tests.checking import states, tried
from tusserver.checking.base import Check, Found, Lacking, Section, State, Totals, results

pytestmark = pytest.mark.anyio


async def works() -> Found:
    return Found("it works")


async def lacks() -> Found:
    raise Lacking("it does not work", "mend it")


async def fails() -> Found:
    raise OSError("it is broken")


async def test_what_builds_on_something_untried_is_not_tried_either() -> None:
    chain = (
        Check("first", lacks),
        Check("second", works, after=("first",)),
        Check("third", works, after=("second",)),
        Check("other", works),
    )
    found = await tried(Section("A service", chain))
    assert states(found) == {
        "first": State.MISSING,
        "second": State.UNTRIED,
        "third": State.UNTRIED,
        "other": State.OK,
    }
    assert found["third"].text == "needs what did not work: second"


async def test_what_is_needed_and_could_not_be_tried_is_not_good() -> None:
    wished = Check("first", lacks, is_needed=False)
    for is_needed in (False, True):
        built = Check("second", works, is_needed=is_needed, after=("first",))
        totals = Totals()
        for result in (await tried(Section("A service", (wished, built)))).values():
            totals.add(result)
        assert totals.counts[State.NOTE] == totals.counts[State.UNTRIED] == 1
        assert totals.is_good is not is_needed


async def test_only_failures_of_a_service_are_explained() -> None:
    found = await tried(Section("A service", (Check("first", fails),), (OSError,)))
    assert (found["first"].state, found["first"].text) == (State.MISSING, "it is broken")
    with pytest.raises(OSError, match="broken"):
        await tried(Section("A service", (Check("first", fails),)))


async def test_a_section_is_closed_however_it_ends() -> None:
    closed = list[str]()

    async def close() -> str:
        closed.append("closed")
        return "a file stays"

    section = Section("A service", (Check("first", works), Check("second", fails)), close=close)
    with pytest.raises(OSError, match="broken"):
        await tried(section)
    async with aclosing(results([section])) as found:
        async for result in found:
            assert result.name == "first"
            break
    assert closed == ["closed", "closed"]
    left = await tried(Section("A service", (), close=close))
    assert (left["leave nothing behind"].state, closed) == (State.NOTE, ["closed"] * 3)
