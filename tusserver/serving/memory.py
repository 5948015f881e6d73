"""How the C library treats memory that is free again."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from typing import Any

# Names and numbers from <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MIB = 1024 * 1024
TRIM_INTERVAL = 60.0
"""Seconds between two times at which freed memory is given back after all."""


def keep_freed_memory() -> None:
    """Lets freed memory stay with the process, where the C library is glibc.

    Each message of a body is a few hundred KiB, which glibc gives back to the system when it is
    freed, to get it back, page by page and wiped, for the next: half of what receiving costs. The
    most that is ever in use does not grow by this. All threads share one arena: with one each, what
    is kept is kept up to sixteen times (measured: 216 MiB and rising, of which 26 were in use), and
    threads that mostly wait for the interpreter's lock do not wait for that of the allocator.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is None:
        return
    for parameter, value in (
        (_M_MMAP_THRESHOLD, 32 * _MIB),
        (_M_TRIM_THRESHOLD, 512 * _MIB),
        (_M_TOP_PAD, 16 * _MIB),
        (_M_ARENA_MAX, 1),
    ):
        mallopt(parameter, value)


async def give_back_memory() -> None:
    """Gives back whole pages that are free at the moment.

    Once in a while this costs nothing (measured: some milliseconds, in a thread), and what a busy
    hour has left in pieces between the objects of slow clients does not stay for ever.
    """
    trim = _of_libc("malloc_trim")
    if trim is not None:
        await asyncio.to_thread(trim, 0)


def _of_libc(name: str) -> Any:  # noqa: ANN401 - whatever ctypes makes of it
    """A function of glibc; None where the C library is another."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
