"""Clients that upload, join and remove without a pause through whatever happens to the site, as
good tus clients do: after an error they ask how far the upload has got, and go on from there.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tests.tus import VERSION, chunked_headers, patch_headers
from tests.wire import Answer, ConnectionEnded, chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tus import Tus

MIB = 2**20
PATIENCE = 45.0
"""Seconds that a client goes on trying while nothing bad happens any more. Ten times the life of
a lock, since a test must not depend on a quiet machine; how long it really was is told."""
_AGAIN = frozenset({423, 502, 503, 504})
_PAUSE = 0.1


_LOG = logging.getLogger(__name__)


class Stuck(AssertionError):
    """An upload cannot be got to go on."""


@dataclass
class Weather:
    """What the clients have to know of what happens: whether something bad does, or since when
    nothing has, and what it was. `longest` is how long one had to try in good weather before the
    try that succeeded, in seconds.
    """

    fault: str = ""
    calm_since: float | None = field(default_factory=time.monotonic)
    longest: float = 0.0

    def tried(self, since: float, until: float) -> float:
        """How long one has tried in good weather who has begun then."""
        calm_since = self.calm_since
        return 0.0 if calm_since is None else max(0.0, until - max(since, calm_since))


@dataclass(eq=False)
class Upload:
    """One upload as its client knows it: `floor` bytes are acknowledged, and `ceiling` have been
    sent. `key` makes its bytes.
    """

    key: str
    length: int
    url: str
    parts: tuple[Upload, ...] = ()
    floor: int = 0
    ceiling: int = 0
    is_declared: bool = True

    @cached_property
    def data(self) -> bytes:
        if self.parts:
            return b"".join(part.data for part in self.parts)
        return random.Random(self.key).randbytes(self.length)

    @property
    def upload_id(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def is_finished(self) -> bool:
        return self.floor == self.length and self.is_declared


class Client(threading.Thread):
    """One of them, with uploads of its own. `progress` grows with each acknowledgement."""

    def __init__(self, tus: Tus, weather: Weather, seed: str) -> None:
        super().__init__(daemon=True)
        self.uploads: list[Upload] = []
        self.failure: BaseException | None = None
        self.progress = 0
        self.is_over = False
        self._tus, self._weather = tus, weather
        self._seed, self._count = seed, 0
        self._chance = random.Random(seed)

    def run(self) -> None:
        actions = (self.begin, self.go_on, self.go_on, self.join_some, self.remove)
        try:
            while not self.is_over:
                self._chance.choice(actions)()
            for upload in self.uploads:
                self.finish(upload)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.failure = error

    # What it does.

    def begin(self) -> None:
        upload = self._create(self._chance.randint(1, 3 * MIB))
        self.uploads.append(upload)
        if self._chance.random() < 0.5:
            self.append(upload)

    def go_on(self) -> None:
        unfinished = [upload for upload in self.uploads if not upload.is_finished]
        if not unfinished:
            return self.begin()
        upload = self._chance.choice(unfinished)
        for _ in range(self._chance.randint(1, 3)):
            self.append(upload)

    def join_some(self) -> None:
        big = self._chance.random() < 0.4
        sizes = [
            self._chance.randint(1, 12 * MIB if big else MIB)
            for _ in range(self._chance.randint(1, 3))
        ]
        parts = tuple(self._create(size, is_partial=True) for size in sizes)
        self.uploads.extend(parts)
        for part in parts:
            self.finish(part)
        concat = f"final;{' '.join(part.url for part in parts)}"
        url = self._post({"Upload-Concat": concat})
        final = Upload("", sum(sizes), url, parts, floor=sum(sizes))
        self.uploads.append(final)
        self._assert_right(final)

    def remove(self) -> None:
        needed = {id(part) for upload in self.uploads for part in upload.parts}
        free = [upload for upload in self.uploads if id(upload) not in needed]
        if len(free) < self._chance.randint(3, 6):
            return
        upload = self._chance.choice(free)
        self._patiently(
            lambda: self._tus.request("DELETE", upload.url, VERSION), {204, 404}, "DELETE"
        )
        self.uploads.remove(upload)

    def finish(self, upload: Upload) -> None:
        """All of it, and it comes back as it was sent."""
        if upload.parts:
            return
        while not upload.is_finished:
            self.append(upload)
        self._assert_right(upload)

    # Its requests.

    def _create(self, length: int, *, is_partial: bool = False) -> Upload:
        is_declared = self._chance.random() < 0.7
        size = {"Upload-Length": str(length)} if is_declared else {"Upload-Defer-Length": "1"}
        concat = {"Upload-Concat": "partial"} if is_partial else {}
        self._count += 1
        key = f"{self._seed} {self._count}"
        return Upload(key, length, self._post(size | concat), is_declared=is_declared)

    def _post(self, headers: dict[str, str]) -> str:
        # A creation whose answer is lost leaves an upload that nobody knows; it expires.
        return self._tus.location(self._patiently(lambda: self._tus.post(headers), {201}, "POST"))

    def append(self, upload: Upload) -> None:
        """One request with bytes, tried until it has brought some."""
        begun = last = time.monotonic()
        before = (upload.floor, upload.is_declared)
        while (upload.floor, upload.is_declared) == before and not upload.is_finished:
            last = time.monotonic()
            answer = self._tried(lambda: self._send_piece(upload))
            if answer is not None and answer.status == 460:
                return
            if answer is None or answer.status != 204:
                self._go_on_trying(answer, {204, 409}, begun, f"PATCH {upload}")
                self._look(upload)
        self._note(begun, last, f"PATCH {upload.url}")

    def _send_piece(self, upload: Upload) -> Answer:
        start = upload.floor
        end = min(upload.length, start + self._chance.choice((1, 1000, 100_000, MIB, 7 * MIB)))
        data = upload.data[start:end]
        way = self._chance.choice(("plain", "chunked", "checksum", "wrong")) if data else "plain"
        more = {}
        if end == upload.length and not upload.is_declared and way != "wrong":
            more["Upload-Length"] = str(upload.length)
        if way != "wrong":
            upload.ceiling = max(upload.ceiling, end)
        answer = self._patch(upload.url, way, start, data, more)
        assert answer.status != 460 or way == "wrong", answer
        if answer.status == 204:
            assert way != "wrong", answer
            assert answer["Upload-Offset"] == str(end)
            upload.floor = end
            upload.is_declared |= "Upload-Length" in more
        return answer

    def _patch(self, url: str, way: str, start: int, data: bytes, more: dict[str, str]) -> Answer:
        if way == "chunked":
            pieces = [data[at : at + 200_000] for at in range(0, len(data), 200_000)]
            return self._tus.request("PATCH", url, chunked_headers(start, more), chunked(*pieces))
        if way != "plain":
            digest = base64.b64encode(hashlib.sha1(data).digest()).decode()
            more = {**more, "Upload-Checksum": f"sha1 {digest}"}
        if way == "wrong":
            data = bytes(byte ^ 0x55 for byte in data[:1000]) + data[1000:]
        return self._tus.request("PATCH", url, patch_headers(start, len(data), more), data)

    def _look(self, upload: Upload) -> None:
        """Asks how far it is: never less than was acknowledged, never more than was sent."""
        answer = self._patiently(lambda: self._tus.hd(upload.url), {200}, f"HEAD {upload}")
        offset = int(answer["Upload-Offset"])
        assert upload.floor <= offset <= upload.ceiling, (offset, upload)
        upload.floor = offset
        upload.is_declared |= answer.get("Upload-Length") is not None

    def _assert_right(self, upload: Upload) -> None:
        answer = self._patiently(lambda: self._tus.get(upload.url), {200}, f"GET {upload}")
        assert answer.body == upload.data, upload

    # Its patience.

    def _tried(self, request: Callable[[], Answer]) -> Answer | None:
        """None if the connection broke."""
        try:
            return request()
        except (ConnectionEnded, OSError):
            return None

    def _patiently(self, request: Callable[[], Answer], wanted: set[int], what: str) -> Answer:
        begun = time.monotonic()
        while True:
            last = time.monotonic()
            answer = self._tried(request)
            if answer is not None and answer.status in wanted:
                self._note(begun, last, what)
                return answer
            self._go_on_trying(answer, wanted, begun, what)

    def _go_on_trying(
        self, answer: Answer | None, wanted: set[int], begun: float, what: str
    ) -> None:
        assert answer is None or answer.status in _AGAIN | wanted, (what, answer)
        if self._weather.tried(begun, time.monotonic()) > PATIENCE:
            raise Stuck(what, answer)
        time.sleep(_PAUSE)

    def _note(self, begun: float, last: float, what: str) -> None:
        self.progress += 1
        tried = self._weather.tried(begun, last)
        if tried > self._weather.longest:
            _LOG.info("%.1f s after: %s (%s)", tried, self._weather.fault, what)
            self._weather.longest = tried
