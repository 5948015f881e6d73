"""CHKT: digests that come behind a chunked body, and other things that do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.checks.checksum import HELLO, WRONG, told, works
from conformance.discovery import items
from conformance.hearing import NoAnswer, heard, plain_upload
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import chunked_headers
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

_MISMATCH = 460
_ANNOUNCED = {"Trailer": "Upload-Checksum"}
_WRONG = WRONG["Upload-Checksum"]


def _patch(
    c: Probe,
    url: str,
    trailers: Mapping[str, str],
    headers: Mapping[str, str] = _ANNOUNCED,
    data: bytes = HELLO,
) -> Answer | NoAnswer:
    """PATCH at 0 with a chunked body and these trailers."""
    with c.begin_chunked(url, 0, headers) as wire:
        wire.try_send(chunked(data[:5], data[5:], trailers=trailers))
        return heard(wire, "PATCH")


def _status(got: Answer | NoAnswer) -> int:
    return got.status if isinstance(got, Answer) else 0


def _right() -> dict[str, str]:
    return {"Upload-Checksum": told(HELLO)}


@check("CHKT-01")
def trailers_are_announced(c: Probe) -> None:
    if "checksum-trailer" in items(c.options().get("tus-extension")):
        c.say("CHKT-01", Verdict.PASS, "checksum-trailer in Tus-Extension")
        return
    if not c.has("url"):
        return
    got = _patch(c, c.mk(11), {"Upload-Checksum": _WRONG})
    c.expect("CHKT-01", _status(got) != _MISMATCH, "no 460 where it is not announced", got)


@check("CHKT-02")
def a_digest_that_matches(c: Probe) -> None:
    url = c.mk(11)
    got = _patch(c, url, _right())
    c.expect("CHKT-02", _status(got) == 204, "204", got)
    answer = c.hd(url)
    c.expect("CHKT-02", answer.get("upload-offset") == "11", "Upload-Offset: 11", answer)
    c.content("CHKT-02", url, HELLO)


@check("CHKT-03")
def a_digest_that_does_not(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    got = _patch(c, url, {"Upload-Checksum": _WRONG})
    # That it is 460 is a MAY; that nothing is stored is none.
    worst = Verdict.WARN if _status(got) in CLIENT_ERRORS else None
    c.expect("CHKT-03", _status(got) == _MISMATCH, "460", got, broken=worst)
    c.intact("CHKT-03", url, 0)
    got = _patch(c, url, _right())
    c.expect("CHKT-03", _status(got) == 204, "204 to the right one", got)
    c.content("CHKT-03", url, HELLO)


@check("CHKT-05")
def an_unannounced_trailer(c: Probe) -> None:
    works(c)
    got = _patch(c, c.mk(11), {"Upload-Checksum": _WRONG}, {})
    verified = _status(got) in (400, _MISMATCH)
    ok = verified or _status(got) in SUCCESS
    c.expect("CHKT-05", ok, "verified (460), or ignored (204)", got,
             probe="verified" if verified else "ignored")  # fmt: skip
    got = _patch(c, c.mk(11), _right(), {})
    c.expect("CHKT-05", _status(got) in SUCCESS, "204", got, probe="the right digest")


@check("CHKT-06")
def an_announced_trailer_that_does_not_come(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    got = _patch(c, url, {})
    if _status(got) in SUCCESS:
        c.say("CHKT-06", Verdict.WARN, "400", got)
        return
    c.expect("CHKT-06", _status(got) in (400, _MISMATCH), "400", got,
             broken=Verdict.WARN if _status(got) in CLIENT_ERRORS else None)  # fmt: skip
    c.intact("CHKT-06", url, 0, HELLO)


@check("CHKT-07")
def header_and_trailer_together(c: Probe) -> None:
    works(c)
    for header, trailer in ((_WRONG, told(HELLO)), (told(HELLO), _WRONG)):
        url = c.mk(11)
        got = _patch(c, url, {"Upload-Checksum": trailer},
                     {**_ANNOUNCED, "Upload-Checksum": header})  # fmt: skip
        probe = "the wrong digest in the " + ("header" if header == _WRONG else "trailer")
        c.expect("CHKT-07", _status(got) in (400, _MISMATCH), "460 or 400", got, probe=probe)
        c.intact("CHKT-07", url, 0, probe=f"after {probe}")
    got = _patch(c, c.mk(11), _right(), {**_ANNOUNCED, **_right()})
    c.expect("CHKT-07", _status(got) in SUCCESS, "204", got, probe="both right")


@check("CHKT-08")
def trailers_put_nothing_into_the_request(c: Probe) -> None:
    plain_upload(c)
    for name, value in (
        ("Upload-Offset", "999"),
        ("Upload-Length", "1"),
        ("Tus-Resumable", "0"),
        ("Content-Length", "3"),
    ):
        url, probe = c.mk(11), f"trailer {name}: {value}"
        got = _patch(c, url, {name: value}, {})
        if _status(got) in SUCCESS:
            answer = c.hd(url)
            c.expect("CHKT-08", answer.get("upload-offset") == "11", "Upload-Offset: 11", answer,
                     probe=probe)  # fmt: skip
            c.expect("CHKT-08", answer.get("upload-length") == "11", "Upload-Length: 11", answer,
                     probe=probe)  # fmt: skip
            c.content("CHKT-08", url, HELLO, probe=probe)
            continue
        refused = _status(got) in range(400, 500) or isinstance(got, NoAnswer)
        c.expect("CHKT-08", refused, "204 or 400", got, probe=probe)
        offset = c.off(url)
        c.expect("CHKT-08", offset in (0, 11), "an offset of 0 or 11", offset, probe=probe)


@check("CHKT-09")
def an_unknown_trailer(c: Probe) -> None:
    plain_upload(c)
    url = c.mk(11)
    with c.wire(url) as wire:
        head = c.head("PATCH", url, chunked_headers(0))
        wire.send(head + chunked(HELLO, trailers={"X-Foo": "1"}))
        got = heard(wire, "PATCH")
        c.expect("CHKT-09", _status(got) == 204, "204", got)
        if wire.is_ended(within=0.2):
            return
        wire.try_send(c.head("OPTIONS", c.url))
        got = heard(wire, "OPTIONS")
        c.expect("CHKT-09", _status(got) in SUCCESS, "an answer to the OPTIONS behind it", got)
