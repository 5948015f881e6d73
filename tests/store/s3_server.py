"""A real S3 service on free ports, everything in one folder: SeaweedFS, or another one."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from tests.servers import free_port
from tusserver.store.s3_bucket import S3Bucket
from tusserver.store.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "uploads"
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
_PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
    "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip
_OFF = ("s3.port.iceberg=0", "s3.port.lance=0", "admin.ui=false", "webdav=false")
_START = 60.0


class Weed:
    """SeaweedFS: one process of all its parts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = {name: free_port() for name in _PORTS}
        self.port = self._ports["s3.port"]

    def command(self) -> list[str]:
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        return [
            str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "mini",
            f"-dir={self._directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", f"-bucket={BUCKET}", *ports, *(f"-{each}" for each in _OFF),
        ]  # fmt: skip

    def prepare(self) -> None:
        """Before each start."""
        for port in self._ports.values():
            # It leaves these wherever its folder is.
            for path in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
                Path(path).unlink(missing_ok=True)


class Versitygw:
    """versitygw, if somebody has put it on the PATH: it keeps objects as files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()

    def command(self) -> list[str]:
        return [
            "versitygw", "--port", f"127.0.0.1:{self.port}", "--quiet",
            "--access", ACCESS_KEY, "--secret", SECRET_KEY, "posix", str(self._directory),
        ]  # fmt: skip

    def prepare(self) -> None:
        """Before each start."""
        (self._directory / BUCKET).mkdir(exist_ok=True)


class Minio:
    """MinIO, if somebody has put it on the PATH."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()

    def command(self) -> list[str]:
        keys = (f"MINIO_ROOT_USER={ACCESS_KEY}", f"MINIO_ROOT_PASSWORD={SECRET_KEY}")
        off = ("MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off")
        return [
            "env", *keys, *off, "minio", "server", "--quiet", "--address",
            f"127.0.0.1:{self.port}", str(self._directory),
        ]  # fmt: skip

    def prepare(self) -> None:
        """Before each start."""
        (self._directory / BUCKET).mkdir(exist_ok=True)


SERVICES: dict[str, type[Weed | Versitygw | Minio]] = {
    "weed": Weed,
    "versitygw": Versitygw,
    "minio": Minio,
}
SERVICE = os.environ.get("TUSSERVER_TEST_S3", "weed")
"""Which one the tests run on: the first in every run, the others as second opinions."""


class S3Server:
    """A service of this kind; see `ObjectServer`."""

    bucket_class = S3Bucket
    are_copied = True
    ending = "abort"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._service = SERVICES[SERVICE](directory)
        self.port = self._service.port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._client: Any = None

    def start(self) -> None:
        """Returns once it answers and the bucket is there."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._service.prepare()
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        with (self._directory.parent / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._service.command(), stdout=log, stderr=log, env={**os.environ, **keys}
            )
        deadline = time.monotonic() + _START
        while not self._answers():
            assert self._process.poll() is None, "the S3 service did not start"
            assert time.monotonic() < deadline, "the S3 service does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.client().head_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            return False
        return True

    def client(self) -> Any:  # noqa: ANN401
        """A client of the test's own; for all threads, as making one takes longer than a test."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
        return self._client

    def _new_client(self) -> Any:  # noqa: ANN401
        return get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def pause(self) -> None:
        """It answers nobody until it goes on."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self._service.prepare()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def bucket(self, **changes: Any) -> S3Bucket:
        return S3Bucket(
            S3Options(
                **{
                    "bucket": BUCKET,
                    "endpoint": self.endpoint,
                    "region": "us-east-1",
                    "access_key": ACCESS_KEY,
                    "secret_key": SECRET_KEY,
                    **changes,
                }
            )
        )

    def put(self, key: str, data: bytes) -> None:
        self.client().put_object(Bucket=BUCKET, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client().delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix: str) -> list[str]:
        pages = (
            self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def media_type(self, key: str) -> str:
        return str(self.client().head_object(Bucket=BUCKET, Key=key)["ContentType"])

    def begin(self, key: str) -> None:
        self.client().create_multipart_upload(Bucket=BUCKET, Key=key)

    def multiparts(self, prefix: str) -> list[str]:
        return [found["Key"] for found in self._multiparts(prefix)]

    def end_multiparts(self, prefix: str) -> None:
        for found in self._multiparts(prefix):
            self.client().abort_multipart_upload(
                Bucket=BUCKET, Key=found["Key"], UploadId=found["UploadId"]
            )

    def _multiparts(self, prefix: str) -> list[dict[str, str]]:
        answer = self.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        found: list[dict[str, str]] = answer.get("Uploads", [])
        return found

    def settings(self, prefix: str) -> dict[str, Any]:
        return {
            "store": f"s3://{BUCKET}/{prefix}",
            "s3_endpoint": self.endpoint,
            "s3_preset": "seaweedfs" if SERVICE == "weed" else SERVICE,
            "object_flush": timedelta(seconds=0.05),
        }

    def publish_keys(self) -> None:
        os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A started one."""
    server = S3Server(directory / "s3")
    server.start()
    try:
        yield server
    finally:
        server.go_on()
        server.kill()
