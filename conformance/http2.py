"""Whether a server takes HTTP/2. No request is made by it: the standard library cannot."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.target import Target


def speaks_http2(target: Target) -> bool:
    """Whether the server picks `h2` when it is offered."""
    context = target.trust()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with suppress(OSError), target.connect(tls=context) as wire:
        chosen = wire.socket
        return isinstance(chosen, ssl.SSLSocket) and chosen.selected_alpn_protocol() == "h2"
    return False
