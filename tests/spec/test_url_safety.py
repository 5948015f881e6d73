"""ROB-SEC: URLs and input that are meant to break out, to leak, or to bring the server down."""

from __future__ import annotations

import base64
import os
import shutil
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.spec.test_numbers import ABSURD, spellings
from tests.spec_ids import spec
from tests.tus import OCTETS, VERSION, Tus, chunked_headers, eventually, patch_headers
from tests.wire import Answer, ConnectionEnded, chunked, head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Serve

SECRET = b"not an upload of this server"


def id_of(tus: Tus, url: str) -> str:
    return url.removeprefix(tus.creation)


def ask_all(tus: Tus, target: str) -> Iterator[tuple[str, Answer]]:
    """Each method that could read or change an upload, DELETE last."""
    yield "HEAD", tus.request("HEAD", target, VERSION)
    yield "GET", tus.request("GET", target)
    yield "PATCH", tus.request("PATCH", target, patch_headers(0, 1), b"x")
    yield "DELETE", tus.request("DELETE", target, VERSION)


def assert_no_upload(tus: Tus, target: str, *, status: int = 404) -> None:
    for method, answer in ask_all(tus, target):
        assert answer.status == status, (method, target)
        assert answer.get("Upload-Offset") is None
        assert answer.get("Upload-Length") is None
        assert SECRET not in answer.body
        assert b"root:" not in answer.body


TRAVERSALS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cwin.ini",
    "..\\..\\win.ini",
    "....//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cwin.ini",
    "file:///etc/passwd",
    "{id}/../{id}",
    "{id}%2f..%2f{id}",
    "{id}/../../outside",
    "./{id}",
    "%2e/{id}",
    "{id}/.",
    ".",
    "..",
    "../",
    "%2e%2e",
    "%00",
    "{id}%00",
    "{id}%00.x",
    "../outside",
    "..%2foutside",
    "%2e%2e%2foutside",
    "..%c0%afoutside",
    ".%2e/outside",
    "x/../../outside",
    "{outside}",
    "%2f{outside}",
]


@pytest.fixture(scope="module")
def fenced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tus, Path]]:
    """A server, and the directory in which its upload directory lies."""
    around = tmp_path_factory.mktemp("fenced")
    with serving(around / "uploads") as tus:
        yield tus, around


@pytest.fixture
def bait(fenced: tuple[Tus, Path]) -> Path:
    """What lies outside and would pass for an upload if a URL led there."""
    tus, around = fenced
    inside = around / "uploads" / id_of(tus, tus.made(SECRET))
    shutil.copy(inside, around / "outside")
    shutil.copy(f"{inside}.info", around / "outside.info")
    return around / "outside"


@pytest.mark.parametrize("traversal", TRAVERSALS)
@spec("ROB-SEC-01")
def test_no_url_leads_out_of_the_uploads(
    fenced: tuple[Tus, Path], bait: Path, traversal: str
) -> None:
    tus, _ = fenced
    url = tus.mk(5)
    name = traversal.format(id=id_of(tus, url), outside=str(bait).removeprefix("/"))
    assert_no_upload(tus, f"{tus.creation}{name}")
    assert bait.read_bytes() == SECRET
    assert bait.with_suffix(".info").exists()
    tus.assert_intact(url, 0, b"hello")
    assert tus.content(url) == b"hello"


