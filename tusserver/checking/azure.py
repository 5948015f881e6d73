"""What a store in Azure Blob Storage needs of its service.

Nothing is told in the words of the service: what it says of a signature has the signature in it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from azure.core.exceptions import HttpResponseError

from tusserver.checking.azure_blocks import BlockChecks
from tusserver.checking.base import Lacking, Section
from tusserver.checking.bucket_objects import ObjectChecks
from tusserver.checking.bucket_places import place_checks
from tusserver.checking.bucket_trial import (
    DEADLINE,
    FAILURES,
    PART_DEADLINE,
    SKEW,
    Service,
    Trial,
    skew_of,
)
from tusserver.protocol.errors import TusError
from tusserver.store.azure_bucket import AzureBucket
from tusserver.store.azure_client import NOT_UNDERSTOOD
from tusserver.store.object_keys import Keys
from tusserver.store.object_parts import MIB

if TYPE_CHECKING:
    from tusserver.store.azure_options import AzureOptions
    from tusserver.store.base import StoreUnusable
    from tusserver.store.object_buffers import Span
    from tusserver.store.object_options import ObjectOptions

_RETRIES = 1
_CALLS = {
    ("GET", "list"): ("List Blobs", "list"),
    ("GET", "blocklist"): ("Get Block List", "read"),
    ("PUT", "blocklist"): ("Put Block List", "create and write"),
    ("PUT", "block"): ("Put Block", "create and write"),
    ("PUT", ""): ("Put Blob", "create and write"),
    ("GET", ""): ("Get Blob", "read"),
    ("HEAD", ""): ("Get Blob Properties", "read"),
    ("DELETE", ""): ("Delete Blob", "delete"),
}
"""The name of a call, and what has to be allowed for it."""
_NOT_US = {"AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"}
_REFUSED = (401, 403)
_UNKNOWN_CALL = (405, 501)
_VARIABLES = "see the AZURE_STORAGE_ variables"
_PROXY = "see whether a proxy stands in between"
_OTHER = "look at the service's log; see docs/azure.md"


class Liar(AzureBucket):
    """Sends checksums that are not those of the bytes."""

    async def _proof(self, data: bytes | Span) -> dict[str, str]:
        return await super()._proof(b"other bytes than those that are sent")


def container_section(options: AzureOptions, place: ObjectOptions) -> Section:
    """Tries the container, below the store's prefix."""
    # Every call has a deadline that a person can wait for.
    options = replace(
        options,
        retries=min(options.retries, _RETRIES),
        deadline=DEADLINE,
        part_deadline=PART_DEADLINE,
    )
    service, keys = _service(options, place.prefix), Keys(place.prefix)
    trial = Trial(service, place.rules, AzureBucket(options), Liar(options), keys)
    checks = (
        *ObjectChecks(trial).checks(),
        *BlockChecks(trial).checks(),
        *place_checks(trial, place.destination),
    )
    where = f"azure://{options.container}/{place.prefix} at {_address(options)}"
    return Section(f"Container {where}", checks, FAILURES, service.explain, trial.close)


def _address(options: AzureOptions) -> str:
    if options.connection_string:
        return "what AZURE_STORAGE_CONNECTION_STRING names"
    return urlsplit(options.url)._replace(query="").geturl() or "no account"


def _service(options: AzureOptions, prefix: str) -> Service:
    return Service(
        explain=lambda error: _explain(error, options, prefix),
        unreached=lambda error: _unreached(error, options.container),
        status_of=_status_of,
        checksum="md5",
        part_size=MIB,
        needs_seen_removals=True,
        is_broken=f"this is no Blob Storage that uploads can be kept in; {_PROXY}",
        is_unconditional="two servers could both go on with the same upload: let no proxy stand in "
        "between that drops the headers If-Match and If-None-Match",
        verifies_nothing="half a block could be taken for a whole one: let no proxy stand in "
        "between that drops the header Content-MD5",
        removes_unseen="what a sweep removes could be what somebody else has just finished",
    )


def _unreached(error: StoreUnusable, container: str) -> Lacking:
    answer = _refusal(error)
    if answer is None:
        return Lacking(str(error), f"see --store and --azure-endpoint; {_VARIABLES}")
    response = cast("Any", answer.response)  # It has no public type.
    skew = skew_of(response.headers.get("Date", ""))
    if skew is not None and abs(skew) > SKEW:
        advice = f"the clocks differ by {skew:.0f} s; the service takes {SKEW} s at most"
        return Lacking(f"container {container}: the service refuses this clock", advice)
    code = _code_of(answer)
    if answer.status_code in _REFUSED and code not in _NOT_US:
        advice = f"{_VARIABLES}, and whether they give the right list on the container"
        return Lacking(f"container {container}: not allowed ({code})", advice)
    return Lacking(str(error), f"see --store and --azure-endpoint; {_VARIABLES}")


def _explain(error: Exception, options: AzureOptions, prefix: str) -> Lacking:
    answer = _refusal(error)
    if answer is None:
        cause = error.__cause__ or error
        if isinstance(cause, TusError):
            return Lacking(cause.message, _OTHER)  # The store's own verdict over an answer.
        if isinstance(cause, NOT_UNDERSTOOD):
            return Lacking("the service does not answer as Blob Storage does", _PROXY)
        reason = f"no answer within {options.deadline:g} s"
        if not isinstance(cause, TimeoutError):
            reason = type(cause).__name__
        advice = "see whether --azure-endpoint is right and can be reached from here"
        return Lacking(f"the service cannot be reached: {reason}", advice)
    (call, right), code = _call_of(answer), _code_of(answer)
    if code in _NOT_US:
        advice = f"{_VARIABLES}, and the clock of this machine"
        return Lacking(f"the service refuses the key: {code}", advice)
    if answer.status_code in _REFUSED:
        where = f"{options.container}/{prefix}*"
        advice = f"give this key the right {right} on {where}"
        return Lacking(f"{call} is not allowed ({code})", advice)
    if answer.status_code in _UNKNOWN_CALL:
        return Lacking(f"the service does not know {call}", _OTHER)
    return Lacking(f"{call} failed: {answer.status_code} {code}", _OTHER)


def _refusal(error: BaseException) -> HttpResponseError | None:
    """The answer of the service behind an error; None if there was none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HttpResponseError) and cause.response is not None:
            return cause
        cause = cause.__cause__
    return None


def _status_of(error: BaseException) -> int | None:
    answer = _refusal(error)
    return None if answer is None else answer.status_code


def _call_of(answer: HttpResponseError) -> tuple[str, str]:
    request = cast("Any", answer.response).request
    if "x-ms-copy-source" in request.headers:
        return "Copy Blob", "read, create and write"
    kind = parse_qs(urlsplit(request.url).query).get("comp", [""])[0]
    return _CALLS.get((request.method, kind), (request.method, "read"))


def _code_of(answer: HttpResponseError) -> str:
    code = getattr(answer, "error_code", None)
    return str(getattr(code, "value", code) or answer.status_code or "")
