"""What clients know of their uploads: what they have sent, what was acknowledged, and so where an
upload may stand after the server was killed at any moment.
"""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Attempt:
    """A request with bytes whose answer has not come. `is_whole`: all of them count or none."""

    start: int
    end: int
    is_whole: bool
    is_right: bool

    def allows(self, offset: int) -> bool:
        if not self.is_right:
            return offset == self.start
        if self.is_whole:
            return offset in (self.start, self.end)
        return self.start <= offset <= self.end


@dataclass(eq=False)
class Known:
    """One upload as its client knows it. `key` makes its bytes and stands in its metadata."""

    key: str
    length: int
    parts: tuple[Known, ...] = ()
    is_partial: bool = False
    url: str | None = None
    """None as long as its creation has not been answered."""
    offset: int = 0
    """Acknowledged."""
    attempt: Attempt | None = None
    is_declared: bool = False
    """The server knows the length."""
    is_ending: bool = False
    """A DELETE was sent."""
    is_gone: bool = False

    @cached_property
    def data(self) -> bytes:
        if self.parts:
            return b"".join(part.data for part in self.parts)
        return random.Random(self.key).randbytes(self.length)

    @property
    def is_final(self) -> bool:
        return bool(self.parts)

    @property
    def is_finished(self) -> bool:
        return self.is_declared and self.offset == self.length

    @property
    def path(self) -> str:
        """The URL, of an upload that is known to have one."""
        assert self.url is not None
        return self.url

    @property
    def upload_id(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def metadata(self) -> str:
        return f"key {base64.b64encode(self.key.encode()).decode()}"

    @property
    def is_joinable(self) -> bool:
        return all(part.is_finished for part in self.parts)

    def allows(self, offset: int) -> bool:
        """Whether the upload may stand there now."""
        return offset == self.offset or (self.attempt is not None and self.attempt.allows(offset))

    def settle(self, offset: int) -> None:
        """The server says that it stands there."""
        self.offset, self.attempt = offset, None


@dataclass
class Ledger:
    """The uploads of one client; only one thread looks at it at a time, as they do at `Known`."""

    uploads: list[Known] = field(default_factory=list)

    def add(self, known: Known) -> Known:
        self.uploads.append(known)
        return known

    def live(self) -> list[Known]:
        """Those that are there, or may be."""
        return [known for known in self.uploads if not known.is_gone]

    def free(self) -> list[Known]:
        """Those on which nothing else depends."""
        needed = {id(part) for known in self.live() for part in known.parts}
        return [known for known in self.live() if known.url and id(known) not in needed]

    def unfinished(self) -> list[Known]:
        """Those that wait for bytes."""
        return [
            known
            for known in self.live()
            if known.url and not known.is_final and not known.is_finished
        ]
