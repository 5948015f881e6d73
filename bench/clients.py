"""What a large upload costs on the side of the client: `tusserver upload`, plain tuspy and
tus-js-client in Node, turn by turn against one tusserver.

    python -m bench.clients --size 1GiB --rounds 5 --json docs/performance/clients.jsonl

The time is that of the whole process, its start included. Each result is compared with the source.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.finish import port_of, size_of
from bench.servers import CACHE, PEERS, program, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TUS_JS = "4.3.1"
_CHUNK = 8 * 2**20
_BLOCK = 2**20


@dataclass(frozen=True)
class Turn:
    """One upload. Seconds and bytes; `cpu` is user and system time of the client."""

    client: str
    size: int
    seconds: float
    cpu: float
    peak_memory: int


Commands = dict[str, "Callable[[str, Path], list[str]]"]


def commands() -> Commands:
    """How each client is told to upload a file to a URL."""
    node = CACHE / "client"
    ours = [sys.executable, "-m", "tusserver", "upload", "--no-resume", "--json"]
    tuspy = [sys.executable, str(PEERS / "tuspy_client.py")]
    js = [program("node"), str(node / "client.mjs")]
    return {
        "tusserver upload": lambda url, path: [*ours, str(path), "--to", url],
        "tusserver upload --parallel 4": lambda url, path: [
            *ours, str(path), "--to", url, "--parallel", "4",
        ],
        "tuspy": lambda url, path: [*tuspy, url, str(path)],
        "tuspy, chunks of 8 MiB": lambda url, path: [*tuspy, url, str(path), str(_CHUNK)],
        "tus-js-client": lambda url, path: [*js, url, str(path)],
        "tus-js-client, chunks of 8 MiB": lambda url, path: [*js, url, str(path), str(_CHUNK)],
    }  # fmt: skip


def install() -> None:
    """tus-js-client into the cache. Raises CannotInstall."""
    directory = CACHE / "client"
    if not (directory / "node_modules" / "tus-js-client").exists():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
        package = f"tus-js-client@{TUS_JS}"
        run(program("npm"), "install", "--no-audit", "--no-fund", package, directory=directory)
    shutil.copy(PEERS / "client.mjs", directory / "client.mjs")


def measure(size: int, rounds: int, directory: Path) -> Iterator[Turn]:
    """The turns, the first round (which warms up) left out."""
    install()
    work = Path(tempfile.mkdtemp(prefix="clients-", dir=directory))
    try:
        source = work / "source.h5"
        block = os.urandom(_BLOCK)
        with open(source, "xb") as file:
            for _ in range(size // _BLOCK):
                file.write(block)
            file.write(block[: size % _BLOCK])
        for number in range(rounds + 1):
            turns = list(commands().items())
            shift = number % len(turns)
            for name, command in turns[shift:] + turns[:shift]:
                turn = _turn(name, command, source, work)
                if number:
                    yield turn
    finally:
        shutil.rmtree(work)


def _turn(name: str, command: Callable[[str, Path], list[str]], source: Path, work: Path) -> Turn:
    uploads, log = work / "uploads", work / "log"
    server = [sys.executable, "-m", "tusserver", "--port", "0", "--sync", "none"]
    with open(log, "wb") as said:
        process = subprocess.Popen([*server, "--upload-dir", str(uploads)], stderr=said)
    try:
        url = f"http://127.0.0.1:{port_of(process, log)}/files/"
        turn = _run(name, command(url, source), source, work)
    finally:
        process.terminate()
        process.wait(30)
    (stored,) = [path for path in uploads.rglob("*") if _is_whole(path, source)]
    if not filecmp.cmp(stored, source, shallow=False):
        raise RuntimeError(f"{name}: what has arrived is not what was sent")
    shutil.rmtree(uploads)
    return turn


def _is_whole(path: Path, source: Path) -> bool:
    return path.is_file() and path.stat().st_size == source.stat().st_size


def _run(name: str, command: list[str], source: Path, work: Path) -> Turn:
    environment = {**os.environ, "XDG_STATE_HOME": str(work / "state")}
    began = time.monotonic()
    with open(work / "said", "w+b") as said:
        client = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(client.pid, 0)
        seconds = time.monotonic() - began
        client.returncode = os.waitstatus_to_exitcode(status)
        if client.returncode:
            said.seek(0)
            raise RuntimeError(f"{name}: {said.read()[-2000:].decode(errors='replace')}")
    cpu = used.ru_utime + used.ru_stime
    return Turn(name, source.stat().st_size, seconds, cpu, used.ru_maxrss * 1024)


def table(turns: list[Turn]) -> str:
    """Medians, as a table in Markdown."""
    lines = ["| client | MiB/s | CPU-s per GiB | peak memory |", "| --- | --- | --- | --- |"]
    for name in commands():
        own = [turn for turn in turns if turn.client == name]
        rate = median(turn.size / turn.seconds for turn in own) / 2**20
        cpu = median(turn.cpu * 2**30 / turn.size for turn in own)
        peak = median(turn.peak_memory for turn in own) / 2**20
        lines.append(f"| {name} | {rate:.0f} | {cpu:.2f} | {peak:.0f} MiB |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(
        description="What a large upload costs the client.",
        epilog="example: python -m bench.clients --size 256MiB --rounds 3",
    )
    parser.add_argument("--size", type=size_of, default="1GiB", help="of the file, as 64MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where all files are")
    parser.add_argument("--json", type=Path, help="write each turn here, one line each")
    arguments = parser.parse_args()
    turns = []
    for turn in measure(arguments.size, arguments.rounds, arguments.dir):
        turns.append(turn)
        sys.stderr.write(f"{turn.client}: {turn.seconds:.2f} s, {turn.cpu:.2f} CPU-s\n")
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(asdict(turn)) + "\n" for turn in turns))
    sys.stdout.write(table(turns))


if __name__ == "__main__":
    main()
