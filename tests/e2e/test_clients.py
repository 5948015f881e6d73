"""The clients that people use, tuspy and tus-js-client, against a server process."""

from __future__ import annotations

import gc
import hashlib
import http.client
import io
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage

from tests.e2e.cutting import CuttingProxy
from tests.e2e.node import Run, tus_js_upload
from tests.servers import ProcessServer, process_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tusclient.uploader.uploader import AsyncUploader, Uploader

    from tests.wire import Answer

MEBI = 1024 * 1024
SIZE = 3 * MEBI + 12345
"""Of the file that is uploaded; no multiple of any chunk."""
CHUNK = 512 * 1024

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def files_of_tuspy() -> Iterator[None]:
    """tuspy opens its file anew for each request and never closes it; no later test shall hear."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    with process_server(tmp_path_factory.mktemp("clients") / "uploads") as server:
        yield server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def endpoint(server: ProcessServer) -> str:
    return f"http://127.0.0.1:{server.port}/files/"


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def head_of(server: ProcessServer, url: str) -> Answer:
    answer = server.tus.hd(path_of(url))
    assert answer.status == 200
    return answer


def assert_uploaded(server: ProcessServer, url: str, source: Path) -> None:
    """GET gives back exactly the bytes of the file."""
    head = head_of(server, url)
    assert head["Upload-Offset"] == head["Upload-Length"] == str(source.stat().st_size)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", path_of(url))
        answer = connection.getresponse()
        assert answer.status == 200
        found = hashlib.sha256(answer.read()).hexdigest()
    assert found == hashlib.sha256(source.read_bytes()).hexdigest()


# tuspy.


def url_of(uploader: Uploader | AsyncUploader) -> str:
    url: object = uploader.url
    assert isinstance(url, str)
    return url


@pytest.fixture
def tuspy(server: ProcessServer) -> TusClient:
    return TusClient(endpoint(server))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="whole"),
        pytest.param({"chunk_size": CHUNK}, id="chunked"),
        pytest.param({"upload_checksum": True}, id="whole with checksum"),
        pytest.param({"chunk_size": CHUNK, "upload_checksum": True}, id="chunked with checksums"),
    ],
)
def test_tuspy_uploads(
    server: ProcessServer, tuspy: TusClient, source: Path, options: dict[str, Any]
) -> None:
    uploader = tuspy.uploader(str(source), **options)
    uploader.upload()
    assert_uploaded(server, url_of(uploader), source)


@pytest.mark.parametrize("chunk_size", [CHUNK, 2 * SIZE], ids=["chunked", "whole"])
@pytest.mark.anyio
async def test_tuspy_uploads_asynchronously(
    server: ProcessServer, tuspy: TusClient, source: Path, chunk_size: int
) -> None:
    uploader = tuspy.async_uploader(str(source), chunk_size=chunk_size, upload_checksum=True)
    await uploader.upload()
    assert_uploaded(server, url_of(uploader), source)


def test_tuspy_uploads_a_stream(server: ProcessServer, tuspy: TusClient, source: Path) -> None:
    stream = io.BytesIO(source.read_bytes())
    uploader = tuspy.uploader(file_stream=stream, chunk_size=CHUNK)
    uploader.upload()
    assert_uploaded(server, url_of(uploader), source)


def test_tuspy_uploads_an_empty_file(
    server: ProcessServer, tuspy: TusClient, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    uploader = tuspy.uploader(str(empty))
    uploader.upload()
    assert_uploaded(server, url_of(uploader), empty)


def test_tuspy_without_metadata_sends_an_empty_header(
    server: ProcessServer, tuspy: TusClient, source: Path
) -> None:
    uploader = tuspy.uploader(str(source))
    headers = uploader.get_url_creation_headers()  # type: ignore[no-untyped-call]
    assert headers["upload-metadata"] == ""
    uploader.upload()
    assert head_of(server, url_of(uploader)).get("Upload-Metadata") is None


def test_the_metadata_of_tuspy_comes_back(
    server: ProcessServer, tuspy: TusClient, source: Path
) -> None:
    uploader = tuspy.uploader(str(source), metadata={"filename": "Größe.bin", "empty": ""})
    uploader.upload()
    # An empty value is sent as "empty " with the blank, which a header in the middle may keep.
    assert head_of(server, url_of(uploader))["Upload-Metadata"].split(",")[0] == (
        "filename R3LDtsOfZS5iaW4="
    )
    disposition = server.tus.get(path_of(url_of(uploader)))["Content-Disposition"]
    assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe.bin" in disposition


def test_tuspy_goes_on_with_a_url_that_it_stored(
    server: ProcessServer, tuspy: TusClient, source: Path, tmp_path: Path
) -> None:
    storage = FileStorage(str(tmp_path / "urls.json"))  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"chunk_size": CHUNK, "store_url": True, "url_storage": storage}
    first = tuspy.uploader(str(source), **options)
    first.upload(stop_at=2 * CHUNK)
    second = tuspy.uploader(str(source), **options)
    storage.close()  # type: ignore[no-untyped-call]
    assert (second.url, second.offset) == (first.url, 2 * CHUNK)
    second.upload()
    assert_uploaded(server, url_of(second), source)


@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "with checksums"])
def test_tuspy_goes_on_after_a_kill_of_the_server(
    tmp_path: Path, source: Path, checksum: bool
) -> None:
    with process_server(tmp_path / "uploads") as server:
        tuspy = TusClient(endpoint(server))
        uploader = tuspy.uploader(str(source), chunk_size=CHUNK, upload_checksum=checksum)
        uploader.upload(stop_at=3 * CHUNK)
        server.kill()
        server.start()
        uploader.upload()
        assert_uploaded(server, url_of(uploader), source)


@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "with checksums"])
def test_tuspy_tries_again_after_cut_connections(
    server: ProcessServer, source: Path, checksum: bool
) -> None:
    cuts = [CHUNK // 2, 2 * CHUNK, 4 * CHUNK + 7]
    with CuttingProxy(("127.0.0.1", server.port), cuts=cuts) as proxy:
        uploader = TusClient(f"{proxy.url}/files/").uploader(
            str(source), chunk_size=CHUNK, retries=20, retry_delay=0.05, upload_checksum=checksum
        )
        uploader.upload()
        assert proxy.left == []
    assert_uploaded(server, url_of(uploader), source)


# tus-js-client.

PLAIN = ["POST", "PATCH"]


@pytest.mark.parametrize(
    ("options", "task", "methods"),
    [
        pytest.param({}, {}, PLAIN, id="whole"),
        pytest.param({}, {"source": "buffer"}, PLAIN, id="buffer"),
        pytest.param({"chunkSize": MEBI}, {}, ["POST"] + 4 * ["PATCH"], id="chunked"),
        pytest.param({"uploadDataDuringCreation": True}, {}, ["POST"], id="with the creation"),
        pytest.param(
            {"uploadDataDuringCreation": True, "chunkSize": MEBI},
            {},
            ["POST"] + 3 * ["PATCH"],
            id="first chunk with the creation",
        ),
        pytest.param(
            {"uploadLengthDeferred": True, "chunkSize": MEBI},
            {"source": "stream"},
            ["POST"] + 4 * ["PATCH"],
            id="length at the end",
        ),
        pytest.param(
            {"uploadLengthDeferred": True, "uploadDataDuringCreation": True, "chunkSize": MEBI},
            {"source": "stream"},
            # This client sends no data then, but misses the offset in the answer, and asks for it.
            ["POST", "HEAD"] + 4 * ["PATCH"],
            id="length at the end, first chunk with the creation",
        ),
        pytest.param({"overridePatchMethod": True}, {}, ["POST", "POST"], id="PATCH as POST"),
    ],
)
def test_tus_js_client_uploads(
    server: ProcessServer,
    source: Path,
    options: dict[str, Any],
    task: dict[str, Any],
    methods: list[str],
) -> None:
    run = tus_js_upload(source, endpoint(server), task=task, **options)
    assert run.methods() == methods
    assert_uploaded(server, run.url, source)


@pytest.mark.parametrize(
    "options",
    [{}, {"chunkSize": CHUNK}, {"uploadDataDuringCreation": True}],
    ids=["whole", "chunked", "with the creation"],
)
def test_tus_js_client_uploads_in_parallel(
    server: ProcessServer, source: Path, options: dict[str, Any]
) -> None:
    run = tus_js_upload(
        source, endpoint(server), parallelUploads=3, metadata={"filename": "ä.bin"}, **options
    )
    assert run.methods().count("POST") == 4
    assert head_of(server, run.url)["Upload-Concat"].startswith("final;http://127.0.0.1:")
    assert head_of(server, run.url)["Upload-Metadata"] == "filename w6QuYmlu"
    assert_uploaded(server, run.url, source)


def test_tus_js_client_uploads_an_empty_file(server: ProcessServer, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert_uploaded(server, tus_js_upload(empty, endpoint(server)).url, empty)


def test_tus_js_client_uploads_where_location_is_a_url(tmp_path: Path, source: Path) -> None:
    with process_server(tmp_path / "uploads", "--location", "url") as server:
        run = tus_js_upload(source, endpoint(server), parallelUploads=3)
        assert_uploaded(server, run.url, source)


@pytest.mark.parametrize(
    ("abort", "options"),
    [
        pytest.param("progress", {}, id="in the middle of a request"),
        pytest.param("chunk", {"chunkSize": CHUNK}, id="between two chunks"),
        pytest.param("chunk", {"chunkSize": CHUNK, "parallelUploads": 3}, id="in parallel"),
    ],
)
def test_tus_js_client_goes_on_with_an_aborted_upload(
    server: ProcessServer, source: Path, tmp_path: Path, abort: str, options: dict[str, Any]
) -> None:
    storage = {"storage": str(tmp_path / "urls.json")}
    first = tus_js_upload(source, endpoint(server), task={"abort": abort, **storage}, **options)
    assert first.was_aborted
    second = tus_js_upload(source, endpoint(server), task={"resume": True, **storage}, **options)
    assert second.methods()[0] == "HEAD"
    # Nothing but the joining of the parts is created anew.
    assert second.methods().count("POST") == (1 if "parallelUploads" in options else 0)
    assert_uploaded(server, second.url, source)


def test_tus_js_client_deletes_a_finished_upload(server: ProcessServer, source: Path) -> None:
    run = tus_js_upload(source, endpoint(server), task={"terminate": "end"})
    assert server.tus.hd(path_of(run.url)).status == 404


def test_tus_js_client_deletes_an_aborted_upload(server: ProcessServer, source: Path) -> None:
    task = {"abort": "chunk", "terminate": "abort"}
    run = tus_js_upload(source, endpoint(server), task=task, chunkSize=CHUNK)
    assert run.was_aborted
    assert server.tus.hd(path_of(run.url)).status == 404


@pytest.mark.parametrize(
    ("creations", "options"),
    [
        pytest.param(1, {}, id="whole"),
        pytest.param(1, {"chunkSize": CHUNK}, id="chunked"),
        pytest.param(4, {"parallelUploads": 3}, id="in parallel"),
        pytest.param(4, {"parallelUploads": 3, "chunkSize": CHUNK}, id="in parallel, chunked"),
    ],
)
def test_tus_js_client_goes_on_after_cut_connections(
    server: ProcessServer, source: Path, creations: int, options: dict[str, Any]
) -> None:
    cuts = [MEBI, 2 * MEBI, 3 * MEBI]
    with CuttingProxy(("127.0.0.1", server.port), cuts=cuts) as proxy:
        run = tus_js_upload(
            source, f"{proxy.url}/files/", retryDelays=[0, 20, 50, 100, 200, 500], **options
        )
        assert proxy.left == []
    assert_went_on(run, creations)
    assert_uploaded(server, run.url, source)


def assert_went_on(run: Run, creations: int) -> None:
    """The client asked for the offset and went on from there, instead of beginning anew."""
    assert "HEAD" in run.methods()
    assert run.requests.count(("POST", 201)) == run.methods().count("POST") == creations


def test_tus_js_client_goes_on_after_a_kill_of_the_server(tmp_path: Path, source: Path) -> None:
    storage = {"storage": str(tmp_path / "urls.json")}
    with process_server(tmp_path / "uploads") as server:
        options: dict[str, Any] = {"chunkSize": CHUNK, "parallelUploads": 3}
        tus_js_upload(source, endpoint(server), task={"abort": "chunk", **storage}, **options)
        server.kill()
        server.start()
        run = tus_js_upload(source, endpoint(server), task={"resume": True, **storage}, **options)
        assert_uploaded(server, run.url, source)
