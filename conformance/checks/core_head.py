"""CORE-HEAD: where an upload stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION
from conformance.probe import CLIENT_ERRORS, GONE, Probe
from conformance.verdict import Verdict
from conformance.wire import BadAnswer, ConnectionEnded

if TYPE_CHECKING:
    from conformance.wire import Wire

_STATES = ((b"", 0), (b"abc", 3), (b"defghij", 10))
"""What is sent next, and where the upload of 10 bytes then stands."""


@check("CORE-HEAD-01", "CORE-HEAD-02", "CORE-HEAD-03", "CORE-HEAD-04", "CORE-HEAD-06",
       "CORE-HEAD-07")  # fmt: skip
def head_tells_offset_and_length_in_every_state(c: Probe) -> None:
    url = c.mk(10)
    rows = ("CORE-HEAD-01", "CORE-HEAD-02", "CORE-HEAD-03")
    for row, (data, offset) in zip(rows, _STATES, strict=True):
        if data:
            c.sent(url, offset - len(data), data)
        probe, answer = f"HEAD at {offset} of 10", c.hd(url)
        is_gone = offset == 10 and answer.status in GONE
        c.expect(row, answer.all("upload-offset") == [str(offset)], f"Upload-Offset: {offset}",
                 answer, probe=f"{probe}, moved away" if is_gone else probe)  # fmt: skip
        if is_gone:
            continue
        c.expect("CORE-HEAD-04", answer.all("upload-length") == ["10"], "Upload-Length: 10",
                 answer, probe=probe)  # fmt: skip
        c.status("CORE-HEAD-06", answer, (200, 204), probe=probe)
        caching = {each.strip().lower() for each in (answer.get("cache-control") or "").split(",")}
        c.expect("CORE-HEAD-07", "no-store" in caching, "Cache-Control: no-store",
                 answer.get("cache-control") or "no Cache-Control", probe=probe)  # fmt: skip


@check("CORE-HEAD-05")
def head_of_what_is_not_there(c: Probe) -> None:
    answer = c.hd(c.stranger(c.mk(10)))
    if answer.status in range(200, 300):
        c.say("CORE-HEAD-05", Verdict.FAIL, "404, 410 or 403", answer)
    else:
        c.status("CORE-HEAD-05", answer, GONE, warns=CLIENT_ERRORS)
    c.expect("CORE-HEAD-05", "upload-offset" not in answer, "no Upload-Offset", answer)


@check("CORE-HEAD-08", "CORE-HEAD-11")
def head_has_no_body(c: Probe) -> None:
    url = c.mk(10)
    for row, asked in (("CORE-HEAD-08", url), ("CORE-HEAD-11", c.stranger(url))):
        with c.wire(url) as wire:
            wire.send(c.head("HEAD", asked, VERSION))
            first = wire.answer("HEAD")
            wire.try_send(c.head("OPTIONS", url))
            behind = _what_follows(wire)
        c.expect(row, not behind, "the next answer right behind, or a closed connection", first,
                 probe=f"{first.status} to HEAD, then {behind or 'no body'}")  # fmt: skip
        if row == "CORE-HEAD-08" and first.status == 204:
            framing = {"content-length", "transfer-encoding"} & {name for name, _ in first.headers}
            c.expect(row, not framing, "a 204 without framing", first)


def _what_follows(wire: Wire) -> str:
    """What stands between an answer to HEAD and the next one; nothing as it should be."""
    try:
        wire.answer("OPTIONS")
    except BadAnswer as error:
        return str(error)
    except ConnectionEnded:
        # A part of a body may have come before.
        return "" if wire.is_ended(within=0.0) else "bytes that are no answer"
    return ""


@check("CORE-HEAD-09")
def head_changes_nothing(c: Probe) -> None:
    url = c.mk(10)
    c.sent(url, 0, b"hello")
    offset = c.off(url)
    if offset != 5:
        c.give_up(f"HEAD tells an offset of {offset} behind 5 bytes")
    for _ in range(5):
        answer = c.hd(url)
        c.expect("CORE-HEAD-09", answer.get("upload-offset") == "5", "Upload-Offset: 5", answer)
    c.intact("CORE-HEAD-09", url, 5, b"world")
    c.content("CORE-HEAD-09", url, b"helloworld")


@check("CORE-HEAD-10")
def head_of_the_creation_url(c: Probe) -> None:
    answer = c.hd(c.url)
    c.expect("CORE-HEAD-10", answer.status < 500, "no 5xx", answer)
    c.expect("CORE-HEAD-10", "upload-offset" not in answer, "no Upload-Offset", answer)
