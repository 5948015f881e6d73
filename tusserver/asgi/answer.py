"""From replies and refusals to ASGI messages: the headers that every answer carries, and the bodies
of refusals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.protocol.capabilities import TUS_RESUMABLE
from tusserver.protocol.core import NO_STORE
from tusserver.protocol.decision import Reply
from tusserver.protocol.download import NOSNIFF

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Send

    from tusserver.asgi.body import RequestExtension
    from tusserver.protocol.errors import Header, TusError


def refusal(error: TusError, request_headers: Iterable[Header]) -> Reply:
    """The answer to a refused request: a stable code and a sentence, as JSON for clients that ask
    for JSON, else as text.
    """
    if _wants_json(request_headers):
        body = json.dumps({"code": error.code, "message": error.message}).encode() + b"\n"
        content_type = b"application/json"
    else:
        body = f"{error.code}: {error.message}\n".encode()
        content_type = b"text/plain; charset=utf-8"
    headers = (*error.headers, (b"content-type", content_type), NOSNIFF, NO_STORE)
    return Reply(error.status, headers, body)


def _wants_json(request_headers: Iterable[Header]) -> bool:
    return any(
        name == b"accept" and b"application/json" in value.lower()
        for name, value in request_headers
    )


@dataclass(slots=True)
class Responder:
    """Sends the one answer of one request. `common` are headers that it carries whatever it is;
    `method` is the real one.

    `status` is what has been sent, 0 as long as nothing has.
    """

    send: Send
    method: str
    common: tuple[Header, ...]
    extension: RequestExtension | None = None
    status: int = 0

    async def reply(self, reply: Reply) -> None:
        """Sends a whole reply."""
        # A HEAD has no body whatever the answer, and neither has its length; nor have 204 and 304.
        body = b"" if self.method == "HEAD" else reply.body
        length = None if reply.status in (204, 304) else len(body)
        if self.extension is not None:
            self.status = reply.status
            await self.extension.answer(reply.status, self._headers(reply, length), body)
            return
        await self.start(reply, length)
        await self.send({"type": "http.response.body", "body": body})

    async def start(self, reply: Reply, content_length: int | None) -> None:
        """Sends the head of a reply whose body, of so many bytes, the caller sends."""
        self.status = reply.status
        headers = self._headers(reply, content_length)
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})

    def break_off(self) -> bool:
        """Ends an answer that has begun and cannot be completed. False if none has begun, or if
        this server breaks it off only if it sees an error.
        """
        if not self.status or self.extension is None:
            return False
        self.extension.break_answer()
        return True

    def _headers(self, reply: Reply, content_length: int | None) -> list[Header]:
        headers = [*reply.headers, *self.common]
        if reply.is_versioned:
            headers.append(TUS_RESUMABLE)
        if content_length is not None:
            headers.append((b"content-length", b"%d" % content_length))
        return headers
