"""Which origins get cross-origin headers, and which headers those are."""

from __future__ import annotations

import pytest

from tusserver.asgi.cors import Cors

PREFLIGHT = (b"access-control-request-method", b"PATCH")


def headers(
    cors: Cors, origin: str | None, method: str = "HEAD", **extra: bytes
) -> dict[bytes, bytes]:
    request = [] if origin is None else [(b"origin", origin.encode("latin-1"))]
    request += [(name.replace("_", "-").encode(), value) for name, value in extra.items()]
    found = cors.headers(method, request)
    assert len(dict(found)) == len(found)
    return dict(found)


def test_by_default_every_origin_may_come_without_credentials() -> None:
    found = headers(Cors(), "https://app.example")
    assert found[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in found
    assert b"Upload-Offset" in found[b"access-control-expose-headers"]
    assert b"vary" not in found


def test_without_an_origin_nothing_is_said() -> None:
    assert headers(Cors(), None) == {}
    assert headers(Cors(["https://app.example"]), None) == {b"vary": b"Origin"}


@pytest.mark.parametrize(
    ("origins", "origin", "is_allowed"),
    [
        (["https://app.example"], "https://app.example", True),
        (["https://app.example/"], "https://app.example", True),
        (["https://app.example"], "HTTPS://APP.example", True),
        (["https://app.example"], "https://app.example.evil.tld", False),
        (["https://app.example"], "https://evil.tld", False),
        (["https://app.example"], "http://app.example", False),
        (["https://app.example"], "null", False),
        (["https://a.example", "https://b.example"], "https://b.example", True),
        ([r"~https?://[a-z]+\.example"], "https://app.example", True),
        ([r"~https?://[a-z]+\.example"], "https://app.example.evil.tld", False),
        ([r"~https?://[a-z]+\.example"], "https://evil.tld/https://app.example", False),
        (["https://app.example"], "https://app.example\r\nX-Evil: 1", False),
        ([], "https://app.example", False),
        (["https://app.example:443"], "https://app.example", True),
        (["http://app.example:80/"], "http://app.example", True),
        (["https://app.example:80"], "https://app.example", False),
        (["https://app.example:4433"], "https://app.example:4433", True),
        (["http://[::1]:8000"], "http://[::1]:8000", True),
        (["null"], "null", True),
        (["moz-extension://0a-1"], "moz-extension://0a-1", True),
    ],
)
def test_origins_are_matched_whole(origins: list[str], origin: str, is_allowed: bool) -> None:
    found = headers(Cors(origins), origin)
    assert found[b"vary"] == b"Origin"
    if is_allowed:
        assert found[b"access-control-allow-origin"] == origin.encode()
    else:
        assert found == {b"vary": b"Origin"}


def test_credentials_are_for_named_origins_only() -> None:
    found = headers(Cors(["https://app.example"], credentials=True), "https://app.example")
    assert found[b"access-control-allow-credentials"] == b"true"
    with pytest.raises(ValueError, match="name the origins"):
        Cors(["*"], credentials=True)


def test_a_pattern_must_be_one() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        Cors(["~https://["])


def test_a_preflight_is_told_methods_and_headers() -> None:
    cors = Cors(extra_headers=["X-Mine"], max_age=60)
    found = headers(cors, "https://app.example", "OPTIONS", access_control_request_method=b"PATCH")
    assert b"PATCH" in found[b"access-control-allow-methods"]
    assert found[b"access-control-allow-headers"].endswith(b", X-Mine")
    assert found[b"access-control-max-age"] == b"60"
    assert b"access-control-max-age" not in headers(cors, "https://app.example", "OPTIONS")
    not_one = headers(cors, "https://app.example", "PATCH", access_control_request_method=b"PATCH")
    assert b"access-control-max-age" not in not_one


@pytest.mark.parametrize(
    "origin",
    [
        "*/", "**", "https://*.example", "app.example", "https://app.example/upload", "https://",
        "https://app.example//", "https://a.example https://b.example", "https://büro.example", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("credentials", [True, False])
def test_what_no_browser_sends_is_no_origin(origin: str, credentials: bool) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Cors([origin], credentials=credentials)
