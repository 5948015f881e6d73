"""What a server offers: found out once, before any check runs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.http2 import speaks_http2
from conformance.target import UsageError, request_target
from conformance.wire import Answer, BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from conformance.target import Target

VERSION = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
TOKENS = {
    "creation": "creation",
    "creation-defer-length": "defer",
    "creation-with-upload": "cwu",
    "expiration": "expiration",
    "checksum": "checksum",
    "checksum-trailer": "trailer",
    "termination": "termination",
    "concatenation": "concat",
    "concatenation-unfinished": "concat-unf",
}
"""The short form, in `requirements.toml`, of each extension."""
_FATAL_GET = "GET of a finished upload"
_FALLING = 0.2
"""Seconds in which a server that falls has fallen."""
ORIGIN = "https://app.example"


class Unreachable(Exception):
    """No server answers there, or none that speaks HTTP."""


class NeedsCredentials(Exception):
    """The server refuses strangers: nothing can be said about the protocol."""


@dataclass(frozen=True)
class Discovery:
    """The answer to OPTIONS on the creation URL, taken apart, and what was tried besides.

    `holds` are the preconditions of rows that are met, in the words of `requirements.toml`.
    """

    options: Answer
    versions: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    max_size: int | None = None
    algorithms: tuple[str, ...] = ()
    holds: frozenset[str] = field(default_factory=frozenset)
    fell_at: str = ""
    """The request that the server went down at, if one did."""

    def lacks(self, needs: frozenset[str]) -> list[str]:
        """Those of a row's preconditions that are not met."""
        return sorted(
            need
            for need in needs
            if (need.removeprefix("absent:") in self.holds) == need.startswith("absent:")
        )


def items(value: str | None) -> tuple[str, ...]:
    """The items of a comma-separated list."""
    return tuple(item.strip() for item in (value or "").split(",") if item.strip())


def discover(target: Target) -> Discovery:
    """Asks the server what it can do. Raises Unreachable and NeedsCredentials."""
    options = _asked(target, "OPTIONS", target.url, dict(target.headers))
    if options.status in (401, 403):
        raise NeedsCredentials(f"OPTIONS was answered {options.status}")
    extensions = frozenset(items(options.get("tus-extension"))) | target.assumed
    size = options.get("tus-max-size") or ""
    found = Discovery(
        options,
        items(options.get("tus-version")),
        extensions,
        int(size) if size.isascii() and size.isdigit() else None,
        items(options.get("tus-checksum-algorithm")),
    )
    holds = _told(target, found) | _tried(target, found)
    if "get" in holds and not _survives(target):
        # Some fall only when the client has closed its connection; contents are not compared then.
        return replace(found, holds=holds - {"get"}, fell_at=_FATAL_GET)
    return replace(found, holds=holds)


def _survives(target: Target) -> bool:
    """Whether the server is still there; else it is started again. Raises Unreachable."""
    time.sleep(_FALLING)
    if target.is_live():
        return True
    if not target.can_restart:
        raise Unreachable(f"the server went down after {_FATAL_GET}; give --restart-cmd")
    target.restart()
    return False


def _told(target: Target, found: Discovery) -> frozenset[str]:
    holds = {TOKENS[token] for token in found.extensions if token in TOKENS}
    if found.options.status in (200, 204) and found.versions:
        holds.add("options")
    if found.max_size is not None:
        holds.add("max-size")
    if "creation" in holds or target.upload_url_command:
        holds.add("url")
    if target.is_slow:
        holds.add("slow")
    if target.can_restart:
        holds.add("restart")
    return frozenset(holds)


def _tried(target: Target, found: Discovery) -> frozenset[str]:
    """What shows itself only when it is done: downloads, CORS, HTTP/2."""
    holds = set()
    cors = {**dict(target.headers), "Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    if "access-control-allow-origin" in _asked(target, "OPTIONS", target.url, cors):
        holds.add("cors")
    if target.url.startswith("https:") and target.unix is None and speaks_http2(target):
        holds.add("tls-h2")
    # A Location that leads nowhere is a matter of the row that judges it.
    with suppress(Unreachable, UsageError, ValueError):
        if _serves_content(target, found):
            holds.add("get")
    return frozenset(holds)


def _serves_content(target: Target, found: Discovery) -> bool:
    data, common = b"hello", dict(target.headers)
    if "creation" in found.extensions:
        headers = {**common, **VERSION, "Upload-Length": "5", "Content-Length": "0"}
        made = _asked(target, "POST", target.url, headers)
        if made.status in (401, 403):
            raise NeedsCredentials(f"POST was answered {made.status}")
        location = made.get("location")
        if made.status != 201 or location is None:
            return False
        url = target.resolve(location)
    elif target.upload_url_command:
        url = target.new_upload_url(5)
    else:
        return False
    headers = {**common, **VERSION, **OCTETS, "Upload-Offset": "0", "Content-Length": "5"}
    _asked(target, "PATCH", url, headers, data)
    answer = _asked(target, "GET", url, {**common, **VERSION})
    return answer.status == 200 and answer.body == data


def _asked(
    target: Target, method: str, url: str, headers: dict[str, str], body: bytes = b""
) -> Answer:
    try:
        with target.connect(url) as wire:
            return wire.request(method, request_target(url), headers, body)
    except (OSError, ConnectionEnded, BadAnswer) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"{method} {url}: {reason}") from error
