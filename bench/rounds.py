"""Installs the servers, and measures case after case, round by round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cases import CHECKSUMS, MIB, Case, Sample, cost, rate, run_case
from bench.measuring import RunFailed, build, touch_memory
from bench.servers import CannotInstall, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LIMITS = (
    ("receive and discard, 1 MiB", "discard", MIB),
    ("receive and write, 1 MiB", "write", MIB),
    ("receive and write, 256 KiB", "write", 256 * 1024),
    ("receive and write with O_DIRECT, 4 MiB", "direct", 4 * MIB),
)
# As the server does it: one buffer after another, each of them hot.
_HASHING = """
import hashlib, json, sys, time, zlib
name, size = sys.argv[1], int(sys.argv[2])
buffer, value, digest = bytes(range(256)) * 4096, 0, hashlib.sha1()
started, before = time.perf_counter(), time.process_time()
for _ in range(size // len(buffer)):
    if name == "crc32":
        value = zlib.crc32(buffer, value)
    else:
        digest.update(buffer)
spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - before}
print(json.dumps({**spent, "bytes": size}))
"""


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def install(servers: list[Server]) -> list[Server]:
    """Those that could be had; why another could not is said."""
    found = []
    for server in servers:
        say(f"installing {server.name} …")
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
    """Each case, round by round, server after server; what fails is said and left out."""
    for medium, root in media.items():
        for case in chosen:
            able = [server for server in servers if case.suits(server)]
            for number in range(rounds):
                # Back and forth, so that nobody always comes after the same other.
                for server in able if number % 2 == 0 else able[::-1]:
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
    """What a C program of each method needs, on the disk, and Python for each checksum."""
    program = build("limits", HERE / "limits.c", "cc", "-O2", str(HERE / "limits.c"))
    file = root / "limit"
    ways = [
        (what, [str(program), method, str(size), str(buffer), str(file)])
        for what, method, buffer in LIMITS
    ]
    ways += [
        (hashing(algorithm), [sys.executable, "-c", _HASHING, algorithm, str(size)])
        for algorithm in CHECKSUMS
    ]
    found = []
    for _ in range(rounds):
        for what, words in ways:
            touch_memory(root, size if str(file) in words else 0)
            done = subprocess.run(words, capture_output=True, text=True)
            file.unlink(missing_ok=True)
            if done.returncode:
                say(f"{what}: {done.stderr.strip()}")
                continue
            found.append({"what": what, **json.loads(done.stdout)})
    return found


def hashing(algorithm: str) -> str:
    """What the time of nothing but this checksum is called among the limits."""
    return f"{algorithm} of 1 MiB in Python, nothing received"
