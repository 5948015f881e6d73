"""META: the grammar of Upload-Metadata."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION
from conformance.metadata import create, encoded, pairs_in, plain_metadata
from conformance.probe import CLIENT_ERRORS, Probe
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer

_Pairs = list[tuple[str, bytes]]


def _told(c: Probe, created: Answer) -> tuple[str, _Pairs | None]:
    """What HEAD gives back: in words, and as pairs; None for what is no list of pairs."""
    header = c.hd(c.created(created)).get("upload-metadata")
    shown = "no metadata" if header is None else repr(header[:100]) + "…" * (len(header) > 100)
    words = f"201, and in HEAD {shown}"
    try:
        return words, sorted(pairs_in(header or None))
    except ValueError:
        return words, None


def _probe(metadata: str) -> str:
    return f"Upload-Metadata: {metadata!r}"


def _well_formed(c: Probe, row: str, metadata: str, pairs: _Pairs) -> None:
    """What has to be accepted, and comes back as these pairs."""
    answer, probe = create(c, metadata), _probe(metadata)
    if c.status(row, answer, (201,), probe=probe):
        words, told = _told(c, answer)
        c.expect(row, told == sorted(pairs), f"the pairs {pairs}", words, probe=probe)


def _malformed(c: Probe, row: str, metadata: str, reading: _Pairs | None = None) -> None:
    """What may be refused, or come back as something well-formed; `reading` is what it means if
    the blanks at its ends are taken away, as HTTP does.
    """
    answer, probe = create(c, metadata), _probe(metadata)
    if answer.status != 201:
        c.status(row, answer, (400,), infos=CLIENT_ERRORS, probe=probe)
        return
    words, told = _told(c, answer)
    if told is None:
        c.expect(row, False, "400, or well-formed metadata in HEAD", words, probe=probe)
    else:
        good = reading is not None and told == sorted(reading)
        c.say(row, Verdict.PASS if good else Verdict.WARN, "400", words, probe=probe)


def _each_alone(c: Probe, *pairs: str) -> None:
    """Ends the check where one of them is refused by itself already."""
    for pair in pairs:
        answer = create(c, pair)
        if answer.status != 201:
            c.give_up(f"{pair} alone was answered {answer}")


@check("META-01")
def list_of_pairs(c: Probe) -> None:
    plain_metadata(c)
    _each_alone(c, "a YQ==", "b Yg==", "c Yw==")
    _well_formed(c, "META-01", "a YQ==,b Yg==,c Yw==", [("a", b"a"), ("b", b"b"), ("c", b"c")])
    for metadata in ("a  YQ==", "a YQ== x", ",", "a YQ==,", ",a YQ=="):
        _malformed(c, "META-01", metadata)
    # By the letter of the protocol this is a key.
    _malformed(c, "META-01", "a;YQ==", [("a;YQ==", b"")])


@check("META-02")
def keys_are_not_empty(c: Probe) -> None:
    plain_metadata(c)
    # HTTP takes the blanks away; what follows is a key without a value.
    _malformed(c, "META-02", " YQ==", [("YQ==", b"")])
    _malformed(c, "META-02", "a YQ==, Yg==", [("a", b"a"), ("Yg==", b"")])
    _malformed(c, "META-02", "a YQ==,,b Yg==")
    _malformed(c, "META-02", "a b YQ==")


@check("META-03")
def keys_are_ascii(c: Probe) -> None:
    plain_metadata(c)
    row = "META-03"
    # The wire writes Latin-1, which carries any bytes.
    key = "naïve".encode().decode("latin-1")
    answer, probe = create(c, f"{key} YQ=="), "a key in UTF-8"
    if answer.status != 201:
        c.status(row, answer, (400,), infos=CLIENT_ERRORS, probe=probe)
        return
    words, told = _told(c, answer)
    c.expect(row, told == [(key, b"a")], "400, or the same bytes in HEAD", words, probe=probe)


@check("META-04")
def values_come_back(c: Probe) -> None:
    plain_metadata(c, f"k {encoded(b'abc')}")
    for value in (b"x", b"xy", b"xyz", "naïve 名前".encode()):
        _well_formed(c, "META-04", f"k {encoded(value)}", [("k", value)])
    for value in (b"\xff", b"\xfb\xff", b"\0\xfe\xff", bytes(range(256))):
        answer = create(c, f"k {encoded(value)}")
        probe = f"a value of {len(value)} bytes that are no text"
        if answer.status in CLIENT_ERRORS:
            c.say("META-04", Verdict.INFO, "201", answer, probe=f"{probe}, rejected by policy")
        elif c.status("META-04", answer, (201,), probe=probe):
            words, told = _told(c, answer)
            c.expect("META-04", told == [("k", value)], "the same bytes", words, probe=probe)


@check("META-05")
def keys_are_unique(c: Probe) -> None:
    plain_metadata(c)
    _each_alone(c, "A YQ==", "a Yg==")
    if _told(c, create(c, "a YQ==,b Yg=="))[1] != [("a", b"a"), ("b", b"b")]:
        c.give_up("not even two different keys come back")
    for metadata in ("a YQ==,a Yg==", "a YQ==,a YQ==", "a YQ==,b Yg==,a"):
        answer, probe = create(c, metadata), _probe(metadata)
        if answer.status != 201:
            c.status("META-05", answer, (400,), infos=CLIENT_ERRORS, probe=probe)
            continue
        words, told = _told(c, answer)
        times = len([key for key, _ in told or [] if key == "a"])
        verdict = Verdict.FAIL if times > 1 else Verdict.WARN
        c.say("META-05", verdict, "400", words, probe=probe)
    _well_formed(c, "META-05", "A YQ==,a Yg==", [("A", b"a"), ("a", b"b")])


@check("META-06")
def values_may_be_empty(c: Probe) -> None:
    plain_metadata(c)
    _well_formed(c, "META-06", "k", [("k", b"")])
    _well_formed(c, "META-06", "k ", [("k", b"")])
    for metadata in ("k,other YQ==", "k ,other YQ==", "other YQ==,k"):
        _well_formed(c, "META-06", metadata, [("k", b""), ("other", b"a")])


_BAD_BASE64: dict[str, bytes | None] = {
    "!!!!": None,
    "YQ=": b"a",
    "YQ": b"a",
    "Y=Q=": None,
    "YQ==YQ==": None,
    "YQ==\tx": None,
    "-_-_": base64.urlsafe_b64decode("-_-_"),
}
"""With the bytes that someone who repairs it would see in it."""


@check("META-08")
def bad_base64(c: Probe) -> None:
    plain_metadata(c)
    for value, repaired in _BAD_BASE64.items():
        metadata = f"a {value},b Yg=="
        answer, probe = create(c, metadata), _probe(metadata)
        if answer.status != 201:
            c.status("META-08", answer, (400,), infos=CLIENT_ERRORS, probe=probe)
            continue
        words, told = _told(c, answer)
        found = [each for key, each in told or [] if key == "a"]
        is_other = bool(found) and found != [repaired]
        verdict = Verdict.FAIL if is_other else Verdict.WARN
        c.say("META-08", verdict, "400", words, probe=probe)


@check("META-09")
def empty_header_counts_as_absent(c: Probe) -> None:
    c.created(c.post({"Upload-Length": "4"}))
    c.status("META-09", create(c, ""), (201,), probe="Upload-Metadata without a value")


@check("META-10")
def blanks_around_commas(c: Probe) -> None:
    plain_metadata(c)
    for metadata in ("a YQ==, b Yg==", "a YQ== ,b Yg=="):
        _two_pairs(c, "META-10", create(c, metadata), _probe(metadata))


@check("META-11")
def two_lines(c: Probe) -> None:
    plain_metadata(c)
    size = [*VERSION.items(), ("Upload-Length", "4"), ("Content-Length", "0")]
    lines = [("Upload-Metadata", "a YQ=="), ("Upload-Metadata", "b Yg==")]
    _two_pairs(c, "META-11", c.request("POST", c.url, [*size, *lines]), "two lines")


def _two_pairs(c: Probe, row: str, answer: Answer, probe: str) -> None:
    """The pairs `a YQ==` and `b Yg==`, or a refusal."""
    if answer.status != 201:
        c.status(row, answer, (400,), infos=CLIENT_ERRORS, probe=probe)
        return
    words, told = _told(c, answer)
    expected = "the pairs a YQ== and b Yg==, or 400"
    c.expect(row, told == [("a", b"a"), ("b", b"b")], expected, words, probe=probe)
