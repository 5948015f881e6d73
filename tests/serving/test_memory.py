"""Freed memory stays for the next message, and is given back once in a while."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio
from tusserver.serving.memory import give_back_memory, keep_freed_memory

MIB = 1024 * 1024

def resident():
    with open("/proc/self/statm") as lines:
        return int(lines.read().split()[1]) * 4096 / MIB

keep_freed_memory()
before = resident()
messages = [bytearray(256 * 1024) for _ in range(256)]
pins = [bytes(1024) for _ in range(64)]
full = resident()
del messages
kept = resident()
asyncio.run(give_back_memory())
print(full - before, kept - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is a matter of glibc")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30
    )
    full, kept, left = (float(word) for word in done.stdout.split())
    assert full > 60
    assert kept > 60, "the next message would have to fetch it again"
    assert left < 10
