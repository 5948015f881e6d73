"""What tus-js-client and tuspy make of an upload that is refused after its last byte, or whose
finish has to wait: nobody may believe that it succeeded, and nobody may begin anew for ever.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.uploader.uploader import Uploader

from tests.e2e.node import tus_js_failure, tus_js_upload
from tests.finish.site import Gate, Site, site
from tusserver.protocol.refusals import FinishUnavailable, UploadRefused

INFECTED = UploadRefused("ERR_INFECTED", "the file is infected: Test.Virus")
SIZE = 300_000
RETRY: dict[str, Any] = {"retryDelays": [0, 10, 20]}

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def files_of_tuspy() -> Iterator[None]:
    """tuspy opens its file anew for each request and never closes it; no later test shall hear."""
    yield
    gc.collect()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "up", Gate(fault=INFECTED), retry=0.2) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def endpoint(here: Site) -> str:
    assert not isinstance(here.tus.address, str)
    host, port = here.tus.address
    return f"http://{host}:{port}/files/"


REFUSED = [("POST", 201), ("PATCH", 422)]
WAYS: dict[str, tuple[dict[str, Any], list[tuple[str, int]]]] = {
    "whole": ({}, REFUSED),
    "chunked": (
        {"chunkSize": 100_000},
        [("POST", 201), ("PATCH", 204), ("PATCH", 204), ("PATCH", 422)],
    ),
    "with the creation": ({"uploadDataDuringCreation": True}, [("POST", 422)]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_tus_js_client_reports_the_refusal_and_does_not_try_again(
    here: Site, source: Path, way: str
) -> None:
    options, requests = WAYS[way]
    failure = tus_js_failure(source, endpoint(here), **RETRY, **options)
    assert failure.requests == requests
    assert "the file is infected: Test.Virus" in failure.message


def test_tus_js_client_reports_the_refusal_of_parts_that_are_joined(
    here: Site, source: Path
) -> None:
    failure = tus_js_failure(source, endpoint(here), parallelUploads=3, **RETRY)
    assert failure.requests[-1] == ("POST", 422)
    assert "the file is infected: Test.Virus" in failure.message


def test_tus_js_client_that_comes_back_hears_the_refusal_again(here: Site, source: Path) -> None:
    storage = str(source.with_name("urls.json"))
    task = {"storage": storage}
    tus_js_failure(source, endpoint(here), task=task, **RETRY)
    failure = tus_js_failure(source, endpoint(here), task={**task, "resume": True}, **RETRY)
    # It sees one byte missing, sends that, and hears why it is not taken.
    assert failure.requests == [("HEAD", 200), ("PATCH", 422)]
    assert "the file is infected: Test.Virus" in failure.message


def test_tus_js_client_waits_for_a_check_that_cannot_be_made_now(here: Site, source: Path) -> None:
    here.gate.fault = FinishUnavailable("the scanner does not answer")

    def mend() -> None:
        while not here.gate.runs:
            time.sleep(0.01)
        time.sleep(0.3)
        here.gate.fault = None

    mender = threading.Thread(target=mend)
    mender.start()
    run = tus_js_upload(source, endpoint(here), retryDelays=[100] * 50)
    mender.join()
    statuses = [status for _, status in run.requests]
    assert run.methods()[0] == "POST"
    assert run.methods().count("POST") == 1, "it has not begun anew"
    assert statuses[-1] in (200, 204)
    assert 503 in statuses
    assert len(here.outcomes()) == 1


def tuspy(here: Site, source: Path, **options: Any) -> Uploader:
    return TusClient(endpoint(here)).uploader(str(source), **options)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 100_000}, {"retries": 2, "retry_delay": 0}])
def test_tuspy_raises(here: Site, source: Path, options: dict[str, Any]) -> None:
    uploader = tuspy(here, source, **options)
    with pytest.raises(TusUploadFailed) as caught:
        uploader.upload()
    assert caught.value.status_code == 422
    assert b"the file is infected: Test.Virus" in (caught.value.response_content or b"")
    assert uploader.url is not None
    assert here.gate.runs == [uploader.url.rpartition("/")[2]]


def test_tuspy_that_comes_back_raises_again(here: Site, source: Path) -> None:
    uploader = tuspy(here, source)
    with pytest.raises(TusUploadFailed):
        uploader.upload()
    again = tuspy(here, source, url=uploader.url)
    assert again.offset == SIZE - 1
    with pytest.raises(TusUploadFailed) as caught:
        again.upload()
    assert caught.value.status_code == 422


def test_tuspy_waits_for_a_check_that_cannot_be_made_now(here: Site, source: Path) -> None:
    here.gate.fault = FinishUnavailable("the scanner does not answer")
    uploader = tuspy(here, source, retries=1, retry_delay=0)
    with pytest.raises(TusUploadFailed):
        uploader.upload()
    here.gate.fault = None
    deadline = time.monotonic() + 20
    while not here.outcomes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    again = tuspy(here, source, url=uploader.url)
    assert again.offset == SIZE
