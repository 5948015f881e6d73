"""From raw requests to typed ones: version, override, methods, and what describes a body."""

from __future__ import annotations

import pytest

from tusserver.protocol import capabilities as names
from tusserver.protocol.body_plan import BodyHead
from tusserver.protocol.capabilities import Capabilities
from tusserver.protocol.core import Head, Options, Patch
from tusserver.protocol.creation import Create
from tusserver.protocol.decision import Trailer
from tusserver.protocol.download import Download
from tusserver.protocol.errors import (
    InvalidMethodOverride,
    InvalidOffset,
    InvalidUploadLength,
    MalformedRequest,
    MethodNotAllowed,
    RepeatedHeader,
    TusError,
    UnsupportedContentEncoding,
    UnsupportedContentType,
    UnsupportedVersion,
    UploadNotFound,
)
from tusserver.protocol.request import RawRequest, Request, parse
from tusserver.protocol.termination import Terminate
from tusserver.protocol.urls import UploadUrls

ALL = Capabilities(
    frozenset({names.CREATION, names.CHECKSUM, names.TERMINATION, names.CONCATENATION})
)
URLS = UploadUrls("/files/")
VERSION = {"tus-resumable": "1.0.0"}
OCTETS = {"content-type": "application/offset+octet-stream"}
PATCH = {**VERSION, **OCTETS, "upload-offset": "0", "content-length": "5"}


def parsed(
    method: str,
    target: str = "abc",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    capabilities: Capabilities = ALL,
    http_version: str = "1.1",
) -> Request:
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "localhost"))
    raw = [(name.encode(), value.encode("utf-8")) for name, value in pairs]
    return parse(RawRequest(method, target, raw, http_version, URLS), capabilities)


def test_each_method_has_its_request() -> None:
    assert isinstance(parsed("OPTIONS"), Options)
    assert isinstance(parsed("OPTIONS", ""), Options)
    assert parsed("HEAD", "abc", VERSION) == Head("abc", URLS)
    assert isinstance(parsed("PATCH", "abc", PATCH), Patch)
    assert parsed("DELETE", "abc", VERSION) == Terminate("abc")
    assert parsed("GET", "abc", {}) == Download("abc")
    assert isinstance(parsed("POST", "", {**VERSION, "upload-length": "5"}), Create)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "HEAD", "GET"])
@pytest.mark.parametrize("version", ["0.0.1", "0.2.2", "2.0.0", "1.0", "foo", "1.0.0, 1.0.0", ""])
def test_other_versions_are_refused_with_the_one_that_is_spoken(method: str, version: str) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        parsed(method, "" if method == "POST" else "abc", {"tus-resumable": version})
    assert (b"tus-version", b"1.0.0") in caught.value.headers


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_missing_version_is_refused_where_something_would_change(method: str) -> None:
    with pytest.raises(UnsupportedVersion):
        parsed(method, "" if method == "POST" else "abc")


@pytest.mark.parametrize("version", ["0.0.1", "foo"])
def test_options_does_not_look_at_the_version(version: str) -> None:
    assert isinstance(parsed("OPTIONS", "", {"tus-resumable": version}), Options)


def test_an_override_with_post_changes_nothing() -> None:
    headers = {**VERSION, "upload-length": "5"}
    override = {**headers, "x-http-method-override": "POST"}
    assert parsed("POST", "", override) == parsed("POST", "", headers)


@pytest.mark.parametrize("override", ["HEAD", "PATCH", "DELETE", "GET", "OPTIONS"])
def test_post_may_stand_for_another_method(override: str) -> None:
    request = parsed("POST", "abc", {**PATCH, "x-http-method-override": override})
    assert type(request) is type(parsed(override, "abc", PATCH))


@pytest.mark.parametrize("override", ["FOO", "", "patch", "PUT", "PATCH, DELETE"])
def test_other_overrides_are_refused(override: str) -> None:
    with pytest.raises(InvalidMethodOverride):
        parsed("POST", "", {**VERSION, "upload-length": "5", "x-http-method-override": override})


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_an_override_is_ignored_on_methods_that_need_none(method: str) -> None:
    headers = {**VERSION, "x-http-method-override": "DELETE"}
    assert type(parsed(method, "abc", headers)) is type(parsed(method, "abc", VERSION))


@pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT", "FOO", "POST"])
def test_other_methods_on_an_upload_are_told_which_there_are(method: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        parsed(method, "abc", VERSION)
    assert (b"allow", b"HEAD, PATCH, DELETE, GET, OPTIONS") in caught.value.headers


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "HEAD", "GET"])
def test_the_creation_url_takes_post_only(method: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        parsed(method, "", VERSION)
    assert (b"allow", b"POST, OPTIONS") in caught.value.headers


def test_methods_that_are_switched_off_are_not_allowed() -> None:
    bare = Capabilities(frozenset({names.CREATION}), download=False)
    for method in ("DELETE", "GET"):
        with pytest.raises(MethodNotAllowed) as caught:
            parsed(method, "abc", VERSION, bare)
        assert (b"allow", b"HEAD, PATCH, OPTIONS") in caught.value.headers


@pytest.mark.parametrize("target", ["..", "a/../b", "/etc/passwd", "a b", ".x", "a/", "x" * 600])
def test_an_impossible_id_is_simply_not_found(target: str) -> None:
    for method in ("HEAD", "PATCH", "DELETE", "GET"):
        with pytest.raises(UploadNotFound):
            parsed(method, target, PATCH)


@pytest.mark.parametrize("name", ["upload-offset", "tus-resumable", "content-length", "host"])
def test_a_single_valued_field_must_not_come_twice(name: str) -> None:
    for second in (PATCH.get(name, "localhost"), "7"):
        pairs = [*PATCH.items(), ("host", "localhost"), (name, second)]
        with pytest.raises(RepeatedHeader):
            parsed("PATCH", "abc", pairs)


def test_field_names_have_no_case_and_blanks_around_values_do_not_count() -> None:
    headers = {name.upper(): f" \t{value}  " for name, value in PATCH.items()}
    assert parsed("PATCH", "abc", headers) == parsed("PATCH", "abc", PATCH)


@pytest.mark.parametrize("host", ["a\tb", 'evil"><x>', "a b", "a,b"])
def test_a_host_must_be_one(host: str) -> None:
    with pytest.raises(MalformedRequest):
        parsed("HEAD", "abc", {"host": host})


def test_http_1_1_needs_a_host_and_others_do_not() -> None:
    def without_host(version: str) -> Request:
        return parse(RawRequest("HEAD", "abc", [], version, URLS), ALL)

    with pytest.raises(MalformedRequest):
        without_host("1.1")
    for version in ("1.0", "2", "3"):
        assert isinstance(without_host(version), Head)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"content-type": "text/plain"}, UnsupportedContentType),
        ({"content-type": None}, UnsupportedContentType),
        ({"upload-offset": None}, InvalidOffset),
        ({"upload-offset": "+0"}, InvalidOffset),
        ({"upload-offset": "５"}, InvalidOffset),
        ({"upload-length": "5.0"}, InvalidUploadLength),
        ({"content-encoding": "gzip"}, UnsupportedContentEncoding),
        ({"content-length": "5, 5"}, MalformedRequest),
        ({"transfer-encoding": "chunked"}, MalformedRequest),
        ({"content-length": None, "transfer-encoding": "gzip, chunked"}, MalformedRequest),
        ({"content-length": None, "transfer-encoding": "xchunked"}, MalformedRequest),
    ],
)
def test_patches_with_a_bad_head_are_refused(
    change: dict[str, str | None], error: type[TusError]
) -> None:
    headers = {name: value for name, value in {**PATCH, **change}.items() if value is not None}
    with pytest.raises(error):
        parsed("PATCH", "abc", headers)


def body_of(headers: dict[str, str], *, trailers: bool = False, version: str = "1.1") -> BodyHead:
    capabilities = ALL.with_trailers() if trailers else ALL
    request = parsed("PATCH", "abc", headers, capabilities, version)
    assert isinstance(request, Patch)
    return request.body


def test_the_length_of_a_body_follows_from_its_framing() -> None:
    unframed = {name: value for name, value in PATCH.items() if name != "content-length"}
    assert body_of(PATCH).content_length == 5
    assert body_of(unframed).content_length == 0
    assert body_of({**unframed, "transfer-encoding": "Chunked"}).content_length is None
    assert body_of(unframed, version="2").content_length is None
    assert body_of({**PATCH, "content-encoding": "identity"}).content_length == 5


def test_http_1_0_knows_no_chunks() -> None:
    unframed = {name: value for name, value in PATCH.items() if name != "content-length"}
    with pytest.raises(MalformedRequest):
        body_of({**unframed, "transfer-encoding": "chunked"}, version="1.0")


@pytest.mark.parametrize(
    ("is_chunked", "is_announced", "reaches_us", "expected"),
    [
        (False, False, True, Trailer.ABSENT),
        (False, True, True, Trailer.ANNOUNCED),
        (True, False, True, Trailer.POSSIBLE),
        (True, True, True, Trailer.ANNOUNCED),
        (True, False, False, Trailer.ABSENT),
        (True, True, False, Trailer.ANNOUNCED),
    ],
)
def test_whether_a_trailer_is_awaited(
    is_chunked: bool, is_announced: bool, reaches_us: bool, expected: Trailer
) -> None:
    headers = {name: value for name, value in PATCH.items() if name != "content-length"}
    headers |= {"transfer-encoding": "chunked"} if is_chunked else {"content-length": "5"}
    headers |= {"trailer": "X-Foo, upload-CHECKSUM"} if is_announced else {"trailer": "X-Foo"}
    assert body_of(headers, trailers=reaches_us).trailer is expected


def test_without_the_checksum_extension_its_header_is_ignored() -> None:
    bare = Capabilities(frozenset({names.CREATION}))
    request = parsed("PATCH", "abc", {**PATCH, "upload-checksum": "nonsense"}, bare)
    assert isinstance(request, Patch)
    assert request.body.checksum is None
