"""ROB-HTTP: how requests are framed, odd heads, hosts and methods, and what answers look like.

Refusals that come before the end of a body are in test_early_refusal.py.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest

from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, patch_headers
from tests.wire import Answer, Wire, chunked, head

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Serve

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = {"Expect": "100-continue"}


def received(wire: Wire, size: int) -> bytes:
    """Just so many bytes, as they come."""
    data = b""
    while len(data) < size:
        data += wire.socket.recv(size - len(data))
    return data


def exchange(tus: Tus, data: bytes, *methods: str) -> list[Answer]:
    """Sends this in one write; the answers to requests of these methods."""
    with tus.wire() as wire:
        wire.send(data)
        return [wire.answer(method) for method in methods]


def http_1_0(data: bytes) -> bytes:
    return data.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)


def without_host(data: bytes) -> bytes:
    return data.replace(b"Host: localhost\r\n", b"", 1)


# Expect.


@spec("ROB-HTTP-01")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["known length", "chunked"])
def test_a_body_that_is_held_back_is_asked_for(tus: Tus, is_chunked: bool) -> None:
    url = tus.mk(5)
    headers = chunked_headers(0, EXPECT) if is_chunked else patch_headers(0, 5, EXPECT)
    with tus.wire() as wire:
        wire.send(head("PATCH", url, headers))
        assert received(wire, len(CONTINUE)) == CONTINUE
        wire.send(chunked(b"hello") if is_chunked else b"hello")
        answer = wire.answer("PATCH")
        assert (answer.status, answer["Upload-Offset"], answer.interim) == (204, "5", [])
    assert tus.content(url) == b"hello"


@spec("ROB-HTTP-01")
def test_a_body_that_is_held_back_is_asked_for_at_the_creation(tus: Tus) -> None:
    headers = {**VERSION, **OCTETS, **EXPECT, "Upload-Length": "5", "Content-Length": "5"}
    with tus.wire() as wire:
        wire.send(head("POST", tus.creation, headers))
        assert received(wire, len(CONTINUE)) == CONTINUE
        wire.send(b"hello")
        answer = wire.answer("POST")
    assert answer.status == 201
    assert tus.content(tus.location(answer)) == b"hello"


@spec("ROB-HTTP-03")
@pytest.mark.parametrize("value", ["foo", "100-continue-soon", "", "100-continue, foo"])
def test_unknown_expectations_are_ignored(tus: Tus, value: str) -> None:
    url = tus.mk(5)
    answer = tus.pa(url, 0, b"hello", {"Expect": value})
    assert answer.status == 204
    assert answer["Upload-Offset"] == "5"


# Several requests on one connection.


@spec("ROB-HTTP-04")
def test_a_connection_serves_many_requests(tus: Tus) -> None:
    with tus.wire() as wire:
        create = {**VERSION, "Upload-Length": "16", "Content-Length": "0"}
        made = wire.request("POST", tus.creation, create)
        assert made.status == 201
        url = tus.location(made)
        for offset in range(16):
            answer = wire.request("PATCH", url, patch_headers(offset, 1), b"x")
            assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + 1))
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == "16"
        assert wire.request("DELETE", url, VERSION).status == 204
        assert wire.request("HEAD", url, VERSION).status == 404


@spec("ROB-HTTP-04")
@pytest.mark.parametrize("value", ["close", "Close", "x-foo, close"])
def test_a_client_may_ask_for_the_connection_to_be_closed(tus: Tus, value: str) -> None:
    url = tus.mk(5)
    with tus.wire() as wire:
        headers = patch_headers(0, 5, {"Connection": value})
        answer = wire.request("PATCH", url, headers, b"hello")
        assert answer.status == 204
        assert answer["Connection"] == "close"
        assert wire.is_ended()


@spec("ROB-HTTP-05")
def test_pipelined_requests_are_answered_in_their_order(tus: Tus) -> None:
    url = tus.mk(4)
    look = head("HEAD", url, VERSION)
    data = (
        look
        + head("PATCH", url, patch_headers(0, 2))
        + b"ab"
        + head("PATCH", url, chunked_headers(2))
        + chunked(b"c", b"d")
        + look
    )
    answers = exchange(tus, data, "HEAD", "PATCH", "PATCH", "HEAD")
    assert [answer.status for answer in answers] == [200, 204, 204, 200]
    assert [answer["Upload-Offset"] for answer in answers] == ["0", "2", "4", "4"]
    assert tus.content(url) == b"abcd"


@spec("ROB-HTTP-05")
def test_pipelined_requests_with_large_bodies_are_answered_in_their_order(tus: Tus) -> None:
    size = 300_000
    url = tus.mk(3 * size)
    pieces = [bytes([letter]) * size for letter in b"abc"]
    data = b"".join(
        head("PATCH", url, patch_headers(number * size, size)) + piece + head("HEAD", url, VERSION)
        for number, piece in enumerate(pieces)
    )
    answers = exchange(tus, data, *["PATCH", "HEAD"] * 3)
    assert [answer.status for answer in answers] == [204, 200] * 3
    expected = [str(number * size) for number in (1, 1, 2, 2, 3, 3)]
    assert [answer["Upload-Offset"] for answer in answers] == expected
    assert tus.content(url) == b"".join(pieces)


@spec("ROB-HTTP-05")
def test_pipelined_creations_make_an_upload_each(tus: Tus) -> None:
    create = head("POST", tus.creation, {**VERSION, "Upload-Length": "5", "Content-Length": "0"})
    answers = exchange(tus, create * 2, "POST", "POST")
    assert [answer.status for answer in answers] == [201, 201]
    assert tus.location(answers[0]) != tus.location(answers[1])


# Framing.

FRAMINGS: dict[str, tuple[Callable[[bytes], bytes], list[tuple[str, str]]]] = {
    "length, then chunked": (
        bytes,
        [("Content-Length", "15"), ("Transfer-Encoding", "chunked")],
    ),
    "chunked, then length": (
        bytes,
        [("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
    ),
    "chunked and gzip": (bytes, [("Transfer-Encoding", "chunked, gzip")]),
    "chunked twice in a line": (bytes, [("Transfer-Encoding", "chunked, chunked")]),
    "chunked in two lines": (bytes, [("Transfer-Encoding", "chunked")] * 2),
    "something like chunked": (bytes, [("Transfer-Encoding", "xchunked")]),
    "vertical tab and chunked": (bytes, [("Transfer-Encoding", "\x0bchunked")]),
    "identity": (bytes, [("Transfer-Encoding", "identity")]),
    "no coding": (bytes, [("Transfer-Encoding", "")]),
    "chunked in HTTP/1.0": (http_1_0, [("Transfer-Encoding", "chunked")]),
    "length and chunked in HTTP/1.0": (
        http_1_0,
        [("Content-Length", "15"), ("Transfer-Encoding", "chunked")],
    ),
}


@spec("ROB-HTTP-07")
@pytest.mark.parametrize(("version", "framing"), FRAMINGS.values(), ids=FRAMINGS)
def test_ambiguous_framing_is_refused(
    tus: Tus, version: Callable[[bytes], bytes], framing: list[tuple[str, str]]
) -> None:
    url, other = tus.mk(5), tus.mk(5)
    base = list({**VERSION, **OCTETS, "Upload-Offset": "0"}.items())
    with tus.wire() as wire:
        smuggled = chunked(b"hello") + head("DELETE", other, VERSION)
        wire.send(version(head("PATCH", url, [*base, *framing])) + smuggled)
        assert wire.answer("PATCH").status == 400
        assert wire.is_ended()
    tus.assert_intact(url, 0, b"hello")
    tus.assert_intact(other, 0, b"hello")


@spec("ROB-HTTP-07")
def test_a_coding_below_chunked_is_refused(tus: Tus) -> None:
    url = tus.mk(5)
    headers = {**chunked_headers(0), "Transfer-Encoding": "gzip, chunked"}
    assert tus.request("PATCH", url, headers, chunked(b"hello")).status == 400
    tus.assert_intact(url, 0, b"hello")


LENGTHS = {
    "negative": ["-1"],
    "signed": ["+5"],
    "a list of the same": ["5, 5"],
    "a list of two": ["5,6"],
    "two that differ": ["5", "6"],
    "two that agree": ["5", "5"],
    "hexadecimal": ["0x5"],
    "underscore": ["5_0"],
    "fraction": ["5.0"],
    "blank inside": ["5 5"],
    "empty": [""],
    "Arabic digit": ["٥".encode().decode("latin-1")],
    "superscript digit": ["\xb2"],
    "30 digits": ["9" * 30],
    "2^64": ["18446744073709551616"],
    "2^64 - 1": ["18446744073709551615"],
    "2^63": ["9223372036854775808"],
}


@spec("ROB-HTTP-08")
@pytest.mark.parametrize("values", LENGTHS.values(), ids=LENGTHS)
def test_a_bad_content_length_is_refused_and_nothing_is_stored(tus: Tus, values: list[str]) -> None:
    url = tus.mk(5)
    headers = list({**VERSION, **OCTETS, "Upload-Offset": "0"}.items())
    headers += [("Content-Length", value) for value in values]
    with tus.wire() as wire:
        wire.send(head("PATCH", url, headers) + b"hello")
        assert wire.answer("PATCH").status == 400
        assert wire.is_ended()
    tus.assert_intact(url, 0, b"hello")


# HTTP/1.0.


@spec("ROB-HTTP-09")
def test_http_1_0_is_answered_without_what_it_does_not_know(tus: Tus) -> None:
    url = tus.mk(5)
    requests = (
        ("HEAD", head("HEAD", url, VERSION), 200),
        ("PATCH", head("PATCH", url, patch_headers(0, 5, EXPECT)) + b"hello", 204),
        ("GET", head("GET", url), 200),
        ("OPTIONS", head("OPTIONS", url), 200),
        ("DELETE", head("DELETE", url, VERSION), 204),
    )
    for method, data, status in requests:
        with tus.wire() as wire:
            wire.send(http_1_0(data))
            answer = wire.answer(method)
            assert (answer.status, answer.interim) == (status, [])
            assert answer.get("Transfer-Encoding") is None
            assert answer["Connection"] == "close"
            assert wire.is_ended()


@spec("ROB-HTTP-09")
@pytest.mark.parametrize("location", ["path", "url"])
def test_http_1_0_needs_no_host(serve: Serve, location: str) -> None:
    tus = serve(location=location)
    create = {**VERSION, **OCTETS, "Upload-Length": "5", "Content-Length": "5"}
    answer = exchange(
        tus, without_host(http_1_0(head("POST", tus.creation, create) + b"hello")), "POST"
    )[0]
    assert answer.status == 201
    assert re.fullmatch(r"/files/[^/]+", answer["Location"])
    assert tus.content(answer["Location"]) == b"hello"


# Host and forwarding headers.

CREATE = {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
BAD_HOSTS = {
    "none": [],
    "two": ["localhost", "other"],
    "twice the same": ["localhost", "localhost"],
    "tab inside": ["a\tb"],
    "blank inside": ["a b"],
    "markup": ['evil"><x>'],
    "path": ["evil.example/x"],
    "user": ["user@evil.example"],
    "list": ["a, b"],
    "not ASCII": ["\xe9vil.example"],
    "control character": ["a\x01b"],
}


@spec("ROB-HTTP-10")
@pytest.mark.parametrize("location", ["path", "url"])
@pytest.mark.parametrize("hosts", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_a_bad_host_is_refused(tus: Tus, serve: Serve, hosts: list[str], location: str) -> None:
    tus = tus if location == "path" else serve(location="url")
    named = [("Host", host) for host in hosts] or [("Host", "localhost")]
    data = head("POST", tus.creation, [*named, *CREATE.items()])
    with tus.wire() as wire:
        wire.send(data if hosts else without_host(data))
        answer = wire.answer("POST")
    assert answer.status == 400
    assert answer.get("Location") is None


@spec("ROB-HTTP-10")
def test_an_empty_host_stands_for_no_name(serve: Serve) -> None:
    tus = serve(location="url")
    answer = tus.request("POST", tus.creation, {"Host": "", **CREATE})
    assert answer.status == 201
    assert re.fullmatch(r"/files/[^/]+", answer["Location"])


STRANGERS = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "foo",
    "X-Forwarded-For": "not an address",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "99999",
    "Forwarded": "host=evil.example;proto=foo",
    "X-Original-URL": "/evil",
    "X-Real-IP": "evil",
}


@spec("ROB-HTTP-11")
@pytest.mark.parametrize(
    ("location", "expected"), [("path", r"/files/\w+"), ("url", r"http://localhost/files/\w+")]
)
def test_forwarding_headers_of_strangers_have_no_effect(
    serve: Serve, location: str, expected: str
) -> None:
    tus = serve(location=location)
    for headers in ({name: value} for name, value in STRANGERS.items()):
        answer = tus.post({**headers, "Upload-Length": "5"})
        assert answer.status == 201
        assert re.fullmatch(expected, answer["Location"])
    answer = tus.post({**STRANGERS, "Upload-Length": "5"})
    assert re.fullmatch(expected, answer["Location"])


# Heads.

SIZES = {
    "a field of 16 KiB": ("/files/", [("X-Large", "x" * 16 * 1024)], 200),
    "a field of 64 KiB": ("/files/", [("X-Large", "x" * 64 * 1024)], 200),
    "a field of 1 MiB": ("/files/", [("X-Large", "x" * 1024 * 1024)], 431),
    "a name of 1 MiB": ("/files/", [("x" * 1024 * 1024, "")], 431),
    "100 fields": ("/files/", [(f"X-{n}", "small") for n in range(100)], 200),
    "1000 fields": ("/files/", [(f"X-{n}", "small") for n in range(1000)], 200),
    "10 000 fields": ("/files/", [(f"X-{n}", "small") for n in range(10_000)], 431),
    "a path of 32 KiB": (f"/files/{'x' * 32 * 1024}", [], 200),
    "a path of 64 KiB": (f"/files/{'x' * 64 * 1024}", [], 400),
    "a path of 1 MiB": (f"/files/{'x' * 1024 * 1024}", [], 431),
    "a query of 1 MiB": (f"/files/?{'x' * 1024 * 1024}", [], 431),
}


@spec("ROB-HTTP-12")
@pytest.mark.parametrize(("target", "headers", "status"), SIZES.values(), ids=SIZES)
def test_heads_are_taken_up_to_a_size(
    tus: Tus, target: str, headers: list[tuple[str, str]], status: int
) -> None:
    with tus.wire() as wire:
        answer = wire.request("OPTIONS", target, headers)
        assert answer.status == status
        if status != 200:
            assert answer["Connection"] == "close"
            assert wire.is_ended()
    tus.assert_live()


HEADS = {
    "bare carriage return": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
    "NUL in a value": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
    "control in a value": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n", 400),
    "blank before colon": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
    "folded line": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    "folded first line": (b"OPTIONS /files/ HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n", 400),
    "bare line feeds": (b"OPTIONS /files/ HTTP/1.1\nHost: x\n\n", 400),
    "empty field name": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400),
    "no colon": (b"OPTIONS /files/ HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400),
    "lower-case method": (b"patch /files/1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no version": (b"OPTIONS /files/\r\nHost: x\r\n\r\n", 400),
    "version 0.9": (b"OPTIONS /files/ HTTP/0.9\r\nHost: x\r\n\r\n", 400),
    "version 1.2": (b"OPTIONS /files/ HTTP/1.2\r\nHost: x\r\n\r\n", 400),
    "version 2.0": (b"OPTIONS /files/ HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "target without slash": (b"OPTIONS files/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target not ASCII": (b"OPTIONS /files/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute form": (b"OPTIONS http://x/files/ HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "absolute form, no path": (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "absolute form, only a query": (b"GET http://x?a=b HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "empty lines first": (b"\r\n\r\nOPTIONS /files/ HTTP/1.1\r\nHost: x\r\n\r\n", 200),
}


@spec("ROB-HTTP-13")
@pytest.mark.parametrize(("data", "status"), HEADS.values(), ids=HEADS)
def test_an_odd_head_gets_a_sensible_answer(tus: Tus, data: bytes, status: int) -> None:
    with tus.wire() as wire:
        wire.send(data)
        answer = wire.answer("OPTIONS")
        assert answer.status == status
        if status == 400:
            assert answer["Connection"] == "close"
            assert wire.is_ended()
    tus.assert_live()


@spec("ROB-HTTP-19")
def test_a_request_may_come_byte_by_byte(tus: Tus) -> None:
    url = tus.mk(10)
    with tus.wire() as wire:
        wire.send_slowly(head("PATCH", url, patch_headers(0, 5)) + b"hello")
        assert wire.answer("PATCH")["Upload-Offset"] == "5"
        wire.send_slowly(head("PATCH", url, chunked_headers(5)) + chunked(b"wo", b"rld"))
        assert wire.answer("PATCH")["Upload-Offset"] == "10"
    assert tus.content(url) == b"helloworld"


# Bodies.


@spec("ROB-HTTP-14")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "unknown"])
def test_content_codings_are_refused(tus: Tus, coding: str) -> None:
    coded = gzip.compress(b"hello")
    url = tus.mk(len(coded))
    assert tus.pa(url, 0, coded, {"Content-Encoding": coding}).status == 415
    tus.assert_intact(url, 0, coded)
    assert tus.content(url) == coded


@spec("ROB-HTTP-14")
def test_the_identity_coding_is_none(tus: Tus) -> None:
    url = tus.mk(5)
    assert tus.pa(url, 0, b"hello", {"Content-Encoding": "Identity"}).status == 204
    assert tus.content(url) == b"hello"


@spec("ROB-HTTP-20")
def test_a_body_may_come_in_a_thousand_chunks(tus: Tus) -> None:
    data = bytes(number % 251 for number in range(1000))
    url = tus.mk(len(data))
    body = chunked(*(data[index : index + 1] for index in range(len(data))))
    answer = tus.request("PATCH", url, chunked_headers(0), body)
    assert (answer.status, answer["Upload-Offset"]) == (204, "1000")
    assert tus.content(url) == data


@spec("ROB-HTTP-20")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(patch_headers(5, 0), b"", id="of known length"),
        pytest.param(patch_headers(5, 0, EXPECT), b"", id="of known length that is held back"),
        pytest.param(chunked_headers(5), chunked(), id="chunked"),
        pytest.param(chunked_headers(5, EXPECT), chunked(), id="chunked that is held back"),
    ],
)
def test_a_body_may_be_empty(tus: Tus, headers: dict[str, str], body: bytes) -> None:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    with tus.wire() as wire:
        answer = wire.request("PATCH", url, headers, body)
        assert (answer.status, answer["Upload-Offset"]) == (204, "5")
        assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == "5"


# Methods, and the shape of answers.

UPLOAD_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]


@spec("ROB-HTTP-15")
@pytest.mark.parametrize("method", ["PUT", "POST", "TRACE", "PROPFIND", "MKCOL", "QUERY"])
def test_other_methods_are_refused_on_an_upload(tus: Tus, method: str) -> None:
    url = tus.mk(5)
    headers = {**VERSION, **OCTETS, "Upload-Offset": "0", "Upload-Length": "5"}
    answer = tus.request(method, url, {**headers, "Content-Length": "5"}, b"hello")
    assert answer.status == 405
    assert sorted(answer["Allow"].split(", ")) == UPLOAD_METHODS
    assert answer.get("Location") is None
    tus.assert_intact(url, 0, b"hello")


@spec("ROB-HTTP-15")
@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "TRACE", "GET", "HEAD"])
def test_other_methods_are_refused_on_the_creation_url(tus: Tus, method: str) -> None:
    answer = tus.request(method, tus.creation, {**CREATE, "Upload-Offset": "0"})
    assert answer.status == 405
    assert sorted(answer["Allow"].split(", ")) == ["OPTIONS", "POST"]
    assert answer.get("Location") is None


@spec("ROB-HTTP-15")
@pytest.mark.parametrize("method", ["FOO", "get", "PATCHX"])
def test_methods_that_are_none_are_refused(tus: Tus, method: str) -> None:
    url = tus.mk(5)
    assert tus.request(method, url, {**VERSION, "Content-Length": "0"}).status == 400
    tus.assert_intact(url, 0, b"hello")


@spec("ROB-HTTP-16")
def test_get_serves_finished_uploads_only(tus: Tus) -> None:
    url = tus.mk(5)
    for offset, data in ((0, b"hel"), (3, b"lo")):
        unfinished = tus.get(url)
        assert unfinished.status == 404
        assert unfinished.body.startswith(b"ERR_UPLOAD_NOT_FINISHED")
        assert tus.pa(url, offset, data).status == 204
    finished = tus.get(url)
    assert (finished.status, finished.body) == (200, b"hello")
    assert finished["Content-Length"] == "5"
    empty = tus.get(tus.mk(0))
    assert (empty.status, empty.body) == (200, b"")


@spec("ROB-HTTP-16")
def test_get_may_be_switched_off(serve: Serve) -> None:
    tus = serve(disable_download=True)
    answer = tus.get(tus.made(b"hello"))
    assert answer.status == 405
    assert sorted(answer["Allow"].split(", ")) == ["DELETE", "HEAD", "OPTIONS", "PATCH"]


@spec("ROB-HTTP-17")
def test_answers_without_content_have_no_framing(tus: Tus) -> None:
    url = tus.mk(5)
    for answer in (tus.pa(url, 0, b"hello"), tus.pa(url, 5, b""), tus.delete(url)):
        assert answer.status == 204
        assert answer.get("Transfer-Encoding") is None
        assert answer.get("Content-Length") is None
