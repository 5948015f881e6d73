"""What a site's rules need of others: the virus scanner, and the issuer of tokens."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking, Section
from tusserver.policy.clamd import ClamdUnavailable, Clean
from tusserver.policy.tokens import KeysUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tusserver.policy.clamd import Clamd, Verdict
    from tusserver.policy.tokens import TokenVerifier

_HARMLESS = b"Nothing but words.\n"
_ANSWER, _SCAN = "reach clamd", "scan a harmless file"


def scan_section(clamd: Clamd, address: str, directory: Path | None, *, holds: bool) -> Section:
    """The scanner at this address. Files are handed over open where they are in this `directory`;
    None: they are sent. `holds`: uploads wait while it does not answer.
    """

    async def answer() -> Found:
        return Found(await clamd.version())

    async def scan() -> Found:
        if directory is None or not clamd.takes_descriptors:
            return _judged(await clamd.scan_stream(_harmless(), len(_HARMLESS)), "sent")
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(_HARMLESS)
            file.flush()
            verdict = await clamd.scan_descriptor(file.fileno(), len(_HARMLESS))
        return _judged(verdict, "handed over as an open file")

    def unavailable(error: Exception) -> Lacking:
        fate = "every upload waits until" if holds else "every upload is refused as long as not"
        return Lacking(str(error), f"start clamd, or see --scan; {fate} it answers")

    checks = (Check(_ANSWER, answer), Check(_SCAN, scan, after=(_ANSWER,)))
    return Section(f"Virus scan by {address}", checks, (ClamdUnavailable, OSError), unavailable)


async def _harmless() -> AsyncIterator[bytes]:
    yield _HARMLESS


def _judged(verdict: Verdict, how: str) -> Found:
    if not isinstance(verdict, Clean):
        raise Lacking(f"it is not found clean: {verdict}", "see the configuration of clamd")
    return Found(how)


def token_section(tokens: TokenVerifier, source: str) -> Section:
    """The keys that tokens are verified with."""

    async def fetch() -> Found:
        try:
            await tokens.require_keys()
        finally:
            await tokens.close()
        return Found(source)

    def unavailable(error: Exception) -> Lacking:
        advice = "see --jwt-jwks-url; until there are keys every request is answered 423"
        return Lacking(str(error), advice)

    checks = (Check("keys to verify with", fetch),)
    return Section("Tokens", checks, (KeysUnavailable,), unavailable)
