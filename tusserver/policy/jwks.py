"""Keys that an issuer of tokens publishes at a URL as a JSON Web Key Set (RFC 7517).

They are fetched in a thread when they are first needed, again in the background when they are old,
and again when a token names one that is not among them. An issuer that cannot be reached leaves the
last good ones in use.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tusserver.policy.keys import KeySet, read_jwks
from tusserver.policy.tokens import KeysUnavailable, TokensUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPMessage

    from tusserver.policy.tokens import JwksTiming

_MAX_DOCUMENT = 1024 * 1024
_BLOCK = 64 * 1024
_HEADERS = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "tusserver"}

_Fetched = tuple[bytes, KeySet]
"""The document, and the keys in it."""

_logger = logging.getLogger("tusserver")


class _FetchFailed(Exception):
    """The message says what is wrong with the issuer."""


class RemoteKeys:
    """The keys behind one URL, of which only those count that fit an accepted algorithm.

    Raises TokensUnusable for a URL that is not one of http or https.
    """

    def __init__(self, url: str, accepted: frozenset[str], timing: JwksTiming) -> None:
        _check(url)
        self._url = url
        self._accepted = accepted
        self._timing = timing
        self._document = b""
        self._keys: KeySet | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._is_out = False
        self._reason = ""
        self._fetched_at = self._tried_at = self._urged_at = -math.inf

    async def keys(self) -> KeySet:
        """Waits for the network only if there are no keys, or if nobody has asked for so long that
        these may have been withdrawn.
        """
        now = self._timing.monotonic()
        since_try = now - self._tried_at
        if self._keys is None:
            if self._fetch is not None or since_try >= self._timing.retry:
                await self._fetched()
        elif since_try >= 2 * self._timing.lifespan:
            await self._fetched()
        elif now - self._fetched_at >= self._timing.lifespan and since_try >= self._timing.retry:
            self._start()
        return self._present()

    async def newer(self, than: KeySet) -> KeySet:
        now = self._timing.monotonic()
        if self._fetch is None:
            if now - self._urged_at < self._timing.cooldown:
                return than
            self._urged_at = now
        await self._fetched()
        return self._present()

    async def close(self) -> None:
        if self._fetch is not None:
            fetch, self._fetch = self._fetch, None
            fetch.cancel()
            await asyncio.wait([fetch])

    def _present(self) -> KeySet:
        if self._keys is None:
            reason = self._reason and f": {self._reason}"
            raise KeysUnavailable(f"no keys could be fetched from {self._url}{reason}")
        return self._keys

    async def _fetched(self) -> None:
        # Others wait for the same fetch: it goes on when one of them is given up.
        await asyncio.wait([self._start()])

    def _start(self) -> asyncio.Task[None]:
        if self._fetch is None:
            self._tried_at = self._timing.monotonic()
            self._fetch = asyncio.create_task(self._run())
        return self._fetch

    async def _run(self) -> None:
        try:
            document, keys = await self._download()
        except _FetchFailed as error:
            self._report(str(error))
        else:
            self._adopt(document, keys)
        finally:
            self._fetch = None

    async def _download(self) -> _Fetched:
        seconds = self._timing.timeout
        try:
            # The thread watches the time as well, but cannot while it looks up the name or reads
            # the head of the answer.
            async with asyncio.timeout(seconds + 1):
                return await _in_thread(partial(_download, self._url, seconds, self._accepted))
        except TimeoutError as error:
            raise _FetchFailed(f"no answer within {seconds:g} seconds") from error

    def _adopt(self, document: bytes, keys: KeySet) -> None:
        self._fetched_at = self._timing.monotonic()
        if not keys.keys:
            # The issuer is there and has withdrawn all of them.
            self._keys, self._document = None, b""
            self._report("there is no key among them that can verify a token")
            return
        if document != self._document:
            # The same set stays the same object, so that what was verified stays so.
            self._keys, self._document = keys, document
        if self._is_out:
            self._is_out = False
            _logger.info("the keys of the token issuer are to be had again from %s", self._url)

    def _report(self, reason: str) -> None:
        """Says it once, until keys are fetched again."""
        self._reason = reason
        if self._is_out:
            return
        self._is_out = True
        consequence = (
            "tokens cannot be verified"
            if self._keys is None
            else "the last ones that were fetched stay in use"
        )
        _logger.warning("no keys from %s: %s; %s", self._url, reason, consequence)


def _in_thread(fetch: Callable[[], _Fetched]) -> asyncio.Future[_Fetched]:
    """In one of its own: one of the loop's that is stuck would keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Fetched] = loop.create_future()

    def settle(fetched: _Fetched | _FetchFailed) -> None:
        if future.done():
            return  # Nobody waits any more.
        if isinstance(fetched, _FetchFailed):
            future.set_exception(fetched)
        else:
            future.set_result(fetched)

    def run() -> None:
        fetched: _Fetched | _FetchFailed
        try:
            fetched = fetch()
        except _FetchFailed as error:
            fetched = error
        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(settle, fetched)

    threading.Thread(target=run, name="jwks", daemon=True).start()
    return future


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # Raises ValueError if it is not a number.
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or " " in url:
        raise TokensUnusable(f"the address of the keys is not an http or https URL: {url!r}")


class _NoRedirects(HTTPRedirectHandler):
    """Leaves a redirect to be an error: it could lead anywhere, and from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _download(url: str, seconds: float, accepted: frozenset[str]) -> _Fetched:
    """Blocks. Raises _FetchFailed."""
    deadline = time.monotonic() + seconds
    request = Request(url, headers=_HEADERS)
    document = bytearray()
    try:
        with build_opener(_NoRedirects()).open(request, timeout=seconds) as response:
            while block := response.read1(_BLOCK):
                document += block
                if len(document) > _MAX_DOCUMENT:
                    raise _FetchFailed(f"the answer is longer than {_MAX_DOCUMENT} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer takes too long")
        return bytes(document), read_jwks(bytes(document), accepted)
    except HTTPError as error:
        error.close()
        raise _FetchFailed(f"it answered with {error.code}") from error
    except URLError as error:
        raise _FetchFailed(str(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _FetchFailed(str(error) or type(error).__name__) from error
