"""Nodes, Redis and the S3 service fail again and again in the middle of everything: acknowledged
bytes are never lost, no byte is wrong, no upload gets stuck, what crashes leave is found by a
sweep, and nothing of others is touched.

TUSSERVER_TEST_FAULTS sets how often, TUSSERVER_TEST_SEED repeats a run as far as threads allow;
with --log-cli-level=info it tells what it has done.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.clients import PATIENCE, Client, Weather
from tests.cluster.faults import FAULTS
from tests.store.bucket import store_of
from tests.store.s3_server import BUCKET
from tusserver.lock.memory import MemoryLocker
from tusserver.rules import UploadsOptions
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

if TYPE_CHECKING:
    from tests.cluster.site import Site

COUNT = int(os.environ.get("TUSSERVER_TEST_FAULTS", "22"))
SEED = int(os.environ.get("TUSSERVER_TEST_SEED", random.randrange(2**32)))
CLIENTS = 4

_LOG = logging.getLogger(__name__)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240 + 20 * COUNT)]


class Foreigner:
    """What others keep in the bucket, beside the site's uploads and in the midst of them."""

    def __init__(self, site: Site) -> None:
        self._objects = site.s3.client()
        below = site.prefix.prefix
        self._keys = [f"{below}readme.txt", f"{below}{'z' * 32}.part-1", f"elsewhere-{below}a.info"]
        for key in self._keys:
            self._objects.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        self._begun = [self._begin(key) for key in (f"{below}theirs.bin", f"elsewhere-{below}b")]

    def _begin(self, key: str) -> dict[str, str]:
        begun = self._objects.create_multipart_upload(Bucket=BUCKET, Key=key)
        named = {"Bucket": BUCKET, "Key": key, "UploadId": begun["UploadId"]}
        self._objects.upload_part(**named, PartNumber=1, Body=b"theirs")
        return named

    def assert_untouched_and_leave(self) -> None:
        for key in self._keys:
            assert self._objects.get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode()
            self._objects.delete_object(Bucket=BUCKET, Key=key)
        for begun in self._begun:
            assert len(self._objects.list_parts(**begun)["Parts"]) == 1
            self._objects.abort_multipart_upload(**begun)


class Storm:
    """One run: faults, one after the other, while the clients work."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._chance = random.Random(SEED)
        self.weather = Weather()
        self.clients = [Client(site.tus, self.weather, f"{SEED} {each}") for each in range(CLIENTS)]

    def run(self) -> None:
        names: list[str] = []
        for client in self.clients:
            client.start()
        for number in range(COUNT):
            # Each of them before any comes again.
            names = names or self._chance.sample(list(FAULTS), len(FAULTS))
            name = names.pop()
            try:
                self._happen(name)
            except BaseException as error:
                error.add_note(f"TUSSERVER_TEST_SEED={SEED}, fault {number}: {name}")
                raise
        self._finish()

    def _happen(self, name: str) -> None:
        self.weather.calm_since = None
        self.weather.fault = name
        with FAULTS[name](self._site, self._chance):
            time.sleep(self._chance.uniform(0, 2))
        self.weather.calm_since = time.monotonic()
        if self._chance.random() < 0.3:
            self._await_progress()
        self._raise_failures()

    def _await_progress(self) -> None:
        """Every client gets on."""
        before = [client.progress for client in self.clients]
        deadline = time.monotonic() + 2 * PATIENCE
        for client, progress in zip(self.clients, before, strict=True):
            while client.progress <= progress:
                self._raise_failures()
                assert time.monotonic() < deadline, "a client hangs"
                time.sleep(0.01)

    def _finish(self) -> None:
        for client in self.clients:
            client.is_over = True
        for client in self.clients:
            client.join(120 + 4 * PATIENCE)
            self._raise_failures()
            assert not client.is_alive(), "a client hangs"

    def _raise_failures(self) -> None:
        for client in self.clients:
            if client.failure is not None:
                raise client.failure


async def test_whatever_fails_nothing_is_lost(site: Site) -> None:
    foreigner = Foreigner(site)
    storm = Storm(site)
    storm.run()
    assert not surprises(site.logs())
    known = {upload.upload_id for client in storm.clients for upload in client.uploads}
    _LOG.info(
        "seed %d: %d faults, %d bad requests; %d uploads in the end, %d requests answered; the "
        "longest wait in good weather was %.1f s",
        SEED,
        COUNT,
        site.gate.done,
        len(known),
        sum(client.progress for client in storm.clients),
        storm.weather.longest,
    )
    await assert_swept(site, known)
    foreigner.assert_untouched_and_leave()


def surprises(log: str) -> list[str]:
    """What a log tells of that nobody had thought of."""
    entries = re.split(r"^(?=\d{4}-\d\d-\d\dT)", log, flags=re.MULTILINE)
    # The HTTP client forgets the error of a request that was waiting to send its body when the
    # connection broke; whoever made the request is told.
    return [each for each in entries if "Traceback" in each and ".write_bytes()" not in each]


async def assert_swept(site: Site, known: set[str]) -> None:
    """After one sweep the bucket has what the records name, and nothing else of ours."""
    store = store_of(site.s3, site.prefix.prefix, grace=0.0)
    uploads = Uploads(store, MemoryLocker(), UploadsOptions(expires_after=None))
    await uploads.start()
    report = await Sweeper(uploads).sweep()
    assert not report.failed
    # Also waits for what the sweep has begun to join.
    await uploads.close()
    await store.start()
    try:
        assert [finding async for finding in store.findings()] == []
        ids = {upload_id async for upload_id in store.ids()}
        assert known <= ids
        found = [await store.get(upload_id) for upload_id in ids]
    finally:
        await store.close()
    named, multiparts = named_objects(found)
    ours = {name for name in site.prefix.objects() if name[:32] in ids or ".info" in name}
    assert named <= ours <= named | possible_notes(found)
    # Those of the foreigner come in addition.
    assert site.prefix.multiparts() == multiparts + 1


def named_objects(uploads: list[Any]) -> tuple[set[str], int]:
    """What the records of these uploads say that there is: objects, and how many multiparts."""
    named, multiparts = set(), 0
    for upload in uploads:
        state, ident = upload.origin.state, upload.upload_id
        named.add(f"{ident}.info")
        named |= {f"{ident}.part-{tail.token}" for tail in state.tails}
        if state.is_assembled:
            named.add(ident)
        elif state.multipart:
            multiparts += 1
    return named, multiparts


def possible_notes(uploads: list[Any]) -> set[str]:
    """The notes of final uploads that wait for a partial which only this sweep has put together.
    One whose creation failed in the midst of them has some; the next sweep needs none to join it.
    """
    return {
        f"{partial}.final-{upload.upload_id}"
        for upload in uploads
        if upload.is_pending and upload.origin.state.has_notes
        for partial in upload.concat.partials
    }
