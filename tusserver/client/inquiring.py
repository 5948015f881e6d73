"""Asks a server about one upload, and has it removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

import requests

from tusserver.client.answers import printable, whole_number
from tusserver.client.errors import ClientError, Passing, Refused
from tusserver.protocol.grammar import parse_metadata

if TYPE_CHECKING:
    from tusserver.client.patience import Patience
    from tusserver.client.session import Session


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands. `offset` and `length` are bytes, None if unknown; `details` is what
    the status API says, empty if there is none.
    """

    url: str
    offset: int | None
    length: int | None
    filename: str
    expires: str | None
    place: str | None
    refusal: str | None
    details: dict[str, Any]

    @property
    def state(self) -> str:
        told = self.details.get("state")
        if isinstance(told, str):
            return printable(told)
        if self.refusal:
            return "refused"
        return "finished" if self.offset == self.length is not None else "uploading"

    @property
    def percent(self) -> float | None:
        if self.length is None or self.offset is None:
            return None
        return 100.0 if not self.length else 100.0 * self.offset / self.length


def ask(session: Session, patience: Patience, url: str) -> Standing:
    """HEAD, and the status API if the server has one and lets us. Raises ClientError."""
    headers = _patiently(session, patience, "HEAD", url).headers
    answer = requests.Response()
    answer.headers = headers
    try:
        metadata = dict(parse_metadata(headers.get("Upload-Metadata", "")))
    except ValueError:
        metadata = {}
    place = headers.get("Upload-Place")
    if "Upload-Offset" not in headers and "Upload-Concat" not in headers:
        raise Refused("this is no upload of a tus server: no Upload-Offset")
    return Standing(
        url,
        offset=whole_number(answer, "Upload-Offset"),
        length=whole_number(answer, "Upload-Length"),
        filename=printable((metadata.get("filename") or b"").decode("utf-8", "replace")),
        expires=headers.get("Upload-Expires"),
        place=printable(unquote(place)) if place else None,
        refusal=headers.get("Upload-Refused"),
        details=_details(session, url),
    )


def cancel(session: Session, patience: Patience, url: str) -> None:
    """DELETE. Raises ClientError; Gone if there is nothing to remove."""
    _patiently(session, patience, "DELETE", url)


def _patiently(session: Session, patience: Patience, method: str, url: str) -> requests.Response:
    while True:
        try:
            return session.request(method, url)
        except Passing as error:
            patience.wait(error)


def _details(session: Session, url: str) -> dict[str, Any]:
    upload_id = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    where = urljoin(url.partition("?")[0], f"../api/uploads/{upload_id}")
    try:
        found = session.request("GET", where).json()
    except (ClientError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("id") == unquote(upload_id) else {}
