"""What is told about an upload, from what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from tusserver.protocol.finish import Finish, FinishState, Refusal
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.status.rates import Rates
from tusserver.status.values import Reason, State, Status, Work, describe

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DUE = Finish()
REFUSED = Finish(state=FinishState.REFUSED, refusal=Refusal("ERR_INFECTED", "it has Eicar"))


def an_upload(offset: int = 5, length: int | None = 10, **changes: object) -> Upload:
    upload = Upload("abc", offset, length, NOW, NOW)
    return structs.replace(upload, **changes)


def told(upload: Upload, over_at: datetime | None = None) -> Status:
    return describe(upload, over_at=over_at, now=NOW)


@dataclass(frozen=True)
class Case:
    upload: Upload
    state: State
    percent: float | None


@pytest.mark.parametrize(
    "case",
    [
        Case(an_upload(0), State.UPLOADING, 0.0),
        Case(an_upload(5, None), State.UPLOADING, None),
        Case(an_upload(1, 3), State.UPLOADING, 33.33),
        Case(an_upload(10**12 - 1, 10**12), State.UPLOADING, 99.99),
        Case(an_upload(10), State.FINISHED, 100.0),
        Case(an_upload(0, 0), State.FINISHED, 100.0),
        Case(an_upload(9, finish=DUE), State.UPLOADING, 90.0),
        Case(an_upload(10, finish=DUE), State.FINISHING, 100.0),
        Case(an_upload(10, finish=Finish(state=FinishState.DONE)), State.FINISHED, 100.0),
        Case(an_upload(10, finish=REFUSED), State.REFUSED, 100.0),
        Case(an_upload(0, 10, concat=Final(("a", "b"))), State.UPLOADING, 0.0),
    ],
)
def test_the_state_and_how_much_is_there(case: Case) -> None:
    status = told(case.upload)
    assert (status.state, status.percent) == (case.state, case.percent)


@pytest.mark.parametrize(
    ("after", "state"), [(-1, State.EXPIRED), (0, State.EXPIRED), (1, State.UPLOADING)]
)
def test_an_upload_whose_time_is_over_has_expired(after: int, state: State) -> None:
    over_at = NOW + timedelta(seconds=after)
    status = told(an_upload(), over_at)
    assert (status.state, status.expires) == (state, over_at)


def test_the_metadata_names_file_and_destination() -> None:
    status = told(an_upload(metadata="filename 7ZWc6riALmg1,destination am9icy83,flag"))
    assert (status.filename, status.destination) == ("한글.h5", "jobs/7")
    assert status.metadata == {"filename": "한글.h5", "destination": "jobs/7", "flag": ""}
    assert told(an_upload(metadata="name YQ==")).filename == "a"
    assert told(an_upload(metadata="filename /w==")).filename == "\N{REPLACEMENT CHARACTER}"
    assert told(an_upload()).filename is None


def test_the_outcome_of_a_finish_is_told() -> None:
    done = Finish(
        state=FinishState.DONE, digests=(("md5", "00"),), scan="clean", place="kim/한글.h5"
    )
    status = told(an_upload(10, finish=done))
    assert (status.digests, status.scan, status.place) == ({"md5": "00"}, "clean", "kim/한글.h5")
    assert status.refusal is None
    assert told(an_upload(10, finish=REFUSED)).refusal == Reason("ERR_INFECTED", "it has Eicar")
    assert told(an_upload(10, finish=DUE)).place is None


def test_work_is_told_while_finishing_and_the_rate_while_uploading() -> None:
    work = Work("digest", 1, 10)

    def both(upload: Upload) -> tuple[Work | None, float | None]:
        status = describe(upload, over_at=None, now=NOW, work=work, rate=2.0)
        return status.finish, status.rate

    assert both(an_upload(5, finish=DUE)) == (None, 2.0)
    assert both(an_upload(10, finish=DUE)) == (work, None)
    assert both(an_upload(10)) == (None, None)


def test_parts_and_wholes_are_told_apart() -> None:
    assert told(an_upload()).concat is None
    assert told(an_upload(concat=Partial())).concat == "partial"
    assert told(an_upload(concat=Final(("a",)))).concat == "final"


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rates = Rates()
    assert rates.note("a", 0, 100.0) is None
    assert rates.note("a", 100, 100.4) is None
    assert rates.note("a", 100, 101.0) == 100.0
    for second in range(2, 40):
        rate = rates.note("a", 100 + 7 * second, 100.0 + second)
    assert rate == 7.0
    assert rates.note("a", 366 + 7, 1000.0) == pytest.approx(7 / 960, abs=0.3)
    assert rates.note("a", 0, 1001.0) is None, "the upload is another one, or has lost bytes"


def test_one_who_looks_seldom_gets_a_rate_too() -> None:
    rates = Rates()
    rates.note("a", 0, 0.0)
    assert rates.note("a", 600, 60.0) == 10.0
    assert rates.note("a", 1800, 120.0) == pytest.approx(15.0, abs=5)


def test_rates_of_so_many_uploads_are_remembered_and_of_no_more() -> None:
    rates = Rates(capacity=2)
    for name in ("a", "b", "c"):
        rates.note(name, 0, 0.0)
    assert rates.note("b", 10, 1.0) == 10.0
    assert rates.note("a", 10, 1.0) is None
    rates.forget("b")
    assert rates.note("b", 20, 2.0) is None
