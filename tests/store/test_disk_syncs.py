"""Syncs of several files at once, by the kernel and by threads."""

from __future__ import annotations

import asyncio
import errno
import os
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tusserver.store import kernel_syncs
from tusserver.store.calls import Calls, Placement
from tusserver.store.disk_syncs import DiskSyncs, Job, ThreadSyncs
from tusserver.store.kernel_syncs import KernelSyncs

pytestmark = pytest.mark.anyio


def by_kernel(directory: Path) -> KernelSyncs:
    syncs = KernelSyncs.open(directory)
    if syncs is None:
        pytest.skip("this system does not let us")
    return syncs


@pytest.fixture(params=["kernel", "threads"])
async def syncs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DiskSyncs]:
    calls = Calls(Placement.THREADS)
    made = by_kernel(tmp_path) if request.param == "kernel" else ThreadSyncs(calls)
    yield made
    made.close()
    calls.close()


@pytest.fixture
def files(tmp_path: Path) -> list[int]:
    """Descriptors of ten files with something in them."""
    found = [os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR) for number in range(10)]
    for descriptor in found:
        os.write(descriptor, b"something")
    return found


def jobs_of(files: list[int]) -> list[Job]:
    return [Job(descriptor, is_data_only=bool(descriptor % 2)) for descriptor in files]


async def test_files_and_directories_are_synced(
    syncs: DiskSyncs, files: list[int], tmp_path: Path
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    assert await syncs.all([*jobs_of(files), Job(directory)]) == [None] * 11


async def test_each_file_has_its_own_error(syncs: DiskSyncs, files: list[int]) -> None:
    reader, writer = os.pipe()
    closed = os.dup(reader)
    os.close(closed)
    jobs = [Job(files[0]), Job(reader), Job(files[1]), Job(closed), Job(writer), Job(files[2])]
    errors = await syncs.all(jobs)
    found = [error and error.errno for error in errors]
    assert found == [None, errno.EINVAL, None, errno.EBADF, errno.EINVAL, None]


async def test_any_number_of_files_may_be_synced(
    files: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_syncs, "_SLOTS", 3)
    syncs = by_kernel(tmp_path)
    batches = [jobs_of(files), jobs_of(files[:2]), jobs_of(files)]
    found = await asyncio.wait_for(asyncio.gather(*map(syncs.all, batches)), 20)
    assert found == [[None] * 10, [None] * 2, [None] * 10]
    syncs.close()


async def test_what_the_disk_could_not_write_is_an_error(
    files: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = by_kernel(tmp_path)
    unpack = kernel_syncs._EVENT.unpack_from

    class FailedEvent:
        size = kernel_syncs._EVENT.size

        @staticmethod
        def unpack_from(buffer: object, offset: int) -> tuple[int, int, int, int]:
            slot, request, _, second = unpack(buffer, offset)  # type: ignore[arg-type]
            return slot, request, -errno.EIO, second

    monkeypatch.setattr(kernel_syncs, "_EVENT", FailedEvent)
    errors = await syncs.all(jobs_of(files[:2]))
    assert [error and error.errno for error in errors] == [errno.EIO, errno.EIO]
    syncs.close()


async def test_a_caller_that_is_gone_harms_nobody(files: list[int], tmp_path: Path) -> None:
    syncs = by_kernel(tmp_path)
    syncs.all(jobs_of(files)).cancel()
    assert await syncs.all(jobs_of(files)) == [None] * 10
    syncs.close()


async def test_unknown_processors_and_strict_sandboxes_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "pdp11")
        assert KernelSyncs.open(tmp_path) is None
    call = kernel_syncs._call
    for refused in kernel_syncs._NUMBERS.get(platform.machine(), ())[::3]:  # setup and submit
        with monkeypatch.context() as patch:
            patch.setattr(
                kernel_syncs, "_call", lambda number, *rest, refused=refused:
                -1 if number == refused else call(number, *rest),
            )  # fmt: skip
            before = os.listdir("/proc/self/fd")
            assert KernelSyncs.open(tmp_path) is None
            assert os.listdir("/proc/self/fd") == before
