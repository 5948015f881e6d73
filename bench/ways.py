"""The ways into tusserver on which a body comes as a stream, by way of the event loop: TLS, chunked
bodies, HTTP/2, and the application under other ASGI servers.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from bench.cases import WAYS
from bench.servers import CACHE, PROJECT, CannotInstall, Server, our_version, tusserver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PYTHON = CACHE / "asgi" / "bin" / "python"
_PACKAGES = ("hypercorn==0.18.0", "granian==2.8.7", "zttp==0.0.35")
_CHAIN, _KEY = CACHE / "tls" / "chain.pem", CACHE / "tls" / "key.pem"
_FACTORY = "tusserver:create_app"
_KEPT = {
    "MALLOC_TRIM_THRESHOLD_": "536870912",
    "MALLOC_TOP_PAD_": "16777216",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
}
"""What `tusserver.serving.memory` does in our own server."""


def _install() -> None:
    _make_certificate()
    done = CACHE / "asgi" / "installed"
    words = " ".join(_PACKAGES)
    if done.exists() and done.read_text() == words:
        return
    for command in (
        (sys.executable, "-m", "venv", "--clear", str(CACHE / "asgi")),
        (str(_PYTHON), "-m", "pip", "install", "--quiet", str(PROJECT), *_PACKAGES),
    ):
        _run(*command)
    done.write_text(words)


def _make_certificate() -> None:
    if _KEY.exists():
        return
    _KEY.parent.mkdir(parents=True, exist_ok=True)
    _run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "3650", "-subj", "/CN=localhost", "-keyout", str(_KEY),
        "-out", str(_CHAIN),
    )  # fmt: skip


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotInstall(f"{command[0]} is not installed") from error
    if done.returncode:
        raise CannotInstall(f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")


def _in(directory: Path, *words: str) -> list[str]:
    # The application keeps its uploads below the directory that it is started in.
    return ["env", "-C", str(directory), str(_PYTHON), "-m", *words]


def _uvicorn(*options: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: _in(
        directory, "uvicorn", "--factory", _FACTORY, "--port", str(port), "--no-access-log",
        *options,
    )  # fmt: skip


def _hypercorn(*options: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: _in(
        directory, "hypercorn", f"{_FACTORY}()", "--bind", f"127.0.0.1:{port}", *options
    )


def _granian(*options: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: _in(
        directory, "granian", "--interface", "asgi", "--factory", _FACTORY, "--port", str(port),
        *options,
    )  # fmt: skip


_OURS_TLS = ("--tls-certificate", str(_CHAIN), "--tls-key", str(_KEY))
_UVICORN_TLS = ("--ssl-certfile", str(_CHAIN), "--ssl-keyfile", str(_KEY))
_HYPERCORN_TLS = ("--certfile", str(_CHAIN), "--keyfile", str(_KEY))
_GRANIAN_TLS = ("--ssl-certificate", str(_CHAIN), "--ssl-keyfile", str(_KEY))
_HTTP2 = ("-http2",)


def _way(
    name: str,
    command: Callable[[int, Path], list[str]],
    words: tuple[str, ...] = (),
    *,
    is_tls: bool = False,
    keeps_memory: bool = False,
) -> Server:
    return Server(
        name,
        our_version,
        _install,
        command,
        lambda directory: {"PYTHONPATH": str(PROJECT), **(_KEPT if keeps_memory else {})},
        only=frozenset({WAYS}),
        scheme="https" if is_tls else "http",
        words=words,
    )


SERVERS = (
    _way("tusserver, chunked", tusserver(), ("-chunked",)),
    _way("tusserver, TLS", tusserver(*_OURS_TLS), is_tls=True),
    _way("uvicorn", _uvicorn()),
    _way("uvicorn, memory kept", _uvicorn(), keeps_memory=True),
    _way("uvicorn, TLS, memory kept", _uvicorn(*_UVICORN_TLS), is_tls=True, keeps_memory=True),
    _way("uvicorn with zttp, HTTP/2",
         _uvicorn("--http", "zttp", "--http2", *_UVICORN_TLS), _HTTP2, is_tls=True),
    _way("hypercorn", _hypercorn()),
    _way("hypercorn, memory kept", _hypercorn(), keeps_memory=True),
    _way("hypercorn, HTTP/2", _hypercorn(*_HYPERCORN_TLS), _HTTP2, is_tls=True),
    _way("granian", _granian()),
    _way("granian, memory kept", _granian(), keeps_memory=True),
    _way("granian, HTTP/2", _granian(*_GRANIAN_TLS), _HTTP2, is_tls=True),
)  # fmt: skip
