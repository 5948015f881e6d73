"""The uploader on a page, as a person sees and uses it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.browser.chromium import WAIT, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, CDPSession, Locator, Page

    from tests.tus import Tus

MEBI = 2**20
SLOW = 2 * MEBI
"""Bytes per second at which there is a middle to do something in."""


@dataclass
class Uploader:
    """The uploader of `page`, in English. What is asked of it waits until it is there."""

    page: Page
    traffic: Traffic

    @cached_property
    def _devtools(self) -> CDPSession:
        # One for good: what one session slows down, no other makes fast again.
        session = self.page.context.new_cdp_session(self.page)
        session.send("Network.enable")
        return session

    def choose(self, *files: Path) -> None:
        self.page.locator("input[type=file]").set_input_files(list(files))

    def row(self, name: str) -> Locator:
        return self.page.locator(".tus-row").filter(has=self.page.get_by_text(name, exact=True))

    def button(self, action: str, name: str) -> Locator:
        return self.page.get_by_role("button", name=f"{action}: {name}", exact=True)

    def press(self, action: str, name: str) -> None:
        self.button(action, name).click()

    def expect_state(self, name: str, state: str | re.Pattern[str]) -> None:
        """Waits until the line below the name says so, or begins with it."""
        beginning = re.compile(rf"^{re.escape(state)}") if isinstance(state, str) else state
        expect(self.row(name).locator(".tus-state")).to_have_text(beginning)

    def expect_done(self, *names: str) -> None:
        for name in names:
            self.expect_state(name, "Uploaded")

    def wait_for_percent(self, name: str, percent: float) -> None:
        """Waits until so much of it is sent, as the page sees it."""
        bar = self.row(name).get_by_role("progressbar").element_handle()
        self.page.wait_for_function("([bar, wanted]) => bar.value >= wanted", arg=[bar, percent])

    def wait_for_request(self, method: str, after: int = 0) -> None:
        """Waits until more than `after` requests with this method have been made."""
        while len(self.traffic.sent(method)) <= after:
            self.page.wait_for_event("request", timeout=WAIT * 1000)

    def throttle(self, rate: float) -> None:
        """From now on the browser sends so many bytes per second; -1 for as many as it can."""
        self._network(is_offline=False, rate=rate)

    def go_offline(self) -> None:
        """The browser's offline mode, until `throttle` ends it. (That of Playwright's context does
        not reach requests which are slowed down.)
        """
        self._network(is_offline=True, rate=-1)

    def _network(self, *, is_offline: bool, rate: float) -> None:
        self._devtools.send(
            "Network.emulateNetworkConditions",
            {
                "offline": is_offline,
                "latency": 0,
                "downloadThroughput": -1,
                "uploadThroughput": rate,
            },
        )

    @contextmanager
    def slowly(self, rate: float = SLOW) -> Iterator[None]:
        """As long as this lasts, the browser sends so many bytes per second."""
        self.throttle(rate)
        yield
        self.throttle(-1)


Visit = Callable[..., Uploader]
"""Opens a URL in a fresh context, whose options are keywords; `origins` are those that its pages
may ask besides their own.
"""


@contextmanager
def visits(browser: Browser) -> Iterator[Visit]:
    """A Visit; at the end all that it has opened is closed, and must have been clean."""
    with ExitStack() as stack:

        def visit(url: str, *, origins: tuple[str, ...] = (), **options: Any) -> Uploader:
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

        yield visit


def url_of(tus: Tus, path: str = "/") -> str:
    """A URL of this server for a browser."""
    assert not isinstance(tus.address, str)
    host, port = tus.address
    return f"http://{host}:{port}{path}"


def made_file(directory: Path, name: str, size: int) -> Path:
    """A file of so many bytes, with a content that no other has."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(os.urandom(size))
    return path


def stored_digests(directory: Path, size: int) -> set[str]:
    """The SHA-256 of each stored file of this size."""
    files = [
        path for path in directory.rglob("*") if path.is_file() and path.stat().st_size == size
    ]
    return {digest_of(path) for path in files}


def digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
