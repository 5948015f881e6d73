"""Sums that are exact, whoever is killed when."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lock.redis_server import RedisServer, redis_server
from tusserver.policy.ledger import (
    Entry,
    Exceeded,
    Filter,
    Ledger,
    LedgerFailed,
    LedgerLost,
    LedgerUnusable,
    Quota,
    Usage,
)
from tusserver.policy.ledger_file import FileLedger
from tusserver.policy.ledger_redis import RedisLedger

NONE = Quota()
MANUAL = Path(__file__).parents[2] / "docs" / "redis-locks.md"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["file", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The path or the address of a new ledger."""
    if request.param == "file":
        return str(tmp_path / "ledger.db")
    server: RedisServer = request.getfixturevalue("redis")
    with server.client() as client:
        client.flushall()
        # It would have to be counted first.
        client.set("{tusserver}:ledger:whole", "1")
    return server.address


def ledger_at(where: str) -> Ledger:
    return RedisLedger(where) if where.startswith("redis:") else FileLedger(Path(where))


@pytest.fixture
def ledger(where: str) -> Iterator[Ledger]:
    made = ledger_at(where)
    made.open()
    yield made
    made.close()


@pytest.fixture
def file_ledger(tmp_path: Path) -> Iterator[FileLedger]:
    made = FileLedger(tmp_path / "ledger.db")
    made.open()
    yield made
    made.close()


@pytest.fixture
def redis_ledger(redis: RedisServer) -> Iterator[RedisLedger]:
    """One that has never been counted."""
    with redis.client() as client:
        client.flushall()
    made = RedisLedger(redis.address)
    made.open()
    yield made
    made.close()


def entry(number: int, owner: str = "alice", size: int = 10, name: str = "") -> Entry:
    return Entry(f"{owner}-{number}", owner, size, float(number), name=name)


def ended(ledger: Ledger, upload_id: str) -> None:
    """The upload is not active any more."""
    ledger.put(replace(ledger.find([upload_id])[upload_id], is_active=False))


def test_an_owner_may_have_as_much_as_the_quota_says(ledger: Ledger) -> None:
    quota = Quota(size=25, uploads=9, active=9)
    ledger.reserve(entry(1), quota)
    ledger.reserve(entry(2), quota)
    with pytest.raises(Exceeded) as caught:
        ledger.reserve(entry(3), quota)
    assert (caught.value.which, caught.value.usage) == ("size", Usage(20, 2, 2))
    ledger.reserve(entry(1, "bob"), quota)
    ledger.release("alice-1")
    ledger.reserve(entry(3), quota)
    assert ledger.usage("alice") == Usage(20, 2, 2)


@pytest.mark.parametrize("which", ["uploads", "active"])
def test_uploads_are_counted_too(ledger: Ledger, which: str) -> None:
    quota = Quota(**{which: 2})
    ledger.reserve(entry(1), quota)
    ledger.reserve(entry(2), quota)
    ended(ledger, "alice-1")
    if which == "active":
        ledger.reserve(entry(3), quota)
    with pytest.raises(Exceeded) as caught:
        ledger.reserve(entry(4), quota)
    assert caught.value.which == which


def test_an_upload_may_grow_within_the_quota_and_shrink_always(ledger: Ledger) -> None:
    quota = Quota(size=30)
    ledger.reserve(entry(1), quota)
    ledger.reserve(entry(2), quota)
    ledger.resize("alice-1", 20, quota)
    with pytest.raises(Exceeded):
        ledger.resize("alice-1", 21, quota)
    ledger.resize("alice-1", 5, Quota(size=1))
    ledger.resize("nobody", 5, quota)
    assert ledger.usage("alice").size == 15


def test_what_is_done_twice_counts_once(ledger: Ledger) -> None:
    ledger.reserve(entry(1), NONE)
    for _ in range(2):
        ended(ledger, "alice-1")
        assert ledger.usage("alice") == Usage(10, 1, 0)
    for _ in range(2):
        ledger.release("alice-1")
        assert ledger.usage("alice") == Usage(0, 0, 0)


