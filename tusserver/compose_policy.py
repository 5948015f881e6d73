"""The part of the composition root that is about a site's rules."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tusserver.policy.access import AccessControl, Check
from tusserver.policy.clamd import SIZE_CEILING, Clamd
from tusserver.policy.digesting import DigestStep
from tusserver.policy.grants import SecretUnusable, Signer, read_secret
from tusserver.policy.hooks import Hooks, HookStep
from tusserver.policy.kinds import PRESETS, KindRules
from tusserver.policy.ledger import Quota
from tusserver.policy.ledger_file import FileLedger
from tusserver.policy.limits import LimitOptions, Limits
from tusserver.policy.naming import Template, numbered
from tusserver.policy.placement import Destinations, PlaceStep
from tusserver.policy.scanning import OnDown, OnUnscanned, ScanStep
from tusserver.policy.tokens import TokenOptions, TokensUnusable, TokenVerifier
from tusserver.protocol.digests import SIZES
from tusserver.rules import Policy
from tusserver.settings import Settings, SettingsError
from tusserver.store.base import PlacingStore
from tusserver.store.collisions import OnCollision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.finishing import FinishStep
    from tusserver.policy.ledger import Ledger
    from tusserver.store.base import Store
    from tusserver.store.placing import Placer

_A_DAY = 86400.0


def build_access(settings: Settings, check: Check | None = None) -> AccessControl | None:
    """Who may do what by these settings, and by an application's own `check`; None: everybody
    everything. Raises SettingsError.
    """
    tokens, signer = build_tokens(settings), build_signer(settings.signing_secret_file)
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


def build_tokens(settings: Settings) -> TokenVerifier | None:
    """Who verifies tokens; None: they are not asked for. Raises SettingsError."""
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
            max_size_claim=settings.jwt_max_size_claim or None,
        )
        return TokenVerifier(options)
    except (TokensUnusable, ValueError) as error:
        raise SettingsError(f"jwt: {error}") from error


def build_policy(
    settings: Settings,
    store: Store,
    hooks: Hooks | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Policy:
    """What is done with the uploads of this store by these settings and an application's `hooks`.
    `on_step` hears of every point in a finish after which a crash could come. Raises SettingsError.
    """
    on_step = on_step or _ignore
    hooks = hooks or Hooks()
    steps = (
        *_digest_step(settings, store),
        *_scan_step(settings, store),
        *(() if hooks.before_finish is hooks.on_finish is None else (HookStep(hooks),)),
        *_place_step(settings, store, on_step),
    )
    return Policy(
        admission=_build_limits(settings, store, hooks),
        steps=steps,
        finishes_in_background=settings.finish == "background",
        on_step=on_step,
    )


def _build_limits(settings: Settings, store: Store, hooks: Hooks) -> Limits | None:
    """None: there are no limits but those of the protocol."""
    extensions, quota = allowed_extensions(settings), quota_of(settings)
    types = tuple(name.lower() for name in settings.allow_types)
    options = LimitOptions(
        kinds=KindRules(extensions, types, settings.check_content),
        destinations=build_destinations(settings),
        quota=quota,
        min_free=settings.min_free_space,
        hooks=hooks,
    )
    ledger = ledger_of(settings) if needs_ledger(settings) else None
    if options == LimitOptions() and settings.signing_secret_file is None and ledger is None:
        return None
    root = settings.upload_dir.absolute()
    return Limits(
        options, ledger, store.ids, store.get, lambda: shutil.disk_usage(root).free, _utc_now
    )


def allowed_extensions(settings: Settings) -> frozenset[str]:
    """Extensions that files may have, without their dot; empty: any."""
    extensions = {name.lower().lstrip(".") for name in settings.allow_extensions}
    return frozenset(extensions.union(PRESETS.get(settings.allow_preset, ())))


def quota_of(settings: Settings) -> Quota:
    """What one user may have."""
    return Quota(settings.quota_size, settings.quota_uploads or None, settings.quota_active or None)


def needs_ledger(settings: Settings) -> bool:
    """Whether it is written down what everybody has: for quotas, and for the lists of the API."""
    return settings.has_api or quota_of(settings) != Quota()


def ledger_of(settings: Settings) -> Ledger:
    """The ledger where the locks are: in Redis, or in the upload directory; not opened yet. Raises
    SettingsError.
    """
    if not settings.locks_in_redis:
        return FileLedger(settings.upload_dir.absolute() / ".tusserver" / "ledger.db")
    try:
        from tusserver.policy.ledger_redis import RedisLedger
    except ImportError as error:
        raise missing_redis(error) from None
    return RedisLedger(settings.lock)


def missing_redis(error: ImportError) -> SettingsError:
    """What to do about it."""
    return SettingsError(
        f"lock: a package for locks in Redis is missing ({error}): pip install 'tusserver[redis]'"
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _ignore(step: str) -> None:
    """Nobody wants to know."""


def _digest_step(settings: Settings, store: Store) -> tuple[FinishStep, ...]:
    unknown = sorted(set(settings.digests) - set(SIZES))
    if unknown:
        raise SettingsError(f"digests: {unknown[0]!r} is none of {', '.join(SIZES)}")
    if not settings.digests and not settings.verify_digests:
        return ()
    return (DigestStep(store, settings.digests),)


def build_clamd(settings: Settings) -> Clamd | None:
    """Who scans; None: nobody. Raises SettingsError."""
    if not settings.scan:
        return None
    timeout = settings.scan_timeout
    try:
        return Clamd(
            settings.scan,
            max_size=settings.scan_max_size or SIZE_CEILING,
            timeout=_A_DAY if timeout is None else timeout.total_seconds(),
        )
    except ValueError as error:
        raise SettingsError(f"scan: {error}") from error


def _scan_step(settings: Settings, store: Store) -> tuple[FinishStep, ...]:
    clamd, quarantine = build_clamd(settings), settings.quarantine_dir
    if clamd is None:
        return ()
    step = ScanStep(
        store,
        clamd,
        on_unscanned=OnUnscanned(settings.scan_too_large),
        on_down=OnDown(settings.scan_down),
        quarantine=None if quarantine is None else str(quarantine.absolute()),
    )
    return (step,)


def _place_step(
    settings: Settings, store: Store, on_step: Callable[[str], None]
) -> tuple[FinishStep, ...]:
    destinations = build_destinations(settings)
    if destinations is None:
        return ()
    assert isinstance(store, PlacingStore), "the settings have been checked"
    return (PlaceStep(store, destinations, on_step),)


def build_destinations(settings: Settings) -> Destinations | None:
    """Where finished files may go; None: they stay. Raises SettingsError."""
    if settings.destination_root is None and not settings.destination_prefix:
        return None
    try:
        return Destinations(Template(settings.destination_template), settings.allow_destinations)
    except ValueError as error:
        raise SettingsError(f"destination-template: {error}") from error


def build_placer(settings: Settings) -> Placer | None:
    """Who moves finished files by these settings. Raises SettingsError."""
    root = settings.destination_root
    if root is None:
        return None
    if sys.platform == "win32":
        raise SettingsError("destination-root: files cannot be placed on this system")
    from tusserver.store.placing import Placer

    if not root.is_dir():
        raise SettingsError(f"destination-root: {root} is no directory; make it first")
    return Placer(
        root=root.absolute(),
        on_collision=OnCollision(settings.on_collision),
        file_mode=settings.destination_file_perms,
        directory_mode=settings.destination_dir_perms,
        group=_group(settings.destination_group),
        durable=settings.sync != "none",
        numbered=numbered,
    )


def _group(name: str) -> int | None:
    if not name or sys.platform == "win32":
        return None
    import grp

    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise SettingsError(f"destination-group: there is no group {name}") from None
