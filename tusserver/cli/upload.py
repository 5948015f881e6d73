"""`tusserver upload`: files and folders to a tus server, however bad the network is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from tusserver.cli.options import setting_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.client.observing import Display, Outcome
    from tusserver.client.planning import Plan
    from tusserver.client.sources import Source
    from tusserver.client.tokens import Tokens

OK, FAILED, USAGE, REFUSED, SIGNALLED = 0, 1, 2, 3, 128
AT_ONCE = 3
"""Connections, unless the user says how many."""
WIDE = 400
"""Columns of a table that is written elsewhere than to a terminal."""
_SHOWN = 20
"""How many good files the table names; those that failed are all there."""


def token_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--token-file` and `--token`'s variable; the command hands them to `tokens_from`."""
    option = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Send the bearer token in this file; it is read again when the server says 401."
        " Without: the token in the variable TUSSERVER_TOKEN, if it is set.",
    )
    return option(command)


retries_option = click.option(
    "--retries",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How often to try again without any progress, after 1, 2, 4 … 30 s.",
)


def require_client() -> None:
    """Raises click.ClickException if tuspy is not installed."""
    try:
        import tusclient  # noqa: F401 - only whether it is there
    except ModuleNotFoundError as error:
        text = "this command needs tuspy: pip install 'tusserver[client]'"
        raise click.ClickException(text) from error


def tokens_from(token_file: Path | None) -> Tokens:
    """Raises click.UsageError."""
    import os

    from tusserver.client.errors import Unreadable
    from tusserver.client.tokens import Tokens

    try:
        return Tokens(file=token_file, fixed=os.environ.get("TUSSERVER_TOKEN"))
    except Unreadable as error:
        raise click.UsageError(error.message) from error


