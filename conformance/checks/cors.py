"""ROB-CORS: what browsers must be told before scripts of other origins may upload."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import ORIGIN, VERSION
from conformance.probe import SUCCESS, Probe
from conformance.target import request_target
from conformance.verdict import Verdict
from conformance.wire import ConnectionEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.wire import Answer

_WRONG_SHA1 = f"sha1 {27 * 'A'}="


def _preflight(
    c: Probe, url: str, method: str, headers: Sequence[str] = (), origin: str = ORIGIN
) -> Answer:
    return c.options(url, _asking(method, headers, origin))


def _asking(method: str, headers: Sequence[str] = (), origin: str = ORIGIN) -> dict[str, str]:
    asked = {"Access-Control-Request-Headers": ",".join(headers)} if headers else {}
    return {"Origin": origin, "Access-Control-Request-Method": method, **asked}


def _members(answer: Answer, name: str) -> set[str]:
    """The members of a list in lower case."""
    return {item.strip().lower() for item in (answer.get(name) or "").split(",")} - {""}


def _missing(answer: Answer, name: str, wanted: Sequence[str]) -> list[str]:
    """Those that the list in this header does not cover. A star stands for all but Authorization,
    and for nothing where credentials are allowed.
    """
    listed = _members(answer, name)
    if "*" in listed and answer.get("access-control-allow-credentials") != "true":
        return [each for each in wanted if each == "authorization" and each not in listed]
    return [each for each in wanted if each.lower() not in listed]


def _judge_preflight(c: Probe, row: str, url: str, method: str, headers: Sequence[str]) -> None:
    answer = _preflight(c, url, method, headers)
    where = "the creation URL" if url == c.url else "an upload URL"
    probe = f"preflight of {method} on {where}"
    c.status(row, answer, (200, 204), probe=probe)
    allowed = answer.get("access-control-allow-origin")
    c.expect(row, allowed in ("*", ORIGIN), f"Access-Control-Allow-Origin: {ORIGIN} or *", answer,
             probe=probe)  # fmt: skip
    for name, wanted in (("methods", [method]), ("headers", headers)):
        missing = _missing(answer, f"access-control-allow-{name}", wanted)
        lack = f", without {', '.join(missing)}" if missing else ""
        c.expect(row, not missing, f"Access-Control-Allow-{name.title()} with {', '.join(wanted)}",
                 answer, probe=f"{probe}{lack}")  # fmt: skip


@check("ROB-CORS-01")
def preflight_of_creation(c: Probe) -> None:
    headers = ["tus-resumable", "upload-length", "upload-metadata", "content-type"]
    headers += ["x-requested-with", "x-request-id", "authorization"]
    headers += ["upload-defer-length"] if c.has("defer") else []
    headers += ["upload-concat"] if c.has("concat") else []
    _judge_preflight(c, "ROB-CORS-01", c.url, "POST", headers)


@check("ROB-CORS-02")
def preflight_of_uploads(c: Probe) -> None:
    url = c.mk(4)
    patch = ["tus-resumable", "upload-offset", "content-type", "upload-length"]
    patch += ["x-http-method-override"]
    patch += ["upload-checksum"] if c.has("checksum") else []
    _judge_preflight(c, "ROB-CORS-02", url, "PATCH", patch)
    _judge_preflight(c, "ROB-CORS-02", url, "HEAD", ["tus-resumable"])
    if c.has("termination"):
        _judge_preflight(c, "ROB-CORS-02", url, "DELETE", ["tus-resumable"])


def _exposed(c: Probe) -> list[str]:
    """The headers that a client of this server has to read."""
    needed = {
        "Upload-Offset": "",
        "Upload-Length": "",
        "Tus-Resumable": "",
        "Tus-Version": "",
        "Tus-Extension": "",
        "Tus-Max-Size": "max-size",
        "Location": "creation",
        "Upload-Metadata": "creation",
        "Upload-Defer-Length": "defer",
        "Upload-Concat": "concat",
        "Upload-Expires": "expiration",
        "Tus-Checksum-Algorithm": "checksum",
    }
    return [name for name, need in needed.items() if not need or c.has(need)]


def _answers(c: Probe, origin: str) -> Iterator[tuple[str, Answer]]:
    """Those of an upload from a page of this origin."""
    url = c.mk(4)
    if c.has("creation"):
        yield "POST", c.post({"Upload-Length": "4", "Origin": origin})
    yield "HEAD", c.hd(url, {"Origin": origin})
    yield "PATCH", c.pa(url, 0, b"abcd", {"Origin": origin})


@check("ROB-CORS-03")
def headers_are_exposed(c: Probe) -> None:
    wanted = _exposed(c)
    for method, answer in _answers(c, ORIGIN):
        missing = _missing(answer, "access-control-expose-headers", wanted)
        lack = f", without {', '.join(missing)}" if missing else ""
        expected = f"Access-Control-Expose-Headers with {', '.join(wanted)}"
        c.expect("ROB-CORS-03", not missing, expected, answer, probe=f"{method}{lack}")


@check("ROB-CORS-04")
def refusals_are_exposed_too(c: Probe) -> None:
    allowed, exposed = "access-control-allow-origin", "access-control-expose-headers"
    good = c.hd(c.mk(4), {"Origin": ORIGIN})
    if good.status not in SUCCESS or allowed not in good:
        c.give_up(f"even a good request is not allowed: {good}")
    for name, answer in _refusals(c):
        if answer.status < 400:
            continue
        same = answer.get(allowed) == good.get(allowed)
        same = same and _members(answer, exposed) == _members(good, exposed)
        c.expect("ROB-CORS-04", same, "Allow-Origin and Expose-Headers as for a good request",
                 answer, probe=f"{name}, answered {answer.status}")  # fmt: skip


def _refusals(c: Probe) -> Iterator[tuple[str, Answer]]:
    origin = {"Origin": ORIGIN}
    url = c.mk(4)
    gone = c.stranger(url)
    yield "HEAD of no upload", c.hd(gone, origin)
    yield "PATCH of no upload", c.pa(gone, 0, b"x", origin)
    yield "PATCH at a wrong offset", c.pa(url, 1, b"x", origin)
    old = {**origin, "Tus-Resumable": "0.0.1"}
    yield "PATCH with another version", c.pa(url, 0, b"x", old)
    yield "PATCH with too many bytes", c.pa(url, 0, b"abcdef", origin)
    text = {**origin, "Content-Type": "text/plain"}
    yield "PATCH of another type", c.pa(url, 0, b"x", text)
    if c.has("checksum"):
        digest = {**origin, "Upload-Checksum": _WRONG_SHA1}
        yield "PATCH with a wrong digest", c.pa(url, 0, b"x", digest)


@check("ROB-CORS-05", "ROB-CORS-06")
def origins_that_are_echoed(c: Probe) -> None:
    arbitrary = f"https://{secrets.token_hex(8)}.example"
    for origin in (ORIGIN, arbitrary):
        preflight = _preflight(c, c.url, "POST", origin=origin)
        for method, answer in (("preflight", preflight), *_answers(c, origin)):
            allowed = answer.get("access-control-allow-origin")
            varies = bool({"origin", "*"} & _members(answer, "vary"))
            c.expect("ROB-CORS-05", allowed != origin or varies,
                     "Vary: Origin where it names the origin", answer, probe=method)  # fmt: skip
            with_credentials = answer.get("access-control-allow-credentials") == "true"
            risky = {"*": Verdict.FAIL, arbitrary: Verdict.WARN}.get(allowed or "", Verdict.PASS)
            c.say("ROB-CORS-06", risky if with_credentials else Verdict.PASS,
                  "Allow-Credentials for named origins only", answer,
                  probe=f"{method} from {origin}")  # fmt: skip


@check("ROB-CORS-07")
def preflight_without_credentials(c: Probe) -> None:
    for url, method in ((c.url, "POST"), (c.mk(4), "PATCH")):
        with c.wire(url) as wire:
            # Just what a browser sends: without the headers of the target.
            answer = wire.request("OPTIONS", request_target(url), _asking(method))
        c.status("ROB-CORS-07", answer, SUCCESS, probe=f"preflight of {method}")


_MARK = "X-Injected"
_JUNK = (
    "null",
    "",
    "https://",
    "*",
    "javascript:alert(1)",
    "https://evil.example/path?x=<script>",
    "https://one.example, https://two.example",
    "https://\xff\xfe.example",
    f"https://evil.example%0d%0a{_MARK}: 1",
    f"https://evil.example\r{_MARK}: 1",
    f"https://evil.example\r\n {_MARK}: 1",
)


@check("ROB-CORS-08")
def junk_origins(c: Probe) -> None:
    url = c.mk(4)
    for origin in _JUNK:
        for method, asked in (("OPTIONS", c.url), ("HEAD", url)):
            asking = _asking("POST", (), origin) if method == "OPTIONS" else {"Origin": origin}
            probe = f"{method} with Origin: {origin!r}"
            try:
                answer = c.request(method, asked, {**VERSION, **asking})
            except ConnectionEnded:
                # To hang up on what is no good head is fair.
                c.say("ROB-CORS-08", Verdict.PASS, "no 5xx", "a closed connection", probe=probe)
                continue
            broken = any("\r" in value or "\n" in value for _, value in answer.headers)
            ok = answer.status not in (500, 502, 503, 504) and not broken and _MARK not in answer
            c.expect("ROB-CORS-08", ok, "no 5xx, and no line end that comes back", answer,
                     probe=probe)  # fmt: skip
