"""Quotas where the length of an upload is not known, where uploads are joined, and where the ledger
and the store do not agree.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.policy.quotas import by_name, ledger_of, metadata, stored, usage, user
from tests.servers import serving
from tests.tus import OCTETS, Tus, chunked_headers, eventually
from tests.wire import Answer, chunked, head
from tusserver.policy import ledger_file as ledgers
from tusserver.policy.hooks import Hooks
from tusserver.policy.ledger import Entry, Quota, Usage
from tusserver.protocol.access import Caller
from tusserver.protocol.upload import Upload

PARTIAL = {"Upload-Concat": "partial"}


@pytest.fixture
def up(tmp_path: Path) -> Path:
    return tmp_path / "up"


def upload_id(url: str) -> str:
    return url.rpartition("/")[2]


def join(tus: Tus, *parts: str) -> Answer:
    return tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})


# Lengths that are not known.


def test_bytes_of_an_upload_without_a_length_count_once_they_are_announced(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        assert usage(up) == Usage(0, 1, 1)
        assert tus.pa(url, 0, b"x" * 60).status == 204
        answer = tus.pa(url, 60, b"x" * 41)
        assert (answer.status, b"ERR_QUOTA_EXCEEDED" in answer.body) == (413, True)
        assert (tus.off(url), usage(up)) == (60, Usage(60, 1, 1))
        assert tus.post({"Upload-Length": "41"}).status == 413
        assert tus.pa(url, 60, b"x" * 40).status == 204


def test_a_length_beyond_the_quota_is_not_declared(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        answer = tus.pa(url, 0, b"x", {"Upload-Length": "101"})
        assert (answer.status, b"ERR_QUOTA_EXCEEDED" in answer.body) == (413, True)
        assert tus.hd(url)["Upload-Defer-Length"] == "1"
        assert tus.pa(url, 0, b"x", {"Upload-Length": "100"}).status == 204
        assert usage(up) == Usage(100, 1, 1)


def test_what_a_body_of_unknown_length_does_not_use_is_given_back(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        with tus.wire() as wire:
            wire.send(head("PATCH", url, chunked_headers(0)) + b"5\r\nhello\r\n")
            eventually(lambda: usage(up).size == 100)
            assert tus.post({"Upload-Length": "1"}).status == 413, "it may still need all"
            wire.send(b"0\r\n\r\n")
            assert wire.answer("PATCH").status == 204
        assert usage(up) == Usage(5, 1, 1)
        tus.mk(95)


def test_what_a_broken_body_does_not_use_is_given_back(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        with tus.begin_patch(url, 0, 90) as wire:
            wire.send(b"x" * 30)
            eventually(lambda: tus.off(url) == 30)
            assert usage(up).size == 90
        eventually(lambda: usage(up).size == 30)
        wrong = {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
        assert tus.pa(url, 30, b"x" * 50, wrong).status == 460
        assert usage(up).size == 30
        declared = {**wrong, "Upload-Length": "100"}
        assert tus.pa(url, 30, b"x" * 50, declared).status == 460
        assert usage(up) == stored(up)[""]


def test_a_creation_whose_bytes_do_not_fit_leaves_nothing(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        deferred = {"Upload-Defer-Length": "1", **OCTETS}
        assert tus.post(deferred, b"x" * 101).status == 413
        headers = {**chunked_headers(0), "Upload-Defer-Length": "1"}
        answer = tus.request("POST", tus.creation, headers, chunked(b"x" * 101))
        assert (answer.status, b"ERR_QUOTA_EXCEEDED" in answer.body) == (413, True)
        assert usage(up) == Usage(0, 0, 0)
        assert stored(up) == {}


# Concatenation.


def test_parts_and_what_they_are_joined_to_count_while_they_are_there(up: Path) -> None:
    with serving(up, quota_size=45, quota_active=2) as tus:
        parts = [tus.made(b"x" * 10, PARTIAL), tus.made(b"y" * 10, PARTIAL)]
        assert usage(up) == Usage(20, 2, 0), "a finished part is not active"
        assert join(tus, *parts).status == 201
        assert usage(up) == Usage(40, 3, 0)
        answer = join(tus, *parts)
        assert (answer.status, b"the 5 bytes that are left of your 45" in answer.body) == (
            413,
            True,
        )
        for part in parts:
            assert tus.delete(part).status == 204
        assert usage(up) == Usage(20, 1, 0)


def test_an_unfinished_sum_is_reserved_and_an_unknown_one_refused(up: Path) -> None:
    with serving(up, quota_size=45) as tus:
        part, deferred = tus.mk(20, PARTIAL), tus.mk(None, PARTIAL)
        final = tus.location(join(tus, part))
        assert usage(up) == Usage(40, 3, 3)
        answer = join(tus, deferred)
        assert (answer.status, b"declare the lengths of the parts" in answer.body) == (400, True)
        assert tus.pa(part, 0, b"x" * 20).status == 204
        eventually(lambda: tus.hd(final).get("Upload-Offset") == "20")
        eventually(lambda: usage(up) == Usage(40, 3, 1))
    with serving(up, quota_uploads=9) as tus:
        assert join(tus, deferred).status == 201, "where bytes are not counted it does no harm"


# A ledger that does not agree with the store.


def test_what_a_crash_left_in_the_ledger_does_not_keep_anybody_out(up: Path) -> None:
    """Killed between the reservation and the creation; or in the middle of a body."""
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        assert tus.pa(url, 0, b"x" * 10).status == 204
    with ledger_of(up) as ledger:
        ledger.reserve(Entry("lost", "", 40, time.time()), Quota())
        ledger.reserve(Entry("another's", "bob", 40, time.time()), Quota())
        ledger.resize(upload_id(url), 60, Quota())
    with serving(up, quota_size=100) as tus:
        assert tus.post({"Upload-Length": "91"}).status == 413
        tus.mk(90)
        assert usage(up) == Usage(100, 2, 2)
        assert usage(up, "bob") == Usage(40, 1, 1), "nobody asked"


def test_growth_is_not_refused_because_of_a_crash_either(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        url = tus.mk(None)
        with ledger_of(up) as ledger:
            ledger.reserve(Entry("lost", "", 100, time.time()), Quota())
        assert tus.pa(url, 0, b"x" * 50).status == 204
    with ledger_of(up) as ledger:
        ledger.reserve(Entry("lost", "", 50, time.time()), Quota())
    with serving(up, quota_size=100) as tus:
        patch = tus.request("PATCH", url, chunked_headers(50), chunked(b"x" * 50))
        assert patch.status == 204
        assert usage(up) == Usage(100, 1, 1)


def test_what_is_being_created_is_not_taken_for_lost(up: Path) -> None:
    """Its reservation stands before its record does."""
    creating, go, names = threading.Event(), threading.Event(), list[str]()

    async def on_create(upload: Upload, caller: Caller | None) -> None:
        if upload.metadata:
            return
        names.append(upload.upload_id)
        creating.set()
        while not go.is_set():
            await asyncio.sleep(0.005)

    with serving(up, hooks=Hooks(on_create=on_create), quota_size=100) as tus:
        made: list[Answer] = []
        slow = threading.Thread(target=lambda: made.append(tus.post({"Upload-Length": "60"})))
        slow.start()
        assert creating.wait(10)
        with ledger_of(up) as ledger:
            ledger.reserve(Entry(names[0], "", 40, 0.0), Quota())
        other = tus.post({"Upload-Length": "61", **metadata(filename="a")})
        assert other.status == 413
        go.set()
        slow.join(10)
        assert made[0].status == 201
        assert usage(up) == Usage(60, 1, 1)


def test_entries_are_read_once_however_often_somebody_is_refused(up: Path) -> None:
    """An answer of 413 must not cost a look at everything that one has."""
    with serving(up, quota_uploads=1) as tus:
        tus.mk(1)
        assert tus.post({"Upload-Length": "1"}).status == 413
        with ledger_of(up) as ledger:
            ledger.reserve(Entry("lost", "", 1, time.time()), Quota())
            ledger.release(ledger.batch(None, "", 9)[0].upload_id)
        assert tus.post({"Upload-Length": "1"}).status == 413, "it was looked at just now"


def test_uploads_from_before_the_quotas_are_counted(up: Path) -> None:
    with serving(up, check=by_name) as tus:
        tus.mk(10, user("alice"))
        finished = tus.mk(5, {**user("alice"), **metadata(filename="a.h5")})
        assert tus.pa(finished, 0, b"12345", user("alice")).status == 204
        deferred = tus.mk(None, user("bob"))
        assert tus.pa(deferred, 0, b"x" * 7, user("bob")).status == 204
    assert not (up / ".tusserver" / "ledger.db").exists()
    with ledger_of(up) as ledger:
        for number in range(200):
            ledger.reserve(Entry(f"lost {number}", "alice", 1, number % 3), Quota())
    with serving(up, check=by_name, quota_size=20, sweep_interval=timedelta(seconds=0.1)) as tus:
        eventually(lambda: usage(up, "alice") == Usage(15, 2, 1))
        eventually(lambda: usage(up, "bob") == Usage(7, 1, 1))
        assert stored(up) == {"alice": Usage(15, 2, 1), "bob": Usage(7, 1, 1)}
        assert tus.post({"Upload-Length": "6", **user("alice")}).status == 413
        with ledger_of(up) as ledger:
            entry = ledger.get(upload_id(finished))
        assert entry is not None
        assert (entry.name, entry.is_active) == ("a.h5", False)


def test_a_pass_of_the_sweeper_leaves_what_is_in_use_alone(up: Path) -> None:
    """A running body has reserved more than is stored yet."""
    with serving(up, quota_size=100, sweep_interval=timedelta(seconds=0.05)) as tus:
        url, idle = tus.mk(None), tus.mk(None)
        with tus.begin_patch(url, 0, 90) as wire:
            wire.send(b"x" * 30)
            eventually(lambda: tus.off(url) == 30)
            with ledger_of(up) as ledger:
                ledger.put(replace(_entry(up, idle), size=5))
            # A pass has been through once this is right again.
            eventually(lambda: _entry(up, idle).size == 0)
            assert _entry(up, url).size == 90


def _entry(up: Path, url: str) -> Entry:
    with ledger_of(up) as ledger:
        entry = ledger.get(upload_id(url))
    assert entry is not None
    return entry


# A ledger that fails.


def test_a_ledger_that_cannot_be_written_is_a_failure_of_the_storage(
    up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "_PATIENCE", 0.1)
    with serving(up, quota_size=100) as tus, ledger_of(up) as other:
        with other._transaction():
            answer = tus.post({"Upload-Length": "5"})
            assert (answer.status, b"ERR_STORAGE_FAILED" in answer.body) == (500, True)
        assert stored(up) == {}
        tus.mk(5)
