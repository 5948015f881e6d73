"""What a test of uploads in a bucket has to itself, and how it lets servers die."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tusserver.store.bucket import Bucket
from tusserver.store.object_options import ObjectOptions
from tusserver.store.object_parts import MIB, PartRules
from tusserver.store.objects import ObjectStore

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


class ObjectServer(Protocol):
    """A running service that keeps objects, with one bucket."""

    bucket_class: type[Any]
    are_copied: bool
    """Whether it copies parts by itself."""
    ending: str
    """The call of our client with which `clear` ends what is not over."""

    def bucket(self, **changes: Any) -> Bucket:
        """A client of ours, with changes to its options."""

    def settings(self, prefix: str) -> dict[str, Any]:
        """For a tusserver that has this prefix to itself; it needs the keys, too."""

    def publish_keys(self) -> None:
        """Gives all servers of this process, and those that it starts, the keys."""

    # What others do, with a client of their own.

    def put(self, key: str, data: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def keys(self, prefix: str) -> list[str]: ...

    def media_type(self, key: str) -> str: ...

    def begin(self, key: str) -> None:
        """Begins a multipart upload."""

    def multiparts(self, prefix: str) -> list[str]:
        """The keys of those that are not over."""

    def end_multiparts(self, prefix: str) -> None: ...


def store_of(server: ObjectServer, prefix: str, **options: Any) -> ObjectStore:
    """A store on this service; options of the client under `client`."""
    client = server.bucket(**options.pop("client", {}))
    rules = replace(options.pop("rules", ASCENDING), are_copied=server.are_copied)
    return ObjectStore(client, ObjectOptions(prefix, rules, **options))


class Prefix:
    """The part of the bucket that a test has to itself."""

    def __init__(self, server: ObjectServer, prefix: str) -> None:
        self.server, self.prefix = server, prefix

    @asynccontextmanager
    async def store(self, **options: Any) -> AsyncIterator[ObjectStore]:
        """A server's store; each is as one of another machine."""
        store = store_of(self.server, self.prefix, **{"flush": 60.0, **options})
        await store.start()
        try:
            yield store
        finally:
            await store.close()

    def objects(self) -> list[str]:
        return [key.removeprefix(self.prefix) for key in self.server.keys(self.prefix)]

    def multiparts(self) -> int:
        return len(self.server.multiparts(self.prefix))

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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bucket_class: type[Any]) -> None:
        self._monkeypatch = monkeypatch
        self._class = bucket_class

    def at(self, call: str, *, done: bool, after: int = 0) -> None:
        original, left = getattr(self._class, call), after

        async def die(bucket: object, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            nonlocal left
            left -= 1
            if left != -1:
                return await original(bucket, *args, **options)
            if done:
                await original(bucket, *args, **options)
            raise Broken

        self._monkeypatch.setattr(self._class, call, die)

    def no_more(self) -> None:
        self._monkeypatch.undo()
