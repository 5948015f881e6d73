"""Upload-Metadata: how pairs are written and read, and uploads that have some."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from conformance.verdict import Unverifiable

if TYPE_CHECKING:
    from conformance.tus import Tus
    from conformance.wire import Answer

_KEY = re.compile("[^ \t,]+")
_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def pairs_in(header: str | None) -> list[tuple[str, bytes]]:
    """Keys and values, none for no header. Raises ValueError for what is no list of pairs.

    Blanks around the commas are those of an HTTP list, and no part of a key.
    """
    found = []
    for element in [] if header is None else header.split(","):
        key, _, value = element.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key) or not _BASE64.fullmatch(value):
            raise ValueError(f"{element!r} is no pair of a key and Base64")
        found.append((key, base64.b64decode(value)))
    return found


def create(c: Tus, metadata: str) -> Answer:
    """The answer to the creation of an upload of 4 bytes with this metadata."""
    return c.post({"Upload-Length": "4", "Upload-Metadata": metadata})


def plain_metadata(c: Tus, metadata: str = "k YQ==") -> None:
    """Raises Unverifiable where metadata without any trouble is refused, as a server may do by its
    policy, or where HEAD does not give it back: trouble would show nothing then.
    """
    answer = create(c, metadata)
    if answer.status in range(400, 500):
        c.created(c.post({"Upload-Length": "4"}))
        raise Unverifiable(f"metadata is rejected by policy: {answer}")
    told = c.hd(c.created(answer)).get("upload-metadata")
    # The order of the pairs is another matter.
    if sorted((told or "").split(",")) != sorted(metadata.split(",")):
        raise Unverifiable(f"HEAD does not give {metadata!r} back, but {told!r}")
