"""How the library for Azure is set up, and what its errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError as HttpError
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob.aio import ContainerClient, ExponentialRetry

from tusserver.protocol.errors import StorageFailed, StorageFull, StorageUnavailable
from tusserver.store.bucket import ObjectMissing, PartsRefused, Superseded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.store.azure_options import AzureOptions

_SUPERSEDED = {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"}
_FULL = {"BlockCountExceedsLimit", "BlockListTooLong", "RequestBodyTooLarge"}
_PASSING = {"Md5Mismatch", "OperationTimedOut", "ServerBusy", "InternalError"}
_NOT_FOUND, _TIMEOUT, _TOO_MANY = 404, 408, 429
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_REFUSED = (401, 403)
NOT_UNDERSTOOD = (ValueError, TypeError)
"""What the library raises over an answer that is not the service's own, but a proxy's perhaps."""


def client(options: AzureOptions, read_size: int) -> ContainerClient:
    """A client of the container, which reads so many bytes at a time. Raises ValueError."""
    given: dict[str, Any] = {
        "max_single_get_size": read_size,
        "max_chunk_get_size": read_size,
        "retry_policy": ExponentialRetry(
            initial_backoff=0, increment_base=2, retry_total=options.retries, random_jitter_range=1
        ),
        "connection_timeout": 5,
        "read_timeout": 60,
    }
    if options.connection_string:
        return ContainerClient.from_connection_string(
            options.connection_string, options.container, **given
        )
    credential: AzureNamedKeyCredential | AzureSasCredential | None = None
    if options.account and options.key:
        credential = AzureNamedKeyCredential(options.account, options.key)
    elif options.sas:
        credential = AzureSasCredential(options.sas)
    if credential is None or not options.url:
        raise ValueError(
            "there are no keys; give AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and "
            "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
        )
    return ContainerClient(options.url, options.container, credential, **given)


def only_over(seen: str) -> dict[str, Any]:
    """The condition that the object has this tag."""
    return {"etag": seen, "match_condition": MatchConditions.IfNotModified}


def only_new() -> dict[str, Any]:
    """The condition that there is no object."""
    return {"match_condition": MatchConditions.IfMissing}


@contextmanager
def errors() -> Iterator[None]:
    """Turns what the library raises into what a store may raise, or into what a bucket may."""
    try:
        yield
    except HttpResponseError as error:
        raise _meaning(error) from error
    except (AzureError, HttpError, TimeoutError, OSError, *NOT_UNDERSTOOD) as error:
        raise StorageUnavailable from error


def _meaning(error: HttpResponseError) -> Exception:
    code, status = _code(error), error.status_code or _SERVER_ERROR
    if code in _SUPERSEDED:
        return Superseded()
    if code == "InvalidBlockList":
        return PartsRefused(code)
    if status == _NOT_FOUND and code != "ContainerNotFound":
        return ObjectMissing()
    if code in _FULL:
        return StorageFull()
    if code in _PASSING or status in (_TIMEOUT, _TOO_MANY):
        return StorageUnavailable()
    # Below: the answer broke off.
    return StorageFailed() if _CLIENT_ERROR <= status < _SERVER_ERROR else StorageUnavailable()


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def sentence(error: Exception) -> str:
    """For a person, without the address of the service: it may have a signature in it."""
    if isinstance(error, HttpResponseError):
        if error.status_code == _NOT_FOUND:
            return "there is no such container; make it first"
        if error.status_code in _REFUSED or isinstance(error, ClientAuthenticationError):
            return "the service refuses this key, or the clock of this machine is wrong"
        return f"the service answers {error.status_code} {_code(error)}"
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, TypeError):
        return "the service does not answer as Blob Storage does"
    return "the service does not answer"
