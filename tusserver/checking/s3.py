"""What an S3 store needs of its service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.checking.base import Section
from tusserver.checking.s3_multiparts import MultipartChecks
from tusserver.checking.s3_objects import ObjectChecks
from tusserver.checking.s3_trial import FAILURES, explain, start_trial

if TYPE_CHECKING:
    from tusserver.store.object_options import ObjectOptions
    from tusserver.store.s3_options import S3Options


def bucket_section(options: S3Options, place: ObjectOptions, *, joins: bool) -> Section:
    """Tries the bucket, below the store's prefix. `joins`: uploads are joined from others."""
    trial = start_trial(options, place)
    where = f"s3://{options.bucket}/{place.prefix} at {options.endpoint or 'AWS'}"
    return Section(
        f"Bucket {where}",
        (*ObjectChecks(trial).checks(), *MultipartChecks(trial, joins=joins).checks()),
        FAILURES,
        lambda error: explain(error, options, place.prefix),
        trial.close,
    )
