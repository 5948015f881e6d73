"""What is kept of a run against one server: enough for the table, and for a reader's doubt."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.runner import Report, RowResult

_KEPT = 3
"""Findings of a row that are kept."""
_LONGEST = 4000
"""Characters of what went over the wire that are kept."""


@dataclass(frozen=True)
class Shown:
    """One finding that is no PASS: `exchange` is what went over the wire."""

    probe: str
    expected: str
    got: str
    exchange: str


@dataclass(frozen=True)
class Cell:
    """One row of one server."""

    verdict: Verdict
    reason: str = ""
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Column:
    """One server: how it was started, and its rows by id."""

    name: str
    version: str
    command: str
    extensions: tuple[str, ...]
    seconds: float
    down_after: str
    cells: dict[str, Cell] = field(repr=False)

    def count(self, verdict: Verdict) -> int:
        return sum(cell.verdict is verdict for cell in self.cells.values())


def column(name: str, version: str, command: str, report: Report) -> Column:
    """What is kept of this report."""
    return Column(
        name,
        version,
        command,
        tuple(sorted(report.discovery.extensions)),
        round(report.seconds, 1),
        report.down_after,
        {row: _cell(result) for row, result in report.rows.items()},
    )


def _cell(result: RowResult) -> Cell:
    if result.verdict <= Verdict.PASS:
        return Cell(result.verdict, result.reason)
    shown = tuple(
        Shown(each.probe or each.check, each.expected, each.got, each.exchange[:_LONGEST])
        for each in result.worst[:_KEPT]
    )
    return Cell(result.verdict, result.reason, shown)


def write(path: Path, columns: Sequence[Column]) -> None:
    path.write_text(json.dumps([asdict(each) for each in columns], indent=1) + "\n")


def read(path: Path) -> list[Column]:
    """What `write` wrote."""
    return [_column(each) for each in json.loads(path.read_text())]


def _column(raw: dict[str, object]) -> Column:
    cells = raw.pop("cells")
    assert isinstance(cells, dict)
    return Column(
        **{**raw, "extensions": tuple(raw["extensions"])},  # type: ignore[arg-type]
        cells={
            row: Cell(
                Verdict(cell["verdict"]),
                cell["reason"],
                tuple(Shown(**each) for each in cell["shown"]),
            )
            for row, cell in cells.items()
        },
    )


def reasons() -> dict[str, dict[str, str]]:
    """By server and row: why it is so, checked by hand against the specification."""
    text = files("conformance.compare").joinpath("reasons.toml").read_text("utf-8")
    return tomllib.loads(text)
