"""ROB-SEC: URLs that lead where they should not, and content that acts in a browser."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.metadata import encoded
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.spot import (
    DATA,
    REDIRECTS,
    Spot,
    asked,
    is_for_all,
    named_by_path,
    refusals,
    shown,
    spot_of,
    standing,
    still_stands,
    without_dots,
)
from conformance.tus import offset_of
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer

_METHODS = "HEAD", "GET", "PATCH", "DELETE"
_ELSEWHERE = (
    "../../{file}", "..%2f..%2f{coded}", "%2e%2e/%2e%2e/{file}", "..%5c..%5cwin.ini",
    "....//{file}", "//{file}", "/{file}", "%2f{coded}",
)  # fmt: skip
_UP = "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "....//"
_DEEPER = tuple(f"{up * 10}{'{file}' if up.endswith('/') else '{coded}'}" for up in _UP)
"""How deep below the root the uploads lie is not known."""
_PLACES = ".", "..", "%00"
_SECRET = re.compile(rb"^root:[^:\n]*:0:0:|^\[(?:fonts|extensions)\]", re.MULTILINE)
"""What stands in files that each machine of a kind has."""


@check("ROB-SEC-01")
def no_path_leads_out(c: Probe) -> None:
    spot = named_by_path(c, standing(c))
    # Where such a path does lead out, nothing that is there may be written or deleted.
    nothing = f"tus-suite-{secrets.token_hex(8)}"
    for path in (*_ELSEWHERE, *_DEEPER):
        there = path.format(file="etc/passwd", coded="etc%2fpasswd")
        harmless = path.format(file=nothing, coded=nothing).replace("win.ini", nothing)
        for method in _METHODS:
            _judge_path(c, spot, method, there if method in ("HEAD", "GET") else harmless)
    for path in _PLACES:
        # No DELETE: whoever takes one of them for an upload might delete all there are.
        for method in ("HEAD", "GET", "PATCH"):
            _judge_path(c, spot, method, path)
    still_stands(c, "ROB-SEC-01", spot.url, 0, "the upload beside all these paths")


_OWN = "{id}%2f..%2f{id}", ".%2f{id}", "..%2f{storage}%2f{id}", "{id}%00.x", "{id}%00"


@check("ROB-SEC-01")
def no_detour_leads_to_an_upload(c: Probe) -> None:
    storage = c.target.storage.resolve().name if c.target.storage is not None else "uploads"
    for detour in _OWN:
        spot = named_by_path(c, standing(c))
        path = detour.format(id=spot.id, storage=storage)
        for method in _METHODS:
            _judge_path(c, spot, method, path)
        still_stands(c, "ROB-SEC-01", spot.url, 0, f"the upload behind {path}")


@check("ROB-SEC-01")
def dots_that_lead_to_the_upload_itself(c: Probe) -> None:
    row, spot = "ROB-SEC-01", named_by_path(c, standing(c))
    path = f"{spot.id}/../{spot.id}"
    for method in ("HEAD", "GET"):
        answer = asked(c, row, method, spot.named(path))
        if answer is None:
            continue
        # RFC 3986 has it that this is its URL.
        is_it = answer.status in SUCCESS and (method == "GET" or offset_of(answer) == 0)
        ok = is_it or _is_refused(method, answer)
        ok = ok or is_for_all(c, row, spot, method, path, answer)
        c.expect(row, ok, "the upload, or 3xx or 4xx", answer, probe=f"{method} {path}")
    still_stands(c, row, spot.url, 0, f"the upload behind {path}")


def _judge_path(c: Probe, spot: Spot, method: str, path: str) -> None:
    url, row = spot.named(path), "ROB-SEC-01"
    answer = asked(c, row, method, url, b"x" if method == "PATCH" else b"")
    if answer is None:
        return
    ok = _is_refused(method, answer) or _is_of_another(c, spot, method, url, answer)
    ok = ok or (answer.status in SUCCESS and is_for_all(c, row, spot, method, path, answer))
    ok = ok and _SECRET.search(answer.body) is None
    c.expect(row, ok, "3xx or 4xx, and nothing of an upload or a file", answer,
             probe=f"{method} {path}")  # fmt: skip


def _is_refused(method: str, answer: Answer) -> bool:
    is_refusal = answer.status in REDIRECTS or answer.status in refusals(method)
    return is_refusal and "upload-offset" not in answer


def _is_of_another(c: Probe, spot: Spot, method: str, url: str, answer: Answer) -> bool:
    """Whether the URL is a spelling of one that has nothing to do with uploads, like that of a home
    page, and is answered in the same way.
    """
    if spot.has(url) or "upload-offset" in answer:
        return False
    known = asked(c, "ROB-SEC-01", method, without_dots(url))
    return known is not None and known.status == answer.status


_PATTERNS = "%", "*"
_ODD_IDS = (
    "%zz", "%ff", "%c0%ae", "x" * 8192, "x" * 256, "CON", "|id", ";id", "%F0%9F%98%80",
    "\U0001f600".encode().decode("latin-1"), "%0d%0aSet-Cookie:%20pwn=1",
)  # fmt: skip
_TRACE = re.compile(
    rb"Traceback \(most recent|goroutine \d|panicked at|\bat \S+ \(\S+:\d+:\d+\)|\.java:\d+\)"
)


@check("ROB-SEC-02")
def odd_ids_are_unknown(c: Probe) -> None:
    row, spot = "ROB-SEC-02", named_by_path(c, standing(c))
    for name in (*_PATTERNS, *_ODD_IDS):
        # Whoever takes it for a pattern might delete all that it fits.
        for method in _METHODS[:3] if name in _PATTERNS else _METHODS:
            answer = asked(c, row, method, spot.named(name))
            if answer is None:
                continue
            probe = f"{method} {shown(name)}"
            _judge_unknown(c, row, spot, method, name, answer, probe)
            ok = "upload-offset" not in answer and "pwn=1" not in answer.all("set-cookie")
            c.expect(row, ok, "no Upload-Offset, and no header of ours", answer, probe=probe)
            trace = _TRACE.search(answer.body)
            c.expect(row, trace is None, "no trace back", answer, probe=probe)
    still_stands(c, row, spot.url, 0, "the upload beside them")


def _judge_unknown(
    c: Probe, row: str, spot: Spot, method: str, name: str, answer: Answer, probe: str
) -> None:
    if answer.status in SUCCESS and is_for_all(c, row, spot, method, name, answer):
        c.say(row, Verdict.INFO, "4xx", answer, probe=f"{probe}, as any other name")
    else:
        c.status(row, answer, refusals(method), infos=REDIRECTS, expected="4xx", probe=probe)


_SIDES = "U.info", "U.json", "U.meta", "U.lock", "U.part", "U.tmp", "U~", ".U"


@check("ROB-SEC-03")
def side_files_of_an_unfinished_upload(c: Probe) -> None:
    spot = named_by_path(c, standing(c, 5))
    _judge_sides(c, spot, 5)
    still_stands(c, "ROB-SEC-03", spot.url, 5, "the upload whose files they would be")


@check("ROB-SEC-03")
def side_files_of_a_finished_upload(c: Probe) -> None:
    spot = named_by_path(c, spot_of(c, c.made(DATA)))
    # What is complete may be moved away.
    stays = offset_of(c.hd(spot.url)) == len(DATA)
    _judge_sides(c, spot, len(DATA))
    if stays:
        probe = "the upload whose files they would be"
        c.intact("ROB-SEC-03", spot.url, len(DATA), probe=probe)
        c.content("ROB-SEC-03", spot.url, DATA, probe)


def _judge_sides(c: Probe, spot: Spot, offset: int) -> None:
    """The upload stands at the offset: whoever takes a side file for it takes a PATCH there."""
    row = "ROB-SEC-03"
    for side in _SIDES:
        name = side.replace("U", spot.id)
        for method in _METHODS:
            body = DATA[offset:][:1] if method == "PATCH" else b""
            answer = asked(c, row, method, spot.named(name), body, offset=offset)
            if answer is None:
                continue
            probe = f"{method} {side}"
            _judge_unknown(c, row, spot, method, name, answer, probe)
            c.expect(row, "upload-offset" not in answer, "no Upload-Offset", answer, probe=probe)


_SCRIPT = b"<script>alert(document.domain)</script>"
_PAGE = b"<!DOCTYPE html><html><body>" + _SCRIPT + b"</body></html>"
_DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg">' + _SCRIPT + b"</svg>"
_ACTIVE = re.compile(r"html|xml|svg|script|x-mixed-replace|message/|multipart/")
"""Types of what a browser runs scripts in (or of scripts)."""
_DOWNLOADS = (
    ("a page", "a.html", b"text/html", _PAGE),
    ("a page, its type with blanks and capitals", "a.htm", b" Text/HTML ;charset=utf-8", _PAGE),
    ("a page of XML", "a.xhtml", b"application/xhtml+xml", _PAGE),
    ("a drawing", "a.svg", b"image/svg+xml", _DRAWING),
    ("a page named as a picture", "a.png", b"text/html", _PAGE),
    ("a page said to be a picture", "a.html", b"image/png", _PAGE),
)  # fmt: skip


@check("ROB-SEC-08")
def downloads_are_inert(c: Probe) -> None:
    _judge_download(c, c.made(_PAGE), "a page without metadata")
    if not c.has("creation"):
        return
    for probe, name, kind, data in _DOWNLOADS:
        # Clients do not agree on the keys.
        pairs = [f"{key} {encoded(name.encode())}" for key in ("filename", "name")]
        pairs += [f"{key} {encoded(kind)}" for key in ("filetype", "type", "contentType")]
        answer = c.post({"Upload-Length": str(len(data)), "Upload-Metadata": ",".join(pairs)})
        if answer.status in CLIENT_ERRORS:
            c.say("ROB-SEC-08", Verdict.PASS, "201, or a refusal", answer, probe=probe)
            continue
        url = c.created(answer)
        c.sent(url, 0, data)
        _judge_download(c, url, probe)


def _judge_download(c: Probe, url: str, probe: str) -> None:
    row = "ROB-SEC-08"
    for headers in ({}, {"Range": "bytes=0-"}):
        answer = c.get(url, headers)
        if answer.status not in SUCCESS:
            c.say(row, Verdict.PASS, "an inert download, or none", answer, probe=probe)
            continue
        sniffing = (answer.get("x-content-type-options") or "").strip().lower()
        disposition = (answer.get("content-disposition") or "").strip().lower()
        kind = (answer.get("content-type") or "").lower()
        is_inert = disposition.startswith("attachment") or _ACTIVE.search(kind) is None
        # What is saved and not shown can be guessed at by what includes it only.
        worst = Verdict.WARN if disposition.startswith("attachment") else None
        c.expect(row, sniffing == "nosniff", "X-Content-Type-Options: nosniff", answer, probe=probe,
                 broken=worst)  # fmt: skip
        broken = Verdict.INFO if _is_sandboxed(answer) else None
        c.expect(row, is_inert, "attachment, or a neutral type", answer, probe=probe, broken=broken)


def _is_sandboxed(answer: Answer) -> bool:
    """Whether a browser that shows it runs none of its scripts."""
    policies = answer.all("content-security-policy")
    directives = [each.split() for value in policies for each in value.lower().split(";")]
    return any(each[:1] == ["sandbox"] and "allow-scripts" not in each for each in directives)
