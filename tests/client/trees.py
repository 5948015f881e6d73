"""Folders of files to send, and whether they have come."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 16 * 1024 * 1024


def make(folder: Path, sizes: dict[str, int]) -> Path:
    """Files with random bytes of these sizes, by their names below the folder."""
    source = random.Random(7)
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(source.randbytes(min(_BLOCK, size - start)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files below, by their names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def mixed(count: int) -> dict[str, int]:
    """Names and sizes of files as a run of a simulation leaves them."""
    source = random.Random(11)
    kinds = ("log", "csv", "json", "dat")
    return {
        f"{'abc'[index % 3]}/step {index // 20}/{index}.{kinds[index % 4]}": source.choice(
            (0, 1, 700, 4096, 30_000, 200_000)
        )
        for index in range(count)
    }
