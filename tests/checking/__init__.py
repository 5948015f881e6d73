"""Trying out services that lack something."""

from __future__ import annotations

from dataclasses import replace

from tusserver.checking.base import Check, Result, Section, State, results


async def tried(section: Section, *only: str) -> dict[str, Result]:
    """What came of the checks, by their names; if some are named, of these and of what they build
    on.
    """
    if only:
        section = replace(section, checks=tuple(_chosen(section.checks, set(only))))
    found = [result async for result in results([section])]
    assert len({result.name for result in found}) == len(found)
    return {result.name: result for result in found}


def _chosen(checks: tuple[Check, ...], names: set[str]) -> list[Check]:
    assert names <= {check.name for check in checks}
    chosen = list[Check]()
    for check in reversed(checks):
        if check.name in names:
            names.update(check.after)
            chosen.insert(0, check)
    return chosen


def states(found: dict[str, Result], *but: State) -> dict[str, State]:
    """How each stands, leaving some out."""
    return {name: result.state for name, result in found.items() if result.state not in but}
