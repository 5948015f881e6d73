"""The suite against tusserver in all the ways in which it is run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from conformance.verdict import Verdict
from tests.conformance.judging import judge, not_kept, with_verdict
from tests.e2e.nginx import nginx, replaced
from tests.servers import process_server, running, serving
from tusserver import TusApp, create_app
from tusserver.asgi.app import Application, whole_server
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.lock.memory import MemoryLocker
from tusserver.store.memory import MemoryStore
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conformance.runner import Report
    from tests.wire import Address

pytestmark = pytest.mark.timeout(240)

NEEDS_MORE = {"slow", "restart", "tls-h2", "max-size"}
"""What the plain run cannot show: an operator's help, TLS, or a limit."""


def url_of(address: Address, path: str = "/files/") -> str:
    assert isinstance(address, tuple)
    return f"http://{address[0]}:{address[1]}{path}"


@contextmanager
def on_files(directory: Path) -> Iterator[str]:
    with serving(directory / "uploads") as tus:
        yield url_of(tus.address)


@contextmanager
def in_memory(directory: Path) -> Iterator[str]:
    uploads = Uploads(MemoryStore(), MemoryLocker())
    app = whole_server(Application(uploads, EndpointOptions(), None), "/files/")
    with running(app) as server:
        yield url_of(server.address)


@contextmanager
def with_a_limit(directory: Path) -> Iterator[str]:
    with serving(directory / "uploads", max_size=16 * 2**20) as tus:
        yield url_of(tus.address)


@contextmanager
def mounted(directory: Path) -> Iterator[str]:
    tus = TusApp(upload_dir=directory / "uploads")
    app = Starlette(routes=[Mount("/portal/data", app=tus)], lifespan=tus.lifespan)
    with running(app) as server:
        yield url_of(server.address, "/portal/data/")


@contextmanager
def two_workers(directory: Path) -> Iterator[str]:
    with process_server(directory / "uploads", "--workers", "2") as server:
        yield url_of(("127.0.0.1", server.port))


@contextmanager
def behind_nginx(directory: Path) -> Iterator[str]:
    app = create_app(upload_dir=directory / "uploads", behind_proxy=True, access_log=False)
    with running(app) as server, nginx(directory / "nginx", server.address) as proxy:
        yield url_of(("127.0.0.1", proxy.port))


@contextmanager
def behind_buffering_nginx(directory: Path) -> Iterator[str]:
    """As nginx does it when it is not told otherwise: a request is passed on when it is whole."""
    app = create_app(upload_dir=directory / "uploads", behind_proxy=True, access_log=False)
    with (
        running(app) as server,
        nginx(directory / "nginx", server.address, change=_buffering) as proxy,
    ):
        yield url_of(("127.0.0.1", proxy.port))


def _buffering(site: str) -> str:
    return replaced(site, "    proxy_request_buffering off;\n", "")


WAYS = [on_files, in_memory, with_a_limit, mounted, two_workers]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_nothing_is_broken(
    way: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    with way(tmp_path) as url:
        report = judge(url)
    assert not_kept(report) == {}
    assert not report.down_after
    assert with_verdict(report, Verdict.UNVERIFIABLE) == {}
    assert_all_was_tried(report)


def assert_all_was_tried(report: Report, *missing: str) -> None:
    """No row is left out but for what the run cannot show: every extension is there, but these."""
    for row, result in report.rows.items():
        if result.verdict is Verdict.NOT_APPLICABLE and not result.requirement.is_for_clients:
            lacking = report.discovery.lacks(result.requirement.needs)
            absent = {each for each in lacking if each.startswith("absent:")}
            assert set(lacking) <= NEEDS_MORE | absent | set(missing), row


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "tus.sock"
    with running(create_app(upload_dir=tmp_path / "uploads", access_log=False), unix=path):
        report = judge("http://localhost/files/", unix=str(path))
    assert not_kept(report) == {}
    assert with_verdict(report, Verdict.UNVERIFIABLE) == {}


OF_NGINX = {
    "ROB-NET-04",  # It takes bare line feeds between chunks, and passes good chunks on.
    "ROB-HTTP-15",  # It answers TRACE itself, without Allow.
    "ROB-SEC-07",  # Its own refusals are pages.
}
"""Rows that nginx itself does not keep, whatever is behind it."""
LOST_BY_BUFFERING = {"CORE-PATCH-11", "CORE-PATCH-21", "ROB-NET-01", "ROB-NET-02", "ROB-NET-03"}
"""Rows that no server keeps behind a proxy that holds bodies back until they are whole."""


def test_behind_nginx_only_what_is_its_own_is_broken(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as url:
        report = judge(url)
    broken = not_kept(report)
    assert {row: why for row, why in broken.items() if row not in OF_NGINX} == {}
    assert with_verdict(report, Verdict.UNVERIFIABLE) == {}
    # It passes no trailers on, and tusserver does not promise them there.
    assert_all_was_tried(report, "trailer")


def test_behind_a_buffering_proxy_only_what_it_takes_away_is_missing(tmp_path: Path) -> None:
    with behind_buffering_nginx(tmp_path) as url:
        report = judge(url)
    broken = not_kept(report)
    expected = OF_NGINX | LOST_BY_BUFFERING
    assert {row: why for row, why in broken.items() if row not in expected} == {}
    assert "ROB-NET-01" in broken, "is it buffering at all?"
