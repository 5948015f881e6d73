"""The names of the objects of an upload, and what a name stands for.

<prefix><id>                the bytes, once all are there (until then a multipart upload)
<prefix><id>.info           the record
<prefix><id>.part-<token>   bytes behind the parts
<prefix><id>.final-<id>     a final upload waits for this partial one
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple
from urllib.parse import quote, unquote

_ID = r"(?P<id>(?:[0-9a-f]{2}/){0,2}[0-9a-f]{28,32})"
_OBJECT = re.compile(_ID)
_OWN = re.compile(_ID + r"\.(?P<kind>part|final)-(?P<rest>.+)")
INFO = ".info"


class Named(NamedTuple):
    """An object that belongs to an upload besides its bytes and record; `kind` is part or final."""

    upload_id: str
    kind: str


class Keys:
    """The keys of one store, all of them below `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def data(self, upload_id: str) -> str:
        """The object itself."""
        return self.prefix + upload_id

    def info(self, upload_id: str) -> str:
        """The record."""
        return f"{self.prefix}{upload_id}{INFO}"

    def tail(self, upload_id: str, token: str) -> str:
        """Bytes behind the parts."""
        return f"{self.prefix}{upload_id}.part-{token}"

    def waiting(self, partial_id: str, final_id: str = "") -> str:
        """The note that a final upload waits for a partial one; without the former, how the keys of
        all such notes begin.
        """
        return f"{self.prefix}{partial_id}.final-{quote(final_id, safe='')}"

    def final_of(self, key: str) -> str:
        """The final upload that a note is about."""
        return unquote(key.rpartition(".final-")[2])

    def upload_of_info(self, key: str) -> str | None:
        """Whose record this is; None if it is none."""
        if not key.endswith(INFO):
            return None
        return key.removeprefix(self.prefix).removesuffix(INFO)

    def own(self, key: str) -> Named | None:
        """Whose object this is besides record and bytes; None if nobody but us would have chosen
        the name is not certain.
        """
        match = _OWN.fullmatch(key.removeprefix(self.prefix))
        return None if match is None else Named(match["id"], match["kind"])

    def upload_of_data(self, key: str) -> str | None:
        """Whose bytes have this key; None if it is not of the form that new uploads get."""
        match = _OBJECT.fullmatch(key.removeprefix(self.prefix))
        return None if match is None else match["id"]


def new_token() -> str:
    """A name that nobody else has chosen."""
    return secrets.token_hex(8)
