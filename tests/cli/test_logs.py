"""Lines on standard error: gathered, in order, none lost at a stop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import process_server
from tusserver.asgi.access import Access, log_access
from tusserver.cli import logs
from tusserver.cli.logs import AccessLines, configure_logging

pytestmark = pytest.mark.anyio

ACCESS = Access("127.0.0.1", "HEAD", "/files/a", 200, 0.00123)


@pytest.fixture
def restored() -> Iterator[None]:
    """The logging is as it was afterwards."""
    root, logger = logging.getLogger(), logging.getLogger("tusserver")
    handlers, level, our_level = root.handlers, root.level, logger.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logger.setLevel(our_level)


async def test_lines_wait_for_others_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    lines = AccessLines("text", stream)
    for _ in range(logs.MANY - 1):
        lines(ACCESS)
    assert stream.getvalue() == ""
    lines(ACCESS)
    assert stream.getvalue().count("\n") == logs.MANY
    monkeypatch.setattr(logs, "DELAY", 0.01)
    lines(ACCESS)
    async with asyncio.timeout(10):
        while stream.getvalue().count("\n") == logs.MANY:
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("restored")
async def test_the_order_of_events_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    access = configure_logging("info", "text")
    assert access is not None
    access(ACCESS)
    logging.getLogger("tusserver").error("broken")
    access(ACCESS)
    # Threads log, too.
    thread = threading.Thread(target=logging.getLogger("tusserver").error, args=("again",))
    thread.start()
    thread.join()
    words = [line.split(" ")[1] for line in capsys.readouterr().err.splitlines()]
    assert words == ["INFO", "ERROR", "INFO", "ERROR"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.usefixtures("restored")
async def test_a_line_is_as_the_logger_would_write_it(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    access = configure_logging("info", form)
    assert access is not None
    access(ACCESS)
    log_access(ACCESS)
    ours, loggers = capsys.readouterr().err.splitlines()
    if form == "json":
        parsed = [{**json.loads(line), "time": ""} for line in (ours, loggers)]
        assert parsed[0] == parsed[1]
    else:
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"
        assert re.fullmatch(rf'{stamp} INFO 127.0.0.1 "HEAD /files/a" 200 1.2ms', ours)
        assert ours[24:] == loggers[24:]


def test_what_a_client_sends_cannot_break_a_line() -> None:
    access = Access("", "GET", '/files/a\n"b" ü', 404, 0.1)
    assert str(access) == 'unix "GET /files/a%0A%22b%22%20%C3%BC" 404 100.0ms'


@pytest.mark.usefixtures("restored")
def test_above_its_level_there_are_no_lines_about_requests() -> None:
    assert configure_logging("warning", "text") is None


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_line_is_lost_at_a_stop(tmp_path: Path, workers: str) -> None:
    with process_server(tmp_path / "up", "--access-log", "--workers", workers) as server:
        for _ in range(5):
            server.tus.hd("/files/nothing")
        assert server.stop() == 0
        assert server.log.read_text().count('"HEAD /files/nothing" 404') == 5
