"""`tusserver download`: into a file or to standard output, whole and verified."""

from __future__ import annotations

import signal
from hashlib import sha256
from pathlib import Path

import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site
from tests.client.gate import Gate
from tests.client.scripted import Asked, Reply, Scripted

SIZE = 24 * MEBI
DATA = bytes(range(256)) * 4096


def uploaded(site: Site, command: Command, size: int = SIZE, name: str = "data.bin") -> str:
    """The URL of a finished upload of this file, which lies in the folder `source`."""
    trees.make(command.home / "source", {name: size})
    done = command.run("upload", f"source/{name}", "--to", site.url, "--json")
    return str(done.named("uploaded")[0]["url"])


def through(gate: Gate, url: str) -> str:
    return gate.url + url.rpartition("/")[2]


def test_a_file_comes_back_under_its_name_and_is_verified(site: Site, command: Command) -> None:
    url = uploaded(site, command, 100_000, "시료 3.h5")
    done = command.run("download", url)
    assert done.code == 0, done
    assert done.out == "시료 3.h5: 100000 bytes, verified by sha256\n"
    found = (command.home / "시료 3.h5").read_bytes()
    assert found == (command.home / "source" / "시료 3.h5").read_bytes()
    assert not list(command.home.glob("*.part*"))


def test_a_file_that_is_there_is_replaced_only_if_asked_for(site: Site, command: Command) -> None:
    url = uploaded(site, command, 10)
    (command.home / "mine").write_text("precious")
    done = command.run("download", url, "-o", "mine")
    assert (done.code, "--force" in done.err) == (1, True)
    assert (command.home / "mine").read_text() == "precious"
    assert command.run("download", url, "-o", "mine", "--force", "--json").code == 0
    assert (command.home / "mine").stat().st_size == 10


