"""A server that kills itself at a named point of a finish: `python -m tests.finish.crash`, with a
Life as JSON as its only argument.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.tus import Tus
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.compose import build_uploads
from tusserver.events.base import Event, FinishRefused, UploadFinished
from tusserver.policy.hooks import Hooks
from tusserver.protocol.upload import Upload
from tusserver.serving.connection import TusConnection
from tusserver.serving.server import Server
from tusserver.serving.sockets import listen_tcp
from tusserver.settings import Settings
from tusserver.store import placing

if TYPE_CHECKING:
    from starlette.applications import Starlette


class Bare(placing.Placer):
    """Places on a file system that knows neither hard links nor exclusive renames."""

    def link(self, origin: str, origin_folder: int | None, name: str, folder: int) -> None:
        _refuse(errno.EPERM, name, folder)

    def rename_exclusively(
        self, origin: str, origin_folder: int | None, name: str, folder: int
    ) -> None:
        _refuse(errno.EINVAL, name, folder)


def _refuse(number: int, name: str, folder: int) -> None:
    # Linux looks for the new name before it asks the file system.
    number = errno.EEXIST if name in os.listdir(folder) else number
    raise OSError(number, os.strerror(number))


@dataclass
class Life:
    """One life of a server, in this process or in one of its own.

    `log` gets the name of every point that a finish passes, `told` a line for each outcome that is
    told. At the `at`-th time that `point` is passed the process dies. `has_hook`: an application
    approves of each upload. `is_bare`: see Bare.
    """

    upload_dir: str
    log: str
    told: str
    settings: dict[str, Any] = field(default_factory=dict)
    has_hook: bool = False
    is_bare: bool = False
    point: str = ""
    at: int = 1
    listener: int = -1

    def app(self) -> Starlette:
        settings = Settings.of(**self.settings, upload_dir=Path(self.upload_dir))
        hooks = Hooks(before_finish=_approve) if self.has_hook else None
        passed = Counter[str]()

        def on_step(point: str) -> None:
            _append(self.log, point)
            passed[point] += 1
            if point == self.point and passed[point] == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

        uploads = build_uploads(settings, self._hear, hooks, on_step=on_step)
        return whole_server(Application(uploads, EndpointOptions(), 3600.0), "/files/")

    def _hear(self, event: Event) -> None:
        if isinstance(event, UploadFinished | FinishRefused):
            finish = event.upload.finish
            assert finish is not None
            line = [type(event).__name__, event.upload.upload_id, finish.event_id]
            _append(self.told, json.dumps(line))

    def run(self) -> None:
        """Serves on the socket `listener` until the end."""
        if self.is_bare:
            placing.Placer = Bare  # type: ignore[misc]
        config = uvicorn.Config(
            self.app(), http=TusConnection, ws="none", lifespan="on", log_config=None
        )
        Server(config).run([socket.socket(fileno=self.listener)])


async def _approve(upload: Upload) -> None:
    """An application that has nothing against any upload."""


def _append(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def living(life: Life) -> Iterator[tuple[Tus, subprocess.Popen[bytes]]]:
    """The server as a process, killed at the end if it has not done so itself."""
    with listen_tcp("127.0.0.1", 0) as listener:
        address = listener.getsockname()[:2]
        life.listener = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.finish.crash", json.dumps(asdict(life))],
            pass_fds=[life.listener],
            cwd=Path(__file__).parents[2],
        )
    try:
        yield Tus(address), process
    finally:
        process.kill()
        process.wait(10)


if __name__ == "__main__":
    Life(**json.loads(sys.argv[1])).run()
