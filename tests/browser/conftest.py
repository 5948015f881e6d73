"""One Chromium per test process, and a fresh context per test, which must stay without complaint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import WAIT, Traffic, chromium
from tests.browser.uploader import Uploader

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Visit = Callable[..., Uploader]
"""Opens a page in a fresh context, whose options are keywords; `origins` are those that it may ask
besides its own.
"""


# As long as the tests of this folder run: while Playwright does, no other event loop can run in
# this thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT * 1000)
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    with ExitStack() as stack:

        def open_page(url: str, *, origins: tuple[str, ...] = (), **options: Any) -> Uploader:
            context = browser.new_context(**{"locale": "en-US", **options})
            stack.callback(context.close)
            context.set_default_timeout(WAIT * 1000)
            traffic = Traffic()
            traffic.watch(context)
            parts = urlsplit(url)
            stack.callback(traffic.assert_clean, f"{parts.scheme}://{parts.netloc}", *origins)
            page = context.new_page()
            page.goto(url)
            return Uploader(page, traffic)

        yield open_page
