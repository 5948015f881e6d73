"""Programs in Go that tests need, built from their source when they are missing, in `.cache/`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_CACHE = Path(__file__).parents[1] / ".cache"


def go_program(name: str, package: str, version: str, *, main: Path | None = None) -> Path:
    """The path of a program that is this package, or this file `main` with this package in use; the
    first call on a machine builds it, which takes up to some minutes.
    """
    mark = "" if main is None else f"-{hashlib.sha256(main.read_bytes()).hexdigest()[:8]}"
    binary = _CACHE / f"{name}-{version}{mark}"
    _CACHE.mkdir(exist_ok=True)
    # Several test processes may come here at once; one of them builds.
    with open(_CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary, package, version, main)
    return binary


def _build(binary: Path, package: str, version: str, main: Path | None) -> None:
    # `go install …@version` asks for a list of versions, which some module proxies refuse; inside a
    # module the exact version is enough.
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        if main is not None:
            shutil.copy(main, Path(scratch) / "main.go")
        for command in (
            ["mod", "init", "scratch"],
            ["get", f"{package}@{version}"],
            ["build", "-o", "program", package if main is None else "."],
        ):
            subprocess.run(
                ["go", *command],
                cwd=scratch,
                env={**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"},
                check=True,
            )
        os.replace(Path(scratch) / "program", binary)
