"""The commands on uploads in a bucket, from the command line to a real S3 service."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.servers import process_server, serving
from tests.store.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.tus import Tus
from tusserver.cli.main import cli

Settings = dict[str, Any]


@pytest.fixture
def settings(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    store = {"store": f"s3://{BUCKET}/{secrets.token_hex(4)}", "s3_endpoint": s3.endpoint}
    return {"upload_dir": tmp_path / "uploads", **store}


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
    tus: Tus, settings: Settings, s3: S3Server
) -> None:
    url = tus.mk(10)
    in_order = (0, "Everything is in order.\n")
    assert verify(settings) == in_order
    prefix = settings["store"].removeprefix(f"s3://{BUCKET}/")
    key = f"{prefix}/{url.rpartition('/')[2]}.part-{'0' * 16}"
    s3.client().put_object(Bucket=BUCKET, Key=key, Body=b"x")
    code, told = verify(settings, "--dry-run")
    assert (code, "in no record" in told) == (1, True)
    code, told = verify(settings)
    assert (code, "[mended" in told) == (0, True)
    assert verify(settings) == in_order


def test_a_server_says_where_its_uploads_are(settings: Settings) -> None:
    done = run(settings, "serve", "--check-config")
    assert done.exit_code == 0
    assert f"Uploads go to {settings['store']} at {settings['s3_endpoint']}" in done.stdout


def test_a_bucket_that_is_not_there_is_told_in_one_line(settings: Settings) -> None:
    for command in ("ls", "serve"):
        done = run({**settings, "store": "s3://missing"}, command)
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("Error: bucket missing: there is no such bucket")


def test_keys_that_are_refused_are_told_in_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    done = run(settings, "ls")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "the service refuses these keys" in done.stderr


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
