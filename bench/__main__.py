"""`bench/run`: installs the peers, measures round by round, writes tables, plots and raw lines."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.cases import GIB, MIB, Case, Sample, cases, cost, rate, run_case
from bench.measuring import RunFailed, build, playground, touch_memory
from bench.report import REFERENCE, Results
from bench.servers import CACHE, SERVERS, CannotInstall, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "performance"
MEMORY = Path("/dev/shm")
LIMITS = (
    ("receive and discard, 1 MiB", "discard", MIB),
    ("receive and write, 1 MiB", "write", MIB),
    ("receive and write, 256 KiB", "write", 256 * 1024),
    ("receive and write with O_DIRECT, 4 MiB", "direct", 4 * MIB),
)
PLOTS = (
    ("rate", "MiB or requests per second", rate),
    ("cost", "CPU seconds per GiB or per 1000 requests", cost),
)


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measures tusserver beside other tus servers.",
        epilog="bench/run --quick    bench/run --servers tusserver,tusd --cases patch,small",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured [5]")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes, 1.0 is 2 GiB [1.0]")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds, tusd only")
    parser.add_argument("--cases", default="", help="names between commas; all by default")
    parser.add_argument("--servers", default="", help="names between commas; all by default")
    parser.add_argument("--media", default="disk,memory", help="disk, memory, or both")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the disk is")
    parser.add_argument("--out", type=Path, help="where the results go [.cache/bench/results]")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md as well")
    parser.add_argument("--redraw", action="store_true", help="from the raw lines of the last run")
    return parser.parse_args()


def install(names: list[str]) -> list[Server]:
    """The servers that could be had; why another could not is said."""
    found = []
    for name in names:
        server = SERVERS[name]
        say(f"installing {name} …")
        try:
            server.install()
        except CannotInstall as error:
            say(f"  left out: {error}")
            continue
        found.append(server)
    return found


def measure(
    chosen: list[Case], servers: list[Server], media: dict[str, Path], rounds: int, program: Path
) -> Iterator[Sample]:
    """Each case, round by round, server after server."""
    for medium, root in media.items():
        for case in chosen:
            able = [server for server in servers if not {case.needs, case.name} & server.lacks]
            for number in range(rounds):
                for server in able:
                    sample = _attempt(case, server, program, root, medium, number)
                    if sample is not None:
                        yield sample


def _attempt(
    case: Case, server: Server, program: Path, root: Path, medium: str, number: int
) -> Sample | None:
    try:
        sample = run_case(case, server, program, root, medium, number)
    except RunFailed as error:
        say(f"{medium:7} {case.name:9} {server.name}: {error}")
        return None
    speed, price = rate(sample, case.unit), cost(sample, case.unit)
    say(
        f"{medium:7} {case.name:9} {number + 1}  {server.name:22} {speed:9.0f} /s  CPU {price:6.3f}"
        f"  noise {sample.noise:.2f}"
    )
    return sample


def physical_limits(root: Path, rounds: int, size: int) -> list[dict[str, Any]]:
    """What a C program of each method needs, on the disk."""
    program = build("limits", HERE / "limits.c", "cc", "-O2", str(HERE / "limits.c"))
    found = []
    for _ in range(rounds):
        for what, method, buffer in LIMITS:
            file = root / "limit"
            words = [str(program), method, str(size), str(buffer), str(file)]
            done = subprocess.run(words, capture_output=True, text=True)
            file.unlink(missing_ok=True)
            if done.returncode:
                say(f"{what}: {done.stderr.strip()}")
                continue
            found.append({"what": what, **json.loads(done.stdout)})
    return found


def main() -> int:
    options = arguments()
    if options.redraw:
        return _redraw(options)
    scale, rounds = (0.125, 3) if options.quick else (options.scale, options.rounds)
    table = cases(scale)
    chosen = [table[name] for name in options.cases.split(",") if name] or list(table.values())
    known = ["tusserver", REFERENCE] if options.quick else list(SERVERS)
    servers = install([name for name in options.servers.split(",") if name] or known)
    program = build("load", HERE / "load" / "main.go", "go", "build")
    out = options.out or CACHE / "results"
    out.mkdir(parents=True, exist_ok=True)
    touch_memory(int(3 * GIB * scale))
    started = time.monotonic()
    with playground(options.dir) as disk, playground(MEMORY) as memory:
        roots = {"disk": disk, "memory": memory}
        media = {name: roots[name] for name in options.media.split(",")}
        limits = physical_limits(disk, rounds, int(2 * GIB * scale))
        samples = list(measure(chosen, servers, media, rounds, program))
    facts = {
        "machine": report.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "scale": scale,
        "rounds": rounds,
        "versions": {server.name: server.version() for server in servers},
        "limits": limits,
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    report.write_raw(out / "samples.jsonl", samples)
    say(f"{len(samples)} samples in {time.monotonic() - started:.0f} s, in {out}")
    return _redraw(options)


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
