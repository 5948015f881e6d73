"""Locks on uploads: one holder at a time, who can be asked to let go. Every locker passes
`tests/lock/contract.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tusserver.protocol.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.events.base import Bus


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

    @property
    def is_held(self) -> bool:
        """Whether the lock is certainly still ours. A lock that is held by a lease may be lost
        while we hold it, and once lost it stays lost: nothing may be changed any more, and nothing
        be acknowledged. The holder is asked to let go before that happens.
        """
        ...

    @property
    def fence(self) -> int:
        """Larger than that of every lock given before on the same uploads, where locks can be lost;
        else 0. A store that records it can refuse one who has lost the lock without knowing it.
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


@runtime_checkable
class BusLocker(Protocol):
    """A locker behind a connection that carries hints about uploads, too, while it is started."""

    @property
    def hints(self) -> Bus:
        """The bus between all processes that use these locks."""
        ...


class LockerUnusable(Exception):
    """The locker cannot work where it was told to; the message is one sentence for the operator."""


class LockLost(StorageUnavailable):
    """The lock ran out before the work under it was done. What is stored stays stored, and nothing
    of it has been acknowledged.
    """

    default_message = "the lock on the upload was lost; ask for the offset with HEAD and go on"


def require_held(lock: Lock) -> None:
    """To be called before each thing that must not be done twice or by two. Raises LockLost."""
    if not lock.is_held:
        raise LockLost
