"""The settings of a site's rules: who may upload, how much of what, and where it ends up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.settings.server import ServerSettings
from tusserver.settings.values import setting

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

ACCESS, RULES = "Who may upload", "What may be uploaded"
FINISH, PLACEMENT = "What is done with a finished upload", "Where a finished file goes"
SCAN = "Virus scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings(ServerSettings):
    """All that is off, or harmless, until it is asked for."""

    jwt_secret_file: Path | None = setting(
        "",
        ACCESS,
        "Ask for a JSON Web Token signed with the secret in this file (HS256, HS384, HS512).",
        kind="path",
    )
    jwt_public_key_file: Path | None = setting(
        "",
        ACCESS,
        "Ask for a token that this public key (PEM) verifies (RS, PS, ES, EdDSA).",
        kind="path",
    )
    jwt_jwks_url: str = setting(
        "", ACCESS, "Ask for a token that one of the keys at this URL verifies (JWKS)."
    )
    jwt_algorithms: tuple[str, ...] = setting(
        "", ACCESS, "Algorithms that are taken; without, those that fit the key.", kind="list"
    )
    jwt_audience: tuple[str, ...] = setting(
        "", ACCESS, "A token must be for one of these audiences.", kind="list"
    )
    jwt_issuer: str = setting("", ACCESS, "A token must come from this issuer.")
    jwt_leeway: timedelta | None = setting(
        "10s", ACCESS, "How far the clocks of issuer and server may differ.", kind="duration"
    )
    jwt_user_claim: str = setting(
        "sub", ACCESS, "The claim that names the user; realm.user for one inside another."
    )
    jwt_admin_claim: str = setting(
        "", ACCESS, "The claim that tells admins, who may do everything, as realm_access.roles."
    )
    jwt_admin_value: str = setting(
        "admin", ACCESS, "What that claim is, or has among its values, for an admin."
    )
    jwt_cookie: str = setting(
        "", ACCESS, "A cookie of this name may bring the token, for pages in a browser."
    )
    signing_secret_file: Path | None = setting(
        "",
        ACCESS,
        "Take URLs that were signed with the secret in this file, see tusserver sign.",
        kind="path",
    )
