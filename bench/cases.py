"""The cases of the benchmark, and how one of them is run against one server."""

from __future__ import annotations

import math
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.measuring import Load, RunFailed, holds_pattern, machine_cpu, started

if TYPE_CHECKING:
    from pathlib import Path

    from bench.servers import Server

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Case:
    """One case. `load` are the words for the load generator; `warm` is the same, smaller.

    `unit`: 'bytes' is told in MiB/s and CPU per GiB, 'requests' per second and CPU per thousand.
    `stores` are the bytes of a file that must lie there afterwards, made of the load's pattern.
    """

    name: str
    title: str
    unit: str
    load: tuple[str, ...]
    warm: tuple[str, ...]
    stores: int = 0
    needs: str = ""


def _case(
    name: str, title: str, unit: str, words: str, warm: str, *, stores: int = 0, needs: str = ""
) -> Case:
    return Case(name, title, unit, tuple(words.split()), tuple(warm.split()), stores, needs)


def cases(scale: float = 1.0) -> dict[str, Case]:
    """All cases; `scale` makes the sizes smaller for a quick run."""
    big = int(2 * GIB * scale)
    quarter = big // 4
    small = max(1000, int(20000 * scale))
    looks = max(2000, int(60000 * scale))
    slow = max(20, int(200 * scale))
    seconds = max(2, int(10 * scale))
    chunk = 5 * MIB
    each = f"-parallel 16 -size 4096 -requests {small}"
    table = (
        _case("patch", "one PATCH", "bytes", f"-case patch -size {big}",
              f"-case patch -size {64 * MIB}", stores=big),
        _case("chunks", "PATCHes of 5 MiB", "bytes", f"-case chunks -size {big} -chunk {chunk}",
              f"-case chunks -size {64 * MIB}", stores=big),
        _case("parallel", "4 PATCHes at once", "bytes",
              f"-case parallel -size {quarter} -parallel 4",
              f"-case parallel -size {16 * MIB} -parallel 4", stores=quarter),
        _case("sha1", "PATCHes of 64 MiB with sha1", "bytes",
              f"-case chunks -size {big} -chunk {64 * MIB} -checksum sha1",
              f"-case chunks -size {64 * MIB} -checksum sha1", stores=big, needs="checksum"),
        _case("crc32", "PATCHes of 64 MiB with crc32", "bytes",
              f"-case chunks -size {big} -chunk {64 * MIB} -checksum crc32",
              f"-case chunks -size {64 * MIB} -checksum crc32", stores=big, needs="checksum"),
        _case("small", "4 KiB as POST and PATCH", "requests", f"-case small {each}",
              "-case small -parallel 16 -size 4096 -requests 500"),
        _case("post", "4 KiB as one POST", "requests", f"-case post {each}",
              "-case post -parallel 16 -size 4096 -requests 500"),
        _case("head", "HEAD on many uploads", "requests",
              f"-case head -parallel 16 -size 4096 -requests {looks}",
              "-case head -parallel 16 -size 4096 -requests 500"),
        _case("head-one", "HEAD on one upload", "requests",
              f"-case head-one -parallel 16 -size 4096 -requests {looks}",
              "-case head-one -parallel 16 -size 4096 -requests 500"),
        _case("slow", f"{slow} clients of 64 KiB/s", "bytes",
              f"-case slow -parallel {slow} -seconds {seconds}",
              "-case slow -parallel 10 -seconds 0.5"),
        _case("crowd", f"{10 * slow} clients of 16 KiB/s", "bytes",
              f"-case slow -parallel {10 * slow} -seconds {seconds} -rate {16 * 1024}",
              "-case slow -parallel 10 -seconds 0.5"),
        _case("concat", "joining 4 partial uploads", "bytes",
              f"-case concat -size {quarter} -parallel 4",
              f"-case concat -size {MIB} -parallel 4", stores=4 * quarter,
              needs="concatenation"),
        _case("download", "download", "bytes", f"-case download -size {big}",
              f"-case download -size {64 * MIB}", needs="download"),
    )  # fmt: skip
    return {case.name: case for case in table}


@dataclass(frozen=True)
class Sample:
    """What one round of one case came to for one server. Times in seconds, sizes in bytes."""

    case: str
    server: str
    medium: str
    round: int
    seconds: float
    bytes: int
    requests: int
    cpu: float
    client_cpu: float
    noise: float
    p50: float
    p99: float
    peak_rss: int
    threads: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_case(
    case: Case, server: Server, program: Path, root: Path, medium: str, number: int
) -> Sample:
    """One round: the server fresh and warm. Raises RunFailed, also when a wrong byte is stored."""
    with started(server, root) as running:
        Load(program, running.url, case.warm).run()
        load = Load(program, running.url, case.load)
        running.forget_peak()
        before, busy = running.usage(), machine_cpu()
        result = load.run()
        after, busy = running.usage(), machine_cpu() - busy
        if case.stores and not holds_pattern(running.directory, case.stores, pattern(program)):
            raise RunFailed(f"{server.name} has not stored the right bytes")
    cpu = after.cpu - before.cpu
    return Sample(
        case=case.name,
        server=server.name,
        medium=medium,
        round=number,
        seconds=result["seconds"],
        bytes=result["bytes"],
        requests=result["requests"],
        cpu=cpu,
        client_cpu=result["client_cpu"],
        noise=max(0.0, busy - cpu - result["client_cpu"]),
        p50=result["p50"],
        p99=result["p99"],
        peak_rss=after.peak_rss,
        threads=after.threads,
    )


_patterns: dict[Path, bytes] = {}


def pattern(program: Path) -> bytes:
    """The block of bytes that all uploads of the load generator are made of."""
    if program not in _patterns:
        _patterns[program] = subprocess.run(
            [str(program), "-pattern"], capture_output=True, check=True
        ).stdout
    return _patterns[program]


def rate(sample: Sample, unit: str) -> float:
    """MiB per second, or requests per second."""
    amount = sample.bytes / MIB if unit == "bytes" else sample.requests
    return amount / sample.seconds if sample.seconds else math.nan


def cost(sample: Sample, unit: str) -> float:
    """CPU seconds of the server per GiB, or per thousand requests."""
    amount = sample.bytes / GIB if unit == "bytes" else sample.requests / 1000
    return sample.cpu / amount if amount else math.nan
