"""Starts servers, reads what the kernel says of their processes, and keeps the disk comparable."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.servers import CACHE, PROJECT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")
BLOCK = 1024 * 1024
_FILLING = b"x" * BLOCK
_DESCRIPTORS = 2**20


class RunFailed(Exception):
    """A server or the load did not do what it should; the message says what happened."""


@dataclass(frozen=True)
class Usage:
    """What a server's processes have used. CPU in seconds by process, peak memory in bytes."""

    cpu_of: dict[int, float]
    peak_rss: int
    threads: int

    @property
    def cpu(self) -> float:
        return sum(self.cpu_of.values())


class Running:
    """A started server with a directory of its own."""

    def __init__(
        self, process: subprocess.Popen[bytes], scheme: str, port: int, directory: Path
    ) -> None:
        self._process = process
        self.directory = directory
        self.url = f"{scheme}://127.0.0.1:{port}/files/"

    def processes(self) -> list[int]:
        return list(_tree(self._process.pid))

    def usage(self) -> Usage:
        """Summed over the process tree."""
        processes = self.processes()
        return Usage(
            {pid: _cpu(pid) for pid in processes},
            sum(_status(pid, "VmHWM") * 1024 for pid in processes),
            sum(_status(pid, "Threads") for pid in processes),
        )

    def forget_peak(self) -> None:
        """The peak memory counts from here on."""
        for pid in self.processes():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _tree(int(child))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def machine_cpu() -> float:
    """CPU seconds that the whole machine has been busy since it was started."""
    with open("/proc/stat") as lines:
        fields = [int(field) for field in lines.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / _TICKS


@contextmanager
def started(server: Server, root: Path) -> Iterator[Running]:
    """The server, fresh, with an empty directory below `root` that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = directory.with_suffix(".log")
    with open(log, "wb") as output:
        process = subprocess.Popen(
            server.command(port, directory),
            cwd=PROJECT,
            env={**os.environ, **server.environment(directory)},
            stdout=output,
            stderr=output,
        )
    try:
        _await_port(process, port, log)
        yield Running(process, server.scheme, port, directory)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
        log.unlink(missing_ok=True)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RunFailed(f"the server did not start: {log.read_text()[-500:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)


@contextmanager
def playground(directory: Path) -> Iterator[Path]:
    """A directory for the runs, gone afterwards.

    Each run gets a folder of its own, and where the file system spreads folders (ext4's top
    directories) in another part of the disk: the inodes that one has freed do not slow the next.
    """
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="tus-bench-", dir=directory))
    with suppress(OSError):
        subprocess.run(["chattr", "+T", str(root)], capture_output=True, check=False)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def touch_memory(directory: Path, size: int) -> None:
    """Lets the next file of this size find memory that is ready; to be called right before.

    A virtual machine may give free memory back to its host after a second or two, and gets it back
    page by page: a write then costs up to five times as much. What has been written to the same
    file system in writes of the same size, and deleted again, is what the next file gets.
    """
    if not size:
        return
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(size // BLOCK):
            file.write(_FILLING)


def raise_descriptor_limit() -> int:
    """As many descriptors as this user may have, for servers and clients started from here on.

    Returns how many that are. tusserver needs three for each slow client: the connection twice and
    the file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def build(name: str, source: Path, *command: str) -> Path:
    """A compiled helper in the cache; each version of its source has one of its own."""
    sources = sorted(source.parent.glob(f"*{source.suffix}"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    target = CACHE / "bin" / f"{name}-{digest[:12]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [*command, "-o", str(target)],
            cwd=source.parent,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/local/go/bin"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RunFailed(f"{name} does not compile: {done.stderr}")
    return target


class Load:
    """One run of the load generator: prepared when this exists, then `run` once."""

    def __init__(self, program: Path, url: str, arguments: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [str(program), "-url", url, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RunFailed(self._process.communicate()[1].strip())

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self) -> dict[str, Any]:
        """What it tells of the measured part. Raises RunFailed."""
        out, error = self._process.communicate("\n")
        if self._process.returncode:
            raise RunFailed(error.strip())
        result: dict[str, Any] = json.loads(out)
        return result


def holds_pattern(directory: Path, size: int, pattern: bytes) -> bool:
    """Whether a file of just this size is there, and made of the pattern again and again."""
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size == size:
            with open(path, "rb") as file:
                while block := file.read(len(pattern)):
                    if block != pattern[: len(block)]:
                        return False
            return True
    return False
