"""Several calls of a service at once, which fail as one call does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

T = TypeVar("T")

_AT_ONCE = 16


async def together(
    calls: Iterable[Coroutine[object, object, T]], *, at_once: int = _AT_ONCE
) -> list[T]:
    """What these come to, in their order; so many of them run at once.

    One that fails ends all others, and none of them runs any more when its error is raised. Who is
    cancelled meanwhile is cancelled, whatever the others fail of: `asyncio.TaskGroup` of Python
    3.11 would raise their errors instead.
    """
    places = asyncio.Semaphore(at_once)

    async def in_turn(call: Coroutine[object, object, T]) -> T:
        async with places:
            return await call

    tasks = [_task(in_turn(call), call) for call in calls]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _ended(tasks)
    failed = next((task for task in tasks if not task.cancelled() and task.exception()), None)
    return [task.result() for task in ([failed] if failed else tasks)]


def _task(
    turn: Coroutine[object, object, T], call: Coroutine[object, object, T]
) -> asyncio.Task[T]:
    task = asyncio.create_task(turn)
    # One that is cancelled before its turn has never been awaited.
    task.add_done_callback(lambda _: call.close())
    return task


async def _ended(tasks: Sequence[asyncio.Task[T]]) -> None:
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # All but one of them are told to nobody.
