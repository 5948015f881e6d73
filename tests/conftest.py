"""Fixtures that any test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import DIRECT, serving
from tests.tus import Tus
from tusserver.serving import connection
from tusserver.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tusserver.events.base import Event

Serve = Callable[..., Tus]
"""Starts a server with these settings; it is stopped at the end of the test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--direct",
        action="store_true",
        help="bodies of any size go past the event loop, where only large ones do otherwise",
    )
    parser.addoption(
        "--file-calls",
        choices=("inline", "threads"),
        help="where the calls of the file store run, unless a test says so itself",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--direct"):
        # Also for the servers that are started as processes.
        os.environ[DIRECT] = "1"
        connection.DIRECT_MIN = 0
    placement = config.getoption("--file-calls")
    if placement:
        os.environ["TUSSERVER_FILE_CALLS"] = placement
        defaults = Settings.__init__.__kwdefaults__
        assert defaults is not None
        defaults["file_calls"] = placement


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tus, Path]]:
    """One server with the default settings for all tests that do no harm to it."""
    upload_dir = tmp_path_factory.mktemp("shared") / "uploads"
    with serving(upload_dir) as tus:
        yield tus, upload_dir


@pytest.fixture
def tus(shared_server: tuple[Tus, Path]) -> Tus:
    """A server with the default settings; shared, so a test must not rely on being alone."""
    return shared_server[0]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A factory of servers with settings of the test's own."""
    with ExitStack() as stack:

        def start(*, events: list[Event] | None = None, **settings: Any) -> Tus:
            settings.setdefault("upload_dir", tmp_path / "uploads")
            return stack.enter_context(serving(events=events, **settings))

        yield start
