"""Many uploads on disk: what start-up, requests, sweeps and commands cost beside them.

    python -m bench.many --uploads 1000000

Makes the uploads once flat and once fanned out, then starts servers of this checkout on them. Needs
two inodes and one block for each upload. The figures are for `docs/performance-many.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.many_uploads import expire_one, populate, some_ids
from bench.measuring import playground

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Figures = dict[str, Any]
FIRST_SWEEP = 10.0
"""Seconds after its start when a server sweeps for the first time."""
_TICKS = os.sysconf("SC_CLK_TCK")
_SWEPT = re.compile(r"swept:")


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


# The server.


class Server:
    """A server of this checkout on a directory, its log read line by line."""

    def __init__(self, root: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.swept: list[float] = []
        self.lines: list[str] = []
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "tusserver", "--port", str(self.port), "--upload-dir",
                str(root), "--no-access-log", "--log-level", "debug", *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.first_answer = self._await_answer() - self.began

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if _SWEPT.search(line):
                self.swept.append(time.monotonic())

    def _await_answer(self) -> float:
        while True:
            with suppress(OSError), Client(self.port) as client:
                client.request(b"OPTIONS", b"/files/")
                return time.monotonic()
            assert self.process.poll() is None, self.lines
            time.sleep(0.005)

    def status(self, name: str) -> float:
        """A line of /proc/PID/status, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Server]:
    server = Server(root, *options)
    try:
        yield server
    finally:
        server.stop()


class Client:
    """One connection, one request after the other."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def request(self, verb: bytes, path: bytes, headers: bytes = b"") -> bytes:
        """The head of an answer that has no body."""
        head = b"%b %b HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n%b\r\n"
        self._socket.sendall(head % (verb, path, headers))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += (received := self._socket.recv(4096))
            if not received:
                raise ConnectionError
        return answer


# The requests.


@dataclass
class Window:
    """The requests of one kind in one span of time. Latencies in seconds."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def cost(self) -> float:
        """CPU milliseconds of the server for each request, whatever else it did meanwhile."""
        return 1000 * self.cpu / len(self.latencies)

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Load:
    """HEAD on uploads that are there, and POST for new ones, in turns of half a second each."""

    TURN = 0.5

    def __init__(self, server: Server, ids: Sequence[str]) -> None:
        self._server = server
        self._ids = ids
        self._client = Client(server.port)

    def run(self, windows: dict[str, Window], until: float) -> None:
        """Adds to the windows of these kinds, one turn each or until this moment."""
        while True:
            for kind, window in windows.items():
                self._turn(kind, window)
            if time.monotonic() >= until:
                return

    def _turn(self, kind: str, window: Window) -> None:
        end, cpu, started = time.monotonic() + self.TURN, self._server.cpu(), time.monotonic()
        while (now := time.monotonic()) < end:
            answer = self._head() if kind == "HEAD" else self._post()
            window.latencies.append(time.monotonic() - now)
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), answer
        window.seconds += time.monotonic() - started
        window.cpu += self._server.cpu() - cpu

    def _head(self) -> bytes:
        upload_id = random.choice(self._ids)
        return self._client.request(b"HEAD", f"/files/{upload_id}".encode())

    def _post(self) -> bytes:
        headers = b"Upload-Length: 0\r\nContent-Length: 0\r\n"
        return self._client.request(b"POST", b"/files/", headers)


def windows() -> dict[str, Window]:
    return {"HEAD": Window(), "POST": Window()}


def told(windows: dict[str, Window]) -> Figures:
    return {
        kind: {
            "per_s": round(window.rate),
            "cpu_ms": round(window.cost, 3),
            "p50_ms": round(window.percentile(0.5), 3),
            "p99_ms": round(window.percentile(0.99), 2),
            "p999_ms": round(window.percentile(0.999), 2),
        }
        for kind, window in windows.items()
    }


# What is measured.


def start_up(root: Path) -> Figures:
    """Seconds to the first answer, and memory then."""
    found = []
    for _ in range(3):
        with serving(root, "--sync", "none", "--sweep-interval", "off") as server:
            found.append((server.first_answer, server.status("VmRSS")))
    seconds, memory = sorted(found)[1]
    return {"first_answer_s": round(seconds, 2), "rss_mib": round(memory, 1)}


