"""One upload, and whose turn it is."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.conformance.tiny.messages import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Turn:
    """One request at a time has the upload; one that comes asks the one before to let go."""

    patience = 5.0
    """Seconds before a request gives up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._let_go: Callable[[], None] | None = None

    @contextmanager
    def take(self, let_go: Callable[[], None]) -> Iterator[None]:
        """Raises Refused(423) when the other does not let go."""
        deadline = time.monotonic() + self.patience
        while not self._lock.acquire(timeout=0.02):
            holder = self._let_go
            if holder is not None:
                holder()
            if time.monotonic() > deadline:
                raise Refused(423, "The upload is in use.")
        self._let_go = let_go
        try:
            yield
        finally:
            self._let_go = None
            self._lock.release()


@dataclass
class Upload:
    """`length` is None while it is deferred. `concat` is the header as received. `parts` are those
    of a final upload; until they are joined it `is_pending`.
    """

    length: int | None
    metadata: str | None = None
    concat: str | None = None
    parts: list[Upload] = field(default_factory=list)
    is_pending: bool = False
    data: bytearray = field(default_factory=bytearray)
    expires: float = 0.0
    """Seconds since the epoch."""
    is_gone: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    turn: Turn = field(default_factory=Turn)

    @property
    def offset(self) -> int:
        return len(self.data)

    @property
    def is_partial(self) -> bool:
        return self.concat == "partial"

    @property
    def is_final(self) -> bool:
        return self.concat is not None and self.concat.startswith("final;")

    @property
    def is_finished(self) -> bool:
        return self.length == self.offset and not self.is_pending

    @property
    def is_expired(self) -> bool:
        return not self.is_finished and time.time() > self.expires
