"""How a store of objects works, and how a client of S3 does."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tusserver.store.s3_parts import MIB, PartRules


class PartChecksum(Enum):
    """What the service is to verify each part with."""

    CRC32 = "crc32"
    MD5 = "md5"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """How a store of objects uses its bucket. Sizes in bytes, times in seconds.

    All its keys begin with `prefix`. `memory` bounds the parts of all requests that are collected
    in memory, each process by itself; what does not fit goes through files without a name in
    `spool_dir` (None: where the system has them). At most `sending` parts of one body are on their
    way. Bytes of a slow client are stored every `flush` seconds. `keep_first` first bytes of an
    unfinished upload can be read. Bytes that seem to be ours and have no record at all are left
    alone for `grace` seconds.
    """

    prefix: str = ""
    rules: PartRules = field(default_factory=PartRules)
    memory: int = 256 * MIB
    spool_dir: str | None = None
    sending: int = 3
    flush: float = 10.0
    keep_first: int = 0
    grace: float = 86400.0


@dataclass(frozen=True, slots=True)
class S3Options:
    """A bucket, and what its service can do. Times in seconds.

    `endpoint` is None for AWS; keys and region come from the environment or the files that all
    tools of AWS read, unless they are given here. `is_conditional`: the service knows conditional
    writes.
    """

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    path_style: bool = True
    checksum: PartChecksum = PartChecksum.CRC32
    is_conditional: bool = True
    connections: int = 64
    deadline: float = 30.0
    """For one call that moves no part."""
    part_deadline: float = 300.0
    """For one part, with all attempts."""
