"""CONCAT: what cannot be joined, and what joining must not harm."""

from __future__ import annotations

import socket

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import heard
from conformance.parts import HELLO, PARTIAL, WORLD, final, is_joined, joined_upload, part
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import eventually, joined
from conformance.verdict import Verdict

_LONGEST_PROBE = 8 * 1024 * 1024
"""Bytes of a maximum up to which uploads are sent to exceed it."""
_MANY, _VERY_MANY = 64, 1000


@check("CONCAT-21")
def the_limit_is_that_of_the_whole(c: Probe) -> None:
    most = c.discovery.max_size or 0
    size = most // 2 + 1
    if size > _LONGEST_PROBE:
        _limit_without_bytes(c, most)
        return
    urls = [part(c, b"p" * size), part(c, b"p" * size)]
    _judge_limit(c, urls)


def _limit_without_bytes(c: Probe, most: int) -> None:
    """Where parts of such a size are too much to send: joined while they are unfinished."""
    size = most // 2 + 1
    if not c.has("concat-unf") or size > c.target.big_ok:
        c.give_up(f"parts of {size} bytes would have to be sent: --big-ok, or a smaller maximum")
    _judge_limit(c, [c.mk(size, PARTIAL), c.mk(size, PARTIAL)])


def _judge_limit(c: Probe, urls: list[str]) -> None:
    answer = final(c, urls)
    c.expect("CONCAT-21", answer.status != 201, "413", answer)
    if answer.status != 201:
        c.status("CONCAT-21", answer, (413,), warns=CLIENT_ERRORS)
    if c.has("termination"):
        for url in urls:
            c.delete(url)


@check("CONCAT-22")
def parts_that_are_not_ours(c: Probe) -> None:
    known = part(c, HELLO)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for name, url in (
            ("an upload that does not exist", c.stranger(known)),
            ("another server", f"http://127.0.0.1:{port}/x"),
            ("another server, path of an upload", f"http://127.0.0.1:{port}{_path(known)}"),
            ("a file", "file:///etc/passwd"),
            ("a path out of the folder", "../../etc/passwd"),
        ):
            answer = final(c, [known, url])
            if name.endswith("path of an upload"):
                # To some the path alone counts; what is asked here is that nobody is connected to.
                c.status("CONCAT-22", answer, CLIENT_ERRORS, infos=(201,), probe=name)
                continue
            c.status("CONCAT-22", answer, CLIENT_ERRORS, probe=name)
        listener.settimeout(0.3)
        try:
            listener.accept()[0].close()
            called = True
        except TimeoutError:
            called = False
    c.expect("CONCAT-22", not called, "no connection to where a part is said to be",
             "one came" if called else "none", probe="server-side request forgery")  # fmt: skip


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


@check("CONCAT-23")
def only_partials_are_joined(c: Probe) -> None:
    first = part(c, HELLO)
    whole = c.made(WORLD)
    answer = final(c, [first, whole])
    c.status("CONCAT-23", answer, CLIENT_ERRORS, warns=(201,), probe="a regular upload as a part")
    done = joined_upload(c, [part(c, HELLO)])
    answer = final(c, [first, done])
    c.status("CONCAT-23", answer, CLIENT_ERRORS, warns=(201,), probe="a final upload as a part")


@check("CONCAT-24")
def bytes_with_a_final_upload(c: Probe) -> None:
    urls = [part(c, HELLO), part(c, WORLD)]
    answer = c.post({**joined(urls), **OCTETS}, b"tail")
    if answer.status in CLIENT_ERRORS:
        c.say("CONCAT-24", Verdict.PASS, "4xx", answer)
        return
    if not c.expect("CONCAT-24", answer.status == 201, "4xx, or 201 without the bytes", answer):
        return
    url = c.created(answer)
    is_joined(c, url)
    head = c.hd(url)
    c.expect("CONCAT-24", head.get("upload-length") == "11", "nothing appended", head)


@check("CONCAT-25")
def parts_without_bytes(c: Probe) -> None:
    for name, datas in (("an empty part", [HELLO, b"", WORLD]), ("empty parts only", [b"", b""])):
        answer = final(c, [part(c, data) for data in datas])
        if not c.expect("CONCAT-25", answer.status == 201, "201", answer, probe=name):
            continue
        url, length = c.created(answer), sum(map(len, datas))
        is_joined(c, url, within=5.0)
        head = c.hd(url)
        ok = head.get("upload-offset") == head.get("upload-length") == str(length)
        c.expect("CONCAT-25", ok, f"offset and length of {length}", head, probe=name)


