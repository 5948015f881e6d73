"""The virus scan with the real daemon: what is infected is refused and nowhere to be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clamd import EICAR, MARKER, RunningClamd, clamd
from tests.servers import serving
from tests.tus import OCTETS, Tus, eventually
from tusserver import create_app
from tusserver.settings import SettingsError

CLEAN = b"nothing but text\n" * 1000
BOTH_WAYS = pytest.mark.parametrize("way", ["unix", "tcp"])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClamd]:
    with clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


def address(daemon: RunningClamd, way: str) -> str:
    return f"unix:{daemon.socket}" if way == "unix" else f"127.0.0.1:{daemon.port}"


def files_with(directory: Path, bytes_: bytes) -> list[str]:
    """The files below this directory that hold these bytes."""
    return [
        path.name
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and bytes_ in path.read_bytes()
    ]


def sent(tus: Tus, data: bytes) -> tuple[str, int, bytes]:
    url = tus.mk(len(data))
    assert tus.pa(url, 0, data[:10]).status == 204
    answer = tus.pa(url, 10, data[10:])
    return url, answer.status, answer.body


@BOTH_WAYS
def test_infected_files_are_refused_and_deleted(
    tmp_path: Path, daemon: RunningClamd, way: str
) -> None:
    with serving(tmp_path, scan=address(daemon, way)) as tus:
        url, status, _ = sent(tus, CLEAN)
        assert status == 204
        assert tus.content(url) == CLEAN
        for infected in (EICAR, CLEAN + MARKER + CLEAN):
            url, status, body = sent(tus, infected)
            assert status == 422
            assert body.startswith(b"ERR_INFECTED: the file is infected: Test.")
            assert tus.get(url).status == 404
            assert tus.hd(url)["Upload-Refused"] == "ERR_INFECTED"
        assert tus.post({**OCTETS, "Upload-Length": str(len(EICAR))}, EICAR).status == 422
    assert files_with(tmp_path, MARKER) == files_with(tmp_path, EICAR) == []


def test_infected_files_may_be_kept_aside(tmp_path: Path, daemon: RunningClamd) -> None:
    aside = tmp_path / "quarantine"
    with serving(tmp_path / "up", scan=address(daemon, "unix"), quarantine_dir=aside) as tus:
        url, status, _ = sent(tus, EICAR)
        assert status == 422
    assert files_with(aside, EICAR) == [url.rpartition("/")[2]]
    assert files_with(tmp_path / "up", EICAR) == []
    assert aside.stat().st_mode & 0o077 == 0, "nobody but the server may go there"


@BOTH_WAYS
def test_what_is_too_large_to_be_scanned_is_refused_or_marked(
    tmp_path: Path, daemon: RunningClamd, way: str
) -> None:
    where = address(daemon, way)
    with serving(tmp_path, scan=where, scan_max_size=1000) as tus:
        _, status, body = sent(tus, CLEAN)
        assert status == 422
        assert body.startswith(b"ERR_NOT_SCANNED: the file was not scanned:")
        assert sent(tus, CLEAN[:1000])[1] == 204
    with serving(tmp_path, scan=where, scan_max_size=1000, scan_too_large="accept") as tus:
        url, status, _ = sent(tus, CLEAN)
        assert status == 204
        assert tus.content(url) == CLEAN
    assert '"scan":"not scanned: ' in (tmp_path / f"{url.rpartition('/')[2]}.info").read_text()


def test_the_limits_of_the_daemon_itself_do_not_pass_for_clean(tmp_path: Path) -> None:
    with (
        clamd(tmp_path / "clamd", MaxFileSize="10K", StreamMaxLength="10K") as small,
        serving(tmp_path / "up", scan=f"127.0.0.1:{small.port}") as tus,
    ):
        assert sent(tus, CLEAN)[1] == 422
        assert sent(tus, CLEAN[:5000])[1] == 204


@BOTH_WAYS
def test_while_the_daemon_is_down_uploads_wait_or_are_refused(tmp_path: Path, way: str) -> None:
    with clamd(tmp_path / "clamd") as daemon:
        where = address(daemon, way)
        with serving(tmp_path / "up", scan=where, sweep_interval="0.2s") as tus:
            daemon.stop()
            clean, status, body = sent(tus, CLEAN)
            assert (status, b"the virus scanner does not answer" in body) == (503, True)
            infected, status, _ = sent(tus, EICAR)
            assert status == 503
            assert tus.off(clean) == len(CLEAN) - 1
            assert tus.get(infected).status == 404
            daemon.start()
            eventually(lambda: tus.off(clean) == len(CLEAN))
            eventually(lambda: tus.hd(infected).get("Upload-Refused") == "ERR_INFECTED")
            assert tus.content(clean) == CLEAN
        with serving(tmp_path / "up", scan=where, scan_down="refuse") as tus:
            daemon.stop()
            assert sent(tus, CLEAN)[1] == 422


def test_a_daemon_at_no_address_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="scan: "):
        create_app(upload_dir=tmp_path, scan="clamd")
