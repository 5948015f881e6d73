"""Which files are taken: real ones of every kind under their own name, and under others."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers import serving
from tests.tus import OCTETS, Tus
from tests.wire import Answer
from tusserver.policy.kinds import HPC, SNIFF_SIZE, KindRefused, KindRules, extension_of

RULES = KindRules(frozenset(HPC), checks_content=True)


def _zip() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "hello")
        return file.getvalue()


def _tar(form: int) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("a.txt"))
        return file.getvalue()


TEXT = b"x,y\n1,2\n" * 50
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
SIF = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + bytes(100)
ELF = b"\x7fELF\x02\x01\x01" + bytes(100)
SAMPLES: dict[str, bytes] = {
    "txt": TEXT,
    "csv": TEXT,
    "json": json.dumps({"a": [1, 2]}).encode(),
    "yaml": b"a: 1\n",
    "yml": b"a: 1\n",
    "py": "print('한글')\n".encode(),
    "sh": b"#!/bin/sh\necho hi\n",
    "bash": b"#!/bin/bash\n",
    "tar": _tar(tarfile.USTAR_FORMAT),
    "tar.gz": gzip.compress(_tar(tarfile.PAX_FORMAT), mtime=0),
    "gz": gzip.compress(TEXT, mtime=0),
    "zip": _zip(),
    "bz2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "sif": SIF,
    "img": bytes(600),
    "h5": HDF5,
    "hdf5": bytes(512) + HDF5,
    "nc": b"CDF\x02" + bytes(50),
    "nc4.nc": HDF5,
    "dat": b"\0\1\2\3" * 50,
}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_each_kind_is_taken_under_its_own_name(name: str) -> None:
    for filename in (f"a.{name}", f"A.{name.upper()}", f"C:\\fakepath\\b.{name}"):
        RULES.check_claims(filename, "")
        RULES.check_content(SAMPLES[name][:SNIFF_SIZE], filename, "")


@pytest.mark.parametrize(
    ("name", "data"),
    [("gz", TEXT), ("zip", SAMPLES["gz"]), ("bz2", TEXT), ("xz", TEXT), ("h5", TEXT),
     ("hdf5", SAMPLES["zip"]), ("nc", TEXT), ("sif", TEXT * 9), ("tar", SAMPLES["gz"]),
     ("txt", ELF), ("csv", SAMPLES["zip"]), ("json", b"{}\0"), ("py", SAMPLES["gz"]),
     ("dat", ELF), ("img", b"MZ\x90\0\3" + bytes(50))],
)  # fmt: skip
def test_what_contradicts_its_name_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(KindRefused):
        RULES.check_content(data[:SNIFF_SIZE], f"a.{name}", "")


def test_a_media_type_is_a_claim_as_well() -> None:
    rules = KindRules(checks_content=True)
    rules.check_content(SAMPLES["gz"], "", "application/gzip; x=y")
    with pytest.raises(KindRefused, match=r"does not begin as a \.png file does"):
        rules.check_content(TEXT, "a.bin", "image/PNG")
    rules.check_content(ELF, "a.out", "")


def test_texts_of_other_alphabets_are_texts() -> None:
    for coding in ("utf-16", "utf-8-sig", "latin-1"):
        RULES.check_content("dépôt".encode(coding), "a.txt", "")
    RULES.check_content(b"MZ is how this text begins", "a.dat", "")


@pytest.mark.parametrize("name", ["a.exe", "a", ".txt", "a.", "gz", "a.txt.exe", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(KindRefused, match="the extension is one of bash, bz2"):
        RULES.check_claims(name, "")


def test_media_types_are_patterns() -> None:
    rules = KindRules(media_types=("image/*", "text/plain"))
    for good in ("image/png", "IMAGE/jpeg", "text/plain; charset=utf-8"):
        rules.check_claims("a", good)
    for bad in ("text/html", "", "application/image/x"):
        with pytest.raises(KindRefused, match="is one of image/\\*, text/plain"):
            rules.check_claims("a", bad)


@given(st.binary(max_size=700), st.sampled_from([*SAMPLES, "exe", ""]), st.text(max_size=30))
def test_any_bytes_are_judged(data: bytes, name: str, media_type: str) -> None:
    with suppress(KindRefused):
        RULES.check_content(data, f"a.{name}", media_type)


@given(st.text(max_size=300).filter(lambda text: "\0" not in text))
def test_no_text_is_refused_as_text(text: str) -> None:
    data = text.encode("utf-8", "ignore")
    if not data.startswith((b"PK", b"MZ")):
        for name in ("txt", "csv", "py"):
            RULES.check_content(data, f"a.{name}", "text/plain")


@given(st.text(max_size=50))
def test_an_extension_is_what_follows_the_last_dot(name: str) -> None:
    assert extension_of(f"{name}/a.b.Gz") == "gz"


# Over HTTP.


def named(filename: str) -> dict[str, str]:
    from base64 import b64encode

    return {"Upload-Metadata": f"filename {b64encode(filename.encode()).decode()}"}


def sent(tus: Tus, filename: str, data: bytes, first: int = 40) -> Answer:
    url = tus.mk(len(data), named(filename))
    answer = tus.pa(url, 0, data[:first])
    if answer.status != 204:
        return answer
    return tus.pa(url, first, data[first:])


def test_the_name_is_judged_before_anything_is_stored(tmp_path: Path) -> None:
    with serving(tmp_path, allow_preset="hpc", allow_extensions=("FOO",)) as tus:
        answer = tus.post({"Upload-Length": "5", **named("a.exe")})
        assert (answer.status, answer.body.startswith(b"ERR_KIND_NOT_ALLOWED: ")) == (415, True)
        for name in ("a.h5", "a.foo"):
            assert tus.post({"Upload-Length": "5", **named(name)}).status == 201
        assert tus.post({"Upload-Length": "5", "Upload-Concat": "partial"}).status == 201


def test_a_wrong_kind_is_refused_while_it_is_young(tmp_path: Path) -> None:
    """A large upload is broken off after its first bytes, and for good."""
    with serving(tmp_path, check_content=True) as tus:
        url = tus.mk(2**30, named("a.h5"))
        with tus.begin_patch(url, 0, 2**30) as wire:
            wire.send(TEXT * 100)
            assert wire.answer("PATCH").status == 415
        answer = tus.hd(url)
        assert answer["Upload-Refused"] == "ERR_KIND_NOT_ALLOWED"
        assert tus.pa(url, 0, b"x").status == 415
        assert not (tmp_path / url.rpartition("/")[2]).exists()


def test_small_files_and_those_in_pieces_are_judged_too(tmp_path: Path) -> None:
    with serving(tmp_path, check_content=True) as tus:
        for name, data in SAMPLES.items():
            for first in (1, len(data) // 2):
                assert sent(tus, f"a.{name}", data, first).status == 204, name
        assert sent(tus, "a.gz", TEXT).status == 415
        assert sent(tus, "a.txt", ELF, 2).status == 415
        created = {**OCTETS, "Upload-Length": str(len(TEXT)), **named("a.gz")}
        assert tus.post(created, TEXT).status == 415
        assert tus.post({"Upload-Length": "0", **named("a.gz")}).status == 201
