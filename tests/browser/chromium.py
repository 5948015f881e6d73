"""The real Chromium, and a watch over everything that its pages ask for and complain about."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ConsoleMessage, Page, Request

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT = 20.0
"""Seconds after which something that does not come about is a failure."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium, that of the system. AssertionError if there is none."""
    program = shutil.which("chromium")
    assert program is not None, (
        "chromium is not installed: run scripts/test, or apt-get install chromium"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Asked:
    """One request of a page; `offset` is that of a PATCH."""

    method: str
    url: str
    offset: int | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


@dataclass
class Traffic:
    """What the pages of one context have asked for, and what the browser has complained about."""

    asked: list[Asked] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", self._hear_request)
        context.on("console", self._hear_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("page", self._watch_page)

    def sent(self, *methods: str) -> list[Asked]:
        """The requests with one of these methods."""
        return [asked for asked in self.asked if asked.method in methods]

    def offsets(self, path: str) -> list[int]:
        """At which offsets bytes were sent to the upload at this path."""
        patches = [asked for asked in self.sent("PATCH") if asked.path == path]
        return [asked.offset for asked in patches if asked.offset is not None]

    def uploads(self) -> list[str]:
        """The paths of the uploads to which bytes were sent, each once, oldest first."""
        return list(dict.fromkeys(asked.path for asked in self.sent("PATCH")))

    def excuse(self, part: str) -> None:
        """Complaints that have this in them were to be expected, and there must be some."""
        others = [complaint for complaint in self.complaints if part not in complaint]
        assert len(others) < len(self.complaints), f"nothing complained about {part!r}"
        self.complaints[:] = others

    def assert_clean(self, *origins: str) -> None:
        """All went to these origins, and the browser had nothing to complain about."""
        strangers = [each.url for each in self.asked if _origin(each.url) not in origins]
        assert not strangers, f"requests to another host: {strangers}"
        assert not self.complaints, str(self.complaints)

    def _hear_request(self, request: Request) -> None:
        if request.url.startswith(("data:", "blob:")):
            return
        offset = request.headers.get("upload-offset")
        self.asked.append(
            Asked(request.method, request.url, None if offset is None else int(offset))
        )

    def _hear_console(self, message: ConsoleMessage) -> None:
        # The browser's own line about an answer or a broken connection: tests look at those
        # themselves, and some are about nothing else.
        is_network = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning", "assert") and not is_network:
            self.complaints.append(f"{message.type}: {message.text}")

    def _watch_page(self, page: Page) -> None:
        page.on("crash", lambda _: self.complaints.append("the page crashed"))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
