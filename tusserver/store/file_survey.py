"""Goes through a directory of uploads for the sweeper: which of them it wants to see, and what
crashes left of others.

A survey that follows another one reads only what may be different now: by the times of the files
that is told for the price of two calls, and without their contents. Blocking, in short steps.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from tusserver.protocol.errors import TusError, UploadDamaged, UploadNotFound
from tusserver.store import filesystem
from tusserver.store.base import Mark, Surveyed
from tusserver.store.file_layout import INFO, MARKER
from tusserver.store.file_walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tusserver.protocol.upload import Upload
    from tusserver.store.base import Finding, Known
    from tusserver.store.file_folder import UploadFolder
    from tusserver.store.file_inspection import Inspection

STEP = 0.004
"""Seconds of work after which a step ends: meanwhile requests get the interpreter less often."""
_DOUBT = 60.0
"""Seconds by which the clock of the files may be off between two surveys."""


class Survey:
    """Surveys of one folder."""

    def __init__(self, folder: UploadFolder, inspection: Inspection) -> None:
        self._folder = folder
        self._layout = folder.layout
        self._inspection = inspection

    def mark(self) -> Mark | None:
        """Now; None where files do not tell when they were changed, or nothing can be written."""
        if sys.platform == "win32":
            return None
        try:
            moment = filesystem.file_time(self._layout.new_temporary("mark"))
        except OSError:
            return None
        return Mark(moment, time.monotonic())

    def steps(self, wants: Callable[[Upload], bool], known: Known | None) -> Iterator[Surveyed]:
        """See `SurveyingStore.survey`. Raises OSError."""
        step = _Step()
        for upload_id, suffix in walk(self._layout, INFO, MARKER):
            if suffix == MARKER:
                self._look_at_marker(upload_id, wants, known, step)
            else:
                step.passed += 1
                if known is None or not self._is_as_it_was(upload_id, known):
                    self._look(upload_id, wants, step)
            if step.is_over:
                yield step.result()
                step = _Step()
        yield step.result()
        for finding in self._inspection.private_leftovers():
            yield Surveyed(0, (), (finding,))

    def _look_at_marker(
        self, upload_id: str, wants: Callable[[Upload], bool], known: Known | None, step: _Step
    ) -> None:
        leftover = self._inspection.lonely_marker(upload_id)
        if leftover is not None:
            step.leftovers.append(leftover)
        elif known is not None:
            self._look(upload_id, wants, step)

    def _is_as_it_was(self, upload_id: str, known: Known) -> bool:
        """Whether an earlier look at this upload still tells how it stands: neither its record nor
        its bytes have changed since, and its time is no other matter than it was.

        Bytes that a record puts elsewhere below the root are looked for in their usual place only;
        if they are not there, that is reason enough to read the record.
        """
        if upload_id in known.again:
            return False
        try:
            record = os.stat(self._layout.info(upload_id), follow_symlinks=False)
            data = os.stat(self._layout.data(upload_id), follow_symlinks=False)
        except OSError:
            return False
        # The time of change, unlike that of modification, cannot be set to an earlier one.
        if max(record.st_ctime, data.st_ctime) >= known.mark.moment - _DOUBT:
            return False
        return not any(after < data.st_mtime <= until for after, until in known.ripened)

    def _look(self, upload_id: str, wants: Callable[[Upload], bool], step: _Step) -> None:
        try:
            upload = self._folder.load(upload_id)
        except UploadDamaged:
            return  # A matter for `verify`, which asks a person.
        except UploadNotFound:
            leftover = self._inspection.lonely_record(upload_id)
            if leftover is not None:
                step.leftovers.append(leftover)
            return
        except TusError:
            step.wanted.append(upload_id)
            return
        if wants(upload):
            step.wanted.append(upload_id)


class _Step:
    """What one step has found so far."""

    def __init__(self) -> None:
        self.passed = 0
        self.wanted: list[str] = []
        self.leftovers: list[Finding] = []
        self._end = time.monotonic() + STEP

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def result(self) -> Surveyed:
        return Surveyed(self.passed, self.wanted, self.leftovers)
