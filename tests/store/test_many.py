"""With very many uploads on disk: memory stays bounded, and a start looks at none of them."""

from __future__ import annotations

import asyncio
import builtins
import gc
import io
import json
import os
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tusserver import sweeper as sweeper_module
from tusserver.cli.main import cli
from tusserver.lock.memory import MemoryLocker
from tusserver.rules import UploadsOptions
from tusserver.store.file import FileStore, FileStoreOptions, Sync
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

MANY = 10_000
ROOM = 500_000
"""Bytes. Full caches take two thirds of it while they are renewed; the ids of so many uploads would
take a whole one more.
"""


def fill(root: Path, count: int, *, synced: int | None = None, age: float = 0) -> None:
    """So many uploads in folders, half of their bytes stored so many seconds ago; `synced`: then
    there was another boot.
    """
    for number in range(count):
        folder = root / f"{number % 2:02x}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:030x}"
        record: dict[str, object] = {"ID": f"{folder.name}/{path.name}", "Size": 10}
        if synced is not None:
            record["tusserver"] = {"synced": {"boot_id": "another", "offset": synced}}
        (folder / f"{path.name}.info").write_text(json.dumps(record))
        path.write_bytes(b"hello")
        if age:
            then = path.stat().st_mtime - age
            os.utime(path, (then, then))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many") / "uploads"
    fill(root, MANY)
    return root


async def exhaust(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


async def peak_of(work: Callable[[], Awaitable[object]]) -> int:
    """Bytes that this needs at most for a while, once all caches are full."""
    tracemalloc.start()
    try:
        await work()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        await work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


async def opened(root: Path) -> Uploads:
    store = FileStore(root, FileStoreOptions(Sync.NONE))
    uploads = Uploads(store, MemoryLocker(), UploadsOptions(expires_after=timedelta(hours=24)))
    await uploads.start()
    return uploads


@pytest.mark.parametrize("what", ["ids", "findings", "sweep again"])
async def test_memory_is_bounded(root: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "_REST", 0)
    uploads = await opened(root)
    sweeper, store = Sweeper(uploads), uploads.store
    assert isinstance(store, FileStore)
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "ids": lambda: exhaust(store.ids()),
        "findings": lambda: exhaust(store.findings()),
        "sweep again": sweeper._sweep_gently,
    }
    assert await peak_of(works[what]) < ROOM
    await uploads.close()


class Sink(io.TextIOBase):
    """Counts lines."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


@pytest.mark.parametrize(("command", "synced"), [("sweep", None), ("verify", 2)])
def test_commands_need_no_memory_for_each_upload(
    tmp_path: Path, command: str, synced: int | None
) -> None:
    """All of them are told: as expired, or as left open by a loss of power."""
    fill(tmp_path, MANY, synced=synced, age=25 * 3600)
    sink = Sink()
    arguments = [command, "--dry-run", "--upload-dir", str(tmp_path), "--sync", "none"]

    async def run() -> None:
        with redirect_stdout(sink):
            await asyncio.to_thread(cli.main, arguments, standalone_mode=False)

    assert asyncio.run(peak_of(run)) < ROOM
    assert sink.lines >= 2 * MANY


def calls_of_a_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a starting server looks at files or directories."""
    calls = Counter[str]()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            calls[name] += 1
            return function(*args, **kwargs)

        return count

    async def start() -> None:
        await (await opened(root)).close()

    asyncio.run(start())  # What is made once has been made now.
    with monkeypatch.context() as patch:
        for name in ("open", "stat", "lstat", "scandir", "listdir", "access"):
            patch.setattr(os, name, counting(name, getattr(os, name)))
        patch.setattr(builtins, "open", counting("open", open))
        asyncio.run(start())
    return calls


def test_a_start_looks_at_no_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "many", 300)
    few = calls_of_a_start(tmp_path / "few", monkeypatch)
    assert few["open"] > 0
    assert calls_of_a_start(tmp_path / "many", monkeypatch) == few
