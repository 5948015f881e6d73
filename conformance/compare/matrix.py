"""The table requirement × server, as Markdown and as a page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from conformance.compare.columns import Cell, Column, reasons
from conformance.report.documents import css_class, page, prose
from conformance.requirements import requirements
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conformance.requirements import Requirement

TOLD = (Verdict.FAIL, Verdict.WARN, Verdict.INFO, Verdict.PASS, Verdict.NOT_APPLICABLE)
_SIGNS = {
    Verdict.PASS: "✓",
    Verdict.INFO: "i",
    Verdict.WARN: "warn",
    Verdict.FAIL: "**FAIL**",
    Verdict.NOT_APPLICABLE: "–",
    Verdict.UNVERIFIABLE: "?",
}
_LEGEND = (
    "✓ kept · **FAIL** a MUST is broken, or data are in danger · warn a SHOULD is broken, or what "
    "one expects of a good server · i a liberty that the specification leaves · – the server does "
    "not offer it · ? could not be shown from outside"
)


def without_reason(columns: Iterable[Column]) -> list[tuple[str, str]]:
    """Servers and rows that fail without anybody having said why: none may be published."""
    known = reasons()
    return [
        (column.name, row)
        for column in columns
        for row, cell in column.cells.items()
        if cell.verdict is Verdict.FAIL and row not in known.get(column.name, {})
    ]


def _rows() -> list[Requirement]:
    return [row for row in requirements().values() if not row.is_for_clients]


def as_markdown(columns: Sequence[Column], date: str) -> str:
    """The page in `docs/`."""
    lines = [
        "# Which server keeps what of tus 1.0\n",
        f"The suite in `conformance/` against each server on {date}, by "
        "`python -m conformance.compare`. What it checks and how a server of your own is checked: "
        "[conformance-suite.md](conformance-suite.md). The same as a page to open: "
        "[conformance/index.html](conformance/index.html); raw: "
        "[conformance/results.json](conformance/results.json).\n",
        _LEGEND + ".\n",
        *_overview(columns),
        *_failures(columns),
        *_table(columns),
    ]
    return "\n".join(lines) + "\n"


def _overview(columns: Sequence[Column]) -> list[str]:
    head = " | ".join(each.word for each in TOLD)
    lines = [f"| server | {head} | extensions |", "| --- |" + " ---: |" * len(TOLD) + " --- |"]
    for column in columns:
        counts = " | ".join(str(column.count(each)) for each in TOLD)
        extensions = ", ".join(column.extensions) or "none told"
        lines.append(f"| {column.name} {column.version} | {counts} | {extensions} |")
    lines.append("\nStarted as (paths shortened):\n")
    lines += [f"- {column.name}: `{column.command}`" for column in columns]
    return lines


def _failures(columns: Sequence[Column]) -> list[str]:
    """Each FAIL with what came instead, and the reason that was found by hand."""
    known, lines = reasons(), ["\n## What fails, and why\n"]
    for column in columns:
        failed = {r: c for r, c in column.cells.items() if c.verdict is Verdict.FAIL}
        lines.append(f"\n### {column.name}\n")
        if not failed:
            lines.append("Nothing.")
        for row, cell in failed.items():
            sentence = requirements()[row].sentence
            lines.append(f"- **{row}** {sentence}")
            lines += [f"  - {_seen(shown)}" for shown in cell.shown[:1]]
            lines.append(f"  - {known.get(column.name, {}).get(row, 'not confirmed yet')}")
    return lines


def _seen(shown: object) -> str:
    probe, expected, got = (getattr(shown, each) for each in ("probe", "expected", "got"))
    return f"`{_code(probe)}`: expected {expected}, got `{_code(got)}`"


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")[:200]


def _table(columns: Sequence[Column]) -> list[str]:
    names = " | ".join(column.name for column in columns)
    lines, group = [], ""
    for row in _rows():
        if row.group != group:
            group = row.group
            lines += [
                f"\n## {group}: {row.section}\n",
                f"| row | level | requirement | {names} |",
                "| --- | --- | --- |" + " :---: |" * len(columns),
            ]
        signs = " | ".join(_SIGNS[_cell(column, row.id).verdict] for column in columns)
        sentence = row.sentence.replace("|", "\\|")
        lines.append(f"| {row.id} | {row.level} | {sentence} | {signs} |")
    return lines


def _cell(column: Column, row: str) -> Cell:
    return column.cells.get(row, Cell(Verdict.UNVERIFIABLE, "not run"))


_STYLE = """
.grid { display: grid; grid-template-columns: 8rem 1fr repeat(var(--n), 6.2rem); gap: .2rem .6rem;
  align-items: baseline }
