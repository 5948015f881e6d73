"""What is told of an upload while it goes on, and what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tusserver.client.sources import Source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file. `state`: uploaded, or kept (an earlier run did it), failed (again may
    help), refused (it will not), interrupted. `size` counts all bytes that the server has, `sent`
    those of this run.
    """

    source: Source
    state: str
    size: int = 0
    sent: int = 0
    seconds: float = 0.0
    url: str | None = None
    place: str | None = None
    digest: str | None = None
    status: int | None = None
    message: str = ""

    @property
    def is_good(self) -> bool:
        return self.state in ("uploaded", "kept")


class Display(Protocol):
    """Shows how a batch gets on; called from all threads."""

    def begun(self, source: Source, position: int, url: str) -> None:
        """So many bytes of the file are at the server; told again after each interruption."""

    def moved(self, source: Source, position: int) -> None: ...

    def paused(self, source: Source, seconds: float, reason: str) -> None:
        """There will be another try in so many seconds."""

    def anew(self, source: Source, reason: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


class Observed:
    """Counts the bytes of one file, in this run, and passes on what happens."""

    def __init__(self, display: Display, source: Source) -> None:
        self._display, self._source = display, source
        self._position = 0
        self._began: float | None = None
        self.bytes_sent = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def begin(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def standing(self, position: int, *, url: str) -> None:
        self._position = position
        self._display.begun(self._source, position, url)

    def sent(self, position: int) -> None:
        self.bytes_sent += position - self._position
        self._position = position
        self._display.moved(self._source, position)

    def anew(self, reason: str) -> None:
        self._display.anew(self._source, reason)

    def paused(self, seconds: float, reason: str) -> None:
        self._display.paused(self._source, seconds, reason)
