"""What a listing of the bucket shows of each upload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from tusserver.store.bucket import Bucket, Listed
    from tusserver.store.object_keys import Keys


@dataclass(slots=True)
class Group:
    """The objects of one upload: the size of its bytes in bytes (None: no object), whether there
    is a record, its tails and its notes by their keys, whether there is a tail of tusd's, and when
    the latest of them was written.
    """

    object_id: str
    modified_at: datetime
    size: int | None = None
    has_record: bool = False
    has_left_tail: bool = False
    tails: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def groups(bucket: Bucket, keys: Keys) -> AsyncIterator[Group]:
    """All uploads that have an object in the bucket, in the order of their keys. Objects that are
    not of a form of ours are in none.
    """
    gathering = _Gathering(keys)
    async for page in bucket.pages(keys.prefix):
        for listed in page:
            for group in gathering.take(listed):
                yield group
    for group in gathering.rest():
        yield group


class _Gathering:
    """Puts together what has the same id. The objects of an upload begin with the same key, but
    those of another one may stand among them.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._open: dict[str, Group] = {}

    def take(self, listed: Listed) -> Iterator[Group]:
        """Adds an object; gives the groups that are complete."""
        for object_id in list(self._open):
            if not listed.key.startswith(self._keys.data(object_id)):
                yield self._open.pop(object_id)
        self._add(listed)

    def rest(self) -> Iterator[Group]:
        """After the last object."""
        yield from self._open.values()

    def _add(self, listed: Listed) -> None:
        key, keys = listed.key, self._keys
        if (object_id := keys.object_of_info(key)) is not None:
            self._group(object_id, listed).has_record = True
        elif (own := keys.own(key)) is not None:
            group = self._group(own.object_id, listed)
            (group.tails if own.is_tail else group.notes).append(key)
        elif (object_id := keys.object_of_data(key)) is not None:
            self._group(object_id, listed).size = listed.size
        elif (object_id := keys.object_of_left_tail(key)) is not None:
            self._group(object_id, listed).has_left_tail = True

    def _group(self, object_id: str, listed: Listed) -> Group:
        group = self._open.setdefault(object_id, Group(object_id, listed.modified_at))
        group.modified_at = max(group.modified_at, listed.modified_at)
        return group
