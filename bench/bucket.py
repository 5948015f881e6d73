"""Uploads in a bucket, beside tusd on the same S3 service, with parts of the same size.

    python -m bench.bucket --rounds 5 --json samples.jsonl

The service is versitygw, which costs the least of those that keep whole files: what it stores is
compared with what was sent. It runs on the same machine, so that the rates say little about other
places; the processor time and the memory of the servers do. tusd is measured as it comes, and with
`-s3-disable-content-hashes`, by which its parts have no checksum that the service could verify.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.cases import MIB, Case, Sample, cost, pattern, rate
from bench.measuring import RunFailed, build, holds_pattern, playground, raise_descriptor_limit
from bench.rounds import HERE, install, measure, say
from bench.servers import CACHE, PROJECT, SERVERS, Server, program, run, tusserver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSITYGW = "v1.8.0"
BUCKET = "bench"
PART = 8 * MIB
_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_KEYS = {
    "AWS_ACCESS_KEY_ID": "bench-access",
    "AWS_SECRET_ACCESS_KEY": "bench-secret",
    "AWS_REGION": "us-east-1",
}


def _install_service() -> None:
    """Raises CannotInstall."""
    target = CACHE / "bin" / "versitygw"
    if target.exists():
        return
    go = program("go", "/usr/local/go/bin")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for words in (
            ("mod", "init", "scratch"),
            ("get", f"{_MODULE}@{VERSITYGW}"),
            ("build", "-o", str(target), _MODULE),
        ):
            run(go, *words, directory=Path(scratch), CGO_ENABLED="0", GOFLAGS="-mod=mod")


@dataclass(frozen=True)
class Service:
    """A running S3 service; its objects are files in `directory`."""

    endpoint: str
    directory: Path


@contextmanager
def service(root: Path, port: int) -> Iterator[Service]:
    """versitygw on this port, with an empty bucket in a folder below `root`."""
    directory = root / "objects"
    (directory / BUCKET).mkdir(parents=True)
    keys = ("--access", _KEYS["AWS_ACCESS_KEY_ID"], "--secret", _KEYS["AWS_SECRET_ACCESS_KEY"])
    process = subprocess.Popen(
        [
            str(CACHE / "bin" / "versitygw"), "--port", f"127.0.0.1:{port}", *keys, "--quiet",
            "posix", str(directory),
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(1)
        if process.poll() is not None:
            raise RunFailed("versitygw did not start")
        yield Service(f"http://127.0.0.1:{port}", directory / BUCKET)
    finally:
        process.kill()
        process.wait()


def servers(at: Service) -> list[Server]:
    """Ours, and tusd in its two ways."""
    tusd = SERVERS["tusd"]
    hashes = "tusd without hashes"

    def ours(port: int, directory: Path) -> list[str]:
        return tusserver(
            f"--store=s3://{BUCKET}/{directory.name}/", f"--s3-endpoint={at.endpoint}",
            "--s3-preset=versitygw", f"--object-part-size={PART}",
        )(port, directory)  # fmt: skip

    def theirs(*more: str) -> Server:
        def command(port: int, directory: Path) -> list[str]:
            return [
                *tusd.command(port, directory), "-s3-bucket", BUCKET, "-s3-endpoint", at.endpoint,
                "-s3-object-prefix", directory.name, "-s3-part-size", str(PART), *more,
            ]  # fmt: skip

        return replace(tusd, command=command, environment=lambda directory: _KEYS)

    return [
        replace(SERVERS["tusserver"], command=ours, environment=lambda directory: _KEYS),
        theirs(),
        replace(theirs("-s3-disable-content-hashes"), name=hashes),
    ]


def cases(scale: float) -> list[Case]:
    """One client, sixteen, a hundred slow ones, and small uploads."""

    def case(name: str, title: str, unit: str, words: str, warm: str, stores: int = 0) -> Case:
        return Case(name, title, unit, tuple(words.split()), tuple(warm.split()), writes=stores)

    one, each = int(512 * MIB * scale), int(64 * MIB * scale)
    few = f"-case patch -size {16 * MIB}"
    small = "-case small -parallel 16 -size 4096 -requests"
    return [
        case("patch", "one PATCH", "bytes", f"-case patch -size {one}", few, one),
        case("parallel", "16 PATCHes at once", "bytes",
             f"-case parallel -size {each} -parallel 16", few, 16 * each),
        case("slow", "100 clients of 64 KiB/s, 640 KiB each", "bytes",
             "-case slow -parallel 100 -seconds 10 -rate 65536",
             "-case slow -parallel 10 -seconds 0.5"),
        case("small", "4 KiB as POST and PATCH", "requests",
             f"{small} {max(200, int(2000 * scale))}", f"{small} 64"),
    ]  # fmt: skip


def verified(at: Service, wanted: Case, load: Path) -> None:
    """Raises RunFailed if no object is what this case has sent."""
    size = int(wanted.load[wanted.load.index("-size") + 1])
    if not holds_pattern(at.directory, size, pattern(load)):
        raise RunFailed(f"{wanted.name}: no object has the right bytes")


def measured(
    at: Service, chosen: Sequence[Case], able: list[Server], rounds: int, load: Path, root: Path
) -> Iterator[Sample]:
    """All samples; the bucket is emptied behind each round, after a look at what lies there."""
    for case in chosen:
        for number in range(rounds):
            for server in able if number % 2 == 0 else able[::-1]:
                for sample in measure([case], [server], {"bucket": root}, 1, load):
                    yield replace(sample, round=number)
                if "-size" in case.load and case.unit == "bytes":
                    verified(at, case, load)
                for path in at.directory.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def table(chosen: Sequence[Case], samples: Sequence[Sample]) -> str:
    """Medians, and in brackets the median of the ratios to tusd of the same round."""
    names = list(dict.fromkeys(sample.server for sample in samples))
    lines = [
        "| case | server | MiB/s, or requests/s | CPU-s/GiB, or ms/request | peak MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in chosen:
        of = {name: [s for s in samples if (s.case, s.server) == (case.name, name)]
              for name in names}  # fmt: skip
        base = {sample.round: sample for sample in of["tusd"]}
        for name, found in of.items():
            cells = []
            for figure in (
                lambda sample, unit=case.unit: rate(sample, unit),
                lambda sample, unit=case.unit: cost(sample, unit),
                lambda sample: sample.peak_rss / MIB,
            ):
                ratios = [figure(s) / figure(base[s.round]) for s in found if s.round in base]
                cells.append(f"{median(map(figure, found)):.4g} ({median(ratios):.2f})")
            lines.append(f"| {case.title} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measures uploads in a bucket beside tusd.",
        epilog="example: python -m bench.bucket --rounds 5 --json samples.jsonl",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured [5]")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes [1.0]")
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm"), help="where objects lie")
    parser.add_argument("--port", type=int, default=17070, help="of the S3 service [17070]")
    parser.add_argument("--json", type=Path, help="write every sample here")
    options = parser.parse_args()
    raise_descriptor_limit()
    _install_service()
    load = build("load", HERE / "load" / "main.go", "go", "build")
    chosen = cases(options.scale)
    with playground(options.dir) as root, service(root, options.port) as at:
        able = install(servers(at))
        samples = list(measured(at, chosen, able, options.rounds, load, root))
    if options.json:
        options.json.write_text("".join(f"{json.dumps(s.as_dict())}\n" for s in samples))
    say(f"versitygw {VERSITYGW}, parts of {PART // MIB} MiB, {PROJECT.name}")
    sys.stdout.write(table(chosen, samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
