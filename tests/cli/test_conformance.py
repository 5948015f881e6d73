"""`tusserver conformance`: the suite as it comes with the package."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.servers import serving

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tusserver", "conformance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_a_server_that_keeps_its_word(tmp_path: Path) -> None:
    with serving(tmp_path) as tus:
        done = run(
            f"http://127.0.0.1:{tus.address[1]}/files/",
            "--only",
            "CORE-OPT",
            "--json",
            str(tmp_path / "r"),
        )
    assert done.returncode == 0, done.stdout
    assert "CORE-OPT" in done.stdout
    assert '"CORE-OPT-01"' in (tmp_path / "r").read_text()


def test_no_server_there() -> None:
    done = run("http://127.0.0.1:1/files/")
    assert done.returncode == 3
    assert "Is the server running" in done.stdout


def test_its_own_help() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "usage: tusserver conformance" in done.stdout


def test_what_makes_no_sense() -> None:
    assert run().returncode == 2
    done = run("http://127.0.0.1:1/", "--only", "NONSENSE")
    assert done.returncode == 2
    assert "NONSENSE names no row" in done.stdout
