"""What is to be done, cut into tasks: a file each, or parts of a large one."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.client.body import OpenFile
from tusserver.client.errors import ClientError
from tusserver.client.observing import Observed
from tusserver.client.splitting import Split, abandon, forget_parts, offers_concatenation, starts_of
from tusserver.client.storage import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tusserver.client.observing import Display
    from tusserver.client.session import Session
    from tusserver.client.sources import Source
    from tusserver.client.storage import UrlStorage
    from tusserver.client.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How to upload: `url` is where uploads are created, `storage` None means to neither go on with
    earlier uploads nor make it possible. `parallel` is the number of connections, `in_parts` tells
    whether one large file may have several of them.
    """

    url: str
    tokens: Tokens
    storage: UrlStorage | None
    chunk_size: int | None = None
    checksum: bool = False
    retries: int = 10
    parallel: int = 1
    in_parts: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A file of that number, or one part of it."""

    number: int
    source: Source
    part: int | None = None


class Planner:
    """Makes the tasks. `splits` are the files that go in parts, by their numbers, each with the
    observer of all its bytes.
    """

    def __init__(self, plan: Plan, display: Display) -> None:
        self.splits: dict[int, tuple[Split, Observed]] = {}
        self._plan = plan
        self._display = display

    def tasks(self, session: Session, sources: Sequence[Source]) -> Iterator[Task]:
        """In the order of the files. Raises Interrupted, and OSError if the storage fails."""
        connections = self._connections_of_large(session, sources)
        for number, source in enumerate(sources):
            session.stop.check()
            if self._is_split(session, number, source, connections):
                for part in range(len(self.splits[number][0])):
                    yield Task(number, source, part)
            else:
                yield Task(number, source)

    def _connections_of_large(self, session: Session, sources: Sequence[Source]) -> int:
        """How many connections each file that is worth it may have."""
        parallel = self._plan.parallel
        if not self._plan.in_parts:
            return 1
        large = sum(bool(starts_of(source.size or 0, parallel)) for source in sources)
        connections = parallel // max(large, 1)
        return connections if large and connections > 1 and offers_concatenation(session) else 1

    def _is_split(self, session: Session, number: int, source: Source, connections: int) -> bool:
        """Whether the file goes in parts: it is large, or has begun so in an earlier run."""
        storage = self._plan.storage
        if source.path is None:
            return False
        key = key_of(self._plan.url, source)
        known = storage.get_item(key) if storage is not None else None
        starts = known.starts if known is not None else starts_of(source.size or 0, connections)
        if not starts:
            return False
        with ExitStack() as stack:
            try:
                stack.enter_context(storage.locked(key) if storage is not None else nullcontext())
                file = stack.enter_context(OpenFile(source.path))
            except ClientError:
                return False  # It fails by the same once more, and says so.
            observer = Observed(self._display, source)
            if known is not None and storage is not None and known.fingerprint != file.fingerprint:
                observer.anew("the file has changed since")
                abandon(session, forget_parts(storage, key))
                starts = starts_of(file.size, connections)
            if not starts:
                return False
            split = Split(
                source, file, starts, observer, stack.pop_all(),
                chunk_size=self._plan.chunk_size, checksum=self._plan.checksum,
                storage=storage, key=key,
            )  # fmt: skip
            self.splits[number] = split, observer
        return True
