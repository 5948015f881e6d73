"""SIGKILL at every point of a finish: after the next start there is one file with the right bytes,
or the refusal; one event; and HEAD and a repeated last PATCH tell what the lost answer would have.

Each way a finish can take has the list of its points here. A run without a kill compares it with
the points that the code passes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import stat
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.clamd import EICAR, RunningClamd, clamd
from tests.finish.crash import Bare, Life, living
from tests.servers import running
from tests.tus import Tus, eventually
from tests.wire import Answer, ConnectionEnded
from tusserver.store import placing

DATA = random.Random(6).randbytes(5 * 1024 * 1024)
"""More than is copied at a time."""
SMALL = b"energy = -1.5\n" * 100
FOREIGN = b"somebody else's"
NAME = "한글 이름.h5"
MODE = 0o640
PLACE = f"anonymous/run 7/{NAME}"


def around(step: str) -> tuple[str, ...]:
    return (f"before {step}", f"after {step}", f"recorded {step}")


def placed(*points: str) -> tuple[str, ...]:
    """All that is passed when nothing but the placement is switched on."""
    begun = ("before place", "folder ready", *points)
    ended = ("named", "place synced", "part removed", "source removed")
    return (*begun, *ended, "after place", "recorded place", *OVER)


OVER = ("ended", "told")
COPYING = ("part open", "part written", "part written", "copied", "compared", "noted")


@dataclass(frozen=True)
class Way:
    """One way through the finish. `settings` besides the destination; `is_far`: the destination is
    on another file system. `code` is that of the refusal at its end; empty for those that end well.
    """

    points: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    data: bytes = SMALL
    is_far: bool = False
    is_bare: bool = False
    is_taken: bool = False
    is_scanned: bool = False
    has_hook: bool = False
    code: str = ""

    @property
    def after(self) -> dict[str, bytes]:
        """The files below the destination root when all is over."""
        rule = self.settings.get("on_collision", "number")
        if not self.is_taken:
            return {} if self.code else {PLACE: self.data}
        if rule == "number":
            return {PLACE: FOREIGN, PLACE.replace(".h5", " (1).h5"): self.data}
        return {PLACE: self.data if rule == "replace" else FOREIGN}


REPLACE, REFUSE = {"on_collision": "replace"}, {"on_collision": "refuse"}
VERIFY = {"verify_digests": "on"}
CHECKED = (*around("digest"), *around("scan"), *around("hook"))
WAYS = {
    "all steps": Way(
        (*CHECKED, *placed("prepared", "noted")),
        {"digests": "sha256"},
        is_scanned=True,
        has_hook=True,
    ),
    "number": Way(placed("prepared", "noted"), is_taken=True),
    "replace": Way(placed("prepared", "noted"), REPLACE, is_taken=True),
    "claim": Way(placed("prepared", "noted", "claimed"), is_bare=True),
    "copy": Way(placed(*COPYING), data=DATA, is_far=True),
    "copy and replace": Way(placed(*COPYING), REPLACE, DATA, is_far=True, is_taken=True),
    "wrong digest": Way(("before digest", *OVER), VERIFY, code="ERR_DIGEST_MISMATCH"),
    "infected": Way(
        ("before scan", *OVER), data=EICAR, is_scanned=True, code="ERR_INFECTED"
    ),
    "name taken": Way(
        ("before place", "folder ready", "prepared", *OVER),
        REFUSE,
        is_taken=True,
        code="ERR_NOT_PLACED",
    ),
    "name taken far away": Way(
        ("before place", "folder ready", *OVER),
        REFUSE,
        is_far=True,
        is_taken=True,
        code="ERR_NOT_PLACED",
    ),
}  # fmt: skip


@dataclass
class Ground:
    """A directory for the uploads, one for finished ones, and what all lives of a server write."""

    way: Way
    directory: Path
    root: Path
    life: Life

    @property
    def uploads(self) -> Path:
        return self.directory / "uploads"

    def points(self) -> list[str]:
        return Path(self.life.log).read_text().splitlines()

    def told(self) -> list[tuple[str, ...]]:
        return [tuple(json.loads(line)) for line in Path(self.life.told).read_text().splitlines()]

    def record(self, url: str) -> dict[str, Any]:
        info = self.uploads / f"{url.rpartition('/')[2]}.info"
        found: dict[str, Any] = json.loads(info.read_text())["tusserver"]["finish"]
        return found

    def placed(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if not path.is_dir()
        }

    def stored(self) -> set[str]:
        """The files in the upload directory."""
        return {
            str(path.relative_to(self.uploads))
            for path in self.uploads.rglob("*")
            if not path.is_dir()
        }

    def metadata(self) -> dict[str, str]:
        values = {"filename": NAME, "destination": "run 7"}
        if self.way.code == "ERR_DIGEST_MISMATCH":
            values["sha256"] = hashlib.sha256(b"other bytes").hexdigest()
        pairs = (f"{key} {b64encode(text.encode()).decode()}" for key, text in values.items())
        return {"Upload-Metadata": ",".join(pairs)}

    def sent(self, tus: Tus) -> str:
        """An upload of which only the last byte is missing."""
        url = tus.mk(len(self.way.data), self.metadata())
        assert tus.pa(url, 0, self.way.data[:-1]).status == 204
        return url

    def last(self, tus: Tus, url: str) -> Answer:
        """The answer to the last byte."""
        return tus.pa(url, len(self.way.data) - 1, self.way.data[-1:])


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClamd]:
    with clamd(tmp_path_factory.mktemp("clamd")) as daemon:
        yield daemon


@pytest.fixture
def ground(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    way = WAYS[request.param]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if way.is_far else tmp_path) as made:
        root = Path(made)
        settings = {
            "destination_root": str(root), "destination_file_perms": f"{MODE:04o}", **way.settings
        }  # fmt: skip
        if way.is_scanned:
            daemon: RunningClamd = request.getfixturevalue("scanner")
            settings["scan"] = f"unix:{daemon.socket}"
        if way.is_taken:
            (root / PLACE).parent.mkdir(parents=True)
            (root / PLACE).write_bytes(FOREIGN)
        if way.is_bare:
            monkeypatch.setattr(placing, "Placer", Bare)  # For lives in this process.
        log, told = tmp_path / "log", tmp_path / "told"
        told.touch()
        life = Life(
            str(tmp_path / "uploads"), str(log), str(told), settings, way.has_hook, way.is_bare
        )
        yield Ground(way, tmp_path, root, life)


def assert_done(ground: Ground, tus: Tus, url: str) -> None:
    """The upload counts as finished, and everything is where it belongs."""
    assert ground.placed() == ground.way.after
    head = tus.hd(url)
    length = str(len(ground.way.data))
    assert (head["Upload-Offset"], head["Upload-Length"]) == (length, length)
    [new] = [name for name, data in ground.way.after.items() if data == ground.way.data]
    place = quote(new)
    assert head["Upload-Place"] == place
    again = ground.last(tus, url)
    assert (again.status, again["Upload-Offset"]) == (204, length)
    assert again["Upload-Place"] == place
    assert again.get("Repr-Digest") == head.get("Repr-Digest")
    assert tus.content(url) == ground.way.data
    assert stat.S_IMODE((ground.root / new).stat().st_mode) == MODE


def assert_refused(ground: Ground, tus: Tus, url: str) -> None:
    """Everybody hears of the refusal, and nothing of the upload is anywhere."""
    assert ground.placed() == ground.way.after
    head = tus.hd(url)
    assert head["Upload-Offset"] == str(len(ground.way.data) - 1)
    assert head["Upload-Refused"] == ground.way.code
    again = ground.last(tus, url)
    assert (again.status, again.body.split(b":")[0].decode()) == (422, ground.way.code)
    assert tus.get(url).status == 404


def is_over(ground: Ground, tus: Tus, url: str) -> bool:
    """Whether a client would take it for finished, or refused. Until then it sees one byte less."""
    head = tus.hd(url)
    if head["Upload-Offset"] == str(len(ground.way.data)):
        assert not ground.way.code
        return True
    assert head["Upload-Offset"] == str(len(ground.way.data) - 1)
    return head.get("Upload-Refused") is not None


def assert_ended(ground: Ground, url: str) -> None:
    """After a restart: without anybody's help the finish comes to its end, and tells it once."""
    with running(replace(ground.life, point="").app()) as server:
        tus = Tus(server.address)
        eventually(lambda: is_over(ground, tus, url))
        (assert_refused if ground.way.code else assert_done)(ground, tus, url)
        eventually(lambda: "is_told" in ground.record(url))
    assert_one_outcome(ground, url)


