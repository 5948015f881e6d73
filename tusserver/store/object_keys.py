"""The names of the objects of an upload, and what a name stands for.

<prefix><id>                the bytes, once all are there (until then a multipart upload)
<prefix><id>.info           the record
<prefix><id>.part-<token>   bytes behind the parts
<prefix><id>.final-<id>     a final upload waits for this partial one
<prefix><id>.info.damaged   a record that could not be read, set aside for a person

The id of an upload that tusd began is `<object id>+<multipart id>`, and its keys begin with the
object id alone. Until it is adopted (object_adoption) bytes may be in `<prefix><object id>.part`.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple
from urllib.parse import quote, unquote

from tusserver.protocol.urls import is_upload_id

# The same number of digits in any number of folders: so no id of ours is one of a store whose
# prefix begins with ours.
_ID = r"(?P<id>[0-9a-f]{32}|[0-9a-f]{2}/[0-9a-f]{30}|[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28})"
_TOKEN = r"[0-9a-f]{16}"
_OBJECT = re.compile(_ID)
_OWN = re.compile(_ID + rf"\.(?:(?P<part>part)-{_TOKEN}|(?P<final>final)-[^/]+)")
_TAIL = re.compile(rf"\.part-{_TOKEN}")
_LEFT_TAIL = re.compile(_ID + r"\.part")
INFO = ".info"
DAMAGED = ".damaged"


class Named(NamedTuple):
    """An object that belongs to an upload besides its bytes and record: a tail, or a note."""

    object_id: str
    is_tail: bool


def object_id(upload_id: str) -> str:
    """What the keys of an upload begin with, behind the prefix."""
    return upload_id.rpartition("+")[0] or upload_id


def is_of_tusd(upload_id: str) -> bool:
    """Whether this is an id of tusd's; new uploads of ours get none with a plus sign."""
    return object_id(upload_id) != upload_id


def multipart_of(upload_id: str) -> str:
    """The multipart upload that tusd has begun for an upload."""
    return upload_id.rpartition("+")[2]


class Keys:
    """The keys of one store, all of them below `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def data(self, upload_id: str) -> str:
        """The object itself."""
        return self.prefix + object_id(upload_id)

    def info(self, upload_id: str) -> str:
        """The record."""
        return f"{self.data(upload_id)}{INFO}"

    def tail(self, upload_id: str, token: str) -> str:
        """Bytes behind the parts."""
        return f"{self.data(upload_id)}.part-{token}"

    def left_tail(self, upload_id: str) -> str:
        """Where tusd keeps bytes behind the parts."""
        return f"{self.data(upload_id)}.part"

    def waiting(self, partial_id: str, final_id: str = "") -> str:
        """The note that a final upload waits for a partial one; without the former, how the keys of
        all such notes begin.
        """
        return f"{self.data(partial_id)}.final-{quote(final_id, safe='')}"

    def final_of(self, key: str) -> str:
        """The final upload that a note is about."""
        return unquote(key.rpartition(".final-")[2])

    def object_of_info(self, key: str) -> str | None:
        """Whose record this is, as an object id: the record alone tells the rest. None if it is
        none.
        """
        found = key.removeprefix(self.prefix).removesuffix(INFO)
        return found if key.endswith(INFO) and is_upload_id(found) else None

    def own(self, key: str) -> Named | None:
        """Whose object this is besides record and bytes; None unless it is of a form that nobody
        but us would have chosen.
        """
        match = _OWN.fullmatch(key.removeprefix(self.prefix))
        return None if match is None else Named(match["id"], match["part"] is not None)

    def object_of_left_tail(self, key: str) -> str | None:
        """Whose bytes tusd keeps there, as an object id; None if it is of another form."""
        match = _LEFT_TAIL.fullmatch(key.removeprefix(self.prefix))
        return None if match is None else match["id"]

    def object_of_data(self, key: str) -> str | None:
        """Whose bytes have this key, as an object id; None if it is not of the form that new
        uploads get.
        """
        match = _OBJECT.fullmatch(key.removeprefix(self.prefix))
        return None if match is None else match["id"]

    def goes_with(self, upload_id: str, key: str) -> bool:
        """Whether this object is a tail or a note of an upload."""
        is_tail = _TAIL.fullmatch(key.removeprefix(self.data(upload_id))) is not None
        is_left = is_of_tusd(upload_id) and key == self.left_tail(upload_id)
        return is_tail or is_left or key.startswith(self.waiting(upload_id))

    def set_aside(self, upload_id: str) -> str:
        """A record that could not be read."""
        return self.info(upload_id) + DAMAGED


def new_token() -> str:
    """A name that nobody else has chosen."""
    return secrets.token_hex(8)
