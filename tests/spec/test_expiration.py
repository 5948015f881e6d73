"""EXP: unfinished uploads are removed after a while (expiration).

An upload is made old by setting back the time of its data file, which is the time of its last byte.
"""

from __future__ import annotations

import os
import re
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, eventually
from tusserver.events.base import Event, UploadExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Serve
    from tests.wire import Answer

FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
PARTIAL = {"Upload-Concat": "partial"}
HOUR = timedelta(hours=1)
DIGEST = {"Upload-Checksum": f"sha1 {b64encode(sha1(b'helloworld').digest()).decode()}"}
ROUNDING = timedelta(seconds=2)
"""Dates have whole seconds, and the clock of files is not the one that creation looks at."""


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tus, Path]]:
    """A server whose uploads expire after an hour and which never sweeps, and its directory."""
    upload_dir = tmp_path_factory.mktemp("lasting") / "uploads"
    with serving(upload_dir, expire_after="1h", sweep_interval="off") as tus:
        yield tus, upload_dir


@pytest.fixture(scope="module")
def sweeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tus, Path]]:
    """A server whose uploads expire after an hour and which sweeps all the time, and its
    directory.
    """
    upload_dir = tmp_path_factory.mktemp("sweeping") / "uploads"
    with serving(upload_dir, expire_after="1h", sweep_interval="0.1s") as tus:
        yield tus, upload_dir


def data_file(upload_dir: Path, url: str) -> Path:
    return upload_dir / url.rpartition("/")[2]


def make_old(upload_dir: Path, url: str, age: timedelta = 2 * HOUR) -> None:
    then = time.time() - age.total_seconds()
    os.utime(data_file(upload_dir, url), (then, then))


def is_removed(upload_dir: Path, url: str) -> bool:
    upload_id = url.rpartition("/")[2]
    # Not rglob, which fails when the sweeper removes a directory before its eyes.
    return not [
        name
        for _, directories, files in os.walk(upload_dir)
        for name in (*directories, *files)
        if upload_id in name
    ]


def await_sweep(tus: Tus, upload_dir: Path, *, is_finished: bool = False) -> None:
    """Waits until a sweep that began after this call has ended: each sweep takes its list of these
    few uploads at its start, so the second victim is taken by another one than the first.
    """
    for _ in range(2):
        victim = tus.mk(0 if is_finished else 1)
        make_old(upload_dir, victim)
        eventually(partial(is_removed, upload_dir, victim))


def deadline(answer: Answer) -> datetime:
    assert answer.status in (200, 201, 204), answer
    return parsedate_to_datetime(answer["Upload-Expires"])


def assert_no_trace_of_an_offset(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.get("Upload-Offset") is None
    assert answer.get("Upload-Expires") is None


@spec("EXP-01", "EXP-02")
def test_expiration_is_announced_by_a_server_that_removes_uploads(
    lasting: tuple[Tus, Path],
) -> None:
    tus, _ = lasting
    assert "expiration" in tus.options()["Tus-Extension"].split(",")


@pytest.mark.directory
@spec("EXP-02")
def test_a_server_that_removes_nothing_speaks_of_no_deadline(serve: Serve, tmp_path: Path) -> None:
    upload_dir = tmp_path / "uploads"
    tus = serve(expire_after="off", sweep_interval="0.1s", retain_finished="1h")
    assert "expiration" not in tus.options()["Tus-Extension"].split(",")
    created = [
        tus.post({"Upload-Length": "10"}),
        tus.post({"Upload-Length": "10", **OCTETS}, b"hello"),
        tus.post({"Upload-Defer-Length": "1"}),
        tus.post({"Upload-Length": "10", **PARTIAL}),
    ]
    for answer in created:
        url = tus.location(answer)
        answers = [answer, tus.hd(url), tus.pa(url, tus.off(url), b"x"), tus.pa(url, 9, b"")]
        assert [each.status for each in answers] == [201, 200, 204, 409]
        assert [each.get("Upload-Expires") for each in answers] == [None] * 4
        make_old(upload_dir, url, timedelta(days=9999))
    # Only finished uploads are removed here; that shows when a sweep has passed by the others.
    await_sweep(tus, upload_dir, is_finished=True)
    assert [tus.hd(tus.location(answer)).status for answer in created] == [200] * 4


@spec("EXP-03", "EXP-05", "EXP-06", "EXP-09")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param({"Upload-Length": "10"}, id="plain"),
        pytest.param({"Upload-Defer-Length": "1"}, id="deferred"),
        pytest.param({"Upload-Length": "10", **PARTIAL}, id="partial"),
    ],
)
def test_the_deadline_is_told_while_bytes_are_missing(
    lasting: tuple[Tus, Path], size: dict[str, str]
) -> None:
    tus, upload_dir = lasting
    url = tus.location(tus.post(size))
    for offset, data in ((0, b"hel"), (3, b"lo"), (5, b"")):
        patched = tus.pa(url, offset, data)
        seen = tus.hd(url)
        last_byte = datetime.fromtimestamp(data_file(upload_dir, url).stat().st_mtime, UTC)
        for answer in (patched, seen):
            assert deadline(answer) == (last_byte + HOUR).replace(microsecond=0)
            assert deadline(answer) > parsedate_to_datetime(answer["Date"])


