"""A run as a document: JSON and JUnit for programs, Markdown and HTML for people."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from conformance import __version__
from conformance.report.console import TOLD
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.runner import Report, RowResult
    from conformance.verdict import Finding


def as_json(report: Report) -> str:
    """Everything that was found; `rows` by id."""
    told = {
        "suite": __version__,
        "url": report.target.url,
        "seconds": round(report.seconds, 1),
        "down_after": report.down_after or None,
        "extensions": sorted(report.discovery.extensions),
        "counts": {each.word: report.count(each) for each in TOLD},
        "rows": {row: _told(result) for row, result in report.rows.items()},
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _told(result: RowResult) -> dict[str, Any]:
    row = result.requirement
    return {
        "verdict": result.verdict.word,
        "level": row.level,
        "section": row.section,
        "sentence": row.sentence,
        "link": row.link or None,
        "reason": result.reason or None,
        "not_compared": result.unseen,
        "findings": [{**asdict(each), "verdict": each.verdict.word} for each in result.findings],
    }


def as_junit(report: Report) -> str:
    """A test case per row: FAIL is a failure, what was not shown is skipped."""
    suite = ElementTree.Element(
        "testsuite",
        name="tus conformance",
        tests=str(len(report.rows)),
        failures=str(report.count(Verdict.FAIL)),
        skipped=str(report.count(Verdict.NOT_APPLICABLE) + report.count(Verdict.UNVERIFIABLE)),
        time=f"{report.seconds:.1f}",
    )
    for row, result in report.rows.items():
        case = ElementTree.SubElement(
            suite, "testcase", classname=result.requirement.group, name=row
        )
        if result.verdict is Verdict.FAIL:
            failure = ElementTree.SubElement(case, "failure", message=result.requirement.sentence)
            failure.text = _printable("\n\n".join(_in_words(each) for each in result.worst))
        elif result.verdict <= Verdict.UNVERIFIABLE:
            ElementTree.SubElement(case, "skipped", message=result.reason)
        elif result.verdict is not Verdict.PASS:
            out = ElementTree.SubElement(case, "system-out")
            told = "\n\n".join(_in_words(each) for each in result.worst)
            out.text = _printable(f"{result.verdict.word}\n{told}")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _in_words(finding: Finding) -> str:
    return (
        f"{finding.probe or finding.check}\nexpected {finding.expected}\ngot {finding.got}\n"
        f"{finding.exchange}"
    )


def _printable(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(each if each in "\n\t" or ord(each) >= 32 else "�" for each in text)


def as_markdown(report: Report) -> str:
    """A table for each group, then the words to whatever is not as it should be."""
    counts = ", ".join(f"{report.count(each)} {each.word}" for each in TOLD if report.count(each))
    lines = [f"# tus conformance of {report.target.url}\n", f"{counts}.\n"]
    for group, results in _groups(report).items():
        lines += [f"\n## {group}\n", "| row | level | verdict | |", "| --- | --- | --- | --- |"]
        for result in results:
            row = result.requirement
            words = result.reason or row.sentence
            told = words.replace("|", "\\|")
            lines.append(f"| {row.id} | {row.level} | {result.verdict.word} | {told} |")
        for result in results:
            if result.verdict >= Verdict.WARN:
                lines.append(f"\n**{result.verdict.word} {result.requirement.id}**\n")
                lines += [f"```\n{_in_words(each)}\n```" for each in result.worst[:3]]
    return "\n".join(lines) + "\n"


def _groups(report: Report) -> dict[str, list[RowResult]]:
    groups = defaultdict(list)
    for result in report.rows.values():
        groups[result.requirement.group].append(result)
    return groups


_CODE = re.compile("`([^`]+)`")
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f6f8fa; --fail: #cf222e;
  --warn: #9a6700; --info: #0969da; --pass: #1a7f37; --mute: #656d76 }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #161b22; --fail: #ff7b72;
  --warn: #d29922; --info: #79c0ff; --pass: #56d364; --mute: #8b949e } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.counts span { margin-right: 1.2rem; font-weight: 600 }
details { border: 1px solid var(--line); border-radius: 6px; margin: .3rem 0 }
summary { padding: .4rem .8rem; cursor: pointer } summary:hover { background: var(--soft) }
details > div { padding: .2rem 1rem .8rem }
code { font-size: .92em }
code.id { display: inline-block; min-width: 8.5rem } .level { color: var(--mute); font-size: .8rem }
pre { background: var(--soft); padding: .7rem; overflow: auto; font-size: .8rem; max-height: 24rem }
.v { display: inline-block; min-width: 6.5rem; font-weight: 600; font-size: .85rem }
.FAIL { color: var(--fail) } .WARN { color: var(--warn) } .INFO { color: var(--info) }
.PASS { color: var(--pass) } .none { color: var(--mute) }
"""


def as_html(report: Report) -> str:
    """One page that needs nothing else; a row opens to what was expected and what came."""
    counts = "".join(
        f'<span class="{css_class(each)}">{report.count(each)} {each.word}</span>' for each in TOLD
    )
    body = "".join(
        f"<h2>{escape(group)} — {escape(results[0].requirement.section)}</h2>"
        + "".join(_row(result) for result in results)
        for group, results in _groups(report).items()
    )
    down = f"<p class=FAIL>The server was down after {report.down_after}.</p>"
    return page(
        "tus conformance",
        f"<h1>tus conformance of {escape(report.target.url)}</h1>"
        f'<p class="counts">{counts}</p>{down if report.down_after else ""}{body}',
    )


def page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<body>{body}</body></html>\n"
    )


def prose(text: str) -> str:
    """Text for a page, with `code` set as such."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def css_class(verdict: Verdict) -> str:
    return verdict.word if verdict >= Verdict.PASS else "none"


def _row(result: RowResult) -> str:
    row = result.requirement
    link = f' <a href="{row.link}">in the specification</a>' if row.link else ""
    why = f"<p>{prose(result.reason)}</p>" if result.reason else ""
    told = "".join(
        f"<p><b>{escape(each.probe or each.check)}</b><br>expected {escape(each.expected)}"
        f"<br>got {escape(each.got)}</p><pre>{escape(each.exchange)}</pre>"
        for each in result.worst[:6]
        if each.verdict > Verdict.PASS
    )
    return (
        f"<details{' open' if result.verdict is Verdict.FAIL else ''}><summary>"
        f'<span class="v {css_class(result.verdict)}">{result.verdict.word}</span>'
        f'<code class="id">{row.id}</code> <span class="level">{row.level}</span> '
        f"{prose(row.sentence)}</summary><div>{why}{told}{link}</div></details>"
    )


WRITERS: dict[str, Callable[[Report], str]] = {
    "json": as_json,
    "junit": as_junit,
    "markdown": as_markdown,
    "html": as_html,
}
"""The documents by the name of the option that asks for them."""
