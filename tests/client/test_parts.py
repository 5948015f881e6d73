"""`--parallel N`: one large file over several connections, joined by the server."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site, interrupted
from tests.client.gate import Gate
from tests.client.scripted import Asked, Reply, Scripted
from tests.conftest import Serve
from tusserver.client.splitting import starts_of

SIZE = 48 * MEBI
PARALLEL = ("--parallel", "3", "--json")


@pytest.mark.parametrize(
    ("size", "connections", "starts"),
    [
        (0, 4, ()),
        (32 * MEBI - 1, 4, ()),
        (32 * MEBI, 4, (0, 16 * MEBI)),
        (100 * MEBI, 1, ()),
        (100 * MEBI + 1, 3, (0, 34952533, 69905067)),
    ],
)
def test_a_file_is_cut_where_that_is_worth_it(
    size: int, connections: int, starts: tuple[int, ...]
) -> None:
    assert starts_of(size, connections) == starts


def test_a_large_file_goes_over_all_connections_and_is_one_file_there(
    site: Site, command: Command, gate: Gate
) -> None:
    trees.make(command.home, {"run/data.bin": SIZE, "run/b": 3, "run/z": 5})
    # So that no part is through before the others have begun.
    gate.open(8 * MEBI)
    process = command.start("upload", "run/", "--to", gate.url, *PARALLEL)
    gate.wait_until_held()
    gate.open()
    done = command.end(process)
    assert done.code == 0, done
    assert trees.contents(site.root) == trees.contents(command.home / "run")
    (told,) = [event for event in done.named("uploaded") if event["file"] == "run/data.bin"]
    assert (told["size"], told["sent"], told["place"]) == (SIZE, SIZE, "data.bin")
    assert len({event["url"] for event in done.named("begun") if event["length"] == SIZE}) == 3
    # The parts have been removed, and what was remembered of them.
    assert site.uploads() == 3
    assert not list(command.state.iterdir())


def test_parts_are_sent_with_checksums(site: Site, command: Command) -> None:
    path = trees.make(command.home, {"data.bin": SIZE}) / "data.bin"
    options = (*PARALLEL, "--checksum", "--chunk-size", "5MiB", "--no-resume")
    done = command.run("upload", "data.bin", "--to", site.url, *options)
    assert done.code == 0, done
    assert trees.contents(site.root) == {"data.bin": path.read_bytes()}
    assert not command.state.exists()


def test_without_the_option_a_file_stays_whole(site: Site, command: Command) -> None:
    trees.make(command.home, {"data.bin": SIZE})
    done = command.run("upload", "data.bin", "--to", site.url, "--json")
    assert done.code == 0, done
    assert len(done.named("begun")) == 1


def test_parts_go_on_where_they_were_whatever_the_number_of_connections(
    site: Site, command: Command, gate: Gate
) -> None:
    trees.make(command.home, {"data.bin": SIZE})
    arguments = ("upload", "data.bin", "--to", gate.url)
    done = interrupted(command, gate, SIZE // 3, *arguments, *PARALLEL)
    assert done.code == 130
    assert done.named("summary")[0]["sent"] > 0
    # What was under way at the interruption has arrived since.
    limit = (gate.passed + SIZE) // 2
    done = interrupted(command, gate, limit, *arguments, "--parallel", "2")
    assert done.code == 130
    done = command.run(*arguments, "--json")
    assert done.code == 0, done
    assert gate.passed <= SIZE + 3 * 3 * 1500
    assert trees.contents(site.root) == {"data.bin": (command.home / "data.bin").read_bytes()}
    assert site.uploads() == 1
    assert not list(command.state.iterdir())


def test_parts_survive_a_kill_of_the_command(site: Site, command: Command, gate: Gate) -> None:
    trees.make(command.home, {"data.bin": SIZE})
    gate.open(SIZE // 2)
    process = command.start("upload", "data.bin", "--to", gate.url, *PARALLEL)
    gate.wait_until_held()
    process.send_signal(signal.SIGKILL)
    command.end(process)
    gate.open()
    gate.wait_until_idle()
    done = command.run("upload", "data.bin", "--to", gate.url, *PARALLEL)
    assert done.code == 0, done
    assert gate.passed <= SIZE + 10_000
    assert trees.contents(site.root) == {"data.bin": (command.home / "data.bin").read_bytes()}


def test_parts_of_a_file_that_has_changed_since_are_removed(
    site: Site, command: Command, gate: Gate
) -> None:
    path = trees.make(command.home, {"data.bin": SIZE}) / "data.bin"
    interrupted(command, gate, SIZE // 2, "upload", "data.bin", "--to", gate.url, *PARALLEL)
    with open(path, "r+b") as file:
        file.write(b"another")
    done = command.run("upload", "data.bin", "--to", gate.url, *PARALLEL)
    assert done.code == 0, done
    assert "changed since" in done.named("anew")[0]["message"]
    assert trees.contents(site.root) == {"data.bin": path.read_bytes()}
    assert site.uploads() == 1


def test_a_file_that_has_become_small_since_goes_up_whole(
    site: Site, command: Command, gate: Gate
) -> None:
    path = trees.make(command.home, {"data.bin": SIZE}) / "data.bin"
    interrupted(command, gate, SIZE // 2, "upload", "data.bin", "--to", gate.url, *PARALLEL)
    os.truncate(path, 10)
    done = command.run("upload", "data.bin", "--to", gate.url, *PARALLEL)
    assert done.code == 0, done
    assert trees.contents(site.root) == {"data.bin": path.read_bytes()}
    assert site.uploads() == 1


def test_a_file_that_changes_while_its_parts_are_sent_is_not_joined(
    site: Site, command: Command, gate: Gate
) -> None:
    path = trees.make(command.home, {"data.bin": SIZE}) / "data.bin"
    gate.open(SIZE // 2)
    process = command.start("upload", "data.bin", "--to", gate.url, *PARALLEL)
    gate.wait_until_held()
    with open(path, "r+b") as file:
        file.write(b"changed")
    gate.open()
    done = command.end(process)
    assert done.code == 1, done
    assert "changed while" in done.named("failed")[0]["message"]
    assert site.uploads() == 0
    assert not list(command.state.glob("*.json"))


def test_a_server_that_is_killed_among_parts_gets_the_rest(
    site: Site, command: Command, gate: Gate
) -> None:
    trees.make(command.home, {"data.bin": SIZE})
    gate.open(SIZE // 2)
    process = command.start("upload", "data.bin", "--to", gate.url, *PARALLEL)
    gate.wait_until_held()
    site.server.kill()
    gate.open()
    site.server.start()
    done = command.end(process)
    assert done.code == 0, done
    assert done.named("waiting")
    assert trees.contents(site.root) == {"data.bin": (command.home / "data.bin").read_bytes()}


def test_a_server_that_cannot_join_gets_files_whole(serve: Serve, command: Command) -> None:
    tus = serve(disable_concatenation=True)
    trees.make(command.home, {"data.bin": SIZE})
    url = f"http://127.0.0.1:{tus.address[1]}/files/"
    done = command.run("upload", "data.bin", "--to", url, *PARALLEL)
    assert done.code == 0, done
    assert len(done.named("begun")) == 1


def test_what_a_server_refuses_for_one_part_ends_the_others(serve: Serve, command: Command) -> None:
    tus = serve(max_size=20 * MEBI)
    trees.make(command.home, {"data.bin": SIZE})
    url = f"http://127.0.0.1:{tus.address[1]}/files/"
    # Each part is small enough; what they are joined to is not.
    done = command.run("upload", "data.bin", "--to", url, *PARALLEL)
    assert done.code == 3, done
    assert done.named("refused")[0]["status"] == 413
    assert not list(command.state.glob("*.json"))


class Parts:
    """A server for two parts that keeps nothing but their offsets."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.lengths: dict[str, int] = {}
        self.finals: list[Reply] = []
        self.heads_of_final: list[Reply] = []

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == "OPTIONS":
            return 204, {"Tus-Extension": "creation, concatenation"}, b""
        if asked.method == "POST" and asked.headers["upload-concat"] != "partial":
            return self.finals.pop(0)
        if asked.method == "POST":
            path = f"/files/part{len(self.offsets)}"
            self.offsets[path] = 0
            self.lengths[path] = int(asked.headers["upload-length"])
            return 201, {"Location": path}, b""
        if asked.path == "/files/final":
            return self.heads_of_final.pop(0)
        if asked.method == "PATCH":
            self.offsets[asked.path] += len(asked.body)
            return 204, {"Upload-Offset": str(self.offsets[asked.path])}, b""
        return 204, {}, b""


