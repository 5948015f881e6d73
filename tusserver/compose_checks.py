"""The part of the composition root that is about trying the services out: which checks there are
for which settings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.checking.base import Check, Found, Section
from tusserver.checking.directory import MAKE, Room, upload_section, waiting_section
from tusserver.checking.file_locks import try_file_locks
from tusserver.checking.rules import scan_section, token_section
from tusserver.compose import create_app, try_out
from tusserver.compose_policy import build_clamd, build_placer, build_tokens, needs_ledger
from tusserver.compose_store import build_locker, build_store
from tusserver.lock.base import LockerUnusable
from tusserver.lock.memory import MemoryLocker
from tusserver.serving.tls import CannotUseCertificate, check_certificate
from tusserver.store.base import StoreUnusable
from tusserver.store.direct_io import DirectIO
from tusserver.store.file_layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.settings import Settings


def build_checks(settings: Settings) -> tuple[Section, ...]:
    """What is to be tried before a server with these settings is relied on. Raises SettingsError
    for what a server would not start with either.
    """
    create_app(settings)
    return (
        *(_bucket(settings) if settings.is_in_bucket else _directory(settings)),
        *_redis(settings),
        *_scan(settings),
        *_tokens(settings),
        _server(settings),
    )


def _bucket(settings: Settings) -> Iterator[Section]:
    from tusserver.store.objects import ObjectStore

    store = build_store(settings)
    assert isinstance(store, ObjectStore)
    if settings.store.startswith("s3://"):
        from tusserver.checking.s3 import bucket_section
        from tusserver.store.s3_bucket import S3Bucket

        assert isinstance(store.bucket, S3Bucket)
        joins = not settings.disable_concatenation
        yield bucket_section(store.bucket.options, store.options, joins=joins)
    else:
        from tusserver.checking.azure import container_section
        from tusserver.store.azure_bucket import AzureBucket

        assert isinstance(store.bucket, AzureBucket)
        yield container_section(store.bucket.options, store.options)
    yield waiting_section(settings.upload_dir.absolute(), *_local_locks(settings))


def _directory(settings: Settings) -> Iterator[Section]:
    root = Path(os.path.realpath(settings.upload_dir))
    layout = Layout(root, settings.sync != "none", settings.file_perms, settings.dir_perms)
    room = Room(settings.min_free_space, settings.max_size)
    more = (*_local_locks(settings), *_places(settings, layout))
    yield upload_section(layout, DirectIO(settings.direct_io), room, *more)


def _local_locks(settings: Settings) -> Iterator[Check]:
    """Those of one host."""
    if settings.locks_in_redis:
        return
    if isinstance(build_locker(settings), MemoryLocker):
        yield Check("locks", _none_needed)
        return
    directory = settings.upload_dir.absolute() / ".tusserver"
    yield Check("locks between processes", lambda: try_file_locks(directory), after=(MAKE,))


async def _none_needed() -> Found:
    return Found("in memory, for one process and nobody else")


def _places(settings: Settings, layout: Layout) -> Iterator[Check]:
    placer = build_placer(settings)
    if placer is not None:
        from tusserver.checking.places import place_check

        yield place_check(layout, placer, in_folders="/" in settings.destination_template)
    if settings.quarantine_dir is not None:
        from tusserver.checking.places import quarantine_check

        yield quarantine_check(layout, settings.quarantine_dir.absolute())


def _redis(settings: Settings) -> Iterator[Section]:
    if settings.locks_in_redis:
        from tusserver.checking.redis import redis_section

        yield redis_section(settings.lock)
        if needs_ledger(settings):
            from tusserver.checking.redis_ledger import ledger_section

            yield ledger_section(settings.lock)


def _scan(settings: Settings) -> Iterator[Section]:
    clamd = build_clamd(settings)
    if clamd is not None:
        directory = None if settings.is_in_bucket else settings.upload_dir
        holds = settings.scan_down == "hold"
        yield scan_section(clamd, settings.scan, directory, holds=holds)


def _tokens(settings: Settings) -> Iterator[Section]:
    tokens = build_tokens(settings)
    if tokens is not None:
        files = (settings.jwt_secret_file, settings.jwt_public_key_file)
        source = next((f"in {path}" for path in files if path), settings.jwt_jwks_url)
        yield token_section(tokens, source)


def _server(settings: Settings) -> Section:
    certificate, key = settings.tls_certificate, settings.tls_key

    async def start() -> Found:
        await try_out(settings)
        return Found("all its parts start and stop")

    async def check_tls() -> Found:
        assert certificate is not None
        assert key is not None
        check_certificate(certificate, key)
        return Found(str(certificate))

    tls = () if certificate is None else (Check("certificate and key", check_tls),)
    failures = (StoreUnusable, LockerUnusable, CannotUseCertificate)
    return Section("Server", (*tls, Check("start", start)), failures)
