"""`python -m bench.soak`: starts the server and the clients, samples, and gives the verdict."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measuring import playground, raise_descriptor_limit, started
from bench.report import machine
from bench.rounds import say
from bench.servers import CACHE, PROJECT, soaked
from bench.soak.client import Connection
from bench.soak.clients import KINDS, Client, Tally, repeat, slow
from bench.soak.record import Moment, grown, moment, page, plot, write

if TYPE_CHECKING:
    from bench.measuring import Running

DOCS = PROJECT / "docs"
RAMP = 20.0
"""Seconds over which the slow clients come; nothing is recorded before they are all there."""
_TOO_MANY = 50
"""Faults after which it makes no sense to go on."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Clients of every kind for a long time."
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="how long [20]")
    parser.add_argument("--slow", type=int, default=2000, help="slow clients at once [2000]")
    parser.add_argument("--workers", type=int, default=1, help="of the server [1]")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the disk is")
    parser.add_argument("--publish", action="store_true", help="write docs/soak.md as well")
    return parser.parse_args()


async def soak(running: Running, options: argparse.Namespace, tally: Tally) -> list[Moment]:
    """All clients for that long; what was recorded meanwhile, once per second."""
    port = int(running.url.split(":")[2].split("/")[0])
    clients = [kind for kind, count in KINDS.items() for _ in range(count)]
    tasks = [
        asyncio.create_task(repeat(kind, Client(Connection(port), random.Random(number), tally)))
        for number, kind in enumerate(clients)
    ]
    for number in range(options.slow):
        client = Client(Connection(port), random.Random(f"slow {number}"), tally)
        tasks.append(asyncio.create_task(repeat(slow, client)))
        await asyncio.sleep(RAMP / options.slow)
    try:
        return await _record(running, options.minutes * 60, tally)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _record(running: Running, seconds: float, tally: Tally) -> list[Moment]:
    begun, moments = time.monotonic(), list[Moment]()
    while (now := time.monotonic() - begun) < seconds and len(tally.faults) < _TOO_MANY:
        found = moment(now, running.processes(), tally.open_slow)
        moments.append(found)
        if len(moments) % 30 == 1:
            say(
                f"{now:5.0f} s  {found.rss / 2**20:4.0f} MiB  {found.descriptors} descriptors  "
                f"{found.threads} threads  {found.slow} slow  {tally.finished}  "
                f"{len(tally.faults)} faults"
            )
        await asyncio.sleep(1.0)
    return moments


def main() -> int:
    options, tally = arguments(), Tally()
    say(f"{raise_descriptor_limit()} descriptors")
    with (
        playground(options.dir) as root,
        started(soaked(options.workers), root) as running,
    ):
        moments = asyncio.run(soak(running, options, tally))
    faults = [*grown(moments), *dict.fromkeys(tally.faults)]
    _write(options, tally, moments, faults)
    for fault in faults:
        say(f"FAULT  {fault}")
    say("The soak failed." if faults else "Nothing has grown, and every byte was right.")
    return 1 if faults else 0


def _write(
    options: argparse.Namespace, tally: Tally, moments: list[Moment], faults: list[str]
) -> None:
    directory = DOCS / "soak" if options.publish else CACHE / "soak"
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "samples.jsonl", moments)
    if not moments:
        return
    (directory / "soak.svg").write_text(plot(moments))
    facts: dict[str, Any] = {
        "command": f"python -m bench.soak --minutes {options.minutes:g} "
        f"--workers {options.workers}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "minutes": options.minutes,
        "workers": options.workers,
        "slow": options.slow,
        "finished": tally.finished,
        "verified": tally.verified,
        "faults": faults,
    }
    (directory / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    words = page(facts, moments, faults)
    (directory.parent / "soak.md" if options.publish else directory / "soak.md").write_text(words)


if __name__ == "__main__":
    sys.exit(main())
