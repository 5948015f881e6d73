"""`python -m conformance.compare`: installs the servers, runs the suite, writes the table.

It takes the servers from the benchmark beside it, and so works in a clone of the project only.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from conformance.check import checks
from conformance.compare import matrix
from conformance.compare.columns import Column, column, read, write
from conformance.discovery import discover
from conformance.runner import Runner
from conformance.target import Target

try:
    from bench.measuring import playground
    from bench.rounds import install
    from bench.servers import SERVERS, Server
    from conformance.compare.serving import Served
except ImportError:
    sys.exit("conformance.compare starts the servers of bench/: run it in a clone of tusserver.")

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {
    "tusserver, sync finish": "tusserver",
    "tusd": "tusd",
    "@tus/server": "@tus/server",
    "rustus": "rustus",
    "tuspyserver": "tuspyserver",
}
"""The servers as the benchmark calls them, and as the table does."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.compare",
        description="Runs the suite against tusserver and four other servers.",
        epilog="python -m conformance.compare    python -m conformance.compare --redraw",
    )
    parser.add_argument("--servers", default=",".join(NAMES.values()), help="names between commas")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where they store")
    parser.add_argument("--redraw", action="store_true", help="from what the last run left")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    results = DOCS / "conformance" / "results.json"
    if options.redraw:
        return _draw(read(results))
    wanted = set(options.servers.split(","))
    if unknown := wanted - set(NAMES.values()):
        sys.exit(f"no {', '.join(sorted(unknown))}; there are {', '.join(NAMES.values())}")
    chosen = [SERVERS[name] for name, shown in NAMES.items() if shown in wanted]
    known = {each.name: each for each in read(results)} if results.exists() else {}
    results.parent.mkdir(parents=True, exist_ok=True)
    for server in install(chosen):
        known[NAMES[server.name]] = examine(server, options.dir)
        # After each, as a whole run takes minutes.
        write(results, [known[name] for name in NAMES.values() if name in known])
    return _draw(read(results))


def examine(server: Server, directory: Path) -> Column:
    """Starts the server with an empty folder and runs all checks against it."""
    name = NAMES[server.name]
    sys.stderr.write(f"{name} {server.version()} …")
    sys.stderr.flush()
    with playground(directory) as root, Served(server, root) as served:
        target = Target(served.url, restarter=served.restart)
        report = Runner(target, discover(target)).run(checks().values())
    command = " ".join(Path(word).name if "/" in word else word for word in _words(server))
    found = column(name, server.version(), command, report)
    counts = ", ".join(f"{found.count(each)} {each.word}" for each in matrix.TOLD)
    sys.stderr.write(f" {counts}, {report.seconds:.0f} s\n")
    return found


def _words(server: Server) -> list[str]:
    """The command line with words in place of what differs from run to run."""
    return [word.replace("65535", "PORT") for word in server.command(65535, Path("uploads"))]


def _draw(columns: list[Column]) -> int:
    """Writes the pages; 1 when a FAIL stands there that nobody has given a reason for."""
    date = time.strftime("%Y-%m-%d")
    (DOCS / "conformance.md").write_text(matrix.as_markdown(columns, date))
    (DOCS / "conformance" / "index.html").write_text(matrix.as_html(columns, date))
    bare = matrix.without_reason(columns)
    for name, row in bare:
        sys.stderr.write(f"{name} {row}: FAIL without a reason in reasons.toml\n")
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
