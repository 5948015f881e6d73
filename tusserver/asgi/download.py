"""Sends the bytes of a finished upload."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tusserver.asgi.answer import Responder
    from tusserver.protocol.download import Download
    from tusserver.uploads import Uploads


async def send_download(
    request: Download,
    uploads: Uploads,
    responder: Responder,
) -> None:
    """Answers a GET. Raises UploadNotFound, UploadGone; never holds a lock, since finished bytes do
    not change.
    """
    upload = await uploads.finished(request.upload_id)
    reply, span = request.reply(upload)
    if span is None:
        await responder.reply(reply)
        return
    async with aclosing(uploads.store.read(upload, span.start, span.end)) as buffers:
        # Before the head: whoever a placed file is for may have taken it away.
        first = await anext(buffers, b"")
        await responder.start(reply, content_length=span.end - span.start)
        await responder.send({"type": "http.response.body", "body": first, "more_body": True})
        async for buffer in buffers:
            if responder.extension is not None and responder.extension.is_gone:
                break
            await responder.send({"type": "http.response.body", "body": buffer, "more_body": True})
    await responder.send({"type": "http.response.body", "body": b""})