def test_pages_of_entries(ledger: Ledger) -> None:
    for number in range(7):
        ledger.reserve(
            entry(number, "alice" if number % 2 else "bob", number, f"F{number}.h5"), NONE
        )
    ended(ledger, "alice-3")
    newest = [each.created for each in ledger.entries(Filter(), limit=3, skip=1)]
    assert newest == [5, 4, 3]
    alice = Filter(owner="alice")
    assert [each.size for each in ledger.entries(alice, order="size", descending=False)] == [
        1,
        3,
        5,
    ]
    assert ledger.count(alice) == 3
    assert [each.upload_id for each in ledger.entries(Filter(is_active=False))] == ["alice-3"]
    assert [each.name for each in ledger.entries(Filter(name="f4"))] == ["F4.h5"]
    assert ledger.entries(Filter(name="%"), order="name") == []
    found = ledger.find(["alice-3", "x"])
    assert found == {"alice-3": Entry("alice-3", "alice", 3, 3.0, is_active=False, name="F3.h5")}
    assert ledger.known(["x", "alice-3"]) == {"alice-3"}


WORKER = """
import sys
from tests.policy.test_ledger import *
ledger = ledger_at(sys.argv[1])
ledger.open()
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    try:
        entry = Entry(f"{sys.argv[2]}-{number}", "alice", 7, 0.0)
        ledger.reserve(entry, Quota(size=int(sys.argv[4])))
    except Exceeded:
        pass
"""


