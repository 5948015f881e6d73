"""What the soak records, and what it makes of it: the verdict, the plot and the page."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Moment:
    """The server's processes at one moment, summed. `rss` in bytes, `seconds` since the start."""

    seconds: float
    rss: int
    descriptors: int
    threads: int
    slow: int
    """Slow requests under way."""


def moment(seconds: float, processes: Sequence[int], slow: int) -> Moment:
    """What the kernel says of them now; a process that has just ended counts nothing."""
    rss = descriptors = threads = 0
    for pid in processes:
        with suppress(OSError):
            rss += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            threads += len(os.listdir(f"/proc/{pid}/task"))
    return Moment(round(seconds, 1), rss, descriptors, threads, slow)


@dataclass(frozen=True)
class Growth:
    """By how much the end may exceed the middle: a share of it, and something besides."""

    name: str
    unit: str
    share: float
    more: int
    scale: int = 1


GROWTHS = (
    Growth("rss", "MiB", 0.05, 4 * MIB, MIB),
    Growth("descriptors", "", 0.05, 50),
    Growth("threads", "", 0.10, 4),
)


def thirds(moments: Sequence[Moment], name: str) -> tuple[float, float]:
    """The medians over the second and the last third. The first is for warming up: a slow client
    stays for up to five minutes, and they all came at once.
    """
    values = [getattr(each, name) for each in moments]
    third = max(1, len(values) // 3)
    return median(values[third : 2 * third] or values), median(values[-third:])


def grown(moments: Sequence[Moment]) -> list[str]:
    """A sentence for each that has grown more than it may; one when nothing was recorded."""
    if len(moments) < len(GROWTHS):
        return ["nothing was recorded"]
    found = []
    for growth in GROWTHS:
        first, last = thirds(moments, growth.name)
        if last > first * (1 + growth.share) + growth.more:
            unit = f" {growth.unit}" if growth.unit else ""
            found.append(
                f"{growth.name} grew from {first / growth.scale:.0f} to "
                f"{last / growth.scale:.0f}{unit} between the second and the last third"
            )
    return found


def write(path: Path, moments: Sequence[Moment]) -> None:
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in moments))


def plot(moments: Sequence[Moment]) -> str:
    """One panel for each of the three over time, as SVG."""
    width, height, left = 760, 130, 70
    parts = [
        _panel(moments, growth, left, 30 + number * (height + 30), width - left, height)
        for number, growth in enumerate(GROWTHS)
    ]
    total = 30 + len(GROWTHS) * (height + 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 30} {total}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="#1f2328">'
        f'<rect width="{width + 30}" height="{total}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _panel(
    moments: Sequence[Moment], growth: Growth, x: int, y: int, width: int, height: int
) -> str:
    values = [getattr(each, growth.name) / growth.scale for each in moments]
    top = max(values) * 1.15 or 1.0
    end = moments[-1].seconds or 1.0
    points = " ".join(
        f"{x + each.seconds / end * width:.1f},{y + height - value / top * height:.1f}"
        for each, value in zip(moments, values, strict=True)
    )
    title = f"{growth.name} ({growth.unit})" if growth.unit else growth.name
    return (
        f'<text x="{x}" y="{y - 6}">{title}</text>'
        f'<path d="M{x},{y}V{y + height}H{x + width}" fill="none" stroke="#d0d7de"/>'
        f'<text x="{x - 6}" y="{y + 10}" text-anchor="end">{top:.0f}</text>'
        f'<text x="{x - 6}" y="{y + height}" text-anchor="end">0</text>'
        f'<text x="{x + width}" y="{y + height + 14}" text-anchor="end">{end / 60:.0f} min</text>'
        f'<polyline points="{points}" fill="none" stroke="#2f6feb" stroke-width="1.2"/>'
    )


def page(facts: dict[str, Any], moments: Sequence[Moment], faults: Sequence[str]) -> str:
    """The page in Markdown; the plot and the raw lines lie in `soak/` beside it."""
    rows = ["| | second third | last third |", "| --- | ---: | ---: |"]
    for growth in GROWTHS:
        first, last = (value / growth.scale for value in thirds(moments, growth.name))
        title = f"{growth.name}, {growth.unit}" if growth.unit else growth.name
        rows.append(f"| {title} | {first:.0f} | {last:.0f} |")
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(facts["finished"].items()))
    verdict = "Nothing has grown, and every byte was right." if not faults else "It failed:"
    return "\n".join((
        "# Soak\n",
        f"`{facts['command']}` on {facts['date']}: {facts['machine']}. One tusserver with default "
        f"settings and {facts['workers']} worker(s), and on the same two cores clients of every "
        f"kind for {facts['minutes']:g} minutes: about {facts['slow']} slow ones at any moment, "
        "small and large uploads, right and wrong checksums, connections that die and are "
        "resumed, uploads that are deleted while they are sent, and concatenation. Every finished "
        "upload is read back and compared.\n",
        f"Finished: {done}. Compared: {facts['verified'] / 2**30:.1f} GiB.\n",
        verdict + "".join(f"\n- {fault}" for fault in faults) + "\n",
        "Medians of what the kernel said of the server's processes, once per second "
        "([soak/samples.jsonl](soak/samples.jsonl)):\n",
        *rows,
        "\n![memory, descriptors and threads](soak/soak.svg)",
    )) + "\n"  # fmt: skip
