"""tus-js-client in Node: installs it once into `.cache/`, and runs uploads with it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

JS = Path(__file__).parent / "js"
CACHE = Path(__file__).parents[2] / ".cache" / "node"


def node_modules(folder: Path = JS) -> Path:
    """The folder of the packages that package.json in `folder` names, installed when missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise AssertionError(f"{program} is not installed; Node 18 or newer is needed")
    description = (folder / "package.json").read_bytes()
    place = CACHE / sha256(description).hexdigest()[:12]
    place.mkdir(parents=True, exist_ok=True)
    # Several test processes may come here at the same time.
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            (place / "package.json").write_bytes(description)
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
            done = subprocess.run(command, cwd=place, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (place / "complete").touch()
    return place / "node_modules"


@dataclass(frozen=True)
class Run:
    """What tus-js-client did: the upload's URL, and each answered request as (method, status)."""

    url: str
    was_aborted: bool
    requests: list[tuple[str, int]]

    def methods(self) -> list[str]:
        return [method for method, _ in self.requests]


def tus_js_upload(
    path: Path,
    endpoint: str,
    *,
    timeout: float = 60.0,
    task: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Uploads this file; `task` are further fields for js/upload.cjs, `options` are the client's.

    Raises AssertionError with what the client said if it gave up.
    """
    done = _run(path, {"endpoint": endpoint, **options}, task or {}, timeout)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return Run(result["url"], result["aborted"], _requests(result))


@dataclass(frozen=True)
class Failure:
    """What tus-js-client said when it gave up, and what it had done by then."""

    message: str
    requests: list[tuple[str, int]]


def tus_js_failure(
    path: Path,
    endpoint: str,
    *,
    timeout: float = 60.0,
    task: dict[str, Any] | None = None,
    **options: Any,
) -> Failure:
    """The same for an upload that fails. Raises AssertionError if the client reports success."""
    done = _run(path, {"endpoint": endpoint, **options}, task or {}, timeout)
    assert done.returncode == 1, f"the client believes that it has uploaded: {done.stdout}"
    result = json.loads(done.stdout)
    return Failure(result["error"], _requests(result))


def _run(
    path: Path, options: dict[str, Any], task: dict[str, Any], timeout: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(JS / "upload.cjs")],
        input=json.dumps({"path": str(path), "options": options, **task}),
        env={**os.environ, "NODE_PATH": str(node_modules())},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _requests(result: dict[str, Any]) -> list[tuple[str, int]]:
    return [(method, status) for method, status in result["requests"]]
