"""What quotas are tested with: users who say who they are, and a look into the ledger and the
store.
"""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from tests.tus import OCTETS
from tusserver.policy.access import Inquiry
from tusserver.policy.ledger import Usage
from tusserver.policy.ledger_file import FileLedger
from tusserver.protocol.access import Caller
from tusserver.protocol.errors import UploadNotFound
from tusserver.store.file import FileStore

CHUNKED = {**OCTETS, "Transfer-Encoding": "chunked"}


async def by_name(inquiry: Inquiry) -> Caller | None:
    """An application's check that believes everybody."""
    return Caller(inquiry.header(b"x-user") or "alice")


def user(name: str) -> dict[str, str]:
    return {"X-User": name}


def metadata(**values: str) -> dict[str, str]:
    """`Upload-Metadata` with these texts."""
    pairs = (f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


@contextmanager
def ledger_of(upload_dir: Path) -> Iterator[FileLedger]:
    """The ledger of a server, which may be running."""
    ledger = FileLedger(upload_dir / ".tusserver" / "ledger.db")
    ledger.open()
    try:
        yield ledger
    finally:
        ledger.close()


def usage(upload_dir: Path, owner: str = "") -> Usage:
    """What the ledger says that this owner has."""
    with ledger_of(upload_dir) as ledger:
        return ledger.usage(owner)


def stored(upload_dir: Path) -> dict[str, Usage]:
    """What each owner has in the store, where a final length counts from its declaration on."""
    return anyio.run(_stored, upload_dir)


async def _stored(upload_dir: Path) -> dict[str, Usage]:
    store = FileStore(upload_dir)
    found: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    async for upload_id in store.ids():
        try:
            upload = await store.get(upload_id)
        except UploadNotFound:
            continue  # What a crash in its creation has left.
        size = upload.offset if upload.length is None else upload.length
        found[upload.owner or ""].append((size, upload.is_finished))
    await store.close()
    return {
        owner: Usage(sum(size for size, _ in uploads), len(uploads),
                     sum(not is_finished for _, is_finished in uploads))
        for owner, uploads in found.items()
    }  # fmt: skip
