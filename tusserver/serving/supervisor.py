"""Several serving processes on the same sockets: started by fork, replaced when they die, stopped
together.

Small and our own, because uvicorn's lets a second signal wait for the first to be done, kills a
worker that is busy for five seconds, and passes the application by pickling.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

assert sys.platform != "win32", "this module needs a system that can fork"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_logger = logging.getLogger("tusserver")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
_RESTART_PAUSE = 1.0
"""Seconds between two starts in place of a worker that died, so that a broken set-up does not spin.
"""
_NOT_STARTED = 3
"""The exit code of a worker that could not start, which another one could not either."""


class Supervisor:
    """Keeps `count` workers running.

    `work` serves until SIGTERM comes or the descriptor that it is given reads as ended, which is
    how a worker learns that the supervisor was killed; it says whether it ever started. It is also
    given a number below `count` that no other running worker has. Workers do
    not hear SIGINT, which a terminal sends to all of them: the supervisor passes it on. `on_stop`
    is called when stopping begins.
    """

    def __init__(
        self, count: int, work: Callable[[int, int], bool], on_stop: Callable[[], None]
    ) -> None:
        self._count = count
        self._work = work
        self._on_stop = on_stop
        self._workers: dict[int, int] = {}
        self._is_stopping = False
        self._has_started = True
        self._next_start = 0.0
        self._lifeline = os.pipe()
        # Signals write to it, so that none can be missed between a look and a wait.
        self._wakeup = os.pipe()

    def run(self) -> bool:
        """Returns after a signal, when all workers have ended; False if one could not start."""
        for descriptor in self._wakeup:
            os.set_blocking(descriptor, False)
        handlers = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        try:
            for _ in range(self._count):
                self._start()
            while self._workers or not self._is_stopping:
                self._look_after_workers()
            return self._has_started
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for descriptor in (*self._lifeline, *self._wakeup):
                os.close(descriptor)

    def _start(self) -> None:
        # What is buffered here would be written by both.
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal must neither miss the new worker nor be taken by it for the supervisor.
        number = min(set(range(self._count)) - set(self._workers.values()))
        with _signals_held_back():
            if self._is_stopping:
                return  # One that is started now would never be told to stop.
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            else:
                self._workers[pid] = number
        if pid == 0:
            self._be_worker(number)

    def _be_worker(self, number: int) -> None:
        """In the child; never returns, so that nothing of the parent's code runs twice."""
        status = 1
        try:
            os.close(self._lifeline[1])
            status = 0 if self._work(self._lifeline[0], number) else _NOT_STARTED
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _look_after_workers(self) -> None:
        """Waits for something to happen, then buries and replaces."""
        missing = 0 if self._is_stopping else self._count - len(self._workers)
        wait = max(0.0, self._next_start - time.monotonic()) if missing else None
        select.select([self._wakeup[0]], [], [], wait)
        with suppress(BlockingIOError):
            os.read(self._wakeup[0], 4096)
        for pid in list(self._workers):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._bury(pid, status)
        if not self._is_stopping and time.monotonic() >= self._next_start:
            for _ in range(self._count - len(self._workers)):
                self._start()

    def _bury(self, pid: int, status: int) -> None:
        del self._workers[pid]
        if self._is_stopping:
            return
        if os.waitstatus_to_exitcode(status) == _NOT_STARTED:
            self._has_started = False
            self._stop()
            return
        _logger.error("worker %d died (%s) and is replaced", pid, _describe(status))
        self._next_start = time.monotonic() + _RESTART_PAUSE

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        if self._is_stopping:
            self._send(signal.SIGKILL)
            os._exit(128 + number)
        self._stop()

    def _stop(self) -> None:
        self._is_stopping = True
        self._on_stop()
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
