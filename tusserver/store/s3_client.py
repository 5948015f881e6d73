"""How the library for S3 is set up, and what its errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.loaders import Loader, create_loader

from tusserver.protocol.errors import StorageFailed, StorageFull, StorageUnavailable
from tusserver.store.bucket import (
    KeyRefused,
    MultipartMissing,
    ObjectMissing,
    PartsRefused,
    Superseded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.store.s3_options import S3Options

_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge"}
_PASSING = {
    "SlowDown",
    "RequestTimeout",
    "OperationAborted",
    "XAmzContentSHA256Mismatch",
    "BadDigest",
}
_SERVER_ERROR = 500


def session() -> AioSession:
    """A new session. What the library knows of the service is read only once: that takes longer
    than all the rest of making a client.
    """
    made = get_session()
    made.register_component("data_loader", _loader())
    return made


@cache
def _loader() -> Loader:
    return create_loader()


def config(options: S3Options) -> AioConfig:
    """What a client needs to be told."""
    return AioConfig(
        signature_version="s3v4",
        s3={
            "addressing_style": "path" if options.path_style else "virtual",
            # Each body has a checksum; hashing it once more would double the cost.
            "payload_signing_enabled": False,
        },
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        max_pool_connections=options.connections,
        # Both cost much for each call: what the library would tell of itself, and a comparison of
        # what it is given with its manual.
        user_agent="tusserver",
        parameter_validation=False,
        connect_timeout=5,
        read_timeout=60,
    )


@contextmanager
def errors() -> Iterator[None]:
    """Turns what the library raises into what a store may raise, or into one of the above."""
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from error
    except (BotoCoreError, HTTPClientError, HttpError, TimeoutError, OSError) as error:
        raise StorageUnavailable from error


def _meaning(error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("NoSuchUpload",):
        return MultipartMissing()
    if code in ("NoSuchKey", "404", "NotFound", "KeyTooLongError"):
        return ObjectMissing()
    if code in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
        return Superseded()
    if code == "ObjectParentIsFile":
        return KeyRefused("another object is in the way")
    if code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall"):
        return PartsRefused(str(error))
    if code in _FULL or status == StorageFull.status:
        return StorageFull()
    if code in _PASSING or status >= _SERVER_ERROR:
        return StorageUnavailable()
    return StorageFailed()


def sentence(error: Exception) -> str:
    """For a person."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchBucket"):
            return "there is no such bucket; make it first"
        if code in ("403", "AccessDenied"):
            return "the service refuses these keys, or the clock of this machine is wrong"
    if isinstance(error, NoCredentialsError):
        return "there are no keys; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, TimeoutError):
        return "the service does not answer"
    return str(error)
