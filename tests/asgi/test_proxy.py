"""Forwarding headers: what they say, from whom it is believed, and what it does to `Location`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.servers import serving
from tusserver.asgi.proxy import LOOPBACK, Client, TrustedProxies

PROXY = ("10.0.0.1", 4711)


def client(
    headers: dict[str, str] | list[tuple[str, str]],
    *trusted: str,
    peer: tuple[str, int] | None = PROXY,
) -> Client:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    return TrustedProxies(trusted).client({"client": peer, "scheme": "http", "headers": raw})


FORWARDED = {
    "Host": "internal:8080",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "public.example",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Prefix": "/portal/",
}
BELIEVED = Client("203.0.113.9", "https", "public.example", "/portal", is_proxied=True)
DIRECT = Client("10.0.0.1", "http", "internal:8080")


@pytest.mark.parametrize("trusted", ["10.0.0.1", "10.0.0.0/8", "*", "0.0.0.0/0"])
def test_named_proxies_are_believed(trusted: str) -> None:
    assert client(FORWARDED, trusted) == BELIEVED


@pytest.mark.parametrize("trusted", ["10.0.0.2", "192.168.0.0/16", "::/0", "unix"])
def test_strangers_are_not(trusted: str) -> None:
    assert client(FORWARDED, trusted) == DIRECT


def test_by_default_nobody_is() -> None:
    assert client(FORWARDED) == DIRECT


@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1), None])
def test_loopback_means_this_machine(peer: tuple[str, int] | None) -> None:
    assert client(FORWARDED, *LOOPBACK, peer=peer) == BELIEVED


def test_a_peer_without_an_address_is_a_unix_socket() -> None:
    assert client(FORWARDED, "unix", peer=None) == BELIEVED
    assert client(FORWARDED, "10.0.0.1", peer=None).address == ""


def test_a_peer_with_a_strange_address_is_not_believed() -> None:
    assert client(FORWARDED, "10.0.0.0/8", peer=("testclient", 1)).scheme == "http"


@pytest.mark.parametrize(
    "value",
    ["proto=https;host=public.example;for=203.0.113.9", 'host="public.example" ; PROTO=https',
     "proto=https;host=public.example, proto=http;host=internal",
     'for="_a,b;host=evil";proto=https;host=public.example',
     r'for="\",";proto=https;host="public\.example"',
     'host="public.example";proto="https'],
)  # fmt: skip
def test_the_standard_header_counts_before_the_others(value: str) -> None:
    headers = {**FORWARDED, "Forwarded": value, "X-Forwarded-Host": "old.example"}
    found = client(headers, "10.0.0.1")
    assert (found.scheme, found.host) == ("https", "public.example")


def test_of_a_row_of_proxies_the_outermost_counts() -> None:
    headers = {**FORWARDED, "X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "a.example, b"}
    found = client(headers, "10.0.0.1")
    assert (found.scheme, found.host) == ("https", "a.example")


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9", "10.0.0.7"], "203.0.113.9"),
        (["10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_proxy(values: list[str], address: str) -> None:
    headers = [("Host", "h"), *(("X-Forwarded-For", value) for value in values)]
    assert client(headers, "10.0.0.0/8").address == address


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded"])
def test_of_several_lines_the_first_counts(name: str) -> None:
    key = "host=" if name == "Forwarded" else ""
    lines = [("Host", "h"), (name, f"{key}a.example"), (name, f"{key}b.example")]
    assert client(lines, "10.0.0.1").host == "a.example"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ('"[2001:db8::9]:4711"', "2001:db8::9"),
        ("203.0.113.9, 10.0.0.7:4711", "203.0.113.9"),
        ("unknown", "10.0.0.1"),
        ("203.0.113.9, unknown, 10.0.0.7", "10.0.0.7"),
        ('1.2.3.4 "DELETE /files/x" 204 1ms', "10.0.0.1"),
        ("fe80::1%\x85forged", "10.0.0.1"),
        ("1.2.3.4.5", "10.0.0.1"),
    ],
)
def test_an_address_is_an_address(value: str, address: str) -> None:
    """It is written into the log."""
    assert client({"Host": "h", "X-Forwarded-For": value}, "10.0.0.0/8").address == address
    elements = ", ".join(f"for={hop.strip()}" for hop in value.split(","))
    assert client({"Host": "h", "Forwarded": elements}, "10.0.0.0/8").address == address


def test_an_address_for_everybody_is_the_last_one_told() -> None:
    assert client({"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}, "*").address == "203.0.113.9"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Proto", ""),
        ("X-Forwarded-Host", 'evil"><x>'),
        ("X-Forwarded-Host", ""),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "no/slash"),
        ("X-Forwarded-Prefix", "/a\tb"),
        ("X-Forwarded-Prefix", "/ä"),
        ("Forwarded", "nonsense;;=;"),
        ("Forwarded", ",,;"),
        ("Forwarded", '"' + '\\"' * 60_000),
    ],
)
def test_nonsense_from_a_trusted_proxy_is_as_if_it_had_said_nothing(name: str, value: str) -> None:
    found = client({"Host": "internal:8080", name: value}, "10.0.0.1")
    assert found == replace(DIRECT, is_proxied=True)


@pytest.mark.parametrize("address", ["10.0.0.0/99", "example.org", ""])
def test_proxies_are_addresses_or_networks(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrustedProxies([address])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "/files/"),
        ({"location": "url"}, "http://internal:8080/files/"),
        ({"behind_proxy": True}, "/portal/files/"),
        ({"behind_proxy": True, "location": "url"}, "https://public.example/portal/files/"),
    ],
    ids=["plain", "url", "proxy", "proxy-url"],
)
def test_location_is_as_the_client_sees_it(
    settings: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with serving(tmp_path, **settings) as tus:
        answer = tus.post({"Upload-Length": "5", **FORWARDED})
        assert answer["Location"].startswith(expected)
        url = "/files/" + answer["Location"].rpartition("/")[2]
        assert tus.off(url) == 0


def test_part_urls_are_understood_as_the_client_sees_them(tmp_path: Path) -> None:
    with serving(tmp_path, behind_proxy=True, location="url") as tus:
        part = tus.post({"Upload-Length": "0", "Upload-Concat": "partial", **FORWARDED})["Location"]
        assert tus.post({"Upload-Concat": f"final;{part}", **FORWARDED}).status == 201
        assert tus.post({"Upload-Concat": f"final;{part}"}).status == 400


def test_trailers_are_not_on_offer_through_a_proxy_which_would_drop_them(tmp_path: Path) -> None:
    with serving(tmp_path, behind_proxy=True) as tus:
        assert "checksum-trailer" not in tus.options()["Tus-Extension"]
    with serving(tmp_path, trusted_proxies="10.0.0.1") as tus:
        assert "checksum-trailer" in tus.options()["Tus-Extension"]
