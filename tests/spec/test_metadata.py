"""META: the grammar of Upload-Metadata, and that nothing in it can do harm."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.spec_ids import spec
from tests.tus import VERSION, Tus
from tests.wire import Answer


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def create(tus: Tus, metadata: str) -> Answer:
    return tus.post({"Upload-Length": "4", "Upload-Metadata": metadata})


def stored(tus: Tus, metadata: str) -> str | None:
    """What HEAD gives back for this metadata."""
    answer = create(tus, metadata)
    assert answer.status == 201, answer
    return tus.hd(tus.location(answer)).get("Upload-Metadata")


def pairs(metadata: str) -> dict[str, bytes]:
    """Keys and values of a well-formed header, with blanks around the commas allowed."""
    elements = [element.strip().partition(" ") for element in metadata.split(",")]
    found = {key: base64.b64decode(value, validate=True) for key, _, value in elements}
    assert len(found) == len(elements)
    return found


def assert_refused(answer: Answer) -> None:
    assert answer.status == 400, answer
    assert answer.get("Location") is None
    assert answer.body.startswith(b"ERR_INVALID_METADATA: ")


@spec("META-01")
def test_pairs_stand_between_commas(tus: Tus) -> None:
    found = stored(tus, "a YQ==,b Yg==,c Yw==")
    assert found == "a YQ==,b Yg==,c Yw=="
    assert pairs(found) == {"a": b"a", "b": b"b", "c": b"c"}


@spec("META-01", "META-02")
@pytest.mark.parametrize(
    "metadata",
    [
        "a  YQ==",
        "a YQ== x",
        ",",
        "a YQ==,",
        ",a YQ==",
        "a YQ==,,b Yg==",
        "a YQ==, ,b Yg==",
        "a;YQ==",
        "a YQ==;b Yg==",
        "a\tYQ==",
        "a YQ==\tb Yg==",
        ";",
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tus: Tus, metadata: str) -> None:
    assert_refused(create(tus, metadata))


@spec("META-02")
@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(" YQ==", {"YQ==": b""}), ("a YQ==, Yg==", {"a": b"a", "Yg==": b""})],
    ids=["first", "second"],
)
def test_no_key_is_empty_where_http_takes_the_blank(
    tus: Tus, metadata: str, expected: dict[str, bytes]
) -> None:
    # A blank at the start of a value, or after a comma, belongs to HTTP; what follows is a key.
    found = stored(tus, metadata)
    assert found == metadata.strip()
    assert pairs(found) == expected


@spec("META-03")
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("key", ["naïve", "é", "a YQ==,é", "\x80", "\xa0"])
def test_keys_are_ascii(tus: Tus, key: str, encoding: str) -> None:
    # The wire writes Latin-1, which carries any bytes.
    assert_refused(create(tus, f"{key} YQ==".encode(encoding).decode("latin-1")))


@spec("META-04")
@pytest.mark.parametrize(
    "value",
    [
        bytes(range(256)),
        b"\x00",
        b"\xff\xfe",
        b"abc",
        b"\r\n\r\n",
        "naïve 名前 🎉".encode(),
        b"\xfb\xff",
    ],
    ids=["all bytes", "one", "two", "three", "line ends", "utf-8", "plus and slash"],
)
def test_values_come_back_byte_for_byte(tus: Tus, value: bytes) -> None:
    found = stored(tus, f"k {encoded(value)}")
    assert found == f"k {encoded(value)}"
    assert pairs(found) == {"k": value}


@spec("META-05")
@pytest.mark.parametrize("metadata", ["a YQ==,a Yg==", "a YQ==,a YQ==", "a,a", "a,b Yg==,a YQ=="])
def test_a_key_that_comes_twice_is_refused(tus: Tus, metadata: str) -> None:
    assert_refused(create(tus, metadata))


@spec("META-05")
def test_keys_that_differ_in_case_are_two(tus: Tus) -> None:
    assert stored(tus, "A YQ==,a Yg==") == "A YQ==,a Yg=="


@spec("META-06")
@pytest.mark.parametrize(
    "metadata", ["k", "k ", "k,other YQ==", "k ,other YQ==", "other YQ==,k", "other YQ==,k ", "k,l"]
)
def test_a_key_may_stand_without_a_value(tus: Tus, metadata: str) -> None:
    found = stored(tus, metadata)
    # The blank at the end is lost in HTTP.
    assert found == metadata.rstrip()
    assert pairs(found)["k"] == b""


@spec("META-07")
@pytest.mark.parametrize("name", ["filename", "name"])
@pytest.mark.parametrize("kind", ["filetype", "type"])
def test_metadata_cannot_break_out_of_the_headers_of_a_download(
    tus: Tus, name: str, kind: str
) -> None:
    evil_name = b'x"\r\nSet-Cookie: pwn=1\r\n\r\n<script>'
    evil_kind = b"text/html\r\nX-Evil: 1"
    metadata = f"{name} {encoded(evil_name)},{kind} {encoded(evil_kind)}"
    url = tus.made(b"abcd", {"Upload-Metadata": metadata})
    answer = tus.get(url)
    assert answer.get("Set-Cookie") is None
    assert answer.get("X-Evil") is None
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Type"] == "application/octet-stream"
    disposition = answer["Content-Disposition"]
    assert disposition.startswith('attachment; filename="x_Set-Cookie: pwn=1<script>"; filename*=')
    assert disposition.count('"') == 2
    assert answer.body == b"abcd"
    assert tus.hd(url)["Upload-Metadata"] == metadata


@spec("META-07")
@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "TEXT/HTML"]
)
def test_types_that_could_run_are_downloads(tus: Tus, kind: str) -> None:
    url = tus.made(b"abcd", {"Upload-Metadata": f"filetype {encoded(kind.encode())}"})
    answer = tus.get(url)
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


@spec("META-08")
@pytest.mark.parametrize(
    "value",
    [
        "!!!!", "YQ=", "YQ", "Y=Q=", "YQ==YQ==", "YQ==\tx", "-_-_", "=", "====", "Y", "YWJj=",
        "YQ==\u00a0", "'YQ=='", "YQ=\t=",
    ],
)  # fmt: skip
def test_bad_base64_is_refused(tus: Tus, value: str) -> None:
    assert_refused(create(tus, f"a {value}"))
    assert_refused(create(tus, f"a {value},b Yg=="))
    assert_refused(create(tus, f"b Yg==,a {value}"))


@spec("META-09")
@pytest.mark.parametrize("metadata", ["", "   ", "\t"])
@pytest.mark.parametrize("name", ["Upload-Metadata", "upload-metadata"])
def test_an_empty_header_counts_as_absent(tus: Tus, name: str, metadata: str) -> None:
    answer = tus.post({"Upload-Length": "4", name: metadata})
    assert answer.status == 201
    assert tus.hd(tus.location(answer)).get("Upload-Metadata") is None


@spec("META-10")
@pytest.mark.parametrize("comma", [", ", " ,", " , ", ",\t", "  ,  "])
def test_blanks_around_commas_belong_to_no_key(tus: Tus, comma: str) -> None:
    found = stored(tus, f"a YQ=={comma}b Yg==")
    assert found is not None
    assert pairs(found) == {"a": b"a", "b": b"b"}


@spec("META-11")
def test_two_lines_are_one_list(tus: Tus) -> None:
    size = [*VERSION.items(), ("Upload-Length", "4"), ("Content-Length", "0")]
    lines = [("Upload-Metadata", "a YQ=="), ("upload-metadata", "b Yg==,c")]
    answer = tus.request("POST", tus.creation, [*size, *lines])
    assert answer.status == 201
    assert tus.hd(tus.location(answer))["Upload-Metadata"] == "a YQ==,b Yg==,c"
    lines.append(("Upload-Metadata", "a Yg=="))
    assert_refused(tus.request("POST", tus.creation, [*size, *lines]))


@spec("META-12")
@pytest.mark.parametrize(
    "key",
    [
        "constructor", "__proto__", "toString", "file/name", "type!", "..", "a=b", "id", "ID",
        "length", "Size", "offset", "Offset", "MetaData", "Storage", "tusserver", "=", "YQ==",
        "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ",;"),
    ],
)  # fmt: skip
def test_any_ascii_key_is_just_a_key(tus: Tus, key: str) -> None:
    metadata = f"{key} {encoded(b'99')}"
    url = tus.mk(4, {"Upload-Metadata": metadata})
    for offset, data in ((0, b"ab"), (2, b"cd"), (4, b"")):
        head = tus.hd(url)
        assert (head["Upload-Offset"], head["Upload-Length"]) == (str(offset), "4")
        assert head["Upload-Metadata"] == metadata
        assert tus.pa(url, offset, data).status == 204
    assert tus.content(url) == b"abcd"


@spec("META-13")
@pytest.mark.parametrize("size", [4, 8, 16, 64])
@pytest.mark.parametrize("shape", ["one value", "many pairs"])
def test_long_metadata_comes_back_whole(tus: Tus, size: int, shape: str) -> None:
    if shape == "one value":
        metadata = f"k {encoded(random.Random(size).randbytes(size * 768 - 9))}"
    else:
        metadata = ",".join(f"key{number:04} YQ==" for number in range(size * 1024 // 13))
    assert size * 1000 < len(metadata) <= size * 1024
    assert stored(tus, metadata) == metadata


@spec("META-13")
@pytest.mark.parametrize("size", [256, 2048])
def test_metadata_that_is_too_long_is_refused_cleanly(tus: Tus, size: int) -> None:
    answer = create(tus, "k " + size * 1024 * "A")
    assert answer.status == 431
    assert answer["Connection"] == "close"
    tus.assert_live()


@pytest.mark.directory
@spec("META-14")
@pytest.mark.parametrize(
    "name",
    [
        b"../../../../tmp/tus-suite-pwn",
        b"/abs",
        b"..",
        b"a\x00b",
        b"../x.info",
        b"C:\\x",
        300 * b"n",
    ],
)
def test_names_in_metadata_are_no_paths(serve: Serve, tmp_path: Path, name: bytes) -> None:
    tus = serve()
    value = encoded(name)
    metadata = ",".join(f"{key} {value}" for key in ("filename", "name", "id", "path"))
    url = tus.made(b"abcd", {"Upload-Metadata": metadata})
    upload_id = url.rpartition("/")[2]
    assert tus.content(url) == b"abcd"
    assert [path.name for path in tmp_path.iterdir()] == ["uploads"]
    found = {path.name for path in (tmp_path / "uploads").iterdir()}
    assert found == {".tusserver", upload_id, f"{upload_id}.info"}
    assert tus.delete(url).status == 204
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [".tusserver"]
