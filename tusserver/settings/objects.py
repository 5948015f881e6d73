"""The settings of a store of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.settings.server import ServerSettings
from tusserver.settings.values import setting

if TYPE_CHECKING:
    from datetime import timedelta

S3 = "Uploads in an S3-compatible service (--store s3://…)"
# The bounds of S3 itself, as `tusserver.store.s3_parts` has them.
MIN_PART, MAX_PART, MAX_OBJECT = 5 * 2**20, 5 * 2**30, 5 * 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings(ServerSettings):
    """Which service keeps the objects, and how it is used. The keys are given as to all tools of
    AWS, by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or their files.
    """

    s3_endpoint: str = setting(
        "", S3, "URL of the service, as http://minio.internal:9000; without, AWS."
    )
    s3_region: str = setting(
        "",
        S3,
        "Region of the bucket; without, AWS_REGION and the files of AWS say it, or what the "
        "service expects.",
    )
    s3_preset: str = setting(
        "auto",
        S3,
        "What the service is, for what it does in its own way; auto: AWS, or with an endpoint what "
        "most services understand (other).",
        choices=("auto", "aws", "minio", "seaweedfs", "versitygw", "ceph", "r2", "other"),
    )
    s3_checksum: str = setting(
        "preset",
        S3,
        "With which checksum each part is sent. Without one a service may take half a part for a "
        "whole one.",
        choices=("preset", "crc32", "md5", "none"),
    )
    s3_part_size: int | None = setting(
        "8MiB",
        S3,
        "Size of a part (at least 5MiB); larger ones where an upload would have more than 10,000.",
        kind="size",
    )
    s3_memory: int | None = setting(
        "256MiB",
        S3,
        "Memory for parts on their way, in each serving process; more of them wait in files "
        "without a name in the upload directory.",
        kind="size",
    )
    s3_flush: timedelta | None = setting(
        "10s",
        S3,
        "How old the bytes of a slow client become before they are stored, however few.",
        kind="duration",
    )

    @property
    def is_in_bucket(self) -> bool:
        """Whether the uploads are kept in an object store."""
        return bool(self.store)

    @property
    def longest_upload(self) -> int | None:
        """Bytes; None for no limit. An object has one in any case."""
        if not self.is_in_bucket:
            return self.max_size
        return MAX_OBJECT if self.max_size is None else min(self.max_size, MAX_OBJECT)
