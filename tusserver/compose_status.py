"""The part of the composition root that is about showing how uploads get on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tusserver.asgi.api import ApiOptions, StatusApi
from tusserver.asgi.api_values import Offer
from tusserver.asgi.pages import PageFacts, page_routes
from tusserver.compose_policy import (
    allowed_extensions,
    build_destinations,
    build_signer,
    ledger_of,
    quota_of,
)
from tusserver.settings import Settings, SettingsError
from tusserver.status.board import Board
from tusserver.status.catalog import Catalog

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from tusserver.asgi.endpoint import EndpointOptions
    from tusserver.uploads import Uploads

API_PATH = "/api"
_TAKEN = ("", API_PATH, f"{API_PATH}/uploads")
"""Where uploads would hide it."""


def build_board(settings: Settings, uploads: Uploads) -> Board:
    """How these uploads stand; needs the ledger that `Settings.has_ledger` asks for."""
    root = settings.upload_dir.absolute()

    def disk() -> tuple[int, int]:
        usage = shutil.disk_usage(root)
        return usage.total, usage.free

    catalog = Catalog(ledger_of(settings), quota_of(settings))
    return Board(uploads, catalog, None if settings.is_in_bucket else disk)


def build_pages(settings: Settings) -> list[BaseRoute]:
    """The pages for people, and the files that they need."""
    destinations = build_destinations(settings)
    facts = PageFacts(
        uploads=settings.base_path,
        api=f"{API_PATH}/" if settings.has_api else "",
        max_size=settings.longest_upload,
        extensions=sorted(allowed_extensions(settings)),
        types=settings.allow_types,
        accepts_token=settings.asks_for_tokens,
        destinations=destinations is not None and destinations.may_be_asked_for,
    )
    return page_routes(facts)


def path_from_api(base_path: str) -> str:
    """The way from the status API of a whole server to its uploads. Raises SettingsError."""
    if base_path.rstrip("/") in _TAKEN:
        raise SettingsError(f"api: uploads at {base_path} leave no path for it; see --base-path")
    return f"..{base_path}"


def build_status_api(
    settings: Settings, board: Board, options: EndpointOptions, uploads_path: str
) -> StatusApi:
    """The status API, with the rules of access of the endpoint of these uploads. Raises
    SettingsError.
    """
    offer = Offer(
        max_size=settings.longest_upload,
        extensions=tuple(sorted(allowed_extensions(settings))),
        types=settings.allow_types,
    )
    return StatusApi(
        board,
        ApiOptions(
            uploads_path=uploads_path,
            offer=offer,
            proxies=options.proxies,
            access=options.access,
            signer=build_signer(settings.signing_secret_file),
            cors=options.cors,
        ),
    )
