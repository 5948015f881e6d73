"""Signed URLs: `?grant=<what it allows>.<HMAC-SHA256 of that>`, for clients that cannot send a
header.

Whoever has the secret makes them; nobody else can, or can change what one allows. They are bound to
uploads, not to hosts or paths, so that proxies may rewrite both.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from tusserver.protocol.access import Grant, Verb

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

PARAMETER = "grant"
MIN_SECRET = 32
"""Bytes that a secret has at least: as many as the digest that it keys (RFC 2104, section 3)."""
_MAX_GRANT = 4096
_TO_CREATE = (Verb.CREATE, Verb.HEAD, Verb.PATCH, Verb.DELETE)


class GrantRefused(Exception):
    """The signature does not fit, or the time is over; a sentence for the client."""


class SecretUnusable(ValueError):
    """The secret cannot be read or is too short; a sentence for the operator."""


def read_secret(path: Path) -> bytes:
    """The secret in this file, without blanks and line ends around it. Raises SecretUnusable."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SecretUnusable(f"{path} cannot be read: {error.strerror}") from error
    if len(secret) < MIN_SECRET:
        raise SecretUnusable(
            f"{path} holds {len(secret)} bytes; a secret has {MIN_SECRET} at least, "
            "as `openssl rand -hex 32` makes it"
        )
    return secret


def new_grant(
    expires_at: int,
    *,
    verbs: tuple[Verb, ...] = (),
    upload_id: str | None = None,
    owner: str | None = None,
    max_size: int | None = None,
    destination: str | None = None,
) -> Grant:
    """A grant that no other one is taken for. Without `verbs`: to create, send and end uploads, or
    for one upload to send and end it.
    """
    chosen = verbs or (_TO_CREATE if upload_id is None else _TO_CREATE[1:])
    key = secrets.token_urlsafe(9)
    return Grant(chosen, expires_at, key, upload_id, owner, max_size, destination)


class Signer:
    """Signs grants, and reads those that were signed with the same secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, grant: Grant) -> str:
        """The query of a URL that carries this grant, without its question mark."""
        payload = _encode(_ENCODER.encode(grant))
        return f"{PARAMETER}={payload}.{_encode(self._mac(payload))}"

    def find(self, query: str, now: datetime) -> Grant | None:
        """The grant in this query, None if there is none. Raises GrantRefused."""
        if f"{PARAMETER}=" not in query:
            return None
        values = parse_qs(query[:_MAX_GRANT]).get(PARAMETER, [])
        if len(values) != 1:
            raise GrantRefused("the signature of this URL is incomplete")
        payload, _, mac = values[0].partition(".")
        if not hmac.compare_digest(_decode(mac), self._mac(payload)):
            raise GrantRefused("the signature of this URL does not fit")
        try:
            grant = _DECODER.decode(_decode(payload))
        except msgspec.DecodeError:
            raise GrantRefused("this URL was signed for another version of the server") from None
        if now.timestamp() >= grant.expires_at:
            raise GrantRefused("the time of this signed URL is over; ask for a new one")
        return grant

    def _mac(self, payload: str) -> bytes:
        return hmac.digest(self._secret, payload.encode(), "sha256")


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def _decode(value: str) -> bytes:
    try:
        return urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4))
    except ValueError:
        return b""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Grant)
