"""The clients of the soak against a real server, and its verdict."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING

import pytest

from bench.soak import clients
from bench.soak.client import Connection, Content, Upload, Wrong
from bench.soak.clients import KINDS, Client, Tally, repeat
from bench.soak.record import Moment, grown, moment, page, plot, thirds, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.conftest import Serve
    from tests.tus import Tus

MIB = 1024 * 1024


def client(tus: Tus, tally: Tally, seed: int = 1) -> Client:
    return Client(Connection(int(tus.address[1])), random.Random(seed), tally)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", [*KINDS, clients.slow], ids=lambda kind: kind.__name__)
def test_each_kind_of_client_is_content_with_the_server(
    kind: Callable[[Client], Awaitable[None]],
    seed: int,
    tus: Tus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "MIB", 64 * 1024)
    monkeypatch.setattr(clients, "PAUSES", (0.0, 0.002))
    tally = Tally()
    asyncio.run(_once(kind, client(tus, tally, seed)))
    assert list(tally.finished.values()) == [1]
    assert tally.verified > 0 or kind is clients.impatient
    assert (tally.faults, tally.open_slow) == ([], 0)


async def _once(kind: Callable[[Client], Awaitable[None]], one: Client) -> None:
    try:
        await kind(one)
    finally:
        one.connection.abort()


def test_a_slow_client_that_breaks_off_resumes(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PAUSES", (0.0, 0.002))
    monkeypatch.setattr(clients, "BREAKS", 1.0)
    tally = Tally()
    asyncio.run(_once(clients.slow, client(tus, tally)))
    assert tally.finished == {"slow": 1}


def one_file(upload_dir: Path, size: int) -> Path:
    (found,) = [path for path in upload_dir.rglob("*") if path.stat().st_size == size]
    return found


def test_wrong_bytes_are_found(serve: Serve, tmp_path: Path) -> None:
    tus = serve()
    content = Content(5, 3 * MIB + 17)

    async def spoil(one: Client) -> None:
        upload = await Upload.create(one.connection, content)
        await upload.patch(content.size)
        assert await upload.verify() == content.size
        spoilt = bytearray(content.part(0, content.size))
        spoilt[2 * MIB + 5] ^= 1
        one_file(tmp_path / "uploads", content.size).write_bytes(spoilt)
        with pytest.raises(Wrong, match="wrong bytes between 2097152 and 3145728"):
            await upload.verify()

    asyncio.run(_once(spoil, client(tus, Tally())))


def test_an_offset_that_cannot_be_is_found(serve: Serve, tmp_path: Path) -> None:
    tus = serve()
    content = Content(5, 1000)

    async def spoil(one: Client) -> None:
        upload = await Upload.create(one.connection, content)
        await upload.patch(600)
        file = one_file(tmp_path / "uploads", 600)
        for size in (599, 601):
            os.truncate(file, size)
            with pytest.raises(Wrong, match=f"offset {size}, not between 600 and 600"):
                await upload.look()

    asyncio.run(_once(spoil, client(tus, Tally())))


def test_contents_are_told_apart() -> None:
    first, second = Content(1, 5 * MIB), Content(2, 5 * MIB)
    assert first.part(0, MIB) != second.part(0, MIB)
    whole = first.part(0, first.size)
    assert len(whole) == first.size
    assert whole[1_000_000:3_000_000] == first.part(1_000_000, 3_000_000)


def test_faults_are_noted_and_the_client_starts_anew(tus: Tus) -> None:
    tally, turns = Tally(), 0

    async def kind(one: Client) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise Wrong("on purpose")
        if turns == 2:
            raise asyncio.IncompleteReadError(b"", 1)
        raise asyncio.CancelledError

    async def live() -> None:
        with pytest.raises(asyncio.CancelledError):
            await repeat(kind, client(tus, tally), rest=0.0)

    asyncio.run(live())
    assert len(tally.faults) == 2
    assert tally.faults[0] == "kind: Wrong: on purpose"


def moments(rss: Sequence[int], descriptors: int = 0, threads: int = 0) -> list[Moment]:
    """Memory as given; descriptors and threads grow by so many in the last third."""
    last = len(rss) * 2 // 3
    return [
        Moment(
            float(n),
            size * MIB,
            1000 + descriptors * (n >= last),
            20 + threads * (n >= last),
            2000,
        )
        for n, size in enumerate(rss)
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (moments([100] * 9), []),
        (moments([100, 100, 100, 500, 500, 500, 118, 118, 118]), []),
        (moments([100] * 6 + [119] * 3), ["rss grew from 100 to 119 MiB"]),
        (moments([100] * 9, descriptors=100), []),
        (moments([100] * 9, descriptors=101), ["descriptors grew from 1000 to 1101 between"]),
        (moments([100] * 9, threads=6), []),
        (moments([100] * 9, threads=7), ["threads grew from 20 to 27 between"]),
        ([], ["nothing was recorded"]),
    ],
)
def test_growth_between_the_first_and_the_last_third_is_a_fault(
    found: list[Moment], words: list[str]
) -> None:
    said = grown(found)
    assert len(said) == len(words)
    assert all(want in sentence for want, sentence in zip(words, said, strict=True))


def test_a_single_peak_is_no_growth() -> None:
    assert thirds(moments([100, 100, 100, 100, 100, 100, 100, 100, 999]), "rss")[1] == 100 * MIB


def test_a_process_is_looked_at_as_the_kernel_sees_it(tmp_path: Path) -> None:
    me = moment(1.0, [os.getpid()], 7)
    assert me.rss > 10 * MIB
    assert me.threads >= 1
    with open(tmp_path / "more", "wb"):
        assert moment(1.0, [os.getpid()], 7).descriptors == me.descriptors + 1
    assert moment(1.0, [2**22 + 1], 7) == Moment(1.0, 0, 0, 0, 7)


def test_the_record_is_written_and_shown(tmp_path: Path) -> None:
    found = moments([100] * 9)
    write(tmp_path / "raw", found)
    lines = (tmp_path / "raw").read_text().splitlines()
    assert [json.loads(line)["rss"] for line in lines] == [100 * MIB] * 9
    assert plot(found).count("<polyline") == 3
    facts = {
        "command": "c", "date": "d", "machine": "m", "workers": 1, "minutes": 1.0, "slow": 2000,
        "finished": {"small": 3}, "verified": 2**30,
    }  # fmt: skip
    assert "Nothing has grown" in page(facts, found, [])
    assert "It failed:\n- rss grew" in page(facts, found, ["rss grew"])
