"""What the use cases share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime

    from tusserver.admission import Admission
    from tusserver.finishing import Finisher
    from tusserver.joining import Joiner
    from tusserver.keeping import Keeper
    from tusserver.lock.base import Locker
    from tusserver.protocol.decision import Outcome, Reply
    from tusserver.protocol.upload import Upload
    from tusserver.rules import UploadsOptions
    from tusserver.settling import Settler
    from tusserver.sniffing import Sniffer
    from tusserver.store.base import Store
    from tusserver.telling import Teller


@dataclass(frozen=True, slots=True)
class Ground:
    """One store, its locks, and everybody who works on it."""

    store: Store
    locker: Locker
    options: UploadsOptions
    clock: Callable[[], datetime]
    settler: Settler
    finisher: Finisher
    keeper: Keeper
    teller: Teller
    sniffer: Sniffer
    joiner: Joiner | None
    admission: Admission | None


class Stored(Struct, frozen=True):
    """What came of a body: the upload, how the body ended, the finish that it began or found under
    way, and the reply that holds unless the finish says otherwise.
    """

    upload: Upload
    outcome: Outcome
    finishing: asyncio.Task[Upload] | None = None
    reply: Reply | None = None
