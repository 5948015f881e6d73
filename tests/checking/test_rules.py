"""A virus scanner and an issuer of tokens that do not answer are noticed and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checking import states, tried
from tests.clamd import RunningClamd, clamd
from tests.policy.issuer import JwksServer, public_jwk, signing_key
from tests.servers import free_port
from tusserver.checking.base import Result, State
from tusserver.compose_checks import build_checks
from tusserver.settings import Settings

pytestmark = pytest.mark.anyio

ANSWER, SCAN, KEYS = "reach clamd", "scan a harmless file", "keys to verify with"


async def checked(title: str, upload_dir: Path, **settings: object) -> dict[str, Result]:
    """What came of the section that begins so."""
    sections = build_checks(Settings.of(upload_dir=upload_dir, **settings))
    (section,) = (section for section in sections if section.title.startswith(title))
    return await tried(section)


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClamd]:
    with clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_scanner_that_scans_is_good(
    scanner: RunningClamd, kind: str, tmp_path: Path
) -> None:
    address = f"unix:{scanner.socket}" if kind == "unix" else f"127.0.0.1:{scanner.port}"
    found = await checked("Virus scan", tmp_path, scan=address)
    assert states(found, State.OK) == {}
    assert found[ANSWER].text.startswith("ClamAV ")
    assert found[SCAN].text == ("handed over as an open file" if kind == "unix" else "sent")


@pytest.mark.parametrize(("down", "fate"), [("hold", "waits"), ("refuse", "is refused")])
async def test_a_scanner_that_is_not_there_is_told(down: str, fate: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    found = await checked("Virus scan", tmp_path, scan=address, scan_down=down)
    assert states(found) == {ANSWER: State.MISSING, SCAN: State.UNTRIED}
    assert f"every upload {fate}" in found[ANSWER].advice


async def test_a_scanner_that_finds_a_virus_in_everything_is_told(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd") as scanner:
        database = scanner.directory / "db" / "all.ndb"
        database.write_text(f"Test.All:0:*:{b'Nothing but words'.hex()}\n")
        scanner.stop()
        scanner.start()
        found = await checked("Virus scan", tmp_path, scan=f"unix:{scanner.socket}")
    assert (found[SCAN].state, "Test.All" in found[SCAN].text) == (State.MISSING, True)


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    with JwksServer(public_jwk(signing_key())) as server:
        yield server


async def test_an_issuer_that_has_keys_is_good(issuer: JwksServer, tmp_path: Path) -> None:
    found = await checked("Tokens", tmp_path, jwt_jwks_url=issuer.url)
    assert (found[KEYS].state, found[KEYS].text) == (State.OK, issuer.url)


@pytest.mark.parametrize(
    ("status", "document", "words"),
    [(404, b"", "answered with 404"), (200, b'{"keys": []}', "no key"), (200, b"<html>", ": ")],
    ids=["status", "none", "html"],
)
async def test_an_issuer_without_keys_is_told(
    issuer: JwksServer, tmp_path: Path, status: int, document: bytes, words: str
) -> None:
    issuer.status, issuer.document = status, document
    result = (await checked("Tokens", tmp_path, jwt_jwks_url=issuer.url))[KEYS]
    assert result.state is State.MISSING
    assert result.text.startswith(f"no keys could be fetched from {issuer.url}: ")
    assert words in result.text


async def test_a_secret_needs_nobody(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 64)
    found = await checked("Tokens", tmp_path, jwt_secret_file=tmp_path / "secret")
    assert (found[KEYS].state, found[KEYS].text) == (State.OK, f"in {tmp_path / 'secret'}")
