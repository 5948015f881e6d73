"""The digest of a whole file: computed, compared with what the client said, and told."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import serving
from tests.tus import OCTETS, Tus
from tusserver import create_app
from tusserver.protocol import digests, grammar
from tusserver.settings import SettingsError

DATA = os.urandom(3 * 1024 * 1024 + 7)
SHA256 = hashlib.sha256(DATA)
REPR = f"sha-256=:{b64encode(SHA256.digest()).decode()}:"


def metadata(**values: bytes) -> dict[str, str]:
    return {"Upload-Metadata": grammar.format_metadata(tuple(values.items()))}


def sent(tus: Tus, headers: dict[str, str], data: bytes = DATA) -> tuple[str, int]:
    """The upload, sent in two requests, and the status of the last one."""
    url = tus.mk(len(data), headers)
    assert tus.pa(url, 0, data[:1000]).status == 204
    return url, tus.pa(url, 1000, data[1000:]).status


def test_the_digest_is_in_the_answer_the_record_and_the_tag(tmp_path: Path) -> None:
    with serving(tmp_path, digests=("sha256", "md5")) as tus:
        url = tus.mk(len(DATA))
        answer = tus.pa(url, 0, DATA)
        both = f"md5=:{b64encode(hashlib.md5(DATA).digest()).decode()}:, {REPR}"
        assert answer["Repr-Digest"] == both
        assert tus.hd(url)["Repr-Digest"] == both
        etag = tus.get(url)["ETag"]
        assert tus.hd(url)["ETag"] == answer["ETag"] == etag
        assert etag == f'"{SHA256.hexdigest()}"'
        assert tus.get(url, {"If-None-Match": etag}).status == 304
        assert tus.content(url) == DATA
    record = json.loads((tmp_path / f"{url.rpartition('/')[2]}.info").read_text())
    assert dict(record["tusserver"]["finish"]["digests"])["sha256"] == SHA256.hexdigest()


GOOD: dict[str, dict[str, str]] = {
    "hexadecimal": metadata(sha256=SHA256.hexdigest().encode()),
    "upper case": metadata(sha256=SHA256.hexdigest().upper().encode()),
    "Base64": metadata(sha256=b64encode(SHA256.digest())),
    "another algorithm": metadata(md5=hashlib.md5(DATA).hexdigest().encode()),
    "header": {"Repr-Digest": REPR},
    "one known": {"Repr-Digest": f"unixsum=:{b64encode(b'12').decode()}:, {REPR}"},
    "none": {},
}


@pytest.mark.parametrize("headers", GOOD.values(), ids=list(GOOD))
def test_the_right_digest_is_taken(tmp_path: Path, headers: dict[str, str]) -> None:
    with serving(tmp_path, verify_digests=True) as tus:
        url, status = sent(tus, headers)
        assert status == 204
        assert (tus.hd(url).get("Repr-Digest") is None) == (headers == {})
        assert tus.content(url) == DATA


@pytest.mark.parametrize(
    "headers",
    [metadata(sha256=hashlib.sha256(b"other").hexdigest().encode()),
     {"Repr-Digest": f"sha-256=:{b64encode(bytes(32)).decode()}:"}],
    ids=["metadata", "header"],
)  # fmt: skip
def test_the_wrong_digest_is_refused_for_good(tmp_path: Path, headers: dict[str, str]) -> None:
    with serving(tmp_path, verify_digests=True) as tus:
        url, status = sent(tus, headers)
        assert status == 422
        answer = tus.pa(url, len(DATA) - 1, DATA[-1:])
        assert answer.status == 422
        assert b"ERR_DIGEST_MISMATCH: the sha256 of the stored bytes is" in answer.body
        assert tus.post({**OCTETS, **headers, "Upload-Length": "1"}, b"x").status == 422


@pytest.mark.parametrize(
    "headers",
    [metadata(sha256=b"short"), metadata(md5=b"z" * 32), metadata(sha256=b64encode(b"short")),
     {"Repr-Digest": "sha-256=abc"}, {"Repr-Digest": "sha-256=:YQ==:"}],
    ids=["text", "no hexadecimal", "short", "no structure", "short header"],
)  # fmt: skip
def test_what_is_no_digest_is_refused_at_the_creation(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    with serving(tmp_path, verify_digests=True) as tus:
        assert tus.post({**headers, "Upload-Length": "5"}).status == 400
    with serving(tmp_path) as tus:
        assert tus.post({**headers, "Upload-Length": "5"}).status == 201, "nobody looks at it"


def test_an_algorithm_that_nobody_knows_is_told_at_the_start(tmp_path: Path) -> None:
    values: dict[str, Any] = {"digests": ("sha3",)}
    with pytest.raises(SettingsError, match="digests: 'sha3' is none of md5, sha1, sha256, sha512"):
        create_app(upload_dir=tmp_path, **values)


@given(st.text(max_size=200))
def test_any_header_is_read_or_refused(value: str) -> None:
    with suppress(ValueError):
        found = digests.parse_header(value)
        assert all(len(digest) == 2 * digests.SIZES[name] for name, digest in found)
