"""The part of the composition root that is about a site's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.policy.access import AccessControl, Check
from tusserver.policy.grants import SecretUnusable, Signer, read_secret
from tusserver.policy.tokens import TokenOptions, TokensUnusable, TokenVerifier
from tusserver.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def build_access(settings: Settings, check: Check | None = None) -> AccessControl | None:
    """Who may do what by these settings, and by an application's own `check`; None: everybody
    everything. Raises SettingsError.
    """
    tokens, signer = _build_tokens(settings), build_signer(settings.signing_secret_file)
    if tokens is None and signer is None and check is None:
        return None
    return AccessControl(
        check=check, signer=signer, tokens=tokens, cookie=settings.jwt_cookie or None
    )


def build_signer(secret_file: Path | None) -> Signer | None:
    """Who signs URLs with the secret in this file. Raises SettingsError."""
    try:
        return None if secret_file is None else Signer(read_secret(secret_file))
    except SecretUnusable as error:
        raise SettingsError(f"signing-secret-file: {error}") from error


def _build_tokens(settings: Settings) -> TokenVerifier | None:
    keys = (settings.jwt_secret_file, settings.jwt_public_key_file, settings.jwt_jwks_url)
    if not any(keys):
        return None
    leeway = settings.jwt_leeway
    try:
        options = TokenOptions(
            secret_file=settings.jwt_secret_file,
            public_key_file=settings.jwt_public_key_file,
            jwks_url=settings.jwt_jwks_url or None,
            algorithms=settings.jwt_algorithms,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer or None,
            leeway=0.0 if leeway is None else leeway.total_seconds(),
            user_claim=settings.jwt_user_claim,
            admin_claim=settings.jwt_admin_claim or None,
            admin_value=settings.jwt_admin_value,
        )
        return TokenVerifier(options)
    except (TokensUnusable, ValueError) as error:
        raise SettingsError(f"jwt: {error}") from error
