"""What can be said of a server about one row, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Ordered, so that the worst of several is their maximum."""

    NOT_APPLICABLE = 0
    """The server does not offer the extension, or the check was not asked for."""
    UNVERIFIABLE = 1
    """It could not be seen from outside."""
    PASS = 2
    INFO = 3
    WARN = 4
    FAIL = 5

    @property
    def word(self) -> str:
        return {0: "N/A", 1: "not verifiable"}.get(self.value, self.name)


@dataclass(frozen=True)
class Finding:
    """What one probe showed about one row.

    `exchange` is what went over the wire, as readable text; kept only for what is worth reading.
    """

    row: str
    verdict: Verdict
    check: str
    probe: str = ""
    expected: str = ""
    got: str = ""
    exchange: str = ""


class Unverifiable(Exception):
    """Nothing can be said: what the check builds on did not work."""


class CheckEnded(Exception):
    """A check need not go on: what it has found is enough."""
