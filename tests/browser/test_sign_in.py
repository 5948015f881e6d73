"""The page where the server asks who is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest
from playwright.sync_api import expect

from tests.browser.uploader import MEBI, Uploader, made_file, url_of
from tests.status.site import SECRET
from tests.tus import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.uploader import Visit
    from tests.conftest import Serve
    from tests.tus import Tus


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> Tus:
    """A server that wants tokens, and takes them to the second."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    return serve(jwt_secret_file=secret, jwt_leeway=None)


def token(life: int = 3600, user: str = "kim") -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + life}, SECRET, "HS256")


def sign_in(uploader: Uploader, value: str) -> None:
    uploader.page.get_by_label("Token").fill(value)
    uploader.page.get_by_role("button", name="Sign in").click()


def test_a_person_signs_in_and_uploads(visit: Visit, guarded: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(guarded))
    expect(uploader.page.get_by_text("Paste the token that your portal gave you.")).to_be_visible()
    sign_in(uploader, token())
    expect(uploader.page.get_by_label("Token")).to_have_count(0)
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    uploader.expect_done("a.bin")
    [path] = uploader.traffic.uploads()
    mine = {"Authorization": f"Bearer {token()}", "Tus-Resumable": "1.0.0"}
    assert guarded.request("HEAD", path, mine)["Upload-Offset"] == "1000"


def test_a_file_that_was_chosen_before_the_sign_in_goes_up_after_it(
    visit: Visit, guarded: Tus, tmp_path: Path
) -> None:
    uploader = visit(url_of(guarded))
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    expect(uploader.page.get_by_label("Token")).to_be_visible()
    sign_in(uploader, token())
    uploader.expect_done("a.bin")


def test_a_token_that_is_not_taken_is_asked_for_again(
    visit: Visit, guarded: Tus, tmp_path: Path
) -> None:
    uploader = visit(url_of(guarded))
    sign_in(uploader, token(life=-10))
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    expect(uploader.page.get_by_text("The token is not valid, or no longer.")).to_be_visible()
    sign_in(uploader, token())
    uploader.expect_done("a.bin")


def test_a_token_that_expires_in_the_middle_is_replaced_and_the_upload_goes_on(
    visit: Visit, guarded: Tus, tmp_path: Path
) -> None:
    file = made_file(tmp_path / "in", "a.bin", 8 * MEBI)
    uploader = visit(url_of(guarded))
    short = token(life=3)
    expires = jwt.decode(short, SECRET, ["HS256"])["exp"]
    with uploader.slowly(MEBI):
        sign_in(uploader, short)
        uploader.choose(file)
        uploader.wait_for_percent("a.bin", 5)
        eventually(lambda: time.time() > expires)
        assert not uploader.page.get_by_label("Token").is_visible()
    # The request that runs is not cut off; the next one is refused.
    expect(uploader.page.get_by_text("The token is not valid, or no longer.")).to_be_visible()
    [path] = uploader.traffic.uploads()
    kept = uploader.traffic.offsets(path)[-1]
    assert 0 < kept < 8 * MEBI
    sign_in(uploader, token())
    uploader.expect_done("a.bin")
    assert uploader.traffic.offsets(path) == [0, kept, kept]
    mine = {"Authorization": f"Bearer {token()}"}
    assert guarded.get(path, mine).body == file.read_bytes()


def test_signing_out_forgets_the_token(visit: Visit, guarded: Tus) -> None:
    uploader = visit(url_of(guarded))
    sign_in(uploader, token())
    uploader.page.reload()
    out = uploader.page.get_by_role("button", name="Sign out")
    expect(out).to_be_visible()
    out.click()
    expect(uploader.page.get_by_label("Token")).to_be_visible()
    assert uploader.page.evaluate("Object.values({...sessionStorage, ...localStorage})") == []
