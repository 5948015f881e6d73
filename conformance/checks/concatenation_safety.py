"""CONCAT: what cannot be joined, and what joining must not harm."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import heard, is_refused
from conformance.parts import (
    HELLO,
    PARTIAL,
    WORLD,
    final,
    is_joined,
    is_served,
    joined_upload,
    part,
)
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.target import request_target
from conformance.tus import eventually, joined
from conformance.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_PROBE = 8 * 1024 * 1024
"""Bytes of a maximum up to which uploads are sent to exceed it."""
_MANY, _VERY_MANY = 64, 1000
_TORN = 64 * 1024
_SAME_PATH = "another server, path of an upload"


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
    with _listening(_our_address(c)) as (listener, callers):
        for name, form in (
            ("an upload that does not exist", c.stranger),
            ("another server", lambda known: f"http://{listener}/x"),
            ("a file", lambda known: "file:///etc/passwd"),
            ("a path out of the folder", lambda known: "../../etc/passwd"),
            (_SAME_PATH, lambda known: f"http://{listener}{request_target(known)}"),
        ):
            known = part(c, HELLO)
            answer = final(c, [known, form(known)])
            # To some the path alone counts; what is asked there is that nobody is connected to.
            infos = (201,) if name == _SAME_PATH else ()
            c.status("CONCAT-22", answer, CLIENT_ERRORS, infos=infos, probe=name)
        called = eventually(lambda: bool(callers), 0.3)
    c.expect("CONCAT-22", not called, f"no connection to {listener}, where a part is said to be",
             f"one from {callers[0]}" if called else "none",
             probe="server-side request forgery")  # fmt: skip


def _our_address(c: Probe) -> str:
    """Where the server could reach us, if it tried."""
    with c.wire() as wire:
        if wire.socket.family is socket.AF_INET:
            return str(wire.socket.getsockname()[0])
    return "127.0.0.1"


@contextmanager
def _listening(address: str) -> Iterator[tuple[str, list[str]]]:
    """A port that nobody has any business to connect to, and the addresses of those who do. They
    are cut off at once, so that one who waits for an answer goes on.
    """
    callers: list[str] = []

    class Caller(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            callers.append(str(self.client_address[0]))

    with socketserver.TCPServer((address, 0), Caller) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"{address}:{listener.server_address[1]}", callers
        finally:
            listener.shutdown()


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
    c.status("CONCAT-24", answer, CLIENT_ERRORS, warns=(201,))
    if answer.status != 201:
        return
    url = c.created(answer)
    is_joined(c, url)
    head = c.hd(url)
    c.expect("CONCAT-24", head.get("upload-length") == "11", "nothing appended", head)
    c.content("CONCAT-24", url, HELLO + WORLD)


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
    datas = [bytes([number]) for number in range(_MANY)]
    urls = [part(c, data) for data in datas]
    answer = final(c, urls)
    c.status("CONCAT-26", answer, (201,), warns=CLIENT_ERRORS, probe=f"{_MANY} parts")
    if answer.status == 201:
        url = c.created(answer)
        is_joined(c, url)
        length = c.hd(url).get("upload-length")
        c.expect("CONCAT-26", length == str(_MANY), f"Upload-Length: {_MANY}", length)
        c.content("CONCAT-26", url, b"".join(datas), probe=f"{_MANY} parts")
    with c.wire() as wire:
        many = (urls * (_VERY_MANY // _MANY + 1))[:_VERY_MANY]
        wire.try_send(c.head("POST", c.url, {**VERSION, "Content-Length": "0", **joined(many)}))
        got = heard(wire, "POST")
    ok = is_refused(got) or (isinstance(got, Answer) and got.status == 201)
    c.expect("CONCAT-26", ok, "201, 4xx or a closed connection", got,
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
    # It may have gone by itself; where it cannot be ended only the other half can be shown.
    if c.delete(first).status in (*SUCCESS, 404, 410):
        probe = "the final upload after DELETE of a part"
        c.intact("CONCAT-28", url, 11, probe=probe)
        c.content("CONCAT-28", url, HELLO + WORLD, probe=probe)
    if c.hd(second).status not in SUCCESS:
        return
    had_content = is_served(c, second, WORLD)
    if c.delete(url).status in SUCCESS:
        c.intact("CONCAT-28", second, 6, probe="a part after DELETE of the final upload")
        if had_content:
            c.content("CONCAT-28", second, WORLD, probe="a part after DELETE of the final upload")


@check("CONCAT-29")
def no_torn_part_is_joined(c: Probe) -> None:
    room = c.discovery.max_size
    size = _TORN if room is None else min(_TORN, room - len(HELLO))
    data, half = b"d" * size, size // 2
    url, done = c.mk(size, PARTIAL), part(c, HELLO)
    with c.begin_patch(url, 0, size) as slow, c.wire() as joining:
        slow.send(data[:half])
        slow.has_more(within=0.3)
        head = {**VERSION, "Content-Length": "0", **joined([done, url])}
        joining.send(c.head("POST", c.url, head))
        # It may wait for the PATCH, which then must not wait for it.
        joining.has_more(within=1.0)
        slow.try_send(data[half:])
        heard(slow, "PATCH")
        answer = joining.answer("POST")
    if answer.status != 201:
        c.status("CONCAT-29", answer, CLIENT_ERRORS, expected="4xx, or a whole part")
        return
    whole = c.created(answer)
    offset = c.off(url)
    if offset is not None and offset < size:
        c.sent(url, offset, data[offset:])
    if not is_joined(c, whole, within=10.0):
        c.give_up(f"the parts have not been joined: {c.hd(whole)}")
    answer = c.hd(whole)
    length = len(HELLO) + size
    ok = answer.get("upload-offset") == str(length)
    c.expect("CONCAT-29", ok, f"Upload-Offset: {length}", answer)
    c.content("CONCAT-29", whole, HELLO + data)


@check("CONCAT-30")
def parts_of_deferred_length(c: Probe) -> None:
    url, done = c.mk(None, PARTIAL), part(c, HELLO)
    c.sent(url, 0, WORLD[:3])
    if not c.has("concat-unf"):
        answer = final(c, [done, url])
        c.status("CONCAT-30", answer, CLIENT_ERRORS, probe="before its length is known")
    c.sent(url, 3, WORLD[3:], {"Upload-Length": "6"})
    answer = final(c, [done, url])
    if c.expect("CONCAT-30", answer.status == 201, "201", answer, probe="when it is complete"):
        whole = c.created(answer)
        c.expect("CONCAT-30", is_joined(c, whole), "offset and length of 11", c.hd(whole))
        c.content("CONCAT-30", whole, HELLO + WORLD)
