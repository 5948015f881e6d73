"""The command `tests.e2e.real_input` on a small file: what it does with gigabytes works at all."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.e2e.real_input import (
    MEBI,
    PEAK_LIMIT,
    WAYS,
    Result,
    Source,
    make_source,
    run_way,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def files_of_tuspy() -> Iterator[None]:
    """tuspy opens its file anew for each request and never closes it; no later test shall hear."""
    yield
    gc.collect()


SIZE = 64 * MEBI


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("real") / "source.tar", SIZE)


@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
@pytest.mark.parametrize("way", WAYS)
def test_real_bytes_come_back(source: Source, tmp_path: Path, way: str, workers: int) -> None:
    result = run_way(way, source, tmp_path, workers)
    assert result.faults(source) == []


def test_a_difference_and_too_much_memory_are_told(source: Source) -> None:
    result = Result("a way", "0" * 64, 1.0, [PEAK_LIMIT, PEAK_LIMIT + 1], [])
    assert len(result.faults(source)) == 2
