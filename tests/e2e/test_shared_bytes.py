"""Joining on a file system where files can share bytes: it takes neither room nor time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import serving

MIB = 2**20


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A small btrfs of its own."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(128 * MIB)
    mount.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_final_upload_shares_the_bytes_of_its_partials(btrfs: Path) -> None:
    data = [os.urandom(6 * MIB), os.urandom(6 * MIB + 4096), os.urandom(1000)]
    with serving(btrfs / "uploads") as tus:
        parts = [tus.made(piece, {"Upload-Concat": "partial"}) for piece in data]
        finals = []
        os.sync()
        before = shutil.disk_usage(btrfs).used
        # Twice what the file system could hold if it had to copy.
        for _ in range(20):
            answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
            assert answer.status == 201, answer
            finals.append(tus.location(answer))
        assert shutil.disk_usage(btrfs).used - before < 12 * MIB
        tus.delete(parts[0])
        assert tus.content(finals[0]) == tus.content(finals[19]) == b"".join(data)
