"""Functions of an application that are asked and told: what they change, what they refuse, and that
whatever they do wrong is the server's failure and harms nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.policy.quotas import by_name, metadata, stored, usage
from tests.servers import serving
from tests.tus import OCTETS, Tus, eventually
from tests.wire import Answer
from tusserver.events.base import Event, UploadCreated, UploadFinished
from tusserver.policy.hooks import Hooks
from tusserver.protocol.access import Caller
from tusserver.protocol.errors import UploadLocked
from tusserver.protocol.finish import FinishState
from tusserver.protocol.refusals import Forbidden, UploadRefused
from tusserver.protocol.upload import Upload

DATA = b"hello world"
OFTEN = timedelta(seconds=0.1)
"""Between sweeps, which also try again what could not be finished."""


@pytest.fixture
def up(tmp_path: Path) -> Path:
    return tmp_path / "up"


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body.decode().strip()


async def cancelled() -> None:
    """What a hook does that awaits something which somebody has cancelled."""
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


# on_create


def test_on_create_sees_who_asks_and_may_change_the_metadata(up: Path) -> None:
    asked: list[tuple[str | None, str]] = []

    async def on_create(upload: Upload, caller: Caller | None) -> Mapping[str, str] | None:
        assert caller is not None
        asked.append((caller.user, upload.metadata))
        return {"filename": "b.h5", "project": "한글", "empty": ""} if upload.metadata else None

    with serving(up, check=by_name, hooks=Hooks(on_create=on_create), allow_preset="hpc") as tus:
        sent = metadata(filename="a.exe", other="x")
        url = tus.mk(5, sent)
        assert asked == [("alice", sent["Upload-Metadata"])]
        changed = metadata(filename="b.h5", other="x", project="한글")["Upload-Metadata"]
        assert tus.hd(url)["Upload-Metadata"] == f"{changed},empty"
        assert tus.post({"Upload-Length": "5"}).status == 415, "what it does not change is checked"


def test_a_refusal_of_on_create_leaves_nothing(up: Path) -> None:
    async def on_create(upload: Upload, caller: Caller | None) -> None:
        raise Forbidden("not before noon")

    events: list[Event] = []
    hooks = Hooks(on_create=on_create)
    with serving(up, hooks=hooks, events=events, quota_uploads=5) as tus:
        answer = tus.post({"Upload-Length": "5", **OCTETS}, b"hello")
        assert said(answer) == (403, "ERR_FORBIDDEN: not before noon")
        assert (events, stored(up), usage(up).uploads) == ([], {}, 0)


OddHook = Callable[[Upload, Caller | None], object]


async def _raises(upload: Upload, caller: Caller | None) -> None:
    raise ZeroDivisionError("secret of the application")


def _raises_at_once(upload: Upload, caller: Caller | None) -> None:
    raise KeyError("secret of the application")


async def _is_cancelled(upload: Upload, caller: Caller | None) -> None:
    await cancelled()


def returning(value: object) -> OddHook:
    async def on_create(upload: Upload, caller: Caller | None) -> object:
        return value

    return on_create


@pytest.mark.parametrize(
    "hook",
    [
        _raises,
        _raises_at_once,
        _is_cancelled,
        lambda upload, caller: None,
        returning("nonsense"),
        returning({"a": 5}),
        returning({"a b": "x"}),
        returning({"": "x"}),
        returning({"a": "\ud800"}),
    ],
    ids=["raises", "raises at once", "is cancelled", "is not async", "a text", "a number",
         "a key with a blank", "an empty key", "half a character"],
)  # fmt: skip
def test_whatever_on_create_does_wrong_is_the_servers_failure(up: Path, hook: OddHook) -> None:
    hooks = Hooks(on_create=hook)  # type: ignore[arg-type]  # As applications do.
    with serving(up, hooks=hooks, quota_uploads=5) as tus:
        answer = tus.post({"Upload-Length": "5"})
        assert said(answer) == (
            500,
            "ERR_HOOK_FAILED: a check of this site failed; try again later",
        )
        tus.assert_live()
        assert (stored(up), usage(up).uploads) == ({}, 0)


def test_a_hook_that_hangs_is_given_up(up: Path) -> None:
    ended: list[str] = []

    async def on_create(upload: Upload, caller: Caller | None) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(upload.upload_id)

    with serving(up, hooks=Hooks(on_create=on_create, timeout=0.1)) as tus:
        answer = tus.post({"Upload-Length": "5"})
        assert said(answer) == (
            500,
            "ERR_HOOK_FAILED: a check of this site took too long; try again later",
        )
        assert len(ended) == 1
        assert stored(up) == {}


# before_finish


class Gate:
    """A `before_finish` that does what it is told, and a list of what `on_finish` heard."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked = 0
        self.told: list[Upload] = []

    async def before_finish(self, upload: Upload) -> None:
        assert upload.is_complete
        self.asked += 1
        if self.fault is not None:
            raise self.fault

    async def on_finish(self, upload: Upload) -> None:
        self.told.append(upload)

    def hooks(self) -> Hooks:
        return Hooks(before_finish=self.before_finish, on_finish=self.on_finish)


