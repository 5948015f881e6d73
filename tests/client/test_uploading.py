"""`tusserver upload` against a server process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site
from tests.client.gate import Gate


def test_a_folder_goes_up_as_it_is(site: Site, command: Command) -> None:
    sizes = {"a.txt": 10, "sub/b.bin": 300_000, "sub/deep/empty": 0, "시료 3.h5": 5}
    trees.make(command.home / "run1", sizes)
    done = command.run("upload", "run1", "--to", site.url, "--destination", "jobs/42")
    assert done.code == 0, done
    placed = trees.contents(site.root)
    assert placed == {
        f"jobs/42/{name}": data for name, data in trees.contents(command.home).items()
        if name.startswith("run1/")
    }  # fmt: skip
    assert "4 of 4 files" in done.out
    assert "jobs/42/run1/시료 3.h5" in done.out
    assert not list(command.state.iterdir())


def test_a_slash_behind_a_folder_leaves_its_name_out(site: Site, command: Command) -> None:
    trees.make(command.home / "run1", {"a.txt": 10, "sub/b": 3})
    assert command.run("upload", "run1/", "--destination", "x", TUSSERVER_URL=site.url).code == 0
    assert set(trees.contents(site.root)) == {"x/a.txt", "x/sub/b"}


@pytest.mark.parametrize(
    "options",
    [(), ("--chunk-size", "100KiB"), ("--checksum",), ("--checksum", "--chunk-size", "100KiB")],
    ids=" ".join,
)
def test_files_go_up_whole_in_chunks_and_with_checksums(
    site: Site, command: Command, options: tuple[str, ...]
) -> None:
    trees.make(command.home, {"data.bin": MEBI + 17})
    with Gate(site.address) as gate:
        done = command.run("upload", "data.bin", "--to", gate.url, "--json", *options)
        # All requests of a file go through one connection.
        assert gate.accepted == 1
    assert done.code == 0, done
    assert (site.root / "data.bin").read_bytes() == (command.home / "data.bin").read_bytes()


def test_standard_input_goes_up_with_a_length_that_is_known_at_the_end(
    site: Site, command: Command
) -> None:
    # The second one ends with a full chunk.
    for size in (MEBI + 5, 4 * 65536, 0):
        path = command.home / "data.bin"
        trees.make(command.home, {path.name: size})
        with open(path, "rb") as file:
            options = ("--name", f"{size}.bin", "--chunk-size", "64KiB", "--json")
            done = command.run("upload", "-", "--to", site.url, *options, stdin=file)
        assert done.code == 0, done
        assert done.named("uploaded")[0]["size"] == size
        assert (site.root / f"{size}.bin").read_bytes() == path.read_bytes()


def test_a_server_that_is_killed_and_comes_back_gets_the_rest(site: Site, command: Command) -> None:
    trees.make(command.home, {"data.bin": 48 * MEBI})
    with Gate(site.address, 16 * MEBI) as gate:
        process = command.start("upload", "data.bin", "--to", gate.url, "--json")
        gate.wait_until_held()
        site.server.kill()
        gate.open()
        site.server.start()
        done = command.end(process)
    assert done.code == 0, done
    assert done.named("waiting")
    assert len({event["url"] for event in done.named("begun")}) == 1
    assert done.named("begun")[-1]["offset"] > 0
    assert (site.root / "data.bin").read_bytes() == (command.home / "data.bin").read_bytes()


def test_standard_input_survives_a_server_that_is_killed(site: Site, command: Command) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    with Gate(site.address, 12 * MEBI) as gate, open(command.home / "data.bin", "rb") as file:
        process = command.start(
            "upload", "-", "--name", "piped", "--to", gate.url, "--json", stdin=file
        )
        gate.wait_until_held()
        site.server.kill()
        gate.open()
        site.server.start()
        done = command.end(process)
    assert done.code == 0, done
    assert (site.root / "piped").read_bytes() == (command.home / "data.bin").read_bytes()


def test_ctrl_c_ends_a_command_that_waits_for_its_input(site: Site, command: Command) -> None:
    reader, writer = os.pipe()
    process = command.start("upload", "-", "--to", site.url, "--json", stdin=reader)
    assert process.stdout is not None
    assert "begun" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert command.end(process).code == 130
    os.close(reader)
    os.close(writer)


def test_a_large_file_is_never_in_memory(site: Site, command: Command) -> None:
    with open(command.home / "large", "wb") as file:
        file.truncate(256 * MEBI)
    script = (
        "import sys; from tusserver.cli.main import cli\n"
        f"arguments = ['upload', 'large', '--to', {site.url!r}, '--checksum']\n"
        "cli.main(arguments, standalone_mode=False)\n"
        "print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(command.home)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=command.home, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak is not None
    assert int(peak[1]) * 1024 < 96 * MEBI, "with tuspy alone it is more than the file"
