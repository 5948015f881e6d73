"""Logging of a server process: one line per event on standard error, as text or JSON.

Lines about requests come in such numbers that they are gathered, and written many at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from tusserver.asgi.access import Access

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_STAMP = "%Y-%m-%dT%H:%M:%S%z"
DELAY, MANY = 0.1, 512
"""Seconds for which a line may wait for others, and lines that are enough to be written at once."""


class JsonFormatter(logging.Formatter):
    """A record as one JSON object, with what the caller put into `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((key, value) for key, value in record.__dict__.items() if key not in _STANDARD)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, separators=(",", ":"))


class AccessLines:
    """Lines about requests, in the form of all others. To be called on an event loop."""

    def __init__(self, form: str, stream: TextIO | None = None) -> None:
        """`stream` is standard error unless given."""
        self._form: Callable[[Access], str] = _as_json if form == "json" else _as_text
        self._stream = stream
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, access: Access, /) -> None:
        self._lines.append(self._form(access))
        if len(self._lines) >= MANY:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self.flush)

    def flush(self) -> None:
        """Writes what has been gathered; from whatever thread."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        lines, self._lines = self._lines, []
        if lines:
            stream = self._stream or sys.stderr
            stream.write("".join(lines))
            stream.flush()


class _Handler(logging.StreamHandler["TextIO"]):
    """Keeps the order of events between the lines about requests and all others."""

    def __init__(self, access: AccessLines) -> None:
        super().__init__()
        self._access = access

    def emit(self, record: logging.LogRecord) -> None:
        self._access.flush()
        super().emit(record)


def configure_logging(level: str, form: str) -> AccessLines | None:
    """Sends the lines of this server, and the warnings of its libraries, to standard error.

    Returns what writes the lines about requests; None if the level is above theirs.
    """
    access = AccessLines(form)
    handler = _Handler(access)
    handler.setFormatter(
        JsonFormatter()
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s", _STAMP)
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logger = logging.getLogger("tusserver")
    logger.setLevel(level.upper())
    return access if logger.isEnabledFor(logging.INFO) else None


def _as_text(access: Access) -> str:
    return f"{_stamp(int(time.time()))} INFO {access}\n"


def _as_json(access: Access) -> str:
    entry = {
        "time": _iso(time.time()),
        "level": "info",
        "logger": "tusserver.access",
        "message": str(access),
        "client": access.client,
        "method": access.method,
        "path": access.path,
        "status": access.status,
        "milliseconds": access.milliseconds,
    }
    return msgspec.json.encode(entry).decode() + "\n"


@lru_cache(maxsize=2)
def _stamp(second: int) -> str:
    return time.strftime(_STAMP, time.localtime(second))


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
