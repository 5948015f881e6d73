"""Partial uploads, and the uploads that are joined of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.tus import eventually, joined, offset_of
from conformance.verdict import Unverifiable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.probe import Probe
    from conformance.tus import Tus
    from conformance.wire import Answer

PARTIAL = {"Upload-Concat": "partial"}
HELLO, WORLD = b"hello", b" world"
_JOINING = 30.0
"""Seconds in which parts are joined at the latest."""


def part(c: Tus, data: bytes, headers: Mapping[str, str] | None = None) -> str:
    """The URL of a finished partial upload. Raises Unverifiable."""
    return c.made(data, {**PARTIAL, **(headers or {})})


def final(c: Tus, urls: Sequence[str], headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to the POST that joins these."""
    return c.post({**joined(urls), **(headers or {})})


def joined_upload(c: Tus, urls: Sequence[str], headers: Mapping[str, str] | None = None) -> str:
    """The URL of a final upload of these, joined. Raises Unverifiable."""
    answer = final(c, urls, headers)
    url = c.created(answer)
    if not is_joined(c, url):
        raise Unverifiable(f"the parts have not been joined: {c.hd(url)}")
    return url


def is_served(c: Probe, url: str, data: bytes) -> bool:
    """Whether GET gives these bytes. Some serve what is joined, and not its parts."""
    return c.has("get") and c.get(url).body == data


def is_joined(c: Tus, url: str, within: float = _JOINING) -> bool:
    """Whether HEAD comes to tell an offset that is the length, within so many seconds."""

    def done() -> bool:
        answer = c.hd(url)
        offset = offset_of(answer)
        return offset is not None and answer.get("upload-length") == str(offset)

    return eventually(done, min(within, c.target.max_wait))
