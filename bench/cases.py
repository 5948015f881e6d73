"""The cases of the benchmark, and how one of them is run against one server."""

from __future__ import annotations

import math
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.measuring import Load, RunFailed, holds_pattern, machine_cpu, started, touch_memory

if TYPE_CHECKING:
    from pathlib import Path

    from bench.servers import Server

MIB, GIB = 2**20, 2**30
REFERENCE = "tusd"
DEFAULT = "tusserver, sync finish"
OURS = frozenset({"tusserver", DEFAULT})
WAYS = "ways"
"""The case of the servers in `bench.ways`, and of ours as it is by default."""
CHECKSUMS = ("sha1", "crc32")


@dataclass(frozen=True)
class Case:
    """One case. `load` are the words for the load generator; `warm` is the same, smaller.

    `unit`: 'bytes' is told in MiB/s and CPU per GiB, 'requests' per second and CPU per thousand.
    `stores` are the bytes of a file that must lie there afterwards, made of the load's pattern;
    `writes` those that the measured part brings into the page cache. `only` names the servers it is
    for, all when empty; `base` is the server that the others are compared with.
    """

    name: str
    title: str
    unit: str
    load: tuple[str, ...]
    warm: tuple[str, ...]
    stores: int = 0
    writes: int = 0
    needs: str = ""
    only: frozenset[str] = frozenset()
    base: str = REFERENCE

    def suits(self, server: Server) -> bool:
        """Whether this server takes part."""
        if {self.needs, self.name} & server.lacks:
            return False
        if (server.only or self.name == WAYS) and self.name not in server.only:
            return self.name == WAYS and server.name == DEFAULT
        return not self.only or server.name in self.only


def _case(name: str, title: str, unit: str, words: str, warm: str, **more: Any) -> Case:
    return Case(name, title, unit, tuple(words.split()), tuple(warm.split()), **more)


def cases(scale: float = 1.0) -> dict[str, Case]:
    """All cases; `scale` makes the sizes smaller for a quick run."""
    table = (*_data_cases(scale), *_request_cases(scale), *_slow_cases(), *_whole_cases(scale))
    return {case.name: case for case in table}


def _data_cases(scale: float) -> tuple[Case, ...]:
    big = int(2 * GIB * scale)
    quarter = big // 4
    blocks = f"-case chunks -size {big} -chunk {64 * MIB}"
    warm = f"-case chunks -size {64 * MIB}"
    return (
        _case("patch", "one PATCH", "bytes", f"-case patch -size {big}",
              f"-case patch -size {64 * MIB}", stores=big, writes=big),
        _case("chunks", "PATCHes of 5 MiB", "bytes", f"-case chunks -size {big} -chunk {5 * MIB}",
              warm, stores=big, writes=big),
        _case("parallel", "4 PATCHes at once", "bytes",
              f"-case parallel -size {quarter} -parallel 4",
              f"-case parallel -size {16 * MIB} -parallel 4", stores=quarter, writes=big),
        _case("blocks", "PATCHes of 64 MiB without a checksum", "bytes", blocks, warm,
              stores=big, writes=big, only=OURS, base="tusserver"),
        *(
            _case(algorithm, f"PATCHes of 64 MiB with {algorithm}", "bytes",
                  f"{blocks} -checksum {algorithm}", f"{warm} -checksum {algorithm}",
                  stores=big, writes=big, needs="checksum")
            for algorithm in CHECKSUMS
        ),
    )  # fmt: skip


def _request_cases(scale: float) -> tuple[Case, ...]:
    small = max(1000, int(20000 * scale))
    looks = max(2000, int(60000 * scale))

    def case(name: str, title: str, count: int) -> Case:
        words = f"-case {name} -parallel 16 -size 4096 -requests"
        return _case(name, title, "requests", f"{words} {count}", f"{words} 500")

    return (
        case("small", "4 KiB as POST and PATCH", small),
        case("post", "4 KiB as one POST", small),
        case("head", "HEAD on many uploads", looks),
        case("head-one", "HEAD on one upload", looks),
    )


def _slow_cases() -> tuple[Case, ...]:
    """They take their time whatever the scale: the number of clients and the size of their bodies
    is what they are about. Ours takes bodies of more than 128 KiB past its event loop, so both
    kinds of bodies are of that way.
    """
    return tuple(
        _case(name, f"{clients} clients of {rate} KiB/s, {rate * seconds} KiB each", "bytes",
              f"-case slow -parallel {clients} -seconds {seconds} -rate {rate * 1024}",
              "-case slow -parallel 10 -seconds 0.5")
        for name, clients, rate, seconds in (("slow", 200, 64, 10), ("crowd", 2000, 16, 17))
    )  # fmt: skip


def _whole_cases(scale: float) -> tuple[Case, ...]:
    big = int(2 * GIB * scale)
    quarter = big // 4
    return (
        _case("concat", "joining 4 partial uploads", "bytes",
              f"-case concat -size {quarter} -parallel 4",
              f"-case concat -size {MIB} -parallel 4", stores=4 * quarter, writes=4 * quarter,
              needs="concatenation"),
        # Where its bodies do not go past its event loop; each of a whole GiB, as they tell of it.
        _case(WAYS, "one PATCH by other ways, or under other servers", "bytes",
              f"-case patch -size {big // 2}", f"-case patch -size {64 * MIB}",
              stores=big // 2, writes=big // 2, base=DEFAULT),
        _case("download", "download", "bytes", f"-case download -size {big}",
              f"-case download -size {64 * MIB}", needs="download"),
    )  # fmt: skip


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
    cpu_each: tuple[float, ...] = ()
    """CPU of each of the server's processes that did anything, the busiest first."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_case(
    case: Case, server: Server, program: Path, root: Path, medium: str, number: int
) -> Sample:
    """One round: the server fresh and warm. Raises RunFailed, also when a wrong byte is stored."""
    with started(server, root) as running:
        Load(program, running.url, (*case.warm, *server.words)).run()
        load = Load(program, running.url, (*case.load, *server.words))
        running.forget_peak()
        # As the last thing before: see there.
        touch_memory(root, case.writes)
        before, busy = running.usage(), machine_cpu()
        result = load.run()
        after, busy = running.usage(), machine_cpu() - busy
        if case.stores and not holds_pattern(running.directory, case.stores, pattern(program)):
            raise RunFailed(f"{server.name} has not stored the right bytes")
    cpu = after.cpu - before.cpu
    each = (used - before.cpu_of.get(pid, 0.0) for pid, used in after.cpu_of.items())
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
        cpu_each=tuple(sorted((round(used, 3) for used in each if used > 0.005), reverse=True)),
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