@spec("EXP-04", "EXP-05")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"Upload-Length": "10"}, b"", id="plain"),
        pytest.param({"Upload-Length": "10", **OCTETS}, b"hello", id="with-bytes"),
        pytest.param({"Upload-Defer-Length": "1"}, b"", id="deferred"),
        pytest.param({"Upload-Length": "10", **PARTIAL}, b"", id="partial"),
        pytest.param({"Upload-Length": "5", **PARTIAL, **OCTETS}, b"hello", id="finished-partial"),
    ],
)
def test_the_deadline_is_told_at_creation(
    lasting: tuple[Tus, Path], headers: dict[str, str], body: bytes
) -> None:
    tus, _ = lasting
    answer = tus.post(headers, body)
    assert answer.status == 201
    assert abs(deadline(answer) - deadline(tus.hd(tus.location(answer)))) <= ROUNDING
    assert abs(deadline(answer) - parsedate_to_datetime(answer["Date"]) - HOUR) <= 2 * ROUNDING


@spec("EXP-04")
def test_the_deadline_of_a_final_upload_that_waits_is_told(lasting: tuple[Tus, Path]) -> None:
    tus, _ = lasting
    partials = [tus.mk(5, PARTIAL), tus.mk(5, PARTIAL)]
    answer = tus.post({"Upload-Concat": f"final;{' '.join(partials)}"})
    assert deadline(answer) > parsedate_to_datetime(answer["Date"])
    assert deadline(tus.hd(tus.location(answer))) >= deadline(answer) - ROUNDING


@spec("EXP-05")
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(2096, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2077, 12, 9, 0, 0, 0, tzinfo=UTC),
    ],
)
def test_the_deadline_is_an_http_date(lasting: tuple[Tus, Path], moment: datetime) -> None:
    tus, upload_dir = lasting
    url = tus.mk(10)
    last_byte = (moment - HOUR).timestamp()
    os.utime(data_file(upload_dir, url), (last_byte, last_byte))
    value = tus.hd(url)["Upload-Expires"]
    assert FIXDATE.fullmatch(value)
    assert value == format_datetime(moment, usegmt=True)


@spec("EXP-03", "EXP-10")
def test_a_finished_upload_has_no_deadline(lasting: tuple[Tus, Path]) -> None:
    tus, _ = lasting
    whole = {"Upload-Length": "5", **OCTETS}
    created = [tus.post({"Upload-Length": "0"}), tus.post(whole, b"hello")]
    url = tus.mk(10)
    last = tus.pa(url, 0, b"helloworld")
    for answer in (*created, last, tus.hd(url), tus.pa(url, 10, b"")):
        assert answer.status in (200, 201, 204)
        assert answer.get("Upload-Expires") is None


@spec("EXP-03")
def test_a_finished_partial_upload_keeps_its_deadline(lasting: tuple[Tus, Path]) -> None:
    tus, upload_dir = lasting
    url = tus.mk(5, PARTIAL)
    last = tus.pa(url, 0, b"hello")
    assert deadline(last) == deadline(tus.hd(url))
    make_old(upload_dir, url)
    assert_no_trace_of_an_offset(tus.hd(url), 410)


@spec("EXP-06")
def test_bytes_move_the_deadline(lasting: tuple[Tus, Path]) -> None:
    tus, upload_dir = lasting
    url = tus.mk(10)
    make_old(upload_dir, url, timedelta(minutes=50))
    former = deadline(tus.hd(url))
    assert deadline(tus.pa(url, 0, b"hello")) >= former + timedelta(minutes=49)


@spec("EXP-07")
@pytest.mark.parametrize("length", [10, None])
def test_an_expired_upload_is_gone_before_it_is_removed(
    lasting: tuple[Tus, Path], length: int | None
) -> None:
    tus, upload_dir = lasting
    url = tus.mk(length)
    assert tus.pa(url, 0, b"hello").status == 204
    make_old(upload_dir, url)
    answers = [tus.hd(url), tus.get(url)]
    answers += [tus.pa(url, offset, b"world") for offset in (0, 5, 10)]
    answers += [tus.pa(url, 5, b""), tus.pa(url, 5, b"world", {"Upload-Length": "10"})]
    for answer in answers:
        assert_no_trace_of_an_offset(answer, 410)
    assert data_file(upload_dir, url).read_bytes() == b"hello"


@spec("EXP-07")
def test_an_expired_upload_can_be_terminated(lasting: tuple[Tus, Path]) -> None:
    tus, upload_dir = lasting
    url = tus.mk(10)
    make_old(upload_dir, url)
    assert tus.delete(url).status == 204
    assert tus.hd(url).status == 404


