"""What a person sees on a terminal, and what scripts and logs get."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site
from tests.client.gate import Gate
from tests.conftest import Serve

WIDTH = 120
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo terminal: `end` is what a command gets."""

    def __init__(self) -> None:
        self._master, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
        self.text = ""

    def wait_for(self, *words: str) -> None:
        """Reads until all of them have been shown."""
        while not all(word in self.text for word in words):
            shown = os.read(self._master, 65536).decode("utf-8", "replace")
            self.text += _ESCAPES.sub("", shown)

    def close(self) -> None:
        os.close(self._master)
        os.close(self.end)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_a_terminal_shows_bars_with_speed_and_time_left(
    site: Site, command: Command, gate: Gate, terminal: Terminal
) -> None:
    trees.make(command.home, {"run/a": 4 * MEBI, "run/data.bin": 24 * MEBI, "run/b": 1})
    gate.open(12 * MEBI)
    process = command.start(
        "upload", "run", "--to", gate.url, stdout=terminal.end, stderr=terminal.end, TERM="xterm"
    )
    terminal.wait_for("run/data.bin", "of 3 files", "━", "MB/s", "/28.0 MiB", "0:00:")
    site.server.kill()
    terminal.wait_for("again in 1 s: ")
    gate.open()
    site.server.start()
    terminal.wait_for("3 of 3 files", "where, or why not", "uploaded")
    assert command.end(process).code == 0


def test_a_terminal_shows_a_download_and_its_interruption(
    site: Site, command: Command, gate: Gate, terminal: Terminal
) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    done = command.run("upload", "data.bin", "--to", gate.url, "--json")
    gate.down.open(gate.down.passed + 12 * MEBI)
    process = command.start(
        "download", done.named("uploaded")[0]["url"], "-o", "copy", stderr=terminal.end,
        TERM="xterm",
    )  # fmt: skip
    terminal.wait_for("/24.0 MiB", "MB/s")
    site.server.kill()
    gate.down.open()
    terminal.wait_for("again in 1 s: ")
    process.send_signal(signal.SIGINT)
    terminal.wait_for("interrupted; the same command goes on from here")
    assert command.end(process).code == 130


def test_what_begins_anew_is_told_above_the_bars(
    serve: Serve, command: Command, terminal: Terminal
) -> None:
    tus = serve()
    url = f"http://127.0.0.1:{tus.address[1]}/files/"
    trees.make(command.home, {"first": 1, "second": 2})
    # One fails, so that what is remembered of the other one stays.
    os.chmod(command.home / "first", 0)
    (command.home / "first").unlink()
    (command.home / "first").symlink_to("/proc/self/mem")
    assert command.run("upload", "first", "second", "--to", url).code == 1
    (command.home / "second").write_bytes(b"other")
    process = command.start(
        "upload", "second", "--to", url, stdout=terminal.end, stderr=terminal.end, TERM="xterm"
    )
    terminal.wait_for("second: begins anew: the file has changed since", "1 of 1 files")
    assert command.end(process).code == 0


def test_a_pipe_gets_a_table_and_no_bars(site: Site, command: Command) -> None:
    trees.make(command.home, {f"run/{number}": 1000 for number in range(25)})
    done = command.run("upload", "run", "--to", site.url)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "\x1b" not in done.out
    assert re.fullmatch(r"file +state +sent +time +where, or why not *", lines[0])
    assert re.fullmatch(r"run/0 +uploaded +1\.0 kB +\d+\.\d s +run/0 *", lines[1])
    assert "… and 5 more" in done.out
    assert re.fullmatch(r"25 of 25 files +25\.0 kB *", lines[-1])


def test_a_pipe_is_told_of_what_goes_wrong(site: Site, command: Command, gate: Gate) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    gate.open(12 * MEBI)
    process = command.start("upload", "data.bin", "--to", gate.url)
    gate.wait_until_held()
    site.server.kill()
    gate.open()
    assert process.stderr is not None
    assert process.stderr.readline().startswith("data.bin: again in 1 s: ")
    process.send_signal(signal.SIGTERM)
    done = command.end(process)
    assert done.code == 128 + signal.SIGTERM
    assert "1 files  interrupted" in " ".join(done.out.split()) or "interrupted" in done.out
    assert "interrupted with 0 of 1 files uploaded; the same command goes on" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("data.bin", "--no-resume"), "nothing was remembered"),
        (("data.bin", "-"), "standard input cannot be read again"),
    ],
)
def test_who_interrupts_is_told_what_that_means(
    command: Command, gate: Gate, arguments: tuple[str, ...], said: str
) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    gate.open(12 * MEBI)
    reader, writer = os.pipe()
    process = command.start("upload", *arguments, "--to", gate.url, stdin=reader)
    gate.wait_until_held()
    process.send_signal(signal.SIGINT)
    done = command.end(process)
    os.close(reader)
    os.close(writer)
    assert done.code == 130
    assert said in done.err


def test_json_lines_tell_all_that_happens(site: Site, command: Command, gate: Gate) -> None:
    path = trees.make(command.home, {"data.bin": 24 * MEBI}) / "data.bin"
    gate.open(12 * MEBI)
    process = command.start("upload", "data.bin", "--to", gate.url, "--json")
    assert process.stdout is not None
    begun = json.loads(process.stdout.readline())
    assert (begun["event"], begun["file"], begun["offset"], begun["length"]) == (
        "begun", "data.bin", 0, path.stat().st_size,
    )  # fmt: skip
    gate.wait_until_held()
    gate.open()
    done = command.end(process)
    (uploaded,) = done.named("uploaded")
    assert uploaded["url"] == begun["url"]
    assert uploaded["sent"] == uploaded["size"] == path.stat().st_size
    assert uploaded["place"] == "data.bin"
    assert uploaded["digest"].startswith("sha-256=:")
    (summary,) = done.named("summary")
    assert summary == {
        "event": "summary", "files": {"uploaded": 1}, "sent": path.stat().st_size, "exit_code": 0,
    }  # fmt: skip
