"""META: that nothing in Upload-Metadata can do harm."""

from __future__ import annotations

import re
import secrets
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION
from conformance.hearing import NoAnswer, heard
from conformance.metadata import create, encoded, pairs_in, plain_metadata
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import offset_of
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer, Wire

_EVIL_NAME = b'x"\r\nSet-Cookie: pwn=1\r\n\r\n<script>'
_EVIL_TYPE = b"text/html\r\nX-Evil: 1"
_PARAMETER = r""";\s*[!#$%&'*+.^_`|~\w-]+\s*=\s*("(?:[^"\\]|\\.)*"|[^";\s]*)\s*"""
_DISPOSITION = re.compile(rf"\s*[\w-]+\s*(?:{_PARAMETER})*;?\s*")


def _is_told(head: Answer, metadata: str) -> bool:
    """Whether HEAD gives just these pairs back, in any order."""
    try:
        return sorted(pairs_in(head.get("upload-metadata"))) == sorted(pairs_in(metadata))
    except ValueError:
        return False


@check("META-07")
def metadata_does_not_break_out_of_headers(c: Probe) -> None:
    plain_metadata(c, f"filename {encoded(b'a.txt')},filetype {encoded(b'text/plain')}")
    row = "META-07"
    metadata = f"filename {encoded(_EVIL_NAME)},filetype {encoded(_EVIL_TYPE)}"
    answer, probe = create(c, metadata), "line ends, quotes and a script in filename and filetype"
    if answer.status in CLIENT_ERRORS:
        c.say(row, Verdict.PASS, "201, or a refusal", answer, probe=probe)
        return
    url = c.created(answer)
    c.sent(url, 0, b"abcd")
    head = c.hd(url)
    if head.status in SUCCESS:
        ok = _is_told(head, metadata) and not _broke_out(head)
        c.expect(row, ok, "the pairs in Base64", head, probe=f"{probe}: HEAD")
    else:
        # What is complete may be moved away.
        c.say(row, Verdict.PASS, "the pairs in Base64", head, probe=f"{probe}: HEAD")
    if not c.has("get"):
        c.unseen += 1
        return
    # A head that ends too early tells no length of the body: only a close ends it.
    got, probe = c.get(url, {"Connection": "close"}), f"{probe}: GET"
    c.expect(row, not _broke_out(got), "nothing of it as a header", got, probe=probe)
    if got.status != 200:
        return
    disposition = got.get("content-disposition")
    ok = disposition is None or _DISPOSITION.fullmatch(disposition) is not None
    c.expect(row, ok, "quotes that are escaped", f"Content-Disposition: {disposition}", probe=probe)
    ok = (got.get("x-content-type-options") or "").strip().lower() == "nosniff"
    ok = ok or (disposition or "").strip().lower().startswith("attachment")
    c.expect(row, ok, "nosniff, or an attachment", got, probe=probe)


def _broke_out(answer: Answer) -> bool:
    cookies = " ".join(answer.all("set-cookie"))
    is_raw = any("\r" in value or "\n" in value for _, value in answer.headers)
    return is_raw or "pwn" in cookies or "x-evil" in answer


_ODD_KEYS = (
    "constructor", "__proto__", "toString", "file/name", "type!", "..", "a=b", "id", "length",
    "offset", "size",
)  # fmt: skip


@check("META-12")
def any_key_is_just_a_key(c: Probe) -> None:
    plain_metadata(c)
    _victim(c)
    row = "META-12"
    for key in _ODD_KEYS:
        metadata, probe = f"{key} {encoded(b'2')}", f"the key {key}"
        answer = create(c, metadata)
        if c.status(row, answer, (201,), warns=CLIENT_ERRORS, probe=probe):
            url = c.created(answer)
            _judge_upload(c, c.hd(url), 0, metadata, probe)
            c.sent(url, 0, b"ab")
            _judge_upload(c, c.hd(url), 2, metadata, f"{probe}, and 2 bytes sent")


def _judge_upload(c: Probe, head: Answer, offset: int, metadata: str, probe: str) -> None:
    row = "META-12"
    if head.status not in SUCCESS or "upload-offset" not in head:
        c.demand(row, head.status in SUCCESS, "HEAD finds the upload", head, probe=probe)
        return
    stands = (
        offset_of(head),
        head.get(
            "upload-length",
        ),
    )
    c.demand(row, stands == (offset, "4"), f"offset {offset}, length 4", head, probe=probe)
    c.demand(row, _is_told(head, metadata), metadata, head, probe=probe)


@check("META-12")
def key_id_names_no_upload(c: Probe) -> None:
    plain_metadata(c)
    row, victim = "META-12", _victim(c)
    probe = "the key id, with the last segment of another upload's URL"
    answer = create(c, f"id {encoded(_segment(victim))}")
    if c.status(row, answer, (201,), warns=CLIENT_ERRORS, probe=probe):
        url = c.created(answer)
        c.demand(row, url != victim, "a URL of its own", answer, probe=probe)
        c.pa(url, 0, b"abcd")
        _judge_victim(c, row, victim, probe)


def _segment(url: str) -> bytes:
    """What may be the id of an upload."""
    return url.partition("?")[0].rstrip("/").rpartition("/")[2].encode("latin-1")


def _victim(c: Probe) -> str:
    """An upload of 10 bytes that stands at 5. Where there can be none all else shows nothing."""
    url = c.mk(10)
    for offset, data in ((0, b"hello"), (5, b"")):
        if c.off(url) != offset:
            c.give_up(f"HEAD does not tell that a plain upload is at {offset}")
        if data:
            c.sent(url, offset, data)
    return url


