"""Every state in which a person can see the dashboard; as `tests.browser.scenes`."""

from __future__ import annotations

import math
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.scenes import Stage
from tests.browser.uploader import MEBI, Uploader, url_of
from tests.status.site import ADMIN, KIM, LEE
from tusserver.policy.hooks import Hooks
from tusserver.protocol.refusals import UploadRefused

if TYPE_CHECKING:
    from tests.tus import Tus
    from tests.wire import Wire
    from tusserver.protocol.upload import Upload

GIBI = 2**30


def dashboard_of(stage: Stage, tus: Tus) -> Uploader:
    return stage.visit(url_of(tus, "/dashboard"))


def metadata(filename: str, **more: str) -> dict[str, str]:
    pairs = {"filename": filename, **more}
    values = (f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())
    return {"Upload-Metadata": ",".join(values)}


@contextmanager
def trickling(*wires: tuple[Wire, int]) -> Iterator[None]:
    """On each of these connections go about so many bytes per tenth of a second, now more, now
    fewer, as long as it lasts.
    """
    is_over = threading.Event()

    def run() -> None:
        for step in count():
            if is_over.wait(0.1):
                return
            for wire, size in wires:
                wire.send(bytes(int(size * (1 + math.sin(step / 30) / 2))))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(10)
        for wire, _ in wires:
            wire.close()


def dashboard_empty(stage: Stage) -> Uploader:
    visitor = dashboard_of(stage, stage.serve(api="on"))
    expect(visitor.page.get_by_text("There are no uploads yet.")).to_be_visible()
    expect(visitor.page.get_by_text("Live", exact=True)).to_be_visible()
    return visitor


async def _refuse_meshless(upload: Upload) -> None:
    if "Y29hcnNlLnZ0dQ==" in upload.metadata:
        raise UploadRefused("ERR_NO_MESH", "the file has no mesh in it")


def dashboard_many(stage: Stage, long_size: int = 40 * MEBI) -> Uploader:
    """Uploads in all states, as an admin sees them."""
    tus = stage.guarded(hooks=Hooks(before_finish=_refuse_meshless), jwt_admin_claim="roles")
    placed = tus.mk(3 * MEBI, {**KIM, **metadata("시료 3 – 온도.h5", destination="jobs/42")})
    assert tus.pa(placed, 0, bytes(3 * MEBI), KIM).status == 204
    refused = tus.mk(MEBI, {**KIM, **metadata("coarse.vtu")})
    assert tus.pa(refused, 0, bytes(MEBI), KIM).status == 422
    idle = tus.mk(GIBI, {**LEE, **metadata("checkpoint.h5")})
    assert tus.pa(idle, 0, bytes(60 * MEBI), LEE).status == 204
    long = "2026-11-26_run-0042_temperature-field-of-the-whole-domain_timestep-000128.tar.gz"
    wires = []
    for name, user, size, rate in (
        (long, LEE, long_size, 400_000),
        ("velocity.csv", KIM, GIBI, 900_000),
    ):
        url = tus.mk(size, {**user, **metadata(name)})
        wires.append((tus.begin_patch(url, 0, size, user), rate))
    stage.ending.enter_context(trickling(*wires))
    visitor = dashboard_of(stage, tus)
    sign_in(visitor, ADMIN)
    expect(visitor.page.get_by_role("row").filter(has_text="velocity.csv")).to_contain_text("MiB/s")
    return visitor


def dashboard_after_a_while(stage: Stage) -> Uploader:
    visitor = dashboard_many(stage, GIBI // 2)
    visitor.page.wait_for_timeout(60_000)
    return visitor


def sign_in(visitor: Uploader, user: dict[str, str]) -> None:
    token = user["Authorization"].removeprefix("Bearer ")
    visitor.page.get_by_label("Token").fill(token)
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_text("Live", exact=True)).to_be_visible()


def dashboard_details(stage: Stage) -> Uploader:
    visitor = dashboard_many(stage)
    visitor.page.get_by_role("button", name="velocity.csv", exact=True).click()
    expect(visitor.page.get_by_text("Upload URL")).to_be_visible()
    return visitor


def dashboard_finished(stage: Stage) -> Uploader:
    visitor = dashboard_many(stage)
    visitor.page.get_by_role("button", name="시료 3 – 온도.h5", exact=True).click()
    expect(visitor.page.get_by_role("dialog")).to_contain_text("kim/jobs/42/시료 3 – 온도.h5")
    return visitor


def dashboard_question(stage: Stage) -> Uploader:
    visitor = dashboard_many(stage)
    visitor.page.get_by_role("button", name="Terminate velocity.csv").click()
    expect(visitor.page.get_by_text("Terminate this upload?")).to_be_visible()
    return visitor


def dashboard_nothing_found(stage: Stage) -> Uploader:
    visitor = dashboard_many(stage)
    visitor.page.get_by_label("File name").fill("nothing")
    expect(visitor.page.get_by_text("No upload is like this.")).to_be_visible()
    return visitor


def dashboard_lost(stage: Stage) -> Uploader:
    visitor = dashboard_of(stage, stage.serve(api="on"))
    expect(visitor.page.get_by_text("Live", exact=True)).to_be_visible()
    visitor.page.route("**/api/events*", lambda route: route.abort())
    visitor.page.reload()
    expect(visitor.page.get_by_text("Connection lost").last).to_be_visible()
    return visitor


def dashboard_signing_in(stage: Stage) -> Uploader:
    visitor = dashboard_of(stage, stage.guarded())
    expect(visitor.page.get_by_label("Token")).to_be_visible()
    return visitor


DASHBOARD_SCENES: dict[str, Callable[[Stage], Uploader]] = {
    scene.__name__: scene
    for scene in (
        dashboard_empty, dashboard_many, dashboard_details, dashboard_finished, dashboard_question,
        dashboard_nothing_found, dashboard_lost, dashboard_signing_in,
    )
}  # fmt: skip
