"""CREATE: how uploads come into being, and what is refused before they do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.spec.test_core_general import JSON, assert_refused
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus
from tests.wire import Answer, Wire, chunked

CREATION = {**VERSION, "Upload-Length": "4"}


@spec("CREATE-01", "CREATE-02", "CREATE-05", "CREATE-06")
def test_creation_is_announced_and_answers_with_the_new_url(tus: Tus) -> None:
    assert "creation" in tus.options()["Tus-Extension"].split(",")
    answer = tus.post({"Upload-Length": "100"})
    assert answer.status == 201
    assert answer.body == b""
    # An absolute path: right whatever the client was told to POST to, and no trust in its Host.
    assert answer["Location"].startswith("/files/")
    head = tus.hd(answer["Location"])
    assert (head.status, head["Upload-Length"]) == (200, "100")


@spec("CREATE-06")
@pytest.mark.parametrize("creation", ["/files/", "/files", "/files/?x=1", "/files?x=../.."])
def test_each_spelling_of_the_creation_url_gives_urls_that_work(
    serve: Serve, creation: str
) -> None:
    tus = Tus(serve().address, creation)
    url = tus.mk(4)
    assert url.startswith("/files/")
    assert tus.pa(url, 0, b"abcd").status == 204


@spec("CREATE-06")
def test_the_host_that_the_client_named_is_in_a_full_location_only(serve: Serve) -> None:
    host = {"Host": "upload.example:8443"}
    path = serve().post({"Upload-Length": "4", **host})["Location"]
    assert path.startswith("/files/")
    url = serve(location="url").post({"Upload-Length": "4", **host})["Location"]
    assert url.startswith("http://upload.example:8443/files/")


@spec("CREATE-07")
def test_a_new_upload_begins_at_zero_and_takes_bytes(tus: Tus) -> None:
    url = tus.mk(10)
    assert tus.off(url) == 0
    assert tus.pa(url, 0, b"hello").status == 204
    assert tus.pa(url, 5, b"world").status == 204
    assert tus.content(url) == b"helloworld"


@spec("CREATE-09")
def test_an_upload_of_length_zero_is_complete_at_once(tus: Tus) -> None:
    url = tus.mk(0)
    for _ in range(2):
        head = tus.hd(url)
        assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "0", "0")
        assert head.get("Upload-Defer-Length") is None
        assert head.get("Upload-Expires") is None
        assert tus.content(url) == b""
        again = tus.pa(url, 0, b"")
        assert (again.status, again["Upload-Offset"]) == (204, "0")
    assert tus.pa(url, 0, b"x").status == 413


@spec("CREATE-10")
def test_a_length_above_the_maximum_is_too_large(serve: Serve) -> None:
    tus = serve(max_size="1000")
    for length in ("1001", "1" + 18 * "0"):
        answer = tus.post({"Upload-Length": length})
        assert answer.status == 413
        assert answer.get("Location") is None
        assert answer.body.startswith(b"ERR_MAX_SIZE_EXCEEDED: ")
    assert tus.post({"Upload-Length": "1001", **OCTETS}, b"x").status == 413
    assert tus.off(tus.mk(1000)) == 0


@spec("CREATE-10")
def test_an_upload_of_unknown_length_cannot_grow_above_the_maximum(serve: Serve) -> None:
    tus = serve(max_size="4")
    url = tus.mk(None)
    assert tus.pa(url, 0, b"abcde").status == 413
    assert tus.pa(url, 0, b"abcd", {"Upload-Length": "5"}).status == 413
    assert tus.off(url) == 0
    assert tus.pa(url, 0, b"abcd", {"Upload-Length": "4"}).status == 204


@spec("CREATE-11", "CREATE-12")
@pytest.mark.parametrize(
    ("lengths", "code"),
    [
        ({}, b"ERR_INVALID_UPLOAD_LENGTH"),
        ({"Upload-Length": ""}, b"ERR_INVALID_UPLOAD_LENGTH"),
        ({"Upload-Concat": "partial"}, b"ERR_INVALID_UPLOAD_LENGTH"),
        (
            {"Upload-Length": "5", "Upload-Defer-Length": "1"},
            b"ERR_AMBIGUOUS_UPLOAD_LENGTH",
        ),
        (
            {"Upload-Length": "5", "Upload-Defer-Length": "0"},
            b"ERR_AMBIGUOUS_UPLOAD_LENGTH",
        ),
    ],
    ids=["none", "empty", "partial without", "both", "both, one bad"],
)
def test_exactly_one_length_is_needed(tus: Tus, lengths: dict[str, str], code: bytes) -> None:
    answer = tus.post(lengths)
    assert answer.status == 400
    assert answer.get("Location") is None
    assert answer.body.startswith(code + b": ")


@spec("CREATE-13")
@pytest.mark.parametrize("other", ["11", "9", "0", "3", "x", ""])
def test_a_length_once_set_stays(tus: Tus, other: str) -> None:
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    refused = tus.pa(url, 5, b"wor", {"Upload-Length": other})
    assert refused.status == 400
    assert refused.body.startswith(b"ERR_INVALID_UPLOAD_LENGTH: ")
    assert tus.hd(url)["Upload-Length"] == "10"
    assert tus.off(url) == 5
    assert tus.pa(url, 5, b"world", {"Upload-Length": "10"}).status == 204
    assert tus.hd(url)["Upload-Length"] == "10"
    assert tus.pa(url, 10, b"x", {"Upload-Length": "11"}).status == 400
    assert tus.content(url) == b"helloworld"


@spec("CREATE-15")
def test_metadata_describes_the_download(tus: Tus) -> None:
    # cat.png and image/png
    metadata = "filename Y2F0LnBuZw==,filetype aW1hZ2UvcG5n,whatever eA=="
    answer = tus.get(tus.made(b"abcd", {"Upload-Metadata": metadata}))
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Disposition"].startswith('inline; filename="cat.png"')


@spec("CREATE-16")
def test_head_gives_the_metadata_back_as_it_came(tus: Tus) -> None:
    metadata = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential,a YQ==, B Yg=="
    url = tus.mk(10, {"Upload-Metadata": metadata})
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        assert tus.hd(url)["Upload-Metadata"] == metadata
        assert tus.pa(url, offset, data, {"Upload-Metadata": "other eA=="}).status == 204
    assert tus.hd(url)["Upload-Metadata"] == metadata


@spec("CREATE-16")
def test_metadata_outlives_the_server(serve: Serve) -> None:
    metadata = "filename YQ==,is_confidential"
    url = serve().mk(10, {"Upload-Metadata": metadata})
    # A second server on the same directory knows only what the first one has stored.
    assert serve().hd(url)["Upload-Metadata"] == metadata


@spec("CREATE-17")
def test_without_metadata_there_is_no_header(tus: Tus) -> None:
    assert tus.hd(tus.mk(1)).get("Upload-Metadata") is None
    assert tus.hd(tus.made(b"abcd")).get("Upload-Metadata") is None


@spec("CREATE-18")
def test_each_creation_makes_an_upload_of_its_own(tus: Tus) -> None:
    with ThreadPoolExecutor(10) as threads:
        urls = list(threads.map(lambda _: tus.mk(4), range(50)))
    assert len(set(urls)) == 50
    assert tus.pa(urls[0], 0, b"abcd").status == 204
    assert [tus.off(url) for url in urls] == [4, *49 * [0]]


@spec("CREATE-19")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b"", id="no framing"),
        pytest.param({"Transfer-Encoding": "chunked"}, chunked(), id="chunked"),
        pytest.param({"Transfer-Encoding": "chunked", **OCTETS}, chunked(), id="chunked, labelled"),
    ],
)
def test_a_creation_needs_no_content_length(tus: Tus, headers: dict[str, str], body: bytes) -> None:
    with tus.wire() as wire:
        for _ in range(2):
            answer = wire.request("POST", tus.creation, {**CREATION, **headers}, body)
            assert answer.status == 201
            assert wire.request("HEAD", answer["Location"], VERSION)["Upload-Offset"] == "0"


@spec("CREATE-20")
@pytest.mark.parametrize(
    "label", ["application/x-www-form-urlencoded", "text/plain", "application/json", "", "nonsense"]
)
def test_the_label_of_an_empty_body_does_not_matter(tus: Tus, label: str) -> None:
    assert tus.post({"Upload-Length": "4", "Content-Type": label}).status == 201
    headers = {**CREATION, "Content-Type": label}
    assert tus.request("POST", tus.creation, headers).status == 201
    headers["Transfer-Encoding"] = "chunked"
    assert tus.request("POST", tus.creation, headers, chunked()).status == 201


def form(tus: Tus) -> Answer:
    headers = {"Upload-Length": "4", "Content-Type": "application/x-www-form-urlencoded"}
    return tus.post(headers, b"abcd")


def chunked_form(tus: Tus) -> Answer:
    headers = {**CREATION, "Content-Type": "text/plain", "Transfer-Encoding": "chunked"}
    return tus.request("POST", tus.creation, headers, chunked(b"abcd"))


def unlabelled(tus: Tus) -> Answer:
    return tus.post({"Upload-Length": "4"}, b"abcd")


def too_long(tus: Tus) -> Answer:
    return tus.post({"Upload-Length": "3", **OCTETS}, b"abcd")


def chunked_too_long(tus: Tus) -> Answer:
    headers = {**CREATION, **OCTETS, "Transfer-Encoding": "chunked"}
    return tus.request("POST", tus.creation, headers, chunked(b"abc", b"de"))


def wrong_checksum(tus: Tus) -> Answer:
    checksum = "sha1 " + 27 * "A" + "="
    return tus.post({"Upload-Length": "4", **OCTETS, "Upload-Checksum": checksum}, b"abcd")


def bad_metadata(tus: Tus) -> Answer:
    return tus.post({"Upload-Length": "4", "Upload-Metadata": "a !"})


def no_room(tus: Tus) -> Answer:
    return tus.post({"Upload-Length": str(2**63 - 1)})


@pytest.mark.directory
@spec("CREATE-11", "CREATE-20")
@pytest.mark.parametrize(
    ("status", "create"),
    [
        (415, form),
        (415, chunked_form),
        (415, unlabelled),
        (413, too_long),
        (413, chunked_too_long),
        (460, wrong_checksum),
        (400, bad_metadata),
        (507, no_room),
    ],
)
def test_a_refused_creation_leaves_nothing(
    serve: Serve, tmp_path: Path, status: int, create: Callable[[Tus], Answer]
) -> None:
    tus = serve()
    answer = create(tus)
    assert answer.status == status
    assert answer.get("Location") is None
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [".tusserver"]
    assert not list((tmp_path / "uploads" / ".tusserver" / "tmp").iterdir())


# The form of refusals


@pytest.mark.directory
@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (400, "ERR_MALFORMED_REQUEST", {"Upload-Length": "4", "Host": 'a"b'}),
        (400, "ERR_INVALID_METHOD_OVERRIDE", {"X-HTTP-Method-Override": "patch"}),
        (400, "ERR_INVALID_UPLOAD_LENGTH", {}),
        (400, "ERR_INVALID_UPLOAD_LENGTH", {"Upload-Length": "\xb2<script>" + 5000 * "9"}),
        (400, "ERR_INVALID_UPLOAD_LENGTH_DEFER", {"Upload-Defer-Length": "2"}),
        (
            400,
            "ERR_AMBIGUOUS_UPLOAD_LENGTH",
            {"Upload-Length": "4", "Upload-Defer-Length": "1"},
        ),
        (
            400,
            "ERR_INVALID_METADATA",
            {"Upload-Length": "4", "Upload-Metadata": 5000 * "\x85"},
        ),
        (400, "ERR_INVALID_CHECKSUM", {"Upload-Length": "4", "Upload-Checksum": "md5"}),
        (400, "ERR_INVALID_CONCAT", {"Upload-Concat": "final;http://x/" + 5000 * "\xe9"}),
        (400, "ERR_INVALID_CONCAT", {"Upload-Concat": "final;/files/" + 32 * "0"}),
        (507, "ERR_STORAGE_FULL", {"Upload-Length": str(2**63 - 1)}),
    ],
)
def test_refusals_of_creations_have_a_code_and_a_sentence(
    tus: Tus, status: int, code: str, headers: dict[str, str], accept: dict[str, str]
) -> None:
    assert_refused(tus.post({**headers, **accept}), status, code, accept)


@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (413, "ERR_MAX_SIZE_EXCEEDED", {"Upload-Length": "11", **OCTETS}),
        (413, "ERR_UPLOAD_SIZE_EXCEEDED", {"Upload-Length": "3", **OCTETS}),
        (415, "ERR_INVALID_CONTENT_TYPE", {"Upload-Length": "4"}),
        (400, "ERR_CONCATENATION_UNSUPPORTED", {"Upload-Length": "4", "Upload-Concat": "partial"}),
    ],
)
def test_refusals_by_the_settings_or_of_the_body_have_the_same_form(
    serve: Serve, status: int, code: str, headers: dict[str, str], accept: dict[str, str]
) -> None:
    tus = serve(max_size="10", disable_concatenation=True)
    assert_refused(tus.post({**headers, **accept}, b"abcd"), status, code, accept)


@pytest.mark.directory
@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
def test_a_broken_disk_is_told_without_detail(
    serve: Serve, tmp_path: Path, accept: dict[str, str]
) -> None:
    tus = serve()
    (tmp_path / "uploads").rename(tmp_path / "pulled out")
    answer = tus.post({"Upload-Length": "4", **accept})
    assert_refused(answer, 500, "ERR_STORAGE_FAILED", accept)
    assert str(tmp_path).encode() not in answer.body


@spec("CREATE-05")
def test_many_creations_share_a_connection(tus: Tus) -> None:
    with Wire(tus.address) as wire:
        for _ in range(20):
            assert wire.request("POST", tus.creation, CREATION).status == 201
