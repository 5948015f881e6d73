"""What a process tells all others of what it does to uploads, while somebody watches."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.finish.site import Gate
from tests.servers import running
from tests.tus import VERSION, Tus, eventually
from tests.wire import head
from tusserver.announcing import SOON
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.lock.memory import MemoryLocker
from tusserver.rules import Policy, UploadsOptions
from tusserver.store.file import FileStore
from tusserver.store.memory import MemoryStore
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tusserver.events.base import Hint, Listening

PARTIAL = {"Upload-Concat": "partial"}


class RecordingBus:
    """Somebody listens, and keeps what they hear."""

    def __init__(self) -> None:
        self.is_watched = True
        self.heard: list[tuple[str, int | None]] = []

    async def publish(self, hints: Sequence[Hint]) -> None:
        self.heard += [(hint.upload_id, hint.offset) for hint in hints]

    def listen(self, hear: Callable[[Hint], None]) -> Listening:
        raise NotImplementedError

    def hears(self, url: str, offset: int | None) -> None:
        """Waits for this, and forgets what was heard before."""
        hint = (url.rpartition("/")[2], offset)
        eventually(lambda: hint in self.heard)
        self.heard.clear()


@contextmanager
def serving(
    directory: Path, bus: RecordingBus, gate: Gate | None = None, **options: timedelta
) -> Iterator[Tus]:
    policy = Policy(steps=() if gate is None else (gate,))
    uploads = Uploads(
        FileStore(directory),
        MemoryLocker(),
        UploadsOptions(finish_wait=0.3, **options),  # type: ignore[arg-type]
        policy=policy,
        bus=bus,
    )
    with running(whole_server(Application(uploads, EndpointOptions(), 0.2), "/files/")) as server:
        yield Tus(server.address)


@pytest.fixture
def bus() -> RecordingBus:
    return RecordingBus()


def test_each_step_in_the_life_of_an_upload_is_told(tmp_path: Path, bus: RecordingBus) -> None:
    with serving(tmp_path, bus) as tus:
        url = tus.mk(None)
        bus.hears(url, None)
        assert tus.pa(url, 0, b"hello").status == 204
        bus.hears(url, 5)
        assert tus.pa(url, 5, b"", {"Upload-Length": "10"}).status == 204
        bus.hears(url, None)
        assert tus.pa(url, 5, b"world").status == 204
        bus.hears(url, None)
        assert tus.delete(url).status == 204
        bus.hears(url, None)


def test_a_request_that_goes_on_is_told_of(tmp_path: Path, bus: RecordingBus) -> None:
    with serving(tmp_path, bus) as tus:
        url = tus.mk(30)
        with tus.begin_patch(url, 0, 30) as wire:
            for offset in (10, 20):
                wire.send(bytes(10))
                bus.hears(url, offset)


def test_what_breaks_off_is_told(tmp_path: Path, bus: RecordingBus) -> None:
    with serving(tmp_path, bus) as tus:
        url = tus.mk(30)
        bus.hears(url, None)
        with tus.begin_patch(url, 0, 30) as wire:
            wire.send(bytes(10))
            eventually(lambda: tus.off(url) == 10)
            bus.hears(url, 10)
        bus.hears(url, 10)  # And once more, at its end.


def test_a_finish_is_told_when_it_begins_and_ends(tmp_path: Path, bus: RecordingBus) -> None:
    gate = Gate(is_open=False)
    with serving(tmp_path, bus, gate) as tus:
        url = tus.mk(5)
        bus.hears(url, None)
        with tus.begin_patch(url, 0, 5) as wire:
            wire.send(b"hello")
            bus.hears(url, None)
            gate.is_open = True
            assert wire.answer("PATCH").status == 204
            bus.hears(url, None)


def test_a_join_is_told_of_all_its_uploads(tmp_path: Path, bus: RecordingBus) -> None:
    with serving(tmp_path, bus) as tus:
        part = tus.mk(5, PARTIAL)
        final = tus.location(tus.post({"Upload-Concat": f"final;{part}"}))
        bus.hears(final, None)
        assert tus.pa(part, 0, b"hello").status == 204
        eventually(lambda: {upload_id for upload_id, _ in bus.heard} >= {
            url.rpartition("/")[2] for url in (part, final)
        })  # fmt: skip


def test_a_join_whose_finish_takes_its_time_is_told(tmp_path: Path, bus: RecordingBus) -> None:
    gate = Gate(is_open=False)
    with serving(tmp_path, bus, gate) as tus:
        part = tus.made(b"hello", PARTIAL)
        time.sleep(4 * SOON)  # What comes soon after that would go out together.
        with tus.wire() as wire:
            headers = {**VERSION, "Content-Length": "0", "Upload-Concat": f"final;{part}"}
            wire.send(head("POST", "/files/", headers))
            eventually(lambda: bool(gate.runs))
            # Its creation, and that all its bytes are there.
            eventually(lambda: bus.heard.count((gate.runs[0], None)) == 2)
            gate.is_open = True
            assert wire.answer("POST").status == 201


def test_an_upload_that_expires_is_told(tmp_path: Path, bus: RecordingBus) -> None:
    with serving(tmp_path, bus, expires_after=timedelta(seconds=0.5)) as tus:
        url = tus.mk(5)
        bus.hears(url, None)
        bus.hears(url, None)


def test_a_store_that_does_not_tell_how_far_it_is_leaves_it_to_looks(bus: RecordingBus) -> None:
    uploads = Uploads(MemoryStore(), MemoryLocker(), bus=bus)
    assert uploads.bus is None
    with running(whole_server(Application(uploads, EndpointOptions(), None), "/files/")) as server:
        Tus(server.address).made(b"hello")
    assert bus.heard == []
