"""`tusserver serve`: from settings to serving processes."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from tusserver import __version__
from tusserver.asgi.access import log_access
from tusserver.cli.logs import configure_logging
from tusserver.cli.options import GroupedCommand, SettingOption, all_settings, settings_from
from tusserver.compose import create_app, try_out
from tusserver.lock.base import LockerUnusable
from tusserver.serving import sockets
from tusserver.serving.server import Place, ServerOptions
from tusserver.serving.server import serve as serve_process
from tusserver.serving.tls import CannotUseCertificate, check_certificate
from tusserver.settings import Settings, SettingsError, format_duration
from tusserver.store.base import StoreUnusable

if TYPE_CHECKING:
    from socket import socket

    from starlette.applications import Starlette

    from tusserver.cli.logs import AccessLines

_EPILOG = """\b
Every option is also an environment variable (TUSSERVER_UPLOAD_DIR for --upload-dir) and a key of
the file given by --config (upload-dir). What is nearer to the command line counts.

\b
Examples:
  tusserver serve --host 0.0.0.0 --upload-dir /data/uploads --max-size 10GiB
  tusserver serve --unix-sock /run/tusserver.sock --behind-proxy --workers 2
  tusserver serve --sync patch --expire-after 7d --cors-allow-origin https://portal.example
"""


@click.command(cls=GroupedCommand, epilog=_EPILOG)
@all_settings
@click.option(
    "--check-config",
    is_flag=True,
    cls=SettingOption,
    help="Check settings and upload directory, then exit; tusserver check tries much more.",
)
def serve(*, check_config: bool, **values: Any) -> int:
    """Serve uploads until a signal comes (this is the default command)."""
    settings = settings_from(values)
    access = configure_logging(settings.log_level, settings.log_format)
    app = _build(settings, access)
    _check_tls(settings)
    if check_config:
        click.echo(f"The settings are good. Uploads go to {_place(settings)}")
        return 0
    listener = _listen(settings)
    unix = settings.unix_sock
    identity = None if unix is None else sockets.file_identity(unix)
    try:
        _announce(settings, listener)
        return 0 if _serve(app, listener, settings, access) else 1
    finally:
        if unix is not None:
            sockets.remove_unix(unix, identity)


def _build(settings: Settings, access: AccessLines | None) -> Starlette:
    """The application, after a start and stop that show whether it will work."""
    if access is None:
        settings = replace(settings, access_log=False)
    try:
        app = create_app(settings, on_access=access or log_access)
        asyncio.run(try_out(settings))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    except (StoreUnusable, LockerUnusable) as error:
        raise click.ClickException(str(error)) from error
    return app


def _check_tls(settings: Settings) -> None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        check_certificate(settings.tls_certificate, settings.tls_key)
    except CannotUseCertificate as error:
        raise click.ClickException(str(error)) from error


def _listen(settings: Settings) -> socket:
    try:
        if settings.unix_sock is not None:
            return sockets.listen_unix(settings.unix_sock, settings.unix_sock_perms)
        return sockets.listen_tcp(settings.host, settings.port)
    except sockets.CannotListen as error:
        raise click.ClickException(str(error)) from error


def _serve(
    app: Starlette, listener: socket, settings: Settings, access: AccessLines | None
) -> bool:
    timeout = settings.shutdown_timeout
    options = ServerOptions(
        shutdown_timeout=None if timeout is None else timeout.total_seconds(),
        certificate=None if settings.tls_certificate is None else str(settings.tls_certificate),
        key=None if settings.tls_key is None else str(settings.tls_key),
    )

    def work(place: Place | None = None) -> bool:
        try:
            return serve_process(app, [listener], options, place)
        finally:
            if access is not None:
                access.flush()

    if settings.workers == 1:
        return work()
    if sys.platform != "win32":
        from tusserver.serving.listening import Balance
        from tusserver.serving.supervisor import Supervisor

        balance = Balance(settings.workers)
        return Supervisor(
            settings.workers,
            lambda lifeline, number: work(Place(number, balance, lifeline)),
            on_stop=listener.close,
        ).run()
    raise click.UsageError("several workers need a system that can fork; use one")


def _place(settings: Settings) -> str:
    """Where uploads are kept, for a person."""
    if not settings.is_in_bucket:
        return str(settings.upload_dir.resolve())
    if settings.store.startswith("azure://"):
        return f"{settings.store} at {settings.azure_endpoint or 'Azure'}"
    return f"{settings.store} at {settings.s3_endpoint or 'AWS'}"


def _announce(settings: Settings, listener: socket) -> None:
    address = sockets.address_of(listener, is_tls=settings.tls_certificate is not None)
    from tusserver.compose import build_uploads

    capabilities = build_uploads(settings).capabilities.with_trailers()
    longest = settings.longest_upload
    limit = "no limit" if longest is None else f"up to {longest} bytes"
    expiry = "never expire"
    if settings.expire_after is not None:
        expiry = f"expire after {format_duration(settings.expire_after)}"
    sync = f" (sync: {settings.sync})"
    lines = (
        f"tusserver {__version__}",
        f"  uploads at   {address}{quote(settings.base_path)}",
        f"  stored in    {_place(settings)}{'' if settings.is_in_bucket else sync}",
        f"  workers      {settings.workers}",
        f"  offers       tus 1.0.0: {', '.join(sorted(capabilities.extensions))}",
        f"  size         {limit}; unfinished uploads {expiry}",
    )
    click.echo("\n".join(lines), err=True)
