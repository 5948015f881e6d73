"""The server under test: where it is, what goes with every request, and how it is reached."""

from __future__ import annotations

import shlex
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from conformance.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.wire import Address, Answer

_PORTS = {"http": 80, "https": 443}


class UsageError(Exception):
    """The options make no sense; the text says what to do instead."""


@dataclass(frozen=True)
class Target:
    """The creation URL, and what the operator says about the server behind it.

    `headers` go with every request, as credentials do. `unix` is the path of a socket to speak
    through, whatever the URL's host. `upload_url_command` prints the URL of a new upload whose
    length in bytes stands for `{length}`. Times are in seconds, sizes in bytes.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    unix: str | None = None
    authorities: str | None = None
    """A file of certificates to trust, instead of those of the system."""
    is_insecure: bool = False
    """Whether any certificate is good enough."""
    timeout: float = 15.0
    strict: bool = False
    is_slow: bool = False
    """Whether checks that wait long may run."""
    assumed: frozenset[str] = frozenset()
    """Extensions that are there although OPTIONS does not say so."""
    max_stall: float = 180.0
    """How long a server may keep a silent connection."""
    max_wait: float = 120.0
    """How long an expiry may be waited for."""
    big_ok: int = 2**30
    """The largest upload that may be created without sending it."""
    restart_command: str | None = None
    restarter: Callable[[], None] | None = None
    """What kills and restarts the server, in place of a command."""
    storage: Path | None = None
    upload_url_command: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UsageError(f"{self.url!r} is no http or https URL")

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The request target of the creation URL."""
        return request_target(self.url)

    def connect(
        self,
        url: str | None = None,
        *,
        timeout: float | None = None,
        observe: Callable[[str, Answer], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Wire:
        """A new connection to the host of this URL, that of creation by default."""
        parts = urlsplit(url or self.url)
        if not parts.hostname or parts.scheme not in _PORTS:
            raise UsageError(f"{url!r} is no http or https URL")
        address: Address = self.unix or (parts.hostname, parts.port or _PORTS[parts.scheme])
        return Wire(
            address,
            timeout=timeout or self.timeout,
            tls=(tls or self.trust()) if parts.scheme == "https" else None,
            host=parts.netloc.rpartition("@")[2],
            observe=observe,
        )

    def trust(self) -> ssl.SSLContext:
        """A TLS context that trusts whom the operator trusts."""
        context = ssl.create_default_context(cafile=self.authorities)
        if self.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def resolve(self, location: str, base: str | None = None) -> str:
        """The absolute URL of a `Location`, seen from the URL that was posted to (RFC 3986)."""
        return urljoin(base or self.url, location)

    def new_upload_url(self, length: int) -> str:
        """What the operator's command prints."""
        if self.upload_url_command is None:
            raise UsageError("no --upload-url-cmd was given")
        command = self.upload_url_command.replace("{length}", str(length))
        done = subprocess.run(
            shlex.split(command), check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    @property
    def can_restart(self) -> bool:
        return self.restarter is not None or self.restart_command is not None

    def restart(self) -> None:
        """Kills and restarts the server, by the operator's means."""
        if self.restarter is not None:
            self.restarter()
            return
        if self.restart_command is None:
            raise UsageError("no --restart-cmd was given")
        subprocess.run(self.restart_command, shell=True, check=True, timeout=120)

    def is_live(self) -> bool:
        """Whether OPTIONS on a new connection is answered within 5 seconds."""
        try:
            with self.connect(timeout=5.0) as wire:
                wire.request("OPTIONS", self.path, self.headers)
        except Exception:  # noqa: BLE001 - however it fails, it is down
            return False
        return True


def request_target(url: str) -> str:
    """What stands in the request line for this URL; nothing is normalised."""
    after = url.partition("://")[2].partition("#")[0]
    slash = after.find("/")
    return after[slash:] if slash >= 0 else "/"
