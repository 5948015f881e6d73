"""What a site lets in, over HTTP: kinds, room, and the quotas of one server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.policy.quotas import by_name, metadata, usage, user
from tests.servers import serving
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually
from tests.wire import Answer, chunked, head
from tusserver.policy.grants import Signer, new_grant
from tusserver.policy.ledger import Usage

HDF5 = b"\x89HDF\r\n\x1a\n"
SOON = 2**31


@pytest.fixture
def up(tmp_path: Path) -> Path:
    return tmp_path / "up"


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal, whose body is `code: sentence`."""
    return answer.status, answer.body.decode().partition(":")[0]


def post(tus: Tus, length: int, **headers: str) -> Answer:
    return tus.post({"Upload-Length": str(length), **headers})


# Quotas: lengths that are known from the beginning.


def test_a_user_may_have_so_many_bytes(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        first = tus.mk(60)
        answer = post(tus, 41)
        assert refusal(answer) == (413, "ERR_QUOTA_EXCEEDED")
        assert b"this needs more than the 40 bytes that are left of your 100" in answer.body
        tus.made(b"x" * 40)
        assert usage(up) == Usage(100, 2, 1)
        assert refusal(post(tus, 1)) == (413, "ERR_QUOTA_EXCEEDED")
        assert post(tus, 0).status == 201
        assert tus.delete(first).status == 204
        assert post(tus, 60).status == 201


def test_a_user_may_have_so_many_uploads_finished_ones_included(up: Path) -> None:
    with serving(up, quota_uploads=2) as tus:
        url = tus.made(b"x")
        tus.mk(5)
        answer = post(tus, 0)
        assert refusal(answer) == (413, "ERR_QUOTA_EXCEEDED")
        assert b"you have 2 uploads, of 2 that you may have; delete one first" in answer.body
        assert tus.delete(url).status == 204
        assert post(tus, 0).status == 201


def test_a_user_may_have_so_many_unfinished_uploads(up: Path) -> None:
    with serving(up, quota_active=1) as tus:
        url = tus.mk(5)
        answer = post(tus, 5)
        assert refusal(answer) == (429, "ERR_TOO_MANY_UPLOADS")
        assert answer["Retry-After"]
        assert b"you have 1 unfinished uploads, of 1" in answer.body
        assert tus.pa(url, 0, b"12345").status == 204
        tus.mk(5)


def test_each_user_has_a_quota_of_their_own(up: Path) -> None:
    with serving(up, check=by_name, quota_size=10) as tus:
        tus.mk(10, user("alice"))
        assert post(tus, 1, **user("alice")).status == 413
        tus.mk(10, user("bob"))
    assert usage(up, "alice") == usage(up, "bob") == Usage(10, 1, 1)


def test_a_refused_creation_stores_nothing_and_waits_for_no_body(up: Path) -> None:
    with serving(up, quota_size=10) as tus, tus.wire() as wire:
        headers = {**VERSION, **OCTETS, "Upload-Length": "11", "Content-Length": "11"}
        wire.send(head("POST", tus.creation, headers))
        assert wire.answer("POST").status == 413
    assert usage(up) == Usage(0, 0, 0)
    assert not [path for path in up.iterdir() if path.name != ".tusserver"]


# Room.


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how much room the disk seems to have."""

    def set_free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**6, 10**6 - size, size))

    return set_free


def test_no_upload_is_taken_that_would_leave_too_little_room(
    up: Path, set_free: Callable[[int], None]
) -> None:
    set_free(150)
    with serving(up, min_free_space=100) as tus:
        tus.mk(50)
        answer = post(tus, 51)
        assert refusal(answer) == (507, "ERR_STORAGE_FULL")
        assert b"running out of room; try again later" in answer.body
        deferred = tus.mk(None)
        assert tus.pa(deferred, 0, b"x" * 51).status == 507
        assert tus.pa(deferred, 0, b"x" * 10, {"Upload-Length": "51"}).status == 507
        assert tus.off(deferred) == 0
        assert tus.pa(deferred, 0, b"x" * 50).status == 204
        set_free(99)
        assert post(tus, 0).status == 507
        with tus.wire() as wire:
            wire.send(head("PATCH", deferred, chunked_headers(50)))
            assert wire.answer("PATCH").status == 507


# Kinds.


@pytest.mark.parametrize(
    ("settings", "values", "status"),
    [
        ({"allow_preset": "hpc"}, {"filename": "run.H5"}, 201),
        ({"allow_preset": "hpc"}, {"name": "job.sh"}, 201),
        ({"allow_preset": "hpc"}, {"filename": "setup.exe"}, 415),
        ({"allow_preset": "hpc"}, {"filename": "tar"}, 415),
        ({"allow_preset": "hpc"}, {}, 415),
        ({"allow_preset": "hpc", "allow_extensions": (".MAT",)}, {"filename": "a.mat"}, 201),
        ({"allow_extensions": ("mat",)}, {"filename": "a.h5"}, 415),
        ({"allow_types": ("image/*",)}, {"filetype": "image/png"}, 201),
        ({"allow_types": ("image/*",)}, {"type": "Image/PNG; a=b"}, 201),
        ({"allow_types": ("image/*",)}, {"filetype": "text/html"}, 415),
        ({"allow_types": ("image/*",)}, {}, 415),
    ],
)
def test_only_these_kinds_are_taken(
    up: Path, settings: dict[str, Any], values: dict[str, str], status: int
) -> None:
    with serving(up, **settings) as tus:
        answer = post(tus, 5, **(metadata(**values) if values else {}))
        assert answer.status == status
        if status == 415:
            assert refusal(answer)[1] == "ERR_KIND_NOT_ALLOWED"
            assert b"not taken; " in answer.body


@pytest.fixture
def checking(up: Path) -> Iterator[Tus]:
    with serving(up, check_content=True, quota_size=2**30, quota_active=9) as tus:
        yield tus


SIZE = 10 * 2**20
LIAR = metadata(filename="data.h5")


def test_a_file_that_contradicts_its_name_is_refused_while_it_is_young(
    checking: Tus, up: Path
) -> None:
    url = checking.mk(SIZE, LIAR)
    assert checking.pa(url, 0, b"no HDF5").status == 204, "too little to say"
    with checking.begin_patch(url, 7, SIZE - 7) as wire:
        wire.send(b"at all " * 4000)
        answer = wire.answer("PATCH")
    assert refusal(answer) == (415, "ERR_KIND_NOT_ALLOWED")
    assert b"does not begin as a .h5 file does" in answer.body
    assert not (up / url.rpartition("/")[2]).exists(), "its bytes are gone"
    assert checking.hd(url)["Upload-Refused"] == "ERR_KIND_NOT_ALLOWED"
    for offset in (0, 7, 28007):
        assert checking.pa(url, offset, HDF5 * 1000).status == 415
    assert usage(up) == Usage(0, 1, 0), "what was refused is not kept, and not active"


def test_a_short_file_is_judged_when_it_is_complete(checking: Tus) -> None:
    url = checking.mk(10, LIAR)
    assert checking.pa(url, 0, b"no ").status == 204
    assert checking.pa(url, 3, b"HDF5 :)").status == 415
    good = checking.mk(10, LIAR)
    assert checking.pa(good, 0, HDF5 + b"ok").status == 204
    assert checking.content(good) == HDF5 + b"ok"


def test_with_a_creation_nothing_is_left_of_it(checking: Tus, up: Path) -> None:
    answer = checking.post({"Upload-Length": "9", **OCTETS, **LIAR}, b"no HDF5!!")
    assert refusal(answer) == (415, "ERR_KIND_NOT_ALLOWED")
    assert usage(up) == Usage(0, 0, 0)


@pytest.mark.parametrize("is_pending", [False, True])
def test_parts_are_judged_once_they_are_joined(checking: Tus, is_pending: bool, up: Path) -> None:
    part = checking.mk(7, {"Upload-Concat": "partial"})
    if not is_pending:
        assert checking.pa(part, 0, b"no HDF5").status == 204
    answer = checking.post({"Upload-Concat": f"final;{part}", **LIAR})
    if not is_pending:
        assert refusal(answer) == (415, "ERR_KIND_NOT_ALLOWED")
        return
    url = checking.location(answer)
    assert checking.pa(part, 0, b"no HDF5").status == 204
    eventually(lambda: checking.hd(url).get("Upload-Refused") == "ERR_KIND_NOT_ALLOWED")
    assert checking.get(url).status == 404
    eventually(lambda: usage(up) == Usage(7, 2, 0))


# Signed URLs.


def test_a_signed_url_bounds_what_is_created_with_it(up: Path, tmp_path: Path) -> None:
    secret = b"a secret of thirty-two bytes at the least"
    (tmp_path / "secret").write_bytes(secret)
    with serving(up, signing_secret_file=tmp_path / "secret") as tus:
        grant = new_grant(SOON, owner="alice", max_size=10, destination="jobs/7")
        target = f"{tus.creation}?{Signer(secret).sign(grant)}"

        def create(headers: dict[str, str]) -> Answer:
            return tus.request("POST", target, {**VERSION, "Content-Length": "0", **headers})

        answer = create({"Upload-Length": "11"})
        assert refusal(answer) == (413, "ERR_MAX_SIZE_EXCEEDED")
        assert b"10 bytes" in answer.body
        assert create({"Upload-Defer-Length": "1"}).status == 403
        elsewhere = create({"Upload-Length": "10", **metadata(destination="jobs/8")})
        assert (elsewhere.status, b"'jobs/7' only" in elsewhere.body) == (403, True)
        for values in ({}, metadata(destination="jobs/7"), metadata(filename="a")):
            made = create({"Upload-Length": "10", **values})
            assert made.status == 201
            found = tus.hd(made["Location"])["Upload-Metadata"]
            assert metadata(destination="jobs/7")["Upload-Metadata"] in found


# Bodies that are chunked do not say how much they bring.


def test_a_body_of_unknown_length_is_stored_up_to_the_quota(up: Path) -> None:
    with serving(up, quota_size=100) as tus:
        tus.mk(40)
        url = tus.mk(None)
        body = chunked(b"a" * 50, b"b" * 50)
        answer = tus.request("PATCH", url, chunked_headers(0), body)
        assert refusal(answer) == (413, "ERR_QUOTA_EXCEEDED")
        assert answer["Upload-Offset"] == "60"
        assert tus.off(url) == 60
        assert usage(up) == Usage(100, 2, 2)
        again = tus.request("PATCH", url, chunked_headers(60), chunked(b"b"))
        assert refusal(again) == (413, "ERR_QUOTA_EXCEEDED")
        assert tus.pa(url, 60, b"", {"Upload-Length": "60"}).status == 204
        assert tus.content(url) == b"a" * 50 + b"b" * 10
