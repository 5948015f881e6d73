"""The measurement of the clients runs, and would notice bytes that are not those of the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.clients import commands, measure, table

SIZE = 20 * 1024 * 1024


@pytest.mark.timeout(300)
def test_each_client_is_measured(tmp_path: Path) -> None:
    turns = list(measure(SIZE, 1, tmp_path))
    assert [turn.client for turn in turns].count("tus-js-client") == 1
    assert {turn.client for turn in turns} == set(commands())
    assert all(turn.cpu > 0 and turn.seconds > 0 for turn in turns)
    assert all(turn.size == SIZE for turn in turns)
    # tuspy reads the whole file into memory; ours does not.
    peaks = {turn.client: turn.peak_memory for turn in turns}
    assert peaks["tuspy"] > SIZE
    assert list(tmp_path.iterdir()) == [], "all is cleared away"
    assert all(name in table(turns) for name in commands())
