"""One serving process: uvicorn with our connection, our signals and our exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from tusserver.serving.connection import TusConnection
from tusserver.serving.listening import Balance, SharedListener
from tusserver.serving.memory import TRIM_INTERVAL, give_back_memory, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Generator
    from socket import socket
    from types import FrameType

    from starlette.types import ASGIApp

# Longer than proxies keep their idle connections to us (nginx: 60 s), so that none is closed under
# a request.
_KEEP_ALIVE = 75
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a process serves. `shutdown_timeout` in seconds; paths of the TLS files."""

    shutdown_timeout: float | None = 10.0
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """That of one worker among several. `lifeline` is a descriptor that reads as ended when the
    supervisor has died.
    """

    number: int
    balance: Balance
    lifeline: int


class Server(uvicorn.Server):
    """Stops at the first signal and ends at once at the second.

    `place` is that of a worker among several; None for a process that is alone.
    """

    def __init__(self, config: uvicorn.Config, place: Place | None = None) -> None:
        super().__init__(config)
        self._place = place

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Unlike uvicorn's does not die of the signal afterwards: a graceful stop is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Signals are the main thread's; whoever runs a server in another one stops it.
            return
        # The terminal sends SIGINT to all processes; under a supervisor it is the supervisor's.
        handled = [signal.SIGTERM] if self._place is not None else [signal.SIGTERM, signal.SIGINT]
        former = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A process that dies loses nothing that it has stored, so ending at once is safe.

        Under a supervisor that is its matter (it kills): a signal to the whole process group comes
        to a worker twice.
        """
        if self.should_exit and self._place is None:
            os._exit(128 + sig)
        self.should_exit = True

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Starts to serve, and to watch the lifeline."""
        if self._place is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self.servers = [self._share(listener, self._place) for listener in sockets or ()]
        lifeline = self._place.lifeline
        asyncio.get_running_loop().add_reader(lifeline, self._abandoned, lifeline)

    def _share(self, listener: socket, place: Place) -> Any:  # noqa: ANN401 - as asyncio's Server
        config = self.config

        def connect() -> asyncio.Protocol:
            protocol: asyncio.Protocol = TusConnection(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return protocol

        return SharedListener(
            listener,
            connect,
            tls=config.ssl,
            backlog=config.backlog,
            is_ahead=lambda: place.balance.is_ahead(
                place.number, len(self.server_state.connections)
            ),
        )

    def _abandoned(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.should_exit = True


def _whole(seconds: float | None) -> int | None:
    """uvicorn takes whole seconds only."""
    return None if seconds is None else max(1, round(seconds))


def serve(
    app: ASGIApp, sockets: list[socket], options: ServerOptions, place: Place | None = None
) -> bool:
    """Serves until a signal comes, then lets requests end in time. Says whether it ever started."""
    config = uvicorn.Config(
        app,
        http=TusConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Believing what proxies say is the application's matter, see asgi.proxy.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_whole(options.shutdown_timeout),
        callback_notify=give_back_memory,
        timeout_notify=round(TRIM_INTERVAL),
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )
    keep_freed_memory()
    server = Server(config, place)
    try:
        server.run(sockets=sockets)
    except SystemExit:
        return False
    return server.started
