"""Between the last byte and the last reply: nobody believes in success too early, nobody waits in
vain, and the outcome is one, whoever asks and however often.
"""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finish.site import Gate, Site, site
from tests.servers import serving
from tests.tus import OCTETS, eventually
from tests.wire import Answer
from tusserver.events.base import FinishRefused, UploadFinished
from tusserver.protocol.errors import StorageFailed, StorageFull
from tusserver.protocol.refusals import FinishUnavailable, UploadRefused
from tusserver.store.base import Store
from tusserver.store.file import FileStore
from tusserver.store.memory import MemoryStore

DATA = b"hello world"
LENGTH = len(DATA)
INFECTED = UploadRefused("ERR_INFECTED", "the file is infected: Test.Virus")


@pytest.fixture(params=["file", "memory"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    store: Store = FileStore(tmp_path) if request.param == "file" else MemoryStore()
    with site(None, store=store, retry=0.1) as made:
        yield made


class Asking(threading.Thread):
    """A request on its way."""

    def __init__(self, here: Site, url: str, offset: int, data: bytes) -> None:
        super().__init__(daemon=True)
        self._what = (here.tus, url, offset, data)
        self.answers: list[Answer] = []
        self.start()

    def run(self) -> None:
        tus, url, offset, data = self._what
        self.answers.append(tus.pa(url, offset, data))

    def answer(self) -> Answer:
        self.join(10)
        return self.answers[0]


def arrived(here: Site, count: int = 1) -> None:
    """Waits until the gate has been reached so often."""
    eventually(lambda: len(here.gate.runs) >= count)


def test_while_the_finish_is_under_way_one_byte_seems_to_be_missing(here: Site) -> None:
    here.gate.is_open = False
    url = here.tus.mk(LENGTH)
    first = Asking(here, url, 0, DATA)
    arrived(here)
    answer = here.tus.hd(url)
    assert (answer["Upload-Offset"], answer["Upload-Length"]) == (str(LENGTH - 1), str(LENGTH))
    assert here.tus.get(url).status == 404
    assert here.tus.pa(url, 0, DATA)["Upload-Offset"] == str(LENGTH - 1)
    assert here.tus.pa(url, LENGTH, b"").status == 409
    assert here.tus.pa(url, LENGTH - 1, b"dd").status == 413
    assert here.outcomes() == []
    joined = Asking(here, url, LENGTH - 1, b"d")
    here.gate.is_open = True
    for asking in (first, joined):
        assert (asking.answer().status, asking.answer()["Upload-Offset"]) == (204, str(LENGTH))
    assert here.tus.off(url) == LENGTH
    assert here.tus.content(url) == DATA
    assert len(here.outcomes()) == len(here.gate.runs) == 1


def test_a_lost_answer_is_had_again(here: Site) -> None:
    url = here.tus.made(DATA)
    again = here.tus.pa(url, LENGTH - 1, b"d")
    assert (again.status, again["Upload-Offset"]) == (204, str(LENGTH))
    whole = here.tus.pa(url, 0, DATA)
    assert (whole.status, whole["Upload-Offset"]) == (409, str(LENGTH))
    assert here.tus.content(url) == DATA
    assert len(here.outcomes()) == 1


def test_a_refusal_is_for_good_and_told_to_everybody(here: Site) -> None:
    here.gate.fault = INFECTED
    url = here.tus.mk(LENGTH)
    for offset, data in ((0, DATA), (LENGTH - 1, b"d"), (0, DATA), (LENGTH, b"")):
        answer = here.tus.pa(url, offset, data)
        assert (answer.status, answer.body) == (
            422,
            b"ERR_INFECTED: the file is infected: Test.Virus\n",
        )
    answer = here.tus.hd(url)
    assert (answer.status, answer["Upload-Offset"]) == (200, str(LENGTH - 1))
    assert answer["Upload-Refused"] == "ERR_INFECTED"
    assert answer.get("Upload-Expires") is not None
    assert here.tus.get(url).status == 404
    assert [type(event) for event in here.outcomes()] == [FinishRefused]
    assert here.tus.delete(url).status == 204
    assert here.tus.hd(url).status == 404


def test_what_was_refused_takes_no_room(tmp_path: Path) -> None:
    with site(tmp_path, Gate(fault=INFECTED)) as here:
        url = here.tus.mk(LENGTH)
        assert here.tus.pa(url, 0, DATA).status == 422
        assert not (tmp_path / url.rpartition("/")[2]).exists()


def test_what_cannot_be_finished_now_is_finished_later(here: Site) -> None:
    here.gate.fault = FinishUnavailable("the scanner does not answer")
    url = here.tus.mk(LENGTH)
    answer = here.tus.pa(url, 0, DATA)
    assert (answer.status, answer["Retry-After"]) == (503, "10")
    assert here.tus.off(url) == LENGTH - 1
    assert here.tus.pa(url, LENGTH - 1, b"d").status in (503, 423)
    assert here.outcomes() == []
    here.gate.fault = None
    eventually(lambda: here.tus.off(url) == LENGTH and len(here.outcomes()) == 1)
    assert here.tus.content(url) == DATA


def test_a_disk_that_fails_in_a_step_is_asked_again_later(here: Site) -> None:
    here.gate.fault = OSError(errno.EIO, "Input/output error")
    url = here.tus.mk(LENGTH)
    answer = here.tus.pa(url, 0, DATA)
    assert (answer.status, answer.body.partition(b":")[0]) == (500, b"ERR_STORAGE_FAILED")
    assert here.tus.off(url) == LENGTH - 1
    here.gate.fault = None
    eventually(lambda: here.tus.off(url) == LENGTH and len(here.outcomes()) == 1)


def test_the_finish_goes_on_when_the_client_has_gone(here: Site) -> None:
    here.gate.is_open = False
    url = here.tus.mk(LENGTH)
    with here.tus.begin_patch(url, 0, LENGTH) as wire:
        wire.send(DATA)
        arrived(here)
        wire.reset()
    joined = Asking(here, url, LENGTH - 1, b"d")
    here.gate.is_open = True
    assert joined.answer().status == 204
    assert len(here.outcomes()) == len(here.gate.runs) == 1


def test_an_upload_that_is_being_finished_cannot_be_deleted(here: Site) -> None:
    here.gate.is_open = False
    url = here.tus.mk(LENGTH)
    asking = Asking(here, url, 0, DATA)
    arrived(here)
    assert here.tus.delete(url).status == 423
    here.gate.is_open = True
    assert asking.answer().status == 204
    assert here.tus.delete(url).status == 204


@pytest.mark.parametrize("data", [DATA, b""], ids=["bytes", "none"])
def test_the_finish_is_part_of_a_creation_with_all_bytes(here: Site, data: bytes) -> None:
    headers = {**OCTETS, "Upload-Length": str(len(data))}
    answer = here.tus.post(headers, data)
    assert (answer.status, answer["Upload-Offset"]) == (201, str(len(data)))
    assert len(here.gate.runs) == len(here.outcomes()) == 1
    here.gate.fault = INFECTED
    assert here.tus.post(headers, data).status == 422


@pytest.mark.parametrize("fault", [FinishUnavailable(), StorageFull(), StorageFailed()])
def test_a_creation_whose_finish_must_wait_is_no_success_but_no_loss_either(
    here: Site, fault: Exception
) -> None:
    here.gate.fault = fault
    answer = here.tus.post({**OCTETS, "Upload-Length": str(LENGTH)}, DATA)
    assert (answer.status, answer["Upload-Offset"]) == (201, str(LENGTH - 1))
    here.gate.fault = None
    eventually(lambda: here.tus.off(here.tus.location(answer)) == LENGTH)


def test_the_finish_is_part_of_joining(here: Site) -> None:
    parts = [here.tus.made(data, {"Upload-Concat": "partial"}) for data in (b"hello ", b"world")]
    assert here.gate.runs == [], "partial uploads are finished with their final one"
    final = {"Upload-Concat": f"final;{' '.join(parts)}"}
    answer = here.tus.post(final)
    assert answer.status == 201
    assert here.tus.content(here.tus.location(answer)) == DATA
    here.gate.fault = INFECTED
    assert here.tus.post(final).status == 422
    assert [type(event) for event in here.outcomes()] == [UploadFinished, FinishRefused]


def test_a_final_upload_that_waited_for_its_parts_is_finished_too(here: Site) -> None:
    part = here.tus.mk(LENGTH, {"Upload-Concat": "partial"})
    answer = here.tus.post({"Upload-Concat": f"final;{part}"})
    url = here.tus.location(answer)
    here.gate.is_open = False
    assert here.tus.pa(part, 0, DATA).status == 204
    arrived(here)
    assert here.tus.off(url) == LENGTH - 1
    here.gate.is_open = True
    eventually(lambda: here.tus.off(url) == LENGTH)
    assert len(here.outcomes()) == 1


def test_in_the_background_nobody_waits(tmp_path: Path) -> None:
    with site(tmp_path, Gate(is_open=False), finishes_in_background=True) as here:
        url = here.tus.mk(LENGTH)
        assert here.tus.pa(url, 0, DATA)["Upload-Offset"] == str(LENGTH)
        assert here.tus.off(url) == LENGTH
        assert here.tus.get(url).status == 404, "nobody knows yet whether it may be had"
        here.gate.fault = INFECTED
        here.gate.is_open = True
        eventually(lambda: here.tus.hd(url).get("Upload-Refused") == "ERR_INFECTED")


def test_a_stop_answers_those_who_wait(tmp_path: Path) -> None:
    with site(tmp_path, Gate(is_open=False)) as here:
        asking = Asking(here, here.tus.mk(LENGTH), 0, DATA)
        arrived(here)
    answer = asking.answer()
    assert (answer.status, answer["Retry-After"]) == (503, "10")


def test_a_finish_that_a_stop_breaks_off_is_carried_on(tmp_path: Path) -> None:
    with site(tmp_path, Gate(is_open=False)) as here:
        url = here.tus.mk(LENGTH)
        with here.tus.begin_patch(url, 0, LENGTH) as wire:
            wire.send(DATA)
            arrived(here)
            wire.close()
    with site(tmp_path) as here:
        eventually(lambda: here.tus.off(url) == LENGTH and len(here.outcomes()) == 1)
    with site(tmp_path) as here:
        assert here.tus.pa(url, LENGTH - 1, b"d").status == 204
        assert (here.outcomes(), here.gate.runs) == ([], [])


def test_an_event_that_nobody_may_have_heard_is_told_again(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        url = here.tus.made(DATA)
    [told] = here.outcomes()
    assert isinstance(told, UploadFinished)
    assert told.upload.finish is not None
    info = tmp_path / f"{url.rpartition('/')[2]}.info"
    record = json.loads(info.read_text())
    assert record["tusserver"]["finish"].pop("is_told") is True
    info.write_text(json.dumps(record))
    with site(tmp_path) as here:
        eventually(lambda: len(here.outcomes()) == 1)
        [again] = here.outcomes()
        assert isinstance(again, UploadFinished)
        assert again.upload.finish is not None
        assert again.upload.finish.event_id == told.upload.finish.event_id
        assert here.gate.runs == []


def test_an_upload_from_before_the_rules_is_finished_by_them(tmp_path: Path) -> None:
    """And one that was finished before stays as it is."""
    with serving(tmp_path) as tus:
        old, half = tus.made(DATA), tus.mk(LENGTH)
        assert tus.pa(half, 0, DATA[:5]).status == 204
    with site(tmp_path, Gate(fault=INFECTED)) as here:
        assert here.tus.off(old) == LENGTH
        assert here.tus.pa(half, 5, DATA[5:]).status == 422


def test_without_steps_the_record_says_nothing_of_a_finish(tmp_path: Path) -> None:
    with serving(tmp_path) as tus:
        url = tus.made(DATA)
    assert "finish" not in (tmp_path / f"{url.rpartition('/')[2]}.info").read_text()
