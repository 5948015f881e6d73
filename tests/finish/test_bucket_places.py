"""Where finished files of a bucket go: the same rules of names and collisions as in directories."""

from __future__ import annotations

from typing import Any

import pytest

from tests.finish.test_placement import DATA, named, sent
from tests.servers import serving
from tests.store.bucket import ObjectServer
from tusserver.settings import Settings, SettingsError


class Place:
    """Servers whose uploads go below one prefix of a bucket."""

    def __init__(self, objects: ObjectServer, own_prefix: str, tmp_path: Any) -> None:  # noqa: ANN401
        objects.publish_keys()
        self.objects = objects
        self.prefix = f"jobs-{own_prefix}"
        self._uploads = own_prefix
        self._directory = tmp_path / "up"

    def serving(self, **settings: Any) -> Any:  # noqa: ANN401
        found = self.objects.settings(self._uploads)
        return serving(self._directory, **found, destination_prefix=self.prefix, **settings)

    def names(self) -> set[str]:
        return {key.removeprefix(self.prefix) for key in self.objects.keys(self.prefix)}

    def uploads(self) -> list[str]:
        """The bytes that lie among the uploads."""
        return [key for key in self.objects.keys(self._uploads) if not key.endswith(".info")]


@pytest.fixture
def place(objects: ObjectServer, own_prefix: str, tmp_path: Any) -> Place:  # noqa: ANN401
    return Place(objects, own_prefix, tmp_path)


def test_a_finished_file_is_at_its_place_and_nowhere_else(place: Place) -> None:
    with place.serving() as tus:
        url, answer = sent(tus, named("한글 이름.h5", "run 7/input"))
        assert answer.status == 204
        shown = "anonymous/run%207/input/%ED%95%9C%EA%B8%80%20%EC%9D%B4%EB%A6%84.h5"
        assert answer["Upload-Place"] == tus.hd(url)["Upload-Place"] == shown
        assert tus.content(url) == DATA
        assert tus.get(url, {"Range": "bytes=2-4"}).body == DATA[2:5]
        assert place.names() == {"anonymous/run 7/input/한글 이름.h5"}
        assert place.uploads() == []
    with place.serving() as tus:
        assert tus.hd(url)["Upload-Place"] == shown
        assert tus.content(url) == DATA
        assert tus.delete(url).status == 204, "the record goes, the file is the user's"
        assert tus.hd(url).status == 404
    assert place.names() == {"anonymous/run 7/input/한글 이름.h5"}


@pytest.mark.parametrize(
    ("rule", "second", "names"),
    [
        ("number", 204, {"anonymous/a.txt", "anonymous/a (1).txt"}),
        ("refuse", 422, {"anonymous/a.txt"}),
        ("replace", 204, {"anonymous/a.txt"}),
    ],
)
def test_a_name_that_is_taken(place: Place, rule: str, second: int, names: set[str]) -> None:
    with place.serving(on_collision=rule) as tus:
        first, _ = sent(tus, named("a.txt"), b"the first file")
        url, answer = sent(tus, named("a.txt"))
        assert answer.status == second
        assert answer.status == 204 or answer.body.startswith(b"ERR_NOT_PLACED: ")
        assert place.names() == names
        # What was replaced is somebody else's now.
        assert tus.get(first).status == (404 if rule == "replace" else 200)
        assert second != 204 or tus.content(url) == DATA
    assert place.uploads() == []


def test_joined_uploads_are_placed_and_partial_ones_are_not(place: Place) -> None:
    with place.serving() as tus:
        parts = [tus.made(data, {"Upload-Concat": "partial"}) for data in (b"hello ", b"world")]
        answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **named("whole.txt")})
        assert answer.status == 201
        assert place.names() == {"anonymous/whole.txt"}
        assert tus.content(tus.location(answer)) == b"hello world"


def test_a_place_that_may_not_be_asked_for_is_refused_at_the_creation(place: Place) -> None:
    with place.serving(allow_destinations=("jobs/*",)) as tus:
        assert sent(tus, named("a.txt", "jobs/7"))[1].status == 204
        for destination in ("jobs/7/8", "../uploads", "/jobs/7"):
            answer = tus.post({"Upload-Length": "5", **named("a.txt", destination)})
            assert (answer.status, answer.body[:16]) == (400, b"ERR_INVALID_NAME")


def test_a_record_cannot_be_forged_by_a_name(place: Place) -> None:
    """An upload whose place has the form of a record is no upload."""
    with place.serving(destination_template="{filename}") as tus:
        url, answer = sent(tus, named(f"{'f' * 32}.info"))
        assert answer.status == 204
        assert tus.hd(f"{url.rpartition('/')[0]}/{'f' * 32}").status == 404


@pytest.mark.parametrize(
    ("store", "prefix"),
    [
        ("s3://bucket", "jobs/"),
        ("s3://bucket/uploads/", "uploads/jobs"),
        ("s3://bucket/a/uploads", "a/"),
        ("azure://container/uploads", "uploads"),
        ("s3://bucket/uploads", "/jobs"),
        ("", "jobs/"),
    ],
)
def test_places_among_the_uploads_are_no_settings(store: str, prefix: str) -> None:
    with pytest.raises(SettingsError, match="destination-prefix"):
        Settings(store=store, destination_prefix=prefix)
    assert Settings(store="s3://bucket/uploads", destination_prefix="uploads-done")


def test_the_page_asks_where_files_go(place: Place) -> None:
    with place.serving(api="on") as tus:
        page = tus.request("GET", "/", {"Accept": "text/html"}).body
        assert b'data-destinations="true"' in page
