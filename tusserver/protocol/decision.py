"""What passes between the pure protocol and the code that acts: plans, outcomes, replies, and the
shape of a request.

A request is a value with two pure methods around the effect: `decide` looks at the upload as it is
and returns what to do (or raises a TusError), `settle` looks at what came of it and returns the
reply (or raises). `Uploads` knows nothing but these shapes, so that a second protocol on the same
uploads is another family of requests and not an `if`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.digests import Digests
    from tusserver.protocol.errors import Header
    from tusserver.protocol.upload import Upload


class Reply(Struct, frozen=True):
    """An answer without its HTTP framing; the shell adds what every answer carries.

    `is_versioned`: it carries `Tus-Resumable`, as all do but those to OPTIONS.
    """

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    is_versioned: bool = True


class Trailer(Enum):
    """Whether the body may end with an `Upload-Checksum` trailer (checksum-trailer extension)."""

    ABSENT = auto()
    """The framing or the connection allows none."""
    POSSIBLE = auto()
    """A chunked body may bring one unannounced."""
    ANNOUNCED = auto()
    """The `Trailer` header promised one."""


class Append(Struct, frozen=True):
    """Leave to store the bytes of one body at the end of an upload.

    At most `limit` bytes (None: as many as come), of which `expected` are announced (None:
    unknown). `declare` is a length to record with them. With a `checksum` the bytes count only
    after it has matched; with a `trailer` that may still come they count only after the body has
    ended.
    """

    limit: int | None = None
    expected: int | None = None
    declare: int | None = None
    checksum: Checksum | None = None
    trailer: Trailer = Trailer.ABSENT

    @property
    def is_staged(self) -> bool:
        """The bytes must not be seen in the offset before the end of the body."""
        return self.checksum is not None or self.trailer is not Trailer.ABSENT

    @property
    def keeps_prefix(self) -> bool:
        """The bytes of a body that breaks off are worth keeping: no digest was promised for the
        whole.
        """
        return self.checksum is None and self.trailer is not Trailer.ANNOUNCED


class Repeat(Struct, frozen=True):
    """The bytes of this body, at most `limit`, are stored already: read past them, and answer as
    the finish of the upload does.
    """

    limit: int


class Outcome(Enum):
    """How a body ended. All but COMPLETE break it off; what had arrived is stored unless a checksum
    was to be met.
    """

    COMPLETE = auto()
    TOO_LONG = auto()
    """More bytes came than the plan allowed; the limit was reached exactly."""
    MISMATCH = auto()
    """The checksum does not match; nothing of this body is stored."""
    DISCONNECTED = auto()
    IDLE = auto()
    RELEASED = auto()
    """A newer request asked for the upload."""
    SHUTDOWN = auto()
    MALFORMED = auto()
    """The framing of the body is broken."""
    REFUSED = auto()
    """What the body has brought is not wanted."""
    CANCELLED = auto()
    """The request was cancelled inside the server process."""


class UploadRequest(Protocol):
    """A request about one existing upload."""

    @property
    def upload_id(self) -> str: ...


class LookRequest(UploadRequest, Protocol):
    """Asks how an upload stands and changes nothing."""

    def reply(self, upload: Upload, capabilities: Capabilities, now: datetime) -> Reply: ...


class TerminateRequest(UploadRequest, Protocol):
    """Asks to end an upload and free what it holds."""

    def reply(self) -> Reply: ...


class AppendRequest(UploadRequest, Protocol):
    """Brings bytes for an upload."""

    def decide(self, upload: Upload, capabilities: Capabilities, now: datetime) -> Append | Repeat:
        """What to do with the body. Raises the TusError that refuses it."""
        ...

    def is_hopeless(self, upload: Upload) -> bool:
        """Whether this request would be refused whatever the running request on this upload still
        stores.
        """
        ...

    def settle(
        self, upload: Upload, outcome: Outcome, capabilities: Capabilities, now: datetime
    ) -> Reply:
        """The reply, given the upload afterwards.

        Raises the TusError that the outcome stands for.
        """
        ...


class CreateRequest(Protocol):
    """Asks for a new upload, perhaps with its first bytes or joined from partial uploads."""

    @property
    def partials(self) -> tuple[str, ...] | None:
        """The ids of the partial uploads to join; None when this is not a final upload."""
        ...

    @property
    def expected(self) -> Digests:
        """The digests of the whole file, as the client says."""
        ...

    @property
    def refuses_body(self) -> bool:
        """The request must turn out to have no body (its label is not the one of upload bytes)."""
        ...

    def decide(
        self, upload_id: str, partials: Sequence[Upload], capabilities: Capabilities, now: datetime
    ) -> tuple[Upload, Append | None]:
        """The new upload, at offset 0, and what to do with the body if there is one. Raises
        TusError.
        """
        ...

    def settle(
        self, upload: Upload, outcome: Outcome, capabilities: Capabilities, now: datetime
    ) -> Reply: ...
