"""`tusserver cancel`: has a server remove uploads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tusserver.cli.status import for_each
from tusserver.cli.upload import require_client, retries_option, token_options

if TYPE_CHECKING:
    from pathlib import Path

    from tusserver.client.patience import Patience
    from tusserver.client.session import Session


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@token_options
@retries_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines for scripts.")
def cancel(*, urls: tuple[str, ...], token_file: Path | None, retries: int, as_json: bool) -> int:
    """Have the server remove uploads, finished or not.

    \b
    Example:
      tusserver cancel https://portal.example/files/5d2a…
    """
    require_client()
    from tusserver.client.inquiring import cancel as cancel_upload
    from tusserver.client.storage import UrlStorage, state_folder

    def work(session: Session, patience: Patience, url: str) -> None:
        cancel_upload(session, patience, url)
        folder = state_folder()
        if folder.is_dir():
            UrlStorage(folder).remove_url(url)
        click.echo(json.dumps({"url": url, "state": "removed"}) if as_json else f"{url}: removed")

    return for_each(urls, work, token_file=token_file, retries=retries)
