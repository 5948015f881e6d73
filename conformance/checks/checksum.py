"""CHK: bodies that carry a digest are verified before they count."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import items
from conformance.hearing import NoAnswer, heard, is_taken
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import eventually, offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.wire import Answer, Wire

_KIB = 1024
_LARGE = 8 * _KIB * _KIB
_MISMATCH = 460
_UNKNOWN = {"Upload-Checksum": "foo123 AAAA"}
HELLO, HELLO_SHA1 = b"hello world", "Kq5sNclPz7QV2+lfQIuc6R7oRu0="
KNOWN: dict[str, Callable[[bytes], bytes]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha384": lambda data: hashlib.sha384(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


def told(data: bytes, algorithm: str = "sha1") -> str:
    """The value of Upload-Checksum for these bytes."""
    return f"{algorithm} {base64.b64encode(KNOWN[algorithm](data)).decode()}"


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    """The header with the right digest of these bytes."""
    return {"Upload-Checksum": told(data, algorithm)}


WRONG = checksum(b"something else")


def works(c: Probe) -> None:
    """Raises Unverifiable when not even the right digest is taken: refusals show nothing then."""
    url = c.mk(len(HELLO))
    c.sent(url, 0, HELLO, checksum(HELLO))
    if c.off(url) != len(HELLO):
        c.give_up("a body with the right digest is not stored")


@check("CHK-01", "CHK-02")
def checksum_is_announced(c: Probe) -> None:
    c.say("CHK-01", Verdict.PASS, "an extension that one may have or not")
    if "checksum" in items(c.options().get("tus-extension")):
        c.say("CHK-02", Verdict.PASS, "checksum in Tus-Extension")
        return
    if not c.has("url"):
        return
    answer = c.pa(c.mk(4), 0, b"data", WRONG)
    c.expect("CHK-02", answer.status != _MISMATCH, "no 460 where it is not announced", answer)


@check("CHK-03", "CHK-04")
def algorithms_are_listed(c: Probe) -> None:
    answer = c.options()
    value = answer.get("tus-checksum-algorithm")
    c.demand("CHK-03", bool(value), "Tus-Checksum-Algorithm", answer)
    names = (value or "").split(",")
    bare = [name.strip() for name in names]
    well_formed = all(
        name and name.isascii() and name.isprintable() and " " not in name for name in bare
    )
    lower = not any(letter.isupper() for name in bare for letter in name)
    c.expect("CHK-04", well_formed and lower, "names without blanks and upper case", value)
    c.expect("CHK-04", len(set(bare)) == len(bare), "each name once", value)


@check("CHK-05")
def sha1_is_there(c: Probe) -> None:
    c.expect("CHK-05", "sha1" in c.discovery.algorithms, "sha1 among the algorithms",
             ", ".join(c.discovery.algorithms))  # fmt: skip
    answer = c.pa(c.mk(11), 0, HELLO, {"Upload-Checksum": f"sha1 {HELLO_SHA1}"})
    c.status("CHK-05", answer, (204,))


@check("CHK-07")
def form_of_the_header(c: Probe) -> None:
    """What is out of form is a matter of CHK-12."""
    url = c.mk(11)
    answer = c.pa(url, 0, HELLO, {"Upload-Checksum": f"sha1 {HELLO_SHA1}"})
    c.expect("CHK-07", answer.status in SUCCESS, "2xx to an algorithm, a blank, a digest", answer)


@check("CHK-08", "CHK-09")
def bodies_are_verified(c: Probe) -> None:
    url, data = c.mk(1000), bytes(range(250)) * 4
    answer, probe = c.pa(url, 0, data, checksum(data)), "the right digest"
    c.demand("CHK-08", answer.status in SUCCESS, "204", answer, probe=probe)
    offset = offset_of(answer)
    offset = c.off(url) if offset is None else offset
    c.expect("CHK-08", offset == 1000, "an offset of 1000", offset, probe=probe)
    c.content("CHK-08", url, data, probe)
    flipped = bytearray(data)
    flipped[500] ^= 1
    answer, probe = c.pa(c.mk(1000), 0, bytes(flipped), checksum(data)), "one bit flipped"
    c.expect("CHK-08", answer.status not in SUCCESS, "no 2xx", answer, probe=probe)
    worst = Verdict.WARN if answer.status in CLIENT_ERRORS else Verdict.FAIL
    c.expect("CHK-09", answer.status == _MISMATCH, "460", answer, probe=probe, broken=worst)


@check("CHK-10")
def algorithms_that_are_none(c: Probe) -> None:
    works(c)
    answer = c.pa(c.mk(4), 0, b"data", _UNKNOWN)
    worst = Verdict.WARN if answer.status in CLIENT_ERRORS else Verdict.FAIL
    c.expect("CHK-10", answer.status == 400, "400", answer, broken=worst)


@check("CHK-11")
def what_does_not_match_leaves_nothing(c: Probe) -> None:
    works(c)
    for size in (1, 64 * _KIB, _LARGE):
        good, bad = b"g" * size, b"b" * size
        url = c.mk(5 + size)
        for offset, right in ((0, b"start"), (5, good)):
            # What is refused by its name is so at once, however much would follow.
            for header in (checksum(good), *(() if size == _LARGE else (_UNKNOWN,))):
                probe = f"{size} bytes at {offset}, {header['Upload-Checksum'].partition(' ')[0]}"
                got = _patched(c, url, offset, bad, header)
                c.expect("CHK-11", not is_taken(got), "no 2xx", got, probe=probe)
                if not c.intact("CHK-11", url, offset, probe=f"after {probe}"):
                    return
            answer = c.pa(url, offset, right, checksum(right))
            c.demand("CHK-11", answer.status in SUCCESS, "204 to the right bytes", answer)
        c.content("CHK-11", url, b"start" + good)


def _patched(
    c: Probe, url: str, offset: int, data: bytes, headers: dict[str, str]
) -> Answer | NoAnswer:
    """PATCH, where a server that has seen enough may close before it has read all."""
    with c.begin_patch(url, offset, len(data), headers) as wire:
        wire.try_send(data)
        return heard(wire, "PATCH")


_WRONG_LENGTH = ("no digest", "an empty digest", "the wrong length")
"""Those of the malformed that may count as a digest which is another."""
_MALFORMED = {
    "no digest": "sha1",
    "an empty digest": "sha1 ",
    "no algorithm": f" {HELLO_SHA1}",
    "not Base64": "sha1 ???",
    "the wrong length": "sha1 AAAA",
    "two blanks": f"sha1  {HELLO_SHA1}",
    "empty": "",
    "words behind it": f"sha1 {HELLO_SHA1} x",
    "two in one": f"sha1 {HELLO_SHA1},md5 XrY7u+Ae7tCTyyK7j1rNww==",
}


@check("CHK-12")
def headers_out_of_form(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    for name, value in _MALFORMED.items():
        answer = c.pa(url, 0, HELLO, {"Upload-Checksum": value})
        passes = (400, _MISMATCH) if name in _WRONG_LENGTH else (400,)
        c.status("CHK-12", answer, passes, warns=CLIENT_ERRORS, probe=name)
        if not c.intact("CHK-12", url, 0, probe=f"after {name}"):
            url = c.mk(11)
    two = [*patch_headers(0, 11).items(), ("Upload-Checksum", f"sha1 {HELLO_SHA1}")]
    answer = c.request("PATCH", url, [*two, ("Upload-Checksum", WRONG["Upload-Checksum"])], HELLO)
    c.status("CHK-12", answer, (400,), warns=CLIENT_ERRORS, probe="two lines")
    c.intact("CHK-12", url, 0, HELLO, probe="after two lines")


@check("CHK-13")
def each_algorithm_works(c: Probe) -> None:
    known = [name for name in c.discovery.algorithms if name in KNOWN]
    if not known:
        c.give_up("no algorithm is announced that this suite knows")
    for name in known:
        url = c.mk(11)
        answer = c.pa(url, 0, HELLO, checksum(b"HELLO WORLD", name))
        c.status("CHK-13", answer, (_MISMATCH,), infos=CLIENT_ERRORS, probe=f"{name}, wrong")
        answer = c.pa(url, 0, HELLO, checksum(HELLO, name))
        if name == "crc32" and answer.status not in SUCCESS:
            little = base64.b64encode(KNOWN["crc32"](HELLO)[::-1]).decode()
            turned = c.pa(url, 0, HELLO, {"Upload-Checksum": f"crc32 {little}"})
            if turned.status in SUCCESS:
                answer = turned
                c.say("CHK-13", Verdict.INFO, "four bytes, the highest first", "the lowest first")
        c.status("CHK-13", answer, (204,), probe=f"{name}, right")


@check("CHK-14")
def names_are_compared_exactly(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    answer = c.pa(url, 0, HELLO, {"Upload-Checksum": WRONG["Upload-Checksum"].upper()[:4]
                                  + WRONG["Upload-Checksum"][4:]})  # fmt: skip
    c.expect("CHK-14", answer.status not in SUCCESS, "no 2xx to a wrong digest under SHA1", answer)
    if answer.status in SUCCESS:
        return
    answer = c.pa(url, 0, HELLO, {"Upload-Checksum": f"SHA1 {HELLO_SHA1}"})
    c.status("CHK-14", answer, (400, 204), infos=CLIENT_ERRORS, probe="SHA1 with the right digest")


@check("CHK-15")
def a_body_cut_short(c: Probe) -> None:
    works(c)
    row, data = "CHK-15", random.Random(15).randbytes(128 * _KIB)
    half = len(data) // 2
    url = c.mk(len(data))
    with c.begin_patch(url, 0, len(data), checksum(data)) as wire:
        _send_half(wire, data)
    # Some keep the prefix only once they have noticed the end.
    eventually(lambda: (c.off(url) or 0) > 0, 0.5)
    offset = _offset_at_rest(c, url)
    verdict = Verdict.PASS if offset == 0 else Verdict.WARN if offset <= half else Verdict.FAIL
    c.say(row, verdict, "an offset of 0: nothing was verified", offset)
    for _ in range(5):
        if (offset := _offset_at_rest(c, url)) >= len(data):
            break
        c.pa(url, offset, data[offset:], checksum(data[offset:]))
    c.expect(row, c.off(url) == len(data), "an upload that can be completed", c.hd(url))
    c.content(row, url, data)


def _send_half(wire: Wire, data: bytes) -> None:
    """And gives the server the time to take it."""
    wire.send(data[: len(data) // 2])
    wire.has_more(within=0.3)


def _offset_at_rest(c: Probe, url: str) -> int:
    """As soon as HEAD tells one; locks may outlive a request. Raises Unverifiable."""
    told_now = [c.hd(url)]

    def is_told() -> bool:
        told_now.append(c.hd(url))
        return offset_of(told_now[-1]) is not None

    eventually(is_told, 5.0)
    offset = offset_of(told_now[-1])
    if offset is None:
        c.give_up(f"HEAD tells no offset after a PATCH that broke off: {told_now[-1]}")
    assert offset is not None
    return offset


@check("CHK-16")
def an_empty_body(c: Probe) -> None:
    works(c)
    answer = c.pa(c.mk(4), 0, b"", checksum(b""))
    c.status("CHK-16", answer, (204,))


@check("CHK-17")
def a_chunked_body(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    for header, status in ((WRONG, _MISMATCH), (checksum(HELLO), 204)):
        with c.begin_chunked(url, 0, header) as wire:
            wire.try_send(chunked(HELLO[:5], HELLO[5:]))
            got = heard(wire, "PATCH")
        ok = getattr(got, "status", 0) == status
        c.expect("CHK-17", ok, str(status), got,
                 probe="the wrong digest" if status == _MISMATCH else "the right one")  # fmt: skip


@check("CHK-18")
def what_does_not_match_completes_nothing(c: Probe) -> None:
    works(c)
    url = c.mk(11)
    c.sent(url, 0, HELLO[:6])
    answer = c.pa(url, 6, HELLO[6:], WRONG)
    c.expect("CHK-18", answer.status not in SUCCESS, "no 2xx", answer)
    told_now = c.hd(url)
    c.expect("CHK-18", told_now.get("upload-offset") == "6", "Upload-Offset: 6", told_now)
    answer = c.pa(url, 6, HELLO[6:], checksum(HELLO[6:]))
    c.expect("CHK-18", answer.status in SUCCESS, "204 to the right bytes", answer)
    c.content("CHK-18", url, HELLO)


@check("CHK-19")
def what_does_not_match_declares_nothing(c: Probe) -> None:
    works(c)
    url = c.mk(None)
    before = c.hd(url)
    if offset_of(before) != 0 or "upload-length" in before:
        c.give_up(f"HEAD does not tell that the length is open: {before}")
    answer = c.pa(url, 0, b"hello", {"Upload-Length": "5", **WRONG})
    c.expect("CHK-19", answer.status not in SUCCESS, "no 2xx", answer)
    after = c.hd(url)
    names = ("upload-offset", "upload-length", "upload-defer-length")
    same = all(after.get(name) == before.get(name) for name in names)
    c.expect("CHK-19", same, "HEAD as before: the length is still open", after)


@check("CHK-20")
def the_offset_is_judged_first(c: Probe) -> None:
    works(c)
    answer = c.pa(c.mk(11), 3, HELLO[3:], WRONG)
    c.status("CHK-20", answer, (409,), infos=(_MISMATCH,))


@check("CHK-21")
def head_shows_nothing_unverified(c: Probe) -> None:
    works(c)
    data = b"d" * (128 * _KIB)
    for probe, header in (("cut off", checksum(data)), ("the digest is wrong", WRONG)):
        url = c.mk(len(data))
        with c.begin_patch(url, 0, len(data), header) as wire:
            _send_half(wire, data)
            seen = offset_of(c.hd(url)) or 0
            if header is WRONG:
                wire.try_send(data[len(data) // 2 :])
                heard(wire, "PATCH")
        later = _offset_at_rest(c, url)
        c.expect("CHK-21", later >= seen, f"an offset of {seen} at least, as HEAD told", later,
                 probe=f"HEAD in the middle, and then: {probe}")  # fmt: skip
