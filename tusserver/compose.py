"""The composition root: from settings to a working application. The only place that names concrete
classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from tusserver.asgi.access import log_access
from tusserver.asgi.app import Application, Below, whole_server
from tusserver.asgi.cors import Cors
from tusserver.asgi.endpoint import EndpointOptions
from tusserver.asgi.proxy import LOOPBACK, TrustedProxies
from tusserver.compose_policy import build_access, build_policy
from tusserver.compose_status import (
    API_PATH,
    build_board,
    build_pages,
    build_status_api,
    path_from_api,
)
from tusserver.compose_store import build_locker, build_store
from tusserver.lock.base import BusLocker
from tusserver.rules import Policy, UploadsOptions
from tusserver.settings import Settings, SettingsError
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from starlette.applications import Starlette

    from tusserver.asgi.access import AccessLog
    from tusserver.asgi.api import StatusApi
    from tusserver.events.base import Listener
    from tusserver.policy.access import AccessControl, Check
    from tusserver.policy.hooks import Hooks

_NEVER = 365 * 86400.0
"""Seconds that stand for no time-out at all."""


class TusApp(Application):
    """A tus server to be mounted into an ASGI application at any path.

        tus = TusApp(upload_dir="uploads", max_size="10GiB")
        app = FastAPI(lifespan=tus.lifespan)
        app.mount("/files", tus)

    Takes the fields of `Settings` by name, or a whole `Settings`. Those that concern a process of
    its own (where to listen, logging, workers) have no effect here. `listener` hears of every
    event; `check` says who is asking (see `tusserver.policy.access`), `hooks` are asked and told
    about uploads (see `tusserver.policy.hooks`).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        listener: Listener | None = None,
        on_access: AccessLog = log_access,
        check: Check | None = None,
        hooks: Hooks | None = None,
        **fields: Any,
    ) -> None:
        """Raises SettingsError."""
        settings = settings or Settings.of(**fields)
        uploads = build_uploads(settings, listener, hooks)
        access = build_access(settings, check)
        self._settings = settings
        self._options = _endpoint_options(settings, on_access, access)
        board = build_board(settings, uploads) if settings.has_api else None
        super().__init__(uploads, self._options, _seconds(settings.sweep_interval), board)

    def status_api(self, uploads_path: str) -> StatusApi:
        """The status API, to be mounted at a path of its own, from where `uploads_path` leads to
        the uploads:

            app.mount("/files", tus)
            app.mount("/api", tus.status_api("../files"))

        Raises SettingsError if the setting `api` does not ask for it.
        """
        if self.board is None:
            raise SettingsError("api: it is not on; give api='on', or ask for tokens")
        return build_status_api(self._settings, self.board, self._options, uploads_path)


def create_app(
    settings: Settings | None = None,
    *,
    listener: Listener | None = None,
    on_access: AccessLog = log_access,
    check: Check | None = None,
    hooks: Hooks | None = None,
    **fields: Any,
) -> Starlette:
    """A whole server as a Starlette application; uploads at `base_path`. Raises SettingsError."""
    settings = settings or Settings.of(**fields)
    app = TusApp(settings, listener=listener, on_access=on_access, check=check, hooks=hooks)
    others = list[BaseRoute]() if settings.disable_pages else build_pages(settings)
    if settings.has_api:
        api = app.status_api(path_from_api(settings.base_path))
        others.append(Below(API_PATH, api))
    return whole_server(app, settings.base_path, *others)


def build_uploads(
    settings: Settings,
    listener: Listener | None = None,
    hooks: Hooks | None = None,
    *,
    on_step: Callable[[str], None] | None = None,
    finishes: bool = True,
) -> Uploads:
    """The use cases over the store and the locks that the settings name, and an application's
    `hooks`. `on_step` hears of every point in a finish after which a crash could come; without
    `finishes` that is left to others. Raises SettingsError.
    """
    store = build_store(settings)
    options = UploadsOptions(
        max_size=settings.longest_upload,
        expires_after=settings.expire_after,
        retain_finished=settings.retain_finished,
        lock_wait=_seconds(settings.acquire_lock_timeout) or _NEVER,
        termination=not settings.disable_termination,
        concatenation=not settings.disable_concatenation,
        download=not settings.disable_download,
        fan_out=settings.fan_out,
        verify_digests=settings.verify_digests,
    )
    policy = build_policy(settings, store, hooks, on_step) if finishes else Policy(finishes=False)
    locker = build_locker(settings)
    bus = locker.hints if isinstance(locker, BusLocker) else None
    return Uploads(store, locker, options, policy=policy, listener=listener, bus=bus)


async def try_out(settings: Settings) -> None:
    """Starts and stops all parts of a server. Raises SettingsError, StoreUnusable and
    LockerUnusable.
    """
    uploads = build_uploads(settings)
    await uploads.start()
    await uploads.close()


def _endpoint_options(
    settings: Settings, on_access: AccessLog, access: AccessControl | None
) -> EndpointOptions:
    try:
        cors = None if settings.disable_cors else _cors(settings)
    except ValueError as error:
        raise SettingsError(f"cors-allow-origin: {error}") from error
    try:
        proxies = TrustedProxies(
            (*(LOOPBACK if settings.behind_proxy else ()), *settings.trusted_proxies)
        )
    except ValueError as error:
        raise SettingsError(f"trusted-proxies: {error}, unix or *") from error
    return EndpointOptions(
        cors=cors,
        proxies=proxies,
        full_location=settings.location == "url",
        idle_timeout=_seconds(settings.network_timeout) or _NEVER,
        access_log=on_access if settings.access_log else None,
        access=access,
    )


def _cors(settings: Settings) -> Cors:
    return Cors(
        origins=settings.cors_allow_origin,
        credentials=settings.cors_allow_credentials,
        extra_headers=settings.cors_allow_headers,
        max_age=int(_seconds(settings.cors_max_age) or 0),
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
