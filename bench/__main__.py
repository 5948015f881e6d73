"""`bench/run`: installs the peers, measures round by round, writes tables, plots and raw lines."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench import quick, report, servers, ways
from bench.cases import GIB, REFERENCE, cases, cost, rate
from bench.measuring import build, playground, raise_descriptor_limit
from bench.report import Results
from bench.rounds import HERE, install, measure, physical_limits, say
from bench.servers import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable

Named = TypeVar("Named")
DOCS = HERE.parent / "docs" / "performance"
MEMORY = Path("/dev/shm")
SERVERS = {**servers.SERVERS, **{server.name: server for server in ways.SERVERS}}
QUICK = [SERVERS["tusserver"], SERVERS[REFERENCE]]
PLOTS = (
    ("rate", "MiB or requests per second", rate),
    ("cost", "CPU seconds per GiB or per 1000 requests", cost),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measures tusserver beside other tus servers.",
        epilog="bench/run --quick    bench/run --servers tusserver,tusd --cases patch,small",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured [5]")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes, 1.0 is 2 GiB [1.0]")
    parser.add_argument(
        "--quick", action="store_true", help="3 minutes beside tusd, with a verdict"
    )
    parser.add_argument(
        "--cases", type=_named(cases()), help="names between commas; all by default"
    )
    parser.add_argument(
        "--servers",
        type=_named({server.word: server for server in SERVERS.values()}),
        help="names between commas; all by default",
    )
    parser.add_argument("--media", default="disk,memory", help="disk, memory, or both")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the disk is")
    parser.add_argument("--out", type=Path, help="where the results go [.cache/bench/results]")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md as well")
    parser.add_argument("--redraw", action="store_true", help="from the raw lines of the last run")
    return parser.parse_args()


def _named(known: dict[str, Named]) -> Callable[[str], list[Named]]:
    """A reader of names between commas."""

    def read(words: str) -> list[Named]:
        names = [word for word in words.split(",") if word]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name}; there are {', '.join(known)}")
        return [known[name] for name in names]

    return read


def main() -> int:
    options = arguments()
    if options.redraw:
        return _redraw(options)
    raise_descriptor_limit()
    chosen = install(options.servers or (QUICK if options.quick else list(SERVERS.values())))
    program = build("load", HERE / "load" / "main.go", "go", "build")
    started = time.monotonic()
    with playground(options.dir) as disk, playground(MEMORY) as memory:
        roots = {"disk": disk, "memory": memory}
        if options.quick:
            _, losses = quick.run(chosen, {"disk": disk}, program)
            say(f"{time.monotonic() - started:.0f} s")
            return quick.tell(losses)
        media = {name: roots[name] for name in options.media.split(",")}
        table = cases(options.scale)
        wanted = [table[case.name] for case in options.cases or table.values()]
        limits = physical_limits(disk, options.rounds, int(2 * GIB * options.scale))
        samples = list(measure(wanted, chosen, media, options.rounds, program))
    out = options.out or CACHE / "results"
    out.mkdir(parents=True, exist_ok=True)
    versions = {server.name: server.version() for server in chosen if not server.only}
    facts = _facts(options, versions, limits)
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    report.write_raw(out / "samples.jsonl", samples)
    say(f"{len(samples)} samples in {time.monotonic() - started:.0f} s, in {out}")
    return _redraw(options)


def _facts(
    options: argparse.Namespace, versions: dict[str, str], limits: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "machine": report.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "scale": options.scale,
        "rounds": options.rounds,
        "versions": versions,
        "limits": limits,
    }


def _redraw(options: argparse.Namespace) -> int:
    """Tables and plots from what a run has left; with --publish into the documentation."""
    out = options.out or CACHE / "results"
    facts = json.loads((out / "facts.json").read_text())
    results = Results(report.read_raw(out / "samples.jsonl"), cases(facts["scale"]))
    directory = DOCS if options.publish else out
    directory.mkdir(parents=True, exist_ok=True)
    for medium in results.media():
        for name, title, figure in PLOTS:
            svg = report.plot(results, medium, f"{title} ({medium})", figure)
            (directory / f"{name}-{medium}.svg").write_text(svg)
    page = report.page(results, facts, [name for name, _, _ in PLOTS])
    if options.publish:
        for name in ("facts.json", "samples.jsonl"):
            (DOCS / name).write_bytes((out / name).read_bytes())
        (DOCS.parent / "performance.md").write_text(page)
    else:
        (out / "tables.md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
