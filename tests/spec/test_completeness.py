"""Every row of the check list that binds a server is named by a test, and tests name no others."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
REQUIREMENTS = TESTS.parent / "conformance" / "requirements.toml"


def named_rows() -> dict[str, list[str]]:
    """The ids in all `@spec(…)` marks, with the tests that name them; read from the source, so that
    it does not matter which tests this run selects.
    """
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in node.decorator_list:
                for row in _rows(decorator):
                    found.setdefault(row, []).append(f"{path.name}::{node.name}")
    return found


def _rows(decorator: ast.expr) -> list[str]:
    if not (isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name)):
        return []
    if decorator.func.id != "spec":
        return []
    return [str(ast.literal_eval(argument)) for argument in decorator.args]


def server_rows() -> set[str]:
    """Rows that can be shown at a server: all but those that need a client under test."""
    rows = tomllib.loads(REQUIREMENTS.read_text())
    return {row for row, entry in rows.items() if entry["needs"] != ["client"]}


def test_each_row_that_binds_a_server_is_named_by_a_test() -> None:
    missing = sorted(server_rows() - named_rows().keys())
    assert not missing, f"{len(missing)} rows without a test: {' '.join(missing)}"


def test_tests_name_only_rows_that_exist() -> None:
    unknown = {row: tests for row, tests in named_rows().items() if row not in server_rows()}
    assert not unknown
