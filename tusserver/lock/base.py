"""Locks on uploads: one holder at a time, who can be asked to let go. Every locker passes
`tests/lock/contract.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Lock(Protocol):
    """A held lock."""

    @property
    def release_requested(self) -> bool:
        """Somebody else waits for this upload."""
        ...

    def on_release_request(self, callback: Callable[[], None]) -> None:
        """Calls this on the event loop once somebody asks for the upload; at once if that has
        happened already.
        """
        ...

    async def release(self) -> None:
        """Lets go. Never raises and never waits for others."""
        ...


class Locker(Protocol):
    """Gives out locks; those of a process that dies are free at once."""

    async def start(self) -> None:
        """Makes the locker ready. Raises LockerUnusable with a sentence for the operator."""
        ...

    async def close(self) -> None:
        """Frees what `start` took."""
        ...

    async def try_acquire(self, upload_id: str) -> Lock | None:
        """The lock if nobody holds it, else None, and then the holder is not disturbed."""
        ...

    async def acquire(self, upload_id: str, wait: float) -> Lock:
        """The lock, after asking the holder to let go and waiting for that at most `wait` seconds.

        Raises UploadLocked when the time is over.
        """
        ...


class LockerUnusable(Exception):
    """The locker cannot work where it was told to; the message is one sentence for the operator."""
