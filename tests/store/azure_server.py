"""A real service of Azure's blobs on a free port: Azurite, Microsoft's own emulator, in Node."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import (
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)

from tests.e2e.node import node_modules
from tests.servers import free_port
from tusserver.store.azure_bucket import AzureBucket
from tusserver.store.azure_options import AzureOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTAINER = "uploads"
ACCOUNT, KEY = "testaccount", base64.b64encode(b"a key of tests that nobody needs").decode()
_AZURITE = Path(__file__).parent / "azurite"
_START = 60.0


def program() -> Path:
    """Azurite's, installed when it is missing."""
    return node_modules(_AZURITE) / ".bin" / "azurite-blob"


def signature(rights: str = "racwdl") -> str:
    """A shared access signature for the container."""
    allowed = ContainerSasPermissions.from_string(rights)
    until = datetime.now(UTC) + timedelta(hours=1)
    return generate_container_sas(ACCOUNT, CONTAINER, KEY, permission=allowed, expiry=until)


class AzureServer:
    """One Azurite; see `ObjectServer`."""

    bucket_class = AzureBucket
    are_copied = False
    ending = "_commit"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers and the container is there."""
        command = [
            "node", str(program()), "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
            "--location", str(self._directory), "--skipApiVersionCheck", "--disableTelemetry",
            "--silent",
        ]  # fmt: skip
        accounts = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory.parent / "azurite.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **accounts}
            )
        deadline = time.monotonic() + _START
        while not self._answers():
            assert self._process.poll() is None, "azurite did not start"
            assert time.monotonic() < deadline, "azurite does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.create_container()
        except AzureError:
            return False
        return True

    def client(self) -> ContainerClient:
        """A client of the test's own."""
        credential = {"account_name": ACCOUNT, "account_key": KEY}
        return ContainerClient(self.endpoint, CONTAINER, credential, retry_total=0)

    def kill(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def bucket(self, **changes: Any) -> AzureBucket:
        options = {"container": CONTAINER, "url": self.endpoint, "account": ACCOUNT, "key": KEY}
        return AzureBucket(AzureOptions(**{**options, **changes}))

    def settings(self, prefix: str) -> dict[str, Any]:
        return {
            "store": f"azure://{CONTAINER}/{prefix}",
            "azure_endpoint": self.endpoint,
            "object_flush": timedelta(seconds=0.05),
        }

    def publish_keys(self) -> None:
        os.environ.update(AZURE_STORAGE_ACCOUNT=ACCOUNT, AZURE_STORAGE_KEY=KEY)

    def put(self, key: str, data: bytes) -> None:
        with self.client() as client:
            client.upload_blob(key, data, overwrite=True)

    def delete(self, key: str) -> None:
        with self.client() as client:
            client.delete_blob(key)

    def keys(self, prefix: str) -> list[str]:
        with self.client() as client:
            found = client.list_blobs(prefix, include=["metadata"])
            return [blob.name for blob in found if not _is_mark(blob.metadata)]

    def media_type(self, key: str) -> str:
        with self.client() as client:
            found = client.get_blob_client(key).get_blob_properties()
            return str(found.content_settings.content_type)

    def begin(self, key: str) -> None:
        with self.client() as client:
            blob = client.get_blob_client(key)
            if not blob.exists():
                blob.upload_blob(b"", metadata={"tusserver": "unfinished"})
            blob.stage_block("0" * 16 + "-00001", b"x")

    def multiparts(self, prefix: str) -> list[str]:
        """Those of ours, and what waits in the place of an object that is not there."""
        with self.client() as client:
            seen = self.keys(prefix)
            found = client.list_blobs(prefix, include=["metadata", "uncommittedblobs"])
            return [blob.name for blob in found if blob.name not in seen]

    def waiting(self, key: str) -> list[str]:
        """The blocks that wait in the place of an object."""
        with self.client() as client:
            try:
                _, waiting = client.get_blob_client(key).get_block_list("uncommitted")
            except ResourceNotFoundError:
                return []
            return [block.id for block in waiting]

    def end_multiparts(self, prefix: str) -> None:
        """As the service does after a week."""
        for key in self.multiparts(prefix):
            with self.client() as client:
                client.get_blob_client(key).commit_block_list(
                    [], metadata={"tusserver": "unfinished"}
                )


def _is_mark(metadata: dict[str, str] | None) -> bool:
    return (metadata or {}).get("tusserver") == "unfinished"


@contextmanager
def azure_server(directory: Path) -> Iterator[AzureServer]:
    """A started one."""
    server = AzureServer(directory / "azurite")
    server.start()
    try:
        yield server
    finally:
        server.kill()
