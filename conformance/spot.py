"""Where an upload lies: its URL taken apart, for other URLs around it.

The shape of URLs is the server's choice; what is asked here must show nothing wherever they lead.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from conformance.discovery import VERSION
from conformance.hearing import heard, plain_upload
from conformance.probe import CLIENT_ERRORS, SUCCESS
from conformance.target import request_target
from conformance.tus import offset_of, patch_headers
from conformance.verdict import Verdict
from conformance.wire import Answer

if TYPE_CHECKING:
    from conformance.probe import Probe

REDIRECTS = range(300, 400)
DATA = b"helloworld"
_LONG = 120
_URL = re.compile(r"(https?://[^/?#]+/(?:[^?#]*/)?)([^/?#]+)(/*(?:\?[^#]*)?)(?:#.*)?")


@dataclass(frozen=True)
class Spot:
    """The last segment of the path is the `id`; `tail` is a slash behind it, or a query."""

    folder: str
    id: str
    tail: str = ""

    def named(self, name: str) -> str:
        """The URL with this in place of the id."""
        return f"{self.folder}{name}{self.tail}"

    @property
    def url(self) -> str:
        return self.named(self.id)

    def has(self, url: str) -> bool:
        """Whether the URL, without the dots in it, is still one in the folder."""
        path = urlsplit(without_dots(url)).path
        folder = urlsplit(self.folder).path
        return path.startswith(folder) and path != folder


def without_dots(url: str) -> str:
    """The URL as RFC 3986 normalises it: `%2e` is a dot, `.` and `..` are followed."""
    return urljoin(url, re.sub("%2e", ".", request_target(url), flags=re.IGNORECASE))


def spot_of(c: Probe, url: str) -> Spot:
    """Raises Unverifiable where the path of the URL ends with no name."""
    found = _URL.fullmatch(url)
    if found is None:
        c.give_up(f"the path of an upload's URL ends with no name: {url}")
    assert found is not None
    return Spot(*found.groups())


def named_by_path(c: Probe, spot: Spot) -> Spot:
    """Raises Unverifiable where it is the query that tells uploads apart: other names in the path
    would show nothing then.
    """
    if "?" in spot.tail and spot_of(c, c.mk(len(DATA))).id == spot.id:
        c.give_up(f"uploads are told apart by the query alone: {spot.url}")
    return spot


def standing(c: Probe, offset: int = 0) -> Spot:
    """An upload of 10 bytes, the first of `DATA` sent. Raises Unverifiable where HEAD does not tell
    where it stands: what other URLs lead to would show nothing then.
    """
    url = c.mk(len(DATA))
    if offset:
        c.sent(url, 0, DATA[:offset])
    answer = c.hd(url)
    if offset_of(answer) != offset:
        c.give_up(f"HEAD does not tell that an upload is at {offset}: {answer}")
    return spot_of(c, url)


def still_stands(c: Probe, row: str, url: str, offset: int, probe: str) -> None:
    """Judges whether the upload is where it was, and can be finished as well as any other."""
    if not c.intact(row, url, offset, probe=probe):
        return
    answer = c.pa(url, offset, DATA[offset:])
    if answer.status not in SUCCESS:
        plain_upload(c)
    if c.expect(row, answer.status in SUCCESS, "2xx to the rest", answer, probe=probe):
        c.content(row, url, DATA, probe)


def asked(
    c: Probe, row: str, method: str, url: str, body: bytes = b"", *, offset: int = 0
) -> Answer | None:
    """A PATCH is one at this offset. Silence breaks the row; None for a connection that is closed
    by a server which lives on, as some do with what is malformed.
    """
    headers = patch_headers(offset, len(body)) if method == "PATCH" else VERSION
    with c.wire(url) as wire:
        wire.try_send(c.head(method, url, headers) + body)
        got = heard(wire, method)
    if isinstance(got, Answer):
        return got
    probe = f"{method} {shown(request_target(url))}"
    if got.is_end and c.is_live():
        c.say(row, Verdict.WARN, "an answer", got, probe=probe)
    else:
        c.demand(row, False, "an answer", got, probe=probe)
    return None


def is_for_all(c: Probe, row: str, spot: Spot, method: str, path: str, answer: Answer) -> bool:
    """Whether a URL of the same form that names nothing at all, or the folder, gets such an answer
    too, like the page that some applications have for whatever is asked.
    """
    if method not in ("HEAD", "GET") or "upload-offset" in answer:
        return False
    token = secrets.token_hex(16)
    form = path.replace(spot.id, token).replace("passwd", token).replace("win.ini", token)
    for other in (token if form == path else form, ""):
        known = asked(c, row, method, spot.named(other))
        if known is not None and _kind(known) == _kind(answer):
            return True
    return False


def _kind(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.get("content-type")


def refusals(method: str) -> tuple[int, ...]:
    """Not everyone has GET and DELETE at all."""
    return (*CLIENT_ERRORS, 501) if method in ("GET", "DELETE") else tuple(CLIENT_ERRORS)


def shown(text: str) -> str:
    """For people to read."""
    text = ascii(text)[1:-1]
    return text if len(text) <= _LONG else f"{text[:40]}… ({len(text):,} characters)"
