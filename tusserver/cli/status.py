"""`tusserver status`: where uploads stand, as their server says."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from tusserver.cli.upload import (
    FAILED,
    OK,
    REFUSED,
    SIGNALLED,
    WIDE,
    checked_url,
    require_client,
    retries_option,
    token_options,
    tokens_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.client.inquiring import Standing
    from tusserver.client.patience import Patience
    from tusserver.client.session import Session


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@token_options
@retries_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines for scripts.")
def status(*, urls: tuple[str, ...], token_file: Path | None, retries: int, as_json: bool) -> int:
    """Tell where uploads stand.

    Asks the upload itself, and the status API beside it if there is one.

    \b
    Examples:
      tusserver status https://portal.example/files/5d2a…
      tusserver status --json https://portal.example/files/5d2a… | jq .offset
    """
    require_client()
    from tusserver.client.inquiring import ask

    found: list[Standing] = []

    def work(session: Session, patience: Patience, url: str) -> None:
        standing = ask(session, patience, url)
        found.append(standing)
        if as_json:
            click.echo(json.dumps({**_facts(standing), "url": url}, ensure_ascii=False))

    code = for_each(urls, work, token_file=token_file, retries=retries)
    if found and not as_json:
        Console(width=None if sys.stdout.isatty() else WIDE).print(_table(found))
    return code


def for_each(
    urls: tuple[str, ...],
    work: Callable[[Session, Patience, str], None],
    *,
    token_file: Path | None,
    retries: int,
) -> int:
    """Does the work for each URL, whatever becomes of the others; the exit code."""
    from tusserver.client.errors import ClientError
    from tusserver.client.patience import Patience
    from tusserver.client.session import Session
    from tusserver.client.stopping import Stop

    tokens, stop, failures = tokens_from(token_file), Stop(), set[bool]()
    for url in map(checked_url, urls):
        session = Session(url, tokens, stop)

        def tell(seconds: float, reason: str, url: str = url) -> None:
            click.echo(f"tusserver: {url}: again in {seconds:.0f} s: {reason}", err=True)

        try:
            work(session, Patience(retries, stop, tell), url)
        except ClientError as error:
            click.echo(f"tusserver: {url}: {error.message}", err=True)
            failures.add(error.is_final)
        except KeyboardInterrupt:
            return SIGNALLED + 2
        finally:
            session.close()
    if not failures:
        return OK
    return REFUSED if failures == {True} else FAILED


def _facts(standing: Standing) -> dict[str, Any]:
    """The API's words go before ours: they say more."""
    facts = {**asdict(standing), "state": standing.state, "percent": standing.percent}
    details = facts.pop("details")
    return {**facts, **details}


def _table(standings: list[Standing]) -> Table:
    found = Table(box=None, pad_edge=False)
    for title in ("file", "state", "bytes", "of", "%", "rate", "where"):
        found.add_column(title, overflow="fold")
    for standing in standings:
        rate, percent = standing.details.get("rate"), standing.percent
        found.add_row(
            Text(standing.filename or "–"),
            Text(standing.state),
            Text("–" if standing.offset is None else decimal(standing.offset)),
            Text("–" if standing.length is None else decimal(standing.length)),
            Text("–" if percent is None else f"{percent:.1f}"),
            Text(f"{decimal(int(rate))}/s" if isinstance(rate, int | float) else "–"),
            Text(standing.place or standing.refusal or standing.url),
        )
    return found
