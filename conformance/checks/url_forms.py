"""ROB-SEC: what is told by the form of a URL, and what is not."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.check import check
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.spot import DATA, REDIRECTS, named_by_path, standing, still_stands
from conformance.tus import offset_of
from conformance.verdict import Unverifiable, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.wire import Answer

_KEEPING = (307, 308)
"""Redirects after which the method is the same."""


@check("ROB-SEC-04")
def slash_behind_an_upload(c: Probe) -> None:
    spot = standing(c)
    path, mark, query = spot.url.partition("?")
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    _judge_other_form(c, "ROB-SEC-04", spot.url, f"{other}{mark}{query}", "a slash more or less")


@check("ROB-SEC-04")
def slash_behind_the_creation_url(c: Probe) -> None:
    row, url = "ROB-SEC-04", c.mk(len(DATA))
    path, mark, query = c.url.partition("?")
    if not urlsplit(path).path.strip("/") or not c.has("creation"):
        c.say(row, Verdict.PASS, "the same without a slash", "there is no such URL")
        return
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    other = f"{other}{mark}{query}"
    answer, probe = c.post({"Upload-Length": str(len(DATA))}, url=other), f"POST {other}"
    if answer.status == 201:
        _judge_created(c, row, answer, other, probe)
    elif answer.status in _KEEPING:
        _judge_redirect(c, row, answer, other, c.url, probe)
    else:
        expected = "201, 307 or 308, or 404"
        c.status(row, answer, GONE, infos=CLIENT_ERRORS, warns=REDIRECTS, expected=expected,
                 probe=probe)  # fmt: skip
    still_stands(c, row, url, 0, f"an upload, after {probe}")


@check("ROB-SEC-05")
def query_behind_an_upload(c: Probe) -> None:
    for query in ("x=1", "../.."):
        spot = standing(c)
        mark = "&" if "?" in spot.url else "?"
        _judge_other_form(c, "ROB-SEC-05", spot.url, f"{spot.url}{mark}{query}", f"?{query}")


@check("ROB-SEC-05")
def query_behind_the_creation_url(c: Probe) -> None:
    row, url = "ROB-SEC-05", c.mk(len(DATA))
    if not c.has("creation"):
        c.say(row, Verdict.PASS, "201", "no upload can be created")
        return
    mark = "&" if "?" in c.url else "?"
    other = f"{c.url}{mark}x=1"
    answer, probe = c.post({"Upload-Length": str(len(DATA))}, url=other), f"POST {other}"
    if c.status(row, answer, (201,), probe=probe):
        _judge_created(c, row, answer, other, probe)
    still_stands(c, row, url, 0, f"an upload, after {probe}")


def _judge_other_form(c: Probe, row: str, url: str, other: str, form: str) -> None:
    """Whether the other form of an upload's URL is that of the upload, or of none at all."""
    offset = 0
    requests: dict[str, Callable[[], Answer]] = {
        "HEAD": lambda: c.hd(other),
        "PATCH": lambda: c.pa(other, 0, DATA[:5]),
    }
    for method, request in requests.items():
        answer, probe = request(), f"{method} with {form}"
        if answer.status in SUCCESS:
            offset = 5 if method == "PATCH" else 0
            c.expect(row, offset_of(answer) == offset, f"Upload-Offset: {offset}", answer,
                     probe=probe)  # fmt: skip
        elif answer.status in _KEEPING:
            _judge_redirect(c, row, answer, other, url, probe)
        else:
            expected = "the upload, 404, or 307 or 308 to it"
            c.status(row, answer, GONE, infos=CLIENT_ERRORS, expected=expected, probe=probe)
    still_stands(c, row, url, offset, f"the upload, after requests with {form}")


def _judge_redirect(c: Probe, row: str, answer: Answer, base: str, aim: str, probe: str) -> None:
    location = answer.get("location") or ""
    # A proxy may not know by which scheme and host it was asked.
    ok = location != "" and _path(c.target.resolve(location, base)) == _path(aim)
    c.expect(row, ok, f"a redirect to {aim}", answer, probe=probe)


def _path(url: str) -> str:
    return urlsplit(url).path


