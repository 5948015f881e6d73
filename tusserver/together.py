"""Several calls of a service at once, which fail as one call does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

T = TypeVar("T")

_AT_ONCE = 16


async def together(
    calls: Iterable[Coroutine[object, object, T]], *, at_once: int = _AT_ONCE
) -> list[T]:
    """What these come to, in their order; so many of them run at once.

    The first that fails ends all others, and none of them runs any more when its error is raised.
    """
    places = asyncio.Semaphore(at_once)

    async def in_turn(call: Coroutine[object, object, T]) -> T:
        try:
            async with places:
                return await call
        finally:
            # One that is cancelled before its turn has never been awaited.
            call.close()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_turn(call)) for call in calls]
    except* Exception as errors:  # noqa: BLE001 - it is raised again
        first = errors.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]
