"""The dashboard at `/dashboard`, beside people who upload."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Locator, Page, expect

from tests.browser.dashboard_scenes import metadata, sign_in
from tests.browser.uploader import MEBI, Uploader, Visit, made_file, url_of
from tests.servers import process_server
from tests.status.site import ADMIN, KIM, LEE, SECRET
from tests.tus import Tus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve


def dashboard(visit: Visit, tus: Tus) -> Uploader:
    visitor = visit(url_of(tus, "/dashboard"))
    expect(visitor.page.get_by_text("Live", exact=True)).to_be_visible()
    return visitor


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("button", name=name, exact=True))


def wait_for_progress(page: Page, name: str, more_than: float) -> float:
    """Waits until the row shows more than that; returns what it shows, in percent."""
    percent = row(page, name).locator(".percent")
    handle = percent.element_handle()
    page.wait_for_function(
        "([shown, least]) => parseFloat(shown.textContent) > least", arg=[handle, more_than]
    )
    return float(percent.inner_text().rstrip("%"))


def test_an_upload_is_seen_live_from_its_first_byte_to_its_last(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    tus = serve(api="on")
    page = dashboard(visit, tus).page
    expect(page.get_by_text("There are no uploads yet.")).to_be_visible()
    uploader = visit(url_of(tus))
    with uploader.slowly(MEBI):
        uploader.choose(made_file(tmp_path / "in", "a.bin", 32 * MEBI))
        expect(row(page, "a.bin")).to_contain_text("Uploading")
        first = wait_for_progress(page, "a.bin", 0)
        wait_for_progress(page, "a.bin", first)
        expect(row(page, "a.bin")).to_contain_text(re.compile(r"\d\s[KM]iB/s"))
    uploader.expect_done("a.bin")
    expect(row(page, "a.bin")).to_contain_text("Finished")
    expect(row(page, "a.bin")).to_contain_text("100%")


def test_an_upload_can_be_terminated(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    tus = serve(api="on")
    page = dashboard(visit, tus).page
    uploader = visit(url_of(tus))
    uploader.throttle(MEBI)
    uploader.choose(made_file(tmp_path / "in", "a.bin", 40 * MEBI))
    page.get_by_role("button", name="Terminate a.bin").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("alertdialog")).to_have_count(0)
    expect(row(page, "a.bin")).to_contain_text("Uploading")
    page.get_by_role("button", name="Terminate a.bin").click()
    page.get_by_role("button", name="Terminate", exact=True).click()
    expect(row(page, "a.bin")).to_have_count(0)
    [path] = uploader.traffic.uploads()
    assert tus.hd(path).status == 404


def test_the_place_of_a_finished_file_is_shown(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "place"
    root.mkdir()
    tus = serve(api="on", destination_root=root, digests=("sha256",))
    tus.made(b"hello", metadata("a.txt", destination="jobs/42"))
    page = dashboard(visit, tus).page
    row(page, "a.txt").get_by_role("button", name="a.txt", exact=True).click()
    details = page.get_by_role("dialog")
    [stored] = [path for path in root.rglob("*") if path.is_file()]
    expect(details).to_contain_text(str(stored.relative_to(root)))
    expect(details).to_contain_text(
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    )
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)


def test_the_list_can_be_filtered(visit: Visit, serve: Serve) -> None:
    tus = serve(api="on")
    tus.made(b"hello", metadata("done.txt"))
    tus.mk(5, metadata("under-way.txt"))
    page = dashboard(visit, tus).page
    expect(row(page, "done.txt")).to_be_visible()
    page.get_by_role("radio", name="Active").check()
    expect(row(page, "done.txt")).to_have_count(0)
    expect(row(page, "under-way.txt")).to_be_visible()
    page.get_by_role("radio", name="All").check()
    page.get_by_label("File name").fill("DONE")
    expect(row(page, "done.txt")).to_be_visible()
    expect(row(page, "under-way.txt")).to_have_count(0)


def test_users_see_their_own_uploads_and_admins_all(
    visit: Visit, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    tus = serve(jwt_secret_file=tmp_path / "secret", jwt_admin_claim="roles")
    tus.mk(5, {**KIM, **metadata("of-kim.txt")})
    tus.mk(5, {**LEE, **metadata("of-lee.txt")})
    kim, admin = (visit(url_of(tus, "/dashboard")) for _ in range(2))
    sign_in(kim, KIM)
    expect(row(kim.page, "of-kim.txt")).to_be_visible()
    expect(kim.page.get_by_role("row")).to_have_count(2)
    sign_in(admin, ADMIN)
    expect(row(admin.page, "of-lee.txt")).to_contain_text("lee")
    expect(row(admin.page, "of-kim.txt")).to_contain_text("kim")


def test_the_dashboard_comes_back_with_the_server(visit: Visit, tmp_path: Path) -> None:
    with process_server(tmp_path / "uploads", "--api", "on") as server:
        page = dashboard(visit, server.tus).page
        server.kill()
        expect(page.get_by_text("Connection lost").last).to_be_visible()
        server.start()
        server.tus.mk(5, metadata("new.txt"))
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        expect(row(page, "new.txt")).to_be_visible()


def test_without_the_status_api_there_is_no_dashboard(tus: Tus, visit: Visit) -> None:
    assert tus.get("/dashboard").status == 404
    page = visit(url_of(tus)).page
    expect(page.locator(".tus-drop")).to_be_visible()
    expect(page.get_by_role("link", name="Dashboard")).to_have_count(0)
