"""The commands on uploads in a bucket, from the command line to a real service."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.servers import process_server, serving
from tests.store import azure_server, s3_server
from tests.store.bucket import ObjectServer
from tests.tus import Tus
from tusserver.cli.main import cli

Settings = dict[str, Any]


KEYS = {
    "AWS_ACCESS_KEY_ID": s3_server.ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": s3_server.SECRET_KEY,
    "AZURE_STORAGE_ACCOUNT": azure_server.ACCOUNT,
    "AZURE_STORAGE_KEY": azure_server.KEY,
}
OTHER_KEYS = {"AWS_SECRET_ACCESS_KEY": "another", "AZURE_STORAGE_KEY": "YW5vdGhlcg=="}


@pytest.fixture(params=["s3", "azure"])
def objects(request: pytest.FixtureRequest) -> ObjectServer:
    """Each service that keeps objects in turn."""
    server: ObjectServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def settings(objects: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    needed = ("store", "s3_endpoint", "azure_endpoint")
    given = objects.settings(secrets.token_hex(4))
    store = {name: value for name, value in given.items() if name in needed}
    return {"upload_dir": tmp_path / "uploads", **store}


def endpoint(settings: Settings) -> str:
    (value,) = (value for name, value in settings.items() if name.endswith("_endpoint"))
    return str(value)


@pytest.fixture
def tus(settings: Settings) -> Iterator[Tus]:
    with serving(**settings) as tus:
        yield tus


def options(settings: Settings) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, *options(settings)])


def verify(settings: Settings, *arguments: str) -> tuple[int, str]:
    """The exit code of `verify`, and what it tells."""
    whole = ["verify", *arguments, *options(settings)]
    result = CliRunner().invoke(cli, whole, standalone_mode=False)
    return result.return_value, result.stdout


def test_the_commands_see_the_uploads_of_a_server(tus: Tus, settings: Settings) -> None:
    finished, unfinished = tus.made(b"hello"), tus.mk(10)
    listed = [json.loads(line) for line in run(settings, "ls", "--json").stdout.splitlines()]
    assert {(upload["id"], upload["state"]) for upload in listed} == {
        (finished.rpartition("/")[2], "finished"),
        (unfinished.rpartition("/")[2], "unfinished"),
    }
    ident = unfinished.rpartition("/")[2]
    assert json.loads(run(settings, "show", ident, "--json").stdout)["length"] == 10
    assert run(settings, "rm", ident).exit_code == 0
    assert tus.hd(unfinished).status in (404, 410)
    assert tus.content(finished) == b"hello"


def test_looking_leaves_nothing_on_this_host(tus: Tus, settings: Settings, tmp_path: Path) -> None:
    tus.mk(10)
    elsewhere = {**settings, "upload_dir": tmp_path / "elsewhere"}
    assert len(run(elsewhere, "ls").stdout.splitlines()) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_what_has_expired_is_swept(tus: Tus, settings: Settings) -> None:
    url, finished = tus.mk(10), tus.made(b"hello")
    done = run(settings, "sweep", "--expire-after", "0.001s")
    assert (done.exit_code, "1 expired" in done.stdout) == (0, True)
    assert tus.hd(url).status in (404, 410)
    assert tus.content(finished) == b"hello"


def test_what_a_crash_has_left_is_verified_and_mended(
    tus: Tus, settings: Settings, objects: ObjectServer
) -> None:
    url = tus.mk(10)
    in_order = (0, "Everything is in order.\n")
    assert verify(settings) == in_order
    prefix = settings["store"].rpartition("/")[2]
    objects.put(f"{prefix}/{url.rpartition('/')[2]}.part-{'0' * 16}", b"x")
    code, told = verify(settings, "--dry-run")
    assert (code, "in no record" in told) == (1, True)
    code, told = verify(settings)
    assert (code, "[mended" in told) == (0, True)
    assert verify(settings) == in_order


def test_a_server_says_where_its_uploads_are(settings: Settings) -> None:
    done = run(settings, "serve", "--check-config")
    assert done.exit_code == 0
    assert f"Uploads go to {settings['store']} at {endpoint(settings)}" in done.stdout


def test_a_bucket_that_is_not_there_is_told_in_one_line(settings: Settings) -> None:
    service = settings["store"].partition("://")[0]
    word = {"s3": "bucket", "azure": "container"}[service]
    for command in ("ls", "serve"):
        done = run({**settings, "store": f"{service}://missing"}, command)
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(f"Error: {word} missing: there is no such {word}")


def test_keys_that_are_refused_are_told_in_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in OTHER_KEYS.items():
        monkeypatch.setenv(name, key)
    done = run(settings, "ls")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert re.search("the service refuses th(ese keys|is key)", done.stderr)
    assert not any(key in done.output for key in OTHER_KEYS.values())


def test_a_directory_that_cannot_be_made_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run({**settings, "upload_dir": tmp_path / "file"}, "serve")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "file") in done.stderr


def test_workers_share_a_bucket(settings: Settings) -> None:
    upload_dir = settings["upload_dir"]
    rest = {name: value for name, value in settings.items() if name != "upload_dir"}
    data = secrets.token_bytes(13 * 2**20)
    with process_server(upload_dir, "--workers=2", *options(rest)) as server:
        tus, step = server.tus, 2**20
        url = tus.mk(len(data))
        for offset in range(0, len(data), step):
            assert tus.pa(url, offset, data[offset : offset + step]).status == 204
        assert tus.content(url) == data
        assert server.stop() == 0
