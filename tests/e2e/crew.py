"""Clients that create, append, join and terminate uploads without a pause, in threads, against a
server that may be killed at any moment; each keeps its ledger.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from typing import TYPE_CHECKING

from tests.e2e.ledger import Attempt, Known, Ledger
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, patch_headers
from tests.wire import Answer, ConnectionEnded, chunked, head

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 4
MIB = 1024 * 1024
_WAYS = ("plain", "checksum", "wrong checksum", "chunked", "trailer", "wrong trailer")
PHASES = (
    "creation",
    "creation with upload",
    *_WAYS,
    "concatenation",
    "unfinished concatenation",
    "last partial",
    "termination",
)
_CUT = (OSError, ConnectionEnded)
"""What a client sees of a server that is killed."""


class Crew:
    """The clients, and what they share: the server, the signal to pause, and what went wrong."""

    def __init__(self, seed: str) -> None:
        self.clients = [Client(self, f"{seed} {number}") for number in range(CLIENTS)]
        self.tus = Tus(("127.0.0.1", 0))
        self.failures: list[BaseException] = []
        self.is_over = False
        self._news = threading.Condition()
        self.is_paused = True
        self._parked = 0
        self._has_entered = False
        self._awaited = ""

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def enter(self, phase: str) -> None:
        """A client is about to send the request of this phase."""
        if phase == self._awaited:
            with self._news:
                self._has_entered = True
                self._news.notify_all()

    def await_phase(self, phase: str) -> None:
        with self._news:
            self._awaited, self._has_entered = phase, False
            self._news.wait_for(lambda: self._has_entered or self.failures, 20)
        self.raise_failures()
        assert self._has_entered, f"no client came to {phase}"

    def park(self) -> None:
        """A client waits as long as there is a pause; it has been cut off, or has seen it."""
        with self._news:
            self._parked += 1
            self._news.notify_all()
            self._news.wait_for(lambda: not self.is_paused)
            self._parked -= 1

    def pause(self) -> None:
        """No client begins anything new."""
        self.is_paused = True

    def await_parked(self) -> None:
        with self._news:
            self._news.wait_for(lambda: self._parked == CLIENTS or self.failures, 40)
        self.raise_failures()
        assert self._parked == CLIENTS, "a client hangs"

    def resume(self, tus: Tus) -> None:
        with self._news:
            self.tus, self.is_paused = tus, False
            self._news.notify_all()

    def finish(self) -> None:
        self.is_over = True
        self.resume(self.tus)
        for client in self.clients:
            client.join(30)

    def fail(self, error: BaseException) -> None:
        with self._news:
            self.failures.append(error)
            self._news.notify_all()

    def raise_failures(self) -> None:
        if self.failures:
            raise self.failures[0]

    def live(self) -> Iterator[tuple[Client, Known]]:
        # Partials before the finals that are made of them.
        for client in self.clients:
            for known in sorted(client.ledger.live(), key=lambda known: known.is_final):
                yield client, known


class Client(threading.Thread):
    """One client with its own uploads. The main thread uses it too while it is parked."""

    def __init__(self, crew: Crew, seed: str) -> None:
        super().__init__(daemon=True)
        self.ledger = Ledger()
        self.chance = random.Random(seed)
        self._crew = crew
        self._seed = seed
        self._count = 0

    @property
    def tus(self) -> Tus:
        return self._crew.tus

    def run(self) -> None:
        actions = (
            self.upload,
            self.upload,
            self.go_on,
            self.join_finished,
            self.join_unfinished,
            self.remove,
        )
        while not self._crew.is_over:
            if self._crew.is_paused:
                self._crew.park()
                continue
            try:
                self.chance.choice(actions)()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                if not self._was_cut(error):
                    self._crew.fail(error)
                    return
                self._crew.park()

    def _was_cut(self, error: BaseException) -> bool:
        """Whether this is what a killed server looks like, and it has been killed."""
        is_cut = isinstance(error, _CUT) and not isinstance(error, TimeoutError)
        return is_cut and self._crew.is_paused

    # What clients do.

    def upload(self) -> None:
        known = self.create(self.new(self.chance.randint(2, 2 * MIB)))
        while not known.is_finished and self.chance.random() < 0.9:
            self.append(known, self.chance.randint(1, MIB))
        if known.is_finished:
            self.assert_right(known)

    def go_on(self) -> None:
        if unfinished := self.ledger.unfinished():
            known = self.chance.choice(unfinished)
            self.finish(known)
            self.assert_right(known)

    def join_finished(self) -> None:
        parts = tuple(self.partial() for _ in range(self.chance.randint(1, 3)))
        for part in parts:
            self.finish(part)
        self.create_final(parts, "concatenation")

    def join_unfinished(self) -> None:
        parts = tuple(self.partial() for _ in range(self.chance.randint(1, 3)))
        for part in parts[1:]:
            self.finish(part)
        self.create_final(parts, "unfinished concatenation")
        self.finish(parts[0], "last partial")

    def remove(self) -> None:
        free = self.ledger.free()
        if len(free) > self.chance.randint(0, 4):
            self.terminate(self.chance.choice(free))

    # Their requests.

    def new(self, length: int, parts: tuple[Known, ...] = (), *, is_partial: bool = False) -> Known:
        self._count += 1
        key = f"{self._seed} {self._count}"
        return self.ledger.add(Known(key, length, parts, is_partial))

    def partial(self) -> Known:
        return self.create(self.new(self.chance.randint(2, MIB), is_partial=True))

    def create(self, known: Known) -> Known:
        headers = {**VERSION, "Upload-Metadata": known.metadata}
        if known.is_partial:
            headers["Upload-Concat"] = "partial"
        known.is_declared = self.chance.random() < 0.7
        if known.is_declared:
            headers["Upload-Length"] = str(known.length)
        else:
            headers["Upload-Defer-Length"] = "1"
        body = b""
        if self.chance.random() < 0.4:
            body = known.data[: self.chance.randint(1, known.length)]
            headers.update(OCTETS)
            known.attempt = Attempt(0, len(body), is_whole=False, is_right=True)
        self.post(known, headers, body, "creation with upload" if body else "creation")
        known.settle(len(body))
        return known

    def create_final(self, parts: tuple[Known, ...], phase: str) -> None:
        known = self.new(sum(part.length for part in parts), parts)
        concat = f"final;{' '.join(str(part.url) for part in parts)}"
        headers = {**VERSION, "Upload-Metadata": known.metadata, "Upload-Concat": concat}
        self.post(known, headers, b"", phase)
        if known.is_joinable:
            known.is_declared = True
            known.settle(known.length)
            self.assert_right(known)

    def post(self, known: Known, headers: dict[str, str], body: bytes, phase: str) -> None:
        headers["Content-Length"] = str(len(body))
        answer = self.send("POST", self.tus.creation, headers, body, phase)
        assert answer.status == 201, answer
        known.url = self.tus.location(answer)

    def append(self, known: Known, size: int, phase: str | None = None) -> None:
        start, end = known.offset, min(known.length, known.offset + size)
        data = known.data[start:end]
        # Without a byte there is nothing to be wrong: only the length is declared.
        way = self.chance.choice(_WAYS) if data else "plain"
        is_right = not way.startswith("wrong")
        headers, body = _framed(way, start, data, is_right=is_right)
        if end == known.length and not known.is_declared:
            headers["Upload-Length"] = str(known.length)
        known.attempt = Attempt(start, end, way not in ("plain", "chunked"), is_right)
        answer = self.send("PATCH", known.path, headers, body, phase or way)
        assert answer.status == (204 if is_right else 460), answer
        known.settle(end if is_right else start)
        known.is_declared |= is_right and "Upload-Length" in headers

    def finish(self, known: Known, phase: str | None = None) -> None:
        while not known.is_finished:
            self.append(known, known.length - known.offset, phase)

    def terminate(self, known: Known) -> None:
        known.is_ending = True
        answer = self.send("DELETE", known.path, VERSION, b"", "termination")
        assert answer.status == 204, answer
        known.is_gone = True

    def send(
        self, method: str, target: str, headers: dict[str, str], body: bytes, phase: str
    ) -> Answer:
        with self.tus.wire(timeout=30) as wire:
            self._crew.enter(phase)
            wire.send(head(method, target, headers))
            for start in range(0, len(body), 65536):
                wire.send(body[start : start + 65536])
            return wire.answer(method)

    def assert_right(self, known: Known) -> None:
        """The whole upload comes back as it was sent."""
        answer = self.tus.get(known.path)
        assert answer.status == 200, (answer.status, known)
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(known.data).digest(), known


def _framed(way: str, offset: int, data: bytes, *, is_right: bool) -> tuple[dict[str, str], bytes]:
    """Headers and body of a PATCH; one that is not right has other bytes than its checksum says."""
    digest = base64.b64encode(hashlib.sha1(data).digest()).decode()
    fields = {"Upload-Checksum": f"sha1 {digest}"}
    if not is_right:
        data = bytes(byte ^ 0x55 for byte in data[:4096]) + data[4096:]
    if way == "plain":
        return patch_headers(offset, len(data)), data
    if way.endswith("checksum"):
        return patch_headers(offset, len(data), fields), data
    pieces = [data[start : start + 50_000] for start in range(0, len(data), 50_000)]
    if way == "chunked":
        return chunked_headers(offset), chunked(*pieces)
    announced = {"Trailer": "Upload-Checksum"}
    return chunked_headers(offset, announced), chunked(*pieces, trailers=fields)