def test_joining_is_tried_again_and_waited_for(command: Command) -> None:
    size = 32 * MEBI
    trees.make(command.home, {"data.bin": size})
    server = Parts()
    server.finals = [(503, {}, b""), (201, {"Location": "/files/final"}, b"")]
    server.heads_of_final = [(200, {}, b""), (200, {"Upload-Offset": str(size)}, b"")]
    with Scripted(server) as scripted:
        done = command.run("upload", "data.bin", "--to", scripted.url, *PARALLEL)
    assert done.code == 0, done
    assert len(done.named("waiting")) == 2
    assert "still joining" in done.named("waiting")[1]["message"]
    assert scripted.methods().count("DELETE") == 2


@pytest.mark.parametrize(
    ("final", "head", "code"),
    [
        ((400, {}, b""), (200, {}, b""), 3),
        ((404, {}, b""), (200, {}, b""), 3),
        ((201, {"Location": "/files/final"}, b""), (200, {"Upload-Offset": "5"}, b""), 3),
        # The last step of its finish has taken it away already.
        ((201, {"Location": "/files/final"}, b""), (410, {}, b""), 0),
    ],
    ids=["refused", "parts are gone", "another length", "taken away"],
)
def test_what_a_server_says_of_the_joined_file(
    command: Command, final: Reply, head: Reply, code: int
) -> None:
    trees.make(command.home, {"data.bin": 32 * MEBI})
    server = Parts()
    server.finals, server.heads_of_final = [final], [head]
    with Scripted(server) as scripted:
        done = command.run("upload", "data.bin", "--to", scripted.url, *PARALLEL)
    assert done.code == code, done
    # Nothing stays that would go on with parts that cannot be joined.
    assert not [
        path for path in command.state.glob("*.json") if json.loads(path.read_text())["starts"]
    ]
    assert scripted.methods().count("DELETE") == 2