@spec("EXP-01", "EXP-07")
def test_an_upload_is_removed_after_its_time(serve: Serve, tmp_path: Path) -> None:
    upload_dir = tmp_path / "uploads"
    events: list[Event] = []
    tus = serve(expire_after="1s", sweep_interval="0.3s", events=events)
    # One request, so that no deadline can pass between two.
    url = tus.location(tus.post({"Upload-Length": "10", **OCTETS}, b"hello"))
    expired = UploadExpired(url.rpartition("/")[2])
    eventually(lambda: expired in events)
    assert_no_trace_of_an_offset(tus.hd(url), 404)
    assert_no_trace_of_an_offset(tus.pa(url, 5, b"world"), 404)
    assert is_removed(upload_dir, url)
    assert events.count(expired) == 1


def with_a_waiting_final(tus: Tus) -> str:
    url = tus.mk(5, PARTIAL)
    other = tus.mk(5, PARTIAL)
    assert tus.post({"Upload-Concat": f"final;{url} {other}"}).status == 201
    return url


@spec("EXP-07")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda tus: tus.mk(10), id="without-bytes"),
        pytest.param(lambda tus: tus.mk(None), id="deferred"),
        pytest.param(lambda tus: tus.made(b"hello", PARTIAL), id="finished-partial"),
        pytest.param(with_a_waiting_final, id="awaited-partial"),
    ],
)
def test_a_sweep_removes_all_of_an_old_upload(
    sweeping: tuple[Tus, Path], make: Callable[[Tus], str]
) -> None:
    tus, upload_dir = sweeping
    url = make(tus)
    make_old(upload_dir, url)
    eventually(lambda: is_removed(upload_dir, url))
    assert_no_trace_of_an_offset(tus.hd(url), 404)


@spec("EXP-07")
def test_a_final_upload_that_waits_in_vain_is_removed(sweeping: tuple[Tus, Path]) -> None:
    tus, upload_dir = sweeping
    urls = [tus.mk(5, PARTIAL), tus.made(b"world", PARTIAL)]
    final = tus.post({"Upload-Concat": f"final;{' '.join(urls)}"})
    urls.append(tus.location(final))
    for url in urls:
        make_old(upload_dir, url)
    for url in urls:
        eventually(partial(is_removed, upload_dir, url))
        assert_no_trace_of_an_offset(tus.hd(url), 404)


@spec("EXP-07")
def test_a_sweep_leaves_what_has_time_left(sweeping: tuple[Tus, Path]) -> None:
    tus, upload_dir = sweeping
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    make_old(upload_dir, url, timedelta(minutes=50))
    await_sweep(tus, upload_dir)
    tus.assert_intact(url, 5, b"world")


@spec("EXP-10")
def test_a_finished_upload_does_not_expire(sweeping: tuple[Tus, Path]) -> None:
    tus, upload_dir = sweeping
    urls = [tus.made(b"helloworld"), tus.mk(0)]
    for url in urls:
        make_old(upload_dir, url, timedelta(days=9999))
    await_sweep(tus, upload_dir)
    for url, data in zip(urls, (b"helloworld", b""), strict=True):
        assert tus.off(url) == len(data)
        assert tus.pa(url, len(data), b"").status == 204
        assert tus.content(url) == data


@spec("EXP-11")
@pytest.mark.parametrize("checksum", [{}, DIGEST], ids=["plain", "checksummed"])
@pytest.mark.parametrize("length", [10, 20])
def test_a_running_patch_is_not_torn_by_its_deadline(
    sweeping: tuple[Tus, Path], length: int, checksum: dict[str, str]
) -> None:
    tus, upload_dir = sweeping
    url = tus.mk(length)
    with tus.begin_patch(url, 0, 10, checksum) as wire:
        wire.send(b"hello")
        eventually(lambda: data_file(upload_dir, url).stat().st_size == 5)
        make_old(upload_dir, url)
        await_sweep(tus, upload_dir)
        wire.send(b"world")
        answer = wire.answer("PATCH")
    assert (answer.status, answer["Upload-Offset"]) == (204, "10")
    await_sweep(tus, upload_dir)
    tail = b"x" * (length - 10)
    tus.assert_intact(url, 10, tail)
    assert tus.content(url) == b"helloworld" + tail


@spec("EXP-11")
def test_a_patch_may_trickle_across_the_first_deadline(serve: Serve) -> None:
    tus = serve(expire_after="2s", sweep_interval="0.1s")
    created = tus.post({"Upload-Length": "15"})
    url = tus.location(created)
    with tus.begin_patch(url, 0, 15) as wire:
        wire.send_slowly(b"helloworldagai", pause=0.2)
        assert datetime.now(UTC) > deadline(created)
        wire.send(b"n")
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"helloworldagain"


@spec("EXP-11")
def test_a_patch_that_comes_too_late_stores_nothing(lasting: tuple[Tus, Path]) -> None:
    tus, upload_dir = lasting
    url = tus.mk(10)
    make_old(upload_dir, url)
    with tus.begin_patch(url, 0, 10) as wire:
        assert_no_trace_of_an_offset(wire.answer("PATCH"), 410)
        wire.send(b"helloworld")
    assert_no_trace_of_an_offset(tus.request("HEAD", url, VERSION), 410)
    assert data_file(upload_dir, url).stat().st_size == 0
