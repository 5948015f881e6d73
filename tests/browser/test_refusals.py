"""What the page or the server does not take, and what the person then reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.uploader import MEBI, Uploader, made_file, url_of
from tusserver.policy.hooks import Hooks
from tusserver.protocol.refusals import UploadRefused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.uploader import Visit
    from tests.conftest import Serve
    from tusserver.protocol.upload import Upload


def assert_not_offered_again(uploader: Uploader, name: str) -> None:
    expect(uploader.button("Remove from the list", name)).to_be_visible()
    expect(uploader.button("Try again", name)).to_have_count(0)


def assert_nothing_was_sent(uploader: Uploader) -> None:
    # The second one goes after whatever the first one could have sent.
    assert not uploader.traffic.sent("OPTIONS", "POST", "PATCH", "HEAD")


def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    uploader = visit(url_of(serve(max_size=MEBI)))
    expect(uploader.page.get_by_text("up to 1 MiB each")).to_be_visible()
    uploader.choose(made_file(tmp_path / "in", "a.bin", MEBI + 1))
    uploader.expect_state("a.bin", "The file is too large.")
    assert_not_offered_again(uploader, "a.bin")
    assert_nothing_was_sent(uploader)
    uploader.choose(made_file(tmp_path / "in", "b.bin", MEBI))
    uploader.expect_done("b.bin")
    assert len(uploader.traffic.sent("POST")) == 1


def test_a_file_of_the_wrong_type_is_refused_before_anything_is_sent(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    uploader = visit(url_of(serve(allow_extensions=("h5", "nc"))))
    expect(uploader.page.get_by_text("h5, nc")).to_be_visible()
    uploader.choose(made_file(tmp_path / "in", "a.exe", 10))
    uploader.expect_state("a.exe", "This kind of file is not taken here.")
    assert_not_offered_again(uploader, "a.exe")
    assert_nothing_was_sent(uploader)
    uploader.choose(made_file(tmp_path / "in", "B.NC", 10))
    uploader.expect_done("B.NC")


def test_a_full_server_says_so_in_its_own_words(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    tus = serve(min_free_space=2**60)
    uploader = visit(url_of(tus))
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    said = tus.post({"Upload-Length": "1000"}).body.decode().partition(": ")[2].strip()
    sentence = f"{said[0].upper()}{said[1:]}".removesuffix(".")
    uploader.expect_state("a.bin", f"The server has no room left. {sentence}.")
    # Room may be made, which the user knows better than a timer does.
    expect(uploader.button("Try again", "a.bin")).to_be_visible()
    assert len(uploader.traffic.sent("POST")) == 1
    uploader.press("Try again", "a.bin")
    uploader.wait_for_request("POST", after=1)
    uploader.expect_state("a.bin", "The server has no room left.")


def test_a_file_that_is_not_what_its_name_says_is_refused(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    uploader = visit(url_of(serve(check_content=True)))
    uploader.choose(made_file(tmp_path / "in", "a.png", 100_000))
    uploader.expect_state("a.png", "The server refused the upload. ")
    assert_not_offered_again(uploader, "a.png")
    assert len(uploader.traffic.sent("PATCH")) == 1


def test_a_refusal_of_the_whole_file_is_shown_and_not_tried_again(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    async def refuse(upload: Upload) -> None:
        raise UploadRefused("ERR_NO_MESH", "the file has no mesh in it")

    uploader = visit(url_of(serve(hooks=Hooks(before_finish=refuse))))
    file = made_file(tmp_path / "in", "a.bin", 1000)
    uploader.choose(file)
    uploader.expect_state("a.bin", "The server refused the upload. The file has no mesh in it. ·")
    assert_not_offered_again(uploader, "a.bin")
    assert len(uploader.traffic.sent("PATCH")) == 1
    # A better file of the same name is another upload.
    uploader.choose(file)
    uploader.wait_for_request("POST", after=1)
    assert not uploader.traffic.sent("HEAD")
