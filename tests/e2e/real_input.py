"""Uploads a big file of real bytes with the real clients, through kills and cuts, and compares.

    python -m tests.e2e.real_input --size 3GiB --dir /var/tmp --workers 2

Three ways: with tuspy undisturbed; with tuspy while the server is killed five times (SIGKILL) and
started again; with tus-js-client in parallel parts while its connections are cut. Each time what
GET returns must have the digest of the source, and no process of the server may ever have taken
more than 100 MiB. Needs three times the size of the file on the disk, and frees it at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tusclient.client import TusClient

from tests.e2e.cutting import CuttingProxy
from tests.e2e.node import node_modules, tus_js_upload
from tests.servers import ProcessServer, process_server
from tests.tus import eventually
from tusserver.settings import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tusclient.uploader.uploader import Uploader

MEBI = 1024 * 1024
CHUNK = 8 * MEBI
TREE = "usr"
"""Below the root of the machine; it holds programs, libraries, texts and pictures."""
KILLS = 5
CUTS = 5
PEAK_LIMIT = 100 * MEBI


@dataclass(frozen=True)
class Source:
    """The file to upload and what it must come back as."""

    path: Path
    size: int
    digest: str


@dataclass(frozen=True)
class Result:
    """What came of one way to upload. `peaks` in bytes, one for each process of the server."""

    way: str
    digest: str
    seconds: float
    peaks: list[int]
    remarks: list[str]

    def faults(self, source: Source) -> list[str]:
        """What is wrong with it, in words; empty when it is as it should be."""
        faults = []
        if self.digest != source.digest:
            faults.append(f"{self.way}: GET returned other bytes ({self.digest})")
        if not self.peaks or max(self.peaks) > PEAK_LIMIT:
            faults.append(f"{self.way}: the server took {_mebibytes(max(self.peaks, default=0))}")
        return faults


def make_source(path: Path, size: int) -> Source:
    """Archives of the machine's own programs, one behind the other until there are enough bytes."""
    # No multiple of the clients' chunks, nor of the parts.
    size += 12345
    digest, written = hashlib.sha256(), 0
    with open(path, "wb") as out:
        while written < size:
            with _archive() as pieces:
                while written < size and (piece := pieces(MEBI)):
                    piece = piece[: size - written]
                    out.write(piece)
                    digest.update(piece)
                    written += len(piece)
    return Source(path, size, digest.hexdigest())


