"""What clients are told of the finish of an upload: headers, and the refusal that a check has
pronounced.

`Repr-Digest` is that of RFC 9530, section 3; the SHA-256 is the `ETag`, too, as it is of a
download. `Upload-Place` and `Upload-Refused` are ours: where the file has gone, percent-encoded and
relative to the destination root, and the code of the check that refused it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

from tusserver.protocol.finish import FinishState
from tusserver.protocol.refusals import UploadRefused

if TYPE_CHECKING:
    from tusserver.protocol.errors import Header
    from tusserver.protocol.upload import Upload

_REGISTERED = {"sha256": "sha-256", "sha512": "sha-512", "sha1": "sha", "md5": "md5"}
"""The names of algorithms in the IANA registry of RFC 9530, by those of hashlib."""


def headers(upload: Upload) -> tuple[Header, ...]:
    """The headers about the outcome of the finish; none before it is certain."""
    finish = upload.finish
    if finish is None or not finish.is_over:
        return ()
    found: list[Header] = []
    digests = [
        f"{_REGISTERED[algorithm]}=:{b64encode(bytes.fromhex(digest)).decode()}:"
        for algorithm, digest in finish.digests
        if algorithm in _REGISTERED
    ]
    if digests:
        found.append((b"repr-digest", ", ".join(digests).encode()))
    sha256 = dict(finish.digests).get("sha256")
    if sha256 is not None and finish.state is FinishState.DONE:
        found.append((b"etag", f'"{sha256}"'.encode()))
    if finish.place:
        found.append((b"upload-place", quote(finish.place).encode()))
    if finish.refusal is not None:
        found.append((b"upload-refused", finish.refusal.code.encode()))
    return tuple(found)


def refuse_refused(upload: Upload) -> None:
    """Raises UploadRefused for an upload that a check has refused: for good, and however often it
    is asked.
    """
    if upload.finish is not None and upload.finish.refusal is not None:
        refusal = upload.finish.refusal
        raise UploadRefused(refusal.code, refusal.message, refusal.status)
