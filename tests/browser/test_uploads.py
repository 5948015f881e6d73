"""The page at `/` on a good day: files go up, are paused, go on, are given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.uploader import MEBI, digest_of, made_file, stored_digests, url_of
from tests.tus import Tus, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.uploader import Visit
    from tests.conftest import Serve


def test_several_files_go_up_at_once(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    files = [made_file(tmp_path / "in", f"{name}.bin", 100_000 + name) for name in range(5)]
    files.append(made_file(tmp_path / "in", "empty.bin", 0))
    uploader = visit(url_of(tus))
    uploader.choose(*files)
    uploader.expect_done(*(file.name for file in files))
    expect(uploader.page.get_by_text("6 of 6 uploaded")).to_be_visible()
    stored = {tus.content(asked) for asked in uploader.traffic.uploads()}
    assert stored == {file.read_bytes() for file in files[:-1]}
    assert len(uploader.traffic.sent("POST")) == 6


def test_no_more_than_three_go_at_the_same_time(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    files = [made_file(tmp_path / "in", f"{name}.bin", MEBI) for name in range(5)]
    uploader = visit(url_of(tus))
    with uploader.slowly(100_000):
        uploader.choose(*files)
        uploader.wait_for_request("PATCH", after=2)
        uploader.expect_state("3.bin", "Waiting for its turn")
        uploader.expect_state("4.bin", "Waiting for its turn")
        assert len(uploader.traffic.sent("POST")) == 3
        uploader.press("Pause", "0.bin")
        uploader.wait_for_request("POST", after=3)
    uploader.expect_done("1.bin", "2.bin", "3.bin", "4.bin")
    uploader.expect_state("0.bin", "Paused")


def test_the_metadata_of_the_file_goes_along(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    file = made_file(tmp_path / "in", "시료 3 & α.png", 1000)
    uploader = visit(url_of(tus))
    uploader.choose(file)
    uploader.expect_done(file.name)
    [path] = uploader.traffic.uploads()
    assert tus.hd(path)["Upload-Metadata"] == (
        "filename 7Iuc66OMIDMgJiDOsS5wbmc=,filetype aW1hZ2UvcG5n"
    )


def test_a_paused_upload_goes_on_from_where_it_was(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    file = made_file(tmp_path / "in", "a.bin", 8 * MEBI)
    uploader = visit(url_of(tus))
    with uploader.slowly():
        uploader.choose(file)
        uploader.wait_for_percent("a.bin", 20)
        uploader.press("Pause", "a.bin")
        uploader.expect_state("a.bin", "Paused")
        [path] = uploader.traffic.uploads()
        eventually(lambda: tus.off(path) > 0)
        before = len(uploader.traffic.offsets(path))
    kept = tus.off(path)
    uploader.press("Resume", "a.bin")
    uploader.expect_done("a.bin")
    # Not one byte was sent a second time.
    assert uploader.traffic.offsets(path)[before] == kept
    assert tus.content(path) == file.read_bytes()


def test_a_cancelled_upload_is_gone_from_the_server(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus))
    with uploader.slowly():
        uploader.choose(made_file(tmp_path / "in", "a.bin", 8 * MEBI))
        uploader.wait_for_percent("a.bin", 20)
        with uploader.page.expect_response(lambda answer: answer.request.method == "DELETE"):
            uploader.press("Cancel", "a.bin")
    expect(uploader.page.locator(".tus-row")).to_have_count(0)
    [path] = uploader.traffic.uploads()
    assert tus.hd(path).status == 404
    # Nothing is left to be gone on with, either.
    uploader.page.reload()
    expect(uploader.page.locator(".tus-drop")).to_be_visible()
    expect(uploader.page.locator(".tus-unfinished")).to_have_count(0)


def test_files_can_be_dropped_upon_the_page(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus))
    files = uploader.page.evaluate_handle(
        """() => {
            const data = new DataTransfer()
            for (const name of ['a.txt', 'b.txt']) data.items.add(new File([`I am ${name}`], name))
            return data
        }"""
    )
    zone = uploader.page.locator(".tus-drop")
    zone.dispatch_event("dragenter", {"dataTransfer": files})
    expect(zone).to_contain_text("Let go to upload")
    zone.dispatch_event("drop", {"dataTransfer": files})
    uploader.expect_done("a.txt", "b.txt")
    stored = {tus.content(path) for path in uploader.traffic.uploads()}
    assert stored == {b"I am a.txt", b"I am b.txt"}


def test_a_large_file_goes_in_parts_that_are_joined(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    tus = serve()
    file = made_file(tmp_path / "in", "large.bin", 128 * MEBI)
    uploader = visit(url_of(tus))
    uploader.choose(file)
    uploader.expect_done("large.bin")
    assert len(uploader.traffic.uploads()) == 2
    assert stored_digests(tmp_path / "uploads", 128 * MEBI) == {digest_of(file)}


def test_another_upload_can_follow(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus))
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    uploader.expect_done("a.bin")
    with uploader.page.expect_file_chooser() as chooser:
        uploader.page.get_by_role("button", name="Upload another").click()
    chooser.value.set_files(made_file(tmp_path / "in", "b.bin", 1000))
    uploader.expect_done("b.bin")
    expect(uploader.page.locator(".tus-row")).to_have_count(1)


def test_the_page_speaks_korean(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus), locale="ko-KR")
    expect(uploader.page.get_by_role("heading", name="파일 업로드")).to_be_visible()
    assert uploader.page.evaluate("document.documentElement.lang") == "ko"
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    uploader.expect_state("a.bin", "업로드 완료")


def test_the_page_is_from_the_browsers_cache_the_second_time(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus))
    sizes = "performance.getEntriesByType('resource').map(each => each.transferSize)"
    assert any(uploader.page.evaluate(sizes))
    uploader.page.reload()
    expect(uploader.page.locator(".tus-drop")).to_be_visible()
    assert not any(uploader.page.evaluate(sizes))
