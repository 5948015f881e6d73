"""Upload ids and the URLs that name them: the one place that says what an id may look like.

An id is taken from a URL only through here, so that no store ever sees one that could leave its
root. It consists of one or more segments between slashes (tusd's hooks may make such ids); a
segment has no blank, backslash, percent or control character and does not begin with a dot, which
rules out `.`, `..` and hidden files.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_SEGMENT = r"[A-Za-z0-9_~!$'()*+,;=:@-][A-Za-z0-9_~!$'()*+,;=:@.-]*"
_UPLOAD_ID = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_MAX_ID_LENGTH = 512
_SAFE = "/~!$'()*+,;=:@"
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)


def is_upload_id(value: str) -> bool:
    """Whether this may be the id of an upload; says nothing about whether there is one."""
    return len(value) <= _MAX_ID_LENGTH and _UPLOAD_ID.fullmatch(value) is not None


def is_host(value: str) -> bool:
    """Whether this is safe to write into a URL as host and port."""
    return _HOST.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class UploadUrls:
    """The URLs of uploads as one client sees them: below `base` (a path with a slash at its end),
    after `origin`.

    `origin` is empty (then `Location` is an absolute path, which needs no trust in the Host header)
    or `scheme://host`. `query` makes what stands behind the question mark of the URL of an upload,
    empty for nothing: the signature that this client needs.
    """

    base: str
    origin: str = ""
    query: Callable[[str], str] | None = None

    def location(self, upload_id: str) -> bytes:
        """The value of `Location` for this upload."""
        query = "" if self.query is None else self.query(upload_id)
        url = f"{self.origin}{self.base}{quote(upload_id, safe=_SAFE)}{query and '?'}{query}"
        return url.encode("latin-1", "replace")

    def upload_id(self, url: str) -> str:
        """The id that a part URL of `Upload-Concat` names: absolute, or relative to the creation
        URL.

        Nothing is ever fetched; scheme and host are not compared, since proxies change them. Raises
        ValueError when the path does not lie under this server's base path or holds no possible id.
        """
        parts = urlsplit(url)
        path = unquote(parts.path if parts.path.startswith("/") else self._beside(parts.path))
        upload_id = path.removeprefix(unquote(self.base))
        is_ours = upload_id != path and is_upload_id(upload_id)
        if parts.scheme not in ("", "http", "https") or not is_ours:
            raise ValueError(f"{url[:200]!r} is not the URL of an upload of this server")
        return upload_id

    def _beside(self, path: str) -> str:
        """A relative path as seen from the creation URL (RFC 3986, section 5.2)."""
        # urljoin would drop a semicolon at the end, which ids may have.
        return posixpath.normpath(f"{self.base}{path}")
