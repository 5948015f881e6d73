"""Where a finished file goes: below the destination root, by a template and the metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.policy.naming import NameRefused, Template, matches_patterns, safe_folder
from tusserver.protocol import grammar
from tusserver.protocol.refusals import InvalidName, UploadRefused
from tusserver.store.base import PlaceRefused, PlacingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tusserver.protocol.upload import Upload


class Destinations:
    """Which places may be asked for. `allowed` are patterns of destinations; none: all."""

    def __init__(self, template: Template, allowed: Sequence[str] = ()) -> None:
        self._template = template
        self._allowed = tuple(allowed)

    @property
    def may_be_asked_for(self) -> bool:
        """Whether the destination that a client asks for has any effect."""
        return "{destination}" in self._template.text

    def check(self, upload: Upload, now: datetime) -> None:
        """Raises InvalidName for an upload that could not be placed; for a creation, before there
        is anything to lose.
        """
        try:
            self.place_of(upload, now)
        except NameRefused as error:
            raise InvalidName(str(error)) from None

    def place_of(self, upload: Upload, now: datetime) -> tuple[tuple[str, ...], str]:
        """Folders and name for this upload. Raises NameRefused."""
        metadata = text_metadata(upload)
        destination = metadata.get("destination", "")
        if not matches_patterns(safe_folder(destination), self._allowed):
            raise NameRefused(
                f"the destination {destination!r} is not one of {', '.join(self._allowed)}"
            )
        return self._template.expand(
            owner=upload.owner,
            destination=destination,
            filename=metadata.get("filename") or metadata.get("name") or "",
            upload_id=upload.upload_id,
            now=now,
        )


class PlaceStep:
    """Moves each upload to its place."""

    name = "place"

    def __init__(
        self,
        store: PlacingStore,
        destinations: Destinations,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._on_step = on_step

    def is_needed(self, upload: Upload) -> bool:
        assert upload.finish is not None
        return not upload.finish.place

    async def run(self, upload: Upload) -> Upload:
        try:
            # By the date of its creation, so that it is the same however often it is asked.
            folders, name = self._destinations.place_of(upload, upload.created_at)
            return await self._store.place(upload, folders, name, self._on_step)
        except (NameRefused, PlaceRefused) as error:
            raise UploadRefused("ERR_NOT_PLACED", str(error)) from error


def text_metadata(upload: Upload) -> dict[str, str]:
    """The metadata of an upload as texts."""
    return {
        key: value.decode("utf-8", "replace")
        for key, value in grammar.parse_metadata(upload.metadata)
    }
