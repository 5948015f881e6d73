"""From raw samples to tables and plots."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import MIB, WAYS, Case, Sample, cost, rate
from bench.remarks import remarks

_COLOURS = ("#2f6feb", "#8fb5f7", "#6e7781", "#9a6700", "#bc4c00", "#1a7f37")
Samples = Sequence[Sample]
Figure = Callable[[Sample], float]


class Results:
    """All samples of a run, by case, medium and server."""

    def __init__(self, samples: Samples, cases: dict[str, Case]) -> None:
        self._samples = samples
        self.cases = [case for case in cases.values() if any(case.name == s.case for s in samples)]

    def media(self) -> list[str]:
        return list(dict.fromkeys(sample.medium for sample in self._samples))

    def servers(self) -> list[str]:
        return list(dict.fromkeys(sample.server for sample in self._samples))

    def of(self, case: Case, medium: str, server: str) -> Samples:
        return [
            sample
            for sample in self._samples
            if (sample.case, sample.medium, sample.server) == (case.name, medium, server)
        ]

    def median(self, case: Case, medium: str, server: str, figure: Figure) -> float | None:
        found = self.of(case, medium, server)
        return median(map(figure, found)) if found else None

    def ratios(self, case: Case, medium: str, server: str, figure: Figure) -> list[float]:
        """server / base of the case, each round by itself: what slows the machine down slows
        both.
        """
        others = {sample.round: figure(sample) for sample in self.of(case, medium, case.base)}
        return [
            figure(sample) / others[sample.round]
            for sample in self.of(case, medium, server)
            if others.get(sample.round)
        ]

    def ratio(self, case: Case, medium: str, server: str, figure: Figure) -> float | None:
        """The median of the ratios."""
        ratios = self.ratios(case, medium, server, figure)
        return median(ratios) if ratios else None


def write_raw(path: Path, samples: Iterable[Sample]) -> None:
    path.write_text("".join(json.dumps(sample.as_dict()) + "\n" for sample in samples))


def read_raw(path: Path) -> list[Sample]:
    return [Sample(**json.loads(line)) for line in path.read_text().splitlines()]


def machine() -> str:
    """What it was measured on, in one line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{len(names)} × {names[0]}, {memory:.0f} GiB, Linux {platform.release()}"


def table(results: Results, case: Case, medium: str) -> str:
    """One case on one medium in Markdown."""
    unit = ("MiB/s", "CPU-s/GiB") if case.unit == "bytes" else ("per s", "CPU-s/1000")
    head = (
        "server", unit[0], f"× {case.base}", unit[1], f"× {case.base}",
        "p50 ms", "p99 ms", "peak MiB", "threads",
    )  # fmt: skip
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    lines += [
        _row([server, *_figures(results, case, medium, server)])
        for server in results.servers()
        if results.of(case, medium, server)
    ]
    return "\n".join(lines)


def _figures(results: Results, case: Case, medium: str, server: str) -> list[str]:
    def speed(sample: Sample) -> float:
        return rate(sample, case.unit)

    def price(sample: Sample) -> float:
        return cost(sample, case.unit)

    where = (case, medium, server)
    return [
        _number(results.median(*where, speed)),
        _number(results.ratio(*where, speed)),
        _number(results.median(*where, price)),
        _number(results.ratio(*where, price)),
        _number(results.median(*where, lambda sample: sample.p50 * 1000)),
        _number(results.median(*where, lambda sample: sample.p99 * 1000)),
        _number(results.median(*where, lambda sample: sample.peak_rss / MIB)),
        _number(results.median(*where, lambda sample: sample.threads)),
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def plot(results: Results, medium: str, title: str, figure: Callable[[Sample, str], float]) -> str:
    """Bars for every case and server, each case scaled to its largest, as SVG."""
    # The other ways are too many for a legend, and no rivals.
    cases = [case for case in results.cases if case.name != WAYS]
    servers = [
        server
        for server in results.servers()
        if any(results.of(case, medium, server) for case in cases)
    ]
    left, right, bar = 230, 760, 11
    rows, y = [], 46
    for case in cases:
        values = {
            server: median(figure(sample, case.unit) for sample in found)
            for server in servers
            if (found := results.of(case, medium, server))
        }
        if not values:
            continue
        largest = max(values.values()) or 1.0
        rows.append(_text(left - 10, y + bar * len(values) / 2 + 4, case.title, "end"))
        for server, value in values.items():
            width = max(1.0, (right - left) * value / largest)
            colour = _COLOURS[servers.index(server) % len(_COLOURS)]
            rows.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{colour}"/>'
            )
            rows.append(_text(left + width + 5, y + bar - 3, _number(value), "start", 9))
            y += bar
        y += 12
    return _svg(title, servers, rows, y)


