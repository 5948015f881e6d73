"""Each mutant of the tiny server is caught by the row it breaks; the tiny server itself by none."""

from __future__ import annotations

import pytest

from conformance.verdict import Verdict
from tests.conformance.judging import judge, not_kept, with_verdict
from tests.conformance.mutants import mutants
from tests.conformance.score import examine_all
from tests.conformance.tiny import Tiny


def test_the_correct_server_keeps_everything() -> None:
    with Tiny() as server:
        # It makes no room for what is only announced.
        report = judge(server.url, big_ok=2**41)
    assert not_kept(report) == {}
    assert not report.down_after
    assert with_verdict(report, Verdict.UNVERIFIABLE) == {}


@pytest.mark.timeout(400)
def test_every_mutant_is_caught() -> None:
    """In one test, so that they can run at once: each mostly waits."""
    missed = {
        outcome.mutant.name: f"{outcome.mutant.row} {outcome.verdict.word}: {outcome.words}"
        for outcome in examine_all(mutants().values())
        if not outcome.is_caught
    }
    assert missed == {}
