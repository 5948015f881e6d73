"""ROB-CORS: what browsers must be told before scripts of other origins may upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, eventually, patch_headers
from tusserver import SettingsError, create_app

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Serve
    from tests.wire import Answer

ORIGIN = "https://app.example"
EXPOSED = {
    "location",
    "upload-offset",
    "upload-length",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-expires",
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
}
ON_CREATION = (
    "tus-resumable,upload-length,upload-metadata,upload-defer-length,upload-concat,content-type,"
    "x-requested-with,x-request-id,authorization"
)
ON_UPLOAD = (
    "tus-resumable,upload-offset,content-type,upload-length,x-http-method-override,"
    "upload-checksum,upload-concat"
)


def preflight(
    tus: Tus, target: str, method: str, headers: str = "tus-resumable", origin: str = ORIGIN
) -> Answer:
    """What a browser asks before it sends the request itself; it adds nothing of the page's."""
    return tus.request(
        "OPTIONS",
        target,
        {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


def members(answer: Answer, name: str) -> set[str]:
    """The members of a list in lower case; an absent header has none."""
    return {item.strip().lower() for item in (answer.get(name) or "").split(",")} - {""}


def cors_headers(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("access-control-")}


def assert_readable(answer: Answer) -> None:
    """A script of another origin gets to see status and headers of this answer."""
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert members(answer, "Access-Control-Expose-Headers") >= EXPOSED


@spec("ROB-CORS-01", "ROB-CORS-07")
def test_the_preflight_of_a_creation_allows_all_that_clients_send(tus: Tus) -> None:
    for target in (tus.creation, tus.creation.rstrip("/")):
        answer = preflight(tus, target, "POST", ON_CREATION)
        assert answer.status == 200
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert "post" in members(answer, "Access-Control-Allow-Methods")
        # A star would not cover Authorization.
        allowed = members(answer, "Access-Control-Allow-Headers")
        assert allowed >= set(ON_CREATION.split(","))
        assert int(answer["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize("method", ["PATCH", "HEAD", "DELETE", "GET", "POST"])
@spec("ROB-CORS-02", "ROB-CORS-07")
def test_the_preflight_of_an_upload_url_allows_all_that_clients_send(tus: Tus, method: str) -> None:
    unknown = f"{tus.creation}{'0' * 32}"
    for target in (tus.mk(5), tus.made(b"hello"), unknown):
        answer = preflight(tus, target, method, ON_UPLOAD)
        assert answer.status == 200
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert method.lower() in members(answer, "Access-Control-Allow-Methods")
        allowed = members(answer, "Access-Control-Allow-Headers")
        assert allowed >= set(ON_UPLOAD.split(","))


@spec("ROB-CORS-01", "ROB-CORS-02")
def test_further_request_headers_can_be_allowed(serve: Serve) -> None:
    tus = serve(cors_allow_headers="X-Job,X-Folder")
    for target, method in ((tus.creation, "POST"), (tus.mk(5), "PATCH")):
        allowed = members(preflight(tus, target, method), "Access-Control-Allow-Headers")
        assert allowed >= {"x-job", "x-folder", "tus-resumable", "upload-offset", "authorization"}


@spec("ROB-CORS-03")
def test_answers_expose_their_headers_to_scripts(tus: Tus) -> None:
    origin = {"Origin": ORIGIN}
    created = tus.post({"Upload-Length": "5", **origin})
    url = tus.location(created)
    answers = [
        created,
        tus.request("HEAD", url, {**VERSION, **origin}),
        tus.pa(url, 0, b"hello", origin),
        tus.get(url, origin),
        tus.get(url, {**origin, "Range": "bytes=1-2"}),
        tus.options(url, **origin),
        tus.options(**origin),
        tus.delete(url, origin),
    ]
    assert [answer.status for answer in answers] == [201, 200, 204, 200, 206, 200, 200, 204]
    for answer in answers:
        assert_readable(answer)
        # These two concern preflights only.
        assert answer.get("Access-Control-Allow-Methods") is None
        assert answer.get("Access-Control-Allow-Headers") is None


def refusals(tus: Tus, origin: dict[str, str]) -> dict[str, Answer]:
    """One refused request for each status, which stands first in its name."""
    url, unknown = tus.mk(5), f"{tus.creation}{'0' * 32}"
    final = tus.post({"Upload-Concat": f"final;{tus.made(b'', {'Upload-Concat': 'partial'})}"})
    wrong_sum = {**origin, "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    other_type = {**origin, "Content-Type": "text/plain"}
    other_version = {**origin, "Tus-Resumable": "0.2.2"}
    return {
        "400 length": tus.post({"Upload-Length": "x", **origin}),
        "400 offset": tus.pa(url, "x", b"", origin),
        "403 final": tus.pa(tus.location(final), 0, b"", origin),
        "404 HEAD": tus.request("HEAD", unknown, {**VERSION, **origin}),
        "404 PATCH": tus.pa(unknown, 0, b"x", origin),
        "404 GET": tus.get(url, origin),
        "405 PUT": tus.request("PUT", url, {**VERSION, **origin}),
        "409 PATCH": tus.pa(url, 1, b"x", origin),
        "412 HEAD": tus.request("HEAD", url, other_version),
        "412 POST": tus.post({"Upload-Length": "5", **other_version}),
        "413 PATCH": tus.pa(url, 0, b"too long", origin),
        "415 PATCH": tus.pa(url, 0, b"hello", other_type),
        "415 POST": tus.post({"Upload-Length": "5", **other_type}, b"hello"),
        "460 PATCH": tus.pa(url, 0, b"hello", wrong_sum),
        "507 POST": tus.post({"Upload-Length": str(2**62), **origin}),
    }


@pytest.mark.directory
@spec("ROB-CORS-04")
def test_refusals_can_be_read_by_scripts_too(tus: Tus) -> None:
    for name, answer in refusals(tus, {"Origin": ORIGIN}).items():
        assert answer.status == int(name.split()[0]), name
        assert_readable(answer)


@spec("ROB-CORS-04")
def test_the_refusal_of_a_superseded_request_can_be_read_too(tus: Tus) -> None:
    url = tus.mk(10)
    with tus.begin_patch(url, 0, 10, {"Origin": ORIGIN}) as older:
        older.send(b"hello")
        eventually(lambda: tus.off(url) == 5)
        assert tus.pa(url, 5, b"world").status == 204
        answer = older.answer("PATCH")
    assert answer.status == 423
    assert_readable(answer)


@spec("ROB-CORS-05")
def test_answers_that_name_an_origin_vary_by_it_whoever_asks(serve: Serve) -> None:
    tus = serve(cors_allow_origin=f"{ORIGIN},https://other.example")
    url = tus.made(b"hello")
    for origin in (ORIGIN, "https://other.example", "https://evil.example", None):
        headers = {} if origin is None else {"Origin": origin}
        answers = [
            tus.options(**headers),
            tus.request("HEAD", url, {**VERSION, **headers}),
            tus.get(url, headers),
            tus.pa(url, 0, b"x", headers),
        ]
        is_allowed = origin in (ORIGIN, "https://other.example")
        for answer in answers:
            assert "origin" in members(answer, "Vary")
            assert answer.get("Access-Control-Allow-Origin") == (origin if is_allowed else None)


@spec("ROB-CORS-05")
def test_answers_for_everybody_name_no_origin(tus: Tus) -> None:
    answers = [
        tus.options(Origin=ORIGIN),
        preflight(tus, tus.creation, "POST"),
        tus.post({"Upload-Length": "5", "Origin": ORIGIN}),
    ]
    for answer in answers:
        assert answer["Access-Control-Allow-Origin"] == "*"


@spec("ROB-CORS-06")
def test_credentials_are_not_allowed_by_default(tus: Tus) -> None:
    answers = [
        preflight(tus, tus.creation, "POST"),
        tus.post({"Upload-Length": "5", "Origin": ORIGIN, "Cookie": "a=b"}),
        *refusals(tus, {"Origin": ORIGIN}).values(),
    ]
    for answer in answers:
        assert answer.get("Access-Control-Allow-Credentials") is None


@spec("ROB-CORS-06")
def test_credentials_are_allowed_for_named_origins_only(serve: Serve) -> None:
    tus = serve(cors_allow_origin=ORIGIN, cors_allow_credentials=True)
    for answer in (preflight(tus, tus.creation, "POST"), tus.options(Origin=ORIGIN)):
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert answer["Access-Control-Allow-Credentials"] == "true"
    for evil in ("https://evil.example", "null", "*"):
        assert not cors_headers(preflight(tus, tus.creation, "POST", origin=evil))
        assert not cors_headers(tus.options(Origin=evil))


@pytest.mark.parametrize("origins", ["*", f"{ORIGIN},*"])
@spec("ROB-CORS-06")
def test_credentials_for_everybody_cannot_be_set(tmp_path: Path, origins: str) -> None:
    with pytest.raises(SettingsError):
        create_app(upload_dir=tmp_path, cors_allow_origin=origins, cors_allow_credentials=True)


@spec("ROB-CORS-07")
def test_a_preflight_needs_no_version_and_is_judged_by_none(tus: Tus) -> None:
    for target in (tus.creation, tus.mk(5)):
        plain = preflight(tus, target, "PATCH", ON_UPLOAD)
        assert plain.status == 200
        for version in ("1.0.0", "0.0.1", "foo"):
            asked = {
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "PATCH",
                "Tus-Resumable": version,
            }
            answer = tus.request("OPTIONS", target, asked)
            assert answer.status == 200
            assert cors_headers(answer) == cors_headers(plain)


JUNK = {
    "null": "null",
    "empty": "",
    "a star": "*",
    "no scheme": "app.example",
    "another scheme": "http://app.example",
    "another port": "https://app.example:8443",
    "a longer host": "https://app.example.evil.example",
    "a host in front": "https://evil-app.example",
    "a path": "https://evil.example/https://app.example",
    "user": "https://app.example@evil.example",
    "two": "https://app.example https://evil.example",
    "two with a comma": "https://app.example, https://evil.example",
    "a pattern": "~https://.*",
    "escaped line ends": "https://evil.example%0d%0aSet-Cookie: pwn=1",
    "high bytes": "https://\xff\xfe\x80.example",
    "markup": "<script>alert(1)</script>",
    "long": "https://" + "a" * 16000 + ".example",
}


@pytest.mark.parametrize("origin", JUNK.values(), ids=list(JUNK))
@spec("ROB-CORS-08")
def test_junk_origins_are_never_reflected(tus: Tus, origin: str) -> None:
    for answer in (
        preflight(tus, tus.creation, "POST", origin=origin),
        tus.post({"Upload-Length": "5", "Origin": origin}),
        tus.request("HEAD", tus.mk(5), {**VERSION, "Origin": origin}),
    ):
        assert answer.status in (200, 201)
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert answer.get("Set-Cookie") is None


@spec("ROB-CORS-08")
def test_origins_that_are_not_named_get_a_normal_answer_without_cors(serve: Serve) -> None:
    tus = serve(cors_allow_origin="https://app.example,~https://[a-z]+[.]apps[.]example")
    for origin in ("https://app.example", "https://one.apps.example"):
        assert tus.options(Origin=origin)["Access-Control-Allow-Origin"] == origin
    evil = ["https://one.apps.example.evil", "https://oneXapps.example", "https://1.apps.example"]
    for origin in (*JUNK.values(), *evil):
        answer = preflight(tus, tus.creation, "POST", origin=origin)
        assert answer.status == 200
        assert answer["Tus-Version"] == "1.0.0"
        created = tus.post({**OCTETS, "Upload-Length": "5", "Origin": origin}, b"hello")
        assert created.status == 201
        assert not cors_headers(answer) | cors_headers(created)


@spec("ROB-CORS-08")
def test_line_ends_in_an_origin_never_come_back(tus: Tus) -> None:
    # What a lenient parser might hand on: a bare CR, and a field that is folded.
    for origin in (b"https://evil.example\rSet-Cookie: pwn=1", b"https://evil\r\n Set-Cookie: p=1"):
        with tus.wire() as wire:
            request = b"OPTIONS /files/ HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\n\r\n"
            wire.send(request % origin)
            answer = wire.answer("OPTIONS")
        assert answer.status in (200, 400)
        assert answer.get("Set-Cookie") is None
        assert answer.get("Access-Control-Allow-Origin") in (None, "*")


@spec("ROB-CORS-08")
def test_two_origins_do_no_harm(tus: Tus) -> None:
    headers = [*patch_headers(0, 5).items(), ("Origin", "null"), ("Origin", ORIGIN)]
    answer = tus.request("PATCH", tus.mk(5), headers, b"hello")
    assert answer.status == 204
    assert answer["Access-Control-Allow-Origin"] == "*"


@spec("ROB-CORS-01", "ROB-CORS-08")
def test_cors_can_be_left_to_a_proxy(serve: Serve) -> None:
    tus = serve(disable_cors=True)
    answers = [
        preflight(tus, tus.creation, "POST", ON_CREATION),
        tus.post({"Upload-Length": "5", "Origin": ORIGIN}),
        *refusals(tus, {"Origin": ORIGIN}).values(),
    ]
    for answer in answers:
        assert not cors_headers(answer)
        assert answer.get("Vary") is None
