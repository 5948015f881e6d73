"""Finished uploads as other programs get them: copied inside the service, below another prefix."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Lacking
from tusserver.checking.bucket_objects import BUCKET, WRITE
from tusserver.checking.bucket_trial import MEDIA_TYPE
from tusserver.store.bucket import ObjectMissing, Superseded
from tusserver.store.collisions import OnCollision

if TYPE_CHECKING:
    from tusserver.checking.bucket_trial import Trial
    from tusserver.store.object_places import Destination

_PLACE = "place a finished upload"
_OVER = "place nothing over another"
_DATA = b"A check of tusserver; may be removed.\n"


def place_checks(trial: Trial, destination: Destination | None) -> tuple[Check, ...]:
    """Those of a store that has this destination; None: uploads stay where they are."""
    return () if destination is None else PlaceChecks(trial, destination).checks()


class PlaceChecks:
    """What is done with finished uploads of a store that has this destination."""

    def __init__(self, trial: Trial, destination: Destination) -> None:
        self._trial = trial
        self._bucket = trial.bucket
        self._is_new = destination.on_collision is not OnCollision.REPLACE
        self._key = f"{destination.prefix}.tusserver-check-{secrets.token_hex(8)}"

    def checks(self) -> tuple[Check, ...]:
        """In the order in which they build on each other."""
        over = (Check(_OVER, self._place_again, after=(_PLACE,)),) if self._is_new else ()
        return (Check(_PLACE, self._place, after=(BUCKET, WRITE)), *over)

    async def _place(self) -> Found:
        await self._copy(_DATA, self._trial.plain_id)
        await self._assert_placed("the copy has other bytes than the upload")
        if await self._bucket.marked(self._key) != self._trial.plain_id:
            text = "the copy came back without its mark, or with another"
            raise Lacking(text, "after a crash it would be made once more: see what drops metadata")
        return Found(self._key)

    async def _copy(self, data: bytes, upload_id: str) -> None:
        source = self._trial.new_key()
        await self._bucket.put(source, data)
        multipart = await self._bucket.begin_copy(self._key, upload_id, MEDIA_TYPE)
        self._trial.began_copy(self._key, multipart)
        await self._bucket.copy(
            source, len(data), self._key, multipart, upload_id, is_new=self._is_new
        )

    async def _assert_placed(self, text: str) -> None:
        try:
            is_placed = (await self._bucket.get(self._key)).data == _DATA
        except ObjectMissing:
            is_placed = False
        if not is_placed:
            raise Lacking(text, self._trial.service.is_broken)

    async def _place_again(self) -> Found:
        advice = "files of others could be lost: use --on-collision replace only, or no prefix"
        with suppress(Superseded):
            await self._copy(b"of another upload", self._trial.joined_id)
            text = "a second copy with If-None-Match: * was accepted, over the first one"
            raise Lacking(text, advice)
        await self._assert_placed("a copy was refused, and done all the same")
        return Found()
