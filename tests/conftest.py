"""Fixtures that any test may use."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import DIRECT, serving
from tests.store.azure_server import AzureServer, azure_server
from tests.store.bucket import ObjectServer
from tests.store.s3_server import S3Server, s3_server
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
    parser.addoption(
        "--store",
        choices=("s3", "azure"),
        help="servers with settings of their own choice keep their uploads in a bucket",
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") is not None:
        items[:] = [item for item in items if item.get_closest_marker("directory") is None]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 service, shared by the tests of this process."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """A running Azurite, shared by the tests of this process."""
    with azure_server(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture
def own_prefix() -> str:
    """Below it nobody else has anything in a bucket."""
    return f"{secrets.token_hex(4)}/"


@pytest.fixture(params=["s3", "azure"])
def objects(request: pytest.FixtureRequest) -> ObjectServer:
    """Each service that keeps objects in turn."""
    server: ObjectServer = request.getfixturevalue(request.param)
    return server


StoreSettings = Callable[[], dict[str, Any]]
"""Settings of a store that nobody else uses; none where the default one is tested."""


@pytest.fixture(scope="session")
def store_settings(request: pytest.FixtureRequest) -> StoreSettings:
    """The store that `--store` names."""
    name = request.config.getoption("--store")
    if name is None:
        return dict
    server: ObjectServer = request.getfixturevalue(name)
    server.publish_keys()
    return lambda: server.settings(f"{secrets.token_hex(4)}/")


@pytest.fixture(scope="session")
def shared_server(
    tmp_path_factory: pytest.TempPathFactory, store_settings: StoreSettings
) -> Iterator[tuple[Tus, Path]]:
    """One server with the default settings for all tests that do no harm to it."""
    upload_dir = tmp_path_factory.mktemp("shared") / "uploads"
    with serving(upload_dir, **store_settings()) as tus:
        yield tus, upload_dir


@pytest.fixture
def tus(shared_server: tuple[Tus, Path]) -> Tus:
    """A server with the default settings; shared, so a test must not rely on being alone."""
    return shared_server[0]


@pytest.fixture
def serve(tmp_path: Path, store_settings: StoreSettings) -> Iterator[Serve]:
    """A factory of servers with settings of the test's own; all keep their uploads together."""
    store = store_settings()
    with ExitStack() as stack:

        def start(*, events: list[Event] | None = None, **settings: Any) -> Tus:
            settings.setdefault("upload_dir", tmp_path / "uploads")
            return stack.enter_context(serving(events=events, **{**store, **settings}))

        yield start
