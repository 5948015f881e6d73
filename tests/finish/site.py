"""Servers whose uploads are finished in steps that a test holds in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from tests.servers import running
from tests.tus import Tus
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.events.base import Event, FinishRefused, UploadFinished
from tusserver.lock.memory import MemoryLocker
from tusserver.protocol.upload import Upload
from tusserver.rules import Policy, UploadsOptions
from tusserver.store.base import Store
from tusserver.store.file import FileStore
from tusserver.uploads import Uploads


@dataclass
class Gate:
    """A step that waits until it is let through, and then does what it is told: nothing, or to
    raise.
    """

    name: str = "gate"
    is_open: bool = True
    fault: Exception | None = None
    runs: list[str] = field(default_factory=list)

    def is_needed(self, upload: Upload) -> bool:
        assert upload.finish is not None
        return not upload.finish.scan

    async def run(self, upload: Upload) -> Upload:
        assert upload.finish is not None
        self.runs.append(upload.upload_id)
        while not self.is_open:
            await asyncio.sleep(0.005)
        if self.fault is not None:
            raise self.fault
        return replace(upload, finish=replace(upload.finish, scan="let through"))


@dataclass
class Site:
    """A running server, its gate, and what it told."""

    tus: Tus
    gate: Gate
    events: list[Event]
    store: Store

    def outcomes(self) -> list[Event]:
        return [each for each in self.events if isinstance(each, UploadFinished | FinishRefused)]


@contextmanager
def site(
    directory: Path | None, gate: Gate | None = None, store: Store | None = None, **policy: object
) -> Iterator[Site]:
    """Uploads in this directory with a gate as the only step."""
    gate = gate or Gate()
    if store is None:
        assert directory is not None
        store = FileStore(directory)
    events: list[Event] = []
    made = Policy(steps=(gate,), **policy)  # type: ignore[arg-type]
    options = UploadsOptions(lock_wait=0.3, finish_wait=0.3)
    uploads = Uploads(store, MemoryLocker(), options, policy=made, listener=events.append)
    app = whole_server(Application(uploads, EndpointOptions(), 0.2), "/files/")
    with running(app) as server:
        yield Site(Tus(server.address), gate, events, store)
