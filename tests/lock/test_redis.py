"""The Redis locker beyond the contract: what becomes of locks when Redis, a connection or a holder
stops, dies or forgets.

Nothing here depends on how fast the machine is, except that a holder that is asked to let go has
the time to do so.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tests.lock.redis_server import PREFIX, RedisServer, redis_server
from tests.servers import free_port
from tusserver.lock.base import LockerUnusable, LockLost, require_held
from tusserver.lock.redis import Lease, RedisLock, RedisLocker, boot_time
from tusserver.protocol.errors import StorageUnavailable, UploadLocked

pytestmark = pytest.mark.anyio

MANUAL = Path(__file__).parents[2] / "docs" / "redis-locks.md"
LEASE = Lease(seconds=2)
MakeLocker = Callable[..., Awaitable[RedisLocker]]

HOLDER = """
import asyncio, sys
from tusserver.lock.redis import Lease, RedisLocker

async def main():
    locker = RedisLocker(sys.argv[1], Lease(seconds=float(sys.argv[2])))
    await locker.start()
    lock = await locker.acquire("a", 5)
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(lock.is_held, flush=True)
    # Renewals have come through by then, if they were ever to help.
    await asyncio.sleep(locker.lease.renewed_every * 2)
    print(lock.is_held, flush=True)
    await lock.release()
    await locker.close()

asyncio.run(main())
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def make_locker(redis: RedisServer) -> AsyncIterator[MakeLocker]:
    """Starts lockers, each as that of one process."""
    async with AsyncExitStack() as stack:

        async def make(lease: Lease = LEASE) -> RedisLocker:
            locker = RedisLocker(redis.address, lease)
            await locker.start()
            stack.push_async_callback(locker.close)
            return locker

        yield make


def hold(redis: RedisServer) -> subprocess.Popen[str]:
    """Another process that holds the lock on the upload `a`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, redis.address, str(LEASE.seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def until_lost(lock: RedisLock) -> None:
    while lock.is_held:
        await asyncio.sleep(0.01)


# Redis stops answering.


async def test_a_holder_is_asked_to_let_go_while_the_lock_still_counts(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    lock = await (await make_locker(Lease(seconds=4))).acquire("a", 5)
    asked = asyncio.Event()
    redis.pause()
    lock.on_release_request(asked.set)
    await asked.wait()
    assert lock.is_held
    redis.go_on()
    await lock.release()


async def test_a_lost_lock_stays_lost(redis: RedisServer, make_locker: MakeLocker) -> None:
    holder, newcomer = await make_locker(), await make_locker()
    lock = await holder.acquire("a", 5)
    redis.pause()
    await until_lost(lock)
    redis.go_on()
    heir = await newcomer.acquire("a", 20)
    assert heir.is_held
    await heir.release()
    # Nothing is in the way of renewals now, and the key is free.
    await asyncio.sleep(LEASE.renewed_every * 2)
    assert not lock.is_held
    with pytest.raises(LockLost):
        require_held(lock)
    await lock.release()
    await (await newcomer.acquire("a", 5)).release()


async def test_releasing_a_lost_lock_does_not_free_that_of_somebody_else(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    holder, newcomer = await make_locker(), await make_locker()
    lock = await holder.acquire("a", 5)
    redis.pause()
    await until_lost(lock)
    redis.go_on()
    heir = await newcomer.acquire("a", 20)
    await lock.release()
    assert await holder.try_acquire("a") is None
    await heir.release()


async def test_a_redis_that_does_not_answer_is_a_passing_trouble(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker()
    held = await locker.acquire("held", 5)
    redis.pause()
    with pytest.raises(StorageUnavailable):
        await locker.try_acquire("a")
    with pytest.raises(StorageUnavailable):
        await locker.acquire("a", 5)
    await held.release()
    redis.go_on()
    # What was asked in vain may have been granted, and is given back or runs out.
    for upload_id in ("a", "held"):
        await (await locker.acquire(upload_id, 20)).release()


class SlowWay:
    """A way to Redis on which answers take so many seconds."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self.delay = 0.0

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1")
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._redis.port)
        self._pipes.add(asyncio.create_task(self._pipe(reader, far_writer, is_slow=False)))
        self._pipes.add(asyncio.create_task(self._pipe(far_reader, writer, is_slow=True)))

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_slow: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if is_slow:
                    await asyncio.sleep(self.delay)
                writer.write(data)
        finally:
            writer.close()


