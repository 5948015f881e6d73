"""`tusserver sign`: what it prints opens what it says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from tests.servers import serving
from tests.tus import VERSION, Tus
from tusserver.cli.main import cli

SIGNING = b"another secret of thirty-two bytes at the least"
CREATION = "https://portal.example/files/"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SIGNING)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sign", *arguments], standalone_mode=False)


def test_the_url_takes_uploads_as_it_says(tmp_path: Path, secret: Path) -> None:
    arguments = ("--signing-secret-file", str(secret), "--max-size", "1KiB", "--owner", "kim")
    url = run(CREATION, *arguments).output.strip()
    assert url.startswith(f"{CREATION}?grant=")
    parts = urlsplit(url)
    with serving(tmp_path / "up", signing_secret_file=secret) as tus:
        assert tus.post({"Upload-Length": "1"}).status == 401
        signed = Tus(tus.address, f"{parts.path}?{parts.query}")
        assert signed.post({"Upload-Length": "1025"}).status == 413
        created = signed.post({"Upload-Length": "1024"})
        assert created.status == 201
        upload_id = signed.location(created).removeprefix("/files/")
        one = run(CREATION, *arguments[:2], "--upload", upload_id, "--verb", "head", "--json")
        told = json.loads(one.output)
        assert told["expires"].endswith("Z")
        parts = urlsplit(told["url"])
        assert parts.path == f"/files/{upload_id}"
        assert tus.request("HEAD", f"{parts.path}?{parts.query}", VERSION).status == 200
        assert tus.request("DELETE", f"{parts.path}?{parts.query}", VERSION).status == 403


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((CREATION, "--upload", "../x"), "no id of an upload"),
        ((CREATION, "--expires-in", "off"), "for ever"),
        ((CREATION, "--verb", "join"), "join"),
        (("https://portal.example",), "creation URL"),
        ((f"{CREATION}?a=b",), "creation URL"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    secret: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = run(*arguments, "--signing-secret-file", str(secret))
    assert reason in str(result.exception)


def test_without_a_good_secret_nothing_is_signed(tmp_path: Path) -> None:
    assert "--signing-secret-file" in str(run(CREATION).exception)
    (tmp_path / "short").write_bytes(b"short")
    result = run(CREATION, "--signing-secret-file", str(tmp_path / "short"))
    assert "5 bytes" in str(result.exception)