@pytest.mark.parametrize(
    ("creation", "status"),
    [("/../files/", 404), ("/./files/", 404), ("//files/", 404), ("/files/../files/", 405)],
)
@spec("ROB-SEC-01")
def test_detours_to_the_creation_url_create_nothing(tus: Tus, creation: str, status: int) -> None:
    headers = {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
    answer = tus.request("POST", creation, headers)
    assert answer.status == status
    assert answer.get("Location") is None


ODD = {
    "a bare percent": "%",
    "no hex digits": "%zz",
    "half an escape": "{id}%2",
    "not UTF-8": "%ff",
    "overlong UTF-8": "%c0%ae",
    "a surrogate": "%ed%a0%80",
    "8 KiB": "a" * 8192,
    "8 KiB of segments": "a/" * 4096 + "a",
    "513 characters": "a" * 513,
    "longer than a file name": "a" * 255,
    "a Windows device": "CON",
    "a star": "*",
    "a pipe": "|id",
    "a semicolon": ";id",
    "parameters": "{id};x=1",
    "emoji": "%F0%9F%98%80",
    "a blank": "{id}%20",
    "a dot behind": "{id}%2e",
    "DEL": "%7f",
    "a line end behind": "{id}%0a",
    "markup": "%3cscript%3ealert(1)%3c%2fscript%3e",
    "a template": "%7b%7b7*7%7d%7d",
    "a format": "%25s%25n",
    "SQL": "'%20OR%20'1'='1",
}


LINE_ENDS = ["a%0ab", "a%0Ab%0A", "%0d%0aSet-Cookie:%20pwn=1"]


@pytest.mark.parametrize("name", ODD.values(), ids=list(ODD))
@spec("ROB-SEC-02")
def test_odd_ids_are_unknown_uploads(tus: Tus, name: str) -> None:
    url = tus.mk(5)
    target = f"{tus.creation}{name.format(id=id_of(tus, url))}"
    assert_no_upload(tus, target)
    for _, answer in ask_all(tus, target):
        assert answer["Tus-Resumable"] == "1.0.0"
        assert answer.get("Set-Cookie") is None
        assert b"<script" not in answer.body
        assert b"Traceback" not in answer.body
    tus.assert_intact(url, 0, b"hello")


@pytest.mark.parametrize("name", LINE_ENDS)
@spec("ROB-SEC-02", "ROB-CORS-04")
def test_ids_with_a_line_end_are_unknown_uploads_like_any_other(tus: Tus, name: str) -> None:
    target = f"{tus.creation}{name}"
    assert_no_upload(tus, target)
    for headers in (VERSION, {**VERSION, "Origin": "https://app.example"}):
        answer = tus.request("HEAD", target, headers)
        assert answer.get("Set-Cookie") is None
        assert answer["Tus-Resumable"] == "1.0.0"
    assert answer["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("name", ["\U0001f600".encode().decode("latin-1"), "\xff", "a b", "\x7f"])
@spec("ROB-SEC-02")
def test_raw_bytes_that_no_url_may_have_are_malformed(tus: Tus, name: str) -> None:
    assert_no_upload(tus, f"{tus.creation}{name}", status=400)


@pytest.mark.directory
@spec("ROB-SEC-03")
def test_side_files_are_not_uploads(serve: Serve, tmp_path: Path) -> None:
    tus = serve()
    upload_dir = tmp_path / "uploads"
    url = tus.mk(11)
    checksum = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    with tus.begin_patch(url, 0, 11, checksum) as wire:
        wire.send(b"hello")
        marker = upload_dir / f"{id_of(tus, url)}.marker"
        eventually(marker.exists)
        before = {str(path) for path in upload_dir.rglob("*")}
        suffixes = ("info", "json", "meta", "lock", "part", "tmp", "marker", "damaged", "stop")
        for suffix in suffixes:
            assert_no_upload(tus, f"{url}.{suffix}")
            assert_no_upload(tus, f"{url}%2e{suffix}")
        for name in (".{}", "{}~", "{}.info.info", "{}.INFO", "{}.", "{}/.info", "{}%00.info"):
            assert_no_upload(tus, f"{tus.creation}{name.format(id_of(tus, url))}")
        assert {str(path) for path in upload_dir.rglob("*")} == before
        wire.send(b" world")
        assert wire.answer("PATCH").status == 204
    assert tus.content(url) == b"hello world"


@pytest.mark.parametrize("suffix", [".info", ".marker", ".damaged", ".lock", ".stop"])
@spec("ROB-SEC-03")
def test_a_side_file_is_no_upload_even_with_a_record_of_its_own(
    fenced: tuple[Tus, Path], suffix: str
) -> None:
    tus, around = fenced
    url = tus.made(SECRET)
    own = around / "uploads" / id_of(tus, url)
    record = own.with_suffix(".info").read_bytes()
    side = own.with_suffix(suffix)
    if not side.exists():
        side.write_bytes(SECRET)
    side.with_suffix(f"{suffix}.info").write_bytes(record)
    assert_no_upload(tus, f"{url}{suffix}")
    assert side.exists()
    if suffix != ".marker":  # With one the upload is no longer what it was.
        assert tus.content(url) == SECRET


@spec("ROB-SEC-03")
def test_our_own_directory_is_no_upload(serve: Serve, tmp_path: Path) -> None:
    tus = serve(lock="file")
    part = tus.mk(5, {"Upload-Concat": "partial"})
    assert tus.post({"Upload-Concat": f"final;{part}"}).status == 201
    names = [
        str(path.relative_to(tmp_path / "uploads"))
        for path in (tmp_path / "uploads" / ".tusserver").rglob("*")
    ]
    assert ".tusserver/locks" in names
    for name in (".tusserver", ".tusserver/", *names):
        assert_no_upload(tus, f"{tus.creation}{name}")
        assert_no_upload(tus, f"{tus.creation}{name.replace('.', '%2e').replace('/', '%2f')}")
    assert all((tmp_path / "uploads" / name).exists() for name in names)


@spec("ROB-SEC-04")
def test_an_upload_url_with_a_slash_behind_is_another_one(tus: Tus) -> None:
    url = tus.mk(5)
    for slashes in ("/", "//", "%2f"):
        assert_no_upload(tus, f"{url}{slashes}")
    tus.assert_intact(url, 0, b"hello")


@pytest.mark.parametrize("base_path", ["/files/", "/files", "/a/b/"])
@spec("ROB-SEC-04")
def test_the_creation_url_needs_no_slash_behind(serve: Serve, base_path: str) -> None:
    tus = serve(base_path=base_path)
    for target in (base_path.rstrip("/"), base_path.rstrip("/") + "/"):
        headers = {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
        answer = tus.request("POST", target, headers)
        assert answer.status == 201
        assert answer["Location"].startswith(base_path.rstrip("/") + "/")
        tus.assert_intact(answer["Location"], 0, b"hello")


@pytest.mark.parametrize("rest", ["?x=1", "?../..", "?", "?a=%00&b=%ff", "#part", "?x#y"])
@spec("ROB-SEC-05")
def test_a_query_changes_nothing(tus: Tus, rest: str) -> None:
    headers = {**VERSION, "Upload-Length": "5", "Content-Length": "0"}
    for creation in (tus.creation, tus.creation.rstrip("/")):
        answer = tus.request("POST", f"{creation}{rest}", headers)
        assert answer.status == 201
        url = tus.location(answer)
        assert answer["Location"] == url
        assert id_of(tus, url).isalnum()
        assert tus.pa(f"{url}{rest}", 0, b"he").status == 204
        assert tus.off(f"{url}{rest}") == 2
        tus.assert_intact(url, 2, b"llo")
        assert tus.content(f"{url}{rest}") == b"hello"
        assert tus.delete(f"{url}{rest}").status == 204
        assert tus.hd(url).status == 404


@spec("ROB-SEC-06")
def test_ids_cannot_be_guessed(tus: Tus) -> None:
    headers = {**VERSION, "Upload-Length": "0", "Content-Length": "0"}
    with tus.wire() as wire:
        ids = [
            id_of(tus, tus.location(wire.request("POST", tus.creation, headers)))
            for _ in range(100)
        ]
    assert {len(upload_id) for upload_id in ids} == {32}
    numbers = [int(upload_id, 16) for upload_id in ids]
    always_set, ever_set = 2**128 - 1, 0
    for number in numbers:
        always_set, ever_set = always_set & number, ever_set | number
    # Each of the 128 bits is seen in both states: no part is a counter, a clock or a name.
    assert (always_set, ever_set) == (0, 2**128 - 1)
    steps = [after - before for before, after in pairwise(numbers)]
    assert len(set(steps)) == 99
    assert 10 < sum(step > 0 for step in steps) < 90


def failing_requests(serve: Serve, upload_dir: Path) -> dict[str, Answer]:
    """A refusal of each kind, some of a disk that fails; the status stands first in the name."""
    tus = serve()
    url, broken, damaged = tus.mk(5), tus.mk(5), tus.mk(5)
    for name, content in ((broken, None), (damaged, "{'no': record")):
        record = upload_dir / f"{id_of(tus, name)}.info"
        record.unlink()
        if content is None:
            record.symlink_to(record)
        else:
            record.write_text(content)
    script = "<script>alert(1)</script>"
    return {
        "400 length": tus.post({"Upload-Length": script}),
        "400 metadata": tus.post({"Upload-Length": "5", "Upload-Metadata": f"a {script}"}),
        "400 concat": tus.post({"Upload-Concat": f"final;../../etc/{script}"}),
        "400 offset": tus.pa(url, script, b"x"),
        "400 checksum": tus.pa(url, 0, b"x", {"Upload-Checksum": f"{script} AAAA"}),
        "400 host": tus.request("OPTIONS", tus.creation, {"Host": script}),
        "400 HTTP": tus.request("OPTIONS", tus.creation, {"A": "\0"}),
        "404 id": tus.get(f"{tus.creation}{script}"),
        "404 elsewhere": tus.get(f"/{script}"),
        "405 method": tus.request("PUT", url, VERSION),
        "409 offset": tus.pa(url, 3, b"x"),
        "410 damaged": tus.pa(damaged, 0, b"x"),
        "410 damaged GET": tus.get(damaged),
        "412 version": tus.delete(url, {"Tus-Resumable": script}),
        "413 length": tus.pa(url, 0, b"longer than that"),
        "415 type": tus.pa(url, 0, b"x", {"Content-Type": script}),
        "423 storage": tus.get(broken),
        "431 head": tus.options(A="x" * 200_000),
        "460 checksum": tus.pa(url, 0, b"x", {"Upload-Checksum": "crc32 AAAAAA=="}),
        "500 storage": tus.pa(broken, 0, b"x"),
        "500 DELETE": tus.delete(broken),
        "507 room": tus.post({"Upload-Length": str(2**62)}),
    }


@pytest.mark.directory
@spec("ROB-SEC-07")
def test_refusals_tell_nothing_of_the_inside(serve: Serve, tmp_path: Path) -> None:
    telltale = [
        str(tmp_path),
        os.getcwd(),
        "Traceback",
        'File "',
        ".py",
        "Errno",
        "Error(",
        "levels",
    ]
    for name, answer in failing_requests(serve, tmp_path / "uploads").items():
        assert answer.status == int(name.split()[0]), (name, answer)
        assert answer["Content-Type"] == "text/plain; charset=utf-8", name
        text = answer.body.decode()
        assert text, name
        assert not [word for word in telltale if word in text], (name, text)
        assert len(text) < 500, name


@spec("ROB-SEC-07")
def test_refusals_are_json_for_those_who_ask_for_it(tus: Tus) -> None:
    script = "<script>alert(1)</script>"
    for answer in (
        tus.post({"Upload-Length": script, "Accept": "application/json"}),
        tus.get(f"{tus.creation}{script}", {"Accept": "text/html, application/json;q=0.9"}),
    ):
        assert answer["Content-Type"] == "application/json"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert b"Traceback" not in answer.body


ACTIVE = {
    "html": "text/html",
    "html in capitals": "TEXT/HTML",
    "html with parameters": "text/html; charset=utf-8",
    "svg": "image/svg+xml",
    "xhtml": "application/xhtml+xml",
    "xml": "text/xml",
    "script": "text/javascript",
    "pdf": "application/pdf",
    "none": "",
    "nonsense": "text",
    "a header": "text/html\r\nX-Evil: 1",
    "multipart": "multipart/x-mixed-replace",
}


@pytest.mark.parametrize("key", ["filetype", "type"])
@pytest.mark.parametrize("content_type", ACTIVE.values(), ids=list(ACTIVE))
@spec("ROB-SEC-08")
def test_what_is_uploaded_cannot_act_in_a_browser(tus: Tus, content_type: str, key: str) -> None:
    data = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    name, filetype = (
        base64.b64encode(part).decode() for part in (b"a.html", content_type.encode())
    )
    url = tus.made(data, {"Upload-Metadata": f"filename {name},{key} {filetype}".rstrip()})
    for answer in (tus.get(url), tus.get(url, {"Range": "bytes=0-9"})):
        assert answer.status in (200, 206)
        assert data.startswith(answer.body)
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Disposition"].partition(";")[0] == "attachment"
        assert "sandbox" in answer["Content-Security-Policy"]
        assert answer.get("X-Evil") is None


@spec("ROB-SEC-08")
def test_what_is_uploaded_without_a_name_is_inert_too(tus: Tus) -> None:
    answer = tus.get(tus.made(b"<html><script>alert(1)</script>"))
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"] == "attachment"


@spec("ROB-SEC-10")
def test_the_case_of_ids_matters(tus: Tus) -> None:
    url = tus.mk(5)
    name = id_of(tus, url)
    assert name.upper() != name  # In 2^128 ids there is one without a letter per three million.
    assert_no_upload(tus, f"{tus.creation}{name.upper()}")
    assert_no_upload(tus, f"{tus.creation}{name.title()}")
    tus.assert_intact(url, 0, b"hello")


# What follows is for ROB-SEC-09: whatever may bring a server down, as raw requests.

NUMBERS = [*spellings(0).values(), *spellings(5).values(), *ABSURD.values()]
FILENAMES = [
    *(b"../../../../tmp/pwn", b"/abs", b"a\0b", b'x"\r\nSet-Cookie: pwn=1\r\n\r\n', b"\xff\xfe"),
    *(b"\xed\xa0\x80", "\u202egnp.exe".encode(), b"a" * 5000, b"\n" * 300, b"%s%n", b"'"),
]
FILETYPES = [
    *(
        b"text/html\r\nX-Evil: 1",
        b"\0",
        b"a/" + b"b" * 5000,
        "text/\u00fc".encode(),
        b"/",
        b"a/b/c",
    ),
]
METADATA = [
    *(",", "a YQ==,", ",a YQ==", "a  YQ==", "a YQ== x", "a;YQ==", "a YQ==,a Yg==", "a \xff"),
    *("a !!!!", "a YQ=", "a YQ", "a Y=Q=", "a YQ==YQ==", "a YQ==\tx", "a -_-_", "\xff YQ=="),
    *("constructor YQ==", "__proto__ YQ==", "file/name YQ==", ".. YQ==", "a=b YQ==", "k,l"),
    *("id YQ==", "length YQ==", "offset YQ==", "ID YQ==", "Size YQ==", "tusserver YQ=="),
    *(f"filename {base64.b64encode(name).decode()}" for name in FILENAMES),
    *(f"filetype {base64.b64encode(kind).decode()}" for kind in FILETYPES),
    *(",".join(f"k{index} YQ==" for index in range(count)) for count in (1000, 5000)),
    "a " + "YWFh" * 16384,
]
CHECKSUMS = [
    *("", "sha1", "sha1 ", "sha1 ???", "sha1 AAAA", "sha1  AAAA", "sha1 AAAA x", "SHA1 AAAA"),
    *("foo123 AAAA", "sha1 AAAA,md5 AAAA", "\xff \xff", "shake_128 AAAA", "a" * 9999, "md5 \0"),
]
CONCATS = [
    *("", "final", "final;", "final;,", "PARTIAL", "partial;x", "foo", "final;/", "final;?"),
    *("final;http://[::1", "final;file:///etc/passwd", "final;//", "final;%", "final;\xff"),
    *("final;http://[v1.x]/files/x", "final;http://a:b@c:99999999/files/x", "final;mailto:x"),
    *("final;" + "../" * 9999, "final;" + "x " * 9999, "final;http://\xe2\x84\x80/", "final;{url}"),
]
VERSIONS = ["", "0.0.1", "2.0.0", "1.0", "foo", "1.0.0, 1.0.0", "\xff", "9" * 5000]
OVERRIDES = ["", "FOO", "patch", "POST", "PUT", "CONNECT", "HEAD", "GET", "OPTIONS", "\xff"]
OTHERS = {
    "Content-Type": ["", ";", "application/offset+octet-stream;", "\xff", "a" * 70_000],
    "Content-Encoding": ["gzip", "br, gzip", "identity", "", "\xff"],
    "Host": ["", "a\tb", 'evil"><x>', "a b", "[::1", "[", ":", "a:b:c", "\xff", "a" * 70_000, "@"],
    "Expect": ["", "foo", "100-continue, foo", "\xff"],
    "Accept": ["", "application/json", "\xff", "a" * 70_000],
    "Origin": ["", "null", "\xff", "https://" + "a" * 70_000],
    "X-Forwarded-For": ["", "x", "\xff", "1.2.3.4," * 5000, "[::1", "%"],
    "X-Forwarded-Host": ["", "[", "\xff", "a b", "a" * 70_000],
    "X-Forwarded-Proto": ["", "gopher", "\xff", "https," * 5000],
    "X-Forwarded-Prefix": ["", "/", "//", "/../..", "/%zz", "/\xff", "/a b", "/" + "a" * 70_000],
    "Forwarded": ["", "=", 'for="[::1', ";" * 5000, "\xff", "host=a b"],
}
DATES = [
    *("x", "0", "\xff", "1" * 5000, "Wed, 99 Foo 2014 99:99:99 GMT", "Wed, 21 Oct 99999 07:28"),
    *("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359", "1 Jan 1 1:1 +9999"),
    *("Fri, 31 Dec 2014 23:59:59 +" + "9" * 20, "Fri, 31 Dec " + "9" * 20 + " 23:59:59 GMT"),
    *("Fri, 31 Dec 2014 23:59:59 -" + "9" * 12, "Fri, 31 Dec 2014 23:59:" + "9" * 20 + " GMT"),
    *("Fri, " + "9" * 20 + " Dec 2014 23:59:59 GMT", "Fri, \xb2 Dec 2014 23:59:59 GMT", ", , , ,"),
]
CONDITIONS = {
    "Range": [
        *("bytes=5-1", "bytes=-", "bytes=", "bytes=-0", "chars=0-1", "\xff", "bytes=\xb2-"),
        *("bytes=0-" + "9" * 5000, "bytes=-" + "9" * 19, "bytes=" + "9" * 19 + "-"),
        *("bytes=0-0," * 999, "bytes=+1-2", "bytes=0x0-1", "bytes=" + "9" * 19 + "-" + "9" * 19),
    ],
    "If-Modified-Since": DATES,
    "If-Range": [*DATES, '"', 'W/"x"'],
    "If-None-Match": ["*", ",", '"', "W/", "\xff", "," * 9999],
}
PATHS = [*TRAVERSALS, *ODD.values(), *LINE_ENDS, "{id}.info", ".tusserver", "", "?" + "x" * 9999]
TARGETS = ["*", "/", "//", "localhost:80", "http://", "http://a b/", "/files/" * 9999, "", "\xff"]
METHODS = ["HEAD", "GET", "PATCH", "DELETE", "POST", "PUT", "TRACE", "OPTIONS"]
LINES = [
    *(b"A: b\rc", b"A: b\0c", b"A : b", b"A: b\r\n c", b": b", b"A", b"A: \x01\x7f", b"\xff: b"),
    *(b"Host: other", b"Upgrade: websocket\r\nConnection: Upgrade", b"Connection: " + b"x," * 999),
    *(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",),
    *(b"Transfer-Encoding: gzip", b"Transfer-Encoding: x", b"Transfer-Encoding: ,chunked"),
    *(b"A: " + b"x" * size for size in (16_384, 65_536, 1_048_576)),
    *(b"\r\n".join([b"A: b"] * count) for count in (100, 1000, 10_000)),
]
CHUNK_SIZES = [b"zz", b"-1", b"f" * 18, b"", b" ", b"0x5", b"+5", b"5;" + b"x" * 70_000, b"\xff"]
CHUNKED_BODIES = [
    *(size + b"\r\nhello\r\n0\r\n\r\n" for size in CHUNK_SIZES),
    *(b"2\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\nhello\n0\n\n", b"\0" * 99),
    *(chunked(b"too long for this upload"), chunked(b"hello", trailers={"": "x"})),
    *(chunked(b"hello", trailers={name: "0"}) for name in patch_headers(0, 0)),
    *(chunked(b"hello", trailers={"Upload-Checksum": checksum}) for checksum in CHECKSUMS),
]


def hostile_creations(tus: Tus) -> Iterator[bytes]:
    """Creations that are good but for one value."""
    tables = {
        "Upload-Length": NUMBERS,
        "Upload-Defer-Length": NUMBERS,
        "Upload-Metadata": METADATA,
        "Upload-Concat": [concat.replace("{url}", tus.mk(5)) for concat in CONCATS],
        **OTHERS,
    }
    for name, values in tables.items():
        for value in values:
            length = (
                {} if name in ("Upload-Defer-Length", "Upload-Concat") else {"Upload-Length": "5"}
            )
            yield head(
                "POST", tus.creation, {**VERSION, "Content-Length": "0", **length, name: value}
            )
    for checksum in CHECKSUMS:
        headers = {**VERSION, **OCTETS, "Upload-Length": "0", "Upload-Checksum": checksum}
        yield head("POST", tus.creation, headers)


def hostile_appends(url: str, deferred: str) -> Iterator[bytes]:
    """Requests on an upload that are good but for one value, or not even good without it."""
    tables = {"Upload-Offset": NUMBERS, "Upload-Length": NUMBERS, "Upload-Checksum": CHECKSUMS}
    for name, values in tables.items():
        for value in values:
            yield head("PATCH", url, patch_headers(0, 5, {name: value})) + b"hello"
    for name, values in {**OTHERS, "Tus-Resumable": VERSIONS, "Content-Length": NUMBERS}.items():
        for value in values:
            yield head("PATCH", url, patch_headers(1, 5, {name: value})) + b"hello"
    for length in (2**31, 2**62, 2**63 - 1):
        yield head("PATCH", deferred, patch_headers(1, length))
        yield head("PATCH", deferred, patch_headers(0, 2**62, {"Upload-Length": str(length)}))
    for override in OVERRIDES:
        yield head("POST", url, {**patch_headers(1, 0), "X-HTTP-Method-Override": override})
    for codings in ("chunked", "chunked, chunked", "xchunked", "gzip, chunked", "identity", ""):
        both = patch_headers(1, 5, {"Transfer-Encoding": codings})
        yield head("PATCH", url, both) + b"5\r\nhello\r\n0\r\n\r\n"


def hostile_chunks(tus: Tus) -> Iterator[bytes]:
    """Bodies whose framing or trailers are not right, each for an upload of its own."""
    for body in CHUNKED_BODIES:
        for announced in ({}, {"Trailer": "Upload-Checksum"}):
            yield head("PATCH", tus.mk(5), chunked_headers(0, announced)) + body


def hostile_downloads(tus: Tus, url: str) -> Iterator[bytes]:
    """Conditions and ranges on a finished upload, and uploads with odd descriptions."""
    for name, values in CONDITIONS.items():
        for value in values:
            yield head("GET", url, {"Range": "bytes=0-1", name: value})
    for metadata in METADATA:
        created = tus.post({"Upload-Length": "0", "Upload-Metadata": metadata})
        if created.status == 201:
            yield head("GET", tus.location(created))
            yield head("HEAD", tus.location(created), VERSION)


def hostile_targets(tus: Tus, url: str) -> Iterator[bytes]:
    """Every method on every odd path, and on what is no path."""
    for name in PATHS:
        target = tus.creation + name.replace("{id}", id_of(tus, url)).replace("{outside}", "tmp/x")
        for method in METHODS:
            yield head(method, target, {**patch_headers(1, 0), "Upload-Length": "5"})
    for target in TARGETS:
        for method in (*METHODS, "CONNECT", "FOO", "PROPFIND", "patch", "M" * 5000, "", "\xff"):
            yield head(method, target, VERSION)


def hostile_messages(url: str) -> Iterator[bytes]:
    """What is hardly HTTP, or HTTP that nobody sends."""
    start = b"OPTIONS /files/ HTTP/1.1\r\nHost: localhost\r\n"
    for line in LINES:
        yield start + line + b"\r\n\r\n"
    for version in (
        b"HTTP/1.0",
        b"HTTP/0.9",
        b"HTTP/9.9",
        b"HTTP/11",
        b"FTP/1.0",
        b"http/1.1",
        b"",
    ):
        yield b"GET %s %s\r\nHost: localhost\r\n\r\n" % (url.encode(), version)
    yield b"OPTIONS /files/ HTTP/1.1\r\n\r\n"
    yield b"OPTIONS /files/ HTTP/1.1\nHost: localhost\n\n"
    yield b"OPTIONS /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield bytes.fromhex("16030100c8010000c40303") + bytes(200)  # TLS
    yield bytes(range(128, 256)) * 100


def hostile_requests(tus: Tus, url: str, finished: str) -> Iterator[bytes]:
    """All of it; nothing may come of any for the upload at `url`, which is empty."""
    yield from hostile_creations(tus)
    yield from hostile_appends(url, tus.mk(None))
    yield from hostile_chunks(tus)
    yield from hostile_downloads(tus, finished)
    yield from hostile_targets(tus, url)
    yield from hostile_messages(url)


def status_of(tus: Tus, raw: bytes) -> int:
    """The status that this request gets, 0 if its connection is closed without one."""
    with tus.wire() as wire, suppress(ConnectionEnded):
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send(raw)
        return wire.answer("HEAD" if raw.startswith(b"HEAD ") else "GET").status
    return 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="default"),
        pytest.param({"behind_proxy": True, "location": "url", "max_size": "1GiB"}, id="proxy"),
    ],
)
@spec("ROB-SEC-09")
def test_no_input_brings_the_server_to_an_error_of_its_own(
    serve: Serve, settings: dict[str, object]
) -> None:
    tus = serve(**settings)
    url, finished = tus.mk(5), tus.made(b"hello")
    statuses: Counter[int] = Counter()
    faults: list[tuple[int, bytes]] = []
    for raw in hostile_requests(tus, url, finished):
        status = status_of(tus, raw)
        statuses[status] += 1
        if status >= 500 and status not in (501, 507):
            faults.append((status, raw[:1000]))
    assert not faults
    assert statuses.total() > 1000
    # The input is refused, and for all kinds of reasons: it was judged, not just cut off.
    assert statuses.keys() >= {400, 404, 405, 409, 412, 413, 415, 416, 431}
    tus.assert_intact(url, 0, b"hello")
    assert tus.content(finished) == b"hello"
    tus.assert_live()
