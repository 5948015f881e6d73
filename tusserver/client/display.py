"""How uploads are shown: bars on a terminal, JSON lines for programs, or only what goes wrong."""

from __future__ import annotations

import json
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tusserver.client.observing import Outcome
    from tusserver.client.sources import Source

_TELL_EVERY = 1.0
"""Seconds between two JSON lines about the progress of one file."""


def bars(console: Console) -> Progress:
    """Bars for transfers, with speed and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="yellow"),
        console=console,
        expand=True,
        transient=True,
    )


class Bars:
    """A bar for each file that is under way, and one for all."""

    def __init__(self, progress: Progress, sources: Sequence[Source]) -> None:
        self._progress = progress
        self._mutex = threading.Lock()
        self._tasks: dict[Source, TaskID] = {}
        self._positions: dict[Source, int] = {}
        self._count, self._ended = len(sources), 0
        sizes = [source.size for source in sources]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        self._total = progress.add_task(self._title(), total=total, note="")

    def begun(self, source: Source, position: int, url: str) -> None:
        with self._mutex:
            if source not in self._tasks:
                self._tasks[source] = self._progress.add_task(
                    _short(source.label), total=source.size, completed=position, note=""
                )
            task, before = self._tasks[source], self._positions.get(source, 0)
            self._positions[source] = position
            if position > before:
                # What an earlier run has sent would otherwise count as the speed of this one.
                self._progress.reset(self._total, completed=sum(self._positions.values()))
            self._progress.update(task, completed=position, note="")
            self._progress.update(self._total, completed=sum(self._positions.values()))

    def moved(self, source: Source, position: int) -> None:
        with self._mutex:
            delta = position - self._positions.get(source, 0)
            self._positions[source] = position
            self._progress.update(self._tasks[source], completed=position)
            self._progress.advance(self._total, delta)

    def paused(self, source: Source, seconds: float, reason: str) -> None:
        with self._mutex:
            if source not in self._tasks:
                self._tasks[source] = self._progress.add_task(
                    _short(source.label), total=source.size, note=""
                )
            note = f"again in {seconds:.0f} s: {reason}"
            self._progress.update(self._tasks[source], note=note)

    def anew(self, source: Source, reason: str) -> None:
        self._progress.console.print(f"{source.label}: begins anew: {reason}", markup=False)

    def ended(self, outcome: Outcome) -> None:
        with self._mutex:
            self._ended += 1
            task = self._tasks.pop(outcome.source, None)
            if task is not None:
                self._progress.remove_task(task)
            self._progress.update(self._total, description=self._title())

    def _title(self) -> str:
        return f"{self._ended} of {self._count} files"


class Lines:
    """Only what a person should know, for where no bars can be."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begun(self, source: Source, position: int, url: str) -> None:
        return

    def moved(self, source: Source, position: int) -> None:
        return

    def paused(self, source: Source, seconds: float, reason: str) -> None:
        self._say(f"{source.label}: again in {seconds:.0f} s: {reason}")

    def anew(self, source: Source, reason: str) -> None:
        self._say(f"{source.label}: begins anew: {reason}")

    def ended(self, outcome: Outcome) -> None:
        return

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class JsonLines:
    """One JSON object a line for each thing that happens: `event` says what, `file` to whom."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._mutex = threading.Lock()
        self._told: dict[Source, float] = {}

    def begun(self, source: Source, position: int, url: str) -> None:
        self._tell("begun", source, offset=position, length=source.size, url=url)

    def moved(self, source: Source, position: int) -> None:
        now = time.monotonic()
        if now - self._told.setdefault(source, now) >= _TELL_EVERY:
            self._told[source] = now
            self._tell("progress", source, offset=position, length=source.size)

    def paused(self, source: Source, seconds: float, reason: str) -> None:
        self._tell("waiting", source, seconds=round(seconds, 3), message=reason)

    def anew(self, source: Source, reason: str) -> None:
        self._tell("anew", source, message=reason)

    def ended(self, outcome: Outcome) -> None:
        self._tell(outcome.state, outcome.source, **_facts(outcome))

    def summary(self, outcomes: Sequence[Outcome], exit_code: int) -> None:
        """The last line."""
        states = [outcome.state for outcome in outcomes]
        counts = {state: states.count(state) for state in sorted(set(states))}
        sent = sum(outcome.sent for outcome in outcomes)
        self._write({"event": "summary", "files": counts, "sent": sent, "exit_code": exit_code})

    def _tell(self, event: str, source: Source, **facts: Any) -> None:
        self._write({"event": event, "file": source.label, **facts})

    def _write(self, event: dict[str, Any]) -> None:
        with self._mutex:
            self._stream.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._stream.flush()


def _facts(outcome: Outcome) -> dict[str, Any]:
    facts: dict[str, Any] = {"sent": outcome.sent, "seconds": round(outcome.seconds, 3)}
    if outcome.is_good:
        facts |= {"size": outcome.size, "url": outcome.url}
        facts |= {"place": outcome.place, "digest": outcome.digest}
    else:
        facts |= {"message": outcome.message, "status": outcome.status}
    return facts


def _short(label: str) -> str:
    """The end of a long path, which tells more than its beginning."""
    return label if len(label) <= 40 else f"…{label[-39:]}"
