"""What locks between the processes of one host need: the kernel's locks and datagrams, where the
server will keep them. Linux only, as they are.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

from tusserver.checking.base import Found, Lacking
from tusserver.lock.base import LockerUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from tusserver.lock.base import Locker

_PATIENCE = 5.0
_ELSEWHERE = "keep uploads on another file system, or use one worker with --lock memory"


async def try_file_locks(directory: Path) -> Found:
    """Takes, refuses and hands over a lock that nobody else wants. Raises Lacking."""
    ours, other = _locker(directory), _locker(directory)
    try:
        for locker in (ours, other):
            await locker.start()
        await _hand_over(ours, other)
    except LockerUnusable as error:
        raise Lacking(str(error), _ELSEWHERE) from error
    finally:
        await ours.close()
        await other.close()
    return Found("taken, refused to another process, and handed over")


def _locker(directory: Path) -> Locker:
    if sys.platform == "linux":
        from tusserver.lock.file import FileLocker

        return FileLocker(directory)
    raise Lacking("this system has no such locks", _ELSEWHERE)


async def _hand_over(ours: Locker, other: Locker) -> None:
    name = f"check-{secrets.token_hex(16)}"
    lock = await ours.try_acquire(name)
    if lock is None:
        raise Lacking("a lock that nobody has is not given out", _ELSEWHERE)
    if await other.try_acquire(name) is not None:
        raise Lacking("a lock that is held was given out once more", _ELSEWHERE)
    asked = asyncio.Event()
    lock.on_release_request(asked.set)
    taking = asyncio.create_task(other.acquire(name, _PATIENCE))
    try:
        async with asyncio.timeout(_PATIENCE):
            await asked.wait()
    except TimeoutError:
        raise Lacking("the holder did not hear that its lock is wanted", _ELSEWHERE) from None
    finally:
        await lock.release()
        await (await taking).release()
