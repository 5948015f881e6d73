"""CREATE: how uploads come into being, and what is refused before they do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION, items
from conformance.metadata import pairs_in
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import offset_of
from conformance.verdict import Unverifiable, Verdict
from conformance.wire import chunked

if TYPE_CHECKING:
    from conformance.wire import Answer

_METADATA = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential"
_LARGEST = 2**63 - 1


@check("CREATE-01", "CREATE-02")
def creation_is_announced(c: Probe) -> None:
    options = c.options()
    is_announced = "creation" in items(options.get("tus-extension"))
    c.expect("CREATE-01", is_announced, "creation in Tus-Extension", options)
    answer = c.post({"Upload-Length": "1"})
    works = answer.status == 201 and "location" in answer
    if works:
        _remove(c, c.created(answer))
    if works or not is_announced:
        c.expect("CREATE-02", is_announced or not works, "no 201 where creation is not announced",
                 answer, probe="" if is_announced else "creation is not announced")  # fmt: skip
    else:
        c.give_up(f"creation is announced, and a POST was answered {answer}")


def _remove(c: Probe, url: str) -> None:
    if c.has("termination"):
        c.delete(url)


@check("CREATE-05")
def creation_is_answered_201(c: Probe) -> None:
    for length in (100, 1):
        answer = c.post({"Upload-Length": str(length)})
        c.status("CREATE-05", answer, (201,), probe=f"Upload-Length: {length}")


@check("CREATE-06")
def location_of_a_new_upload(c: Probe) -> None:
    _judge_location(c, c.post({"Upload-Length": "100"}), c.url)
    path = c.target.path
    if path == "/" or "?" in path:
        return
    other = c.url.rstrip("/") if c.url.endswith("/") else f"{c.url}/"
    answer = c.post({"Upload-Length": "100"}, url=other)
    if answer.status == 201:
        _judge_location(c, answer, other)


def _judge_location(c: Probe, answer: Answer, base: str) -> None:
    """Whether it leads to the upload, from the URL that was posted to."""
    row, probe = "CREATE-06", f"POST {base}"
    if answer.status not in SUCCESS:
        c.give_up(f"no upload could be created: {answer}")
    locations = answer.all("location")
    c.demand(row, len(locations) == 1 and locations[0] != "", "one Location", answer, probe=probe)
    url = c.target.resolve(locations[0], base)
    form = "absolute URL" if "://" in locations[0] else "relative reference"
    try:
        head = c.hd(url)
    except Unverifiable as reason:
        c.expect(row, False, f"HEAD of {url} finds the upload", str(reason), probe=probe)
        return
    ok = head.status in SUCCESS and url.partition("#")[0] not in (base, c.url)
    c.expect(row, ok, f"HEAD of {url} finds the upload", head, probe=f"{probe}, {form}")


@check("CREATE-07")
def new_upload_starts_at_zero(c: Probe) -> None:
    row, url = "CREATE-07", c.created(c.post({"Upload-Length": "10"}))
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        answer = c.hd(url)
        # What HEAD does not tell at all is a matter of HEAD.
        if "upload-offset" in answer:
            ok = offset_of(answer) == offset
            probe = f"HEAD after {offset} of 10 bytes"
            c.demand(row, ok, f"Upload-Offset: {offset}", answer, probe=probe)
        if data:
            answer, probe = c.pa(url, offset, data), f"PATCH at {offset} of 10"
            c.demand(row, answer.status in SUCCESS, "204", answer, probe=probe)
    c.content(row, url, b"helloworld")


@check("CREATE-09")
def upload_of_length_zero(c: Probe) -> None:
    row = "CREATE-09"
    c.mk(1)
    answer = c.post({"Upload-Length": "0"})
    c.demand(row, answer.status == 201, "201", answer, probe="POST with Upload-Length: 0")
    url = c.created(answer)
    head = c.hd(url)
    if head.status in GONE and c.hd(c.made(b"abcd")).status in GONE:
        c.give_up("what is complete is moved away")
    told = [head.get(f"upload-{name}") for name in ("offset", "length", "defer-length")]
    c.expect(row, told == ["0", "0", None], "offset 0 and length 0", head, probe="HEAD")
    answer, good = c.pa(url, 0, b""), (*SUCCESS, *CLIENT_ERRORS)
    c.status(row, answer, good, expected="204 or 4xx", probe="an empty PATCH")
    if c.has("get"):
        answer, probe = c.get(url), "GET"
        if answer.status in SUCCESS:
            c.expect(row, answer.body == b"", "no bytes", answer, probe=probe)
        else:
            c.status(row, answer, (), infos=range(300, 500), expected="no bytes", probe=probe)


@check("CREATE-10")
def length_above_the_maximum(c: Probe) -> None:
    maximum = c.discovery.max_size
    if maximum is None:
        return
    c.created(c.post({"Upload-Length": "0"}))
    answer = c.post({"Upload-Length": str(maximum + 1)})
    # A number that fits into no 64 bits may be no number at all.
    good = (413,) if maximum < _LARGEST else (413, 400)
    probe = f"Upload-Length: {maximum + 1}, one more than the maximum"
    if not c.status("CREATE-10", answer, good, probe=probe) and answer.status == 201:
        _remove(c, c.created(answer))
    c.expect("CREATE-10", answer.status == 201 or "location" not in answer,
             "no Location in a refusal", answer, probe=probe)  # fmt: skip
    if maximum <= c.target.big_ok:
        answer, probe = c.post({"Upload-Length": str(maximum)}), f"Upload-Length: {maximum}"
        # There may be no room for it at the moment.
        c.status("CREATE-10", answer, (201,), infos=(507,), probe=f"{probe}, the maximum")
        if answer.status == 201:
            _remove(c, c.created(answer))


@check("CREATE-11")
def neither_length(c: Probe) -> None:
    c.created(c.post({"Upload-Length": "4"}))
    answer, probe = c.post({}), "neither Upload-Length nor Upload-Defer-Length"
    if answer.status == 201:
        c.say("CREATE-11", Verdict.FAIL, "400", answer, probe=probe)
    else:
        c.status("CREATE-11", answer, (400,), warns=CLIENT_ERRORS, probe=probe)


@check("CREATE-12")
def both_lengths(c: Probe) -> None:
    c.created(c.post({"Upload-Length": "5"}))
    answer = c.post({"Upload-Length": "5", "Upload-Defer-Length": "1"})
    good = (400,) if c.has("defer") else (400, 501)
    probe = "both Upload-Length and Upload-Defer-Length"
    c.status("CREATE-12", answer, good, warns=(*CLIENT_ERRORS, 201), expected="400", probe=probe)
    if answer.status == 201:
        head = c.hd(c.created(answer))
        ok = ("upload-length" in head) is not ("upload-defer-length" in head)
        c.expect("CREATE-12", ok, "one of the two headers", head, probe=f"{probe}, then HEAD")


@check("CREATE-13")
def length_stays(c: Probe) -> None:
    row, url = "CREATE-13", c.mk(10)
    if c.hd(url).get("upload-length") != "10":
        c.give_up("HEAD does not tell the length")
    for length in ("11", "9", "5"):
        offset = offset_of(c.hd(url)) or 0
        probe = f"PATCH at {offset} with Upload-Length: {length}"
        answer = c.pa(url, offset, b"x", {"Upload-Length": length})
        _judge_length(c, c.hd(url), f"{probe}, then HEAD")
        # One who takes no notice of the header has not changed the length.
        ignores = Verdict.WARN if answer.status in SUCCESS else None
        c.expect(row, answer.status in CLIENT_ERRORS, "4xx", answer, probe=probe, broken=ignores)
    offset = offset_of(c.hd(url)) or 0
    answer = c.pa(url, offset, b"x", {"Upload-Length": "10"})
    good, probe = (*SUCCESS, *CLIENT_ERRORS), "PATCH with Upload-Length: 10, as it is"
    c.status(row, answer, good, expected="204 or 4xx", probe=probe)
    _judge_length(c, c.hd(url), f"{probe}, then HEAD")
    url = c.made(b"0123456789")
    c.pa(url, 10, b"x", {"Upload-Length": "11"})
    head = c.hd(url)
    if head.status not in GONE:
        _judge_length(c, head, "PATCH at the end with Upload-Length: 11, then HEAD")


def _judge_length(c: Probe, head: Answer, probe: str) -> None:
    ok = head.all("upload-length") == ["10"]
    c.demand("CREATE-13", ok, "Upload-Length: 10", head, probe=probe)


@check("CREATE-15", "CREATE-16")
def metadata_comes_back(c: Probe) -> None:
    answer = c.post({"Upload-Length": "10", "Upload-Metadata": _METADATA})
    if answer.status in CLIENT_ERRORS:
        c.created(c.post({"Upload-Length": "10"}))
        c.say("CREATE-15", Verdict.INFO, "201", answer, probe="rejected by policy")
        c.give_up(f"metadata is rejected by policy: {answer}")
    url = c.created(answer)
    c.say("CREATE-15", Verdict.PASS, "201", answer)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        head, probe = c.hd(url), f"HEAD at {offset} of 10"
        if offset == 10 and head.status in GONE:
            break  # Moved away, which is judged elsewhere.
        _judge_metadata(c, head, probe, _METADATA)
        if data:
            c.sent(url, offset, data)
    # One of the keys without a value is not the last, where a blank behind it would be lost.
    metadata = f"is_draft,{_METADATA}"
    answer = c.post({"Upload-Length": "10", "Upload-Metadata": metadata})
    if answer.status == 201:
        _judge_metadata(c, c.hd(c.created(answer)), "three pairs", metadata)


def _judge_metadata(c: Probe, head: Answer, probe: str, metadata: str) -> None:
    row, told = "CREATE-16", head.all("upload-metadata")
    if head.status not in SUCCESS:
        c.give_up(f"HEAD was answered {head}")
    try:
        pairs = sorted(pairs_in(told[0]) if len(told) == 1 else [])
    except ValueError:
        pairs = []
    ok = pairs == sorted(pairs_in(metadata))
    c.demand(row, ok, f"the pairs of {metadata}", head, probe=probe)
    probe = f"{probe}, letter for letter"
    c.expect(row, told == [metadata], metadata, head, probe=probe, broken=c.lenient)


@check("CREATE-17")
def without_metadata_there_is_no_header(c: Probe) -> None:
    head = c.hd(c.created(c.post({"Upload-Length": "1"})))
    if head.status not in SUCCESS:
        c.give_up(f"HEAD was answered {head}")
    c.expect("CREATE-17", "upload-metadata" not in head, "no Upload-Metadata", head)


@check("CREATE-18")
def each_creation_makes_an_upload(c: Probe) -> None:
    row, number = "CREATE-18", 50
    with ThreadPoolExecutor(10) as threads:
        urls = list(threads.map(lambda _: c.created(c.post({"Upload-Length": "4"})), range(number)))
        c.demand(row, len(set(urls)) == number, f"{number} uploads of {number} POST, 10 at once",
                 f"{len(set(urls))} different Locations")  # fmt: skip
        c.sent(urls[0], 0, b"abcd")
        others = list(threads.map(c.hd, urls[1:]))
    told = [head for head in others if "upload-offset" in head]
    if not told:
        c.give_up("HEAD tells no offset")
    moved = [head for head in told if offset_of(head) != 0]
    c.expect(row, not moved, "Upload-Offset: 0 of all others", (moved or told)[0],
             probe="one of them is written to")  # fmt: skip


@check("CREATE-19")
def creation_without_content_length(c: Probe) -> None:
    c.created(c.post({"Upload-Length": "4"}))
    headers = {**VERSION, "Upload-Length": "4"}
    answer = c.request("POST", c.url, headers)
    c.status("CREATE-19", answer, (201,), probe="neither Content-Length nor Transfer-Encoding")
    answer = c.request("POST", c.url, {**headers, "Transfer-Encoding": "chunked"}, chunked())
    c.status("CREATE-19", answer, (201,), probe="an empty chunked body")


@check("CREATE-20")
def foreign_type_without_a_body(c: Probe) -> None:
    c.created(c.post({"Upload-Length": "4"}))
    for kind in ("application/x-www-form-urlencoded", "application/json"):
        answer = c.post({"Upload-Length": "4", "Content-Type": kind})
        c.status("CREATE-20", answer, (201,), probe=f"Content-Type: {kind}, Content-Length: 0")
