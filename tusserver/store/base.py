"""What a store must do, as small contracts: one for every store and one for each extension that a
store may support.

The extensions on offer are derived from which of these contracts a store satisfies. Whoever calls a
method that changes an upload holds the lock of that upload; whoever only looks holds none. The
protocol layer has judged all input; a store checks nothing of that again. Every implementation
passes `tests/store/contract.py`.

Errors that a store may raise, all of them refusals of `tusserver.protocol.errors`: UploadNotFound,
UploadDamaged, StorageFull, StorageFailed, StorageUnavailable (passing). Exceptions of the library
behind a store never come out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from collections.abc import Set as AbstractSet

    from tusserver.protocol.checksum import Checksum
    from tusserver.protocol.decision import Append, Outcome
    from tusserver.protocol.finish import Finish
    from tusserver.protocol.upload import Upload


class BodyInterrupted(Exception):
    """The body ended before its end, for the reason in `outcome`; what was read before is good."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Body(Protocol):
    """The bytes of one request as a store consumes them: in order, each byte once."""

    async def read(self) -> bytes | bytearray:
        """The next bytes, as many as are there; empty at the end.

        Raises BodyInterrupted, and with the outcome TOO_LONG once more bytes come than the plan
        allows; up to the limit they have been returned by then.
        """
        ...

    def interrupt(self, outcome: Outcome) -> None:
        """Makes reading raise this outcome, also for one who waits for bytes right now."""
        ...

    @property
    def direct(self) -> DirectBody | None:
        """The same body as one that can be had past the event loop, where it can."""
        ...


class DirectBody(Body, Protocol):
    """A body that a thread can take straight from the connection, past the event loop.

    A store that uses this calls `ready`, then `drain` in a thread, and so on until `drain` returns
    True; it does not call `read` then.
    """

    async def ready(self) -> None:
        """Returns when there may be bytes to drain; at once the first time.

        Raises BodyInterrupted.
        """
        ...

    @property
    def is_slow(self) -> bool:
        """So little comes that draining it takes no time worth a thread."""
        ...

    def drain(self, sink: Sink) -> bool:
        """Blocking, for a thread unless the body `is_slow`: has `sink` store the bytes as they
        come.

        Returns True at the end of the body, False to be called again when it is `ready`. Raises
        BodyInterrupted, and what `sink` raises. All that was taken from the connection is stored.
        """
        ...


class Sink(Protocol):
    """Where a direct body puts its bytes: again and again a `buffer`, then `store`."""

    @property
    def gathers(self) -> bool:
        """Bytes are better gathered until the buffer is full, as long as they keep coming."""
        ...

    def buffer(self) -> memoryview:
        """Room for the next bytes, at least for one."""
        ...

    def store(self, size: int) -> None:
        """Stores the first `size` bytes of the last buffer. Raises StorageFull, StorageFailed."""
        ...


class Appended(Struct, frozen=True):
    """What came of an append: the upload afterwards, and how the body ended."""

    upload: Upload
    outcome: Outcome


