"""What happens between the last byte and the last reply, exactly once.

An upload that is to be finished in steps says so in its record from the beginning (`Finish`), so
that no crash can make it look finished. Its steps run in a task of their own, which holds the lock:
whoever asked may go away and come back, and joins the finish that is under way. Each step records
its result before the next one begins, so that after a crash the finish goes on where it stood. The
outcome, done or refused, is recorded with the id of the one event that tells of it; the event is
told again after a crash until the record says that it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from msgspec.structs import replace

from tusserver.lock.base import require_held
from tusserver.protocol.errors import StorageFailed, TusError, UploadNotFound
from tusserver.protocol.finish import Finish, FinishState, Refusal
from tusserver.protocol.refusals import FinishUnavailable, UploadRefused
from tusserver.protocol.upload import Partial, Upload
from tusserver.store.base import FinishingStore, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from tusserver.lock.base import Lock, Locker
    from tusserver.rules import Policy

_logger = logging.getLogger("tusserver")


class FinishStep(Protocol):
    """One thing that is done with a complete upload."""

    @property
    def name(self) -> str:
        """For logs, and for tests that kill the server between the steps."""
        ...

    def is_needed(self, upload: Upload) -> bool:
        """Whether it is still to be done, by what the record says."""
        ...

    async def run(self, upload: Upload) -> Upload:
        """Does it and returns the upload with its result in `finish`, recorded or not. May be
        called again after a crash in its middle.

        Raises UploadRefused for good; FinishUnavailable and other errors if it is to be tried again
        later.
        """
        ...


@runtime_checkable
class MeasuredStep(FinishStep, Protocol):
    """A step that can tell how far it is."""

    def done(self, upload_id: str) -> int | None:
        """How many bytes of this upload have been dealt with; None before it begins."""
        ...


class Work(NamedTuple):
    """The step that is under way; in bytes, None where it cannot tell."""

    step: str
    done: int | None
    total: int | None


class Finisher:
    """Finishes the uploads of one store. `on_ended` is told of each outcome, under the lock."""

    def __init__(
        self,
        store: Store,
        locker: Locker,
        policy: Policy,
        clock: Callable[[], datetime],
        on_ended: Callable[[Upload], Awaitable[None]],
    ) -> None:
        assert not policy.steps or isinstance(store, FinishingStore)
        self._store = store
        self._locker = locker
        self._steps = policy.steps
        self._finishes = policy.finishes
        self._clock = clock
        self._on_ended = on_ended
        self._in_background = policy.finishes_in_background
        self._on_step = policy.on_step
        self._retry = policy.retry
        self._running: dict[str, asyncio.Task[Upload]] = {}
        self._retrying: set[asyncio.Task[None]] = set()
        self._at: dict[str, FinishStep] = {}

    @property
    def has_steps(self) -> bool:
        """Whether anything is done with complete uploads here."""
        return bool(self._steps)

    async def close(self) -> None:
        """Breaks off what is under way; it goes on after the next start."""
        tasks = [*self._running.values(), *self._retrying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, upload: Upload, expected: tuple[tuple[str, str], ...] = ()) -> Upload:
        """A new upload, with the note that it will have to be finished; `expected` are the digests
        that its client gave.
        """
        if not self._steps or isinstance(upload.concat, Partial):
            return upload
        return replace(upload, finish=Finish(in_background=self._in_background, expected=expected))

    async def adopt(self, upload: Upload) -> Upload:
        """The same for an upload that was begun when nothing was to be done with it. For the holder
        of its lock.
        """
        if upload.finish is not None or upload.is_complete:
            return upload
        begun = self.begin(upload)
        return upload if begun.finish is None else await self._record(begun, begun.finish)

    def running(self, upload_id: str) -> asyncio.Task[Upload] | None:
        """The finish of this upload that is under way in this process."""
        return self._running.get(upload_id)

    def work(self, upload: Upload) -> Work | None:
        """What this process is doing with an upload."""
        step = self._at.get(upload.upload_id)
        if step is None:
            return None
        done = step.done(upload.upload_id) if isinstance(step, MeasuredStep) else None
        return Work(step.name, done, None if done is None else upload.length)

    def is_unfinished(self, upload: Upload) -> bool:
        """Whether a finish is to be begun or carried on, or its outcome still to be told; for any
        thread.
        """
        finish = upload.finish
        if not self._finishes:
            return False
        return upload.is_due or (finish is not None and finish.is_over and not finish.is_told)

    def start(self, upload: Upload, lock: Lock) -> asyncio.Task[Upload]:
        """Begins the finish, or carries it on; the lock is the finish's from here on."""
        task = asyncio.create_task(self._hold(upload, lock))
        self._running[upload.upload_id] = task
        return task

    async def wait(
        self, task: asyncio.Task[Upload], on_stop: Callable[[Callable[[], None]], None]
    ) -> Upload:
        """The upload with its outcome. Raises FinishUnavailable, or why it could not be made; the
        finish goes on when whoever waits is cancelled. `on_stop` is given what to call when nobody
        can wait any longer.
        """
        if not task.done():
            stopped = asyncio.Event()
            on_stop(stopped.set)
            stop = asyncio.create_task(stopped.wait())
            try:
                await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stop.cancel()
        if not task.done() or task.cancelled():
            raise FinishUnavailable
        return task.result()

    async def carry_on(self, upload_id: str) -> None:
        """Begins, or carries on, what is left to do for this upload, unless somebody is at it."""
        lock = await self._locker.try_acquire(upload_id)
        if lock is None:
            return
        try:
            upload = await self._store.open(upload_id)
        except BaseException:
            await lock.release()
            raise
        if not self.is_unfinished(upload):
            await lock.release()
            return
        self.start(upload, lock)

    async def finish_held(self, upload: Upload, lock: Lock) -> None:
        """The whole finish under a lock that the caller keeps; what cannot be done now is tried
        again later.
        """
        try:
            await self._finish(upload, lock)
        except TusError as error:
            self._put_off(upload.upload_id, error)

    async def _hold(self, upload: Upload, lock: Lock) -> Upload:
        try:
            return await self._finish(upload, lock)
        except TusError as error:
            self._put_off(upload.upload_id, error)
            raise
        finally:
            self._running.pop(upload.upload_id, None)
            await lock.release()

    async def _finish(self, upload: Upload, lock: Lock) -> Upload:
        if upload.is_due:
            try:
                upload = await self._take_steps(upload, lock)
            except UploadRefused as error:
                refusal = Refusal(error.code, error.message, error.status)
                require_held(lock)
                upload = await self._end(upload, FinishState.REFUSED, refusal)
                _logger.info("%s was refused: %s", upload.upload_id, error.message)
            else:
                require_held(lock)
                upload = await self._end(upload, FinishState.DONE, None)
        try:
            await self._on_ended(upload)
        except Exception as error:
            # The outcome is certain; who could not hear it hears it later.
            _logger.exception("the end of %s could not be told", upload.upload_id)
            self._put_off(upload.upload_id, TusError(str(error)))
            return upload
        self._on_step("told")
        assert upload.finish is not None
        require_held(lock)
        return await self._record(upload, replace(upload.finish, is_told=True))

    async def _take_steps(self, upload: Upload, lock: Lock) -> Upload:
        for step in self._steps:
            if not step.is_needed(upload):
                continue
            require_held(lock)
            self._on_step(f"before {step.name}")
            self._at[upload.upload_id] = step
            try:
                upload = await step.run(upload)
            except OSError as error:
                raise StorageFailed from error
            finally:
                del self._at[upload.upload_id]
            self._on_step(f"after {step.name}")
            assert upload.finish is not None
            # Whoever has the lock now does the step again, as after a crash.
            require_held(lock)
            upload = await self._record(upload, upload.finish)
            self._on_step(f"recorded {step.name}")
        return upload

    async def _end(self, upload: Upload, state: FinishState, refusal: Refusal | None) -> Upload:
        assert upload.finish is not None
        ended = replace(
            upload.finish,
            state=state,
            refusal=refusal,
            ended_at=self._clock(),
            event_id=secrets.token_hex(16),
        )
        upload = await self._record(upload, ended)
        self._on_step("ended")
        return upload

    async def _record(self, upload: Upload, finish: Finish) -> Upload:
        assert isinstance(self._store, FinishingStore)
        return await self._store.record_finish(upload, finish)

    def _put_off(self, upload_id: str, error: TusError) -> None:
        _logger.warning("%s could not be finished yet: %s", upload_id, error.reason)
        task = asyncio.create_task(self._try_again(upload_id))
        self._retrying.add(task)
        task.add_done_callback(self._retrying.discard)

    async def _try_again(self, upload_id: str) -> None:
        await asyncio.sleep(self._retry)
        try:
            await self.carry_on(upload_id)
        except UploadNotFound:
            return
        except TusError as error:
            self._put_off(upload_id, error)
