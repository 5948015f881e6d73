"""HTTP as the uploader needs it: one kept-alive connection per thread, answers turned into errors,
and sockets that can be cut from another thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tusserver.client.answers import failure, printable
from tusserver.client.errors import Interrupted, Passing, Refused
from tusserver.client.tokens import BearerAuth, Tokens

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

    from tusserver.client.stopping import Stop

VERSION = {"Tus-Resumable": "1.0.0"}
CONNECT_TIMEOUT = 15.0
SEND_TIMEOUT = 60.0
"""Seconds that one block of a body may take, see BLOCK in `body`."""
ANSWER_TIMEOUT = 330.0
"""Seconds: a server may scan and move a whole file before its last answer."""


class Session:
    """Requests to one server, from one thread."""

    def __init__(self, url: str, tokens: Tokens, stop: Stop) -> None:
        """`url` names the origin that gets the token."""
        self.url = url
        self.stop = stop
        self._tokens = tokens
        self._requests = requests.Session()
        self._requests.auth = BearerAuth(tokens, url)
        self._requests.headers["Accept"] = "application/json, */*;q=0.5"
        # A compressed download would have another length than the file.
        self._requests.headers["Accept-Encoding"] = "identity"
        self._requests.headers["User-Agent"] = "tusserver-client"
        for scheme in ("http://", "https://"):
            self._requests.mount(scheme, _Adapter(stop))

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        data: Iterable[bytes] | bytes | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """The answer if it is a success. Raises ClientError."""
        self.stop.check()
        token = self._tokens.current
        try:
            answer = self._requests.request(
                method,
                url,
                headers={**VERSION, **(headers or {})},
                data=data,
                stream=stream,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT),
            )
        except requests.RequestException as error:
            raise self.translated(error) from error
        if answer.ok and answer.status_code < 300:
            return answer
        refusal = failure(answer)
        answer.close()
        if answer.status_code == 401 and self._tokens.renew(token):
            raise Passing("the token has been renewed", status=401, retry_after=0.0)
        raise refusal

    def translated(self, error: requests.RequestException) -> Interrupted | Passing | Refused:
        """What an error of the library means here."""
        if self.stop.is_set:
            return Interrupted()
        reason = printable(_root(error))
        if isinstance(error, requests.exceptions.SSLError):
            return Refused(f"no secure connection: {reason}")
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            return Passing(f"no connection: {reason}")
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return Passing(f"the connection broke: {reason}")
        return Refused(f"{type(error).__name__}: {reason}")

    def close(self) -> None:
        self._requests.close()


def _root(error: BaseException) -> str:
    """The words of the innermost cause; the libraries wrap it up to four times."""
    found: BaseException = error
    while True:
        inner = found.__cause__ or found.__context__
        inner = inner or getattr(found, "reason", None) or _wrapped(found)
        if not isinstance(inner, BaseException):
            break
        found = inner
    if isinstance(found, OSError) and found.strerror:
        return found.strerror
    return str(found) or type(found).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    return next((found for found in error.args if isinstance(found, BaseException)), None)


class _Watched:
    """A connection whose socket the Stop knows, and whose bodies have a time limit of their own."""

    stop: Stop
    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # A mix-in of connections.
        if self.sock is not None:
            self.sock.settimeout(SEND_TIMEOUT)
            self.stop.watch(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(SEND_TIMEOUT)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _Adapter(HTTPAdapter):
    """Makes connections that can be cut."""

    def __init__(self, stop: Stop) -> None:
        self._pools = _pools(stop)
        super().__init__(pool_connections=4, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the library has it
        manager = super().proxy_manager_for(*args, **kwargs)
        if set(manager.pool_classes_by_scheme.values()) == {
            HTTPConnectionPool,
            HTTPSConnectionPool,
        }:
            manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(stop: Stop) -> dict[str, type[HTTPConnectionPool]]:
    plain = type("Plain", (_Watched, HTTPConnection), {"stop": stop})
    secure = type("Secure", (_Watched, HTTPSConnection), {"stop": stop})
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
