"""A server that keeps what it is given in folders, and the command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.client import trees
from tests.client.command import Command, Done
from tests.client.gate import Gate
from tests.servers import ProcessServer, process_server

MEBI = 1024 * 1024


@dataclass(frozen=True)
class Site:
    """`root` is where finished files go: to the destination that their client has named."""

    server: ProcessServer
    root: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/files/"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    def uploads(self) -> int:
        """How many uploads the server knows, finished or not."""
        records = self.server.upload_dir.rglob("*.info")
        return len(list(records))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "placed"
    root.mkdir()
    template = ("--destination-template", "{destination}/{filename}")
    with process_server(
        tmp_path / "uploads", "--destination-root", str(root), *template, "--digests", "sha256"
    ) as server:
        yield Site(server, root)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    home = tmp_path / "home"
    home.mkdir()
    return Command(home)


@pytest.fixture
def gate(site: Site) -> Iterator[Gate]:
    with Gate(site.address) as gate:
        yield gate


@pytest.fixture
def half_sent(gate: Gate, command: Command) -> Path:
    """A file of which a part is at the server, through the gate."""
    trees.make(command.home, {"data.bin": 24 * MEBI})
    interrupted(command, gate, 12 * MEBI, "upload", "data.bin", "--to", gate.url)
    return command.home / "data.bin"


def interrupted(command: Command, gate: Gate, limit: int, *arguments: str) -> Done:
    """Sends SIGINT when so many bytes have passed; returns when all is quiet."""
    gate.open(limit)
    process = command.start(*arguments)
    gate.wait_until_held()
    process.send_signal(signal.SIGINT)
    done = command.end(process)
    gate.open()
    gate.wait_until_idle()
    return done
