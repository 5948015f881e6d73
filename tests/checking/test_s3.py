"""Each thing that a bucket may lack is noticed and named, on a real service behind a proxy that
spoils it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import zlib
from collections import defaultdict
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
    Fault,
    Proxy,
    Request,
    Response,
    Way,
    answering,
    dropping,
    error,
    hiding,
    honest,
    proxy_to,
)
from tests.store.bucket import ASCENDING, Prefix
from tests.store.s3_server import BUCKET, S3Server
from tusserver.checking.base import Result, State
from tusserver.checking.s3 import bucket_section
from tusserver.lock.memory import MemoryLocker
from tusserver.policy.naming import numbered
from tusserver.store.collisions import OnCollision
from tusserver.store.object_options import ObjectOptions
from tusserver.store.object_parts import PartRules
from tusserver.store.object_places import Destination
from tusserver.store.s3_options import PartChecksum, S3Options
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio

DENIED = error(403, "AccessDenied")
REFUSED = error(412, "PreconditionFailed")


@pytest.fixture
def prefix(s3: S3Server) -> Prefix:
    return Prefix(s3, f"{secrets.token_hex(4)}/")


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with proxy_to(s3.port) as proxy:
        yield proxy


def options(prefix: Prefix, proxy: Proxy, **changes: Any) -> S3Options:
    given = {"endpoint": proxy.endpoint, "connections": 8, "attempts": 1, **changes}
    return server_of(prefix).bucket(**given).options


def server_of(prefix: Prefix) -> S3Server:
    assert isinstance(prefix.server, S3Server)
    return prefix.server


async def checked_through(
    proxy: Proxy,
    prefix: Prefix,
    fault: Fault,
    *only: str,
    joins: bool = True,
    rules: PartRules = ASCENDING,
    on_collision: OnCollision = OnCollision.NUMBER,
    **changes: Any,
) -> dict[str, Result]:
    proxy.fault = fault
    destination = Destination(f"jobs-{prefix.prefix}", on_collision, numbered)
    place = ObjectOptions(prefix.prefix, rules, destination=destination)
    section = bucket_section(options(prefix, proxy, **changes), place, joins=joins)
    return await tried(section, *only)


# What is as it should be.


@pytest.mark.parametrize("checksum", [PartChecksum.MD5, PartChecksum.NONE])
async def test_a_good_service_has_everything_with_other_checksums(
    proxy: Proxy, prefix: Prefix, checksum: PartChecksum
) -> None:
    names = ("verify a checksum", "verify the checksum of a part", "parts of any size", COPY)
    found = await checked_through(proxy, prefix, honest, *names, checksum=checksum)
    unverified = {"verify a checksum": State.NOTE, "verify the checksum of a part": State.NOTE}
    assert states(found, State.OK) == (unverified if checksum is PartChecksum.NONE else {})
    prefix.assert_only()


async def test_what_may_be_replaced_needs_no_condition(proxy: Proxy, prefix: Prefix) -> None:
    fault = dropping("if-none-match", of="CompleteMultipartUpload")
    found = await checked_through(proxy, prefix, fault, PLACE, on_collision=OnCollision.REPLACE)
    assert states(found, State.OK) == {}
    assert OVER not in found
    assert server_of(prefix).keys(f"jobs-{prefix.prefix}") == []
    assert server_of(prefix).multiparts(f"jobs-{prefix.prefix}") == []


async def test_a_good_service_has_everything_and_nothing_is_touched_but_what_was_made(
    proxy: Proxy, prefix: Prefix
) -> None:
    client = server_of(prefix).client()
    keys = [f"{prefix.prefix}{'b' * 32}{suffix}" for suffix in ("", ".info", f".part-{'0' * 16}")]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"of an upload")
    client.create_multipart_upload(Bucket=BUCKET, Key=keys[0])
    before = prefix.objects()
    found = await checked_through(proxy, prefix, honest)
    assert states(found, State.OK) == {}
    assert prefix.objects() == before
    assert prefix.multiparts() == 1
    for request in proxy.seen:
        key = request.target.partition("?")[0].removeprefix(f"/{BUCKET}").removeprefix("/")
        assert key == "" or re.fullmatch(
            rf"{prefix.prefix}[0-9a-f]{{32}}(\.info|\.part-[0-9a-f]{{16}})?"
            rf"|jobs-{prefix.prefix}\.tusserver-check-[0-9a-f]{{16}}",
            key,
        )
        assert not any(key.startswith(each) for each in keys)
    assert sum(len(request.body) for request in proxy.seen) < 16 * 2**20


# What is missing.


def copies_whole(request: Request, way: Way) -> Response:
    request.drop("x-amz-copy-source-range")
    return way(request)


def other_bytes(request: Request, way: Way) -> Response:
    """Parts of a real size come out one byte different."""
    if request.call == "UploadPart" and len(request.body) > 2**20:
        request.body = request.body[:-1] + bytes([request.body[-1] ^ 1])
        request.drop("content-md5", "x-amz-checksum-crc32")
    return way(request)


def other_copies(request: Request, way: Way) -> Response:
    """Not the whole of the object."""
    if request.call == "UploadPartCopy":
        request.headers["x-amz-copy-source-range"] = "bytes=0-9"
    return way(request)


class EqualParts:
    """As R2: parts of different sizes are not put together."""

    def __init__(self) -> None:
        self._sizes = defaultdict[str, set[int]](set)

    def __call__(self, request: Request, way: Way) -> Response:
        if request.call == "UploadPartCopy":
            copied = request.headers["x-amz-copy-source-range"].removeprefix("bytes=")
            start, _, end = copied.partition("-")
            self._sizes[request.query["uploadId"][0]].add(int(end) - int(start))
        is_over = request.call == "CompleteMultipartUpload"
        if is_over and len(self._sizes[request.query["uploadId"][0]]) > 1:
            return error(400, "InvalidPart")
        return way(request)


class AnyTag:
    """Parts count whatever tag they are named with."""

    def __init__(self) -> None:
        self._tags = dict[tuple[str, str], bytes]()

    def __call__(self, request: Request, way: Way) -> Response:
        multipart = request.query.get("uploadId", [""])[0]
        if request.call == "CompleteMultipartUpload":

            def mend(part: re.Match[bytes]) -> bytes:
                number = re.search(rb"<PartNumber>(\d+)<", part[0])
                assert number
                tag = self._tags[multipart, number[1].decode()]
                return re.sub(rb"<ETag>.*?</ETag>", b"<ETag>" + tag + b"</ETag>", part[0])

            request.body = re.sub(rb"<Part>.*?</Part>", mend, request.body)
        answer = way(request)
        number = request.query.get("partNumber", [""])[0]
        if request.call == "UploadPart":
            self._tags[multipart, number] = answer.headers["etag"].encode()
        elif request.call == "UploadPartCopy":
            found = re.search(rb"<ETag>(.*?)</ETag>", answer.body)
            assert found
            self._tags[multipart, number] = found[1]
        return answer


def keeps_what_it_refuses(request: Request, way: Way) -> Response:
    told = request.headers.get("x-amz-checksum-crc32")
    if told is None or request.call != "PutObject":
        return way(request)
    request.drop("x-amz-checksum-crc32")
    answer = way(request)
    is_right = base64.b64decode(told) == zlib.crc32(request.body).to_bytes(4, "big")
    return answer if is_right else error(400, "BadDigest")


class HidesWhatWasEnded:
    """Says that a multipart upload has ended, does not list it, and still has it."""

    def __init__(self) -> None:
        self._is_ended = False

    def __call__(self, request: Request, way: Way) -> Response:
        if request.call == "AbortMultipartUpload":
            self._is_ended = True
            return Response(204)
        if request.call == "ListMultipartUploads" and self._is_ended:
            return hiding("ListMultipartUploads", rb"<Upload>.*</Upload>")(request, way)
        return way(request)


NEW, SEEN, RACE = "write only what is new", "replace only what was seen", "only one replaces it"
CLOCK = "clocks agree"
PLACE, OVER = "place a finished upload", "place nothing over another"
JOIN, COPY, END = "put the parts together", "copy a range into a part", "end a multipart upload"
MISSING: dict[str, tuple[Fault, str, str]] = {
    "if-none-match": (dropping("if-none-match"), NEW, "If-None-Match: * was accepted"),
    "written": (WritesAllTheSame("PutObject", REFUSED), NEW, "refused, and done all the same"),
    "if-match": (dropping("if-match"), SEEN, "If-Match and an old tag was accepted"),
    "atomic": (no_atomic_writes("PutObject", REFUSED), RACE, "8 of 8"),
    "checksum": (
        dropping("content-md5", "x-amz-checksum-crc32", of="PutObject"),
        "verify a checksum",
        "wrong checksum (crc32) was accepted",
    ),
    "part-checksum": (
        dropping("content-md5", "x-amz-checksum-crc32", of="UploadPart"),
        "verify the checksum of a part",
        "wrong checksum was accepted",
    ),
    "kept": (keeps_what_it_refuses, "verify a checksum", "was refused, and kept"),
    "tag": (other_tags("GetObject"), "read an object", "with another tag"),
    "hidden": (HidesWhatWasEnded(), END, "completed all the same"),
    "hangs-up": (hanging_up("PutObject"), "write an object", "cannot be reached"),
    "keys": (
        answering("PutObject", error(403, "SignatureDoesNotMatch")),
        "write an object",
        "refuses the keys",
    ),
    "failing": (
        answering("PutObject", error(400, "Strange")),
        "write an object",
        "PutObject failed: Strange",
    ),
    "range": (dropping("range"), "read a range", "other bytes came"),
    "copy-range": (copies_whole, COPY, "bytes instead of"),
    "bytes": (other_bytes, JOIN, "other bytes than its parts"),
    "equal": (EqualParts(), "parts of any size", "different sizes are refused"),
    "listing": (hiding("ListObjectsV2", rb"<Contents>.*</Contents>"), "list objects", "not listed"),
    "multiparts": (
        hiding("ListMultipartUploads", rb"<Upload>.*</Upload>"),
        "find multipart uploads",
        "not listed",
    ),
    "abort": (answering("AbortMultipartUpload", Response(204)), END, "still listed"),
    "delete": (answering("DeleteObject", Response(204)), "remove an object", "still there"),
    "copy": (answering("UploadPartCopy", error(501, "NotImplemented")), COPY, "does not know"),
    "size": (
        answering("HeadObject", Response(200, {"content-length": "7"})),
        "size of an object",
        "7 bytes are told instead of 1000",
    ),
    "place": (other_copies, PLACE, "other bytes than the upload"),
    "mark": (dropping("x-amz-meta-tusserver-upload", of="CreateMultipartUpload"), PLACE, "mark"),
    "over": (dropping("if-none-match", of="CompleteMultipartUpload"), OVER, "over the first one"),
    "content": (
        answering("GetObject", Response(200, {"etag": '"a"'}, b"old")),
        "read an object",
        "other bytes came back",
    ),
}


@pytest.mark.parametrize("name", MISSING)
async def test_what_is_missing_is_named(proxy: Proxy, prefix: Prefix, name: str) -> None:
    fault, check, words = MISSING[name]
    kind = PartChecksum.MD5 if name == "bytes" else PartChecksum.CRC32
    # Only copied parts are of unequal size.
    with_copies = [COPY] if name == "equal" else []
    found = await checked_through(proxy, prefix, fault, check, *with_copies, checksum=kind)
    result = found[check]
    assert (result.state, words in result.text) == (State.MISSING, True), result
    assert result.advice


RIGHTS = {
    "PutObject": ("write an object", "s3:PutObject"),
    "GetObject": ("read an object", "s3:GetObject"),
    "HeadObject": ("size of an object", "s3:GetObject"),
    "ListObjectsV2": ("list objects", "s3:ListBucket"),
    "DeleteObject": ("remove an object", "s3:DeleteObject"),
    "CreateMultipartUpload": ("begin a multipart upload", "s3:PutObject"),
    "UploadPart": ("send a part", "s3:PutObject"),
    "UploadPartCopy": (COPY, "s3:PutObject and s3:GetObject"),
    "CompleteMultipartUpload": (JOIN, "s3:PutObject"),
    "AbortMultipartUpload": (END, "s3:AbortMultipartUpload"),
    "ListMultipartUploads": ("find multipart uploads", "s3:ListBucketMultipartUploads"),
    "HeadBucket": ("reach the bucket", "s3:ListBucket"),
}


@pytest.mark.parametrize("call", RIGHTS)
async def test_a_right_that_is_missing_is_named(proxy: Proxy, prefix: Prefix, call: str) -> None:
    name, right = RIGHTS[call]
    result = (await checked_through(proxy, prefix, answering(call, DENIED), name))[name]
    assert (result.state, "not allowed" in result.text) == (State.MISSING, True), result
    assert f"{right} on" in result.advice or f"right {right}" in result.advice


async def test_what_builds_on_something_missing_is_not_tried(proxy: Proxy, prefix: Prefix) -> None:
    wished = "remove only what was seen"
    found = await checked_through(proxy, prefix, dropping("if-match"), SEEN, RACE, wished)
    assert states(found, State.OK) == {
        SEEN: State.MISSING,
        RACE: State.UNTRIED,
        wished: State.NOTE,
    }
    assert SEEN in found[RACE].text


async def test_what_is_only_wished_for_is_a_note(proxy: Proxy, prefix: Prefix) -> None:
    for fault, name in (
        (AnyTag(), "refuse parts that it has not"),
        (dropping("if-match", of="DeleteObject"), "remove only what was seen"),
        (answering("UploadPartCopy", DENIED), COPY),
    ):
        found = await checked_through(proxy, prefix, fault, name, joins=False)
        assert states(found, State.OK) == {name: State.NOTE}


async def test_parts_that_are_small_may_be_taken(proxy: Proxy, prefix: Prefix) -> None:
    name = "parts below 5 MiB"
    done = b"<CompleteMultipartUploadResult><ETag>a</ETag></CompleteMultipartUploadResult>"

    def takes_two(request: Request, way: Way) -> Response:
        is_over = request.call == "CompleteMultipartUpload"
        if is_over and request.body.count(b"<Part>") == 2:
            return Response(200, {}, done)
        return way(request)

    for fault, words in ((honest, "refused, as by S3"), (takes_two, "taken, though")):
        found = await checked_through(proxy, prefix, fault, name)
        assert (found[name].state, words in found[name].text) == (State.OK, True)


async def test_equal_parts_are_enough_where_they_are_all_that_is_sent(
    proxy: Proxy, prefix: Prefix
) -> None:
    rules = PartRules(usual=ASCENDING.usual, are_equal=True)
    found = await checked_through(proxy, prefix, EqualParts(), rules=rules)
    assert states(found, State.OK) == {}
    assert "parts of any size" not in found


# The bucket itself.


async def test_a_bucket_that_cannot_be_reached_is_all_that_is_said(
    proxy: Proxy, prefix: Prefix
) -> None:
    for changes, words in (
        ({"secret_key": "wrong"}, "not allowed"),
        ({"bucket": "missing"}, "there is no such bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "Could not connect"),
    ):
        made = options(prefix, proxy, **{"endpoint": server_of(prefix).endpoint, **changes})
        found = await tried(bucket_section(made, ObjectOptions(prefix.prefix), joins=True))
        assert words in found["reach the bucket"].text, found
        del found["reach the bucket"]
        assert set(states(found).values()) == {State.UNTRIED}


async def test_clocks_that_differ_are_told(proxy: Proxy, prefix: Prefix) -> None:
    found = await checked_through(proxy, prefix, at_another_time(100, "date"), CLOCK)
    assert states(found, State.OK) == {CLOCK: State.NOTE}
    assert re.fullmatch(r"they differ by (99|100|101) s", found[CLOCK].text)
    found = await checked_through(proxy, prefix, at_another_time(-2000, "date", 403), CLOCK)
    assert "refuses this clock" in found["reach the bucket"].text


async def test_a_service_without_a_clock_is_told(proxy: Proxy, prefix: Prefix) -> None:
    def timeless(request: Request, way: Way) -> Response:
        answer = way(request)
        answer.headers.pop("date", None)
        return answer

    found = await checked_through(proxy, prefix, timeless, CLOCK)
    assert "does not tell the time" in found[CLOCK].text


# What stays behind.


async def test_what_could_not_be_removed_is_told_and_swept(proxy: Proxy, prefix: Prefix) -> None:
    for call, name, words in (
        ("AbortMultipartUpload", END, "could not remove the multipart upload .* at "),
        ("DeleteObject", NEW, rf"could not remove {prefix.prefix}[0-9a-f]{{32}}\.part-"),
    ):
        found = await checked_through(proxy, prefix, answering(call, DENIED), name)
        assert found["leave nothing behind"].state is State.NOTE
        assert re.search(words, found["leave nothing behind"].text)
    assert prefix.objects()
    assert prefix.multiparts()
    await assert_swept(prefix)


async def test_an_object_that_could_not_be_removed_keeps_the_record_by_which_it_is_found(
    proxy: Proxy, prefix: Prefix
) -> None:
    def keeps_objects(request: Request, way: Way) -> Response:
        is_object = request.call == "DeleteObject" and "." not in request.target
        return DENIED if is_object else way(request)

    found = await checked_through(proxy, prefix, keeps_objects, JOIN)
    assert found[JOIN].state is State.MISSING
    assert {re.sub("[0-9a-f]{32}", "", key) for key in prefix.objects()} == {"", ".info"}
    await assert_swept(prefix)


async def assert_swept(prefix: Prefix) -> None:
    """There is something, of a form that the sweeper of any server removes."""
    assert prefix.objects() or prefix.multiparts()
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)  # The service tells the time to the second.
        await Sweeper(Uploads(store, MemoryLocker())).sweep()
    prefix.assert_only()