def checked_url(url: str) -> str:
    """Raises click.BadParameter."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.BadParameter(f"{url!r} is no URL as https://host/files/")
    return url


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--to", "url", envvar="TUSSERVER_URL", required=True, help="Where uploads are created."
)
@click.option("--destination", default="", help="Where the server shall put them.")
@click.option("--name", default="stdin", show_default=True, help="File name of standard input.")
@token_options
@click.option(
    "--chunk-size", type=setting_kind("size"), help="Send requests of this size; without: one."
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    help="Connections at once. Without: three, one for each file. If you say how many, files from"
    " 32 MiB on go in parts over several, where the server can join them.",
)
@click.option("--checksum", is_flag=True, help="Have the server verify each chunk (SHA-1).")
@click.option(
    "--resume/--no-resume", default=True, help="Go on with what an earlier run has begun."
)
@retries_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines for scripts.")
def upload(*, files: tuple[str, ...], url: str, as_json: bool, **values: Any) -> int:
    """Upload files, and folders with all that is in them.

    A folder brings its name along, but not with a slash behind it. - is standard input. After an
    interruption the same command goes on where it was.

    \b
    Examples:
      tusserver upload results.h5 --to https://portal.example/files/
      tusserver upload run1 --destination jobs/42 --token-file ~/.token --parallel 4
      tar c run1 | tusserver upload - --name run1.tar
      export TUSSERVER_URL=https://portal.example/files/

    \b
    Exit codes:
      0  all files are there            2    the command is wrong
      1  some failed; try again         3    refused for good
                                        130  interrupted
    """
    require_client()
    try:
        return _upload(files, checked_url(url), as_json=as_json, **values)
    except KeyboardInterrupt:
        return SIGNALLED + 2


def _upload(
    files: tuple[str, ...],
    url: str,
    *,
    destination: str,
    name: str,
    token_file: Path | None,
    resume: bool,
    parallel: int | None,
    as_json: bool,
    **plan: Any,
) -> int:
    from tusserver.client.errors import Unreadable
    from tusserver.client.planning import Plan
    from tusserver.client.sources import find
    from tusserver.client.storage import UrlStorage, state_folder

    try:
        found = find(files, destination, name)
    except Unreadable as error:
        raise click.UsageError(error.message) from error
    for left_out in found.left_out:
        click.echo(f"tusserver: left out: {left_out}", err=True)
    tokens = tokens_from(token_file)
    try:
        storage = UrlStorage(state_folder()) if resume else None
        in_parts, parallel = parallel is not None, parallel or AT_ONCE
        chosen = Plan(url, tokens, storage, parallel=parallel, in_parts=in_parts, **plan)
        return _run(chosen, found.sources, as_json=as_json)
    except OSError as error:
        text = f"cannot remember uploads: {error.strerror} ({error.filename}); see --no-resume"
        raise click.ClickException(text) from error


def _run(plan: Plan, sources: Sequence[Source], *, as_json: bool) -> int:
    from tusserver.client.batch import Batch
    from tusserver.client.display import Bars, JsonLines, Lines, bars

    def run(display: Display) -> tuple[list[Outcome], int]:
        batch = Batch(plan, display)
        outcomes = batch.run(sources)
        return outcomes, exit_code(outcomes, batch.stop.signal)

    console = Console(stderr=True)
    if as_json:
        lines = JsonLines(sys.stdout)
        outcomes, code = run(lines)
        lines.summary(outcomes, code)
        return code
    if console.is_terminal:
        with bars(console) as progress:
            outcomes, code = run(Bars(progress, sources))
    else:
        outcomes, code = run(Lines(console))
    # Not folded where nobody looks: scripts and logs want whole URLs.
    Console(width=None if sys.stdout.isatty() else WIDE).print(table(outcomes))
    if code > SIGNALLED:
        click.echo(_farewell(outcomes, can_resume=plan.storage is not None), err=True)
    return code


def exit_code(outcomes: Sequence[Outcome], signal: int) -> int:
    """3 only if nothing is left that another try could help."""
    bad = {outcome.state for outcome in outcomes if not outcome.is_good}
    if signal and "interrupted" in bad:
        return SIGNALLED + signal
    if not bad:
        return OK
    return REFUSED if bad == {"refused"} else FAILED


def table(outcomes: Sequence[Outcome]) -> Table:
    """What came of the files: all that failed, the first that did not, and the sum."""
    found = Table(box=None, pad_edge=False, show_footer=True)
    sent = sum(item.sent for item in outcomes)
    good = [outcome for outcome in outcomes if outcome.is_good]
    found.add_column("file", f"{len(good)} of {len(outcomes)} files", overflow="fold")
    found.add_column("state")
    found.add_column("sent", decimal(sent), justify="right")
    found.add_column("time", justify="right")
    found.add_column("where, or why not", overflow="fold")
    shown = [item for item in outcomes if not item.is_good and item.state != "interrupted"]
    for outcome in [*good[:_SHOWN], *shown]:
        found.add_row(*_row(outcome))
    if len(good) > _SHOWN:
        found.add_row(f"… and {len(good) - _SHOWN} more", "uploaded")
    waiting = len(outcomes) - len(good) - len(shown)
    if waiting:
        found.add_row(f"{waiting} files", Text("interrupted", "yellow"))
    return found


def _row(outcome: Outcome) -> tuple[Text, ...]:
    style = "green" if outcome.is_good else "red"
    where = outcome.place or outcome.url or "" if outcome.is_good else outcome.message
    return (
        Text(outcome.source.label),
        Text(outcome.state, style),
        Text(decimal(outcome.sent)),
        Text(f"{outcome.seconds:.1f} s"),
        Text(where),
    )


def _farewell(outcomes: Sequence[Outcome], *, can_resume: bool) -> str:
    good = sum(outcome.is_good for outcome in outcomes)
    head = f"tusserver: interrupted with {good} of {len(outcomes)} files uploaded; "
    if not can_resume:
        return head + "with --no-resume nothing was remembered, and the rest begins anew"
    if any(outcome.source.path is None and not outcome.is_good for outcome in outcomes):
        return head + "standard input cannot be read again, files go on with the same command"
    return head + "the same command goes on from here"
