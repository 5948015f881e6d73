"""A line for each request: what is told, and the usual way to tell it."""

from __future__ import annotations

import logging
import re
from typing import Protocol
from urllib.parse import quote

from msgspec import Struct

_logger = logging.getLogger("tusserver.access")
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*", re.ASCII)


class Access(Struct, frozen=True):
    """One request that has been answered. `client` is an address, empty on a unix socket; `path` is
    decoded; `status` is 0 if no answer was sent.
    """

    client: str
    method: str
    path: str
    status: int
    seconds: float

    @property
    def milliseconds(self) -> float:
        """How long it took, rounded to microseconds."""
        return round(self.seconds * 1000, 3)

    def __str__(self) -> str:
        path = self.path if _PLAIN.fullmatch(self.path) else quote(self.path)
        return (
            f'{self.client or "unix"} "{self.method} {path}" {self.status} '
            f"{self.seconds * 1000:.1f}ms"
        )


class AccessLog(Protocol):
    """Hears of each request, on the event loop."""

    def __call__(self, access: Access, /) -> None: ...


def log_access(access: Access, /) -> None:
    """To the logger `tusserver.access`, with the parts as attributes of the record."""
    _logger.info(
        "%s",
        access,
        extra={
            "client": access.client,
            "method": access.method,
            "path": access.path,
            "status": access.status,
            "milliseconds": access.milliseconds,
        },
    )
