"""Several files at once, each by a thread with a connection of its own, a large one by several."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tusserver.client.answers import printable
from tusserver.client.body import OpenFile
from tusserver.client.errors import ClientError, FileChanged, Interrupted
from tusserver.client.observing import Observed, Outcome
from tusserver.client.patience import Patience
from tusserver.client.piping import PipeUpload
from tusserver.client.planning import Planner
from tusserver.client.session import Session
from tusserver.client.stopping import Stop, stops_on_signals
from tusserver.client.storage import key_of
from tusserver.client.uploader import Client, StreamingUploader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tusserver.client.observing import Display
    from tusserver.client.planning import Plan, Task
    from tusserver.client.sources import Source

_LOOK = 0.05
_FAREWELL = 3.0
"""Seconds that threads have to end after a signal. They hold nothing that would be lost."""


class Batch:
    """Uploads a number of files. `stop.signal` tells whether, and by what, it was interrupted."""

    def __init__(self, plan: Plan, display: Display) -> None:
        self.stop = Stop()
        self._plan = plan
        self._display = display
        self._planner = Planner(plan, display)
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._outcomes: dict[int, Outcome] = {}
        self._crash: BaseException | None = None

    def run(self, sources: Sequence[Source]) -> list[Outcome]:
        """One outcome for each file, in their order. Raises OSError if the storage fails."""
        with stops_on_signals(self.stop):
            self._work(sources)
        if self._crash is not None:
            raise self._crash
        outcomes = [
            self._outcomes.get(number) or self._interrupted(number, source)
            for number, source in enumerate(sources)
        ]
        if self._plan.storage is not None and all(outcome.is_good for outcome in outcomes):
            for source in sources:
                if source.path is not None:
                    self._plan.storage.remove_item(key_of(self._plan.url, source))
        return outcomes

    def _interrupted(self, number: int, source: Source) -> Outcome:
        """Of a file that nobody came to, or whose parts were not all begun."""
        outcome = Outcome(source, "interrupted")
        if number not in self._planner.splits:
            return outcome
        split, observer = self._planner.splits[number]
        split.close()
        return replace(outcome, sent=observer.bytes_sent, seconds=observer.seconds)

    def _work(self, sources: Sequence[Source]) -> None:
        planner = threading.Thread(target=self._guarded, args=(self._fill, sources), daemon=True)
        workers = [
            threading.Thread(target=self._guarded, args=(self._serve,), daemon=True)
            for _ in range(self._plan.parallel)
        ]
        for thread in (planner, *workers):
            thread.start()
        deadline = None
        while running := [thread for thread in (planner, *workers) if thread.is_alive()]:
            running[0].join(_LOOK)
            if not self.stop.is_set:
                continue
            deadline = deadline or time.monotonic() + _FAREWELL
            # Again and again: a thread may just have been about to connect.
            self.stop.cut()
            if time.monotonic() > deadline:
                return

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """Runs a thread: what it raises is raised again by run()."""
        session = Session(self._plan.url, self._plan.tokens, self.stop)
        try:
            work(session, *arguments)
        except Interrupted:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._crash = error
            self.stop.set()
        finally:
            session.close()

    def _fill(self, session: Session, sources: Sequence[Source]) -> None:
        """Puts the tasks into the queue, and behind them one None for each worker."""
        try:
            for task in self._planner.tasks(session, sources):
                self._queue.put(task)
        finally:
            for _ in range(self._plan.parallel):
                self._queue.put(None)

    def _serve(self, session: Session) -> None:
        while (task := self._queue.get()) is not None:
            self.stop.check()
            if task.part is None:
                outcome: Outcome | None = self._send_file(session, task.source)
            else:
                outcome = self._send_part(session, task.number, task.part)
            if outcome is not None:
                self._outcomes[task.number] = outcome
                self._display.ended(outcome)

    def _send_part(self, session: Session, number: int, part: int) -> Outcome | None:
        """None while other parts of the file are missing."""
        split, observer = self._planner.splits[number]
        observer.begin()
        patience = Patience(self._plan.retries, self.stop, observer.paused)
        if not split.send(part, session, patience):
            return None
        try:
            if split.failure is not None:
                raise split.failure
            url, headers = split.join(session, patience)
        except ClientError as error:
            if isinstance(error, FileChanged) or _is_hopeless(error):
                split.discard(session)
            return _failed(split.source, error, observer)
        finally:
            split.close()
        return _good(split.source, "uploaded", split.size, url, headers, observer)

    def _send_file(self, session: Session, source: Source) -> Outcome:
        storage = self._plan.storage
        observer = Observed(self._display, source)
        observer.begin()
        patience = Patience(self._plan.retries, self.stop, observer.paused)
        try:
            if source.path is None:
                return self._send_pipe(session, source, patience, observer)
            key = key_of(self._plan.url, source)
            with (
                storage.locked(key) if storage is not None else nullcontext(),
                OpenFile(source.path) as file,
            ):
                return self._send_whole(session, source, file, patience, observer, key)
        except ClientError as error:
            return _failed(source, error, observer)

    def _send_pipe(
        self, session: Session, source: Source, patience: Patience, observer: Observed
    ) -> Outcome:
        pipe = PipeUpload(
            session, source, patience, observer, chunk_size=self._plan.chunk_size
        )  # fmt: skip
        pipe.upload()
        return _good(source, "uploaded", pipe.offset, pipe.url, pipe.response_headers, observer)

    def _send_whole(
        self,
        session: Session,
        source: Source,
        file: OpenFile,
        patience: Patience,
        observer: Observed,
        key: str,
    ) -> Outcome:
        plan = self._plan
        uploader = StreamingUploader(
            Client(session), source, file, patience, observer,
            chunk_size=plan.chunk_size, checksum=plan.checksum, storage=plan.storage, key=key,
        )  # fmt: skip
        was_finished = uploader.recall()
        try:
            uploader.upload()
        except ClientError as error:
            if plan.storage is not None and _is_hopeless(error):
                plan.storage.remove_item(key)
            raise
        if plan.storage is not None:
            plan.storage.finish_item(key)
        state = "kept" if was_finished and not observer.bytes_sent else "uploaded"
        return _good(
            source, state, file.size, uploader.url, uploader.response_headers, observer
        )  # fmt: skip


def _is_hopeless(error: ClientError) -> bool:
    """Whether nothing is to be gained by going on with this upload; with another token it may."""
    return error.is_final and error.status not in (401, 403)


def _failed(source: Source, error: ClientError, observer: Observed) -> Outcome:
    state = "interrupted" if isinstance(error, Interrupted) else "failed"
    return Outcome(
        source, "refused" if error.is_final else state, sent=observer.bytes_sent,
        seconds=observer.seconds, message=error.message, status=error.status,
    )  # fmt: skip


def _good(
    source: Source,
    state: str,
    size: int,
    url: str | None,
    headers: Mapping[str, str],
    observer: Observed,
) -> Outcome:
    told = {name.lower(): value for name, value in headers.items()}
    place = told.get("upload-place")
    return Outcome(
        source, state, size, observer.bytes_sent, observer.seconds, url,
        place=printable(unquote(place)) if place else None, digest=told.get("repr-digest"),
    )  # fmt: skip
