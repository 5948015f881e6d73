"""Pictures of the pages: `python -m tests.browser.screenshots DIR [SCENE…]` makes those of every
scene, in light and dark and on a phone. Without arguments, those of the README in `docs/images/`.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.browser import node
from tests.browser.chromium import WAIT, chromium
from tests.browser.dashboard_scenes import DASHBOARD_SCENES, dashboard_after_a_while
from tests.browser.scenes import SCENES, Stage
from tests.browser.uploader import Uploader, visits
from tests.servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.tus import Tus

DESK = {"width": 1000, "height": 760}
DASHBOARD = {"width": 1200, "height": 760}
PHONE = {"width": 360, "height": 740}
ALL = {**SCENES, **DASHBOARD_SCENES}
ALL_FOR_README = {**ALL, "after_a_while": dashboard_after_a_while}
IMAGES = node.ROOT / "docs" / "images"

# But for what moves all the time.
_IS_STILL = """() => document.getAnimations().every(
    each => each.effect.getTiming().iterations === Infinity)"""

README = {
    "upload": ("many", "light", DESK),
    "upload-phone-dark": ("many", "dark", PHONE),
    "dashboard": ("after_a_while", "light", DASHBOARD),
}
"""Name of the picture: scene, colour scheme, size of the window."""


@contextmanager
def shown(browser: Browser, scene: str) -> Iterator[Page]:
    """The page in this state."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(ExitStack())

        def serve(**settings: Any) -> Tus:
            return servers.enter_context(serving(directory / "uploads", **settings))

        visit = stack.enter_context(visits(browser))
        ending = stack.enter_context(ExitStack())
        uploader: Uploader = ALL_FOR_README[scene](Stage(serve, visit, directory, ending))
        yield uploader.page


def take(page: Page, path: Path, scheme: Any, size: dict[str, int]) -> None:  # noqa: ANN401
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    page.emulate_media(color_scheme=scheme)
    # Colours fade into each other for a moment.
    page.wait_for_function(_IS_STILL)
    # A dialog stands above what can be seen at once.
    page.screenshot(path=path, full_page=page.locator("dialog").count() == 0)


def take_all(browser: Browser, directory: Path, scenes: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        with shown(browser, scene) as page:
            take(page, directory / f"{scene}-light.png", "light", DESK)
            take(page, directory / f"{scene}-dark.png", "dark", DESK)
            take(page, directory / f"{scene}-phone-light.png", "light", PHONE)
            take(page, directory / f"{scene}-phone-dark.png", "dark", PHONE)


def take_for_readme(browser: Browser) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, (scene, scheme, size) in README.items():
        with shown(browser, scene) as page:
            take(page, IMAGES / f"{name}.png", scheme, size)


def main() -> None:
    expect.set_options(timeout=WAIT * 1000)
    with chromium() as browser:
        if len(sys.argv) > 1:
            take_all(browser, Path(sys.argv[1]), sys.argv[2:] or list(ALL))
        else:
            take_for_readme(browser)


if __name__ == "__main__":
    main()
