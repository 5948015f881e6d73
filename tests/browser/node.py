"""Packages of npm for the browser's tests: those of `web/`, and projects in `.cache/`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
CACHE = ROOT / ".cache" / "node"


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What the command said. Raises AssertionError with what it complained about."""
    if shutil.which(command[0]) is None:
        raise AssertionError(f"{command[0]} is not installed; Node 20.19 or newer is needed")
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def web() -> Iterator[Path]:
    """The folder `web/` with its packages, for one test process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "web.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (WEB / "node_modules" / ".package-lock.json").exists():
            run("npm", "ci", cwd=WEB)
        yield WEB


def installed(description: Path) -> Path:
    """A folder with this package.json and what it asks for; installed when it is missing."""
    content = description.read_bytes()
    place = CACHE / sha256(content).hexdigest()[:12]
    place.mkdir(parents=True, exist_ok=True)
    # Several test processes may come here at the same time.
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            (place / "package.json").write_bytes(content)
            run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=place)
            (place / "complete").touch()
    return place
