"""Ids and URLs: what names an upload, and that nothing else does."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.protocol.urls import UploadUrls, is_host, is_upload_id

URLS = UploadUrls("/files/")
ID = "0123456789abcdef" * 2

ids = st.from_regex(r"[A-Za-z0-9_~!$'()*+,;=:@-][A-Za-z0-9_~.!$'()*+,;=:@-]{0,20}", fullmatch=True)


@pytest.mark.parametrize("value", [ID, "a", "a.b", "2026/jobs/x", "obj+multipart", "~a", "x" * 512])
def test_possible_ids(value: str) -> None:
    assert is_upload_id(value)


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", ".hidden", "a/..", "../a", "a//b", "/a", "a/", "a/.b", "a b", "a\\b", "a%2fb",
     "a\0", "a\n", "ä", "a\ufffd", "x" * 513, "a?b", "a#b", "<a>", "a|b", '"'],
)  # fmt: skip
def test_impossible_ids(value: str) -> None:
    assert not is_upload_id(value)


@given(st.text(max_size=40))
def test_no_id_leads_out_of_a_directory(value: str) -> None:
    if is_upload_id(value):
        joined = os.path.normpath(os.path.join("/root", value))
        assert joined.startswith("/root/")
        assert joined == f"/root/{value}"


@given(st.lists(ids, min_size=1, max_size=3).map("/".join))
def test_a_location_names_its_upload(upload_id: str) -> None:
    for urls in (URLS, UploadUrls("/a%20b/files/"), UploadUrls("/", "https://example.org:8443")):
        location = urls.location(upload_id).decode()
        assert location.startswith(urls.origin + urls.base)
        assert urls.upload_id(location) == upload_id


@pytest.mark.parametrize(
    "url",
    [f"/files/{ID}", f"http://localhost/files/{ID}", f"https://other.example:1/files/{ID}",
     f"HTTP://LOCALHOST/files/{ID}", ID, f"./{ID}", f"../files/{ID}", f"/files/{ID}?x=1",
     f"/files/{ID}#x", f"//host/files/{ID}", f"/files/%30{ID[1:]}"],
)  # fmt: skip
def test_part_urls_may_be_absolute_or_relative(url: str) -> None:
    assert URLS.upload_id(url) == ID


@pytest.mark.parametrize(
    "url",
    ["", "/", "/files", "/files/", f"/other/{ID}", f"http://h/{ID}", "file:///etc/passwd",
     f"ftp://h/files/{ID}", "../../etc/passwd", "/files/..", "/files/%2e%2e/x", "/files/.info",
     "http://127.0.0.1:9/x", "/files/%00", "/filesx/a", "http://[::1/files/a"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        URLS.upload_id(url)


@pytest.mark.parametrize("value", ["localhost", "a.example:8080", "[::1]:80", "127.0.0.1", "a_b"])
def test_hosts(value: str) -> None:
    assert is_host(value)


@pytest.mark.parametrize(
    "value",
    ["", "[", ":", "a:b:c", "[::1", "a:", "a:x", "a b", 'evil"><x>', "a\tb", "a/b", "a@b", "é",
     "x" * 256],
)  # fmt: skip
def test_no_hosts(value: str) -> None:
    assert not is_host(value)