def worker(where: str, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, where, name, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_processes_share_one_quota(ledger: Ledger, where: str) -> None:
    processes = [worker(where, name, 50, 350) for name in ("a", "b")]
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert ledger.usage("alice") == Usage(350, 50, 50)


def test_a_killed_process_leaves_whole_entries(ledger: Ledger, where: str) -> None:
    for round_ in range(5):
        process = worker(where, str(round_), 10**6, 10**9)
        assert process.stdout is not None
        process.stdout.readline()
        before = ledger.usage("alice").uploads
        while ledger.usage("alice").uploads < before + 3:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        usage = ledger.usage("alice")
        assert usage.size == 7 * usage.uploads == 7 * ledger.count(Filter(owner="alice"))
    ledger.reserve(entry(1), NONE)


def test_several_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    for round_ in range(20):
        ledgers = [FileLedger(tmp_path / f"{round_}.db") for _ in range(4)]
        together = threading.Barrier(4)

        def open_together(ledger: FileLedger, together: threading.Barrier = together) -> None:
            together.wait(10)
            ledger.open()

        with ThreadPoolExecutor(4) as pool:
            for opening in [pool.submit(open_together, ledger) for ledger in ledgers]:
                opening.result()
        for ledger in ledgers:
            ledger.close()


def test_a_second_ledger_in_a_process_takes_nothing_from_the_first(
    ledger: Ledger, where: str
) -> None:
    """As the status API has one. The last process to close the file tidies up, and must not believe
    that it is the last.
    """
    ledger.reserve(entry(1), NONE)
    second = ledger_at(where)
    second.open()
    visitor = worker(where, "visitor", 1, 10**9)
    visitor.communicate(timeout=30)
    ledger.reserve(entry(2), NONE)
    second.close()
    after = worker(where, "after", 1, 10**9)
    after.communicate(timeout=30)
    assert ledger.usage("alice").uploads == 4


def test_as_much_as_is_left_is_reserved_behind_an_offset(ledger: Ledger) -> None:
    quota = Quota(size=100)
    ledger.reserve(entry(1), quota)
    ledger.reserve(entry(2, size=30), quota)
    assert ledger.stretch("alice-1", 5, 20, quota) == 20
    assert ledger.find(["alice-1"]) == {"alice-1": entry(1, size=25)}
    assert ledger.stretch("alice-1", 5, None, quota) == 65
    assert ledger.usage("alice") == Usage(100, 2, 2)
    with pytest.raises(Exceeded) as caught:
        ledger.stretch("alice-2", 30, None, quota)
    assert caught.value.usage == Usage(100, 2, 2)
    assert ledger.stretch("nobody's", 0, 7, quota) == 7


def test_batches_lead_through_all_entries(ledger: Ledger) -> None:
    made = [replace(entry(number), created=number // 3) for number in range(10)]
    others = [entry(number, "bob") for number in range(3)]
    for each in (*made, *others):
        ledger.put(each)
    found: list[Entry] = []
    while batch := ledger.batch(found[-1] if found else None, "alice", 4):
        found += batch
    assert found == made
    assert len(ledger.batch(None, None, 99)) == 13
    assert ledger.find(["bob-1", "bob-9"]) == {"bob-1": others[1]}


def fill(ledger: Ledger) -> None:
    for number in range(2, 10**4):
        ledger.reserve(entry(number), NONE)


def test_what_fails_changes_nothing(file_ledger: FileLedger) -> None:
    ledger = file_ledger
    ledger.reserve(entry(1), NONE)
    database = ledger._database
    assert database is not None
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerFailed) as caught:
        fill(ledger)
    assert caught.value.is_full
    usage = ledger.usage("alice")
    assert usage.size == 10 * usage.uploads == 10 * ledger.count(Filter(owner="alice"))
    database.execute("DROP TABLE uploads")
    with pytest.raises(LedgerFailed) as caught:
        ledger.release("alice-1")
    assert not caught.value.is_full


def test_it_is_nobody_elses_business(file_ledger: FileLedger, tmp_path: Path) -> None:
    file_ledger.reserve(entry(1), NONE)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(os.urandom(5000))
    with pytest.raises(LedgerUnusable, match="cannot keep the ledger"):
        FileLedger(tmp_path / "ledger.db").open()
    with pytest.raises(LedgerUnusable, match="cannot keep the ledger"):
        FileLedger(tmp_path / "missing" / "ledger.db").open()


def test_those_that_are_alike_come_by_their_id(ledger: Ledger) -> None:
    made = [replace(entry(number, size=5), created=1.0) for number in range(5)]
    for each in made:
        ledger.put(each)
    for order in ("created", "size", "name"):
        for descending in (False, True):
            wanted = made[::-1] if descending else made
            found = ledger.entries(Filter(), order=order, descending=descending, limit=3, skip=1)
            assert found == wanted[1:4]


@pytest.mark.parametrize("owner", [None, "alice"])
@pytest.mark.parametrize("is_active", [None, True, False])
@pytest.mark.parametrize("name", ["", "b"])
@pytest.mark.parametrize("since", [None, 2.0])
def test_a_filter_finds_what_it_says_and_counts_it(
    ledger: Ledger, owner: str | None, is_active: bool | None, name: str, since: float | None
) -> None:
    made = [
        replace(entry(number, who, name="abc"[number % 3]), is_active=number % 2 == 0)
        for who in ("alice", "bob")
        for number in range(6)
    ]
    for each in made:
        ledger.put(each)
    wanted = Filter(owner=owner, is_active=is_active, name=name, since=since)
    right = {
        each.upload_id
        for each in made
        if owner in (None, each.owner)
        and is_active in (None, each.is_active)
        and name in each.name
        and (since is None or each.created > since)
    }
    assert {each.upload_id for each in ledger.entries(wanted)} == right
    assert ledger.count(wanted) == len(right)


def test_what_is_added_is_only_what_was_unknown(ledger: Ledger) -> None:
    ledger.put(entry(1, size=7))
    ledger.add([entry(1), entry(2)])
    assert ledger.usage("alice") == Usage(17, 2, 2)
    assert ledger.total() == Usage(17, 2, 2)


def test_a_change_of_everything_leaves_right_sums(ledger: Ledger) -> None:
    chance = random.Random(5)
    has: dict[str, Entry] = {}
    for _ in range(400):
        number, owner = chance.randrange(20), chance.choice(("alice", "bob"))
        upload_id = f"upload-{number}"
        if chance.random() < 0.3:
            ledger.release(upload_id)
            has.pop(upload_id, None)
            continue
        size, is_active = chance.choice((0, 1, 2**52)), chance.random() < 0.5
        has[upload_id] = Entry(upload_id, owner, size, float(number), is_active=is_active)
        ledger.put(has[upload_id])
    for owner in ("alice", "bob"):
        own = [each for each in has.values() if each.owner == owner]
        sums = sum(each.size for each in own), len(own), sum(each.is_active for each in own)
        assert ledger.usage(owner) == Usage(*sums)
        assert {each.upload_id for each in ledger.entries(Filter(owner=owner))} == {
            each.upload_id for each in own
        }
    assert ledger.total().uploads == len(has)
    active = {each.upload_id for each in has.values() if each.is_active}
    assert {each.upload_id for each in ledger.entries(Filter(is_active=True))} == active


def test_to_ask_twice_is_to_ask_once(redis_ledger: RedisLedger) -> None:
    """As it is when the first answer was lost."""
    assert redis_ledger.end_count(redis_ledger.begin_count())
    quota = Quota(size=15, uploads=1, active=1)
    for _ in range(2):
        redis_ledger.reserve(entry(1), quota)
    for _ in range(2):
        redis_ledger.resize("alice-1", 15, quota)
    assert redis_ledger.usage("alice") == Usage(15, 1, 1)


def test_a_redis_that_has_forgotten_everything_reserves_nothing(
    redis: RedisServer, redis_ledger: RedisLedger
) -> None:
    ledger = redis_ledger
    assert not ledger.is_whole()
    for reserve in (
        lambda: ledger.reserve(entry(1), NONE),
        lambda: ledger.resize("alice-1", 5, NONE),
        lambda: ledger.stretch("alice-1", 0, None, Quota(size=5)),
    ):
        with pytest.raises(LedgerLost):
            reserve()
    token = ledger.begin_count()
    with redis.client() as client:
        client.flushall()
    assert not ledger.end_count(token)
    assert not ledger.is_whole()
    assert ledger.end_count(ledger.begin_count())
    assert ledger.is_whole()
    ledger.reserve(entry(1), NONE)


def test_a_redis_that_does_not_answer_is_told(redis: RedisServer) -> None:
    ledger = RedisLedger(redis.address)
    ledger.open()
    redis.kill()
    try:
        with pytest.raises(LedgerFailed) as caught:
            ledger.put(entry(1))
        assert caught.value.is_passing
        with pytest.raises(LedgerUnusable, match="cannot keep the ledger in Redis"):
            RedisLedger(redis.address).open()
    finally:
        redis.start()
        redis.let_age()
    ledger.put(entry(1))
    ledger.close()


def test_the_rights_that_the_manual_names_are_enough(
    redis: RedisServer, redis_ledger: RedisLedger
) -> None:
    found = re.search(r"rights: `([^`]+)`", MANUAL.read_text())
    assert found
    with redis.client() as client:
        rights = found[1].split()
        client.execute_command("ACL", "SETUSER", "tus", "on", ">secret", "resetkeys", *rights)
    ledger = RedisLedger(redis.address.replace("://", "://tus:secret@"))
    ledger.open()
    assert ledger.end_count(ledger.begin_count())
    assert ledger.is_whole()
    ledger.reserve(entry(1), NONE)
    ledger.put(entry(1, "bob"))
    ledger.add([entry(2)])
    ledger.resize("alice-1", 20, NONE)
    assert ledger.stretch("alice-2", 5, 20, Quota(size=99)) == 20
    assert ledger.total() == Usage(55, 3, 3)
    assert ledger.count(Filter()) == len(ledger.entries(Filter())) == 3
    assert len(ledger.batch(None, None, 9)) == 3
    ledger.release("alice-1")
    ledger.close()
