"""Several who write to one upload at once, and whether what comes of it is one consistent file."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.hearing import NoAnswer, heard, is_taken
from conformance.probe import GONE, SUCCESS, Probe
from conformance.tus import offset_of, patch_headers
from conformance.wire import Answer

if TYPE_CHECKING:
    from conformance.wire import Wire

_FILLER = b"z"
_PATIENCE = 5.0
"""Seconds in which an upload that nobody writes to any more can be gone on with."""


@dataclass(frozen=True)
class Writer:
    """Who sent an upload of these bytes (or its last part), and what came back."""

    data: bytes
    got: Answer | NoAnswer | None = None

    @property
    def has_finished(self) -> bool:
        """Whether it was told that all is there."""
        got = self.got
        return isinstance(got, Answer) and is_taken(got) and offset_of(got) == len(self.data)


def judge(c: Probe, row: str, url: str, writers: list[Writer], probe: str) -> None:
    """One of them at most has finished, and what is stored is of one of them: of that one."""
    finished = [each for each in writers if each.has_finished]
    c.expect(row, len(finished) <= 1, "one success at most", f"{len(finished)} successes",
             probe=probe)  # fmt: skip
    size = len(writers[0].data)
    offset, answer = _completed(c, url, size)
    if finished and answer.status in GONE:
        # Moved away when it was finished.
        return
    least = size if finished else 0
    good = offset is not None and least <= offset <= size
    got = answer if offset is None else f"Upload-Offset: {offset}"
    expected = f"an offset from {least} to {size}, and 204 to the rest"
    if not c.expect(row, good, expected, got, probe=probe):
        return
    if not c.has("get"):
        c.unseen += 1
        return
    body = c.get(url).body
    rest = _FILLER * (size - (offset or 0))
    known = [each.data[:offset] + rest for each in finished or writers]
    c.expect(row, body in known, "the bytes of one writer up to where it ended",
             f"{len(body):,} bytes, {_runs(body)}", probe=probe)  # fmt: skip


def _completed(c: Probe, url: str, size: int) -> tuple[int | None, Answer]:
    """Fills the upload up; where it stood before, or None and what was answered instead."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = c.hd(url)
        offset = offset_of(answer)
        if offset is not None and offset >= size:
            return offset, answer
        if offset is not None:
            answer = c.pa(url, offset, _FILLER * (size - offset))
            if answer.status in SUCCESS:
                return offset, answer
        if answer.status in GONE or time.monotonic() > deadline:
            return None, answer
        time.sleep(0.2)


def _runs(body: bytes) -> str:
    """Of which bytes the body consists, in order."""
    runs: list[list[int]] = []
    for byte in body:
        if runs and runs[-1][0] == byte:
            runs[-1][1] += 1
        else:
            runs.append([byte, 1])
    return ", ".join(f"{length} × {chr(byte)!r}" for byte, length in runs[:6])


def race(c: Probe, url: str, offset: int, bodies: list[bytes], pieces: int = 1) -> list[Writer]:
    """Sends these PATCHes at the same moment: heads and bodies in one piece, bodies behind the
    heads when all of those have been sent, or bodies in several pieces.
    """
    start = threading.Barrier(len(bodies), timeout=60.0)

    def write(wire: Wire, body: bytes) -> Writer:
        head = c.head("PATCH", url, patch_headers(offset, len(body)))
        for piece in _pieces(head, body, pieces):
            start.wait()
            wire.try_send(piece)
        return Writer(body, heard(wire, "PATCH"))

    with ExitStack() as stack, ThreadPoolExecutor(len(bodies)) as pool:
        wires = [stack.enter_context(c.wire(url)) for _ in bodies]
        return list(pool.map(write, wires, bodies))


def _pieces(head: bytes, body: bytes, count: int) -> list[bytes]:
    if count == 1:
        return [head + body]
    step = -(-len(body) // (count - 1))
    return [head, *(body[start : start + step] for start in range(0, len(body), step))]
