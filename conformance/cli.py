"""The command: options, the run, the reports, and the exit code."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.check import checks
from conformance.discovery import TOKENS, NeedsCredentials, Unreachable, discover
from conformance.report import console, documents
from conformance.requirements import requirements
from conformance.runner import Runner
from conformance.target import Target, UsageError
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.runner import Report

PASSED, FAILED, MISUSED, UNJUDGED = 0, 1, 2, 3
"""Exit codes. UNJUDGED: the server is down or refuses strangers, so that it was not judged."""
_EXAMPLES = """\
examples:
  %(prog)s http://localhost:1080/files/
  %(prog)s https://example.org/files/ --header 'Authorization: Bearer …' --html report.html
  %(prog)s http://localhost:1080/files/ --only CORE-PATCH,CHK-* --slow
  %(prog)s http://localhost/files/ --unix-socket /run/tus.sock

exit code: 0 no FAIL (with --strict: and no WARN), 1 some, 2 wrong options,
           3 the server went down or could not be judged
"""


def parser(program: str | None = None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=program,
        description="Tells whether a server keeps the tus protocol, and bears the rest.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("url", help="where uploads are created, as http://localhost:1080/files/")
    _add_choice(made.add_argument_group("what to check"))
    _add_access(made.add_argument_group("how to reach the server"))
    _add_help_of_operator(made.add_argument_group("what an operator can lend a hand with"))
    reports = made.add_argument_group("reports")
    for kind in documents.WRITERS:
        reports.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write it as {kind}")
    return made


def _add_choice(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--only",
        default="",
        metavar="IDS",
        help="rows, groups or patterns between commas: CORE,CHK-*,TERM-08",
    )
    group.add_argument(
        "--assume",
        default="",
        metavar="EXT,…",
        help="extensions that are there although OPTIONS does not say so",
    )
    group.add_argument("--slow", action="store_true", help="also what takes minutes")
    group.add_argument(
        "--strict",
        action="store_true",
        help="other spellings of the same are failures, and warnings count",
    )
    group.add_argument("--jobs", type=int, default=4, help="checks that run at once [4]")
    group.add_argument("--list", action="store_true", help="print the rows, check nothing")


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'Name: value'",
        help="goes with every request; may be repeated",
    )
    group.add_argument("--unix-socket", metavar="PATH", help="speak through this socket")
    group.add_argument("--ca", metavar="FILE", help="certificates to trust")
    group.add_argument("--insecure", action="store_true", help="trust any certificate")
    group.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS",
                       help="how long an answer may take [15]")  # fmt: skip


def _add_help_of_operator(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--restart-cmd", metavar="CMD", help="kills (-9) and restarts the server")
    group.add_argument("--storage-dir", type=Path, metavar="DIR", help="where it keeps uploads")
    group.add_argument(
        "--upload-url-cmd",
        metavar="CMD",
        help="prints the URL of a new upload of {length} bytes, for servers "
        "without the creation extension",
    )
    group.add_argument(
        "--max-stall",
        type=float,
        default=180.0,
        metavar="SECONDS",
        help="how long it may keep a silent connection [180]",
    )
    group.add_argument(
        "--max-wait",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long an expiry is waited for [120]",
    )
    group.add_argument("--big-ok", type=int, default=2**30, metavar="BYTES",
                       help="uploads up to this may be announced [1 GiB]")  # fmt: skip


def target_of(options: argparse.Namespace) -> Target:
    """Raises UsageError."""
    assumed = frozenset(word for word in options.assume.split(",") if word)
    if unknown := assumed - TOKENS.keys():
        raise UsageError(
            f"--assume: no {', '.join(sorted(unknown))}; there are {', '.join(TOKENS)}"
        )
    return Target(
        url=options.url,
        headers=tuple(_header(line) for line in options.header),
        unix=options.unix_socket,
        authorities=options.ca,
        is_insecure=options.insecure,
        timeout=options.timeout,
        strict=options.strict,
        is_slow=options.slow,
        assumed=assumed,
        max_stall=options.max_stall,
        max_wait=options.max_wait,
        big_ok=options.big_ok,
        restart_command=options.restart_cmd,
        storage=options.storage_dir,
        upload_url_command=options.upload_url_cmd,
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {line!r} is not of the form 'Name: value'")
    return name.strip(), value.strip()


def chosen_rows(only: str) -> list[str]:
    """The rows that these words name. Raises UsageError for a word that names none."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    found = set()
    for word in words:
        named = {row for row in requirements() if _names(word, row)}
        if not named:
            raise UsageError(f"--only: {word} names no row; see --list")
        found |= named
    return [row for row in requirements() if not words or row in found]


def _names(word: str, row: str) -> bool:
    return row == word or row.startswith(f"{word}-") or fnmatchcase(row, word)


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Runs the suite; the exit code. `program` is what the help calls it."""
    options = parser(program).parse_args(arguments)
    show = console.Console(sys.stdout)
    try:
        rows = chosen_rows(options.only)
        if options.list:
            show.listing(rows)
            return PASSED
        target = target_of(options)
        discovery = discover(target)
    except UsageError as error:
        show.error(str(error))
        return MISUSED
    except Unreachable as error:
        show.error(f"{error}. Is the server running, and the URL right?")
        return UNJUDGED
    except NeedsCredentials as error:
        show.error(f"The server needs credentials: {error}. Give them with --header.")
        return UNJUDGED
    wanted = [check for check in checks().values() if set(check.rows) & set(rows)]
    show.begin(target, discovery, wanted)
    runner = Runner(target, discovery, jobs=options.jobs, tell=show.done)
    report = runner.run(wanted, rows)
    show.end(report)
    for kind, write in documents.WRITERS.items():
        if path := getattr(options, kind):
            path.write_text(write(report), encoding="utf-8")
    return exit_code(report)


def exit_code(report: Report) -> int:
    if report.down_after:
        return UNJUDGED
    worst = Verdict.WARN if report.target.strict else Verdict.FAIL
    return FAILED if any(row.verdict >= worst for row in report.rows.values()) else PASSED
