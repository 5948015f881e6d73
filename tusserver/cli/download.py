"""`tusserver download`: a finished upload into a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from tusserver.cli.upload import (
    FAILED,
    REFUSED,
    SIGNALLED,
    checked_url,
    require_client,
    retries_option,
    token_options,
    tokens_from,
)

if TYPE_CHECKING:
    from tusserver.client.downloading import Loaded

STDOUT = Path("-")


@click.command()
@click.argument("url")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Into this file; - is standard output. Without: the name that the server tells, here.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@token_options
@retries_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def download(
    *,
    url: str,
    output: Path | None,
    force: bool,
    token_file: Path | None,
    retries: int,
    as_json: bool,
) -> int:
    """Load a finished upload into a file.

    What comes is verified by its length, and by its digest if the server has one. After an
    interruption the same command goes on where it was.

    \b
    Examples:
      tusserver download https://portal.example/files/5d2a…
      tusserver download https://portal.example/files/5d2a… -o results.h5
      tusserver download https://portal.example/files/5d2a… -o - | tar x

    \b
    Exit codes:
      0  it is there                    2    the command is wrong
      1  it failed; try again           3    refused for good
                                        130  interrupted
    """
    require_client()
    from tusserver.client.errors import ClientError

    url = checked_url(url)
    try:
        loaded = _load(url, output, force=force, token_file=token_file, retries=retries)
    except KeyboardInterrupt:
        _tell_interrupted(goes_on=output != STDOUT)
        return SIGNALLED + 2
    except ClientError as error:
        click.echo(f"tusserver: {error.message}", err=True)
        return REFUSED if error.is_final else FAILED
    _tell(loaded, as_json=as_json, err=output == STDOUT)
    return 0


def _tell_interrupted(*, goes_on: bool) -> None:
    rest = "; the same command goes on from here" if goes_on else ""
    click.echo(f"tusserver: interrupted{rest}", err=True)


def _load(
    url: str, output: Path | None, *, force: bool, token_file: Path | None, retries: int
) -> Loaded:
    from tusserver.client.display import bars
    from tusserver.client.downloading import load
    from tusserver.client.patience import Patience
    from tusserver.client.session import Session
    from tusserver.client.stopping import Stop

    stop = Stop()
    session = Session(url, tokens_from(token_file), stop)
    console = Console(stderr=True)
    with bars(console) as progress:
        progress.disable = not console.is_terminal
        task = progress.add_task("", total=None, note="")

        def tell(position: int, total: int | None) -> None:
            progress.update(task, completed=position, total=total, note="")

        def pause(seconds: float, reason: str) -> None:
            progress.update(task, note=f"again in {seconds:.0f} s: {reason}")

        try:
            where = sys.stdout.buffer if output == STDOUT else output
            return load(session, Patience(retries, stop, pause), tell, output=where, force=force)
        finally:
            session.close()


def _tell(loaded: Loaded, *, as_json: bool, err: bool) -> None:
    if as_json:
        facts = {
            "file": loaded.name,
            "size": loaded.size,
            "received": loaded.received,
            "verified": loaded.digest or None,
        }
        click.echo(json.dumps(facts, ensure_ascii=False), err=err)
        return
    verified = f", verified by {loaded.digest}" if loaded.digest else ""
    click.echo(f"{loaded.name}: {loaded.size} bytes{verified}", err=err)
