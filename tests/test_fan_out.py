"""Uploads fanned out over folders, as a client and an operator see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.servers import serving
from tests.tus import eventually
from tusserver.rules import new_upload_id

LEVELS = pytest.mark.parametrize("fan_out", [0, 1, 2])


@LEVELS
def test_ids_keep_their_128_bits(fan_out: int) -> None:
    upload_id = new_upload_id(fan_out)
    assert re.fullmatch(rf"([0-9a-f]{{2}}/){{{fan_out}}}[0-9a-f]{{{32 - 2 * fan_out}}}", upload_id)
    assert new_upload_id(fan_out) != upload_id


@LEVELS
def test_an_upload_lies_where_its_url_says(serve: Serve, tmp_path: Path, fan_out: int) -> None:
    tus = serve(fan_out=fan_out)
    url = tus.mk(10)
    assert tus.pa(url, 0, b"hello").status == 204
    assert tus.pa(url, 5, b"world").status == 204
    assert tus.content(url) == b"helloworld"
    path = tmp_path / "uploads" / url.removeprefix("/files/")
    assert path.read_bytes() == b"helloworld"
    assert len(path.relative_to(tmp_path / "uploads").parts) == 1 + fan_out
    assert tus.delete(url).status == 204
    assert tus.hd(url).status == 404
    assert not path.exists()


@LEVELS
def test_partials_in_folders_are_joined(serve: Serve, fan_out: int) -> None:
    tus = serve(fan_out=fan_out)
    parts = [tus.mk(3, {"Upload-Concat": "partial"}) for _ in range(2)]
    tus.pa(parts[0], 0, b"one")
    concat = f"final;{parts[0]} {parts[1].removeprefix('/files/')}"
    final = tus.location(tus.post({"Upload-Concat": concat}))
    assert tus.hd(final).get("Upload-Offset") is None
    tus.pa(parts[1], 0, b"two")
    eventually(lambda: tus.hd(final).get("Upload-Offset") == "6")
    assert tus.content(final) == b"onetwo"


def test_the_setting_may_change_at_any_time(tmp_path: Path) -> None:
    urls: list[str] = []
    for fan_out in (0, 2, 1, 0):
        with serving(tmp_path, fan_out=fan_out) as tus:
            urls.append(tus.mk(10))
            for offset, url in enumerate(reversed(urls)):
                assert tus.pa(url, offset, b"x").status == 204, url
    assert len({url.count("/") for url in urls}) == 3