def _judge_victim(c: Probe, row: str, victim: str, probe: str) -> None:
    """Whether it still stands at 5, and can be completed."""
    probe = f"{probe}: the other upload"
    if c.intact(row, victim, 5, b"world", probe):
        c.content(row, victim, b"helloworld", probe)


_SIZES = (8, 16, 64, 256)
"""In KiB."""


@check("META-13")
def long_metadata(c: Probe) -> None:
    plain_metadata(c)
    row, limits = "META-13", (400, 413, 431)
    # So that the whole head of the request is one of 4 KiB.
    metadata = f"k {encoded(_bytes(2600))}"
    answer, probe = create(c, metadata), "a head of 4 KiB"
    if c.status(row, answer, (201,), warns=limits, probe=probe):
        _judge_long(c, answer, metadata, probe)
    for size in _SIZES:
        metadata, probe = f"k {encoded(_bytes(size * 768 - 9))}", f"metadata of {size} KiB"
        headers = {**VERSION, "Upload-Length": "4", "Content-Length": "0"}
        with c.wire() as wire:
            wire.try_send(c.head("POST", c.url, {**headers, "Upload-Metadata": metadata}))
            got = heard(wire, "POST")
            # The reset of a close can overtake the refusal.
            is_refused = got.is_end if isinstance(got, NoAnswer) else got.status in limits
            is_created = not isinstance(got, NoAnswer) and got.status == 201
            c.expect(row, is_created or is_refused, "201, or 400, 413 or 431", got, probe=probe)
            if not isinstance(got, NoAnswer):
                _judge_what_follows(c, wire, probe)
        if not isinstance(got, NoAnswer) and is_created:
            _judge_long(c, got, metadata, probe)
    c.live(row)


def _bytes(number: int) -> bytes:
    return (b"metadata" * (number // 8 + 1))[:number]


def _judge_long(c: Probe, answer: Answer, metadata: str, probe: str) -> None:
    head = c.hd(c.created(answer))
    told = head.get("upload-metadata") or ""
    got = f"{head.status}, {len(told):,} characters"
    c.expect("META-13", _is_told(head, metadata), f"all {len(metadata):,} characters in HEAD", got,
             probe=probe)  # fmt: skip


def _judge_what_follows(c: Probe, wire: Wire, probe: str) -> None:
    wire.try_send(c.head("OPTIONS", c.url))
    got = heard(wire, "OPTIONS")
    usual = c.discovery.options.status
    ok = got.is_end if isinstance(got, NoAnswer) else got.status == usual
    c.expect("META-13", ok, "a connection that can be used, or is closed", got,
             probe=f"{probe}, then OPTIONS")  # fmt: skip


@check("META-14")
def names_are_no_paths(c: Probe) -> None:
    plain_metadata(c, _named(b"a.txt"))
    _victim(c)
    row, token = "META-14", secrets.token_hex(8)
    names = (
        f"../../../../tmp/tus-suite-{token}",
        f"/tmp/tus-suite-{token}",
        f"../tus-suite-{token}",
        f"tus\0suite-{token}",
    )
    for name in names:
        answer, probe = create(c, _named(name.encode())), f"the name {name!r}"
        if not c.status(row, answer, (201,), infos=CLIENT_ERRORS, probe=probe):
            continue
        url = c.created(answer)
        answer = c.pa(url, 0, b"abcd")
        if c.expect(row, answer.status in SUCCESS, "204 to PATCH", answer, probe=probe):
            c.content(row, url, b"abcd", probe)
        for path in _paths(c, name):
            c.expect(row, not path.exists(), f"no file {path}", probe=probe)


def _named(name: bytes) -> str:
    return f"filename {encoded(name)},name {encoded(name)}"


def _paths(c: Probe, name: str) -> list[Path]:
    """Where a file of this name would lie that should not be there."""
    if c.target.storage is None or "\0" in name:
        return []
    storage = c.target.storage.resolve()
    # A name may be put behind the name of a folder for each upload, too.
    paths = {Path(normpath(place / name)) for place in (storage, storage / "any")}
    return sorted(path for path in paths if not path.is_relative_to(storage))


@check("META-14")
def names_do_not_lead_to_other_uploads(c: Probe) -> None:
    plain_metadata(c, _named(b"a.txt"))
    row, victim = "META-14", _victim(c)
    segment = _segment(victim)
    for name in (segment, b"./" + segment, b"../" + segment, b"x/../" + segment):
        answer = create(c, _named(name))
        if answer.status == 201:
            url = c.created(answer)
            c.pa(url, 0, b"abcd")
            if c.has("termination"):
                c.delete(url)
    _judge_victim(c, row, victim, "names like the last segment of another upload's URL")


@check("META-14")
def same_name_twice(c: Probe) -> None:
    plain_metadata(c, _named(b"a.txt"))
    _victim(c)
    row, metadata = "META-14", _named(f"tus-suite-{secrets.token_hex(8)}.txt".encode())
    answer = create(c, metadata)
    if answer.status in CLIENT_ERRORS:
        c.give_up(f"file names are rejected by policy: {answer}")
    first, second = c.created(answer), c.created(create(c, metadata))
    probe = "two uploads with the same name"
    c.expect(row, first != second, "two URLs", first, probe=probe)
    for url, data in ((first, b"ab"), (second, b"wx"), (first, b"cd"), (second, b"yz")):
        answer = c.pa(url, 0 if data in (b"ab", b"wx") else 2, data)
        c.demand(row, answer.status in SUCCESS, "204 to PATCH", answer, probe=probe)
    c.content(row, first, b"abcd", probe)
    c.content(row, second, b"wxyz", probe)
