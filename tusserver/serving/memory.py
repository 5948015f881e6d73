"""How the C library treats memory that is free again."""

from __future__ import annotations

import ctypes
import sys

# Names and numbers from <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MIB = 1024 * 1024


def keep_freed_memory() -> None:
    """Lets freed memory stay with the process, where the C library is glibc.

    Each message of a body is a few hundred KiB, which glibc gives back to the system when it is
    freed, to get it back, page by page and wiped, for the next: half of what receiving costs. The
    most that is ever in use does not grow by this. All threads share one arena: with one each, what
    is kept is kept up to sixteen times (measured: 216 MiB and rising, of which 26 were in use), and
    threads that mostly wait for the interpreter's lock do not wait for that of the allocator.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in (
        (_M_MMAP_THRESHOLD, 32 * _MIB),
        (_M_TRIM_THRESHOLD, 512 * _MIB),
        (_M_TOP_PAD, 16 * _MIB),
        (_M_ARENA_MAX, 1),
    ):
        mallopt(parameter, value)
