"""What a site lets in: the contract between the use cases and whoever sets limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tusserver.lock.base import Locker
    from tusserver.protocol.access import Caller
    from tusserver.protocol.decision import Append
    from tusserver.protocol.upload import Upload


class Admission(Protocol):
    """Asked before anything is stored, and told when something has gone."""

    async def start(self, locker: Locker) -> None:
        """`locker` has the locks of the uploads. Raises StoreUnusable with a sentence for the
        operator.
        """
        ...

    async def close(self) -> None:
        """Frees what `start` took."""
        ...

    async def admit(self, upload: Upload, caller: Caller | None) -> Upload:
        """The new upload as it may be created; what it takes of a quota is reserved. For the holder
        of its lock. Raises the TusError that refuses it.
        """
        ...

    async def grow(self, upload: Upload, plan: Append) -> Append:
        """Bytes are about to be stored; those that were not reserved, because the length was not
        known, are now. Returns the plan, perhaps with a lower limit. Raises the TusError that
        refuses them.
        """
        ...

    async def grown(self, upload: Upload) -> None:
        """No more bytes are on their way for now: what is not used is given back."""
        ...

    async def terminate(self, upload: Upload) -> None:
        """A client wants to end this upload. Raises the TusError that refuses it."""
        ...

    async def ended(self, upload: Upload) -> None:
        """The upload is finished, or refused; partial uploads, too."""
        ...

    async def removed(self, upload_id: str) -> None:
        """The upload does not exist any more, or never came to exist."""
        ...

    async def review(self, uploads: Sequence[Upload]) -> None:
        """These uploads have been found in the store: those that have never been admitted are
        counted, and those that a crash has left counted wrongly.
        """
        ...

    def review_all(self) -> AsyncIterator[None]:
        """Goes through all that is counted, in short steps, and forgets what is in the store no
        more.
        """
        ...

    @property
    def sniff_size(self) -> int:
        """How many bytes from the beginning `check_content` wants to see; 0: none."""
        ...

    def check_content(self, upload: Upload, first: bytes) -> None:
        """Raises the TusError that refuses an upload which begins so; `first` is all of it where it
        is shorter than `sniff_size`.
        """
        ...
