"""CONCU: uploads that are joined when their parts are there (concatenation-unfinished)."""

from __future__ import annotations

from conformance.check import check
from conformance.parts import HELLO, PARTIAL, WORLD, final, is_joined
from conformance.probe import CLIENT_ERRORS, SUCCESS, Probe
from conformance.tus import patch_headers


@check("CONCU-01", "CONCU-02", "CONCU-03", "CONCU-04", "CONCU-05", "CONCAT-15",
       "CONCAT-17")  # fmt: skip
def parts_may_come_later(c: Probe) -> None:
    first, second = c.mk(len(HELLO), PARTIAL), c.mk(len(WORLD), PARTIAL)
    answer = final(c, [first, second])
    c.demand("CONCU-01", answer.status == 201 and "location" in answer, "201 with Location", answer)
    url = c.created(answer)
    head = c.hd(url)
    c.expect("CONCU-02", "upload-concat" in head, "Upload-Concat", head)
    c.expect("CONCU-02", head.get("upload-length") == "11", "Upload-Length: 11", head)
    c.expect("CONCAT-17", "upload-length" in head, "Upload-Length of unfinished parts", head)
    for row in ("CONCU-03", "CONCAT-15"):
        ok = head.status in SUCCESS and "upload-offset" not in head
        c.expect(row, ok, "no Upload-Offset before it is joined", head)
    for body in (b"x", b""):
        got = c.request("PATCH", url, patch_headers(0, len(body)), body)
        c.status("CONCU-05", got, (403,), probe=f"PATCH of {len(body)} bytes")
    # The later part first: the order is that of the list.
    c.sent(second, 0, WORLD)
    c.sent(first, 0, HELLO)
    c.expect("CONCU-04", is_joined(c, url), "Upload-Offset and Upload-Length of 11", c.hd(url))
    c.content("CONCU-04", url, HELLO + WORLD)


@check("CONCU-02")
def a_length_that_is_not_known(c: Probe) -> None:
    if not c.has("defer"):
        return
    first, second = c.mk(len(HELLO), PARTIAL), c.mk(None, PARTIAL)
    answer = final(c, [first, second])
    if answer.status != 201:
        c.give_up(f"a part of deferred length is not joined: {answer}")
    url = c.created(answer)
    head = c.hd(url)
    ok = head.status in SUCCESS and "upload-length" not in head
    c.expect("CONCU-02", ok, "no Upload-Length before it is known", head)
    c.sent(second, 0, WORLD[:3], {"Upload-Length": "6"})
    head = c.hd(url)
    c.expect("CONCU-02", head.get("upload-length") == "11", "Upload-Length: 11", head,
             probe="once the length of the part is known")  # fmt: skip


@check("CONCU-06")
def a_part_that_disappears(c: Probe) -> None:
    first, second = c.mk(len(HELLO), PARTIAL), c.mk(len(WORLD), PARTIAL)
    url = c.created(final(c, [first, second]))
    c.sent(second, 0, WORLD)
    if c.delete(first).status not in SUCCESS:
        c.give_up("parts cannot be ended")
    is_whole = is_joined(c, url, within=1.0)
    head = c.hd(url)
    if head.status in CLIENT_ERRORS:
        c.expect("CONCU-06", True, "4xx, or pending", head)
        return
    c.expect("CONCU-06", head.status in SUCCESS, "4xx, or pending", head)
    c.expect("CONCU-06", not is_whole, "never an offset that is the length", head)
    if c.has("get"):
        got = c.get(url)
        is_torn = got.status in SUCCESS and WORLD in got.body
        c.expect("CONCU-06", not is_torn, "no content with a hole", got)
