"""CONCAT: partial uploads, and how they are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import items
from conformance.metadata import pairs_in
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
from conformance.tus import joined, patch_headers
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from conformance.wire import Answer


@check("CONCAT-01", "CONCAT-03")
def concatenation_is_announced(c: Probe) -> None:
    c.say("CONCAT-03", Verdict.PASS, "nothing that could be seen from outside")
    if "concatenation" in items(c.options().get("tus-extension")):
        c.say("CONCAT-01", Verdict.PASS, "concatenation in Tus-Extension")
        return
    if not c.has("creation"):
        c.give_up("no final upload can be tried: nothing is created here")
    made = c.post({**PARTIAL, "Upload-Length": "5"})
    if made.status != 201 or "location" not in made:
        c.say("CONCAT-01", Verdict.PASS, "no final upload", made)
        return
    url = c.created(made)
    c.sent(url, 0, HELLO)
    answer = final(c, [url])
    if answer.status == 201 and "location" in answer:
        # One that only ignores the header has made an empty upload, which is another fault.
        head = c.hd(c.created(answer))
        is_final = "upload-concat" in head or head.get("upload-length") == "5"
        c.expect("CONCAT-01", not is_final, "no joining that is not announced", head)
        return
    c.say("CONCAT-01", Verdict.PASS, "no final upload", answer)


@check("CONCAT-02", "CONCAT-16")
def a_partial_is_an_upload(c: Probe) -> None:
    answer = c.post({**PARTIAL, "Upload-Length": "10"})
    c.status("CONCAT-02", answer, (201,))
    url = c.created(answer)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        probe = f"HEAD of a partial upload at {offset}"
        head = c.hd(url)
        c.expect("CONCAT-16", head.get("upload-offset") == str(offset),
                 f"Upload-Offset: {offset}", head, probe=probe)  # fmt: skip
        if data:
            got = c.pa(url, offset, data)
            c.demand("CONCAT-02", got.status == 204, "204 to PATCH", got)


@check("CONCAT-04", "CONCAT-05", "CONCAT-06", "CONCAT-14", "CONCAT-17")
def parts_are_joined(c: Probe) -> None:
    for is_turned, data in ((False, HELLO + WORLD), (True, WORLD + HELLO)):
        # New parts each time: they may be used up.
        urls = [part(c, HELLO), part(c, WORLD)]
        answer = final(c, urls[::-1] if is_turned else urls)
        created = answer.status == 201 and "location" in answer
        c.demand("CONCAT-04", created, "201 with Location", answer)
        url = c.created(answer)
        head = c.hd(url)
        c.expect("CONCAT-17", "upload-length" in head, "Upload-Length at once", head)
        ok = is_joined(c, url)
        head = c.hd(url)
        c.expect("CONCAT-14", ok, "Upload-Offset and Upload-Length, equal", head)
        c.expect("CONCAT-05", head.get("upload-length") == "11", "Upload-Length: 11", head)
        c.content("CONCAT-06", url, data, probe="the parts in the order of the list")
        if not c.has("get"):
            c.say("CONCAT-06", Verdict.UNVERIFIABLE, "the parts in order", "no content is served")


@check("CONCAT-07")
def a_length_of_its_own(c: Probe) -> None:
    answer = final(c, [part(c, HELLO), part(c, WORLD)], {"Upload-Length": "3"})
    if answer.status != 201:
        c.status("CONCAT-07", answer, CLIENT_ERRORS, expected="400, or 201 and the sum")
        return
    url = c.created(answer)
    is_joined(c, url)
    head = c.hd(url)
    c.expect("CONCAT-07", head.get("upload-length") == "11", "Upload-Length: 11", head)


@check("CONCAT-09")
def unfinished_parts(c: Probe) -> None:
    done, open_one = part(c, HELLO), c.mk(6, PARTIAL)
    answer = final(c, [done, open_one])
    c.expect("CONCAT-09", answer.status != 201, "4xx", answer)
    c.expect("CONCAT-09", answer.status in CLIENT_ERRORS, "4xx", answer, broken=Verdict.WARN)


@check("CONCAT-10")
def metadata_of_parts_is_not_that_of_the_whole(c: Probe) -> None:
    for sent in ({}, {"Upload-Metadata": "b Yg=="}):
        urls = [part(c, HELLO, {"Upload-Metadata": "a YQ=="}), part(c, WORLD)]
        answer = final(c, urls, sent)
        if answer.status != 201:
            c.give_up(f"the parts are not joined: {answer}")
        head = c.hd(c.created(answer))
        if head.status not in SUCCESS:
            c.give_up(f"HEAD of the final upload was answered {head}")
        try:
            ok = pairs_in(head.get("upload-metadata")) == pairs_in(sent.get("Upload-Metadata"))
        except ValueError:
            ok = False
        c.expect("CONCAT-10", ok,
                 "just the metadata of the final upload" if sent else "no metadata", head,
                 probe="parts with metadata")  # fmt: skip


@check("CONCAT-11", "CONCAT-12")
def parts_afterwards(c: Probe) -> None:
    first, second = part(c, HELLO), part(c, WORLD)
    joined_upload(c, [first, second])
    head = c.hd(first)
    stays = head.status in SUCCESS
    c.say("CONCAT-11", Verdict.PASS, "parts that stay, or not", "they stay" if stays else head)
    again = final(c, [first, second])
    ok = again.status == 201 or not stays
    c.expect("CONCAT-12", ok, "201 for the same parts again", again, broken=Verdict.WARN)
    third = part(c, HELLO)
    twice = final(c, [third, third])
    if not c.expect("CONCAT-12", twice.status == 201, "201 for one part twice", twice,
                    broken=Verdict.WARN):  # fmt: skip
        return
    url = c.created(twice)
    is_joined(c, url)
    length = c.hd(url).get("upload-length")
    c.expect("CONCAT-12", length == "10", "Upload-Length: 10", length, probe="one part twice")


@check("CONCAT-13")
def a_final_upload_takes_no_bytes(c: Probe) -> None:
    parts = [(part(c, data), data) for data in (HELLO, WORLD)]
    url = joined_upload(c, [each for each, _ in parts])
    stay = [(each, data, is_served(c, each, data)) for each, data in parts
            if c.hd(each).status in SUCCESS]  # fmt: skip
    for body in (b"x", b""):
        answer = c.request("PATCH", url, patch_headers(11, len(body)), body)
        c.status("CONCAT-13", answer, (403,), probe=f"PATCH at 11 with {len(body)} bytes")
    c.intact("CONCAT-13", url, 11, probe="the final upload")
    c.content("CONCAT-13", url, HELLO + WORLD)
    for each, data, had_content in stay:
        c.intact("CONCAT-13", each, len(data), probe="a part of it")
        if had_content:
            c.content("CONCAT-13", each, data, probe="a part of it")


@check("CONCAT-18")
def upload_concat_as_it_was_sent(c: Probe) -> None:
    head = c.hd(part(c, HELLO))
    c.expect("CONCAT-18", head.get("upload-concat") == "partial", "Upload-Concat: partial", head)
    for is_path in (False, True):
        urls = [part(c, HELLO), part(c, WORLD)]
        form = [request_target(url) for url in urls] if is_path else urls
        sent = joined(form)["Upload-Concat"]
        answer = final(c, form)
        if answer.status != 201:
            c.give_up(f"the parts are not joined: {answer}")
        value = c.hd(c.created(answer)).get("upload-concat")
        if value is not None and value != sent and _targets(c, value) == urls:
            c.say("CONCAT-18", c.lenient, f"Upload-Concat: {sent}", value,
                  probe="the same parts in another spelling")  # fmt: skip
            continue
        c.expect("CONCAT-18", value == sent, f"Upload-Concat: {sent}", value)


def _targets(c: Probe, value: str) -> list[str]:
    """The absolute URLs that the header names; none where one is no URL."""
    try:
        return [c.target.resolve(each) for each in value.removeprefix("final;").split()]
    except ValueError:
        return []


@check("CONCAT-19")
def values_that_are_none(c: Probe) -> None:
    urls = " ".join([part(c, HELLO), part(c, WORLD)])
    for value in ("final", "final;", "final; ", "PARTIAL", "partial;x", "foo", "final;,",
                  f"Final;{urls}"):  # fmt: skip
        length = {} if value.lower().startswith("final") else {"Upload-Length": "5"}
        answer = c.post({"Upload-Concat": value, **length})
        probe = f"Upload-Concat: {value}"
        c.expect("CONCAT-19", answer.status not in SUCCESS, "400", answer, probe=probe)
        if answer.status not in SUCCESS:
            # A comma is a relative URL too, of an upload that does not exist.
            passes = (400, 404) if value == "final;," else (400,)
            c.status("CONCAT-19", answer, passes, warns=CLIENT_ERRORS, probe=probe)
    answer = c.post({"Upload-Concat": f"final; {urls}"})
    c.status("CONCAT-19", answer, (201, 400), warns=CLIENT_ERRORS, probe="a blank behind final;")


@check("CONCAT-20")
def forms_of_part_urls(c: Probe) -> None:
    for name, form in (
        ("the Location itself", _location),
        ("absolute URL", lambda c, answer: c.created(answer)),
        ("absolute path", lambda c, answer: request_target(c.created(answer))),
    ):
        urls = []
        for data in (HELLO, WORLD):
            made = c.post({**PARTIAL, "Upload-Length": str(len(data))})
            c.sent(c.created(made), 0, data)
            urls.append(form(c, made))
        answer = final(c, urls)
        c.expect("CONCAT-20", answer.status == 201, "201", answer, probe=name, broken=Verdict.WARN)
    loud = part(c, HELLO)
    scheme, _, rest = loud.partition("://")
    host, slash, path = rest.partition("/")
    answer = final(c, [f"{scheme.upper()}://{host.upper()}{slash}{path}"])
    c.status("CONCAT-20", answer, (201,), infos=CLIENT_ERRORS, probe="scheme and host in capitals")


def _location(c: Probe, answer: Answer) -> str:
    return answer.all("location")[0]
