"""The checks: functions that claim rows of the check list."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.requirements import requirements

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.probe import Probe


@dataclass(frozen=True)
class Check:
    """`rows` are the ids it judges. One that is `alone` runs when no other does; a `summary` runs
    last, and judges by all answers that were seen.
    """

    name: str
    rows: tuple[str, ...]
    run: Callable[[Probe], None]
    is_alone: bool = False
    is_summary: bool = False

    @property
    def group(self) -> str:
        return requirements()[self.rows[0]].group


_CHECKS: dict[str, Check] = {}


def check(
    *rows: str, alone: bool = False, summary: bool = False
) -> Callable[[Callable[[Probe], None]], Callable[[Probe], None]]:
    """Declares a check of these rows.

    Each row it claims (and whose preconditions hold) must be judged in each run, on a server that
    does everything right too.
    """

    def declare(run: Callable[[Probe], None]) -> Callable[[Probe], None]:
        name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"
        unknown = [row for row in rows if row not in requirements()]
        if unknown or not rows or name in _CHECKS:
            raise ValueError(f"{name}: {unknown or 'no rows, or a name that is taken'}")
        _CHECKS[name] = Check(name, rows, run, alone, summary)
        return run

    return declare


def checks() -> dict[str, Check]:
    """All checks by name, in the order of the check list."""
    from conformance import checks as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    order = {row: number for number, row in enumerate(requirements())}
    return dict(sorted(_CHECKS.items(), key=lambda pair: order[pair[1].rows[0]]))