async def test_a_lock_never_counts_for_longer_than_it_is_there_however_late_answers_come(
    redis: RedisServer,
) -> None:
    way = SlowWay(redis)
    locker = RedisLocker(await way.open(), Lease(seconds=2))
    await locker.start()
    lock = await locker.acquire("a", 5)
    way.delay = 0.3
    with redis.client() as client:
        for _ in range(2):
            before = client.pttl(f"{PREFIX}lock:a")
            while client.pttl(f"{PREFIX}lock:a") <= before:
                await asyncio.sleep(0.002)
                before = min(before, client.pttl(f"{PREFIX}lock:a"))
        # Redis has just renewed it. The answer is the last thing that comes through.
        await asyncio.sleep(0.35)
        await way.close()
        while lock.is_held:
            is_there = client.exists(f"{PREFIX}lock:a")
            assert is_there or not lock.is_held
            await asyncio.sleep(0.002)
    await lock.release()
    await locker.close()


# Redis forgets.


async def emptied(redis: RedisServer) -> None:
    with redis.client() as client:
        client.flushall()


async def restarted(redis: RedisServer) -> None:
    redis.kill()
    redis.snapshot.unlink(missing_ok=True)
    await asyncio.to_thread(redis.start)


async def restored(redis: RedisServer) -> None:
    """It comes back as it was before the lock."""
    redis.kill()
    await asyncio.to_thread(redis.start)


forgetting = pytest.mark.parametrize("forget", [emptied, restarted, restored])
Forget = Callable[[RedisServer], Awaitable[None]]


@forgetting
async def test_a_holder_keeps_its_lock_through_a_loss_of_memory(
    redis: RedisServer, make_locker: MakeLocker, forget: Forget
) -> None:
    holder, newcomer = await make_locker(Lease(seconds=3)), await make_locker(Lease(seconds=3))
    redis.save()
    lock = await holder.acquire("a", 5)
    await forget(redis)
    with pytest.raises(StorageUnavailable):
        await newcomer.acquire("other", 0)
    # Locks are given out again: by then the holder has put its own back.
    await (await newcomer.acquire("other", 30)).release()
    assert await newcomer.try_acquire("a") is None
    assert lock.is_held
    await lock.release()


@forgetting
async def test_what_is_forgotten_with_its_holder_is_free_after_a_lease(
    redis: RedisServer, make_locker: MakeLocker, forget: Forget
) -> None:
    newcomer = await make_locker()
    redis.save()
    with hold(redis) as process:
        process.kill()
    await forget(redis)
    forgotten = boot_time()
    while (lock := await patiently(newcomer)) is None:
        await asyncio.sleep(0.01)
    # Whoever held it might have believed in it for nearly that long.
    assert boot_time() - forgotten >= LEASE.held_for
    await lock.release()


async def patiently(locker: RedisLocker) -> RedisLock | None:
    with suppress(StorageUnavailable):
        return await locker.try_acquire("a")
    return None


