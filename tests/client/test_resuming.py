"""What a later run of the same command goes on with, and what it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site, interrupted
from tests.client.gate import Gate

REQUEST = 1000
"""Bytes that the heads of one file's requests have at most, in all."""
CONNECTIONS = 3
LARGE = int(os.environ.get("TUSSERVER_TEST_LARGE_MIB", "64")) * MEBI


def test_after_two_interruptions_nothing_has_been_sent_twice(site: Site, command: Command) -> None:
    sizes = trees.mixed(200) | {"results.h5": LARGE}
    trees.make(command.home / "run1", sizes)
    with Gate(site.address) as gate:
        arguments = ("upload", "run1/", "--to", gate.url)
        for part in (4, 2):
            # What was under way at the interruption has arrived since.
            limit = gate.passed + (sum(sizes.values()) - gate.passed) // part
            done = interrupted(command, gate, limit, *arguments)
            assert done.code == 130
            assert "the same command goes on from here" in done.err
        done = command.run(*arguments, "--json")
        assert done.code == 0, done
        # Each byte once; the rest is heads of requests, those of three runs.
        assert gate.passed <= sum(sizes.values()) + 3 * len(sizes) * REQUEST
    placed = trees.contents(site.root)
    sent = trees.contents(command.home / "run1")
    assert {name: placed[name] for name in sent} == sent
    # Of a creation that was under way when the command was interrupted, it does not know the URL.
    # (One of an empty file is finished with it, and in its place.)
    assert len(sizes) <= site.uploads() <= len(sizes) + 2 * CONNECTIONS
    assert not any(placed[name] for name in placed.keys() - sent.keys())
    assert done.named("kept")
    assert not list(command.state.iterdir())


def test_an_upload_that_is_gone_begins_anew(
    site: Site, command: Command, gate: Gate, half_sent: Path
) -> None:
    (entry,) = command.state.iterdir()
    url = json.loads(entry.read_text())["url"]
    assert site.server.tus.delete(urlsplit(url).path).status == 204
    done = command.run("upload", "data.bin", "--to", gate.url, "--json")
    assert done.code == 0, done
    assert [event["offset"] for event in done.named("begun")] == [0]
    assert len(done.named("anew")) == 1
    assert (site.root / "data.bin").read_bytes() == half_sent.read_bytes()


def test_a_file_that_has_changed_since_begins_anew(
    site: Site, command: Command, gate: Gate, half_sent: Path
) -> None:
    with open(half_sent, "r+b") as file:
        # tuspy's own fingerprint does not look there.
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    done = command.run("upload", "data.bin", "--to", gate.url, "--json")
    assert done.code == 0, done
    assert "changed" in done.named("anew")[0]["message"]
    assert (site.root / "data.bin").read_bytes() == half_sent.read_bytes()
    # What nobody goes on with has been removed.
    assert site.uploads() == 1


def test_no_resume_begins_anew_and_remembers_nothing(
    command: Command, gate: Gate, half_sent: Path
) -> None:
    before = [path.read_text() for path in command.state.iterdir()]
    done = command.run("upload", "data.bin", "--to", gate.url, "--json", "--no-resume")
    assert done.named("begun")[0]["offset"] == 0
    assert [path.read_text() for path in command.state.iterdir()] == before


def test_a_file_that_changes_while_it_is_sent_is_not_completed(
    site: Site, command: Command, gate: Gate
) -> None:
    path = trees.make(command.home, {"data.bin": 24 * MEBI}) / "data.bin"
    gate.open(4 * MEBI)
    process = command.start("upload", "data.bin", "--to", gate.url, "--json")
    gate.wait_until_held()
    with open(path, "r+b") as file:
        file.write(b"changed")
    gate.open()
    done = command.end(process)
    assert done.code == 1, done
    assert "changed while" in done.named("failed")[0]["message"]
    assert not list(site.root.iterdir())
    assert site.uploads() == 0


def test_two_processes_do_not_send_the_same_file(command: Command, gate: Gate) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    gate.open(4 * MEBI)
    process = command.start("upload", "data.bin", "--to", gate.url)
    gate.wait_until_held()
    done = command.run("upload", "data.bin", "--to", gate.url, "--json")
    assert done.code == 1
    assert "another process" in done.named("failed")[0]["message"]
    gate.open()
    assert command.end(process).code == 0
