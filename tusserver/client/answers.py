"""What the answer of a server means: go on, try again, begin anew, give up."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tusserver.client.errors import ClientError, Gone, Passing, Refused

if TYPE_CHECKING:
    import requests

# 409: the offset is another one; 423: somebody holds the upload; 460: the checksum did not match.
_PASSING = {408, 409, 423, 425, 429, 460}
_FOR_GOOD = {501, 505}
_GONE = {404, 410}
_MAX_SENTENCE = 300
_DESCRIPTION = re.compile(r'error_description="([^"]*)"')


def failure(answer: requests.Response) -> ClientError:
    """The error that an answer stands for that is no success."""
    status, sentence = answer.status_code, sentence_of(answer)
    if status in _GONE:
        return Gone(sentence, status=status)
    if status in _PASSING or (status >= 500 and status not in _FOR_GOOD):
        retry_after = _retry_after(answer.headers.get("Retry-After"))
        return Passing(sentence, status=status, retry_after=retry_after)
    return Refused(sentence, status=status)


def sentence_of(answer: requests.Response) -> str:
    """What the server says, on one line and harmless to a terminal; its status if it says nothing
    that is meant for people.
    """
    status = f"HTTP {answer.status_code} {answer.reason or ''}".rstrip()
    if 300 <= answer.status_code < 400:
        return f"{status}: the server points to {printable(answer.headers.get('Location', '?'))}"
    said = _said(answer)
    return printable(said)[:_MAX_SENTENCE] if said else status


def printable(text: str) -> str:
    """The text without what could move the cursor of a terminal, or hide."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _said(answer: requests.Response) -> str:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(answer.content)
    if kind == "text/plain" and answer.content:
        return answer.content.decode("utf-8", "replace").strip().partition("\n")[0]
    # HEAD has no body; what is wrong with a token stands here.
    found = _DESCRIPTION.search(answer.headers.get("WWW-Authenticate", ""))
    return found[1] if found else ""


def _from_json(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    code, message = said.get("code"), said.get("message") or said.get("detail")
    if not isinstance(message, str):
        return ""
    return f"{message} ({code})" if isinstance(code, str) else message


def _retry_after(value: str | None) -> float | None:
    """Seconds, a number or a date (RFC 9110, section 10.2.3); None for nothing in particular."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value) or None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) or None


def whole_number(answer: requests.Response, header: str) -> int | None:
    """The value of a header that is a whole number of bytes; None if it is absent or no number."""
    value = answer.headers.get(header, "")
    return int(value) if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) else None
