"""What happens to uploads, as values for those who listen; delivery to the outside world is built
upon this. And hints of it, from process to process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec looks at it
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.protocol.upload import Upload


@dataclass(frozen=True, slots=True)
class UploadCreated:
    """A new upload exists."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadFinished:
    """The last byte is stored, or the final upload is joined, and all that was to be done with it
    is done.

    Comes once for each upload while the server runs, and not for partial ones. Where uploads are
    finished in steps it comes again after a crash that may have lost it, with the same
    `upload.finish.event_id`.
    """

    upload: Upload


@dataclass(frozen=True, slots=True)
class FinishRefused:
    """A check has refused the upload for good; `upload.finish` says which, and why."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadTerminated:
    """A client ended the upload."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class UploadExpired:
    """The upload was removed because its time was over."""

    upload_id: str


Event = UploadCreated | UploadFinished | FinishRefused | UploadTerminated | UploadExpired
Listener = Callable[[Event], None]
"""Called on the event loop after the fact; must return quickly and not raise."""


class Hint(Struct, frozen=True, array_like=True):
    """Something new about an upload, for whoever shows it: `offset` bytes of it are stored and
    verified, and it is not complete; None: more than that has changed, and only a look tells what.
    `moment` is when that was, aware and in UTC.

    It says nothing that somebody may not know who may not see the upload, nor whose that is.
    """

    upload_id: str
    offset: int | None
    moment: datetime


class Listening(Protocol):
    """Somebody hears hints until this is closed."""

    @property
    def since(self) -> float | None:
        """From which moment on (`time.monotonic`) every hint has been heard that did not get lost;
        None while none can be heard.
        """
        ...

    async def close(self) -> None:
        """Ends it. Never raises."""
        ...


class Bus(Protocol):
    """Carries hints between all processes of a site. Any of them may get lost, come late or come
    twice, so that nothing may depend on them; and nobody ever waits for the bus but who wants to.
    """

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to hear hints, in whatever process; for any thread. Known within
        some seconds.
        """
        ...

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Tells these, or fails silently. Returns within a second or two."""
        ...

    def listen(self, hear: Callable[[Hint], None]) -> Listening:
        """From now on `hear` is called on the event loop with each hint of every process, of this
        one as well; it must be quick and not raise.
        """
        ...
