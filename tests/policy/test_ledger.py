"""Sums that are exact, whoever is killed when."""

from __future__ import annotations

import os
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

from tusserver.policy.ledger import (
    Entry,
    Exceeded,
    Filter,
    Ledger,
    LedgerFailed,
    LedgerUnusable,
    Quota,
    Usage,
)

NONE = Quota()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    made.open()
    yield made
    made.close()


def entry(number: int, owner: str = "alice", size: int = 10, name: str = "") -> Entry:
    return Entry(f"{owner}-{number}", owner, size, float(number), name=name)


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
    ledger.finish("alice-1")
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
        ledger.finish("alice-1")
        assert ledger.usage("alice") == Usage(10, 1, 0)
    for _ in range(2):
        ledger.release("alice-1")
        assert ledger.usage("alice") == Usage(0, 0, 0)


def test_pages_of_entries(ledger: Ledger) -> None:
    for number in range(7):
        ledger.reserve(
            entry(number, "alice" if number % 2 else "bob", number, f"F{number}.h5"), NONE
        )
    ledger.finish("alice-3")
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
    found = ledger.get("alice-3")
    assert found == Entry("alice-3", "alice", 3, 3.0, is_active=False, name="F3.h5")
    assert ledger.get("x") is None


WORKER = """
import sys
from pathlib import Path
from tusserver.policy.ledger import *
ledger = Ledger(Path(sys.argv[1]))
ledger.open()
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    try:
        entry = Entry(f"{sys.argv[2]}-{number}", "alice", 7, 0.0)
        ledger.reserve(entry, Quota(size=int(sys.argv[4])))
    except Exceeded:
        pass
"""


def worker(path: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(path), name, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_processes_share_one_quota(ledger: Ledger, tmp_path: Path) -> None:
    processes = [worker(tmp_path / "ledger.db", name, 50, 350) for name in ("a", "b")]
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert ledger.usage("alice") == Usage(350, 50, 50)


def test_a_killed_process_leaves_whole_entries(ledger: Ledger, tmp_path: Path) -> None:
    for round_ in range(5):
        process = worker(tmp_path / "ledger.db", str(round_), 10**6, 10**9)
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
        ledgers = [Ledger(tmp_path / f"{round_}.db") for _ in range(4)]
        together = threading.Barrier(4)

        def open_together(ledger: Ledger, together: threading.Barrier = together) -> None:
            together.wait(10)
            ledger.open()

        with ThreadPoolExecutor(4) as pool:
            for opening in [pool.submit(open_together, ledger) for ledger in ledgers]:
                opening.result()
        for ledger in ledgers:
            ledger.close()


def test_a_second_ledger_in_a_process_takes_nothing_from_the_first(
    ledger: Ledger, tmp_path: Path
) -> None:
    """As the status API has one. The last process to close the file tidies up, and must not believe
    that it is the last.
    """
    ledger.reserve(entry(1), NONE)
    second = Ledger(tmp_path / "ledger.db")
    second.open()
    visitor = worker(tmp_path / "ledger.db", "visitor", 1, 10**9)
    visitor.communicate(timeout=30)
    ledger.reserve(entry(2), NONE)
    second.close()
    after = worker(tmp_path / "ledger.db", "after", 1, 10**9)
    after.communicate(timeout=30)
    assert ledger.usage("alice").uploads == 4


def test_as_much_as_is_left_is_reserved_behind_an_offset(ledger: Ledger) -> None:
    quota = Quota(size=100)
    ledger.reserve(entry(1), quota)
    ledger.reserve(entry(2, size=30), quota)
    assert ledger.stretch("alice-1", 5, 20, quota) == 20
    assert ledger.get("alice-1") == entry(1, size=25)
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


def test_what_fails_changes_nothing(ledger: Ledger) -> None:
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


def test_it_is_nobody_elses_business(ledger: Ledger, tmp_path: Path) -> None:
    ledger.reserve(entry(1), NONE)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(os.urandom(5000))
    with pytest.raises(LedgerUnusable, match="cannot keep the ledger"):
        Ledger(tmp_path / "ledger.db").open()
    with pytest.raises(LedgerUnusable, match="cannot keep the ledger"):
        Ledger(tmp_path / "missing" / "ledger.db").open()
