"""What is decided about an upload as it stands, and what is answered after the effect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from tusserver.protocol import capabilities as names
from tusserver.protocol import expiration
from tusserver.protocol.body_plan import BodyHead
from tusserver.protocol.capabilities import Capabilities
from tusserver.protocol.checksum import ALGORITHMS, Checksum
from tusserver.protocol.concatenation import joined_length
from tusserver.protocol.core import Head, Options, Patch
from tusserver.protocol.creation import Create
from tusserver.protocol.decision import Append, Outcome, Reply, Trailer
from tusserver.protocol.errors import (
    ChecksumMismatch,
    InvalidConcat,
    InvalidUploadLength,
    MalformedBody,
    MaxSizeExceeded,
    ModifyFinal,
    OffsetMismatch,
    PartialUnfinished,
    ReadTimeout,
    ServerShutdown,
    TusError,
    UploadGone,
    UploadInterrupted,
    UploadSizeExceeded,
)
from tusserver.protocol.grammar import MAX_INTEGER
from tusserver.protocol.refusals import KindNotAllowed
from tusserver.protocol.termination import Terminate
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.protocol.urls import UploadUrls

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URLS = UploadUrls("/files/")
OPEN = Capabilities(frozenset({names.CREATION, names.CHECKSUM}))
LIMITED = replace(OPEN, max_size=100, expires_after=timedelta(hours=24))
EXPIRES = (b"upload-expires", b"Sat, 03 Jan 2026 03:04:05 GMT")


def an_upload(offset: int = 5, length: int | None = 10, **changes: object) -> Upload:
    upload = Upload("abc", offset, length, NOW, NOW)
    return structs.replace(upload, **changes)


def a_body(content_length: int | None = 3, checksum: Checksum | None = None) -> BodyHead:
    return BodyHead(content_length, True, checksum, Trailer.ABSENT)


def a_patch(offset: int = 5, length: int | None = None, content_length: int | None = 3) -> Patch:
    return Patch("abc", offset, length, a_body(content_length))


def header(reply: Reply, name: bytes) -> bytes | None:
    return dict(reply.headers).get(name)


# OPTIONS


def test_options_announces_exactly_what_there_is() -> None:
    reply = Options(LIMITED).reply()
    assert (reply.status, reply.is_versioned) == (200, False)
    assert dict(reply.headers) == {
        b"tus-version": b"1.0.0",
        b"tus-extension": b"checksum,creation",
        b"tus-max-size": b"100",
        b"tus-checksum-algorithm": ",".join(ALGORITHMS).encode(),
    }


def test_without_extensions_their_headers_are_left_out() -> None:
    assert Options(Capabilities(frozenset())).reply().headers == ((b"tus-version", b"1.0.0"),)


def test_trailers_are_announced_only_where_they_arrive_and_are_of_use() -> None:
    assert names.CHECKSUM_TRAILER in OPEN.with_trailers().extensions
    assert Capabilities(frozenset()).with_trailers().extensions == frozenset()


# HEAD


@pytest.mark.parametrize(
    ("upload", "expected"),
    [
        (an_upload(0), {b"upload-offset": b"0", b"upload-length": b"10"}),
        (an_upload(10), {b"upload-offset": b"10", b"upload-length": b"10"}),
        (an_upload(5, None), {b"upload-offset": b"5", b"upload-defer-length": b"1"}),
        (
            an_upload(metadata="k ,a YQ=="),
            {b"upload-offset": b"5", b"upload-length": b"10", b"upload-metadata": b"k ,a YQ=="},
        ),
        (
            an_upload(concat=Partial()),
            {b"upload-offset": b"5", b"upload-length": b"10", b"upload-concat": b"partial"},
        ),
        (
            an_upload(10, concat=Final(("p",), "final; http://h/files/p")),
            {b"upload-offset": b"10", b"upload-length": b"10",
             b"upload-concat": b"final; http://h/files/p"},
        ),
        (an_upload(0, 10, concat=Final(("p",), "final;p")),
         {b"upload-length": b"10", b"upload-concat": b"final;p"}),
        (an_upload(0, None, concat=Final(("p",), "final;p")), {b"upload-concat": b"final;p"}),
        (an_upload(10, concat=Final(("p", "q"))),
         {b"upload-offset": b"10", b"upload-length": b"10",
          b"upload-concat": b"final;/files/p /files/q"}),
    ],
)  # fmt: skip
def test_head_tells_how_an_upload_stands(upload: Upload, expected: dict[bytes, bytes]) -> None:
    reply = Head("abc", URLS).reply(upload, OPEN, NOW)
    assert reply.status == 200
    assert dict(reply.headers) == {b"cache-control": b"no-store", **expected}


def test_head_tells_the_deadline_of_what_will_expire() -> None:
    head = Head("abc", URLS)
    assert EXPIRES in head.reply(an_upload(), LIMITED, NOW).headers
    assert EXPIRES in head.reply(an_upload(10, concat=Partial()), LIMITED, NOW).headers
    assert header(head.reply(an_upload(10), LIMITED, NOW), b"upload-expires") is None


# Expiration


@pytest.mark.parametrize("seconds", [24 * 3600, 24 * 3600 + 1])
def test_an_expired_upload_is_gone(seconds: int) -> None:
    later = NOW + timedelta(seconds=seconds)
    for request in (Head("abc", URLS).reply, a_patch().decide):
        with pytest.raises(UploadGone):
            request(an_upload(), LIMITED, later)


def test_the_deadline_slides_with_the_last_byte() -> None:
    later = NOW + timedelta(hours=30)
    fresh = an_upload(modified_at=NOW + timedelta(hours=10))
    assert not expiration.is_expired(fresh, LIMITED.expires_after, later)
    assert expiration.is_expired(an_upload(), LIMITED.expires_after, later)


def test_finished_uploads_and_servers_without_the_extension_know_no_deadline() -> None:
    later = NOW + timedelta(days=1000)
    assert not expiration.is_expired(an_upload(10), LIMITED.expires_after, later)
    assert not expiration.is_expired(an_upload(), None, later)
    assert expiration.is_expired(an_upload(10, concat=Partial()), LIMITED.expires_after, later)


# PATCH


def test_a_patch_at_the_offset_may_store_what_is_left() -> None:
    assert a_patch().decide(an_upload(), OPEN, NOW) == Append(limit=5, expected=3)
    assert a_patch(content_length=None).decide(an_upload(), OPEN, NOW) == Append(limit=5)
    assert a_patch().decide(an_upload(5, None), OPEN, NOW).limit is None
    assert a_patch().decide(an_upload(5, None), LIMITED, NOW).limit == 95


@pytest.mark.parametrize("offset", [0, 4, 6, 10, 10**9, MAX_INTEGER])
def test_a_patch_at_another_offset_is_told_the_right_one(offset: int) -> None:
    with pytest.raises(OffsetMismatch) as caught:
        a_patch(offset, length=7).decide(an_upload(5, None), OPEN, NOW)
    assert (b"upload-offset", b"5") in caught.value.headers


def test_only_an_offset_that_lies_behind_or_a_final_upload_is_hopeless() -> None:
    assert [a_patch(offset).is_hopeless(an_upload()) for offset in (4, 5, 6)] == [
        True,
        False,
        False,
    ]
    assert a_patch().is_hopeless(an_upload(concat=Final(("p",))))


def test_a_final_upload_takes_no_bytes() -> None:
    for upload in (an_upload(concat=Final(("p",))), an_upload(10, concat=Final(("p",)))):
        with pytest.raises(ModifyFinal):
            a_patch(99, content_length=0).decide(upload, OPEN, NOW)


def test_an_empty_patch_on_a_finished_upload_is_a_retry_and_any_byte_is_too_much() -> None:
    assert a_patch(10, content_length=0).decide(an_upload(10), OPEN, NOW).limit == 0
    assert a_patch(10, content_length=None).decide(an_upload(10), OPEN, NOW).limit == 0
    with pytest.raises(UploadSizeExceeded):
        a_patch(10, content_length=1).decide(an_upload(10), OPEN, NOW)


def test_a_deferred_length_may_be_declared_once() -> None:
    deferred = an_upload(5, None)
    assert a_patch(length=8).decide(deferred, OPEN, NOW) == Append(3, 3, declare=8)
    assert a_patch(length=5, content_length=0).decide(deferred, OPEN, NOW) == Append(
        0, 0, declare=5
    )
    assert a_patch(length=10).decide(an_upload(), OPEN, NOW) == Append(5, 3)
    with pytest.raises(InvalidUploadLength):
        a_patch(length=11).decide(an_upload(), OPEN, NOW)
    with pytest.raises(InvalidUploadLength):
        a_patch(length=4).decide(deferred, OPEN, NOW)
    with pytest.raises(UploadSizeExceeded):
        a_patch(length=7).decide(deferred, OPEN, NOW)
    with pytest.raises(MaxSizeExceeded):
        a_patch(length=101).decide(deferred, LIMITED, NOW)


def test_a_patch_keeps_what_its_header_says_of_checksum_and_trailer() -> None:
    checksum = Checksum("sha1", b"x" * 20)
    body = BodyHead(3, True, checksum, Trailer.ANNOUNCED)
    plan = Patch("abc", 5, None, body).decide(an_upload(), OPEN, NOW)
    assert plan == Append(5, 3, checksum=checksum, trailer=Trailer.ANNOUNCED)


@pytest.mark.parametrize(
    ("plan", "is_staged", "keeps_prefix"),
    [
        (Append(), False, True),
        (Append(trailer=Trailer.POSSIBLE), True, True),
        (Append(trailer=Trailer.ANNOUNCED), True, False),
        (Append(checksum=Checksum("sha1", b"")), True, False),
        (Append(checksum=Checksum("sha1", b""), trailer=Trailer.POSSIBLE), True, False),
    ],
)
def test_what_a_plan_means_for_the_bytes(plan: Append, is_staged: bool, keeps_prefix: bool) -> None:
    assert (plan.is_staged, plan.keeps_prefix) == (is_staged, keeps_prefix)


def test_a_stored_body_is_answered_with_the_new_offset() -> None:
    reply = a_patch().settle(an_upload(8), Outcome.COMPLETE, LIMITED, NOW)
    assert reply == Reply(204, ((b"upload-offset", b"8"), EXPIRES))
    reply = a_patch().settle(an_upload(10), Outcome.COMPLETE, LIMITED, NOW)
    assert reply == Reply(204, ((b"upload-offset", b"10"),))


BROKEN: dict[Outcome, type[TusError]] = {
    Outcome.TOO_LONG: UploadSizeExceeded,
    Outcome.MISMATCH: ChecksumMismatch,
    Outcome.DISCONNECTED: MalformedBody,
    Outcome.IDLE: ReadTimeout,
    Outcome.RELEASED: UploadInterrupted,
    Outcome.SHUTDOWN: ServerShutdown,
    Outcome.MALFORMED: MalformedBody,
    Outcome.CANCELLED: ServerShutdown,
    Outcome.REFUSED: KindNotAllowed,
}


@pytest.mark.parametrize("outcome", list(Outcome), ids=lambda outcome: outcome.name)
def test_every_way_a_body_can_end_has_its_answer(outcome: Outcome) -> None:
    if outcome is Outcome.COMPLETE:
        assert a_patch().settle(an_upload(8), outcome, OPEN, NOW).status == 204
        return
    with pytest.raises(BROKEN[outcome]) as caught:
        a_patch().settle(an_upload(8), outcome, OPEN, NOW)
    assert (b"upload-offset", b"8") in caught.value.headers
    if outcome in (Outcome.IDLE, Outcome.RELEASED, Outcome.SHUTDOWN, Outcome.CANCELLED):
        assert (b"retry-after", b"1") in caught.value.headers


# POST


def a_creation(
    length: int | None = 10,
    concat: Partial | Final | None = None,
    body: BodyHead = BodyHead(0, False, None, Trailer.ABSENT),  # noqa: B008 - frozen
) -> Create:
    return Create(length, "k", concat, body, URLS)


def test_a_creation_makes_an_empty_upload() -> None:
    upload, plan = a_creation().decide("abc", (), LIMITED, NOW)
    assert upload == Upload("abc", 0, 10, NOW, NOW, "k")
    assert plan is None
    assert a_creation(None).decide("abc", (), LIMITED, NOW)[0].length is None


def test_a_creation_beyond_the_maximum_is_refused() -> None:
    assert a_creation(100).decide("abc", (), LIMITED, NOW)[0].length == 100
    with pytest.raises(MaxSizeExceeded):
        a_creation(101).decide("abc", (), LIMITED, NOW)


def test_the_bytes_of_a_creation_must_fit() -> None:
    assert a_creation(10, body=a_body(10)).decide("abc", (), OPEN, NOW)[1] == Append(10, 10)
    assert a_creation(None, body=a_body(5)).decide("abc", (), LIMITED, NOW)[1] == Append(100, 5)
    for length, size in ((10, 11), (None, 101)):
        with pytest.raises(UploadSizeExceeded):
            a_creation(length, body=a_body(size)).decide("abc", (), LIMITED, NOW)


def test_an_empty_body_is_judged_only_if_it_has_a_checksum() -> None:
    checksum = Checksum("sha1", b"x" * 20)
    assert a_creation(body=a_body(0)).decide("abc", (), OPEN, NOW)[1] is None
    assert a_creation(body=a_body(0, checksum)).decide("abc", (), OPEN, NOW)[1] is not None


@pytest.mark.parametrize(
    ("body", "concat", "expected"),
    [
        (BodyHead(None, False, None, Trailer.ABSENT), None, True),
        (BodyHead(None, True, None, Trailer.ABSENT), None, False),
        (BodyHead(None, True, None, Trailer.ABSENT), Final(("p",)), True),
        (BodyHead(0, False, None, Trailer.ABSENT), None, False),
    ],
)
def test_when_a_body_must_turn_out_to_be_empty(
    body: BodyHead, concat: Final | None, expected: bool
) -> None:
    assert a_creation(body=body, concat=concat).refuses_body is expected


def test_a_creation_is_answered_with_the_location() -> None:
    reply = a_creation().settle(an_upload(0), Outcome.COMPLETE, LIMITED, NOW)
    assert reply == Reply(201, ((b"location", b"/files/abc"), EXPIRES))
    labelled = a_creation(body=a_body(5)).settle(an_upload(5), Outcome.COMPLETE, OPEN, NOW)
    assert labelled.headers == ((b"location", b"/files/abc"), (b"upload-offset", b"5"))


@pytest.mark.parametrize("outcome", [Outcome.SHUTDOWN, Outcome.IDLE, Outcome.CANCELLED])
def test_a_creation_cut_by_the_server_succeeds_with_what_there_is(outcome: Outcome) -> None:
    reply = a_creation(body=a_body(5)).settle(an_upload(2), outcome, OPEN, NOW)
    assert (reply.status, header(reply, b"upload-offset")) == (201, b"2")


@pytest.mark.parametrize("outcome", [Outcome.TOO_LONG, Outcome.MISMATCH, Outcome.MALFORMED])
def test_a_creation_with_bad_bytes_is_refused(outcome: Outcome) -> None:
    with pytest.raises(BROKEN[outcome]):
        a_creation(body=a_body(5)).settle(an_upload(2), outcome, OPEN, NOW)


def test_creations_for_concatenation_are_answered_with_their_header() -> None:
    partial = a_creation(concat=Partial()).settle(
        an_upload(0, concat=Partial()), Outcome.COMPLETE, OPEN, NOW
    )
    assert header(partial, b"upload-concat") == b"partial"
    final = Final(("p",), "final;p")
    pending = a_creation(concat=final, body=a_body(0)).settle(
        an_upload(0, None, concat=final), Outcome.COMPLETE, OPEN, NOW
    )
    assert header(pending, b"upload-concat") == b"final;p"
    assert header(pending, b"upload-offset") is None


# Concatenation


def a_partial(offset: int, length: int | None) -> Upload:
    return an_upload(offset, length, concat=Partial())


UNFINISHED = replace(OPEN, extensions=OPEN.extensions | {names.CONCATENATION_UNFINISHED})


def test_the_length_of_a_final_upload_is_the_sum() -> None:
    parts = [a_partial(5, 5), a_partial(0, 0), a_partial(6, 6)]
    assert joined_length(parts, OPEN) == 11
    final = a_creation(None, Final(("p", "q", "r"), "final;…"))
    assert final.decide("abc", parts, OPEN, NOW)[0].length == 11


@pytest.mark.parametrize("concat", [None, Final(("x",))])
def test_only_partial_uploads_can_be_joined(concat: Final | None) -> None:
    with pytest.raises(InvalidConcat):
        joined_length([an_upload(10, concat=concat)], UNFINISHED)


@pytest.mark.parametrize("part", [a_partial(3, 5), a_partial(3, None)])
def test_unfinished_ones_only_where_that_is_on_offer(part: Upload) -> None:
    with pytest.raises(PartialUnfinished):
        joined_length([a_partial(5, 5), part], OPEN)
    assert joined_length([part], UNFINISHED) == part.length


def test_the_sum_is_bounded() -> None:
    with pytest.raises(InvalidUploadLength):
        joined_length([a_partial(MAX_INTEGER, MAX_INTEGER)] * 2, OPEN)
    with pytest.raises(MaxSizeExceeded):
        a_creation(None, Final(("p", "q"))).decide("abc", [a_partial(60, 60)] * 2, LIMITED, NOW)


# DELETE


def test_a_termination_is_answered_without_content() -> None:
    assert Terminate("abc").reply() == Reply(204)
