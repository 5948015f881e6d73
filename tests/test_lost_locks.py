"""What is done under a lock that is lost on the way: nothing is acknowledged, recorded, removed or
joined any more, and all of it is made up for later.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.fakes import LosableLocker, ScriptedBody
from tests.store.test_contract import an_upload, append
from tests.store.test_file import record
from tests.test_uploads import ID, a_patch
from tusserver.events.base import Event, UploadFinished
from tusserver.lock.base import LockLost
from tusserver.policy.hooks import Hooks
from tusserver.policy.limits import LimitOptions, Limits
from tusserver.protocol.finish import Finish
from tusserver.protocol.refusals import UploadRefused
from tusserver.protocol.termination import Terminate
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.rules import Policy
from tusserver.store.file import FileStore
from tusserver.uploads import Uploads

pytestmark = pytest.mark.anyio


class House:
    """Uploads whose locks can be lost, and the events that they told."""

    def __init__(self, root: Path, policy: Policy | None = None) -> None:
        self.store = FileStore(root)
        self.locker = LosableLocker()
        self.events: list[Event] = []
        self.uploads = Uploads(self.store, self.locker, policy=policy, listener=self.events.append)

    def lose(self) -> None:
        self.locker.has_lost = True

    def regain(self) -> None:
        self.locker.has_lost = False

    def finished(self) -> int:
        return sum(isinstance(event, UploadFinished) for event in self.events)

    async def patch(self, offset: int, body: ScriptedBody, size: int = 5) -> int:
        reply = await self.uploads.append(a_patch(offset, size), body, self.uploads.capabilities)
        return reply.status


class LosingBody(ScriptedBody):
    """While it is read the lock is lost."""

    def __init__(self, house: House, data: bytes) -> None:
        super().__init__(data)
        self._house = house

    async def read(self) -> bytes:
        self._house.lose()
        return await super().read()


async def test_bytes_that_came_under_a_lost_lock_are_not_acknowledged(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.uploads.start()
    await house.store.create(an_upload())
    with pytest.raises(LockLost) as caught:
        await house.patch(0, LosingBody(house, b"hello"))
    assert (caught.value.status, dict(caught.value.headers)) == (423, {b"retry-after": b"1"})
    house.regain()
    with pytest.raises(LockLost):
        await house.patch(5, LosingBody(house, b"world"))
    # The last byte is there, but whoever has the lock now is to tell of it.
    assert house.finished() == 0
    await house.uploads.close()


async def test_the_lock_of_a_request_that_lost_it_is_let_go(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.uploads.start()
    await house.store.create(an_upload())
    with pytest.raises(LockLost):
        await house.patch(0, LosingBody(house, b"hello"))
    house.regain()
    assert await house.patch(5, ScriptedBody(b"world")) == 204
    assert house.finished() == 1
    await house.uploads.close()


async def test_whoever_looks_is_told_what_is_certain_although_no_lock_is_to_be_had(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    await house.uploads.start()
    await house.store.create(an_upload())
    before = record(tmp_path)
    await append(house.store, an_upload(), ScriptedBody(b"helloworld"))
    # As a process leaves it that dies between the last byte and the note on it.
    (tmp_path / f"{ID}.info").write_text(json.dumps(before))
    house.locker.is_down = True
    assert (await house.uploads.view(ID)).shown_offset == 9
    house.locker.is_down = False
    assert (await house.uploads.view(ID)).shown_offset == 10
    await house.uploads.close()


# The finish.


class Step:
    """A step of a finish; something happens while it runs for the first time."""

    def __init__(self, name: str, happens: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.runs = 0
        self.happens = happens

    def is_needed(self, upload: Upload) -> bool:
        assert upload.finish is not None
        return self.name not in dict(upload.finish.digests)

    async def run(self, upload: Upload) -> Upload:
        self.runs += 1
        if self.runs == 1:
            self.happens()
        assert upload.finish is not None
        digests = (*upload.finish.digests, (self.name, "00"))
        return replace(upload, finish=replace(upload.finish, digests=digests))


async def test_a_step_under_a_lost_lock_is_not_recorded_and_the_next_not_begun(
    tmp_path: Path,
) -> None:
    first, second = Step("md5"), Step("sha1")
    house = House(tmp_path, Policy(steps=(first, second), retry=0.05))
    first.happens = house.lose
    await house.uploads.start()
    await house.store.create(an_upload(finish=Finish()))
    with pytest.raises(LockLost):
        await house.patch(0, ScriptedBody(b"helloworld"), 10)
    upload = await house.store.get(ID)
    assert upload.finish == Finish()
    assert (first.runs, second.runs, house.finished()) == (1, 0, 0)
    house.regain()
    # It is tried again by itself.
    while not house.finished():
        await asyncio.sleep(0.01)
    assert (first.runs, second.runs, house.finished()) == (2, 1, 1)
    await house.uploads.close()


@pytest.mark.parametrize("has_second", [False, True], ids=["the end", "another step"])
async def test_nothing_follows_a_step_whose_lock_was_lost(tmp_path: Path, has_second: bool) -> None:
    points: list[str] = []
    second = Step("sha1")

    def note(point: str) -> None:
        points.append(point)
        if point == "recorded md5" and points.count(point) == 1:
            house.lose()

    more = (second,) if has_second else ()
    house = House(tmp_path, Policy(steps=(Step("md5"), *more), on_step=note))
    await house.uploads.start()
    await house.store.create(an_upload(finish=Finish()))
    with pytest.raises(LockLost):
        await house.patch(0, ScriptedBody(b"helloworld"), 10)
    upload = await house.store.get(ID)
    assert upload.is_due
    assert second.runs == 0
    assert house.finished() == 0
    house.regain()
    await house.uploads.finisher.carry_on(ID)
    while not house.finished():
        await asyncio.sleep(0.01)
    await house.uploads.close()


async def test_a_refusal_under_a_lost_lock_is_not_recorded(tmp_path: Path) -> None:
    def refuse() -> None:
        house.lose()
        raise UploadRefused("ERR_BAD", "a bad file")

    house = House(tmp_path, Policy(steps=(Step("md5", refuse),)))
    await house.uploads.start()
    await house.store.create(an_upload(finish=Finish()))
    with pytest.raises(LockLost):
        await house.patch(0, ScriptedBody(b"helloworld"), 10)
    assert (await house.store.get(ID)).is_due
    assert house.events == []
    await house.uploads.close()


async def test_that_an_outcome_was_told_is_not_recorded_under_a_lost_lock(tmp_path: Path) -> None:
    def note(point: str) -> None:
        if point == "told":
            house.lose()

    house = House(tmp_path, Policy(steps=(Step("md5"),), on_step=note))
    await house.uploads.start()
    await house.store.create(an_upload(finish=Finish()))
    with pytest.raises(LockLost):
        await house.patch(0, ScriptedBody(b"helloworld"), 10)
    upload = await house.store.get(ID)
    assert upload.finish is not None
    assert (upload.finish.is_over, upload.finish.is_told) == (True, False)
    await house.uploads.close()


# Removing and joining.


async def test_an_upload_is_not_removed_under_a_lock_that_was_lost_meanwhile(
    tmp_path: Path,
) -> None:
    async def take_long(upload: Upload) -> None:
        house.lose()

    def now() -> datetime:
        return datetime.now(UTC)

    async def get(upload_id: str) -> Upload:
        return await house.store.get(upload_id)

    options = LimitOptions(hooks=Hooks(on_terminate=take_long))
    limits = Limits(options, None, lambda: house.store.ids(), get, lambda: 0, now)
    house = House(tmp_path, Policy(admission=limits))
    await house.uploads.start()
    await house.store.create(an_upload())
    with pytest.raises(LockLost):
        await house.uploads.terminate(Terminate(ID))
    assert (await house.store.get(ID)).upload_id == ID
    await house.uploads.close()


async def test_uploads_are_not_joined_under_a_lost_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path)
    await house.uploads.start()
    part = an_upload("p" * 32, 5, concat=Partial())
    await house.store.create(part)
    await append(house.store, part, ScriptedBody(b"hello"))
    final = an_upload("f" * 32, 5, concat=Final((part.upload_id,), "final;p"))
    await house.store.create(final)
    joiner = house.uploads._joiner
    assert joiner is not None
    house.lose()
    assert (await house.uploads.view(final.upload_id)).is_pending
    await joiner.close()
    assert "could not be joined" in caplog.text
    assert (await house.store.get(final.upload_id)).is_pending
    house.regain()
    await house.uploads.view(final.upload_id)
    await joiner.close()
    assert (await house.store.get(final.upload_id)).is_finished
    assert house.finished() == 1
    await house.uploads.close()


async def test_a_joining_that_took_longer_than_its_lock_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path)
    await house.uploads.start()
    part = an_upload("p" * 32, 5, concat=Partial())
    await house.store.create(part)
    await append(house.store, part, ScriptedBody(b"hello"))
    final = an_upload("f" * 32, 5, concat=Final((part.upload_id,), "final;p"))
    await house.store.create(final)
    concatenate = house.store.concatenate

    async def take_long(upload: Upload, partials: Sequence[Upload]) -> Upload:
        house.lose()
        return await concatenate(upload, partials)

    monkeypatch.setattr(house.store, "concatenate", take_long)
    await house.uploads.view(final.upload_id)
    assert house.uploads._joiner is not None
    await house.uploads._joiner.close()
    assert "could not be joined" in caplog.text
    assert house.finished() == 0
    await house.uploads.close()
