"""The bearer token: from a file that somebody renews, or fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.auth import AuthBase

from tusserver.client.errors import Unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from requests import PreparedRequest

_PORTS = {"http": 80, "https": 443}


class Tokens:
    """`current` is the token to send, if there is any."""

    def __init__(self, *, file: Path | None = None, fixed: str | None = None) -> None:
        """Raises Unreadable."""
        self._file = file
        self.current = fixed or None
        if file is not None:
            self.current = self._read(file)

    def renew(self, used: str | None) -> bool:
        """Reads the file again; whether there is another token now than the one that was used."""
        if self._file is None:
            return False
        self.current = self._read(self._file)
        return self.current != used

    def _read(self, file: Path) -> str:
        try:
            token = file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise Unreadable(f"cannot read the token in {file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Unreadable(f"there is no token in {file}") from error
        if not token or not token.isprintable():
            raise Unreadable(f"there is no token in {file}")
        return token


class BearerAuth(AuthBase):
    """Puts the token on requests to one origin, and to no other: `Location` may name any host.

    It is set even without a token, or requests would take a password from ~/.netrc.
    """

    def __init__(self, tokens: Tokens, url: str) -> None:
        self._tokens = tokens
        self._origin = _origin(url)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        token = self._tokens.current
        if token is not None and _origin(r.url or "") == self._origin:
            r.headers["Authorization"] = f"Bearer {token}"
        return r


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
