"""The body of a request as the use cases see it, and work on it that no cancellation tears."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from tusserver.protocol.decision import Outcome
from tusserver.store.base import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from tusserver.protocol.errors import Header

_T = TypeVar("_T")


class RequestBody(Body, Protocol):
    """The body of one request as the shell offers it."""

    @property
    def trailers(self) -> Iterable[Header]:
        """The trailer fields; complete once the body has ended."""
        ...

    def bound(self, limit: int | None) -> None:
        """From now on at most `limit` bytes are given out, then reading raises TOO_LONG."""
        ...

    def on_stop(self, callback: Callable[[], None]) -> None:
        """`callback` is called if the server stops before the request is answered, where it can
        tell.
        """
        ...

    def hold_cancellation(self) -> bool:
        """A cancellation of the request only interrupts the body from now on; False where nobody
        can promise that.
        """
        ...

    def release_cancellation(self) -> None:
        """Ends that."""
        ...


async def uncancelled(section: Coroutine[None, None, _T], body: RequestBody | None) -> _T:
    """Runs a section to its end, also when the request that asked for it is cancelled meanwhile."""
    if body is not None and body.hold_cancellation():
        try:
            return await section
        finally:
            body.release_cancellation()
    task = asyncio.ensure_future(section)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if body is not None:
            body.interrupt(Outcome.CANCELLED)
        while not task.done():
            # Some frameworks cancel again and again until the request has ended.
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # Nobody is left to hear of it.
        raise
