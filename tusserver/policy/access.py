"""Finds out who is asking, from the head of a request alone.

In this order, the first that has an answer counts: the application's own check, a signed URL, a
token in `Authorization: Bearer`, a token in the cookie.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.policy.grants import GrantRefused
from tusserver.policy.tokens import KeysUnavailable, TokenRefused
from tusserver.protocol.access import GRANTEE, Caller
from tusserver.protocol.refusals import AccessUnknown, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tusserver.policy.grants import Signer
    from tusserver.policy.tokens import TokenVerifier
    from tusserver.protocol.access import Grant
    from tusserver.protocol.errors import Header


class Inquiry(Struct, frozen=True):
    """The head of a request, as an application's own check sees it. `target` is what follows the
    base path: empty for the creation URL, else the id that the client names. `is_status`: the
    status API is asked, and `target` is empty. Header names are in lower case.
    """

    method: str
    target: str
    query: str
    headers: Iterable[Header]
    is_status: bool = False

    def header(self, name: bytes) -> str | None:
        """The first value of this header."""
        for found, value in self.headers:
            if found == name:
                return value.decode("latin-1").strip(" \t")
        return None


Check = Callable[[Inquiry], Awaitable[Caller | None]]
"""An application's own check: says who is asking, or None to leave that to the others. Raises a
TusError to refuse, as `Unauthorized` or `Forbidden`.
"""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AccessControl:
    """One site's ways of telling who somebody is. `cookie` is the name of one that may hold the
    token.
    """

    def __init__(
        self,
        *,
        check: Check | None = None,
        signer: Signer | None = None,
        tokens: TokenVerifier | None = None,
        cookie: str | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._check = check
        self._signer = signer
        self._tokens = tokens
        self._cookie = cookie
        self._clock = clock

    async def close(self) -> None:
        """Ends what runs in the background."""
        if self._tokens is not None:
            await self._tokens.close()

    async def identify(self, inquiry: Inquiry) -> Caller:
        """Who is asking. Raises Unauthorized, AccessUnknown, or what the application's check
        raises.
        """
        if self._check is not None and (caller := await self._check(inquiry)) is not None:
            return caller
        if (grant := self._grant(inquiry.query)) is not None:
            return Caller(grant.user, grant=grant)
        token = self._token(inquiry)
        if token is None or self._tokens is None:
            raise Unauthorized
        try:
            identity = await self._tokens.verify(token)
        except TokenRefused as error:
            raise Unauthorized(str(error)) from None
        except KeysUnavailable as error:
            raise AccessUnknown from error
        if identity.user.startswith(GRANTEE):
            raise Unauthorized("the name of this user is taken by signed URLs")
        return Caller(identity.user, identity.is_admin, max_size=identity.max_size)

    def _grant(self, query: str) -> Grant | None:
        if self._signer is None:
            return None
        try:
            return self._signer.find(query, self._clock())
        except GrantRefused as error:
            raise Unauthorized(str(error)) from None

    def _token(self, inquiry: Inquiry) -> str | None:
        scheme, _, token = (inquiry.header(b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        if self._cookie is None:
            return None
        return _cookies(inquiry.header(b"cookie") or "").get(self._cookie)

    def sign_location(self, caller: Caller, upload_id: str) -> str:
        """The query that the URL of a new upload must have for a caller who came by a signed one;
        empty for all others.
        """
        if caller.grant is None or self._signer is None:
            return ""
        return self._signer.sign(caller.grant.for_upload(upload_id))


def _cookies(value: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in value.split(";"))
    return {name.strip(): content.strip().strip('"') for name, _, content in pairs}
