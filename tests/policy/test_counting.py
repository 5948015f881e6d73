"""A ledger that has to be counted anew, while the store that is counted fails."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checking.proxy import Proxy, answering, error, honest, proxy_to
from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import serving
from tests.store.s3_server import S3Server
from tests.tus import eventually

FAILED = "the uploads could not be counted: "


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with proxy_to(s3.port) as proxy:
        yield proxy


@pytest.fixture
def settings(s3: S3Server, proxy: Proxy, redis: RedisServer, tmp_path: Path) -> dict[str, Any]:
    s3.publish_keys()
    store = {**s3.settings(f"{secrets.token_hex(4)}/"), "s3_endpoint": proxy.endpoint}
    return {**store, "lock": redis.address, "upload_dir": tmp_path / "uploads"}


PASSING, LASTING = error(409, "OperationAborted"), error(403, "AccessDenied")
FAILURES = {
    "list": (answering("ListObjectsV2", PASSING), 423, "ListObjectsV2 operation: OperationAborted"),
    "read": (answering("GetObject", PASSING), 423, "GetObject operation: OperationAborted"),
    "rights": (answering("ListObjectsV2", LASTING), 500, "ListObjectsV2 operation: AccessDenied"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_why_uploads_cannot_be_counted_is_told_once_for_each_attempt(
    settings: dict[str, Any],
    proxy: Proxy,
    redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    fault, status, words = FAILURES[name]

    def told() -> list[str]:
        return [line for line in caplog.messages if line.startswith(FAILED)]

    with serving(**settings, quota_uploads=2) as tus:
        tus.mk(10)
        with redis.client() as client:
            client.delete("{tusserver}:ledger:whole")
        proxy.fault = fault
        answer = tus.post({"Upload-Length": "10"})
        assert answer.status == status, answer
        assert b"could not be counted" in answer.body
        assert words.encode() not in answer.body
        assert len(told()) == 1
        assert words in told()[0]
        assert [line for line in caplog.messages if line.startswith("POST") and words in line]
        assert tus.post({"Upload-Length": "10"}).status == status
        assert len(told()) == 2
        proxy.fault = honest
        assert [tus.post({"Upload-Length": "10"}).status for _ in range(2)] == [201, 413]
        assert len(told()) == 2


def test_a_count_that_fails_when_the_server_starts_is_told(
    settings: dict[str, Any], proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(**settings) as tus:
        tus.mk(10)
    proxy.fault = answering("ListObjectsV2", PASSING)
    with serving(**settings, quota_uploads=2) as tus:
        eventually(lambda: any(line.startswith(FAILED) for line in caplog.messages))
        proxy.fault = honest
        assert [tus.post({"Upload-Length": "10"}).status for _ in range(2)] == [201, 413]
