"""The rows of the check list, read from `requirements.toml` beside this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from conformance.verdict import Verdict

SPECIFICATION = "https://tus.io/protocols/resumable-upload"
_ANCHORS = {
    "Core — version negotiation": "tus-version",
    "Core — OPTIONS discovery": "options",
    "Core — header fields": "headers",
    "Core — HEAD": "head",
    "Core — PATCH": "patch",
    "Core — scope": "core-protocol",
    "Creation extension": "creation",
    "Creation extension — Upload-Metadata grammar": "upload-metadata",
    "creation-defer-length": "upload-defer-length",
    "creation-with-upload": "creation-with-upload",
    "Expiration extension": "expiration",
    "Checksum extension": "checksum",
    "checksum-trailer": "checksum",
    "Termination extension": "termination",
    "Concatenation extension": "concatenation",
    "concatenation-unfinished": "concatenation",
}


class Level(StrEnum):
    """MUST, SHOULD and MAY as in the protocol; ROBUST is what a good server does beyond it."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    ROBUST = "ROBUST"


@dataclass(frozen=True)
class Requirement:
    """One row: what a server (or client) owes, and what must hold for it to be checked."""

    id: str
    level: Level
    binds: str
    section: str
    needs: frozenset[str]
    sentence: str
    concern: str = ""

    @property
    def group(self) -> str:
        return self.id.rpartition("-")[0]

    @property
    def broken(self) -> Verdict:
        """The verdict on a server that does not keep it."""
        if self.level is Level.MUST or self.concern == "safety":
            return Verdict.FAIL
        return Verdict.INFO if self.level is Level.MAY else Verdict.WARN

    @property
    def is_for_clients(self) -> bool:
        """Whether no URL can show it."""
        return "client" in self.needs

    @property
    def link(self) -> str:
        """Where it is written; empty for what goes beyond the specification."""
        anchor = _ANCHORS.get(self.section)
        if anchor is None or self.level is Level.ROBUST:
            return ""
        return f"{SPECIFICATION}#{anchor}"


@cache
def requirements() -> dict[str, Requirement]:
    """All rows by id, in the order of the check list."""
    raw = tomllib.loads(files("conformance").joinpath("requirements.toml").read_text("utf-8"))
    return {
        row: Requirement(
            id=row,
            level=Level(entry["level"]),
            binds=entry["binds"],
            section=entry["section"],
            needs=frozenset(entry["needs"]),
            sentence=entry["sentence"],
            concern=entry.get("concern", ""),
        )
        for row, entry in raw.items()
    }
