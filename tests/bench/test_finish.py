"""The measurement of a large file's finish runs, and sees what is there."""

from __future__ import annotations

from pathlib import Path

from bench.finish import measure

SIZE = 8 * 1024 * 1024


def test_a_file_is_measured_through_the_whole_finish(tmp_path: Path) -> None:
    figures = measure(SIZE, tmp_path, tmp_path, ("--digests", "sha256"))
    assert (figures.size, figures.place) == (SIZE, "anonymous/source.h5")
    assert figures.sending > 0
    assert figures.finishing > 0
    assert figures.peak_memory > 10 * 1024 * 1024
    # Nobody may have taken it for finished before the answer.
    assert all((status, offset) == (200, str(SIZE - 1)) for status, offset, _ in figures.seen)
    assert list(tmp_path.iterdir()) == [], "all is cleared away"
