"""CORE-OPT: what a server tells about itself, and whether it is so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, TOKENS, items
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import chunked_headers, joined, offset_of
from conformance.verdict import Unverifiable, Verdict
from conformance.wire import chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.wire import Answer

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NEEDED = {
    "creation-defer-length": "creation",
    "creation-with-upload": "creation",
    "concatenation": "creation",
    "checksum-trailer": "checksum",
    "concatenation-unfinished": "concatenation",
}
_HUGE = 2**50
_WRONG_SHA1 = f"sha1 {27 * 'A'}="
_RIGHT_SHA1 = "sha1 gf6L/odXbD7LIkJvjleEc4KRes8="
"""Of `abcd`."""


@check("CORE-OPT-01", "CORE-OPT-02")
def options_tells_the_versions(c: Probe) -> None:
    answer = c.options()
    ok = answer.status in (200, 204)
    c.expect("CORE-OPT-02", ok, "200 or 204", answer, broken=Verdict.WARN)
    if not ok:
        c.give_up("OPTIONS has no success")
    c.expect("CORE-OPT-01", bool(items(answer.get("tus-version"))), "a Tus-Version", answer)


@check("CORE-OPT-03", "CORE-OPT-09")
def the_list_of_extensions(c: Probe) -> None:
    answer = c.options()
    value = answer.get("tus-extension")
    listed = [] if value is None else [item.strip(" \t") for item in value.split(",")]
    unknown = sorted(set(listed) - TOKENS.keys())
    # Of names that are not ours only the form can be judged.
    bad = [item for item in unknown if not _TOKEN.fullmatch(item) or item.lower() in TOKENS]
    ok = not bad and len(set(listed)) == len(listed)
    probe = f"besides those of the protocol: {', '.join(unknown)}" if unknown and ok else ""
    expected = "names between commas, none empty or twice, or no header"
    got = "no Tus-Extension" if value is None else f"Tus-Extension: {value}"
    c.expect("CORE-OPT-03", ok, expected, answer if not ok else got, probe=probe)
    wanting = [
        f"{name} without {need}"
        for name, need in _NEEDED.items()
        if name in listed and need not in listed
    ]
    expected = "with each extension those that it builds on"
    c.expect("CORE-OPT-09", not wanting, expected, got, probe=", ".join(wanting))


@check("CORE-OPT-04")
def the_maximum_is_a_number(c: Probe) -> None:
    answer = c.options()
    sizes = answer.all("tus-max-size")
    ok = not sizes or (len(sizes) == 1 and re.fullmatch("[0-9]+", sizes[0]) is not None)
    c.expect("CORE-OPT-04", ok, "a Tus-Max-Size of digits only, or none", answer)


@check("CORE-OPT-05")
def a_maximum_is_announced(c: Probe) -> None:
    options = c.options()
    if "tus-max-size" in options:
        c.expect("CORE-OPT-05", True, "a Tus-Max-Size", options)
        return
    answer = c.post({"Upload-Length": str(_HUGE)})
    if answer.status == 201 and c.has("termination"):
        c.delete(c.created(answer))
    probe = f"no Tus-Max-Size, POST with Upload-Length: {_HUGE}"
    c.expect("CORE-OPT-05", answer.status != 413, "no 413", answer, probe=probe)


@check("CORE-OPT-08")
def options_on_an_upload(c: Probe) -> None:
    there, here = c.options(), c.options(c.mk(4))
    c.status("CORE-OPT-08", here, (200, 204), probe="OPTIONS on an upload URL")
    for name in ("tus-version", "tus-extension"):
        told, expected = here.get(name), there.get(name)
        same = sorted(items(told)) == sorted(items(expected))
        probe = "OPTIONS on an upload URL"
        c.expect("CORE-OPT-08", same, f"{name}: {expected}", f"{name}: {told}", probe=probe)


# What is announced and what works


def _creates(c: Probe) -> bool:
    answer = c.post({"Upload-Length": "4"})
    return answer.status == 201 and "location" in answer


def _takes_bytes_with_creation(c: Probe) -> bool:
    answer = c.post({**OCTETS, "Upload-Length": "4"}, b"abcd")
    return answer.status == 201 and bool(offset_of(answer) or c.off(c.created(answer)))


def _defers_length(c: Probe) -> bool:
    url = c.mk(None)
    return c.pa(url, 0, b"abcd", {"Upload-Length": "4"}).status in SUCCESS


def _expires(c: Probe) -> bool:
    made = c.post({"Upload-Length": "4"})
    url = c.created(made)
    return any("upload-expires" in each for each in (made, c.pa(url, 0, b"ab"), c.hd(url)))


def _verifies(c: Probe, patch: Callable[[Probe, str], Answer]) -> bool:
    """Whether a wrong digest is refused and the right one is not."""
    return patch(c, _WRONG_SHA1).status in CLIENT_ERRORS and patch(c, _RIGHT_SHA1).status in SUCCESS


def _with_header(c: Probe, digest: str) -> Answer:
    return c.pa(c.mk(4), 0, b"abcd", {"Upload-Checksum": digest})


def _with_trailer(c: Probe, digest: str) -> Answer:
    headers = chunked_headers(0, {"Trailer": "Upload-Checksum"})
    body = chunked(b"abcd", trailers={"Upload-Checksum": digest})
    return c.request("PATCH", c.mk(4), headers, body)


def _terminates(c: Probe) -> bool:
    url = c.mk(4)
    return c.delete(url).status in SUCCESS and c.hd(url).status not in SUCCESS


def _joins(c: Probe, data: bytes) -> bool:
    """Whether a partial upload of 4 bytes, of which it has these, can be made a final one."""
    part = c.mk(4, {"Upload-Concat": "partial"})
    if data:
        c.sent(part, 0, data)
    answer = c.post(joined([part]))
    if answer.status != 201:
        return False
    final = c.hd(c.created(answer))
    is_there = final.get("upload-length") == "4" or "upload-concat" in final
    # Some move away what is finished.
    return is_there or final.status not in SUCCESS


_PROBES: dict[str, Callable[[Probe], bool]] = {
    "creation": _creates,
    "creation-with-upload": _takes_bytes_with_creation,
    "creation-defer-length": _defers_length,
    "expiration": _expires,
    "checksum": lambda c: _verifies(c, _with_header),
    "checksum-trailer": lambda c: _verifies(c, _with_trailer),
    "termination": _terminates,
    "concatenation": lambda c: _joins(c, b"abcd"),
    "concatenation-unfinished": lambda c: _joins(c, b""),
}


@check("CORE-OPT-10")
def what_is_announced_works_and_nothing_else(c: Probe) -> None:
    announced = items(c.options().get("tus-extension"))
    for name, works in _PROBES.items():
        try:
            does = works(c)
        except Unverifiable:
            does = False
        # Dates may be missing where nothing will expire.
        broken = Verdict.FAIL if name in announced and name != "expiration" else Verdict.WARN
        words = (f"announced: {name in announced}", f"works: {does}")
        c.expect("CORE-OPT-10", does is (name in announced), words[0], words[1], probe=name,
                 broken=broken)  # fmt: skip
        if name == "creation":
            # What cannot even be uploaded without any extension says nothing about extensions.
            c.made(b"abcd")