.head { position: sticky; top: 0; background: Canvas; padding: .5rem .8rem; z-index: 1;
  border-bottom: 1px solid var(--line); font-weight: 600 }
.chip { font-size: .75rem; font-weight: 600; text-align: center } summary { list-style: none }
table { border-collapse: collapse; margin-bottom: 1.5rem }
td, th { padding: .2rem .7rem; text-align: left } tr > :first-child { padding-left: 0 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
@media (max-width: 50rem) { td, th { padding: .2rem .4rem }
  .grid { grid-template-columns: repeat(var(--n), 1fr) }
  .grid > .wide { grid-column: 1 / -1 } }
"""


def as_html(columns: Sequence[Column], date: str) -> str:
    """One page that needs nothing else; a row opens to what each server did."""
    heads = "".join(f'<span class="chip">{escape(each.name)}</span>' for each in columns)
    parts = [
        f"<style>{_STYLE}</style><h1>Which server keeps what of tus 1.0</h1>",
        f"<p>The suite of tusserver, {date}. A row opens to what was expected and what came.</p>",
        _counts(columns),
        f'<div style="--n: {len(columns)}"><div class="head grid"><span class="wide">row</span>'
        f'<span class="wide">requirement</span>{heads}</div>',
    ]
    group = ""
    for row in _rows():
        if row.group != group:
            group = row.group
            parts.append(f"<h2>{group} — {escape(row.section)}</h2>")
        parts.append(_html_row(columns, row))
    return page("tus conformance", "".join(parts) + "</div>")


def _counts(columns: Sequence[Column]) -> str:
    heads = "".join(f'<th class="n {css_class(each)}">{each.word}</th>' for each in TOLD)
    lines = "".join(
        f"<tr><td>{escape(column.name)} {escape(column.version)}</td>"
        + "".join(f'<td class="n">{column.count(each)}</td>' for each in TOLD)
        + "</tr>"
        for column in columns
    )
    return f"<table><tr><th>server</th>{heads}</tr>{lines}</table>"


def _html_row(columns: Sequence[Column], row: Requirement) -> str:
    chips = "".join(
        f'<span class="chip {css_class(verdict)}">{verdict.word}</span>'
        for verdict in (_cell(column, row.id).verdict for column in columns)
    )
    told = "".join(_told(column, row) for column in columns) or "<p>All is as it should be.</p>"
    link = f'<p><a href="{row.link}">in the specification</a></p>' if row.link else ""
    return (
        f'<details><summary class="grid"><code class="wide">{row.id}</code><span class="wide">'
        f"{prose(row.sentence)}</span>{chips}</summary><div>{told}{link}</div></details>"
    )


def _told(column: Column, row: Requirement) -> str:
    cell = _cell(column, row.id)
    if cell.verdict is Verdict.PASS:
        return ""
    why = reasons().get(column.name, {}).get(row.id) or cell.reason
    shown = "".join(
        f"<p>{escape(each.probe)}<br>expected {escape(each.expected)}<br>got {escape(each.got)}"
        f"</p><pre>{escape(each.exchange)}</pre>"
        for each in cell.shown[:1]
    )
    if not (why or shown):
        return ""
    return (
        f'<p><b class="{css_class(cell.verdict)}">{escape(column.name)}: {cell.verdict.word}</b> '
        f"{prose(why)}</p>{shown}"
    )