def _svg(title: str, servers: Sequence[str], rows: Sequence[str], height: float) -> str:
    legend, x = [], 10.0
    for number, server in enumerate(servers):
        colour = _COLOURS[number % len(_COLOURS)]
        legend.append(f'<rect x="{x}" y="24" width="10" height="10" fill="{colour}"/>')
        legend.append(_text(x + 14, 33, server, "start"))
        x += 30 + 7 * len(server)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 {height:.0f}" '
        'font-family="system-ui, sans-serif" fill="#1f2328">'
        f'<rect width="840" height="{height:.0f}" fill="#ffffff"/>'
        f"{_text(10, 16, title, 'start', 13)}{''.join(legend)}{''.join(rows)}</svg>\n"
    )


def _text(x: float, y: float, words: str, anchor: str, size: int = 11) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def page(results: Results, facts: dict[str, Any], plots: Sequence[str]) -> str:
    """The whole page in Markdown; the plots lie in `performance/` beside it."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    parts = [
        "# Performance\n",
        f"Measured with `bench/run` on {facts['date']}: {facts['machine']}, client and server on "
        f"the same two cores. {versions}. Each server has one process (Go and Rust use both "
        "cores), is started fresh for each round with a folder of its own, and warmed; servers "
        f"take turns, {facts['rounds']} rounds, medians. '× tusd' is the median of the ratios "
        "within a round. CPU is that of the server's processes. What was stored is compared byte "
        "for byte. Raw lines: [performance/samples.jsonl](performance/samples.jsonl).\n",
        "'tusserver' runs with `--sync none`, because the others never sync; its default, with "
        "finished uploads on the disk before the last reply, stands beside it.\n",
        *(f"- {remark}" for remark in facts.get("remarks", ())),
        "\n## Physical limits\n",
        "A program in C that receives from loopback (its sender not counted), and Python that does "
        "nothing but hash:\n",
        limits_table(facts["limits"]),
    ]
    for medium in results.media():
        parts += [f"\n![{name} ({medium})](performance/{name}-{medium}.svg)" for name in plots]
        parts += [
            f"\n## {case.title}, {medium}\n\n{table(results, case, medium)}"
            + "".join(
                f"\n\n{remark}." for remark in remarks(results, case, medium, facts["limits"])
            )
            for case in results.cases
            if any(results.of(case, medium, server) for server in results.servers())
        ]
    return "\n".join(parts) + "\n"


def limits_table(limits: Sequence[dict[str, Any]]) -> str:
    lines = [_row(("what", "MiB/s", "CPU-s/GiB")), _row(("---", "---:", "---:"))]
    for name in dict.fromkeys(str(limit["what"]) for limit in limits):
        found = [limit for limit in limits if limit["what"] == name]
        speed = median(limit["bytes"] / MIB / limit["seconds"] for limit in found)
        price = median(limit["cpu"] / (limit["bytes"] / 2**30) for limit in found)
        lines.append(_row((name, _number(speed), _number(price))))
    return "\n".join(lines)
