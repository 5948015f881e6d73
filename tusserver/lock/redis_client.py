"""The connections to Redis: made from an address, tried out, and shown without the password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tusserver.lock.base import LockerUnusable
from tusserver.lock.redis_line import FAILURES, Line

if TYPE_CHECKING:
    from typing import Any

_MEMORY = re.compile(rb"^maxmemory:(\d+)\r$.*^maxmemory_policy:(\S+)\r$", re.DOTALL | re.MULTILINE)


def open_line(address: str, answer_within: float) -> Line:
    """Where scripts are asked for; not connected yet. For the running event loop."""
    return Line(_pool(address, answer_within).make_connection, answer_within)


def bus_client(address: str, answer_within: float) -> Redis:
    """A client to listen with; not connected yet. For the running event loop."""
    return Redis.from_pool(_pool(address, answer_within))


def _pool(address: str, connect_within: float) -> ConnectionPool:
    options: dict[str, Any] = {}
    if urlsplit(address).scheme != "unix":
        options["socket_keepalive"] = True
    return ConnectionPool.from_url(
        address,
        socket_connect_timeout=connect_within,
        # Time-outs of single reads and writes cost more than they do. The line watches over all
        # that it asks, and the bus asks whether it is still there.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **options,
    )


async def refuse_unsuitable(line: Line, address: str) -> None:
    """Raises LockerUnusable if this Redis does not answer, or cannot be relied on for locks."""
    try:
        info = await line.ask("INFO", "memory")
    except FAILURES as error:
        raise unusable(address, error) from error
    limit, policy = policy_in(info) or (0, "")
    if limit and policy != "noeviction":
        raise LockerUnusable(
            f"Redis at {shown(address)} may throw locks away when it is short of memory "
            f"(maxmemory-policy {policy}); set the policy to noeviction"
        )


def policy_in(info: object) -> tuple[int, str] | None:
    """What `INFO memory` says of its limit, in bytes or 0 for none, and of what happens there; None
    if it does not.
    """
    found = _MEMORY.search(info) if isinstance(info, bytes) else None
    return None if found is None else (int(found[1]), found[2].decode())


def unusable(address: str, error: BaseException) -> LockerUnusable:
    """What to tell the operator when Redis failed at the start."""
    reason = str(error) or type(error).__name__
    return LockerUnusable(f"cannot keep locks in Redis at {shown(address)}: {reason}")


def shown(address: str) -> str:
    """The address without user and password, and without its options."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
