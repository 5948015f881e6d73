"""The measurement of a large file's finish runs, and sees what is there."""

from __future__ import annotations

from pathlib import Path

from bench.finish import measure

SIZE = 64 * 1024 * 1024
ALL = "sha256,sha512,sha1,md5"
"""Long enough that a client can look meanwhile."""


def test_a_file_is_measured_through_the_whole_finish(tmp_path: Path) -> None:
    figures = measure(SIZE, tmp_path, tmp_path, ("--digests", ALL))
    assert (figures.size, figures.place) == (SIZE, "anonymous/source.h5")
    assert figures.sending > 0
    assert figures.finishing > 0
    assert 10 * 2**20 < figures.peak_memory < 100 * 2**20
    # Nobody may have taken it for finished before the answer; the last look may be behind it.
    offsets = [int(offset) for status, offset, _ in figures.seen if status == 200]
    assert len(offsets) == len(figures.seen)
    assert SIZE - 1 in offsets
    assert all(offset < SIZE for offset in offsets[:-1])
    assert list(tmp_path.iterdir()) == [], "all is cleared away"