@contextmanager
def _archive() -> Iterator[Callable[[int], bytes]]:
    command = ["tar", "--create", "--file=-", "--directory=/", "--ignore-failed-read", TREE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.read
        finally:
            process.kill()


def digest_of_download(server: ProcessServer, url: str) -> str:
    digest = hashlib.sha256()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("GET", "/" + url.split("/", 3)[3])
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        while data := answer.read(MEBI):
            digest.update(data)
    return digest.hexdigest()


def peaks_of(server: ProcessServer) -> list[int]:
    """The most memory that each process of the server has ever taken, in bytes."""
    assert server.process is not None
    first = server.process.pid
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [_peak(pid) for pid in (first, *map(int, children))]


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


class Ways:
    """The ways to upload, each returning the URL; `peaks` and `remarks` gather what they saw."""

    def __init__(self, server: ProcessServer, source: Source) -> None:
        self.peaks: list[int] = []
        self.remarks: list[str] = []
        self._server = server
        self._source = source
        self._endpoint = f"http://127.0.0.1:{server.port}/files/"
        # Of a small file so small that there are several between two kills.
        self._chunk = min(CHUNK, source.size // (6 * KILLS))

    def undisturbed(self) -> str:
        uploader = self._tuspy()
        uploader.upload()
        return _url_of(uploader)

    def through_kills(self) -> str:
        """tuspy notices by itself, asks with HEAD how far the server has got, and goes on there."""
        uploader = self._tuspy()
        pause = 0.0
        due = [self._source.size * number // (KILLS + 1) for number in range(1, KILLS + 1)]
        kill: Future[None] | None = None
        with ThreadPoolExecutor(1) as killer:
            while uploader.offset < self._source.size:
                if due and uploader.offset >= due[0]:
                    del due[0]
                    if kill is not None:
                        kill.result()
                    kill = killer.submit(self._kill, uploader, pause * random.random())
                started = time.monotonic()
                uploader.upload_chunk()  # type: ignore[no-untyped-call]
                # As long as one chunk takes, so that the kills hit any moment of one.
                pause = pause or time.monotonic() - started
            assert kill is not None
            kill.result()
        assert not due
        return _url_of(uploader)

    def _kill(self, uploader: Uploader, pause: float) -> None:
        """SIGKILL at some moment of the chunk that is being sent, then a new start."""
        time.sleep(pause)
        self.peaks += peaks_of(self._server)
        acknowledged = uploader.offset
        self._server.kill()
        # Its workers may take a moment longer to die, and would still be connected to.
        eventually(lambda: not _is_listening(self._server.port))
        upload_id = _url_of(uploader).rsplit("/", 1)[1]
        stored = (self._server.upload_dir / upload_id).stat().st_size
        self._server.start()
        self.remarks.append(
            f"killed {stored - acknowledged} bytes into the chunk at {acknowledged}"
        )
        assert stored >= acknowledged, f"{acknowledged} bytes were acknowledged, {stored} are left"

    def in_parallel_through_cuts(self) -> str:
        size = self._source.size
        cuts = [size * number // (CUTS + 1) for number in range(1, CUTS + 1)]
        with CuttingProxy(("127.0.0.1", self._server.port), cuts=cuts) as proxy:
            run = tus_js_upload(
                self._source.path,
                f"{proxy.url}/files/",
                timeout=3600,
                parallelUploads=3,
                retryDelays=[0, 50, 100, 200, 500, 1000, 2000],
            )
            assert not proxy.left, "the upload ended before all cuts"
        heads, posts = run.methods().count("HEAD"), run.methods().count("POST")
        self.remarks.append(f"{CUTS} cuts, after which the client asked {heads} times with HEAD")
        # Three parts and their joining: no part was begun anew.
        assert posts == 4, run.requests
        return run.url

    def _tuspy(self) -> Uploader:
        # Without a chunk size tuspy would read the whole file into memory.
        return TusClient(self._endpoint).uploader(
            str(self._source.path),
            chunk_size=self._chunk,
            retries=100,
            retry_delay=0.2,
        )


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionError:
        return False
    return True


def _url_of(uploader: Uploader) -> str:
    url: object = uploader.url
    assert isinstance(url, str)
    return url


WAYS = {
    "tuspy, undisturbed": Ways.undisturbed,
    f"tuspy, server killed {KILLS} times": Ways.through_kills,
    f"tus-js-client, 3 in parallel, cut {CUTS} times": Ways.in_parallel_through_cuts,
}


def run_way(way: str, source: Source, directory: Path, workers: int) -> Result:
    """One upload, its download, and what the server took meanwhile."""
    upload_dir = directory / "uploads"
    try:
        with process_server(upload_dir, "--workers", str(workers)) as server:
            ways = Ways(server, source)
            started = time.monotonic()
            url = WAYS[way](ways)
            seconds = time.monotonic() - started
            digest = digest_of_download(server, url)
            peaks = ways.peaks + peaks_of(server)
            assert server.stop() == 0
        return Result(way, digest, seconds, peaks, ways.remarks)
    finally:
        shutil.rmtree(upload_dir, ignore_errors=True)


def _mebibytes(size: int) -> str:
    return f"{size / MEBI:.1f} MiB"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when everything was as it should be, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.real_input")
    parser.add_argument("--size", default="3GiB", help="of the file, as 3GiB")
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    parser.add_argument("--dir", type=Path, required=True, help="where there is room")
    options = parser.parse_args(arguments)
    size = parse_size(options.size)
    assert size is not None
    node_modules()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="real-input-", dir=options.dir) as name:
        source = make_source(Path(name) / "source.tar", size)
        _say(f"source: {source.size} bytes, SHA-256 {source.digest}; {options.workers} worker(s)")
        for way in WAYS:
            result = run_way(way, source, Path(name), options.workers)
            faults += result.faults(source)
            _report(result, source)
    for fault in faults:
        _say(f"FAULT  {fault}")
    return 1 if faults else 0


def _report(result: Result, source: Source) -> None:
    rate = source.size / MEBI / result.seconds
    _say(f"{result.way}:")
    verdict = "the same" if result.digest == source.digest else "NOT the same"
    _say(f"  GET:  SHA-256 {result.digest} ({verdict})")
    _say(f"  peak: {', '.join(map(_mebibytes, result.peaks))}")
    _say(f"  time: {result.seconds:.1f} s, {rate:.0f} MiB/s")
    for remark in result.remarks:
        _say(f"  {remark}")


if __name__ == "__main__":
    sys.exit(main())