@runtime_checkable
class Store(Protocol):
    """Keeps uploads. Sizes and offsets in bytes."""

    async def start(self) -> None:
        """Makes the store ready for use. Raises StoreUnusable with a sentence for the operator."""
        ...

    async def close(self) -> None:
        """Frees what `start` took."""
        ...

    async def create(self, upload: Upload) -> Upload:
        """Adds this upload, which has no bytes yet, and returns it as it is stored.

        Raises StorageFull or StorageFailed, and then nothing is left of it.
        """
        ...

    async def get(self, upload_id: str, *, is_held: bool = False) -> Upload:
        """The upload as it stands, without changing anything; needs no lock, also while somebody
        appends. `is_held` tells that the caller has the lock, so that nobody does.

        Its offset counts verified bytes only. Raises UploadNotFound, UploadDamaged,
        StorageUnavailable.
        """
        ...

    async def open(self, upload_id: str) -> Upload:
        """As `get`, for the holder of the lock who is going to change the upload: mends first what
        a crash left.
        """
        ...

    async def append(
        self, upload: Upload, plan: Append, body: Body, late_checksum: Callable[[], Checksum | None]
    ) -> Appended:
        """Stores the bytes of `body` behind `upload.offset`, and keeps to `plan`. `upload` is what
        `create` or `open` has returned to the holder of the lock.

        A body that breaks off leaves what had arrived, unless the plan has a checksum or an
        announced trailer, then nothing. For a plan with a trailer `late_checksum` is asked after
        the last byte for what the trailer says; if it raises, nothing of the body is left.
        `plan.declare` is recorded unless the body turns out not to be wanted. Raises StorageFull
        and StorageFailed; the bytes known to be good stay, and the offset is true. However it ends,
        no byte outside [offset, offset + limit) has changed.
        """
        ...

    def read(self, upload: Upload, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes [start, end) of a finished upload, in buffers of a bounded size. Raises
        UploadNotFound at once or later.
        """
        ...

    def ids(self) -> AsyncIterator[str]:
        """The ids of all uploads in no particular order, those with a damaged record included;
        memory stays bounded.
        """
        ...


@runtime_checkable
class ProgressingStore(Protocol):
    """A store that says how far appends have got while they run."""

    def on_stored(self, listener: Callable[[str, int], None]) -> None:
        """From now on `listener(upload_id, offset)` is called, by any thread, once `get` gives a
        new offset because of an append that goes on, but for the one that completes the upload. For
        each upload in order. It is called often, and must be quick and not raise.
        """
        ...


@runtime_checkable
class RemoteStore(Protocol):
    """A store behind a connection, which those need as well who only look at it."""

    async def connect(self) -> None:
        """As much of `start` as looking needs; changes nothing anywhere. Raises StoreUnusable."""
        ...


@runtime_checkable
class TerminatingStore(Protocol):
    """Termination extension, and expiration: uploads can be removed."""

    async def terminate(self, upload_id: str) -> None:
        """Removes the upload and all that belongs to it. Raises UploadNotFound. A crash in between
        leaves leftovers.
        """
        ...


@runtime_checkable
class ConcatenatingStore(Protocol):
    """Concatenation extension. A partial that is finished never changes again, so it needs no lock
    here.
    """

    async def concatenate(self, upload: Upload, partials: Sequence[Upload]) -> Upload:
        """Fills the final upload with the bytes of these finished partials, in this order, all at
        once or not at all.

        `upload` has been created, with or without its length; the upload that is returned is
        finished.
        """
        ...

    async def await_partials(self, upload: Upload, partials: Sequence[Upload]) -> None:
        """Notes that this final upload waits for these partials, for `waiting_for`; the note
        outlives a crash.
        """
        ...

    async def waiting_for(self, partial_id: str) -> Sequence[str]:
        """The ids of the final uploads that wait for this partial."""
        ...


@runtime_checkable
class SyncingStore(Protocol):
    """A store whose bytes may be lost with the power as long as they have not been synced."""

    async def sync(self, upload_id: str) -> None:
        """Makes the bytes stored so far survive a loss of power. The caller holds the lock."""
        ...


@runtime_checkable
class FinishingStore(Protocol):
    """A store that keeps, with an upload, what becomes of it after its last byte."""

    async def record_finish(self, upload: Upload, finish: Finish) -> Upload:
        """Replaces `upload.finish`, for good where records are, and returns the upload as it is
        now. For the holder of the lock.

        Once it says that the bytes have left (`Finish.has_left`), those in the store are removed,
        and the upload still counts as complete.
        """
        ...


class PlaceRefused(Exception):
    """The upload cannot go to this place, now or ever; a sentence for the client."""


@runtime_checkable
class PlacingStore(FinishingStore, Protocol):
    """A store that can hand a complete upload over to other programs: to their folders, or to keys
    of theirs in the bucket.
    """

    async def place(
        self,
        upload: Upload,
        folders: Sequence[str],
        name: str,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Upload:
        """Moves the bytes into these folders, below the root that the store was given, under this
        name or one like it; never over what is there unless it was told to. Returns the upload with
        its `finish.place`, recorded. For the holder of the lock; after a crash it is called again.
        `on_step` hears, perhaps in a thread, of every point that a crash could come after.

        Raises PlaceRefused, StorageFull, StorageFailed; then the upload stays where it was.
        """
        ...


@runtime_checkable
class QuarantiningStore(Protocol):
    """A store that can keep what is to be looked at by a person."""

    async def set_aside(self, upload: Upload, directory: str) -> None:
        """Gives the bytes a second name, their id, in this directory, which is made if it is
        missing. May be called again.
        """
        ...


@runtime_checkable
class DescriptorStore(Protocol):
    """A store whose bytes lie in plain files of this machine."""

    async def descriptor(self, upload: Upload) -> int:
        """A descriptor to read the bytes of a complete upload; the caller closes it. Raises
        UploadNotFound.
        """
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a store that a crash, another program or a fault left behind.

    `kind` is a stable word for programs; `problem` says what it is, `remedy` what mends it, both
    for a person. `is_leftover` if it belongs to no upload and may simply be removed.
    """

    upload_id: str
    kind: str
    problem: str
    remedy: str
    is_leftover: bool


@runtime_checkable
class InspectingStore(Protocol):
    """A store that can be checked and cleaned from outside the protocol (`tusserver verify`, the
    sweeper).
    """

    def findings(self) -> AsyncIterator[Finding]:
        """What looks wrong, without locks: each is to be confirmed by `mend` under the lock of its
        upload.
        """
        ...

    async def mend(self, finding: Finding) -> bool:
        """Mends this if it is still so and says whether it was. The caller holds the lock of
        `finding.upload_id`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment by the clock that the store's times of modification come from, and the same moment
    by one that nobody sets; in seconds.
    """

    moment: float
    steady: float


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier survey has shown: uploads unchanged since `mark` need not be looked at again,
    unless their last byte came in one of the `ripened` spans of time (seconds since the epoch,
    first one not included), or their id is in `again`.
    """

    mark: Mark
    ripened: Sequence[tuple[float, float]]
    again: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One step of a survey: how many uploads it has passed, which of them are wanted, and what it
    has found that belongs to no upload.
    """

    passed: int
    wanted: Sequence[str]
    leftovers: Sequence[Finding] = ()


@runtime_checkable
class SurveyingStore(InspectingStore, Protocol):
    """A store that goes through all its uploads in steps that are short and far away from the event
    loop, and need not read each of them each time.
    """

    async def mark(self) -> Mark | None:
        """The present moment, for a later survey to compare with; None if it cannot be told."""
        ...

    def survey(
        self, wants: Callable[[Upload], bool], known: Known | None = None
    ) -> AsyncIterator[Surveyed]:
        """Tells which uploads are wanted, and the leftovers among what `findings` tells, in bounded
        memory.

        `wants` is asked in another thread. What cannot be read is wanted, too, since somebody has
        to say so; damaged records are not. With `known`, uploads are passed over unread that cannot
        have become wanted.
        """
        ...


class StoreUnusable(Exception):
    """The store cannot work where it was told to; the message is one sentence for the operator."""