def assert_one_outcome(ground: Ground, url: str) -> None:
    """Of the upload there is but its record, and all that was told of its end is one event."""
    upload_id = url.rpartition("/")[2]
    assert ground.stored() == {f"{upload_id}.info", ".tusserver/locks"}
    kind = "FinishRefused" if ground.way.code else "UploadFinished"
    assert set(ground.told()) == {(kind, upload_id, ground.record(url)["event_id"])}


def case(name: str, index: int) -> tuple[str, str, int]:
    """A way, a point on it, and the how manieth of its name it is."""
    points = WAYS[name].points[: index + 1]
    return name, points[-1], points.count(points[-1])


CASES = [case(name, index) for name, way in WAYS.items() for index in range(len(way.points))]


@pytest.mark.parametrize(("ground", "point", "at"), CASES, indirect=["ground"])
def test_a_finish_that_is_killed_is_carried_on(ground: Ground, point: str, at: int) -> None:
    with living(replace(ground.life, point=point, at=at)) as (tus, process):
        url = ground.sent(tus)
        with contextlib.suppress(ConnectionEnded, ConnectionError):
            pytest.fail(f"there was an answer: {ground.last(tus, url)}")
        assert process.wait(10) == -9
    assert ground.points()[-1] == point
    assert_ended(ground, url)


