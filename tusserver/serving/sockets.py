"""Listening sockets, bound before anything else starts, so that a taken port is one clear line."""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path


class CannotListen(Exception):
    """The address cannot be used; the message is one sentence for the operator."""


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket on `host`, an address or a name. Raises CannotListen."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {where}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Interim and final answers are small and must not wait for each other.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"cannot listen on {where}: {error.strerror}; choose another with --host and --port"
        ) from error
    return listener


def listen_unix(path: Path, mode: int) -> socket.socket:
    """A listening unix socket with these permissions; replaces one that nobody listens on. Raises
    CannotListen.
    """
    if sys.platform == "win32":
        raise CannotListen("this system has no unix sockets; use --host and --port")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        # Nobody may connect before the permissions are right.
        former = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(former)
        os.chmod(path, mode)
        listener.listen()
    except CannotListen:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


FileIdentity = tuple[int, int, int]


def file_identity(path: Path) -> FileIdentity | None:
    """What tells this very file from another one that comes in its place, None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    # Numbers of inodes are used again, at once; changes of owner or permissions leave this time.
    return found.st_dev, found.st_ino, found.st_mtime_ns


def remove_unix(path: Path, identity: FileIdentity | None) -> None:
    """Removes the file of a socket that is closed, unless a successor has put its own there."""
    if identity is not None and file_identity(path) == identity:
        path.unlink(missing_ok=True)


def _remove_dead(path: Path) -> None:
    """Removes a socket file whose process is gone. Raises CannotListen for one that answers, and
    for whatever is no socket.
    """
    if sys.platform == "win32":
        return
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise CannotListen(
                f"cannot listen on {path}: a file that is no socket is there already"
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise CannotListen(f"cannot listen on {path}: another process listens there")


def unsent_in_kernel(transport: asyncio.Transport) -> int:
    """Bytes that the kernel holds until the other side takes them; 0 where it does not say."""
    connection = transport.get_extra_info("socket")
    if sys.platform != "linux" or connection is None or connection.fileno() < 0:
        return 0
    import fcntl
    import termios

    size = bytearray(4)
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, size)
    except OSError:
        return 0
    return int.from_bytes(size, sys.byteorder)


def address_of(listener: socket.socket, *, is_tls: bool = False) -> str:
    """Where this socket listens, for a person."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}:"
    host, port = name[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
