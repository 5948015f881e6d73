"""`tusserver sign`: signed URLs for clients that cannot send a header."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from tusserver.cli.options import setting_kind, settings_from, some_settings
from tusserver.compose_policy import build_signer
from tusserver.policy.grants import new_grant
from tusserver.protocol.access import Verb
from tusserver.protocol.urls import is_upload_id

if TYPE_CHECKING:
    from datetime import timedelta

    from tusserver.protocol.access import Grant

_VERBS = tuple(verb.value for verb in Verb if verb is not Verb.JOIN)


@click.command()
@click.argument("url")
@some_settings("signing_secret_file")
@click.option(
    "--expires-in",
    type=setting_kind("duration"),
    default="1h",
    show_default=True,
    help="For how long the URL is good.",
)
@click.option("--upload", metavar="ID", help="Only for this upload, not for creating some.")
@click.option(
    "--verb",
    "verbs",
    type=click.Choice(_VERBS),
    multiple=True,
    help="What it allows; may be repeated. Without: all but get.",
)
@click.option("--owner", help="To whom uploads that it creates belong.")
@click.option("--max-size", type=setting_kind("size"), help="How large they may be.")
@click.option("--destination", help="Where they go, whatever their client says.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def sign(
    *,
    url: str,
    expires_in: timedelta,
    upload: str | None,
    verbs: tuple[str, ...],
    owner: str | None,
    max_size: int | None,
    destination: str | None,
    as_json: bool,
    **values: Any,
) -> int:
    """Sign the URL at which uploads are created.

    Whoever has the signed URL needs no token. The server must know the same secret.

    \b
    Examples:
      tusserver sign https://portal.example/files/ --signing-secret-file secret --owner kim
      tusserver sign https://portal.example/files/ --expires-in 10m --max-size 10GiB \\
          --destination jobs/42
      tusserver sign https://portal.example/files/ --upload 5d2a… --verb get
    """
    signer = build_signer(settings_from(values).signing_secret_file)
    if signer is None:
        raise click.UsageError("name the secret: --signing-secret-file")
    if upload is not None and not is_upload_id(upload):
        raise click.BadParameter("this is no id of an upload", param_hint="--upload")
    if not expires_in:
        raise click.BadParameter("a URL that is good for ever is none", param_hint="--expires-in")
    grant = new_grant(
        int(time.time() + expires_in.total_seconds()),
        verbs=tuple(map(Verb, verbs)),
        upload_id=upload,
        owner=owner,
        max_size=max_size,
        destination=destination,
    )
    _tell(_signed(url, grant, signer.sign(grant)), grant, as_json=as_json)
    return 0


def _signed(url: str, grant: Grant, query: str) -> str:
    parts = urlsplit(url)
    if parts.query or parts.fragment or not parts.path:
        raise click.BadParameter("give the creation URL, as https://host/files/", param_hint="URL")
    return f"{url.removesuffix('/')}/{grant.upload_id or ''}?{query}"


def _tell(url: str, grant: Grant, *, as_json: bool) -> None:
    if not as_json:
        click.echo(url)
        return
    expires = datetime.fromtimestamp(grant.expires_at, UTC).isoformat().replace("+00:00", "Z")
    click.echo(json.dumps({"url": url, "expires": expires}))
