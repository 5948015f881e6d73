"""Servers with one fault each: the proof that a check can fail."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.requirements import requirements

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.verdict import Verdict
    from tests.conformance.tiny import Tiny


@dataclass(frozen=True)
class Mutant:
    """`row` is the one it breaks, and `verdict` what the suite is to say of that (or worse)."""

    name: str
    row: str
    kind: type[Tiny]
    verdict: Verdict

    @property
    def fault(self) -> str:
        """What is wrong with it, in words."""
        return " ".join((self.kind.__doc__ or "").split())


_MUTANTS: dict[str, Mutant] = {}


def mutant(row: str, verdict: Verdict | None = None) -> Callable[[type[Tiny]], type[Tiny]]:
    """Declares a server that breaks this row, with its fault as docstring. The verdict is that of
    the row's level, unless the check list says otherwise.
    """

    def declare(kind: type[Tiny]) -> type[Tiny]:
        name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        if row not in requirements() or name in _MUTANTS or not kind.__doc__:
            raise ValueError(f"{name}: no such row, a name that is taken, or no words")
        expected = requirements()[row].broken if verdict is None else verdict
        _MUTANTS[name] = Mutant(name, row, kind, expected)
        return kind

    return declare


def mutants() -> dict[str, Mutant]:
    """All of them by name, in the order of the check list."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    order = {row: number for number, row in enumerate(requirements())}
    return dict(sorted(_MUTANTS.items(), key=lambda pair: order[pair[1].row]))