async def test_a_start_waits_for_a_new_redis_to_give_out_locks(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--hz", "10") as redis:
        locker = RedisLocker(redis.address, Lease(seconds=1))
        began = boot_time()
        await locker.start()
        assert boot_time() - began >= 0.9
        lock = await locker.acquire("a", 0)
        await lock.release()
        await locker.close()
        again = RedisLocker(redis.address, Lease(seconds=1000))
        with redis.client() as client:
            client.hset(f"{PREFIX}ground", "born", 1)
        await again.start()
        await again.close()


async def test_a_lock_that_is_missing_although_nothing_was_forgotten_is_lost(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    lock = await (await make_locker(Lease(seconds=4))).acquire("a", 5)
    with redis.client() as client:
        client.delete(f"{PREFIX}lock:a")
        await until_lost(lock)
        # It may have been somebody else's meanwhile, and free again.
        assert redis.holders() == 0
    await lock.release()


async def test_a_lock_that_is_somebody_elses_in_redis_is_lost(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    lease = Lease(seconds=8)
    lock = await (await make_locker(lease)).acquire("a", 5)
    acquired = boot_time()
    with redis.client() as client:
        client.set(f"{PREFIX}lock:a", "theirs", px=60_000)
        await until_lost(lock)
        # With the next renewal, and not when the lease is over.
        assert boot_time() - acquired < lease.held_for
        await lock.release()
        assert client.get(f"{PREFIX}lock:a") == "theirs"
        assert client.pttl(f"{PREFIX}lock:a") > 10_000


async def test_numbers_of_locks_never_go_back(redis: RedisServer, make_locker: MakeLocker) -> None:
    locker = await make_locker(Lease(seconds=0.8))
    fences = []
    for step in (emptied, restarted, emptied):
        for _ in range(3):
            lock = await locker.acquire("a", 20)
            fences.append(lock.fence)
            await lock.release()
        await step(redis)
        with suppress(StorageUnavailable):
            await locker.acquire("a", 0)
    assert fences == sorted(set(fences))


async def test_a_clock_of_redis_that_was_set_back_does_not_lock_everybody_out(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker(Lease(seconds=1))
    with redis.client() as client:
        client.hset(f"{PREFIX}ground", "born", 4_000_000_000_000_000)
    await (await locker.acquire("a", 20)).release()


# Holders stop.


async def test_the_lock_of_a_killed_process_is_free_after_the_lease(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker()
    with hold(redis) as process:
        process.kill()
    assert await locker.try_acquire("a") is None
    await (await locker.acquire("a", 30)).release()


async def test_a_process_that_was_stopped_knows_that_its_lock_is_lost(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker()
    with hold(redis) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGSTOP)
        lock = await locker.acquire("a", 30)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        said = await asyncio.to_thread(process.stdout.readlines)
        assert said == ["False\n", "False\n"]
        assert lock.is_held
        await lock.release()


async def test_a_closed_locker_holds_nothing(redis: RedisServer, make_locker: MakeLocker) -> None:
    locker, other = RedisLocker(redis.address, Lease(seconds=600)), await make_locker()
    await locker.start()
    lock = await locker.acquire("a", 0)
    await locker.close()
    assert not lock.is_held
    await (await other.acquire("a", 0)).release()
    await lock.release()
    with pytest.raises(StorageUnavailable):
        await locker.acquire("a", 0)


# Cancellations.


async def test_an_acquisition_leaves_nothing_behind_wherever_it_is_cancelled(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker(Lease(seconds=600))
    chance = random.Random(1)
    for number in range(60):
        acquiring = asyncio.create_task(locker.acquire("a", 5))
        for _ in range(number % 8):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.choice((0, 0.0005, 0.001)))
        acquiring.cancel()
        with suppress(asyncio.CancelledError):
            await (await acquiring).release()
    # Within the time of a lease nothing runs out by itself.
    await (await locker.acquire("a", 20)).release()


async def test_a_release_that_is_cancelled_is_done_all_the_same(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker, other = await make_locker(Lease(seconds=600)), await make_locker()
    for steps in range(1, 7):
        lock = await locker.acquire("a", 20)
        releasing = asyncio.create_task(lock.release())
        for _ in range(steps):
            await asyncio.sleep(0)
        releasing.cancel()
        with suppress(asyncio.CancelledError):
            await releasing
        await (await other.acquire("a", 20)).release()


# The bus.


async def test_pleas_are_heard_again_after_the_connection_of_the_bus_was_lost(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    holder, newcomer = await make_locker(Lease(seconds=600)), await make_locker()
    lock = await holder.acquire("a", 5)
    with redis.client() as client:
        assert client.client_kill_filter(_type="pubsub") == 2
    asked = asyncio.Event()
    lock.on_release_request(asked.set)
    waiting = asyncio.create_task(newcomer.acquire("a", 20))
    await asked.wait()
    await lock.release()
    await (await waiting).release()


async def test_a_silent_bus_is_asked_whether_it_is_there_and_kept(
    redis: RedisServer, make_locker: MakeLocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tusserver.lock.redis_hearing._QUIET", 0.05)
    holder, newcomer = await make_locker(Lease(seconds=600)), await make_locker()
    lock = await holder.acquire("a", 5)
    with redis.client() as client:
        known = {one["id"] for one in client.client_list(_type="pubsub")}
        await asyncio.sleep(0.5)
        assert {one["id"] for one in client.client_list(_type="pubsub")} == known
    waiting = asyncio.create_task(newcomer.acquire("a", 20))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    await lock.release()
    await (await waiting).release()


async def test_who_waits_is_told_of_the_release(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    patient = Lease(seconds=600, look_again=60)
    holder, newcomer = await make_locker(patient), await make_locker(patient)
    lock = await holder.acquire("a", 5)
    waiting = asyncio.create_task(newcomer.acquire("a", 600))
    while not lock.release_requested:
        await asyncio.sleep(0.001)
    await lock.release()
    async with asyncio.timeout(20):
        await (await waiting).release()


async def test_a_plea_that_nobody_heard_comes_with_the_next_renewal(
    redis: RedisServer, make_locker: MakeLocker
) -> None:
    locker = await make_locker(Lease(seconds=4))
    lock = await locker.acquire("a", 5)
    with redis.client() as client:
        client.set(f"{PREFIX}wanted:a", "", px=60_000)
        while not lock.release_requested:
            await asyncio.sleep(0.01)
        await lock.release()
        # The next holder is not asked for what was asked of this one.
        heir = await locker.acquire("a", 5)
        assert not client.exists(f"{PREFIX}wanted:a")
    await heir.release()


@pytest.mark.parametrize(
    "message",
    [b"", b"plea", b"plea\0other", b"freed\0a", b"\xff\0\xff", b"plea\0" + b"x" * 100_000],
    ids=["empty", "no id", "another upload", "nobody waits", "no text", "long"],
)
async def test_foreign_messages_do_no_harm(
    redis: RedisServer, make_locker: MakeLocker, message: bytes
) -> None:
    lock = await (await make_locker()).acquire("a", 0)
    with redis.client() as client:
        assert client.publish(f"{PREFIX}bus", message) == 1
    await asyncio.sleep(0.05)
    assert not lock.release_requested
    await lock.release()


# Starting.


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("redis://someone:hunter2@127.0.0.1:{port}/0", "invalid username-password pair"),
        ("redis://:hunter2@127.0.0.1:1/0", "connect"),
        ("unix://:hunter2@/nowhere/redis.sock", "No such file"),
        ("redis://:hunter2@127.0.0.1:{port}/99", "Redis at redis://127.0.0.1:"),
    ],
    ids=["wrong password", "nobody there", "no socket", "no such database"],
)
async def test_an_address_that_does_not_work_is_one_sentence_without_the_password(
    redis: RedisServer, address: str, reason: str
) -> None:
    locker = RedisLocker(address.format(port=redis.port))
    with pytest.raises(LockerUnusable, match=reason) as caught:
        await locker.start()
    told = "".join(traceback.format_exception(caught.value)) + repr(locker)
    assert "hunter2" not in told.replace(address.format(port=redis.port), "")
    assert "hunter2" not in str(caught.value)


async def test_a_redis_that_throws_keys_away_is_refused(tmp_path: Path) -> None:
    options = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    refused = pytest.raises(LockerUnusable, match="maxmemory-policy allkeys-lru")
    with redis_server(tmp_path, *options) as redis, refused:
        await RedisLocker(redis.address).start()


async def test_the_rights_that_the_manual_names_are_enough(redis: RedisServer) -> None:
    found = re.search(r"rights: `([^`]+)`", MANUAL.read_text())
    assert found
    with redis.client() as client:
        rights = found[1].split()
        client.execute_command("ACL", "SETUSER", "tus", "on", ">secret", "resetkeys", *rights)
    address = redis.address.replace("://", "://tus:secret@") + "/2"
    first, second = (RedisLocker(address, Lease(seconds=1)) for _ in range(2))
    for locker in (first, second):
        await locker.start()
    lock = await first.acquire("a", 5)
    waiting = asyncio.create_task(second.acquire("a", 20))
    while not lock.release_requested:
        await asyncio.sleep(0.01)
    await asyncio.sleep(LEASE.seconds)
    assert lock.is_held
    await lock.release()
    await (await waiting).release()
    for locker in (first, second):
        await locker.close()


async def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with redis_server(tmp_path, "--unixsocket", str(path)) as redis:
        redis.let_age()
        locker = RedisLocker(f"unix://{path}?db=0")
        await locker.start()
        await (await locker.acquire("a", 0)).release()
        await locker.close()


async def test_so_will_tls_whose_certificate_is_looked_at(tmp_path: Path) -> None:
    key, certificate, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_port()
    self_signed = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *self_signed, *names, *files], check=True, capture_output=True)
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificate),
               "--tls-key-file", str(key), "--tls-auth-clients", "no")  # fmt: skip
    with redis_server(tmp_path, *options) as redis:
        redis.let_age()
        address = f"rediss://localhost:{port}/0"
        locker = RedisLocker(f"{address}?ssl_ca_certs={certificate}")
        await locker.start()
        await (await locker.acquire("a", 0)).release()
        await locker.close()
        with pytest.raises(LockerUnusable, match="certificate verify failed"):
            await RedisLocker(address).start()


async def test_a_replica_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    refused = pytest.raises(LockerUnusable, match=r"read.?only|loading|LOADING")
    options = ("--replicaof", f"127.0.0.1 {redis.port}")
    with redis_server(tmp_path, *options) as replica, refused:
        await RedisLocker(replica.address).start()


# Everything at once.


class Chaos:
    """Processes that want one lock without a pause, while Redis has its troubles."""

    def __init__(self, redis: RedisServer, seed: int) -> None:
        self._redis = redis
        self._chance = random.Random(seed)
        self.held: list[RedisLock] = []
        self.turns = 0
        self.is_over = False

    async def want(self, locker: RedisLocker) -> None:
        while not self.is_over:
            try:
                lock = await locker.acquire("a", 2)
            except UploadLocked:  # Also StorageUnavailable.
                await asyncio.sleep(0.01)
                continue
            # Here a second holder would begin to believe.
            assert not [other for other in self.held if other.is_held]
            self.held.append(lock)
            self.turns += lock.is_held
            await self._use(lock)
            self.held.remove(lock)
            await lock.release()

    async def _use(self, lock: RedisLock) -> None:
        """Some hold on although they are asked, until they have lost it, and a little longer."""
        is_stubborn = self._chance.random() < 0.3
        until = boot_time() + self._chance.uniform(0, 1.2)
        while boot_time() < until and (is_stubborn or not lock.release_requested):
            await asyncio.sleep(0.005)

    async def trouble(self) -> None:
        kind = self._chance.choice(("pause", "long pause", "restart", "flush", "cut", "rest"))
        if kind.endswith("pause"):
            self._redis.pause()
            await asyncio.sleep(self._chance.uniform(0.1, 0.4 if kind == "pause" else 1.2))
            self._redis.go_on()
        elif kind == "restart":
            self._redis.kill()
            await asyncio.sleep(self._chance.uniform(0, 0.6))
            await asyncio.to_thread(self._redis.start)
        elif kind == "flush":
            await emptied(self._redis)
        elif kind == "cut":
            with self._redis.client() as client:
                client.client_kill_filter(skipme=True, _type="normal")
        await asyncio.sleep(self._chance.uniform(0.2, 1.2))


@pytest.mark.parametrize("seed", [1, 2])
async def test_there_are_never_two_holders_whatever_redis_goes_through(
    redis: RedisServer, make_locker: MakeLocker, seed: int
) -> None:
    chaos = Chaos(redis, seed)
    lockers = [await make_locker(Lease(seconds=0.8, look_again=0.05)) for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for locker in lockers:
            tasks.create_task(chaos.want(locker))
        for _ in range(6):
            await chaos.trouble()
        chaos.is_over = True
    assert chaos.turns > 2
