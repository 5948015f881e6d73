"""Where finished files go: the right folder, never over what is there, never outside."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.servers import serving
from tests.tus import Tus
from tests.wire import Answer
from tusserver import create_app
from tusserver.settings import SettingsError

DATA = b"energy = -1.5\n" * 100


def named(filename: str, destination: str | None = None) -> dict[str, str]:
    values = {"filename": filename} | ({} if destination is None else {"destination": destination})
    pairs = (f"{key} {b64encode(text.encode()).decode()}" for key, text in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def sent(tus: Tus, headers: dict[str, str], data: bytes = DATA) -> tuple[str, Answer]:
    url = tus.mk(len(data), headers)
    assert tus.pa(url, 0, data[:5]).status == 204
    return url, tus.pa(url, 5, data[5:])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "jobs"
    made.mkdir()
    return made


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_finished_file_is_in_its_folder_and_nowhere_else(tmp_path: Path, root: Path) -> None:
    with serving(tmp_path / "up", destination_root=root) as tus:
        url, answer = sent(tus, named("한글 이름.h5", "run 7/input"))
        assert answer.status == 204
        place = "anonymous/run%207/input/%ED%95%9C%EA%B8%80%20%EC%9D%B4%EB%A6%84.h5"
        assert answer["Upload-Place"] == tus.hd(url)["Upload-Place"] == place
        assert files(root) == {"anonymous/run 7/input/한글 이름.h5": DATA}
        assert tus.content(url) == DATA
        assert tus.off(url) == len(DATA)
        again = tus.pa(url, len(DATA) - 1, DATA[-1:])
        assert (again.status, again["Upload-Place"]) == (204, place)
        assert not (tmp_path / "up" / url.rpartition("/")[2]).exists()
        assert tus.delete(url).status == 204, "the record goes, the file is the user's"
        assert tus.hd(url).status == 404
    assert files(root) == {"anonymous/run 7/input/한글 이름.h5": DATA}


def test_it_is_told_after_a_restart_and_when_the_file_has_been_taken_away(
    tmp_path: Path, root: Path
) -> None:
    with serving(tmp_path / "up", destination_root=root) as tus:
        url, _ = sent(tus, named("a.txt"))
    with serving(tmp_path / "up", destination_root=root) as tus:
        assert tus.content(url) == DATA
        (root / "anonymous" / "a.txt").unlink()
        assert tus.off(url) == len(DATA)
        assert tus.get(url).status == 404


@pytest.mark.parametrize(
    ("rule", "second", "kept"),
    [
        ("number", 204, {"anonymous/a.txt": b"the first file", "anonymous/a (1).txt": DATA}),
        ("refuse", 422, {"anonymous/a.txt": b"the first file"}),
        ("replace", 204, {"anonymous/a.txt": DATA}),
    ],
)
def test_a_name_that_is_taken(
    tmp_path: Path, root: Path, rule: str, second: int, kept: dict[str, bytes]
) -> None:
    with serving(tmp_path / "up", destination_root=root, on_collision=rule) as tus:
        assert sent(tus, named("a.txt"), b"the first file")[1].status == 204
        _, answer = sent(tus, named("a.txt"))
        assert answer.status == second
        assert answer.status == 204 or answer.body.startswith(b"ERR_NOT_PLACED: ")
    assert files(root) == kept


@pytest.mark.parametrize(
    "destination", ["../x", "/etc", "a/../../b", "a\\b", "C:/x", "a/./b", "x\0y", "a\nb"]
)
def test_a_destination_that_leads_elsewhere_is_refused_at_the_creation(
    tmp_path: Path, root: Path, destination: str
) -> None:
    with serving(tmp_path / "up", destination_root=root) as tus:
        answer = tus.post({"Upload-Length": "5", **named("a.txt", destination)})
        assert (answer.status, answer.body.startswith(b"ERR_INVALID_NAME: ")) == (400, True)


def test_only_the_destinations_that_are_allowed_may_be_asked_for(
    tmp_path: Path, root: Path
) -> None:
    allowed = ("jobs/*", "shared/**")
    with serving(tmp_path / "up", destination_root=root, allow_destinations=allowed) as tus:
        for destination in ("jobs/7", "shared/a/b/c"):
            assert sent(tus, named("a.txt", destination))[1].status == 204
        for destination in ("jobs", "jobs/7/8", "other", ""):
            answer = tus.post({"Upload-Length": "5", **named("a.txt", destination)})
            assert answer.status == 400
            assert b"is not one of jobs/*, shared/**" in answer.body


def test_files_get_the_permissions_of_the_place(tmp_path: Path, root: Path) -> None:
    perms: dict[str, Any] = {"destination_file_perms": 0o640, "destination_dir_perms": 0o750}
    group = str(os.getgid())
    with serving(tmp_path / "up", destination_root=root, destination_group=group, **perms) as tus:
        assert sent(tus, named("a.txt", "deep/er"))[1].status == 204
    placed = root / "anonymous" / "deep" / "er" / "a.txt"
    assert placed.stat().st_mode & 0o777 == 0o640
    assert placed.parent.stat().st_mode & 0o777 == 0o750


def test_a_link_below_the_root_leads_nowhere(tmp_path: Path, root: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "anonymous").symlink_to(outside)
    with serving(tmp_path / "up", destination_root=root) as tus:
        assert sent(tus, named("a.txt"))[1].status == 422
    assert list(outside.iterdir()) == []


def test_joined_uploads_are_placed_and_partial_ones_are_not(tmp_path: Path, root: Path) -> None:
    with serving(tmp_path / "up", destination_root=root) as tus:
        parts = [tus.made(data, {"Upload-Concat": "partial"}) for data in (b"hello ", b"world")]
        answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **named("whole.txt")})
        assert (answer.status, answer["Upload-Place"]) == (201, "anonymous/whole.txt")
        assert tus.content(parts[0]) == b"hello "
    assert files(root) == {"anonymous/whole.txt": b"hello world"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"destination_root": Path("missing")}, "missing is no directory; make it first"),
        ({"destination_template": "../{filename}"}, "destination-template: "),
        ({"destination_group": "no-such-group"}, "there is no group no-such-group"),
    ],
    ids=["root", "template", "group"],
)
def test_places_that_cannot_be_used_are_told_at_the_start(
    tmp_path: Path, root: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        create_app(**{"upload_dir": tmp_path / "up", "destination_root": root, **values})
