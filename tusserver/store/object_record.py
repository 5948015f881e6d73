"""The record of an upload in an object store, `<id>.info`: tusd's JSON with what tusserver needs.

The record alone says how far an upload has got. It is replaced as a whole, and only by one who has
seen the one before (see `ObjectRecords`), so that of two nodes that both believe to hold an upload
only one can go on. What lies in the bucket and is not named in the record does not count.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import asdict, replace

from tusserver.protocol.errors import UploadDamaged
from tusserver.store.file_record import (
    Additions,
    Origin,
    Record,
    Storage,
    as_left,
    as_upload,
    encode,
    new_record,
)
from tusserver.store.object_keys import object_id

if TYPE_CHECKING:
    from tusserver.protocol.upload import Upload


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part of the multipart upload, as the service confirmed it; `crc32` in base64 as it was
    sent.
    """

    number: int
    size: int
    etag: str
    crc32: str = ""


class Tail(msgspec.Struct, frozen=True, array_like=True):
    """Bytes behind the parts, too few for one of their own: an object `<id>.part-<token>`."""

    token: str
    size: int


class Copying(msgspec.Struct, frozen=True, array_like=True):
    """A copy of the object that is on its way to its place: its key, the multipart upload that it
    needs, and the place as clients are told.
    """

    key: str
    multipart: str
    path: str


class ObjectState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the upload has got.

    `offset` is what clients are told. The bytes lie in `parts`, in this order, and behind them in
    `tails`. `revision` names this state. Part numbers up to `reserved` may have been used by a
    request that is not over, or never ended. `is_whole`: all bytes are there and the parts are
    being put together; `is_assembled`: the object is there. `is_removed`: nothing of the upload
    counts any more, and all of it is being removed. `first` are the first bytes, where somebody
    wants to see them before the object can be read. `has_notes`: partials may have notes that this
    one waits for them. `copying` is the last attempt to bring the object to its place.
    `has_crc32`: whether a part must or must not have a CRC-32, because another program has begun
    the multipart upload so; None where it is ours.
    """

    offset: int = 0
    modified_at: datetime | None = None
    revision: str = ""
    multipart: str = ""
    reserved: int = 0
    parts: tuple[Part, ...] = ()
    tails: tuple[Tail, ...] = ()
    is_whole: bool = False
    is_assembled: bool = False
    is_removed: bool = False
    first: bytes = b""
    has_notes: bool = False
    copying: Copying | None = None
    has_crc32: bool | None = None

    @property
    def in_parts(self) -> int:
        """Bytes in the parts."""
        return sum(part.size for part in self.parts)

    @property
    def in_tails(self) -> int:
        """Bytes behind the parts."""
        return sum(tail.size for tail in self.tails)


class ObjectAdditions(Additions, omit_defaults=True):
    """What tusd has no place for."""

    object: ObjectState = ObjectState()


class ObjectStorage(Storage, rename="pascal", omit_defaults=True):
    """Where tusd keeps bytes and record: in a bucket of S3, or a container of Azure."""

    bucket: str = ""
    container: str = ""
    key: str = ""


class ObjectRecord(Record):
    """One record as it stands in its object."""

    storage: ObjectStorage | None = None
    tusserver: ObjectAdditions = msgspec.field(default_factory=ObjectAdditions)

    @property
    def state(self) -> ObjectState:
        return self.tusserver.object


class Kept(NamedTuple):
    """A record, the content of its object, and the tag by which the service knows this content."""

    record: ObjectRecord
    content: bytes
    etag: str

    @property
    def state(self) -> ObjectState:
        return self.record.state


def new_object_record(upload: Upload, storage: ObjectStorage) -> ObjectRecord:
    """The record of an upload that is being created."""
    record = new_record(upload, "", "", None)
    values = {name: getattr(record, name) for name in Record.__struct_fields__}
    additions = ObjectAdditions(
        **asdict(record.tusserver), object=ObjectState(modified_at=upload.modified_at)
    )
    return ObjectRecord(**{**values, "tusserver": additions, "storage": storage})


def decode_object(content: bytes, upload_id: str) -> ObjectRecord:
    """The record in the object of this upload, or of one whose keys are the same. Raises
    UploadDamaged when it is none, or that of another one: it would name bytes that are not of this
    upload.
    """
    try:
        record = _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UploadDamaged from error
    if object_id(record.upload_id) != object_id(upload_id):
        raise UploadDamaged
    return record


def changed(record: ObjectRecord, state: ObjectState, **changes: object) -> ObjectRecord:
    """A copy of the record with this state, and further changes to what is tusserver's own."""
    return replace(record, tusserver=replace(record.tusserver, object=state, **changes))


def encode_object(record: ObjectRecord, former: bytes | None) -> bytes:
    """The content of the object; unknown keys of the `former` one are kept."""
    return encode(record, former)


def as_object_upload(upload_id: str, kept: Kept) -> Upload:
    """The upload that this record stands for."""
    record, state = kept.record, kept.state
    finish = record.tusserver.finish
    origin = Origin(record, kept.content)
    if finish is not None and finish.has_left:
        upload = as_left(upload_id, origin)
    else:
        moment = state.modified_at or record.tusserver.created_at or _NEVER
        upload = as_upload(upload_id, origin, state.offset, moment, is_settled=not state.is_whole)
    return replace(upload, origin=kept)


_DECODER = msgspec.json.Decoder(ObjectRecord)
_NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
