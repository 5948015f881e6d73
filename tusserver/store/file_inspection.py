"""What crashes and other programs leave in a directory of uploads: found without locks, mended
under them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from tusserver.protocol.errors import StorageFailed, UploadDamaged, UploadNotFound
from tusserver.store import filesystem
from tusserver.store.base import Finding
from tusserver.store.file_layout import DAMAGED, INFO, MARKER, unescape
from tusserver.store.file_walk import walk
from tusserver.store.filesystem import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tusserver.store.file_folder import UploadFolder


class _Kind(Enum):
    """Kind, problem, remedy, and whether it is a leftover of no upload."""

    TEMPORARY = ("temporary-file", "a temporary file of an interrupted write", "remove it", True)
    NO_DATA = (
        "record-without-data",
        "left by an interrupted creation or termination",
        "remove the record",
        True,
    )
    NO_RECORD = ("marker-without-record", "left by an interrupted termination", "remove it", True)
    WAITING = (
        "stale-note",
        "a note that a final upload waits for this one, and it does not",
        "remove it",
        True,
    )
    UNSETTLED = (
        "unsettled",
        "a crash left open how far the upload has got",
        "keep what is certain",
        False,
    )
    UNREADABLE = (
        "unreadable",
        "the system does not let it be read",
        "look at its permissions and at the disk",
        False,
    )
    DAMAGED = (
        "damaged-record",
        "the record cannot be read",
        f"set it aside as {INFO}{DAMAGED}",
        False,
    )

    def finding(self, upload_id: str) -> Finding:
        return Finding(upload_id, *self.value)


class Inspection:
    """Looks into one folder."""

    def __init__(self, folder: UploadFolder) -> None:
        self._folder = folder
        self._layout = folder.layout
        self._menders: dict[str, Callable[[str], bool]] = {
            _Kind.TEMPORARY.value[0]: self._mend_temporary,
            _Kind.NO_RECORD.value[0]: self._mend_marker,
            _Kind.WAITING.value[0]: self._mend_waiting,
        }

    def findings(self) -> Iterator[Finding]:
        """All that looks wrong now; running requests cause some of it, which is why `mend` looks
        again under the lock.
        """
        yield from self.private_leftovers()
        for upload_id, suffix in walk(self._layout, INFO, MARKER):
            if suffix == MARKER:
                finding = self.lonely_marker(upload_id)
            else:
                kind = self._judge(upload_id)
                finding = kind and kind.finding(upload_id)
            if finding is not None:
                yield finding

    def private_leftovers(self) -> Iterator[Finding]:
        """Those in our own directory."""
        yield from self._temporaries()
        yield from self._waiting()

    def lonely_marker(self, upload_id: str) -> Finding | None:
        """The finding about a marker whose upload is gone."""
        if os.path.exists(self._layout.info(upload_id)):
            return None
        return _Kind.NO_RECORD.finding(upload_id)

    def lonely_record(self, upload_id: str) -> Finding | None:
        """The finding about a record whose bytes have not been found."""
        return _Kind.NO_DATA.finding(upload_id) if self._is_leftover(upload_id) else None

    def mend(self, finding: Finding) -> bool:
        """Under the lock of the upload; returns whether there still was something to mend."""
        with storage_errors():
            return self._menders.get(finding.kind, self._mend_upload)(finding.upload_id)

    def _temporaries(self) -> Iterator[Finding]:
        with suppress(FileNotFoundError):
            for name in _names(self._layout.temporary):
                yield _Kind.TEMPORARY.finding(_owner(name))

    def _mend_temporary(self, upload_id: str) -> bool:
        dead = [path for path in self._layout.temporary.iterdir() if _owner(path.name) == upload_id]
        for path in dead:
            path.unlink(missing_ok=True)
        return bool(dead)

    def _waiting(self) -> Iterator[Finding]:
        with suppress(FileNotFoundError):
            for name in _names(self._layout.waiting):
                if self._is_stale(unescape(name)):
                    yield _Kind.WAITING.finding(unescape(name))

    def _is_stale(self, partial_id: str) -> bool:
        return bool(self._stale_notes(partial_id)) or not self._folder.waiting_for(partial_id)

    def _stale_notes(self, partial_id: str) -> list[str]:
        return [
            final for final in self._folder.waiting_for(partial_id) if not self._is_pending(final)
        ]

    def _is_pending(self, upload_id: str) -> bool:
        try:
            return self._folder.load(upload_id).is_pending
        except (UploadNotFound, UploadDamaged):
            return False
        except StorageFailed:
            return True  # Nobody can say; its notes do no harm.

    def _mend_waiting(self, partial_id: str) -> bool:
        if not self._is_stale(partial_id):
            return False
        for final in self._stale_notes(partial_id):
            self._folder.forget_waiting_final(partial_id, final)
        self._folder.drop_waiting_directory(partial_id)
        return True

    def _mend_marker(self, upload_id: str) -> bool:
        dead = os.path.exists(self._layout.marker(upload_id)) and not os.path.exists(
            self._layout.info(upload_id)
        )
        if dead:
            self._layout.remove_marker(upload_id)
        return dead

    def _judge(self, upload_id: str) -> _Kind | None:
        try:
            upload = self._folder.load(upload_id)
        except UploadDamaged:
            return _Kind.DAMAGED
        except StorageFailed:
            return _Kind.UNREADABLE
        except UploadNotFound:
            return _Kind.NO_DATA if self._is_leftover(upload_id) else None
        return None if upload.is_settled else _Kind.UNSETTLED

    def _is_leftover(self, upload_id: str) -> bool:
        """A record without data: unless its data lies elsewhere (or would, were it mounted)."""
        try:
            record, _ = self._layout.read_record(upload_id)
        except UploadNotFound:
            return self._layout.is_torn(upload_id)
        except UploadDamaged:
            return False
        return not self._layout.lies_elsewhere(record)

    def _mend_upload(self, upload_id: str) -> bool:
        kind = self._judge(upload_id)
        info = self._layout.info(upload_id)
        if kind is _Kind.DAMAGED:
            os.rename(info, info + DAMAGED)
        elif kind is _Kind.NO_DATA:
            self._layout.remove_marker(upload_id)
            filesystem.remove(info)
        elif kind is _Kind.UNSETTLED:
            self._folder.open(upload_id)
        elif kind is _Kind.UNREADABLE:
            self._folder.load(upload_id)  # Tells why.
        return kind is not None


def _names(directory: Path) -> Iterator[str]:
    """What is in a directory, without holding all of it in memory."""
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.name


def _owner(temporary_name: str) -> str:
    return unescape(temporary_name.rpartition(".")[0])
