"""One Chromium per test process, and a fresh context per test, about which it must not complain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import WAIT, chromium
from tests.browser.uploader import Visit, visits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.conftest import Serve


# As long as the tests of this folder run: while Playwright does, no other event loop can run in
# this thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT * 1000)
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, serve: Serve) -> Iterator[Visit]:
    """Opens pages in fresh contexts; at the end of the test they must have been clean. They are
    closed before the servers that `serve` has started.
    """
    with visits(browser) as visit:
        yield visit
