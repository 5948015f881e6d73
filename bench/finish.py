"""How a large file goes through the whole finish: how long its last answer takes, what a client
sees meanwhile, and how much memory the server needs.

    python -m bench.finish --size 10GiB --dir /var/tmp --root /var/tmp --json figures.json

The source is a sparse file that is sent from the kernel (`sendfile`), so that the client costs
nothing. With --root on another file system the placement copies.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path

_TUS = {"Tus-Resumable": "1.0.0"}
_LOOK_EVERY = 0.02
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass
class Figures:
    """What was measured. Seconds, bytes; `seen` are the different answers to HEAD, in order, while
    the last PATCH was waiting for its answer: status, Upload-Offset and how long it stood so.
    """

    size: int
    steps: str
    sending: float = 0.0
    finishing: float = 0.0
    peak_memory: int = 0
    slowest_head: float = 0.0
    seen: list[tuple[int, str, float]] = field(default_factory=list)
    place: str = ""


def measure(size: int, directory: Path, root: Path, options: tuple[str, ...]) -> Figures:
    """One upload of `size` bytes to a server of its own. `options` are those of the server, besides
    `--destination-root`.
    """
    work = Path(tempfile.mkdtemp(prefix="finish-", dir=directory))
    place = Path(tempfile.mkdtemp(prefix="placed-", dir=root))
    try:
        source = work / "source.h5"
        with open(source, "xb") as file:
            file.truncate(size)
        command = [sys.executable, "-m", "tusserver", "--port", "0", "--upload-dir",
                   str(work / "uploads"), "--destination-root", str(place), *options]  # fmt: skip
        log = work / "log"
        with open(log, "xb") as said:
            process = subprocess.Popen(command, stderr=said)
        try:
            figures = _upload(port_of(process, log), source, Figures(size, " ".join(options)))
            figures.peak_memory = _peak(process.pid)
            _check(place, figures)
        finally:
            process.terminate()
            process.wait(30)
        return figures
    finally:
        shutil.rmtree(work)
        shutil.rmtree(place)


def port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """That which the server says it listens on."""
    while process.poll() is None:
        found = re.search(r"http://[^/\s]*:(\d+)", log.read_text())
        if found is not None:
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(log.read_text())


def _upload(port: int, source: Path, figures: Figures) -> Figures:
    with closing(HTTPConnection("127.0.0.1", port)) as client:
        metadata = "filename c291cmNlLmg1"
        headers = {**_TUS, "Upload-Length": str(figures.size), "Upload-Metadata": metadata}
        client.request("POST", "/files/", headers={**headers, "Content-Length": "0"})
        created = client.getresponse()
        created.read()
        path = str(created.getheader("Location"))
    with socket.create_connection(("127.0.0.1", port)) as sender:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\n"
            f"Content-Length: {figures.size}\r\n\r\n"
        )
        began = time.monotonic()
        sender.sendall(head.encode())
        with open(source, "rb") as file:
            sender.sendfile(file)
        sent = time.monotonic()
        answered = threading.Event()
        watcher = threading.Thread(target=_watch, args=(port, path, answered, figures))
        watcher.start()
        answer = sender.recv(65536).decode("latin-1")
        figures.finishing = time.monotonic() - sent
        figures.sending = sent - began
        answered.set()
        watcher.join()
    if " 204 " not in answer.split("\r\n")[0]:
        raise RuntimeError(answer)
    lines = dict(line.lower().split(": ", 1) for line in answer.split("\r\n")[1:] if ": " in line)
    figures.place = lines["upload-place"]
    return figures


def _watch(port: int, path: str, answered: threading.Event, figures: Figures) -> None:
    """Asks with HEAD again and again, as a second client would: at once, so that a short finish is
    seen, too, and perhaps once more than before the answer.
    """
    last, since = None, time.monotonic()
    with closing(HTTPConnection("127.0.0.1", port)) as client:
        while True:
            asked = time.monotonic()
            client.request("HEAD", path, headers=_TUS)
            response = client.getresponse()
            response.read()
            now = time.monotonic()
            figures.slowest_head = max(figures.slowest_head, now - asked)
            seen = (response.status, str(response.getheader("Upload-Offset")))
            if seen != last:
                figures.seen.append((*seen, 0.0))
                last, since = seen, now
            figures.seen[-1] = (*seen, now - since)
            if answered.wait(_LOOK_EVERY):
                return


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell how much memory was used")


def _check(place: Path, figures: Figures) -> None:
    placed = [path for path in place.rglob("*") if path.is_file()]
    if [path.stat().st_size for path in placed] != [figures.size]:
        raise RuntimeError(f"there should be one file of {figures.size} bytes: {placed}")


def _told(figures: Figures) -> str:
    seen = ", ".join(f"{status} offset {offset} for {seconds:.1f} s"
                     for status, offset, seconds in figures.seen)  # fmt: skip
    return (
        f"{figures.size / 2**30:.2f} GiB, {figures.steps or 'placement only'}\n"
        f"  sent in            {figures.sending:8.1f} s\n"
        f"  last answer after  {figures.finishing:8.1f} s more\n"
        f"  HEAD meanwhile     {seen}\n"
        f"  slowest HEAD       {figures.slowest_head * 1000:8.1f} ms\n"
        f"  peak memory        {figures.peak_memory / 2**20:8.1f} MiB\n"
    )


def size_of(text: str) -> int:
    """Bytes. Raises ValueError for what is no size, or that of no file worth a run."""
    size = int(text[:-3]) * _UNITS.get(text[-3:], 0)
    if size <= 0:
        raise ValueError(text)
    return size


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How a large file goes through the whole finish.",
        epilog="example: python -m bench.finish --size 10GiB -- --digests sha256",
    )
    parser.add_argument("--size", type=size_of, default="10GiB", help="of the file, as 64MiB")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where uploads are")
    parser.add_argument("--root", type=Path, help="where they go; without, beside the uploads")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("options", nargs="*", help="of the server; behind --")
    return parser.parse_args()


def main() -> None:
    """Measures once and tells."""
    arguments = _arguments()
    root = arguments.root or arguments.dir
    figures = measure(arguments.size, arguments.dir, root, tuple(arguments.options))
    sys.stdout.write(_told(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures)) + os.linesep)


if __name__ == "__main__":
    main()
