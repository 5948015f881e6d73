"""Every state in which a person can see the upload page, for those who look at it: axe-core, a
phone, and `scripts/screenshots`. The dashboard has its own in `tests.browser.dashboard_scenes`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from playwright.sync_api import expect

from tests.browser.uploader import MEBI, Uploader, Visit, made_file, url_of
from tests.status.site import SECRET
from tusserver.policy.hooks import Hooks
from tusserver.protocol import grammar
from tusserver.protocol.refusals import UploadRefused

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Route

    from tests.conftest import Serve
    from tests.tus import Tus
    from tusserver.protocol.upload import Upload

SNAIL = 100_000
"""Bytes per second at which nothing comes to an end while somebody looks."""


@dataclass(frozen=True)
class Stage:
    """What a scene is made with; `ending` is left before the servers are stopped. `language` is
    that of the browser, and whatever the page says is waited for in English only.
    """

    serve: Serve
    visit: Visit
    directory: Path
    ending: ExitStack

    def file(self, name: str, size: int) -> Path:
        return made_file(self.directory / "in", name, size)

    def page_of(self, tus: Tus) -> Uploader:
        return self.visit(url_of(tus))

    def guarded(self, **settings: Any) -> Tus:
        """A server that asks for tokens, and where to put files."""
        secret, place = self.directory / "secret", self.directory / "place"
        secret.write_bytes(SECRET)
        place.mkdir()
        return self.serve(jwt_secret_file=secret, destination_root=place, **settings)


def empty(stage: Stage) -> Uploader:
    extensions = ("cgns", "csv", "gz", "h5", "hdf5", "nc", "tar", "vtu")
    return stage.page_of(stage.serve(max_size=50 * 2**30, allow_extensions=extensions))


def dropping(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.serve())
    data = uploader.page.evaluate_handle(
        "() => { const d = new DataTransfer(); d.items.add(new File(['a'], 'a.txt')); return d }"
    )
    zone = uploader.page.locator(".tus-drop")
    zone.dispatch_event("dragenter", {"dataTransfer": data})
    expect(zone).to_have_attribute("data-over", "true")
    return uploader


def many(stage: Stage) -> Uploader:
    """Files in all states at once."""
    is_open = False

    async def check(upload: Upload) -> None:
        name = dict(grammar.parse_metadata(upload.metadata))["filename"].decode()
        if name == "coarse.vtu":
            raise UploadRefused("ERR_NO_MESH", "the file has no mesh in it")
        while name == "pressure.nc" and not is_open:
            await asyncio.sleep(0.01)

    def open_gate() -> None:
        nonlocal is_open
        is_open = True

    stage.ending.callback(open_gate)
    uploader = stage.page_of(stage.serve(hooks=Hooks(before_finish=check), max_size=2**30))
    uploader.choose(stage.file("coarse.vtu", 700_000))
    uploader.expect_state("coarse.vtu", "The server refused the upload.")
    uploader.choose(stage.file("시료 3 – 온도.h5", 3 * MEBI))
    uploader.expect_done("시료 3 – 온도.h5")
    uploader.choose(stage.file("pressure.nc", 2 * MEBI))
    uploader.expect_state("pressure.nc", "Everything is sent")
    uploader.throttle(4 * MEBI)
    long = "2026-11-26_run-0042_temperature-field-of-the-whole-domain_timestep-000128.tar.gz"
    # So long that it is still going up, and the last one waits for it, on a busy machine as well.
    for name, size, percent in ((long, 96 * MEBI, 3), ("checkpoint.h5", 12 * MEBI, 20)):
        uploader.choose(stage.file(name, size))
        uploader.wait_for_percent(name, percent)
    uploader.press("Pause", "checkpoint.h5")
    uploader.choose(stage.file("velocity.csv", 40 * MEBI), stage.file("waiting.csv", 5 * MEBI))
    uploader.wait_for_percent("velocity.csv", 3)
    uploader.throttle(SNAIL)
    uploader.expect_state("waiting.csv", "Waiting")
    return uploader


def unfinished(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.serve())
    uploader.throttle(2 * MEBI)
    uploader.choose(stage.file("checkpoint.h5", 8 * MEBI), stage.file("velocity.csv", 8 * MEBI))
    uploader.wait_for_percent("checkpoint.h5", 5)
    uploader.wait_for_percent("velocity.csv", 5)
    uploader.page.reload()
    expect(uploader.page.locator(".tus-unfinished")).to_contain_text("velocity.csv")
    return uploader


def retrying(stage: Stage) -> Uploader:
    def fail(route: Route) -> None:
        if route.request.method != "PATCH":
            route.continue_()
            return
        route.fulfill(status=503, headers={"Retry-After": "30"}, body="ERR_SHUTDOWN: a moment")

    uploader = stage.page_of(stage.serve())
    uploader.page.route("**/files/*", fail)
    uploader.choose(stage.file("checkpoint.h5", MEBI))
    uploader.expect_state("checkpoint.h5", "The server failed. A moment. Trying again, 1 of 3")
    return uploader


def offline(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.serve())
    uploader.throttle(4 * MEBI)
    uploader.choose(stage.file("checkpoint.h5", 12 * MEBI))
    uploader.wait_for_percent("checkpoint.h5", 30)
    uploader.go_offline()
    uploader.expect_state("checkpoint.h5", "No network.")
    return uploader


def full(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.serve(min_free_space=2**60))
    uploader.choose(stage.file("checkpoint.h5", 3 * MEBI))
    uploader.expect_state("checkpoint.h5", "The server has no room left.")
    return uploader


def completed(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.serve())
    names = ("checkpoint.h5", "velocity.csv")
    uploader.choose(*(stage.file(name, MEBI) for name in names))
    uploader.expect_done(*names)
    return uploader


def signing_in(stage: Stage) -> Uploader:
    uploader = stage.page_of(stage.guarded())
    expect(uploader.page.get_by_label("Token")).to_be_visible()
    return uploader


def refused_token(stage: Stage) -> Uploader:
    uploader = signing_in(stage)
    uploader.page.get_by_label("Token").fill("an old one")
    uploader.page.get_by_role("button", name="Sign in").click()
    uploader.choose(stage.file("checkpoint.h5", MEBI))
    expect(uploader.page.get_by_text("The token is not valid")).to_be_visible()
    return uploader


def signed_in(stage: Stage) -> Uploader:
    uploader = signing_in(stage)
    token = jwt.encode({"sub": "kim", "exp": int(time.time()) + 3600}, SECRET, "HS256")
    uploader.page.get_by_label("Token").fill(token)
    uploader.page.get_by_role("button", name="Sign in").click()
    uploader.page.get_by_label("Folder").fill("jobs/42")
    return uploader


SCENES: dict[str, Callable[[Stage], Uploader]] = {
    scene.__name__: scene
    for scene in (
        empty, dropping, many, unfinished, retrying, offline, full, completed,
        signing_in, refused_token, signed_in,
    )
}  # fmt: skip
