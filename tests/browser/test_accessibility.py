"""The page for everybody: no violation that axe-core finds, on a phone, and without a mouse."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect

from tests.browser import node
from tests.browser.dashboard_scenes import DASHBOARD_SCENES
from tests.browser.scenes import SCENES, Stage
from tests.browser.uploader import MEBI, Uploader, made_file, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.uploader import Visit
    from tests.conftest import Serve
    from tests.tus import Tus

PHONE = {"width": 360, "height": 740}
ALL = {**SCENES, **DASHBOARD_SCENES}
_RUN_AXE = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ['violations'] })
    return violations.flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html}\\n${failureSummary}`))
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core."""
    with node.web() as web:
        return (web / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def stage(serve: Serve, visit: Visit, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as ending:
        yield Stage(serve, visit, tmp_path, ending)


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core objects to."""
    page.evaluate(axe)
    found: list[str] = page.evaluate(_RUN_AXE)
    return found


def look(page: Page, scheme: Literal["light", "dark"]) -> None:
    # What moves from one colour to another would be judged on its way.
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")


@pytest.mark.parametrize("scene", ALL)
def test_every_state_is_accessible_in_light_and_dark_and_on_a_phone(
    scene: str, stage: Stage, axe: str
) -> None:
    page = ALL[scene](stage).page
    for size in (page.viewport_size, PHONE):
        assert size is not None
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        for scheme in ("light", "dark"):
            look(page, scheme)
            assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_axe_finds_what_is_wrong(visit: Visit, tus: Tus, axe: str) -> None:
    page = visit(url_of(tus)).page
    expect(page.locator(".tus-drop")).to_be_visible()
    assert violations(page, axe) == []
    page.evaluate("document.querySelector('h1').style.color = '#ccc'")
    page.evaluate("document.querySelector('.tus-drop label').remove()")
    found = {line.partition(":")[0] for line in violations(page, axe)}
    assert {"color-contrast", "label"} <= found


def focused(uploader: Uploader) -> str:
    """The name of what has the focus."""
    name: str = uploader.page.evaluate(
        """(({ ariaLabel, labels, textContent }) =>
            ariaLabel ?? labels?.[0]?.textContent ?? textContent)(document.activeElement)"""
    )
    return name


def tab_to(uploader: Uploader, name: str) -> None:
    expect(uploader.page.locator(".tus-drop")).to_be_visible()
    for _ in range(20):
        if focused(uploader) == name:
            return
        uploader.page.keyboard.press("Tab")
    raise AssertionError(f"there is no way to {name!r}; the focus is at {focused(uploader)!r}")


def test_everything_can_be_done_with_the_keyboard(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus))
    keyboard = uploader.page.keyboard
    uploader.throttle(2 * MEBI)
    with uploader.page.expect_file_chooser() as chooser:
        tab_to(uploader, "Drop files here, or choose files")
        keyboard.press("Enter")
    chooser.value.set_files([made_file(tmp_path / "in", name, 8 * MEBI) for name in ("a", "b")])
    uploader.wait_for_percent("a", 10)
    tab_to(uploader, "Pause: a")
    keyboard.press("Space")
    uploader.expect_state("a", "Paused")
    # Whoever pauses goes on from there, and need not find the place again.
    assert focused(uploader) == "Resume: a"
    tab_to(uploader, "Cancel: b")
    keyboard.press("Enter")
    expect(uploader.row("b")).to_have_count(0)
    uploader.throttle(-1)
    tab_to(uploader, "Resume: a")
    keyboard.press("Enter")
    uploader.expect_done("a")
    with uploader.page.expect_file_chooser():
        tab_to(uploader, "Upload another")
        keyboard.press("Enter")


def test_the_focus_is_to_be_seen(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus))
    zone = uploader.page.locator(".tus-drop")
    expect(zone).to_be_visible()
    expect(zone).to_have_css("outline-style", "none")
    uploader.page.keyboard.press("Tab")
    expect(zone).to_have_css("outline-style", "solid")


def test_changes_are_told_to_screen_readers(visit: Visit, tus: Tus, tmp_path: Path) -> None:
    uploader = visit(url_of(tus))
    status = uploader.page.get_by_role("status")
    uploader.choose(made_file(tmp_path / "in", "a.bin", 1000))
    expect(status).to_contain_text("a.bin: Uploaded")


def test_nothing_moves_for_those_who_want_it_so(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus), reduced_motion="reduce")
    expect(uploader.page.locator(".tus-drop")).to_have_css("transition-duration", "0s")
