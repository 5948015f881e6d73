"""How a client of an S3-compatible service works."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class PartChecksum(Enum):
    """What the service is to verify each part with."""

    CRC32 = "crc32"
    MD5 = "md5"
    NONE = "none"


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
    attempts: int = 4
    """Of each call, as long as the deadline is not over."""
    deadline: float = 30.0
    """For one call that moves no part."""
    part_deadline: float = 300.0
    """For one part, with all attempts."""