def _judge_created(c: Probe, row: str, answer: Answer, base: str, probe: str) -> None:
    """Whether the upload created there is one like any other."""
    location = answer.get("location") or ""
    url = c.target.resolve(location, base)
    try:
        head = c.hd(url)
    except Unverifiable as reason:
        c.expect(row, False, "a Location that works", str(reason), probe=probe)
        return
    if c.expect(row, offset_of(head) == 0, f"{url} to be the new upload", head, probe=probe):
        still_stands(c, row, url, 0, f"the upload of {probe}")


_CREATIONS = 100
_SHORTEST = 16
_BITS = 64
_UNSURE = 1
"""Bits by which the estimate from so many uploads can be too small."""
_ORDERLY = 0.45
"""Of what is random, more than six standard deviations away."""


@check("ROB-SEC-06")
def ids_cannot_be_guessed(c: Probe) -> None:
    row = "ROB-SEC-06"
    urls = [c.created(c.post({"Upload-Length": "1"})) for _ in range(_CREATIONS)]
    c.demand(row, len(set(urls)) == len(urls), "as many URLs as uploads", f"{len(set(urls))} URLs")
    names = _names(urls)
    shortest = min(names, key=len)
    c.expect(row, len(shortest) >= _SHORTEST, f"{_SHORTEST} characters or more", shortest,
             probe="length")  # fmt: skip
    bits = _bits(names)
    c.expect(row, bits >= _BITS - _UNSURE, f"{_BITS} bits that differ, or more",
             f"about {bits:.0f}", probe=f"{_CREATIONS} uploads")  # fmt: skip
    numbered = [(len(name), name) for name in names]
    order = max(abs(_order(names)), abs(_order(numbered)))
    c.expect(row, order < _ORDERLY, "ids that do not tell which upload came first",
             f"{names[0]}, {names[1]}, {names[2]} …", probe="their order")  # fmt: skip


def _names(urls: list[str]) -> list[str]:
    """What stands behind the last folder that all of them share."""
    places = zip(*urls, strict=False)
    common = list(takewhile(lambda place: len(set(place)) == 1, places))
    folder = "".join(place[0] for place in common).rpartition("/")[0]
    return [url.removeprefix(f"{folder}/") for url in urls]


def _bits(names: list[str]) -> float:
    """How much they differ: the entropies of all their places, as if those were independent."""
    width = max(map(len, names))
    columns = zip(*(name.ljust(width) for name in names), strict=True)
    return sum(_entropy(Counter(column)) for column in columns)


def _entropy(counts: Counter[str]) -> float:
    """A sample shows too little on average, which the first term makes up for (Miller)."""
    total = counts.total()
    unseen = (len(counts) - 1) / (2 * total * math.log(2))
    return unseen - sum(count / total * math.log2(count / total) for count in counts.values())


def _order(names: list[str] | list[tuple[int, str]]) -> float:
    """Kendall's rank correlation with the order of creation: 1 where each is larger than those
    before it, about 0 where they are random.
    """
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    ascending = sum(a < b for a, b in pairs)  # type: ignore[operator]
    descending = sum(a > b for a, b in pairs)  # type: ignore[operator]
    return (ascending - descending) / len(pairs)


_UUID = re.compile("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


@check("ROB-SEC-10")
def case_of_ids(c: Probe) -> None:
    row, spot = "ROB-SEC-10", named_by_path(c, standing(c))
    # The digits of an escape have no case.
    parts = re.split("(%[0-9A-Fa-f]{2})", spot.id)
    other = "".join(part if part.startswith("%") else part.upper() for part in parts)
    if other == spot.id:
        other = "".join(part if part.startswith("%") else part.lower() for part in parts)
    if other == spot.id:
        c.say(row, Verdict.PASS, "404", "the id has no letters", probe=spot.id)
        return
    answer, probe = c.hd(spot.named(other)), f"HEAD of {other}, not {spot.id}"
    if answer.status in SUCCESS and _UUID.fullmatch(spot.id) and "-" in spot.id:
        # UUIDs are the same in both cases (RFC 9562), however they are stored.
        c.say(row, Verdict.INFO, "404", answer, probe=probe)
    else:
        c.status(row, answer, GONE, infos=(*REDIRECTS, *CLIENT_ERRORS), expected="404", probe=probe)
    still_stands(c, row, spot.url, 0, "the upload itself")
