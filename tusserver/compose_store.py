"""The part of the composition root that is about where uploads are kept, and their locks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tusserver.compose_policy import build_placer, missing_redis
from tusserver.lock.memory import MemoryLocker
from tusserver.policy.kinds import SNIFF_SIZE
from tusserver.policy.naming import numbered
from tusserver.settings import Settings, SettingsError
from tusserver.settings.objects import as_folder
from tusserver.store.calls import Placement
from tusserver.store.collisions import OnCollision
from tusserver.store.direct_io import DirectIO
from tusserver.store.file import FileStore, FileStoreOptions, Sync

if TYPE_CHECKING:
    from tusserver.lock.base import Locker
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.object_parts import PartRules
    from tusserver.store.object_places import Destination
    from tusserver.store.objects import ObjectStore

_A_DAY = 86400.0


def build_store(settings: Settings) -> FileStore | ObjectStore:
    """The store that these settings name. Raises SettingsError."""
    if settings.store.startswith("azure://"):
        return _build_azure_store(settings)
    if settings.is_in_bucket:
        return _build_s3_store(settings)
    return FileStore(
        settings.upload_dir,
        FileStoreOptions(
            Sync(settings.sync),
            settings.file_perms,
            settings.dir_perms,
            Placement(settings.file_calls),
            DirectIO(settings.direct_io),
            build_placer(settings),
        ),
    )


def _object_options(settings: Settings, rules: PartRules) -> ObjectOptions:
    from tusserver.store.object_options import ObjectOptions

    flush = settings.object_flush
    return ObjectOptions(
        settings.key_prefix,
        rules,
        memory=settings.object_memory or 0,
        spool_dir=str(settings.upload_dir.absolute()),
        flush=_A_DAY if flush is None else flush.total_seconds(),
        keep_first=SNIFF_SIZE if settings.check_content else 0,
        destination=_destination(settings),
    )


def _destination(settings: Settings) -> Destination | None:
    if not settings.destination_prefix:
        return None
    from tusserver.store.object_places import Destination

    on_collision = OnCollision(settings.on_collision)
    return Destination(as_folder(settings.destination_prefix), on_collision, numbered)


def _build_s3_store(settings: Settings) -> ObjectStore:
    try:
        from tusserver.store.object_parts import PartRules
        from tusserver.store.objects import ObjectStore
        from tusserver.store.s3_bucket import S3Bucket
        from tusserver.store.s3_options import PartChecksum, S3Options
        from tusserver.store.s3_presets import preset_of
    except ImportError as error:
        raise SettingsError(
            f"store: a package for S3 is missing ({error}): pip install 'tusserver[s3]'"
        ) from None
    preset = preset_of(settings.s3_preset, settings.s3_endpoint)
    bucket = settings.store.removeprefix("s3://").partition("/")[0]
    assert settings.object_part_size is not None, "the settings have been checked"
    checksum = settings.s3_checksum
    options = S3Options(
        bucket,
        endpoint=settings.s3_endpoint or None,
        region=settings.s3_region or _region_of_environment() or preset.region,
        path_style=preset.path_style,
        checksum=preset.checksum if checksum == "preset" else PartChecksum(checksum),
    )
    rules = PartRules(settings.object_part_size, are_equal=preset.are_equal)
    return ObjectStore(S3Bucket(options), _object_options(settings, rules))


def _build_azure_store(settings: Settings) -> ObjectStore:
    try:
        from tusserver.store.azure_bucket import AzureBucket
        from tusserver.store.azure_options import AzureOptions, azure_rules
        from tusserver.store.objects import ObjectStore
    except ImportError as error:
        raise SettingsError(
            f"store: a package for Azure is missing ({error}): pip install 'tusserver[azure]'"
        ) from None
    container = settings.store.removeprefix("azure://").partition("/")[0]
    assert settings.object_part_size is not None, "the settings have been checked"
    connection_string = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    if connection_string and settings.azure_endpoint:
        raise SettingsError(
            "azure-endpoint: AZURE_STORAGE_CONNECTION_STRING says it already; give one of them"
        )
    account = os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    options = AzureOptions(
        container,
        settings.azure_endpoint or (account and f"https://{account}.blob.core.windows.net"),
        connection_string,
        account,
        os.environ.get("AZURE_STORAGE_KEY", ""),
        os.environ.get("AZURE_STORAGE_SAS_TOKEN", ""),
    )
    rules = azure_rules(settings.object_part_size)
    return ObjectStore(AzureBucket(options), _object_options(settings, rules))


def _region_of_environment() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def build_locker(settings: Settings) -> Locker:
    """The locks that these settings name. Raises SettingsError."""
    if settings.locks_in_redis:
        try:
            from tusserver.lock.redis import RedisLocker
        except ImportError as error:
            raise missing_redis(error) from None
        return RedisLocker(settings.lock)
    if settings.lock == "memory" or (settings.lock == "auto" and sys.platform != "linux"):
        if settings.workers > 1:
            raise SettingsError("this system has no locks between processes; use one worker")
        return MemoryLocker()
    if sys.platform == "linux":
        from tusserver.lock.file import FileLocker

        return FileLocker(settings.upload_dir.absolute() / ".tusserver")
    raise SettingsError("locks between processes need Linux; use --lock memory and one worker")
