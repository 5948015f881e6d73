"""Thousands of file names and destinations that mean harm, or just are as people write them, over
HTTP: whatever a client says, nothing ever appears outside the destination root; and what is
harmless keeps its name.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import serving
from tests.tus import OCTETS, VERSION, Tus
from tests.wire import Answer, Wire

ANYHOW = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

NAMES = [
    # Out of the folder.
    ".", "..", "...", "/", "//", "\\", "../", "..\\", "../../outside/x", "..\\..\\outside\\x",
    "../" * 60 + "etc/cron.d/x", "/etc/passwd", "//etc/passwd", "C:\\Windows\\x", "C:x", "C:/x",
    "\\\\host\\share\\x", "file:///etc/passwd", "a/../../x", "a/./x", "x/", "x/..", "x/.", "/..",
    "%2e%2e%2fx", "..%2fx", "%252e%252e%252fx", "..%c0%afx", "．．／x", "..\u2215x", "..\u2044x",
    "..\u29f8x", "\u2024\u2024/x", "\u2025/x", "\ufe52\ufe52/x", "..;/x", "....//x", "..././x",
    # Other bytes than they seem to be.
    "a\0.txt", "a.txt\0.png", "\0", "a\nb", "a\r\nX-Header: 1", "a\tb", "\x1b[2J", "\x7f", "\x85",
    "\u2028", "\u2029", "\u202egnp.exe", "a\u200b.txt", "\ufeffa", "\u200d", "\ufffe", "\uffff",
    "\u3164", "\u034f", "\u00ad.txt", "e\u0301.txt", "\u1112\u1161\u11ab.txt", "\ue000",
    "\U000e0001",
    # What a system, a shell or a program would take for something else.
    "CON", "con.txt", "PRN", "AUX.h", "NUL", "nul.tar.gz", "COM1", "com9.txt", "COM¹", "LPT1",
    "CLOCK$", "CONIN$", "CONOUT$", "CON ", "CON.", "con .txt", "aux:x", "a:b", "a::$DATA", "a.",
    "a ", "a. ", " a", "a...", "-rf", "--help", "-", "~", "~root", "~/x", ".htaccess", ".ssh",
    ".bashrc", ".part", ".tusserver", ".git", "._a", "desktop.ini", "Thumbs.db", "*", "?", "a*b?",
    "<script>", "\"", "'", "|", "a|b", "$(id)", "`id`", "${IFS}", "$HOME", ";id", "&id", "a&b",
    "%s%n",
    "%00", "{owner}", "{upload_id}", "{0}", "{{x}}", "%(x)s", "=cmd()", "@x", "#x", "!x", "a,b",
    "a=b",
    "' OR 1=1", "undefined", "null", "None", "NaN", "0", "-1", "1e999",
    # Long.
    "a" * 255, "a" * 256, "a" * 5000, "한" * 85, "한" * 86, "😀" * 300, ".txt" * 200, "a." * 300,
    "a" * 254 + ".", "." * 300, " " * 300, "a.tar." + "z" * 300, "/" * 300, "../" * 1000,
    "\u0301" * 300,
    # Nothing.
    "", " ", "\u00a0", "\u2003", "\u3000",
]  # fmt: skip
UNREADABLE = [
    b"\xff\xfe", b"a\xffb.txt", b"\xed\xa0\x80", b"\xc0\xae\xc0\xae\xc0\xafx", b"\xc0\xaf",
    b"\xf8\x88",
    b"\xe0\x80\xae", b"..\xff/x", b"\x80" * 300, b"\xf4\x90\x80\x80", b"\xed\xb2\x80.h5",
]  # fmt: skip
HARMLESS = [
    "한글 이름.h5", "日本語.csv", "中文文件.tar.gz", "Größe (1).txt", "данные.nc", "ελληνικά.json",
    "résumé.pdf", "עברית.txt", "عربى.txt", "हिन्दी.txt", "ไทย.txt", "emoji 😀.png", "a b  c.dat",
    "100%.txt", "x'y.txt", "a,b;c.dat", "[x]{y}.json", "a=b&c.txt", "$HOME.txt", "#1!.py",
    "scan.nii.gz", "v1.2.3.tar.bz2", "UPPER.TXT", "no extension", "a..b", "x@y+z~1.sh", "İı.txt",
    "ß", "ǅ.txt", "1", "console.log", "auxiliary.h", "nullable.py", "com10.txt", "한" * 83 + ".h5",
    "a" * 252 + ".h5", "_", "a-b_c.d",
]  # fmt: skip


@dataclass
class Watched:
    """A server with a root between other things, all of which have to stay as they are."""

    directory: Path
    tus: Tus
    wire: Wire
    places: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def root(self) -> Path:
        return self.directory / "jobs"

    def ask(self, values: dict[str, bytes]) -> Answer:
        """Uploads one byte under these metadata; what is refused is refused as it should be."""
        pairs = (f"{key} {b64encode(value).decode()}" for key, value in values.items())
        headers = {**VERSION, **OCTETS, "Upload-Length": "1", "Content-Length": "1"}
        headers["Upload-Metadata"] = ",".join(pairs)
        return self.wire.request("POST", self.tus.creation, headers, b"x")

    def put(self, values: dict[str, bytes]) -> str | None:
        """The place of such an upload, which is a new one, or None if it is refused."""
        answer = self.ask(values)
        if answer.status != 201:
            code = answer.body.partition(b":")[0]
            assert (answer.status, code) in REFUSALS, (values, answer)
            self.refused += 1
            return None
        place = unquote(answer["Upload-Place"], errors="strict")
        self._look_at(place)
        self.places.append(place)
        return place

    def _look_at(self, place: str) -> None:
        path = self.root / place
        assert path.resolve(strict=True) == path, "no link and no dots on the way"
        assert path.is_relative_to(self.root / "anonymous")
        assert stat.S_ISREG(path.lstat().st_mode)
        assert path.read_bytes() == b"x"
        for part in place.split("/"):
            assert part[0] not in ".-~ "
            assert part[-1] not in ". "
            assert len(part.encode()) <= 255
            assert not {unicodedata.category(each) for each in part} & {
                "Cc",
                "Cf",
                "Cs",
                "Zl",
                "Zp",
            }
            assert not set(part) & set('\\:*?"<>|')

    def around(self) -> set[str]:
        """Everything but what is below the root, and the data of uploads."""
        return {
            str(path.relative_to(self.directory))
            for entry in self.directory.iterdir()
            if entry != self.root
            for path in (entry, *entry.rglob("*"))
            if path.parent.name != "up" or not path.name.removesuffix(".info").isalnum()
        }


REFUSALS = {(400, b"ERR_INVALID_NAME"), (422, b"ERR_NOT_PLACED")}


@contextmanager
def watched(directory: Path) -> Iterator[Watched]:
    root, outside = directory / "jobs", directory / "outside"
    for folder in (root / "anonymous", outside):
        folder.mkdir(parents=True)
    (outside / "x").write_bytes(b"stays")
    (root / "anonymous" / "link").symlink_to(outside)
    (root / "anonymous" / "dangling").symlink_to(outside / "new")
    options: dict[str, Any] = {
        "destination_root": root, "sync": "none", "sweep_interval": "off"
    }  # fmt: skip
    with serving(directory / "up", **options) as tus, tus.wire() as wire:
        here = Watched(directory, tus, wire)
        before = here.around()
        yield here
        assert here.around() == before
    assert (outside / "x").read_bytes() == b"stays"
    # Each that was accepted is there once, and nothing else: neither lost nor put over another.
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    links = {"anonymous/link", "anonymous/dangling"} & files
    assert files - links == set(here.places)
    assert len(here.places) == len(set(here.places))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Watched]:
    with watched(tmp_path) as made:
        yield made


def outside(here: Watched) -> list[str]:
    """Ways to the folder beside the root, which exists."""
    there = str(here.directory / "outside")
    return [
        there,
        f"/{there}",
        f"..{there}",
        "../../outside",
        "link",
        "link/x",
        "dangling",
        "./link",
    ]


def test_known_nasty_names_stay_below_the_root(here: Watched) -> None:
    known = [*(name.encode("utf-8", "surrogatepass") for name in (*NAMES, *outside(here)))]
    for name in (*known, *UNREADABLE):
        assert here.put({"filename": name}), "a file name is never a reason for a refusal"
        assert here.put({"name": name, "destination": b"deep/er"})
    assert here.refused == 0


def test_known_nasty_destinations_are_refused_or_stay_below_the_root(here: Watched) -> None:
    destinations = [
        *NAMES,
        *outside(here),
        "a/" * 33 + "a",
        "a/" * 520 + "a",
        "a//b",
        "a/ /b",
        "a/",
    ]
    known = [text.encode("utf-8", "surrogatepass") for text in destinations]
    for destination in (*known, *UNREADABLE):
        here.put({"filename": b"a.txt", "destination": destination})
    assert here.refused > len(known) / 2
    before = here.refused
    for way in outside(here):
        assert here.put({"filename": b"x", "destination": way.encode()}) is None
    assert here.refused == before + len(outside(here))


def test_harmless_names_stay_as_they_are(here: Watched) -> None:
    for number, name in enumerate(HARMLESS):
        place = here.put({"filename": name.encode(), "destination": f"{number}".encode()})
        assert place == f"anonymous/{number}/{name}"
        place = here.put({"filename": b"a.txt", "destination": f"to/{name}".encode()})
        assert place == f"anonymous/to/{name}/a.txt"
    assert os.listdir(here.root / "anonymous" / "0") == ["한글 이름.h5"]


PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "~", "-", " ", "\0", "\n", ":", "CON", "nul", "outside", "link", "x",
     "jobs", "．", "／", "\u202e", "\u0301", "\ufeff", "%2e", "%2f", ".part", "한글", "😀", ".tar",
     ".gz"]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.text(max_size=40),
    st.text(
        st.characters(codec="utf-8", categories=["Cc", "Cf", "Zs", "Mn", "Po", "Co"]), max_size=40
    ),
    st.sampled_from(NAMES),
)
BYTES = st.one_of(
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=40)
)


def test_any_name_and_destination_stay_below_the_root(here: Watched) -> None:
    @settings(ANYHOW, max_examples=1500)
    @given(BYTES, BYTES)
    def stays(name: bytes, destination: bytes) -> None:
        here.put({"filename": name, "destination": destination})

    @settings(ANYHOW, max_examples=500)
    @given(BYTES, st.lists(PIECES.filter(lambda piece: piece not in "/\\"), max_size=4))
    def stays_in_folders(name: bytes, folders: list[str]) -> None:
        here.put({"filename": name, "destination": "/".join(folders).encode()})

    stays()
    stays_in_folders()
    assert len(here.places) > 500
    assert here.refused > 500


def test_any_harmless_name_stays_as_it_is(here: Watched) -> None:
    numbers = count()
    letters = st.characters(codec="utf-8", categories=["Lu", "Ll", "Lo", "Nd"])
    names = st.text(letters | st.sampled_from(" _-()[]+,;=@!#$%&'"), min_size=1, max_size=60)

    @settings(ANYHOW, max_examples=500)
    @given(names.filter(is_harmless), st.sampled_from(["", ".h5", ".tar.gz", ".csv"]))
    def stays(name: str, extension: str) -> None:
        folder = f"{next(numbers)}"
        place = here.put(
            {"filename": f"{name}{extension}".encode(), "destination": folder.encode()}
        )
        assert place == f"anonymous/{folder}/{name}{extension}"

    stays()


def is_harmless(name: str) -> bool:
    """Whether nobody could take it for anything but a name."""
    return (
        unicodedata.is_normalized("NFC", name)
        and name.strip() == name
        and not name.startswith("-")
        and name.upper()[:3] not in ("CON", "PRN", "AUX", "NUL", "COM", "LPT")
        and len(name.encode()) <= 240
        and not set(name) & set("\u115f\u1160\u3164\uffa0")
    )
