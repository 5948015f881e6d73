"""COMPAT: what deployed clients send, and what they rely on.

The requests are those of tus-js-client 4, tus-py-client 1.1 and URLSession.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION
from conformance.hearing import NoAnswer, heard
from conformance.probe import GONE, SUCCESS, Probe
from conformance.tus import eventually, joined, offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer, chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTIAL = {"Upload-Concat": "partial"}
_LOCKED = (409, 423)
_AT_WORK = 1.0
"""Seconds in which a server begins with a PATCH."""
_GIVES_WAY = 7.0
"""Seconds in which a running PATCH ends for another request, if it does at all."""
_JOINED_WITHIN = 5.0


# What HEAD, PATCH and DELETE tell


@check("COMPAT-01")
def head_tells_what_resuming_needs(c: Probe) -> None:
    c.mk(4)
    uploads = {"plain": c.mk(10)}
    if c.has("defer"):
        uploads["deferred"] = c.mk(None)
    if c.has("concat"):
        uploads["partial"] = c.mk(10, _PARTIAL)
    for kind, url in uploads.items():
        for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
            head, probe = c.hd(url), f"HEAD of a {kind} one at {offset}"
            if head.status in GONE and offset == 10:
                break  # Complete, and moved away.
            ok = head.status in SUCCESS and offset_of(head) is not None and _tells_length(head)
            c.expect("COMPAT-01", ok, "Upload-Offset, and a length or that it is deferred", head,
                     probe=probe)  # fmt: skip
            if data:
                c.sent(url, offset, data)


def _tells_length(head: Answer) -> bool:
    length = head.get("upload-length")
    return head.get("upload-defer-length") == "1" if length is None else length.isdecimal()


@check("COMPAT-04")
def delete_is_answered_204(c: Probe) -> None:
    begun = c.mk(10)
    c.sent(begun, 0, b"hello")
    uploads = {"a fresh one": c.mk(10), "one at 5 of 10": begun, "a complete one": c.made(b"abcd")}
    for probe, url in uploads.items():
        if probe == "a complete one" and c.hd(url).status in GONE:
            continue
        c.status("COMPAT-04", c.delete(url), (204,), probe=f"DELETE of {probe}")


@check("COMPAT-06")
def an_empty_file_is_done_after_its_post(c: Probe) -> None:
    c.mk(4)
    row, labels = "COMPAT-06", [{}, OCTETS] if c.has("cwu") else [{}]
    for label in labels:
        probe = "POST with Upload-Length: 0" + (" and the label" if label else "")
        answer = c.post({"Upload-Length": "0", **label})
        if not c.expect(row, answer.status == 201, "201", answer, probe=probe):
            continue
        head = c.hd(c.created(answer))
        if head.status in GONE:
            continue  # Complete, and moved away.
        ok = [head.get("upload-offset"), head.get("upload-length")] == ["0", "0"]
        c.expect(row, ok, "offset 0 and length 0", head, probe=f"{probe}, then HEAD")


@check("COMPAT-07")
def each_answer_tells_the_offset(c: Probe) -> None:
    row, url = "COMPAT-07", c.mk(10)
    for offset, data in ((0, b"hello"), (5, b"world")):
        answer, end = c.pa(url, offset, data), offset + len(data)
        if answer.status not in SUCCESS:
            c.give_up(f"PATCH at {offset} was answered {answer}")
        ok = offset_of(answer) == end
        c.expect(row, ok, f"Upload-Offset: {end}", answer, probe=f"PATCH at {offset}")
    if not c.has("cwu"):
        return
    for data in (b"hello", b"helloworld"):
        answer = c.post({"Upload-Length": "10", **OCTETS}, data)
        if answer.status == 201:
            ok, probe = offset_of(answer) is not None, f"POST with {len(data)} of 10 bytes"
            c.expect(row, ok, "an Upload-Offset", answer, probe=probe)


# An upload in use


@check("COMPAT-02", "COMPAT-09")
def head_while_a_patch_is_running(c: Probe) -> None:
    got = _asked_meanwhile(c, c.mk(10), "HEAD", VERSION, b"")
    probe = "HEAD while a PATCH is running"
    _judge_meanwhile(c, "COMPAT-02", got, _LOCKED, probe)
    _judge_meanwhile(c, "COMPAT-09", got, (423,), probe)


@check("COMPAT-02")
def patch_while_a_patch_is_running(c: Probe) -> None:
    got = _asked_meanwhile(c, c.mk(10), "PATCH", patch_headers(0, 10), b"helloworld")
    _judge_meanwhile(c, "COMPAT-02", got, _LOCKED, "PATCH at 0 while a PATCH is running")


def _asked_meanwhile(
    c: Probe, url: str, method: str, headers: Mapping[str, str], body: bytes
) -> Answer | NoAnswer:
    """What a request is answered while a PATCH has half of its body. That ends when it does not
    give way: how long another one waits is a row of its own.
    """
    with c.begin_patch(url, 0, 10, {"Expect": "100-continue"}) as older:
        if (status := older.interim(within=_AT_WORK)) not in (None, 100):
            c.give_up(f"PATCH was not waited for: {status}")
        older.send(b"hello")
        with c.wire(url) as newer:
            newer.send(c.head(method, url, headers))
            if body:
                newer.try_send(body)
            if not newer.has_more(within=_GIVES_WAY):
                older.try_send(b"world")
            return heard(newer, method)


def _judge_meanwhile(
    c: Probe, row: str, got: Answer | NoAnswer, locked: tuple[int, ...], probe: str
) -> None:
    """Clients try again after what is no answer, and after 5xx."""
    verdict = Verdict.INFO
    if isinstance(got, Answer):
        if got.status in SUCCESS or got.status in locked:
            verdict = Verdict.PASS
        elif got.status < 500:
            verdict = Verdict.WARN
    expected = f"2xx, {' or '.join(str(status) for status in locked)}"
    c.say(row, verdict, expected, got, probe=probe)


# What clients send


@check("COMPAT-03")
def patch_as_post(c: Probe) -> None:
    row = "COMPAT-03"
    c.made(b"abcd")
    override = {"X-HTTP-Method-Override": "PATCH"}
    framings = {"a browser": (patch_headers(0, 5, override), b"hello")}
    if _takes_chunks(c):
        headers = {**framings["a browser"][0], "Transfer-Encoding": "chunked"}
        del headers["Content-Length"]
        framings["Node"] = (headers, chunked(b"he", b"llo"))
    for where, (headers, body) in framings.items():
        answer = c.request("POST", c.mk(10), headers, body)
        ok = answer.status in SUCCESS and offset_of(answer) == 5
        c.expect(row, ok, "204, Upload-Offset: 5", answer, probe=f"as in {where}")


def _takes_chunks(c: Probe) -> bool:
    url = c.mk(4)
    with c.begin_chunked(url, 0) as wire:
        wire.try_send(chunked(b"abcd"))
        got = heard(wire, "PATCH")
    return isinstance(got, Answer) and got.status in SUCCESS


@check("COMPAT-05")
def parallel_upload(c: Probe) -> None:
    metadata = {"Upload-Metadata": "filename ZGF0YS5oNQ==,filetype YXBwbGljYXRpb24veC1oZGY1"}
    c.mk(4, metadata)
    row, data = "COMPAT-05", bytes(range(103))
    pieces = [data[:25], data[25:50], data[50:75], data[75:]]
    urls = []
    for number, piece in enumerate(pieces, 1):
        answer, probe = c.post({**_PARTIAL, "Upload-Length": str(len(piece))}), f"part {number}"
        c.demand(row, answer.status == 201, "201", answer, probe=f"POST of {probe}")
        urls.append(c.created(answer))
        # This client sends the header with all requests for a part.
        answer = c.pa(urls[-1], 0, piece, _PARTIAL)
        ok = answer.status in SUCCESS and offset_of(answer) == len(piece)
        expected = f"204, Upload-Offset: {len(piece)}"
        c.demand(row, ok, expected, answer, probe=f"PATCH of {probe}")
    answer = c.post({**joined(urls), **metadata})
    c.demand(row, answer.status == 201, "201", answer, probe="POST of the final upload")
    final, length = c.created(answer), len(data)

    def is_joined() -> bool:
        head = c.hd(final)
        told = [head.get("upload-offset"), head.get("upload-length")]
        return head.status in GONE or told == [str(length), str(length)]

    ok, expected = eventually(is_joined, _JOINED_WITHIN), f"offset and length {length}"
    if c.expect(row, ok, expected, c.hd(final), probe="HEAD of the final upload"):
        c.content(row, final, data)


@check("COMPAT-08")
def spelling_of_tus_py_client(c: Probe) -> None:
    c.made(b"abcd")
    _send_as_python(c, {"upload-length": "5"}, ((b"hel", {}), (b"lo", {})))
    if c.has("defer"):
        c.mk(None)
        last = (b"", {"upload-length": "5"})
        _send_as_python(c, {"upload-defer-length": "1"}, ((b"hel", {}), (b"lo", {}), last))


def _send_as_python(
    c: Probe, size: dict[str, str], patches: tuple[tuple[bytes, dict[str, str]], ...]
) -> None:
    row, offset, probe = "COMPAT-08", 0, " ".join(*size.items())
    answer = c.post({**size, "upload-metadata": ""})
    probe = f"{probe}, empty upload-metadata"
    c.demand(row, answer.status == 201, "201", answer, probe=f"POST with {probe}")
    url = c.created(answer)
    for data, declared in patches:
        own = {"upload-offset": str(offset), **OCTETS, **VERSION, **declared}
        answer = c.request("PATCH", url, {**own, "Content-Length": str(len(data))}, data)
        offset += len(data)
        ok = answer.status in SUCCESS and offset_of(answer) == offset
        spelt = "".join(f", {name} {value}" for name, value in declared.items())
        c.demand(row, ok, f"204, Upload-Offset: {offset}", answer,
                 probe=f"PATCH of {len(data)} bytes{spelt}, {probe}")  # fmt: skip
    head = c.hd(url)
    if head.status not in GONE:
        told = [head.get("upload-offset"), head.get("upload-length")]
        c.expect(row, told == ["5", "5"], "offset 5 and length 5", head, probe=f"HEAD, {probe}")


@check("COMPAT-10")
def location_from_the_endpoint_as_it_is_written(c: Probe) -> None:
    endpoints = [c.url]
    if c.target.path != "/" and "?" not in c.target.path:
        endpoints.append(c.url.rstrip("/") if c.url.endswith("/") else f"{c.url}/")
    for endpoint in endpoints:
        answer = c.post({"Upload-Length": "10"}, url=endpoint)
        if answer.status != 201 or "location" not in answer:
            if endpoint == c.url:
                c.created(answer)
            continue  # It takes uploads at one of the two.
        location = answer.all("location")[0]
        head = c.hd(c.target.resolve(location, endpoint))
        ok = head.status in SUCCESS and offset_of(head) == 0
        c.expect("COMPAT-10", ok, "an upload at 0", head,
                 probe=f"POST {endpoint}, Location: {location}")  # fmt: skip


# Headers that are not for tus 1.0

_DRAFTS = (
    {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"},
    {"Upload-Complete": "?0", "Upload-Draft-Interop-Version": "6"},
    {"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "3"},
)
_NOISE = {
    "X-Request-ID": "0b54a1c6-7a4e-4b6e-8d86-0c4f1d4ed7b0",
    "X-Requested-With": "XMLHttpRequest",
    "Upload-Foo": "1",
    "Tus-Foo": "1",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "x",
}
_Steps = list[str]


@check("COMPAT-11")
def headers_of_the_later_draft(c: Probe) -> None:
    usual = _life(c, {})
    for draft in _DRAFTS:
        probe = ", ".join(f"{name}: {value}" for name, value in draft.items())
        _judge_steps(c, "COMPAT-11", _life(c, draft), usual, probe)


@check("COMPAT-12")
def headers_that_nobody_knows(c: Probe) -> None:
    usual = [_told("OPTIONS", c.options()), *_life(c, {})]
    single = {f"{name}: {value}": {name: value} for name, value in _NOISE.items()}
    for probe, noise in {**single, "all of them": _NOISE}.items():
        steps = [_told("OPTIONS", c.options(headers=noise)), *_life(c, noise)]
        _judge_steps(c, "COMPAT-12", steps, usual, probe)


def _judge_steps(c: Probe, row: str, got: _Steps, usual: _Steps, probe: str) -> None:
    """Names the first step that went another way."""
    for ours, theirs in zip(got, usual, strict=False):
        if ours != theirs:
            c.expect(row, False, theirs, ours, probe=probe)
            return
    c.expect(row, len(got) == len(usual), "all as without them", probe=probe)


def _life(c: Probe, extra: dict[str, str]) -> _Steps:
    """Statuses, offsets and lengths of all requests for one upload that carry these headers.

    Raises Unverifiable without such headers, if it does not live to its end.
    """
    steps: _Steps = []

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        answer = c.request(method, url, {**headers, **extra}, body)
        steps.append(_told(method, answer))
        return answer

    url = c.mk(10)
    if c.has("creation"):
        headers = {**VERSION, "Upload-Length": "10", "Content-Length": "0"}
        made = ask("POST", c.url, headers)
        if made.status != 201 or "location" not in made:
            return steps
        url = c.created(made)
    ask("HEAD", url, VERSION)
    ask("PATCH", url, patch_headers(7, 3), b"abc")
    for offset, data in ((0, b"hello"), (5, b"world")):
        answer = ask("PATCH", url, patch_headers(offset, 5), data)
        if answer.status not in SUCCESS and not extra:
            c.give_up(f"PATCH at {offset} was answered {answer}")
        ask("HEAD", url, VERSION)
    if c.has("get"):
        steps.append(f"{ask('GET', url, VERSION).body!r}")
    if c.has("termination"):
        ask("DELETE", url, VERSION)
        ask("HEAD", url, VERSION)
    return steps


def _told(method: str, answer: Answer) -> str:
    named = ("upload-offset", "upload-length", "upload-defer-length", "tus-version")
    told = [f"{name}: {answer.get(name)}" for name in named if name in answer]
    interim = [f"{status} and then" for status in answer.interim]
    return " ".join((f"{method}:", *interim, str(answer.status), *told))