def test_after_an_interruption_the_rest_is_loaded(site: Site, command: Command, gate: Gate) -> None:
    url = through(gate, uploaded(site, command))
    gate.down.open(gate.down.passed + SIZE // 2)
    process = command.start("download", url)
    gate.down.wait_until_held()
    process.send_signal(signal.SIGINT)
    done = command.end(process)
    assert (done.code, "goes on from here" in done.err) == (130, True)
    part = (command.home / "data.bin.part").stat().st_size
    assert not (command.home / "data.bin").exists()
    gate.down.open()
    gate.wait_until_idle()
    before = gate.down.passed
    done = command.run("download", url, "--json")
    assert done.code == 0, done
    assert f'"received": {SIZE - part}' in done.out
    assert gate.down.passed - before < SIZE - part + 2000
    assert (command.home / "data.bin").read_bytes() == (
        command.home / "source" / "data.bin"
    ).read_bytes()


@pytest.mark.parametrize("output", ["data.bin", "-"])
def test_a_server_that_is_killed_and_comes_back_is_asked_for_the_rest(
    site: Site, command: Command, gate: Gate, tmp_path: Path, output: str
) -> None:
    url = through(gate, uploaded(site, command))
    gate.down.open(gate.down.passed + SIZE // 2)
    with open(tmp_path / "out", "wb") as out:
        process = command.start("download", url, "-o", output, stdout=out)
        gate.down.wait_until_held()
        site.server.kill()
        gate.down.open()
        site.server.start()
        done = command.end(process)
    assert done.code == 0, done
    found = tmp_path / "out" if output == "-" else command.home / output
    assert found.read_bytes() == (command.home / "source" / "data.bin").read_bytes()


def test_standard_output_carries_nothing_but_the_file(site: Site, command: Command) -> None:
    url = uploaded(site, command, 0)
    done = command.run("download", url, "-o", "-")
    assert (done.code, done.out) == (0, "")
    assert done.err == "standard output: 0 bytes, verified by sha256\n"


class Store:
    """A server with one file, of which each GET sends at most `pieces` bytes."""

    def __init__(self, *, etag: str = '"1"', digest: bytes = DATA, cut: int = 0) -> None:
        self.headers = {"ETag": etag} if etag else {}
        self.digest = {"Repr-Digest": f"sha-256=:{_base64(digest)}:"}
        self.cut = cut
        self.cuts = 1

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == "HEAD":
            return 200, {**self.headers, **self.digest, "Content-Length": "0"}, b""
        start, status, headers = 0, 200, dict(self.headers)
        if "range" in asked.headers:
            assert asked.headers["if-range"] == self.headers["ETag"]
            start, status = int(asked.headers["range"][6:-1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        body = DATA[start:]
        headers["Content-Length"] = str(len(body))
        if self.cuts and self.cut:
            self.cuts -= 1
            return status, {**headers, "Connection": "close"}, body[: self.cut]
        return status, headers, body


def _base64(data: bytes) -> str:
    from base64 import b64encode

    return b64encode(sha256(data).digest()).decode()


def test_a_connection_that_breaks_is_gone_on_with(command: Command) -> None:
    with Scripted(Store(cut=200_000)) as server:
        done = command.run("download", f"{server.url}a%20file")
    assert done.code == 0, done
    assert server.asked[-1].headers["range"] == "bytes=196608-"
    assert (command.home / "a file").read_bytes() == DATA


def test_without_an_etag_a_file_is_loaded_anew(command: Command) -> None:
    with Scripted(Store(etag="", cut=200_000)) as server:
        done = command.run("download", f"{server.url}x")
        assert done.code == 0, done
        assert "range" not in server.asked[-1].headers
        assert (command.home / "x").read_bytes() == DATA


def test_what_has_been_written_to_standard_output_is_not_begun_anew(command: Command) -> None:
    with Scripted(Store(etag="", cut=200_000)) as server:
        done = command.run("download", f"{server.url}x", "-o", "-")
    assert done.code == 3
    assert "cannot be taken back" in done.err


@pytest.mark.parametrize("output", ["x", "-"])
def test_a_wrong_digest_is_a_failure(command: Command, output: str) -> None:
    with Scripted(Store(digest=b"other")) as server:
        done = command.run("download", f"{server.url}x", "-o", output)
    assert done.code == 3
    assert "another sha256" in done.err
    assert not (command.home / "x").exists()
    assert not (command.home / "x.part").exists()


def test_a_part_that_was_whole_already_gets_its_name(command: Command) -> None:
    trees.make(command.home, {"x.part": 0})
    (command.home / "x.part").write_bytes(DATA)
    (command.home / "x.part.etag").write_text('"1"')

    def script(asked: Asked) -> Reply:
        return (416, {}, b"") if asked.method == "GET" else Store()(asked)

    with Scripted(script) as server:
        assert command.run("download", f"{server.url}x").code == 0
    assert (command.home / "x").read_bytes() == DATA


@pytest.mark.parametrize("note", ['"0"', None], ids=["of another version", "without its note"])
def test_a_part_of_something_else_is_not_gone_on_with(command: Command, note: str | None) -> None:
    (command.home / "x.part").write_bytes(b"wrong")
    if note is not None:
        (command.home / "x.part.etag").write_text(note)
    with Scripted(Store()) as server:
        assert command.run("download", f"{server.url}x").code == 0
    assert (command.home / "x").read_bytes() == DATA


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        ((404, {}, b""), 3, "404"),
        ((206, {}, b"abc"), 3, "without saying which"),
        ((416, {}, b""), 3, "416"),
        ((503, {}, b""), 1, "503"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    command: Command, reply: Reply, code: int, said: str
) -> None:
    with Scripted(lambda asked: (405, {}, b"") if asked.method == "HEAD" else reply) as server:
        done = command.run("download", f"{server.url}x", "--retries", "0")
    assert done.code == code, done
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("status", [404, 503])
def test_an_upload_that_is_not_there_is_not_asked_for_its_bytes(
    command: Command, status: int
) -> None:
    with Scripted(lambda asked: (status, {}, b"")) as server:
        assert command.run("download", f"{server.url}x", "--retries", "1").code in (1, 3)
    assert "GET" not in server.methods()


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Upload-Metadata": "filename Li4vLi4vZXRjL3Bhc3N3ZA=="}, "passwd"),
        ({"Upload-Metadata": "name LmJhc2hyYw=="}, "bashrc"),
        ({"Upload-Metadata": "filename !"}, "x"),
        ({"Content-Disposition": "attachment; filename*=UTF-8''a%2Fb%0A.txt"}, "b.txt"),
        ({"Content-Disposition": 'attachment; filename="c.txt"'}, "c.txt"),
        ({"Repr-Digest": "sha-256=broken"}, "x"),
    ],
)
def test_a_name_that_a_server_tells_does_no_harm(
    command: Command, headers: dict[str, str], name: str
) -> None:
    with Scripted(lambda asked: (200, headers if asked.method == "HEAD" else {}, b"")) as server:
        assert command.run("download", f"{server.url}x").code == 0
    assert [path.name for path in command.home.iterdir()] == [name]


def test_a_place_where_nothing_can_be_written_is_told(command: Command) -> None:
    with Scripted(Store()) as server:
        done = command.run("download", f"{server.url}x", "-o", "missing/x")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "cannot write missing/x: No such file" in done.err
