"""The connections to Redis: made from an address, tried out, and shown without the password."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from tusserver.lock.base import LockerUnusable

if TYPE_CHECKING:
    from typing import Any

_CONNECTIONS = 32
"""Questions of one process that may be under way; one takes a fifth of a millisecond."""
FAILURES = (RedisError, OSError)
"""What the library raises when Redis does not answer, or not as it should."""


def connect(address: str, answer_within: float) -> Redis:
    """A client that has no connection yet, for the running event loop. Nothing waits for longer
    than `answer_within` seconds.
    """
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        address,
        max_connections=_CONNECTIONS,
        timeout=answer_within,
        socket_timeout=answer_within,
        socket_connect_timeout=answer_within,
        # Of a connection that Redis has closed meanwhile one hears only when it is used. What has
        # taken too long is not tried again: somebody waits.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        protocol=2,
        **_socket_options(address),
    )
    return Redis.from_pool(pool)


def _socket_options(address: str) -> dict[str, Any]:
    return {} if urlsplit(address).scheme == "unix" else {"socket_keepalive": True}


async def refuse_unsuitable(client: Redis, address: str) -> None:
    """Raises LockerUnusable if this Redis does not answer, or cannot be relied on for locks."""
    try:
        info = await client.info("memory")
    except FAILURES as error:
        raise unusable(address, error) from error
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        raise LockerUnusable(
            f"Redis at {shown(address)} may throw locks away when it is short of memory "
            f"(maxmemory-policy {policy}); set the policy to noeviction"
        )


def unusable(address: str, error: BaseException) -> LockerUnusable:
    """What to tell the operator when Redis failed at the start."""
    reason = str(error) or type(error).__name__
    return LockerUnusable(f"cannot keep locks in Redis at {shown(address)}: {reason}")


def shown(address: str) -> str:
    """The address without user and password, and without its options."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
