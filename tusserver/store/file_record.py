"""The record of an upload, `<id>.info`: tusd's JSON with our additions under the one key
`tusserver`.

tusd's keys (Go's field names, in Go's order): ID, Size (0 when deferred), SizeIsDeferred, Offset
(never to be trusted), MetaData, IsPartial, IsFinal, PartialUploads, Storage {Type, Path, InfoPath}.
Keys that nobody here knows are kept as they are. What tusd drops when it writes a record itself is
everything under `tusserver`; each of those has a sensible meaning when it is missing.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec

from tusserver.protocol.errors import UploadDamaged
from tusserver.protocol.finish import Finish  # noqa: TC001 - msgspec looks at it
from tusserver.protocol.grammar import MAX_INTEGER, format_metadata, parse_metadata
from tusserver.protocol.upload import Final, Partial, Upload

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Synced(msgspec.Struct):
    """How many bytes were known to be on the disk under which run of the kernel.

    The bytes behind `offset` are good as long as that kernel runs, and lost or zero for all we know
    after it has gone. An upload of full size whose `offset` has not reached its length has not been
    finished yet.
    """

    boot_id: str
    offset: _Count


class Additions(msgspec.Struct, omit_defaults=True):
    """What tusd has no place for.

    `metadata` and `concat` are the headers of the client, verbatim.
    """

    created_at: datetime | None = None
    metadata: str | None = None
    concat: str = ""
    synced: Synced | None = None
    owner: str | None = None
    finish: Finish | None = None


class Storage(msgspec.Struct, rename="pascal"):
    """Where tusd keeps data and record, absolute paths."""

    type: str = "filestore"
    path: str = ""
    info_path: str = ""


class Record(
    msgspec.Struct,
    rename={
        "upload_id": "ID",
        "size": "Size",
        "size_is_deferred": "SizeIsDeferred",
        "offset": "Offset",
        "metadata": "MetaData",
        "is_partial": "IsPartial",
        "is_final": "IsFinal",
        "partial_uploads": "PartialUploads",
        "storage": "Storage",
    },
):
    """One record as it stands in its file."""

    upload_id: str
    size: _Count = 0
    size_is_deferred: bool = False
    offset: int = 0
    metadata: dict[str, str] | None = None
    is_partial: bool = False
    is_final: bool = False
    partial_uploads: list[str] | None = None
    storage: Storage | None = None
    tusserver: Additions = msgspec.field(default_factory=Additions)

    @property
    def length(self) -> int | None:
        """The declared length in bytes, None while it is deferred."""
        return None if self.size_is_deferred else self.size

    @property
    def synced(self) -> Synced | None:
        """The note on what is on the disk; None if nobody keeps one for this upload, which then
        counts as it is.
        """
        return self.tusserver.synced


def new_record(upload: Upload, data_path: str, info_path: str, synced: Synced | None) -> Record:
    """The record of an upload that is being created."""
    concat = upload.concat
    return Record(
        upload_id=upload.upload_id,
        size=upload.length or 0,
        size_is_deferred=upload.length is None,
        metadata={
            key: value.decode("utf-8", "replace") for key, value in parse_metadata(upload.metadata)
        },
        is_partial=isinstance(concat, Partial),
        is_final=isinstance(concat, Final),
        partial_uploads=list(concat.partials) if isinstance(concat, Final) else None,
        storage=Storage(path=data_path, info_path=info_path),
        tusserver=Additions(
            created_at=upload.created_at,
            metadata=upload.metadata,
            concat=concat.raw if isinstance(concat, Final) else "",
            synced=synced,
            owner=upload.owner,
            finish=upload.finish,
        ),
    )


def cut_unsynced(record: Record, descriptor: int) -> None:
    """Takes away the bytes of a data file behind its note, after a sync failed."""
    if record.synced is not None:
        os.ftruncate(descriptor, min(record.synced.offset, os.fstat(descriptor).st_size))


def decode(content: bytes) -> Record:
    """The record in this file. Raises UploadDamaged when it is none."""
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UploadDamaged from error


def encode(record: Record, former: bytes | None = None) -> bytes:
    """The content of the file; with `former`, the content that it replaces, whose unknown keys are
    kept.
    """
    encoded = _ENCODER.encode(record)
    if former is None:
        return encoded
    fields = _RAW_DECODER.decode(former)
    fields.update(_RAW_DECODER.decode(encoded))
    return _ENCODER.encode(fields)


class Origin(NamedTuple):
    """The record that an upload was made of, and the content of its file: for the holder of the
    lock, who need not read it again.
    """

    record: Record
    content: bytes


def as_upload(
    upload_id: str, origin: Origin, offset: int, modified_at: datetime, *, is_settled: bool
) -> Upload:
    """The upload that this record and the state of its data file stand for."""
    record = origin.record
    concat: Partial | Final | None = None
    if record.is_partial:
        concat = Partial()
    elif record.is_final:
        concat = Final(tuple(record.partial_uploads or ()), record.tusserver.concat)
    created_at = record.tusserver.created_at or modified_at
    return Upload(
        upload_id=upload_id,
        offset=offset,
        length=record.length,
        created_at=created_at.astimezone(UTC),
        modified_at=modified_at,
        metadata=_metadata(record),
        concat=concat,
        is_settled=is_settled,
        owner=record.tusserver.owner,
        finish=record.tusserver.finish,
        origin=origin,
    )


def as_left(upload_id: str, origin: Origin) -> Upload:
    """The upload of a record whose bytes have left the store: complete, and as old as its
    outcome.
    """
    record = origin.record
    finish, created_at = record.tusserver.finish, record.tusserver.created_at
    ended_at = finish.ended_at if finish is not None else None
    moment = ended_at or created_at or datetime.fromtimestamp(0, UTC)
    return as_upload(upload_id, origin, record.size, moment.astimezone(UTC), is_settled=True)


def _metadata(record: Record) -> str:
    raw = record.tusserver.metadata
    if raw is not None:
        return raw
    return format_metadata(
        tuple((key, value.encode()) for key, value in (record.metadata or {}).items())
    )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)
_RAW_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