def test_before_finish_lets_an_upload_through_once(up: Path) -> None:
    gate, events = Gate(), list[Event]()
    with serving(up, hooks=gate.hooks(), events=events, sweep_interval=OFTEN) as tus:
        url = tus.made(DATA)
        assert tus.content(url) == DATA
        assert tus.pa(url, len(DATA) - 1, DATA[-1:]).status == 204, "the last answer was lost"
    assert gate.asked == 1
    assert [type(event) for event in events] == [UploadCreated, UploadFinished]
    (told,) = gate.told
    assert told.finish is not None
    assert (told.finish.state, told.finish.is_approved) == (FinishState.DONE, True)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Forbidden("this file is not yours"), (403, "ERR_FORBIDDEN: this file is not yours")),
        (UploadRefused("ERR_OLD", "it is too old"), (422, "ERR_OLD: it is too old")),
        (UploadRefused("ERR_OLD", "it is too old", 451), (451, "ERR_OLD: it is too old")),
        (UploadLocked("clients try again"), (422, "ERR_UPLOAD_LOCKED: clients try again")),
    ],
    ids=["forbidden", "refused", "with a status", "with a status that seems to pass"],
)  # fmt: skip
def test_what_before_finish_refuses_stays_refused(
    up: Path, fault: Exception, expected: tuple[int, str]
) -> None:
    gate = Gate(fault)
    with serving(up, hooks=gate.hooks(), quota_active=1, sweep_interval=OFTEN) as tus:
        url = tus.mk(len(DATA))
        assert said(tus.pa(url, 0, DATA)) == expected
        gate.fault = None
        assert said(tus.pa(url, len(DATA) - 1, DATA[-1:])) == expected
        assert tus.hd(url)["Upload-Refused"] == expected[1].partition(":")[0]
        assert tus.off(url) < len(DATA)
        assert tus.get(url).status == 404
        assert usage(up).active == 0, "it takes nobody's place"
    assert gate.asked == 1
    (told,) = gate.told
    assert told.is_refused


async def _hang() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("how", ["raises", "hangs", "is cancelled"])
def test_when_before_finish_fails_it_is_asked_again(up: Path, how: str) -> None:
    faults = {"raises": None, "hangs": _hang, "is cancelled": cancelled}
    asked: list[str] = []

    async def before_finish(upload: Upload) -> None:
        asked.append(upload.upload_id)
        if len(asked) > 1:
            return
        fault = faults[how]
        if fault is None:
            raise ZeroDivisionError
        await fault()

    with serving(up, hooks=Hooks(before_finish=before_finish, timeout=0.1)) as tus:
        url = tus.mk(len(DATA))
        answer = tus.pa(url, 0, DATA)
        assert (answer.status, b"ERR_FINISH_PENDING" in answer.body) == (503, True)
        assert answer["Retry-After"]
        assert tus.off(url) == len(DATA) - 1
        assert tus.pa(url, len(DATA) - 1, DATA[-1:]).status == 204
        assert tus.content(url) == DATA
    assert len(asked) == 2


# on_finish


def test_on_finish_is_told_again_after_it_has_failed(up: Path) -> None:
    events: list[Event] = []
    told: list[str] = []

    async def on_finish(upload: Upload) -> None:
        told.append(upload.upload_id)
        if len(told) < 3:
            raise ZeroDivisionError

    hooks = Hooks(on_finish=on_finish)
    with serving(up, hooks=hooks, events=events, sweep_interval=OFTEN) as tus:
        url = tus.made(DATA)
        assert tus.content(url) == DATA, "the outcome is certain all the same"
        eventually(lambda: len(told) == 3)
        eventually(lambda: any(isinstance(event, UploadFinished) for event in events))
    assert told == [url.rpartition("/")[2]] * 3


def test_on_finish_is_told_again_after_a_restart(up: Path) -> None:
    told: list[str] = []

    async def fails(upload: Upload) -> None:
        raise ZeroDivisionError

    async def on_finish(upload: Upload) -> None:
        told.append(upload.upload_id)

    with serving(up, hooks=Hooks(on_finish=fails)) as tus:
        url = tus.made(DATA)
    for _ in range(2):
        with serving(up, hooks=Hooks(on_finish=on_finish)):
            eventually(lambda: bool(told))
    assert told == [url.rpartition("/")[2]]


def test_on_finish_hears_of_what_is_joined_and_not_of_its_parts(up: Path) -> None:
    gate = Gate()
    with serving(up, hooks=gate.hooks()) as tus:
        partial = {"Upload-Concat": "partial"}
        parts = [tus.made(b"hello ", partial), tus.mk(5, partial)]
        final = tus.location(tus.post({"Upload-Concat": f"final;{' '.join(parts)}"}))
        assert tus.pa(parts[1], 0, b"world").status == 204
        eventually(lambda: bool(gate.told))
        assert tus.content(final) == DATA
    assert [upload.upload_id for upload in gate.told] == [final.rpartition("/")[2]]
    assert gate.asked == 1


# on_terminate


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Forbidden("it is needed"), (403, "ERR_FORBIDDEN: it is needed")),
        (ValueError(), (500, "ERR_HOOK_FAILED: a check of this site failed; try again later")),
    ],
    ids=["refuses", "fails"],
)
def test_an_upload_that_on_terminate_keeps_goes_on(
    up: Path, fault: Exception, expected: tuple[int, str]
) -> None:
    faults = [fault]

    async def on_terminate(upload: Upload) -> None:
        if faults:
            raise faults.pop()

    with serving(up, hooks=Hooks(on_terminate=on_terminate), quota_size=100) as tus:
        url = begun(tus)
        assert said(tus.delete(url)) == expected
        assert usage(up).size == len(DATA)
        tus.assert_intact(url, 5, DATA[5:])
        assert tus.content(url) == DATA
        assert tus.delete(url).status == 204
        assert usage(up).size == 0


def begun(tus: Tus) -> str:
    url = tus.mk(len(DATA))
    assert tus.pa(url, 0, DATA[:5]).status == 204
    return url
