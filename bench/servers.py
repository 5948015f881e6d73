"""The servers of the benchmark: how each is installed from its registry, and how it is started."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[1]
CACHE = PROJECT / ".cache" / "bench"
PEERS = Path(__file__).parent / "peers"

TUSD, NODE_SERVER, NODE_STORE = "v2.10.0", "2.4.5", "2.1.1"
RUSTUS, TUSPYSERVER = "0.5.10", "4.4.3"
TWO_WORKERS = "tusserver, 2 workers"
DIRECT_IO = "tusserver, direct I/O"


class CannotInstall(Exception):
    """A peer could not be had; the message says why."""


@dataclass(frozen=True)
class Server:
    """One server. `command` makes its command line of a port and an empty directory."""

    name: str
    version: Callable[[], str]
    install: Callable[[], None]
    command: Callable[[int, Path], list[str]]
    environment: Callable[[Path], dict[str, str]] = field(default=lambda directory: {})
    lacks: frozenset[str] = frozenset()
    """Cases that it cannot do, and abilities that it has not."""
    only: frozenset[str] = frozenset()
    """The only cases in which it takes part, all when empty."""
    scheme: str = "http"
    words: tuple[str, ...] = ()
    """What the load generator is told besides, as of the protocol to use."""

    @property
    def word(self) -> str:
        """The name as one word for the command line."""
        return re.sub(r"[^@a-z0-9]+", "-", self.name.lower()) if " " in self.name else self.name


def run(*command: str, directory: Path | None = None, **environment: str) -> str:
    """What a command prints. Raises CannotInstall."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CannotInstall(f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")
    return done.stdout


def program(name: str, *places: str) -> str:
    """Where a program is, on the path or in one of these places. Raises CannotInstall."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *places))
    found = shutil.which(name, path=path)
    if found is None:
        raise CannotInstall(f"{name} is not installed")
    return found


# tusserver.


def tusserver(*options: str) -> Callable[[int, Path], list[str]]:
    """The command of tusserver with these options."""

    def command(port: int, directory: Path) -> list[str]:
        return [
            sys.executable, "-m", "tusserver", "--port", str(port),
            "--upload-dir", str(directory), "--no-access-log", *options,
        ]  # fmt: skip

    return command


def our_version() -> str:
    """What the code beside this says that it is."""
    found = re.search(r'__version__ = "(.*)"', (PROJECT / "tusserver" / "__init__.py").read_text())
    return found[1] if found else "?"


def soaked(workers: int) -> Server:
    """tusserver with its default settings and so many workers."""
    options = () if workers == 1 else ("--workers", str(workers))
    return Server("tusserver", our_version, lambda: None, tusserver(*options))


# tusd.

_TUSD_MODULE = "github.com/tus/tusd/v2/cmd/tusd"


def _install_tusd() -> None:
    if (CACHE / "bin" / "tusd").exists():
        return
    go = program("go", "/usr/local/go/bin")
    target = CACHE / "bin" / "tusd"
    target.parent.mkdir(parents=True, exist_ok=True)
    # `go install …@version` asks for a list of versions, which some module proxies refuse; inside a
    # module the exact version is enough.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for words in (
            ("mod", "init", "scratch"),
            ("get", f"{_TUSD_MODULE}@{TUSD}"),
            ("build", "-o", str(target), _TUSD_MODULE),
        ):
            run(go, *words, directory=Path(scratch), CGO_ENABLED="0", GOFLAGS="-mod=mod")


def _tusd(port: int, directory: Path) -> list[str]:
    # No line for each request, as with the others.
    return [
        str(CACHE / "bin" / "tusd"), "-host", "127.0.0.1", "-port", str(port), "-upload-dir",
        str(directory), "-base-path", "/files/", "-verbose=false", "-hooks-enabled-events", "",
    ]  # fmt: skip


# @tus/server.


def _install_node() -> None:
    directory = CACHE / "node"
    if not (directory / "node_modules" / "@tus" / "server").exists():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
        packages = (f"@tus/server@{NODE_SERVER}", f"@tus/file-store@{NODE_STORE}")
        run(program("npm"), "install", "--no-audit", "--no-fund", *packages, directory=directory)
    shutil.copy(PEERS / "node.mjs", directory / "server.mjs")


def _node(port: int, directory: Path) -> list[str]:
    return [program("node"), str(CACHE / "node" / "server.mjs"), str(port), str(directory)]


def _node_version() -> str:
    package = CACHE / "node" / "node_modules" / "@tus" / "server" / "package.json"
    return str(json.loads(package.read_text())["version"])


# rustus.


def _install_rustus() -> None:
    if not (CACHE / "bin" / "rustus").exists():
        cargo = program("cargo", str(Path.home() / ".cargo" / "bin"))
        run(cargo, "install", "rustus", "--version", RUSTUS, "--locked", "--root", str(CACHE))


def _rustus(port: int, directory: Path) -> list[str]:
    return [
        str(CACHE / "bin" / "rustus"), "--host", "127.0.0.1", "--port", str(port),
        "--data-dir", str(directory / "data"), "--info-dir", str(directory / "info"),
        "--max-body-size", str(2**40), "--log-level", "ERROR", "--workers", "1",
    ]  # fmt: skip


# tuspyserver.


def _install_tuspyserver() -> None:
    directory = CACHE / "tuspyserver"
    if not (directory / "installed").exists():
        run(sys.executable, "-m", "venv", "--clear", str(directory))
        packages = (f"tuspyserver=={TUSPYSERVER}", "uvicorn[standard]")
        run(str(directory / "bin" / "pip"), "install", "--quiet", *packages)
        (directory / "installed").touch()


def _tuspyserver(port: int, directory: Path) -> list[str]:
    return [
        str(CACHE / "tuspyserver" / "bin" / "uvicorn"), "--app-dir", str(PEERS), "tuspy_app:app",
        "--port", str(port), "--no-access-log", "--log-level", "error",
    ]  # fmt: skip


SERVERS = {
    server.name: server
    for server in (
        Server("tusserver", our_version, lambda: None, tusserver("--sync", "none")),
        Server("tusserver, sync finish", our_version, lambda: None, tusserver()),
        Server(
            TWO_WORKERS,
            our_version,
            lambda: None,
            tusserver("--sync", "none", "--workers", "2"),
            only=frozenset({"small", "post", "head"}),
        ),
        Server(
            DIRECT_IO,
            our_version,
            lambda: None,
            tusserver("--sync", "none", "--direct-io", "auto"),
            only=frozenset({"patch", "parallel"}),
        ),
        Server("tusd", lambda: TUSD.removeprefix("v"), _install_tusd, _tusd),
        Server(
            "@tus/server", _node_version, _install_node, _node, lacks=frozenset({"concatenation"})
        ),
        Server("rustus", lambda: RUSTUS, _install_rustus, _rustus),
        Server(
            "tuspyserver",
            lambda: TUSPYSERVER,
            _install_tuspyserver,
            _tuspyserver,
            lambda directory: {"TUSPYSERVER_DIR": str(directory)},
            lacks=frozenset({"download"}),
        ),
    )
}
