"""Reports: each form tells the same verdicts, and is what its readers take."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from conformance.cli import FAILED, MISUSED, PASSED, chosen_rows, exit_code, main, target_of
from conformance.cli import parser as options_of
from conformance.report.console import Console
from conformance.report.documents import as_html, as_json, as_junit, as_markdown
from conformance.requirements import requirements
from conformance.target import UsageError
from conformance.verdict import Verdict
from tests.conformance.judging import judge
from tests.conformance.tiny import Response, Tiny, Upload

if TYPE_CHECKING:
    from conformance.runner import Report

ROWS = ["CORE-HEAD-04", "CORE-HEAD-07", "CORE-VER-02", "CHK-03"]
PROJECT = Path(__file__).parents[2]


class Cached(Tiny):
    extensions = ("creation",)

    def described(self, upload: Upload, response: Response) -> Response:
        return super().described(upload, response).set("Cache-Control", "max-age=60, <&>\x01")


@pytest.fixture(scope="module")
def report() -> Report:
    with Cached() as server:
        return judge(server.url, ROWS)


def test_the_verdicts(report: Report) -> None:
    assert {row: result.verdict for row, result in report.rows.items()} == {
        "CORE-HEAD-04": Verdict.PASS,
        "CORE-HEAD-07": Verdict.FAIL,
        "CORE-VER-02": Verdict.NOT_APPLICABLE,
        "CHK-03": Verdict.NOT_APPLICABLE,
    }
    assert exit_code(report) == FAILED


def test_json_has_the_verdicts_and_the_exchange(report: Report) -> None:
    told = json.loads(as_json(report))
    assert {row: each["verdict"] for row, each in told["rows"].items()} == {
        row: result.verdict.word for row, result in report.rows.items()
    }
    assert told["counts"]["FAIL"] == 1
    failed = [each for each in told["rows"]["CORE-HEAD-07"]["findings"] if each["exchange"]]
    assert "> HEAD /files/" in failed[0]["exchange"]


def test_junit_is_well_formed_whatever_the_server_sent(report: Report) -> None:
    suite = ElementTree.fromstring(as_junit(report))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    failure = suite.find("testcase[@name='CORE-HEAD-07']/failure")
    assert failure is not None
    assert failure.text is not None
    assert "expected Cache-Control: no-store" in failure.text


def test_html_escapes_what_the_server_sent(report: Report) -> None:
    page = as_html(report)
    assert "<&>" not in page
    assert "&lt;&amp;&gt;" in page
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br", "p", "link", "html", "body"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("p", "html", "body"):
                assert open_tags.pop() == tag

    Balance().feed(page)
    assert open_tags == []


def test_markdown_tells_what_failed(report: Report) -> None:
    told = as_markdown(report)
    assert "| CORE-HEAD-07 | MUST | FAIL |" in told
    assert "**FAIL CORE-HEAD-07**" in told


def test_the_console_tells_sentence_expectation_and_bytes(report: Report) -> None:
    out = io.StringIO()
    show = Console(out)
    show.begin(report.target, report.discovery, [])
    show.end(report)
    told = out.getvalue()
    assert requirements()["CORE-HEAD-07"].sentence[:40] in told
    assert "https://tus.io/protocols/resumable-upload#head" in told
    assert "expected  Cache-Control: no-store" in told
    assert "│ > HEAD /files/" in told
    assert "1 FAIL   1 PASS   2 N/A" in told


def test_words_for_rows() -> None:
    assert chosen_rows("") == list(requirements())
    assert chosen_rows("TERM-02,CHKT") == [
        row for row in requirements() if row == "TERM-02" or row.startswith("CHKT-")
    ]
    assert chosen_rows("CORE-*-01")[0] == "CORE-GEN-01"
    with pytest.raises(UsageError, match="NOPE names no row"):
        chosen_rows("NOPE")


@pytest.mark.parametrize(
    "options",
    [
        ["ftp://x/"],
        ["http://x/", "--header", "no colon"],
        ["http://x/", "--assume", "everything"],
    ],
)
def test_options_that_make_no_sense(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == MISUSED
    assert capsys.readouterr().out


def test_options_that_do() -> None:
    target = target_of(
        options_of().parse_args(
            ["http://x/", "--header", "A: b", "--assume", "checksum", "--slow", "--big-ok", "7"]
        )
    )
    assert (target.headers, target.is_slow, target.big_ok) == ((("A", "b"),), True, 7)
    assert target.assumed == {"checksum"}


def test_with_strict_a_warning_fails(tmp_path: Path) -> None:
    class Talkative(Tiny):
        """HEAD answers 206, which is a success of another kind: a SHOULD."""

        def described(self, upload: Upload, response: Response) -> Response:
            response = super().described(upload, response)
            response.status = 206
            return response

    with Talkative() as server:
        assert main([server.url, "--only", "CORE-HEAD-06", "--jobs", "1"]) == PASSED
        path = tmp_path / "report.json"
        arguments = [server.url, "--only", "CORE-HEAD-06", "--strict", "--json", str(path)]
        assert main(arguments) == FAILED
    assert '"WARN"' in path.read_text()


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://x/", "--only", "TERM", "--list"]) == PASSED
    assert capsys.readouterr().out.count("TERM-") >= 12


def test_the_page_names_how_many_rows_there_are() -> None:
    shown = sum(not row.is_for_clients for row in requirements().values())
    assert f"{shown} that a URL can show" in (PROJECT / "docs" / "conformance-suite.md").read_text()
