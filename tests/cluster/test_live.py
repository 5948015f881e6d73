"""Live progress of several nodes with their uploads in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.site import Site, whole_site
from tests.status.site import Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.store.s3_server import S3Server

UPLOADS, STEPS, STEP = 6, 6, 1000
ALL = STEPS * STEP


@pytest.fixture
def site(s3: S3Server, tmp_path: Path) -> Iterator[Site]:
    """One whose nodes do not look at all uploads for another reason."""
    with whole_site(s3, tmp_path, "--sweep-interval=off") as site:
        yield site


def test_progress_is_seen_at_another_node_without_looking_into_the_bucket(site: Site) -> None:
    here, there = site.nodes[0].tus, Api(site.nodes[1].tus)
    urls = [here.mk(ALL) for _ in range(UPLOADS)]
    with there.events("events") as events:
        events.until("ready")
        wires = [here.begin_patch(url, 0, ALL) for url in urls]
        for wire in wires:
            wire.send(bytes(STEP))
        for url in urls:
            events.until("upload", url=url, offset=STEP)
        looks = site.gate.looks
        for step in range(2, STEPS):
            for wire in wires:
                wire.send(bytes(STEP))
            waiting = set(urls)
            while waiting:
                name, data = events.next()
                if name == "upload" and data["offset"] == step * STEP:
                    waiting.discard(data["url"])
        # Now and then each is looked at, in case that something was not heard; otherwise there
        # would be a look for each event at least.
        assert site.gate.looks - looks <= 2 * UPLOADS
        for wire in wires:
            wire.send(bytes(STEP))
            assert wire.answer("PATCH").status == 204
            wire.close()
        finished = set[str]()
        while finished != set(urls):
            finished.add(events.until("upload", state="finished")["url"])
    for url in urls:
        offsets = [
            data["offset"] for name, data in events.told if name == "upload" and data["url"] == url
        ]
        assert offsets == sorted(offsets)
