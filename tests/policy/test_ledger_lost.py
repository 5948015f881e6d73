"""A Redis that has forgotten the ledger holds nobody up where nothing is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.lock.redis_server import redis_server
from tests.store.test_contract import an_upload
from tusserver.lock.memory import MemoryLocker
from tusserver.policy.accounts import Accounts
from tusserver.policy.ledger import Quota, Usage
from tusserver.policy.ledger_redis import RedisLedger
from tusserver.protocol.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tusserver.protocol.upload import Upload

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("quota", [Quota(), Quota(size=1000)], ids=["unbounded", "bounded"])
async def test_a_creation_waits_for_the_sums_only_where_they_matter(
    tmp_path_factory: pytest.TempPathFactory, quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusserver.policy.counting._PATIENCE", 0.05)
    may_count = asyncio.Event()
    uploads = {each: an_upload(each) for each in ("a" * 32, "b" * 32)}

    async def ids() -> AsyncIterator[str]:
        await may_count.wait()
        for upload_id in uploads:
            yield upload_id

    async def get(upload_id: str) -> Upload:
        return uploads[upload_id]

    with redis_server(tmp_path_factory.mktemp("redis")) as redis:
        ledger = RedisLedger(redis.address)
        accounts = Accounts(ledger, quota, ids, get)
        await accounts.start(MemoryLocker())
        try:
            may_count.set()
            while not ledger.is_whole():
                await asyncio.sleep(0.01)
            may_count.clear()
            with redis.client() as client:
                client.flushall()
            if quota == Quota():
                await accounts.reserve(uploads["a" * 32])
            else:
                with pytest.raises(StorageUnavailable):
                    await accounts.reserve(uploads["a" * 32])
            assert not ledger.is_whole()
            # The others are counted all the same, and nothing twice.
            may_count.set()
            while not ledger.is_whole():
                await asyncio.sleep(0.01)
            assert ledger.total() == Usage(20, 2, 2)
        finally:
            await accounts.close()
