"""Two users, fifty uploads each at once, two workers, and quotas into which half of them fits: what
is accepted is what fits, and the sums are exact, also after the server was killed in the middle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from tests.policy.quotas import ledger_of, stored, usage
from tests.servers import ProcessServer, process_server
from tests.tus import OCTETS, VERSION, Tus, eventually
from tests.wire import ConnectionEnded
from tusserver.policy.ledger import Usage

SECRET = "a secret of thirty-two bytes at the least"
USERS = ("alice", "bob")
COUNT, FITTING, SIZE = 50, 25, 3000
QUOTA = FITTING * SIZE
HALF = b"x" * (SIZE // 2)


@dataclass(frozen=True)
class User:
    """A user at one server."""

    name: str
    tus: Tus

    def headers(self, **more: str) -> dict[str, str]:
        claims = {"sub": self.name, "exp": int(time.time()) + 600}
        return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}", **more}

    def with_length(self) -> bool:
        """Whether an upload with all its length at once is accepted."""
        answer = self.tus.post(self.headers(**{"Upload-Length": str(SIZE)}))
        return self._is_accepted(answer.status)

    def with_upload(self) -> bool:
        """The same with the first half of its bytes."""
        answer = self.tus.post(self.headers(**{"Upload-Length": str(SIZE)}, **OCTETS), HALF)
        return self._is_accepted(answer.status)

    def deferred(self) -> bool:
        """The same with a length that is declared with the first bytes."""
        answer = self.tus.post(self.headers(**{"Upload-Defer-Length": "1"}))
        assert answer.status == 201, answer
        declared = self.headers(**{"Upload-Length": str(SIZE)})
        return self._is_accepted(self.tus.pa(self.tus.location(answer), 0, HALF, declared).status)

    def announced(self) -> bool:
        """The same with all its bytes in one request, and a length that is never declared."""
        answer = self.tus.post(self.headers(**{"Upload-Defer-Length": "1"}))
        assert answer.status == 201, answer
        url = self.tus.location(answer)
        return self._is_accepted(self.tus.pa(url, 0, HALF * 2, self.headers()).status)

    def _is_accepted(self, status: int) -> bool:
        assert status in (201, 204, 413), status
        return status != 413

    def ways(self) -> tuple[Callable[[], bool], ...]:
        return self.with_length, self.with_upload, self.deferred, self.announced


@pytest.fixture
def up(tmp_path: Path) -> Path:
    return tmp_path / "up"


@pytest.fixture
def interval() -> str:
    """How often the server is swept."""
    return "0.3s"


@pytest.fixture
def server(up: Path, tmp_path: Path, interval: str) -> Iterator[ProcessServer]:
    (tmp_path / "secret").write_text(SECRET)
    options = ("--jwt-secret-file", str(tmp_path / "secret"), "--quota-size", str(QUOTA))
    with process_server(up, "--workers", "2", "--sweep-interval", interval, *options) as made:
        yield made


class Rush:
    """All users with all their uploads at the same time; `wait` says how many were accepted."""

    def __init__(self, tus: Tus, count: int = COUNT) -> None:
        users = [User(name, tus) for name in USERS]
        self._pool = ThreadPoolExecutor(count * len(users))
        self._together = threading.Barrier(count * len(users))
        self._asked = {
            user.name: [self._pool.submit(self._ask, user, number) for number in range(count)]
            for user in users
        }

    def _ask(self, user: User, number: int) -> bool:
        ways = user.ways()
        self._together.wait(20)
        # Cut off by a kill: nobody has said that it was accepted.
        with suppress(ConnectionEnded, OSError):
            return ways[number % len(ways)]()
        return False

    def wait(self) -> dict[str, int]:
        accepted = {name: sum(ask.result() for ask in asked) for name, asked in self._asked.items()}
        self._pool.shutdown()
        return accepted


def assert_exact(up: Path) -> None:
    """The ledger says what there is in the store, and nobody has too much."""
    assert counted(up) == held(up)
    assert all(each.size <= QUOTA for each in held(up).values())


def counted(up: Path) -> dict[str, Usage]:
    return {name: usage(up, name) for name in USERS}


def held(up: Path) -> dict[str, Usage]:
    return dict.fromkeys(USERS, Usage(0, 0, 0)) | stored(up)


def test_of_uploads_at_once_as_many_are_accepted_as_fit(server: ProcessServer, up: Path) -> None:
    assert len(server.workers()) == 2
    assert Rush(server.tus).wait() == dict.fromkeys(USERS, FITTING)
    assert {name: usage(up, name).size for name in USERS} == dict.fromkeys(USERS, QUOTA)
    assert_exact(up)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_the_sums_are_exact_after_the_server_was_killed(
    server: ProcessServer, up: Path, share: float
) -> None:
    rush = Rush(server.tus)
    with ledger_of(up) as ledger:
        eventually(lambda: ledger.total().size >= share * QUOTA * len(USERS))
    server.kill()
    rush.wait()
    assert all(usage(up, name).size <= QUOTA for name in USERS)
    server.start()
    # Its sweepers put right what was reserved and never came to be.
    eventually(lambda: counted(up) == held(up))
    fitting = {name: (QUOTA - usage(up, name).size) // SIZE for name in USERS}
    assert Rush(server.tus).wait() == fitting
    assert_exact(up)


@pytest.mark.parametrize("interval", ["off"])
def test_reservations_of_the_dead_keep_nobody_out(server: ProcessServer, up: Path) -> None:
    """Even before a sweeper has been there."""
    alice = User("alice", server.tus)
    answer = server.tus.post(alice.headers(**{"Upload-Defer-Length": "1"}))
    url = server.tus.location(answer)
    chunks = {**VERSION, **OCTETS, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    with server.tus.wire() as wire:
        head = "".join(f"{name}: {value}\r\n" for name, value in alice.headers(**chunks).items())
        wire.send(f"PATCH {url} HTTP/1.1\r\nHost: a\r\n{head}\r\n5\r\nhello\r\n".encode())
        # So much is reserved. Of a body that might end with a checksum nothing outlives a crash.
        eventually(lambda: usage(up, "alice") == Usage(QUOTA, 1, 1))
        assert not alice.with_length(), "the body that is running may need all"
        server.kill()
    server.start()
    assert all(alice.with_length() for _ in range(FITTING))
    assert not alice.with_length()


def test_what_is_deleted_or_expires_is_given_back(
    server: ProcessServer, up: Path, tmp_path: Path
) -> None:
    alice, bob = (User(name, server.tus) for name in USERS)
    for each in (alice, bob):
        for way in each.ways():
            assert way()
    with ledger_of(up) as ledger:
        urls = [f"/files/{entry.upload_id}" for entry in ledger.batch(None, "alice", 99)]
    for url in urls:
        assert server.tus.delete(url, alice.headers()).status == 204
    assert (usage(up, "alice"), usage(up, "bob")) == (Usage(0, 0, 0), Usage(4 * SIZE, 4, 4))
    assert server.stop() == 0
    with process_server(
        up, "--workers", "2", "--quota-size", str(QUOTA), "--expire-after", "1s",
        "--sweep-interval", "0.2s",
    ):  # fmt: skip
        eventually(lambda: usage(up, "bob") == Usage(0, 0, 0))
    assert stored(up) == {}
