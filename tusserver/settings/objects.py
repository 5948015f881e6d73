"""The settings of a store of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tusserver.settings.server import ServerSettings
from tusserver.settings.values import setting

if TYPE_CHECKING:
    from datetime import timedelta

OBJECTS = "Uploads in an object store (--store …)"
S3 = "An S3-compatible service (--store s3://…)"
AZURE = "Azure Blob Storage (--store azure://…)"


class Bounds(NamedTuple):
    """How large parts and objects may be, in bytes, as the clients of the services have it, and as
    people write it.
    """

    part: int
    object: int
    shown: tuple[str, str]


MIN_PART = 5 * 2**20
BOUNDS = {
    "s3": Bounds(5 * 2**30, 5 * 2**40, ("5GiB", "5TiB")),
    "azure": Bounds(4000 * 2**20, 100 * 2**40, ("4000MiB", "100TiB")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings(ServerSettings):
    """Which service keeps the objects, and how it is used. The keys are given as to all tools of
    AWS, by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or their files, or as to
    those of Azure (AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and
    AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN).
    """

    object_part_size: int | None = setting(
        "8MiB",
        OBJECTS,
        "Size of a part (at least 5MiB); larger ones where an upload would have more than the "
        "service takes.",
        kind="size",
    )
    object_memory: int | None = setting(
        "256MiB",
        OBJECTS,
        "Memory for parts on their way, in each serving process; more of them wait in files "
        "without a name in the upload directory.",
        kind="size",
    )
    object_flush: timedelta | None = setting(
        "10s",
        OBJECTS,
        "How old the bytes of a slow client become before they are stored, however few.",
        kind="duration",
    )

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

    azure_endpoint: str = setting(
        "",
        AZURE,
        "URL of the account, as http://127.0.0.1:10000/devstoreaccount1; without, the connection "
        "string says it, or the account has that of Azure.",
    )

    @property
    def is_in_bucket(self) -> bool:
        """Whether the uploads are kept in an object store."""
        return bool(self.store)

    @property
    def key_prefix(self) -> str:
        """How the keys of all uploads begin."""
        return as_folder(self.store.partition("://")[2].partition("/")[2])

    @property
    def bounds(self) -> Bounds:
        """Those of the service that `store` names."""
        return BOUNDS[self.store.partition("://")[0]]

    @property
    def longest_upload(self) -> int | None:
        """Bytes; None for no limit. An object has one in any case."""
        if not self.is_in_bucket:
            return self.max_size
        longest = self.bounds.object
        return longest if self.max_size is None else min(self.max_size, longest)


def as_folder(prefix: str) -> str:
    """A prefix of keys that ends with a slash, unless it is empty."""
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
