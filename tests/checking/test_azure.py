"""Each thing that a container may lack is noticed and named, on a real service behind a proxy that
spoils it, or with a signature that allows less.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.checking import states, tried
from tests.checking.faults import (
    WritesAllTheSame,
    at_another_time,
    hanging_up,
    no_atomic_writes,
    other_tags,
)
from tests.checking.proxy import (
    Azure,
    Fault,
    Proxy,
    Request,
    Response,
    Way,
    answering,
    azure_error,
    dropping,
    hiding,
    honest,
    proxy_to,
)
from tests.store.azure_server import ACCOUNT, CONTAINER, KEY, AzureServer, signature
from tests.store.bucket import Prefix
from tusserver.checking.azure import container_section
from tusserver.checking.base import Result, State
from tusserver.lock.memory import MemoryLocker
from tusserver.policy.naming import numbered
from tusserver.store.azure_options import AzureOptions, azure_rules
from tusserver.store.collisions import OnCollision
from tusserver.store.object_options import ObjectOptions
from tusserver.store.object_parts import MIB
from tusserver.store.object_places import Destination
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio

RULES = azure_rules(8 * MIB)
DENIED = azure_error(403, "AuthorizationPermissionMismatch")
REFUSED = azure_error(412, "ConditionNotMet")
FORBIDDEN = Response(
    403, {"content-type": "application/xml"}, b"<html><body>Forbidden</body></html>"
)
EXISTS = azure_error(409, "BlobAlreadyExists")


@pytest.fixture
def prefix(azure: AzureServer) -> Prefix:
    return Prefix(azure, f"{secrets.token_hex(4)}/")


@pytest.fixture
def proxy(azure: AzureServer) -> Iterator[Proxy]:
    with proxy_to(azure.port, Azure()) as proxy:
        yield proxy


def options(prefix: Prefix, **changes: Any) -> AzureOptions:
    """Of a client with a shared access signature."""
    assert isinstance(prefix.server, AzureServer)
    given = {"account": "", "key": "", "sas": signature(), "retries": 0, **changes}
    return prefix.server.bucket(**given).options


async def checked(prefix: Prefix, *only: str, **changes: Any) -> dict[str, Result]:
    destination = Destination(f"jobs-{prefix.prefix}", OnCollision.NUMBER, numbered)
    place = ObjectOptions(prefix.prefix, RULES, destination=destination)
    section = container_section(options(prefix, **changes), place)
    return await tried(section, *only)


async def checked_through(
    proxy: Proxy, prefix: Prefix, fault: Fault, *only: str
) -> dict[str, Result]:
    proxy.fault = fault
    return await checked(prefix, *only, url=f"{proxy.endpoint}/{ACCOUNT}")


# What is as it should be.


async def test_a_good_service_has_everything_and_nothing_is_touched_but_what_was_made(
    azure: AzureServer, proxy: Proxy, prefix: Prefix
) -> None:
    upload_id = f"{prefix.prefix}{'b' * 32}"
    azure.put(f"{upload_id}.info", b"of an upload")
    azure.begin(upload_id)
    before = prefix.objects(), azure.waiting(upload_id)
    assert states(await checked_through(proxy, prefix, honest), State.OK) == {}
    assert (prefix.objects(), azure.waiting(upload_id)) == before
    assert prefix.multiparts() == 1
    for request in proxy.seen:
        key = request.target.partition("?")[0].removeprefix(f"/{ACCOUNT}/{CONTAINER}")[1:]
        assert key == "" or re.fullmatch(
            rf"{prefix.prefix}[0-9a-f]{{32}}(\.info|\.part-[0-9a-f]{{16}})?"
            rf"|jobs-{prefix.prefix}\.tusserver-check-[0-9a-f]{{16}}",
            key,
        )
        assert not key.startswith(upload_id)
    assert sum(len(request.body) for request in proxy.seen) < 4 * MIB


async def test_each_way_in_is_good_and_no_secret_is_shown(
    azure: AzureServer, prefix: Prefix
) -> None:
    text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={azure.endpoint}"
    for changes in (
        {"account": ACCOUNT, "key": KEY, "sas": ""},
        {"connection_string": f"DefaultEndpointsProtocol=http;{text}", "url": "", "sas": ""},
    ):
        made = options(prefix, **changes)
        section = container_section(made, ObjectOptions(prefix.prefix, RULES))
        found = await tried(section, "write an object")
        assert states(found, State.OK) == {}
        assert KEY not in section.title
    made = options(prefix, url=f"{azure.endpoint}?{signature()}")
    assert "sig" not in container_section(made, ObjectOptions(prefix.prefix, RULES)).title
    prefix.assert_only()


# What is missing.


def taking_blocks_away(request: Request, way: Way) -> Response:
    """Refuses a write over blocks that wait, and forgets them."""
    if request.call == "Put Blob" and request.body == b"late":
        way(Request("PUT", f"{request.target}&comp=blocklist", {}, b"<BlockList/>"))
        return EXISTS
    return way(request)


def only_other_writes(request: Request, way: Way) -> Response:
    """Takes a new object wherever blocks wait."""
    if request.body == b"late":
        request.drop("if-none-match")
    return way(request)


def keeps_blocks(*, conditional: bool) -> Fault:
    """Says that it has forgotten the blocks when it is given an empty list, and has not."""

    def fault(request: Request, way: Way) -> Response:
        is_empty = request.call == "Put Block List" and b"<Latest>" not in request.body
        if is_empty and ("if-match" in request.headers) == conditional:
            answer = way(Request("HEAD", request.target.replace("comp=blocklist", ""), {}, b""))
            return Response(201, {"etag": answer.headers.get("etag", '"none"')})
        return way(request)

    return fault


def keeps_marks(request: Request, way: Way) -> Response:
    """Removes no mark."""
    is_mark = request.call == "Delete Blob" and "if-match" in request.headers
    return Response(202) if is_mark else way(request)


def forgets_a_block(request: Request, way: Way) -> Response:
    if request.call == "Put Block List":
        request.body = re.sub(rb"<Latest>[^<]*</Latest>(?=\s*</B)", b"", request.body)
    return way(request)


def other_bytes(request: Request, way: Way) -> Response:
    """Blocks of a real size come out one byte different."""
    if request.call == "Put Block" and len(request.body) >= MIB:
        request.body = request.body[:-1] + bytes([request.body[-1] ^ 1])
        request.drop("content-md5")
    return way(request)


class RefusesAgain:
    """A list of blocks is taken once only."""

    def __init__(self) -> None:
        self._taken = set[bytes]()

    def __call__(self, request: Request, way: Way) -> Response:
        if request.call == "Put Block List" and b"<Latest>" in request.body:
            if request.body in self._taken:
                return azure_error(400, "InvalidBlockList")
            self._taken.add(request.body)
        return way(request)


def other_range(request: Request, way: Way) -> Response:
    if request.headers.get("x-ms-range") == "bytes=100-299":
        request.headers["x-ms-range"] = "bytes=0-199"
    return way(request)


def copies_another(request: Request, way: Way) -> Response:
    """Tells that something has been copied, and has put something else there."""
    if request.call != "Copy Blob":
        return way(request)
    kept = {k: v for k, v in request.headers.items() if not k.startswith("x-ms-copy-")}
    kept["x-ms-blob-type"] = "BlockBlob"
    answer = way(Request("PUT", request.target, kept, b"another"))
    answer.status = 202
    return answer


def keeps_what_it_refuses(request: Request, way: Way) -> Response:
    told = request.headers.get("content-md5")
    answer = way(request)
    if told is None or request.call != "Put Blob" or answer.status != 400:
        return answer
    request.drop("content-md5")
    way(request)
    return answer


NEW, SEEN, RACE = "write only what is new", "replace only what was seen", "only one replaces it"
REACH = "reach the bucket"
PLACE, OVER = "place a finished upload", "place nothing over another"
WRITE, READ, CHECKSUM = "write an object", "read an object", "verify a checksum"
SEND, FIND, JOIN = "send a part", "find multipart uploads", "put the parts together"
LIST, KEEP = "list the blocks that wait", "keep the blocks that wait"
BLOCKS, AGAIN, END = (
    "write an object in blocks",
    "put blocks together twice",
    "end a multipart upload",
)
NO_BLOCKS = b"<Block>.*?</Block>"
MISSING: dict[str, tuple[Fault, str, str]] = {
    "if-none-match": (dropping("if-none-match"), NEW, "If-None-Match: * was accepted"),
    "written": (WritesAllTheSame("Put Blob", EXISTS), NEW, "refused, and done all the same"),
    "if-match": (dropping("if-match"), SEEN, "If-Match and an old tag was accepted"),
    "atomic": (no_atomic_writes("Put Blob", REFUSED), RACE, "8 of 8"),
    "removal": (
        dropping("if-match", of="Delete Blob"), "remove only what was seen", "old tag was accepted",
    ),
    "checksum": (
        dropping("content-md5", of="Put Blob"), CHECKSUM, "wrong checksum (md5) was accepted",
    ),
    "kept": (keeps_what_it_refuses, CHECKSUM, "was refused, and kept"),
    "part-checksum": (
        dropping("content-md5", of="Put Block"),
        "verify the checksum of a part",
        "wrong checksum was accepted",
    ),
    "tag": (other_tags("Get Blob"), READ, "with another tag"),
    "content": (
        answering(
            "Get Blob", Response(206, {"etag": '"a"', "content-range": "bytes 0-2/3"}, b"old"),
        ),
        READ,
        "other bytes came back",
    ),
    "range": (other_range, "read a range", "other bytes came"),
    "stranger": (
        answering("List Blobs", azure_error(403, "AuthenticationFailed")), REACH,
        "the service refuses this key",
    ),
    "not-azure": (answering("List Blobs", FORBIDDEN), REACH, "not answer as Blob Storage"),
    "size": (
        answering("Get Blob Properties", Response(200, {"content-length": "7", "etag": '"a"'})),
        "size of an object",
        "7 bytes are told instead of 1000",
    ),
    "listing": (hiding("List Blobs", rb"<Blob>.*</Blob>"), "list objects", "not listed"),
    "marks": (hiding("List Blobs", rb"<Blob>.*</Blob>"), FIND, "not listed"),
    "delete": (answering("Delete Blob", Response(202)), "remove an object", "still there"),
    "hangs-up": (hanging_up("Put Blob"), WRITE, "cannot be reached"),
    "key": (
        answering("Put Blob", azure_error(403, "AuthenticationFailed")), WRITE, "refuses the key",
    ),
    "not-understood": (answering("Put Blob", FORBIDDEN), WRITE, "not answer as Blob Storage"),
    "failing": (answering("Put Blob", azure_error(400, "Odd")), WRITE, "Put Blob failed: 400 Odd"),
    "unknown": (answering("Put Block", azure_error(501, "NotYet")), SEND, "not know Put Block"),
    "bytes": (other_bytes, JOIN, "other bytes than its parts"),
    "names": (forgets_a_block, JOIN, "bytes instead of"),
    "new-blocks": (dropping("if-none-match", of="Put Block List"), BLOCKS, "over the first one"),
    "no-blocks": (hiding("Get Block List", NO_BLOCKS), LIST, "just sent is not listed"),
    "lost-blocks": (taking_blocks_away, KEEP, "gone after a write that was refused"),
    "late-write": (only_other_writes, KEEP, "accepted over blocks that wait"),
    "metadata": (dropping("x-ms-meta-tusserver"), KEEP, "without its metadata"),
    "copied-mark": (dropping("x-ms-meta-tusserver_upload"), PLACE, "mark"),
    "copied-over": (dropping("if-none-match", of="Copy Blob"), OVER, "over the first one"),
    "copied": (copies_another, PLACE, "the copy has"),
    "again": (RefusesAgain(), AGAIN, "refused once it has been done"),
    "kept-by-abort": (keeps_blocks(conditional=True), END, "completed all the same"),
    "kept-by-clear": (keeps_blocks(conditional=False), END, "completed all the same"),
    "kept-marks": (keeps_marks, END, "still listed"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
async def test_what_is_missing_is_named(proxy: Proxy, prefix: Prefix, name: str) -> None:
    fault, check, words = MISSING[name]
    result = (await checked_through(proxy, prefix, fault, check))[check]
    assert (result.state, words in result.text) == (State.MISSING, True), result
    assert result.advice


RIGHTS = {
    "racwl": ("remove an object", "Delete Blob is not allowed", "the right delete on"),
    "racdl": (SEND, "Put Block is not allowed", "the right create and write on"),
    "rdl": (WRITE, "Put Blob is not allowed", "the right create and write on"),
    "acwdl": (READ, "Get Blob is not allowed", "the right read on"),
    "racwd": (REACH, "not allowed", "the right list on the container"),
}


@pytest.mark.parametrize("rights", RIGHTS)
async def test_a_right_that_is_missing_is_named(prefix: Prefix, rights: str) -> None:
    name, text, advice = RIGHTS[rights]
    found = await checked(prefix, name, sas=signature(rights))
    assert (found[name].state, text in found[name].text) == (State.MISSING, True), found
    assert advice in found[name].advice
    assert {each.state for each in found.values()} <= {State.OK, State.MISSING, State.NOTE}


async def test_the_rights_of_the_manual_are_enough(prefix: Prefix) -> None:
    assert states(await checked(prefix, sas=signature("rcwdl")), State.OK) == {}


# The container itself.


async def test_a_container_that_cannot_be_reached_is_all_that_is_said(prefix: Prefix) -> None:
    account = {"account": ACCOUNT, "key": KEY, "sas": ""}
    for changes, words in (
        ({**account, "key": "d3Jvbmc="}, "not allowed (AuthorizationFailure)"),
        ({**account, "container": "missing"}, "there is no such container"),
        ({**account, "url": f"http://127.0.0.1:9/{ACCOUNT}"}, "does not answer"),
        ({"sas": ""}, "there are no keys"),
    ):
        found = await checked(prefix, **changes)
        assert words in found[REACH].text, found
        del found[REACH]
        assert set(states(found).values()) == {State.UNTRIED}


async def test_clocks_that_differ_are_told(proxy: Proxy, prefix: Prefix) -> None:
    name = "clocks agree"
    found = await checked_through(proxy, prefix, at_another_time(100, "date"), name)
    assert states(found, State.OK) == {name: State.NOTE}
    assert re.fullmatch(r"they differ by (99|100|101) s", found[name].text)
    late = at_another_time(-2000, "date")

    def refuses(request: Request, way: Way) -> Response:
        return late(request, lambda request: azure_error(403, "AuthenticationFailed"))

    found = await checked_through(proxy, prefix, refuses, name)
    assert "refuses this clock" in found[REACH].text


# What stays behind.


async def test_what_could_not_be_removed_is_told_and_swept(proxy: Proxy, prefix: Prefix) -> None:
    for call, name, words in (
        ("Put Block List", SEND, rf"could not remove what waits at {prefix.prefix}[0-9a-f]{{32}}"),
        ("Delete Blob", NEW, rf"could not remove {prefix.prefix}[0-9a-f]{{32}}\.part-"),
    ):
        found = await checked_through(proxy, prefix, answering(call, DENIED), name)
        assert found["leave nothing behind"].state is State.NOTE
        assert re.search(words, found["leave nothing behind"].text)
    assert prefix.objects()
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)  # The service tells the time to the second.
        await Sweeper(Uploads(store, MemoryLocker())).sweep()
    prefix.assert_only()