@check("CONCAT-26")
def many_parts(c: Probe) -> None:
    urls = [part(c, b"ab") for _ in range(8)]
    answer = final(c, urls * (_MANY // 8))
    c.status("CONCAT-26", answer, (201,), warns=CLIENT_ERRORS, probe=f"{_MANY} parts")
    if answer.status == 201:
        url = c.created(answer)
        is_joined(c, url)
        length = c.hd(url).get("upload-length")
        c.expect("CONCAT-26", length == str(2 * _MANY), f"Upload-Length: {2 * _MANY}", length)
    with c.wire() as wire:
        head = {**VERSION, "Content-Length": "0", **joined(urls * (_VERY_MANY // 8))}
        wire.try_send(c.head("POST", c.url, head))
        got = heard(wire, "POST")
    status = getattr(got, "status", 0)
    c.expect("CONCAT-26", status < 500, "201, 4xx or a closed connection", got,
             probe=f"{_VERY_MANY} parts")  # fmt: skip
    c.live("CONCAT-26", probe="after that")


@check("CONCAT-27")
def without_the_extension(c: Probe) -> None:
    answer = c.post({**PARTIAL, "Upload-Length": "5"})
    c.status("CONCAT-27", answer, (201, *CLIENT_ERRORS, 501), probe="Upload-Concat: partial")
    url = c.created(answer) if answer.status == 201 else c.mk(5)
    answer = final(c, [url])
    c.status("CONCAT-27", answer, (*CLIENT_ERRORS, 501), probe="Upload-Concat: final")


@check("CONCAT-28")
def the_whole_outlives_its_parts(c: Probe) -> None:
    first, second = part(c, HELLO), part(c, WORLD)
    url = joined_upload(c, [first, second])
    if c.delete(first).status not in SUCCESS:
        c.give_up("parts cannot be ended")
    c.intact("CONCAT-28", url, 11, probe="the final upload after DELETE of a part")
    c.content("CONCAT-28", url, HELLO + WORLD)
    stays = c.hd(second).status in SUCCESS
    if c.delete(url).status in SUCCESS and stays:
        c.intact("CONCAT-28", second, 6, probe="a part after DELETE of the final upload")
        c.content("CONCAT-28", second, WORLD)


@check("CONCAT-29")
def no_torn_part_is_joined(c: Probe) -> None:
    data = b"d" * (64 * 1024)
    half = len(data) // 2
    url, done = c.mk(len(data), PARTIAL), part(c, HELLO)
    with c.begin_patch(url, 0, len(data)) as slow:
        slow.send(data[:half])
        slow.has_more(within=0.3)
        answer = final(c, [done, url])
        slow.try_send(data[half:])
        heard(slow, "PATCH")
    if answer.status != 201:
        c.status("CONCAT-29", answer, CLIENT_ERRORS, expected="4xx, or a whole part")
        return
    whole = c.created(answer)
    offset = c.off(url) or 0
    if offset < len(data):
        c.sent(url, offset, data[offset:])
    eventually(lambda: is_joined(c, whole, 1.0), 10.0)
    head = c.hd(whole)
    ok = head.get("upload-offset") == str(len(HELLO) + len(data))
    c.expect("CONCAT-29", ok, f"Upload-Offset: {len(HELLO) + len(data)}", head)
    c.content("CONCAT-29", whole, HELLO + data)


@check("CONCAT-30")
def parts_of_deferred_length(c: Probe) -> None:
    url, done = c.mk(None, PARTIAL), part(c, HELLO)
    c.sent(url, 0, WORLD)
    if not c.has("concat-unf"):
        answer = final(c, [done, url])
        c.status("CONCAT-30", answer, CLIENT_ERRORS, probe="before its length is known")
    c.sent(url, 6, b"", {"Upload-Length": "6"})
    answer = final(c, [done, url])
    if c.expect("CONCAT-30", answer.status == 201, "201", answer, probe="when it is complete"):
        whole = c.created(answer)
        c.expect("CONCAT-30", is_joined(c, whole), "offset and length of 11", c.hd(whole))
        c.content("CONCAT-30", whole, HELLO + WORLD)
