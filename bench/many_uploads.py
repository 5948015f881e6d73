"""The very many uploads of `bench.many`: made as a server leaves them, the same ones each time."""

from __future__ import annotations

import json
import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HOUR, DAY = 3600, 86400
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SAMPLE = 2000
"""How many of them are asked for."""


class State(NamedTuple):
    """How an upload that is made stands: bytes stored, age in seconds, whether it is a partial."""

    offset: int
    age: float
    is_partial: bool = False


def a_state(chance: random.Random, length: int) -> State:
    """Three of four finished and kept for ever, most others under way, some just created."""
    kind = chance.random()
    if kind < 0.75:
        return State(length, chance.uniform(0, 30 * DAY))
    if kind < 0.95:
        return State(length // 2, chance.uniform(0, 20 * HOUR))
    if kind < 0.98:
        return State(0, chance.uniform(0, 20 * HOUR))
    return State(length, chance.uniform(0, 20 * HOUR), is_partial=True)


def an_id(chance: random.Random, levels: int) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    folders = [digits[2 * level : 2 * level + 2] for level in range(levels)]
    return "/".join((*folders, digits[2 * levels :]))


def write_upload(root: Path, upload_id: str, length: int, state: State, boot_id: str) -> None:
    """As the server leaves it; the bytes are a hole, since nobody reads them."""
    path = f"{root}/{upload_id}"
    then = time.time() - state.age
    record = {
        "ID": upload_id, "Size": length, "SizeIsDeferred": False, "Offset": 0,
        "MetaData": {"filename": "climate.nc"}, "IsPartial": state.is_partial, "IsFinal": False,
        "PartialUploads": None,
        "Storage": {"Type": "filestore", "Path": path, "InfoPath": f"{path}.info"},
        "tusserver": {
            "created_at": datetime.fromtimestamp(then, UTC).isoformat(),
            "metadata": "filename Y2xpbWF0ZS5uYw==",
            "synced": {"boot_id": boot_id, "offset": state.offset},
        },
    }  # fmt: skip
    with open(f"{path}.info", "xb", buffering=0) as file:
        file.write(json.dumps(record, separators=(",", ":")).encode())
    with open(path, "xb", buffering=0) as file:
        file.truncate(state.offset)
        os.utime(file.fileno(), (then, then))


def populate(root: Path, count: int, levels: int) -> None:
    """So many uploads below `root`, the same ones each time."""
    chance, boot_id = random.Random(levels + 1), BOOT_ID.read_text().strip()
    root.mkdir()
    folders = {""}
    for number in range(count):
        upload_id, length = an_id(chance, levels), 1000 + number % 5000
        folder = upload_id.rpartition("/")[0]
        if folder not in folders:
            os.makedirs(root / folder)
            folders.add(folder)
        write_upload(root, upload_id, length, a_state(chance, length), boot_id)


def expire_one(root: Path, levels: int) -> None:
    """One more upload, whose time is over: the server logs the sweep that finds it."""
    upload_id = an_id(random.Random(), levels)
    os.makedirs((root / upload_id).parent, exist_ok=True)
    write_upload(root, upload_id, 10, State(5, 30 * HOUR), BOOT_ID.read_text().strip())


def some_ids(root: Path, count: int, levels: int) -> list[str]:
    """Of the uploads that `populate` has made, the last ones it made in this many steps."""
    chance = random.Random(levels + 1)
    step, found = max(1, count // SAMPLE), []
    for number in range(count):
        upload_id = an_id(chance, levels)
        a_state(chance, 1)
        if number % step == 0:
            found.append(upload_id)
    return [upload_id for upload_id in found if (root / upload_id).exists()]
