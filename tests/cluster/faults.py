"""What may happen to a site: each fault lasts as long as the `with` around it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from tests.cluster.gate import Misdeed, Mood

if TYPE_CHECKING:
    from tests.cluster.site import Site
    from tests.servers import ProcessServer

LEASE = 4.0
"""Seconds that a lock lives in Redis without its holder (docs/redis-locks.md)."""

Fault = Callable[["Site", random.Random], AbstractContextManager[None]]


@contextmanager
def node_killed(site: Site, chance: random.Random) -> Iterator[None]:
    node = chance.choice(site.nodes)
    node.kill()
    yield
    node.start()


@contextmanager
def node_stopped_past_the_lease(site: Site, chance: random.Random) -> Iterator[None]:
    """It goes on with what it did as if nothing had been, while others have its uploads."""
    node = chance.choice(site.nodes)
    pause(node)
    try:
        time.sleep(LEASE + 1)
        yield
    finally:
        go_on(node)


def pause(node: ProcessServer) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)


def go_on(node: ProcessServer) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_restarted(site: Site, chance: random.Random) -> Iterator[None]:
    """It comes back without anything it knew."""
    site.redis.kill()
    yield
    site.redis.start()


@contextmanager
def redis_paused_past_the_lease(site: Site, chance: random.Random) -> Iterator[None]:
    site.redis.pause()
    try:
        time.sleep(LEASE + 1)
        yield
    finally:
        site.redis.go_on()


@contextmanager
def s3_killed(site: Site, chance: random.Random) -> Iterator[None]:
    site.s3.kill()
    yield
    site.s3.start()


@contextmanager
def s3_paused(site: Site, chance: random.Random) -> Iterator[None]:
    site.s3.pause()
    try:
        yield
    finally:
        site.s3.go_on()


def s3_that(misdeed: Misdeed, *, delay: float = 0.0) -> Fault:
    """An S3 service that does so to some requests, or to all."""

    @contextmanager
    def misbehaves(site: Site, chance: random.Random) -> Iterator[None]:
        site.gate.mood = Mood(misdeed, chance.choice((0.2, 0.5, 1.0)), delay)
        try:
            yield
        finally:
            site.gate.mood = None

    return misbehaves


FAULTS: dict[str, Fault] = {
    "a node is killed": node_killed,
    "a node is stopped past the lease": node_stopped_past_the_lease,
    "Redis is restarted": redis_restarted,
    "Redis is paused past the lease": redis_paused_past_the_lease,
    "the S3 service is killed": s3_killed,
    "the S3 service is paused": s3_paused,
    "the S3 service answers 503": s3_that(Misdeed.BUSY),
    "the S3 service answers 500": s3_that(Misdeed.BROKEN),
    "the S3 service is slow": s3_that(Misdeed.SLOW, delay=1.0),
    "connections to S3 break in the middle of a part": s3_that(Misdeed.CUT_IN_BODY),
    "answers of S3 are lost": s3_that(Misdeed.CUT_IN_ANSWER),
}