def paired(root: Path, ids: Sequence[str], options: Sequence[str], seconds: float) -> Figures:
    """Requests to a server that is making its first sweep, and to one beside it that never sweeps:
    in turns, so that whatever else the machine does slows both.
    """
    common = ("--sync", "none", *options)
    with (
        serving(root, *common) as sweeper,
        serving(root, *common, "--sweep-interval", "off") as other,
    ):
        loads = {"sweeping": Load(sweeper, ids), "not_sweeping": Load(other, ids)}
        found = {name: windows() for name in loads}
        for load in loads.values():
            load.run(windows(), time.monotonic() + 2)
        time.sleep(max(0, sweeper.began + FIRST_SWEEP + 1 - time.monotonic()))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, load in loads.items():
                load.run(found[name], 0)
        assert not sweeper.swept, "the sweep was over too early; take more uploads"
        return {name: told(windows) for name, windows in found.items()}


def sweeping(root: Path, levels: int, options: Sequence[str]) -> Figures:
    """The first sweep of a server, which reads all, and the second one, with nobody else there."""
    expire_one(root, levels)
    with serving(root, "--sync", "none", "--sweep-interval", "20s", *options) as server:
        found: Figures = {"rss_before_mib": round(server.status("VmRSS"), 1)}
        time.sleep(max(0, server.began + FIRST_SWEEP - time.monotonic()))
        for name in ("first_sweep", "second_sweep"):
            found[name] = one_sweep(server)
            say(f"{name}: {found[name]}")
            expire_one(root, levels)
        return found


def one_sweep(server: Server) -> Figures:
    """Of the one that is coming, or has just begun."""
    number, cpu = len(server.swept), server.cpu()
    server.forget_peak()
    while len(server.swept) == number:
        time.sleep(0.05)
    line = next(line for line in reversed(server.lines) if _SWEPT.search(line))
    return {
        "log": line.partition("swept: ")[2],
        "cpu_s": round(server.cpu() - cpu, 1),
        "peak_rss_mib": round(server.status("VmHWM"), 1),
    }


def command(root: Path, *words: str) -> Figures:
    """Wall and CPU seconds and peak memory of one command, and how many lines it told."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tusserver", *words, "--upload-dir", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    lines = sum(block.count(b"\n") for block in iter(partial(os.read, descriptor, 2**16), b""))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
        "lines": lines,
        "exit_code": process.returncode,
    }


COMMANDS = (("ls",), ("ls", "--json"), ("verify", "--dry-run"), ("sweep", "--dry-run"))


def measure(root: Path, count: int, levels: int, options: argparse.Namespace) -> Figures:
    found: dict[str, Any] = {}
    if "start" in options.parts:
        found["start"] = start_up(root)
    ids = some_ids(root, count, levels)
    extra = ("--fan-out", str(levels)) if levels else ()
    if "paired" in options.parts:
        found["paired"] = paired(root, ids, extra, options.seconds)
        say(f"paired: {found['paired']}")
    if "sweep" in options.parts:
        found["sweep"] = sweeping(root, levels, extra)
    if "commands" in options.parts:
        for words in COMMANDS:
            found[" ".join(words)] = command(root, *words)
            say(f"{' '.join(words)}: {found[' '.join(words)]}")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--uploads", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where the disk is")
    parser.add_argument("--levels", default="0,1", help="of fan-out, between commas [0,1]")
    parser.add_argument("--parts", default="start,paired,sweep,commands", help="what to measure")
    parser.add_argument("--seconds", type=float, default=40.0, help="of requests")
    parser.add_argument("--keep", type=Path, help="keep the uploads here, and take what is there")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    options.parts = options.parts.split(",")
    with playground(options.dir) as scratch:
        for levels in map(int, options.levels.split(",")):
            root = (options.keep or scratch) / f"levels-{levels}"
            if not root.exists():
                started = time.monotonic()
                populate(root, options.uploads, levels)
                say(f"{options.uploads} uploads in {time.monotonic() - started:.0f} s")
            found = measure(root, options.uploads, levels, options)
            sys.stdout.write(json.dumps({"levels": levels, "uploads": options.uploads, **found}))
            sys.stdout.write("\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
