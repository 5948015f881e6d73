"""Rows, checks and mutants belong together: no row without a check, no check that cannot fail."""

from __future__ import annotations

from conformance.check import checks
from conformance.requirements import Level, requirements
from conformance.verdict import Verdict
from tests.conformance.mutants import mutants
from tests.conformance.score import without_mutant


def claimed() -> set[str]:
    return {row for each in checks().values() for row in each.rows}


def test_each_row_that_a_url_can_show_has_a_check() -> None:
    rows = {row.id for row in requirements().values() if not row.is_for_clients}
    assert sorted(rows - claimed()) == []


def test_no_check_claims_a_row_of_clients() -> None:
    rows = {row.id for row in requirements().values() if row.is_for_clients}
    assert sorted(rows & claimed()) == []


def test_each_row_that_can_fail_has_a_mutant() -> None:
    assert without_mutant() == []


def test_mutants_break_rows_that_are_checked() -> None:
    assert {each.row for each in mutants().values()} <= claimed()


def test_what_a_broken_row_comes_to() -> None:
    for row in requirements().values():
        if row.level is Level.MUST or row.concern == "safety":
            assert row.broken is Verdict.FAIL
        elif row.level is Level.MAY:
            assert row.broken is Verdict.INFO
        else:
            assert row.broken is Verdict.WARN