@pytest.mark.parametrize("ground", ["all steps", "copy"], indirect=True)
def test_a_finish_that_is_killed_at_each_point_in_turn_is_carried_on(ground: Ground) -> None:
    """Every life of the server gets one point further than the last one, and nobody asks it to."""
    first, *others = dict.fromkeys(ground.way.points)
    with living(replace(ground.life, point=first)) as (tus, process):
        url = ground.sent(tus)
        with contextlib.suppress(ConnectionEnded, ConnectionError):
            pytest.fail(f"there was an answer: {ground.last(tus, url)}")
        assert process.wait(10) == -9
    others.remove("recorded place")  # Placing has recorded it itself, before "after place".
    for point in others:
        with living(replace(ground.life, point=point)) as (_, process):
            assert process.wait(10) == -9
    assert_ended(ground, url)


@pytest.mark.parametrize("point", ["before place", "named", "ended", "told"])
@pytest.mark.parametrize("ground", ["number"], indirect=True)
def test_a_finish_in_the_background_is_carried_on(ground: Ground, point: str) -> None:
    """Its client may have had its answer before the kill, and hears nothing else after it."""
    ground.life.settings["finish"] = "background"
    with living(replace(ground.life, point=point)) as (tus, process):
        url = ground.sent(tus)
        with contextlib.suppress(ConnectionEnded, ConnectionError):
            answer = ground.last(tus, url)
            assert (answer.status, answer["Upload-Offset"]) == (204, str(len(ground.way.data)))
        assert process.wait(10) == -9
    with running(replace(ground.life, point="").app()) as server:
        tus = Tus(server.address)
        assert tus.off(url) == len(ground.way.data)
        eventually(lambda: "is_told" in ground.record(url))
        assert quote(ground.record(url)["place"]) == tus.hd(url)["Upload-Place"]
        again = ground.last(tus, url)
        # As without steps: it has been told the whole length, and is told it again.
        assert (again.status, again["Upload-Offset"]) == (409, str(len(ground.way.data)))
    assert ground.placed() == ground.way.after
    assert_one_outcome(ground, url)


@pytest.mark.parametrize("ground", WAYS, indirect=True)
def test_no_point_of_a_finish_is_missing_here(ground: Ground) -> None:
    with running(ground.life.app()) as server:
        tus = Tus(server.address)
        url = ground.sent(tus)
        assert ground.last(tus, url).status == (422 if ground.way.code else 204)
        eventually(lambda: ground.points()[-1] == "told")
    assert tuple(ground.points()) == ground.way.points
    assert_ended(ground, url)


def test_every_point_of_placing_is_on_some_way() -> None:
    passed = {point for way in WAYS.values() for point in way.points}
    assert set(placing.STEPS) <= passed
