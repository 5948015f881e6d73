"""CORE-GEN, CORE-VER, CORE-OPT, CORE-HDR: what holds for every request and answer, and what is
announced; also the form of all refusals.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import hypercorn.asyncio
import pytest
from hypercorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.servers import running, serving
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, patch_headers
from tests.wire import Answer, Wire, chunked
from tusserver import create_app
from tusserver.serving.sockets import listen_tcp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import ASGIApp

    from tests.conftest import Serve

Headers = dict[str, str] | list[tuple[str, str]]

JSON = {"Accept": "application/json"}
WRONG_SHA1 = "sha1 " + 27 * "A" + "="
UNKNOWN = "/files/" + 32 * "0"
EXTENSIONS = {
    "creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum",
    "checksum-trailer", "termination", "concatenation", "concatenation-unfinished",
}  # fmt: skip


def without_date(answer: Answer) -> list[tuple[str, str]]:
    return [field for field in answer.headers if field[0] != "date"]


# CORE-GEN


@spec("CORE-GEN-01")
def test_the_core_methods_are_there(tus: Tus) -> None:
    url = tus.mk(4)
    assert tus.hd(url).status == 200
    assert tus.pa(url, 0, b"abcd").status == 204
    assert tus.options(url).status == 200


@spec("CORE-GEN-02")
@pytest.mark.parametrize("location", ["path", "url"])
@pytest.mark.parametrize("base_path", ["/files/", "/up/and/down/", "/uploads", "/"])
def test_upload_urls_lie_below_the_creation_url_and_work_as_given(
    tmp_path: Path, location: str, base_path: str
) -> None:
    with serving(tmp_path / "uploads", base_path=base_path, location=location) as tus:
        answer = tus.post({"Upload-Length": "4", "Host": "upload.example:81"})
        origin = "http://upload.example:81" if location == "url" else ""
        assert re.fullmatch(
            rf"{re.escape(origin + base_path.rstrip('/'))}/[0-9a-f]{{32}}", answer["Location"]
        )
        assert tus.pa(tus.location(answer), 0, b"abcd").status == 204


@spec("CORE-GEN-03")
@pytest.mark.parametrize("credentials", ["Basic YTpi", "Bearer x", "nonsense", ""])
def test_nobody_asks_for_credentials_and_given_ones_change_nothing(
    tus: Tus, credentials: str
) -> None:
    given = {"Authorization": credentials, "Cookie": "session=1"}
    answer = tus.post({"Upload-Length": "4", **given})
    assert answer.status == 201
    assert answer.get("WWW-Authenticate") is None
    url = tus.location(answer)
    for headers in ({}, given):
        assert tus.request("HEAD", url, {**VERSION, **headers}).status == 200
    assert without_date(tus.request("OPTIONS", url, given)) == without_date(tus.options(url))
    assert tus.pa(url, 0, b"abcd", given).status == 204
    assert tus.request("DELETE", url, {**VERSION, **given}).status == 204


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    chain, key = directory / "chain.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


@spec("CORE-GEN-04")
def test_uploads_work_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    chain, key = map(str, certificate)
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    trust = ssl.create_default_context(cafile=chain)
    data = os.urandom(300_000)
    with (
        running(app, ssl_certfile=chain, ssl_keyfile=key) as server,
        Wire(server.address, tls=trust) as wire,
    ):
        size = {"Upload-Length": str(len(data)), "Content-Length": "0"}
        url = wire.request("POST", "/files/", {**VERSION, **size})["Location"]
        for offset, end in ((0, 100_000), (100_000, 300_000)):
            piece = data[offset:end]
            answer = wire.request("PATCH", url, patch_headers(offset, len(piece)), piece)
            assert answer.status == 204
            assert wire.request("HEAD", url, VERSION)["Upload-Offset"] == str(end)
        assert wire.request("GET", url).body == data


@contextmanager
def http2_server(app: ASGIApp, certificate: tuple[Path, Path]) -> Iterator[str]:
    """The application behind another ASGI server, one that speaks HTTP/2; gives its URL."""
    listener = listen_tcp("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = map(str, certificate)
    config.alpn_protocols = ["h2"]
    stop = threading.Event()

    async def stopped() -> None:
        await asyncio.to_thread(stop.wait)

    serve = hypercorn.asyncio.serve(app, config, shutdown_trigger=stopped)  # type: ignore[arg-type]
    thread = threading.Thread(target=asyncio.run, args=(serve,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{port}/files/"
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@spec("CORE-GEN-04")
def test_uploads_work_over_http2(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    transport = httpx.HTTPTransport(verify=trust, http1=False, http2=True)
    with (
        http2_server(app, certificate) as creation,
        httpx.Client(transport=transport, headers=VERSION, timeout=15) as client,
    ):
        created = client.post(creation, headers={"Upload-Length": "10"})
        assert (created.status_code, created.http_version) == (201, "HTTP/2")
        assert "checksum-trailer" not in client.options(creation).headers["Tus-Extension"]
        url = created.url.join(created.headers["Location"])
        head = client.head(url)
        assert (head.status_code, head.headers["Upload-Offset"]) == (200, "0")
        for offset, body in ((0, b"hello"), (5, iter((b"wo", b"rld")))):
            headers = {**OCTETS, "Upload-Offset": str(offset)}
            answer = client.patch(url, headers=headers, content=body)
            assert answer.status_code == 204
            assert answer.headers["Upload-Offset"] == str(offset + 5)
        assert client.get(url).content == b"helloworld"
        assert client.delete(url).status_code == 204
        assert client.head(url).status_code == 404


# CORE-VER

METHODS = ("POST", "PATCH", "HEAD", "DELETE", "GET")


def ask(tus: Tus, method: str, url: str, version: Headers) -> Answer:
    """A request that would succeed with the right version: `url` has 0 of 4 bytes."""
    headers = {
        "POST": {"Upload-Length": "4", "Content-Length": "0"},
        "PATCH": {**OCTETS, "Upload-Offset": "0", "Content-Length": "4"},
    }.get(method, {})
    target = tus.creation if method == "POST" else url
    body = b"abcd" if method == "PATCH" else b""
    return tus.request(method, target, [*headers.items(), *dict(version).items()], body)


@spec("CORE-VER-01")
def test_every_success_names_the_version(tus: Tus) -> None:
    url = tus.mk(4)
    answers = [
        tus.post({"Upload-Length": "4"}),
        tus.hd(url),
        tus.pa(url, 0, b"abcd"),
        tus.hd(url),
        tus.get(url),
        tus.get(url, {"Range": "bytes=1-2"}),
        tus.delete(url),
    ]
    assert [answer.status for answer in answers] == [201, 200, 204, 200, 200, 206, 204]
    assert all(answer["Tus-Resumable"] == "1.0.0" for answer in answers)


@spec("CORE-VER-03", "CORE-VER-04", "CORE-VER-05")
@pytest.mark.parametrize(
    "version",
    ["0.0.1", "0.2.2", "1.0.1", "2.0.0", "1.0", "1", "v1.0.0", "1.0.0.0", "01.0.0", "foo", "",
     "1.0.0, 1.0.0", "1.0.0 1.0.0", "1.0.0;q=1"],
)  # fmt: skip
def test_other_versions_are_refused_without_effect(tus: Tus, version: str) -> None:
    url = tus.mk(4)
    for method in METHODS:
        answer = ask(tus, method, url, {"Tus-Resumable": version})
        assert answer.status == 412, method
        assert answer["Tus-Version"] == tus.options()["Tus-Version"]
        assert answer["Tus-Resumable"] == "1.0.0"
        assert answer.get("Location") is None
        assert answer.get("Upload-Offset") is None
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-VER-03")
@pytest.mark.parametrize("version", ["  1.0.0", "1.0.0  ", "\t1.0.0 \t"])
def test_blanks_around_the_version_do_not_matter(tus: Tus, version: str) -> None:
    url = tus.mk(4)
    statuses = [ask(tus, method, url, {"Tus-Resumable": version}).status for method in METHODS[:4]]
    assert statuses == [201, 204, 200, 204]


@spec("CORE-VER-06")
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_change_without_a_version_is_refused(tus: Tus, method: str) -> None:
    url = tus.mk(4)
    answer = ask(tus, method, url, {})
    assert answer.status == 412
    assert answer["Tus-Version"] == "1.0.0"
    assert answer.get("Location") is None
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-VER-06")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_look_without_a_version_is_served(tus: Tus, method: str) -> None:
    answer = ask(tus, method, tus.made(b"abcd"), {})
    assert answer.status == 200
    assert answer["Tus-Resumable"] == "1.0.0"


@spec("CORE-VER-05")
def test_a_version_that_comes_twice_is_refused_without_effect(tus: Tus) -> None:
    url = tus.mk(4)
    headers = [*patch_headers(0, 4).items(), ("Tus-Resumable", "2.0.0")]
    assert tus.request("PATCH", url, headers, b"abcd").status == 400
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-VER-07")
def test_the_list_of_versions_is_one_version(tus: Tus) -> None:
    assert tus.options()["Tus-Version"] == "1.0.0"


@spec("CORE-VER-08")
@pytest.mark.parametrize("on", ["creation", "upload"])
@pytest.mark.parametrize(
    "versions",
    [["0.0.1"], ["foo"], ["1.0.0"], [""], ["1.0.0", "0.0.1"]],
    ids=["old", "foo", "right", "empty", "two"],
)
def test_options_ignores_the_version(tus: Tus, on: str, versions: list[str]) -> None:
    target = tus.creation if on == "creation" else tus.mk(1)
    plain = tus.request("OPTIONS", target)
    answer = tus.request("OPTIONS", target, [("Tus-Resumable", value) for value in versions])
    assert answer.status == plain.status == 200
    assert without_date(answer) == without_date(plain)


# CORE-OPT


@pytest.mark.directory
@spec("CORE-OPT-01", "CORE-OPT-02", "CORE-OPT-03")
@pytest.mark.parametrize("target", ["/files/", "/files"])
def test_options_tells_versions_and_extensions(tus: Tus, target: str) -> None:
    answer = tus.request("OPTIONS", target)
    assert answer.status == 200
    assert answer["Tus-Version"] == "1.0.0"
    assert answer.get("Tus-Resumable") is None
    assert answer.get("Tus-Max-Size") is None
    extensions = answer["Tus-Extension"].split(",")
    assert len(extensions) == len(EXTENSIONS)
    assert set(extensions) == EXTENSIONS


@spec("CORE-OPT-04", "CORE-OPT-05")
@pytest.mark.parametrize(("max_size", "number"), [("10GiB", "10737418240"), ("1", "1")])
def test_the_maximum_is_told_in_bytes(serve: Serve, max_size: str, number: str) -> None:
    tus = serve(max_size=max_size)
    assert tus.options()["Tus-Max-Size"] == number
    assert tus.post({"Upload-Length": str(2**50)}).status == 413


@pytest.mark.directory
@spec("CORE-OPT-05")
def test_no_length_is_too_large_without_a_maximum(tus: Tus) -> None:
    assert tus.options().get("Tus-Max-Size") is None
    # There is no rule against it, only no room on this disk.
    assert tus.post({"Upload-Length": str(2**62)}).status == 507


@spec("CORE-OPT-08")
def test_options_is_the_same_on_every_url(tus: Tus) -> None:
    plain = without_date(tus.options())
    for target in ("/files", tus.mk(4), tus.made(b"abcd"), UNKNOWN, tus.mk(1) + "?x=1"):
        answer = tus.options(target)
        assert answer.status == 200
        assert without_date(answer) == plain


PROBES: dict[str, Callable[[Tus], bool]] = {
    "creation": lambda tus: tus.post({"Upload-Length": "4"}).status == 201,
    "creation-with-upload": lambda tus: (
        tus.post({**OCTETS, "Upload-Length": "4"}, b"ab").get("Upload-Offset") == "2"
    ),
    "creation-defer-length": lambda tus: tus.post({"Upload-Defer-Length": "1"}).status == 201,
    "expiration": lambda tus: tus.hd(tus.mk(4)).get("Upload-Expires") is not None,
    "checksum": lambda tus: (
        tus.pa(tus.mk(4), 0, b"abcd", {"Upload-Checksum": WRONG_SHA1}).status == 460
    ),
    "checksum-trailer": lambda tus: (
        tus.request(
            "PATCH",
            tus.mk(4),
            chunked_headers(0),
            chunked(b"abcd", trailers={"Upload-Checksum": WRONG_SHA1}),
        ).status
        == 460
    ),
    "termination": lambda tus: tus.delete(tus.mk(4)).status == 204,
    "concatenation": lambda tus: join(tus, b"abcd") == 201,
    "concatenation-unfinished": lambda tus: join(tus, b"") == 201,
}


def join(tus: Tus, data: bytes) -> int:
    """The status of joining one partial upload of 4 bytes that has these."""
    answer = tus.post({"Upload-Length": "4", "Upload-Concat": "partial"})
    if answer.status != 201:
        return answer.status
    tus.pa(tus.location(answer), 0, data)
    return tus.post({"Upload-Concat": f"final;{answer['Location']}"}).status


@spec("CORE-OPT-03", "CORE-OPT-09", "CORE-OPT-10")
@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, set()),
        ({"disable_termination": True}, {"termination"}),
        ({"disable_concatenation": True}, {"concatenation", "concatenation-unfinished"}),
        ({"expire_after": "off"}, {"expiration"}),
    ],
    ids=["default", "no termination", "no concatenation", "no expiration"],
)
def test_what_works_is_announced_and_what_is_announced_works(
    serve: Serve, settings: dict[str, Any], missing: set[str]
) -> None:
    tus = serve(**settings)
    announced = set(tus.options()["Tus-Extension"].split(","))
    assert announced == EXTENSIONS - missing
    assert {name for name, works in PROBES.items() if works(tus)} == announced


@spec("CORE-OPT-10")
def test_trailers_are_announced_only_where_the_http_server_hands_them_over(tmp_path: Path) -> None:
    app = create_app(upload_dir=tmp_path / "uploads", access_log=False)
    with running(app, http=H11Protocol) as server:
        tus = Tus(server.address)
        announced = set(tus.options()["Tus-Extension"].split(","))
        assert announced == EXTENSIONS - {"checksum-trailer"}
        assert {name for name, works in PROBES.items() if works(tus)} == announced


# CORE-HDR


@spec("CORE-HDR-01", "CORE-HDR-02")
def test_offsets_and_lengths_in_answers_are_plain_numbers(tus: Tus) -> None:
    created = tus.post({**OCTETS, "Upload-Length": "007"}, b"ab")
    url, later = tus.location(created), tus.mk(None)
    answers = [
        created, tus.hd(url), tus.pa(url, 5, b"x"), tus.pa(url, "002", b"cdefg"), tus.hd(url),
        tus.pa(later, 0, b"abc"), tus.pa(later, 3, b"", {"Upload-Length": "3"}), tus.hd(later),
    ]  # fmt: skip
    offsets = ["2", "2", "2", "7", "7", "3", "3", "3"]
    lengths = [None, "7", None, None, "7", None, None, "3"]
    assert [answer["Upload-Offset"] for answer in answers] == offsets
    assert [answer.get("Upload-Length") for answer in answers] == lengths


@spec("CORE-HDR-03")
def test_the_override_makes_patch_head_get_and_delete_of_post(tus: Tus) -> None:
    url = tus.mk(4)
    with tus.wire() as wire:

        def post(method: str, headers: dict[str, str], body: bytes = b"") -> Answer:
            given = {**VERSION, "X-HTTP-Method-Override": method, **headers}
            return wire.request("POST", url, given, body)

        patched = post("PATCH", patch_headers(0, 4), b"abcd")
        assert (patched.status, patched["Upload-Offset"]) == (204, "4")
        looked = post("HEAD", {})
        assert (looked.status, looked["Upload-Offset"], looked["Upload-Length"]) == (200, "4", "4")
        # On the wire it answers a POST, so that its length must be that of its body.
        assert (looked["Content-Length"], looked.body) == ("0", b"")
        assert post("GET", {}).body == b"abcd"
        assert post("OPTIONS", {})["Tus-Version"] == "1.0.0"
        assert post("DELETE", {"Content-Length": "0"}).status == 204
    assert tus.hd(url).status == 404


@spec("CORE-HDR-03")
@pytest.mark.parametrize("version", [{}, {"Tus-Resumable": "2.0.0"}], ids=["none", "other"])
def test_an_overridden_method_obeys_the_rules_of_its_own(tus: Tus, version: dict[str, str]) -> None:
    url = tus.made(b"abcd")
    override = {"X-HTTP-Method-Override": "DELETE", "Content-Length": "0"}
    assert tus.request("POST", url, {**version, **override}).status == 412
    assert tus.content(url) == b"abcd"


@spec("CORE-HDR-05")
def test_the_override_is_ignored_on_other_methods(tus: Tus) -> None:
    url = tus.made(b"abcd")
    override = {**VERSION, "X-HTTP-Method-Override": "DELETE"}
    statuses = {"GET": 200, "HEAD": 200, "OPTIONS": 200, "PUT": 405, "PATCH": 415}
    for method, status in statuses.items():
        assert tus.request(method, url, override).status == status
    assert tus.pa(url, 4, b"", override).status == 204
    assert tus.content(url) == b"abcd"


@spec("CORE-HDR-05")
@pytest.mark.parametrize("on", ["creation", "upload"])
@pytest.mark.parametrize("overrides", [["FOO"], [""], ["patch"], ["PATCH", "PATCH"], ["PUT"]])
def test_an_override_that_cannot_be_meant_is_refused(
    tus: Tus, on: str, overrides: list[str]
) -> None:
    url = tus.mk(4)
    headers = [*patch_headers(0, 4, {"Upload-Length": "4"}).items()]
    headers += [("X-HTTP-Method-Override", value) for value in overrides]
    target = tus.creation if on == "creation" else url
    answer = tus.request("POST", target, headers, b"abcd")
    assert answer.status == 400
    assert answer.get("Location") is None
    tus.assert_intact(url, 0, b"abcd")


@spec("CORE-HDR-05")
def test_an_override_on_the_creation_url_creates_nothing(tus: Tus) -> None:
    for method in ("PATCH", "HEAD", "DELETE", "GET"):
        answer = tus.post({"Upload-Length": "4", "X-HTTP-Method-Override": method})
        assert answer.status == 405
        assert answer["Allow"] == "POST, OPTIONS"
        assert answer.get("Location") is None


def lower(name: str, value: str) -> tuple[str, str]:
    return name.lower(), value


def upper(name: str, value: str) -> tuple[str, str]:
    return name.upper(), value


def padded(name: str, value: str) -> tuple[str, str]:
    return name, f"  {value} \t "


@spec("CORE-HDR-06")
@pytest.mark.parametrize("spelling", [lower, upper, padded])
def test_the_spelling_of_names_and_blanks_around_values_do_not_matter(
    tus: Tus, spelling: Callable[[str, str], tuple[str, str]]
) -> None:
    def send(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        return tus.request(method, target, [spelling(*pair) for pair in headers.items()], body)

    size = {"Upload-Length": "10", "Upload-Metadata": "k YQ==", "Content-Length": "0"}
    url = send("POST", tus.creation, {**VERSION, **size})["Location"]
    assert send("PATCH", url, patch_headers(0, 5), b"hello").status == 204
    head = send("HEAD", url, VERSION)
    assert (head["Upload-Offset"], head["Upload-Metadata"]) == ("5", "k YQ==")
    override = {**patch_headers(5, 5), "X-HTTP-Method-Override": "PATCH"}
    assert send("POST", url, override, b"world").status == 204
    assert tus.content(url) == b"helloworld"
    assert send("DELETE", url, VERSION).status == 204


# The form of refusals


def assert_refused(answer: Answer, status: int, code: str, accept: dict[str, str]) -> None:
    """The form of a refusal: a stable code and one short sentence, for people or for programs."""
    assert answer.status == status, answer
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    if accept:
        assert answer["Content-Type"] == "application/json"
        found = json.loads(answer.body)
        assert found.keys() == {"code", "message"}
        line = f"{found['code']}: {found['message']}\n"
    else:
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        line = answer.body.decode()
    assert re.fullmatch(rf"{code}: [^\r\n]{{10,300}}\n", line), line


@spec("CORE-VER-01")
@pytest.mark.parametrize("accept", [{}, JSON], ids=["text", "json"])
@pytest.mark.parametrize(
    ("status", "code", "method", "headers"),
    [
        (400, "ERR_MALFORMED_REQUEST", "PATCH", [("Host", 'a"b'), *VERSION.items()]),
        (400, "ERR_REPEATED_HEADER", "DELETE", [*VERSION.items(), *VERSION.items()]),
        (400, "ERR_INVALID_METHOD_OVERRIDE", "POST", [("X-HTTP-Method-Override", "FOO")]),
        (404, "ERR_UPLOAD_NOT_FINISHED", "GET", []),
        (405, "ERR_METHOD_NOT_ALLOWED", "PUT", [*VERSION.items()]),
        (405, "ERR_METHOD_NOT_ALLOWED", "POST", [*VERSION.items()]),
        (412, "ERR_UNSUPPORTED_VERSION", "GET", [("Tus-Resumable", "2.0.0")]),
        (412, "ERR_UNSUPPORTED_VERSION", "DELETE", []),
    ],
)
def test_refusals_have_a_version_a_code_and_a_sentence(
    tus: Tus,
    status: int,
    code: str,
    method: str,
    headers: list[tuple[str, str]],
    accept: dict[str, str],
) -> None:
    answer = tus.request(method, tus.mk(4), [*headers, *accept.items()])
    assert_refused(answer, status, code, accept)
    if status == 405:
        assert answer["Allow"] == "HEAD, PATCH, DELETE, GET, OPTIONS"


@spec("CORE-VER-01")
@pytest.mark.parametrize(
    ("status", "fault"),
    [(400, "Content-Length: x"), (431, f"Upload-Metadata: {200_000 * 'k'}")],
    ids=["malformed", "too large"],
)
def test_what_is_no_request_is_refused_with_the_version_too(
    tus: Tus, status: int, fault: str
) -> None:
    with tus.wire() as wire:
        request = f"POST {tus.creation} HTTP/1.1\r\nHost: localhost\r\n{fault}\r\n\r\n"
        wire.send(request.encode())
        answer = wire.answer("POST")
        assert answer.status == status
        assert re.fullmatch(r"ERR_[A-Z_]+: [^\r\n]+\n", answer.body.decode())
        assert wire.is_ended()
        assert answer["Tus-Resumable"] == "1.0.0"
