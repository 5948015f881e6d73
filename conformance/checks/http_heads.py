"""ROB-HTTP: heads that are old, odd, huge or malformed, and hosts that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.check import check
from conformance.checks.http_framing import http_1_0
from conformance.discovery import VERSION
from conformance.hearing import heard, is_refused, is_taken, plain_upload
from conformance.probe import SUCCESS
from conformance.target import request_target
from conformance.tus import patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer

if TYPE_CHECKING:
    from conformance.hearing import NoAnswer
    from conformance.probe import Probe

_CREATE = {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
_UNKNOWN_VERSION = (426, 505)


def _without_host(data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"host:"))


def _exchange(
    c: Probe, method: str, data: bytes, *, timeout: float | None = None
) -> Answer | NoAnswer:
    with c.wire(timeout=timeout) as wire:
        wire.try_send(data)
        return heard(wire, method)


# HTTP/1.0.


@check("ROB-HTTP-09")
def http_1_0_requests(c: Probe) -> None:
    plain_upload(c)
    row, url = "ROB-HTTP-09", c.mk(5)
    patch = c.head("PATCH", url, patch_headers(0, 5, {"Expect": "100-continue"})) + b"hello"
    for method, data in (("HEAD", c.head("HEAD", url, VERSION)), ("PATCH", patch)):
        probe = f"{method} in HTTP/1.0"
        with c.wire(url) as wire:
            wire.send(http_1_0(data))
            answer = wire.answer(method)
            if answer.status in _UNKNOWN_VERSION:
                c.say(row, Verdict.PASS, "a normal answer, or 426 or 505", answer, probe=probe)
                continue
            c.status(row, answer, SUCCESS, expected="2xx, 426 or 505", probe=probe)
            plain = not answer.interim and "transfer-encoding" not in answer
            c.expect(row, plain, "neither 1xx nor Transfer-Encoding", answer, probe=probe)
            c.expect(
                row, wire.is_ended(within=5.0), "a close after the answer", answer, probe=probe
            )


@check("ROB-HTTP-09")
def http_1_0_without_host(c: Probe) -> None:
    plain_upload(c)
    if not c.has("creation"):
        return
    row, probe = "ROB-HTTP-09", "POST in HTTP/1.0 without Host"
    got = _exchange(c, "POST", http_1_0(_without_host(c.head("POST", c.url, _CREATE))))
    if not isinstance(got, Answer) or got.status != 201:
        is_unknown = isinstance(got, Answer) and got.status in _UNKNOWN_VERSION
        c.expect(row, is_unknown or is_refused(got), "201, or 400", got, probe=probe)
        return
    location = (got.all("location") or [""])[0]
    parts = urlsplit(location)
    is_url = bool(parts.path) and bool(parts.hostname) == bool(parts.scheme)
    usable = "a Location with a host or without one"
    if not c.expect(row, is_url and location[:2] != "//", usable, got, probe=probe):
        return
    if parts.hostname in (None, urlsplit(c.url).hostname):
        found = c.hd(c.target.resolve(location))
        c.status(row, found, SUCCESS, expected="an upload at that Location", probe=probe)


@check("ROB-HTTP-19")
def byte_at_a_time(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(5)
    with c.wire(url) as wire:
        wire.send_slowly(c.head("PATCH", url, patch_headers(0, 5)) + b"hello")
        got = heard(wire, "PATCH")
    if c.expect("ROB-HTTP-19", is_taken(got), "204", got, probe="one byte a segment"):
        c.expect("ROB-HTTP-19", c.off(url) == 5, "Upload-Offset: 5", c.off(url))
        c.content("ROB-HTTP-19", url, b"hello")


# Host and forwarding headers.

_HOSTS = {
    "a tab inside": "a\tb",
    "markup": 'evil"><x>',
    "an encoded line end": "a%0d%0aX-Injected: 1",
}


@check("ROB-HTTP-10")
def missing_and_double_host(c: Probe) -> None:
    row, plain = "ROB-HTTP-10", c.head("POST", c.url, _CREATE)
    host = f"Host: {c.target.authority}\r\n".encode()
    heads = {
        "no Host": _without_host(plain),
        "two Host lines that differ": plain.replace(host, host + b"Host: other.example\r\n"),
        "two Host lines that agree": plain.replace(host, host * 2),
    }
    for probe, data in heads.items():
        got = _exchange(c, "POST", data)
        c.expect(row, is_refused(got), "400", got, probe=probe)


@check("ROB-HTTP-10")
def garbage_in_host(c: Probe) -> None:
    row = "ROB-HTTP-10"
    for probe, host in _HOSTS.items():
        got = _exchange(c, "POST", c.head("POST", c.url, {"Host": host, **_CREATE}))
        if is_refused(got):
            c.say(row, Verdict.PASS, "400", got, probe=probe)
            continue
        c.demand(row, is_taken(got), "400, or 201", got, probe=probe)
        if isinstance(got, Answer):
            clean = host not in (got.get("location") or "") and "x-injected" not in got
            c.expect(row, clean, "a Location without a raw copy of it", got, probe=probe)
    got = _exchange(c, "POST", c.head("POST", c.url, {"Host": "", **_CREATE}))
    good = is_refused(got) or is_taken(got)
    c.expect(row, good, "201 or 4xx, no 5xx", got, probe="an empty Host")


_STRANGERS = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "foo",
    "Forwarded": "host=evil.example;proto=foo",
}


@check("ROB-HTTP-11")
def forwarding_headers_of_strangers(c: Probe) -> None:
    row, usual = "ROB-HTTP-11", _parent(c, c.post({"Upload-Length": "5"}))
    for name, value in _STRANGERS.items():
        answer = c.post({"Upload-Length": "5", name: value})
        probe = f"{name}: {value}"
        if c.status(row, answer, SUCCESS, expected="201", probe=probe):
            c.expect(row, _parent(c, answer) == usual, f"a Location below {usual}", answer,
                     probe=probe, broken=Verdict.INFO)  # fmt: skip


def _parent(c: Probe, answer: Answer) -> str:
    """Where the created upload lies. Raises Unverifiable."""
    return c.created(answer).rstrip("/").rpartition("/")[0]


# Size and form.

_KIB = 1024
_LARGE: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a field of 16 KiB": ("", [("X-Large", "x" * 16 * _KIB)]),
    "a field of 64 KiB": ("", [("X-Large", "x" * 64 * _KIB)]),
    "a field of 1 MiB": ("", [("X-Large", "x" * _KIB * _KIB)]),
    "100 fields": ("", [(f"X-{n}", "small") for n in range(100)]),
    "1000 fields": ("", [(f"X-{n}", "small") for n in range(1000)]),
    "10 000 fields": ("", [(f"X-{n}", "small") for n in range(10_000)]),
    "a request line of 64 KiB": ("?" + "x" * 64 * _KIB, []),
}


@check("ROB-HTTP-12")
def huge_headers(c: Probe) -> None:
    row = "ROB-HTTP-12"
    for probe, (query, fields) in _LARGE.items():
        got = _exchange(c, "OPTIONS", c.head("OPTIONS", c.url + query, fields), timeout=10.0)
        good = is_refused(got) or is_taken(got)
        c.demand(row, good, "2xx, 4xx or a close within 10 seconds", got, probe=probe)
        c.live(row, f"after {probe}")


def _malformed(c: Probe) -> dict[str, bytes]:
    plain = c.head("OPTIONS", c.url)
    target = request_target(c.url).encode()

    def with_line(line: bytes) -> bytes:
        return plain[:-2] + line + b"\r\n\r\n"

    return {
        "a bare carriage return": with_line(b"A: b\rc"),
        "NUL in a value": with_line(b"A: b\0c"),
        "a blank before the colon": with_line(b"A : b"),
        "a folded line": with_line(b"A: b\r\n c"),
        "line ends without carriage return": plain.replace(b"\r\n", b"\n"),
        "an empty field name": with_line(b": b"),
        "a line without colon": with_line(b"A"),
        "method patch": c.head("patch", c.url, patch_headers(0, 0)),
        "an absolute target": plain.replace(target, c.url.encode(), 1),
        "OPTIONS *": plain.replace(b"OPTIONS " + target, b"OPTIONS *", 1),
    }


@check("ROB-HTTP-13")
def malformed_heads(c: Probe) -> None:
    row = "ROB-HTTP-13"
    for probe, data in _malformed(c).items():
        got = _exchange(c, "OPTIONS", data)
        is_known = isinstance(got, Answer) and got.status in (501, 505)
        sensible = is_refused(got) or is_taken(got) or is_known
        c.demand(row, sensible, "400 or a sensible answer", got, probe=probe)
    c.live(row, "after all of them")
