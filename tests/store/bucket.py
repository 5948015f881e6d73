"""What a test of uploads in a bucket has to itself, and how it lets servers die."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.store.s3_server import BUCKET, S3Server
from tusserver.store.s3 import S3Store
from tusserver.store.s3_bucket import Bucket
from tusserver.store.s3_parts import MIB, PartRules

if TYPE_CHECKING:
    import pytest

ID = "a" * 32
BIG = 13 * MIB + 4321
"""Needs three parts of 5 MiB, or two of 8."""
ASCENDING = PartRules(usual=5 * MIB)


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces(data: bytes, size: int = 300_007) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class Prefix:
    """The part of the bucket that a test has to itself."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self.server, self.prefix = server, prefix

    @asynccontextmanager
    async def store(self, **options: Any) -> AsyncIterator[S3Store]:
        """A server's store; each is as one of another machine."""
        chosen: dict[str, Any] = {"rules": ASCENDING, "flush": 60.0, **options}
        store = S3Store(self.server.options(self.prefix, **chosen))
        await store.start()
        try:
            yield store
        finally:
            await store.close()

    def objects(self) -> list[str]:
        listing = self.server.client().get_paginator("list_objects_v2")
        pages = listing.paginate(Bucket=BUCKET, Prefix=self.prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return [key.removeprefix(self.prefix) for key in found]

    def multiparts(self) -> int:
        answer = self.server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=self.prefix)
        return len(answer.get("Uploads", ()))

    def assert_records_only(self, *upload_ids: str) -> None:
        assert sorted(self.objects()) == sorted(f"{each}.info" for each in upload_ids)
        assert self.multiparts() == 0

    def assert_only(self, *upload_ids: str) -> None:
        wanted = [name for each in upload_ids for name in (each, f"{each}.info")]
        assert sorted(self.objects()) == sorted(wanted)
        assert self.multiparts() == 0


class Broken(Exception):
    """The server dies here."""


class Dying:
    """Makes the process as good as dead at a call of the service: before it is made, or before its
    answer is seen.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def at(self, call: str, *, done: bool, after: int = 0) -> None:
        original, left = getattr(Bucket, call), after

        async def die(bucket: Bucket, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            nonlocal left
            left -= 1
            if left != -1:
                return await original(bucket, *args, **options)
            if done:
                await original(bucket, *args, **options)
            raise Broken

        self._monkeypatch.setattr(Bucket, call, die)

    def no_more(self) -> None:
        self._monkeypatch.undo()
