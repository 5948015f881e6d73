"""`ls`, `show`, `rm`, `verify`, `sweep`: on a store at rest and beside a running server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.servers import serving
from tests.store.test_file import names
from tests.tus import Tus, eventually
from tusserver.cli.main import cli

NAME = {"Upload-Metadata": "filename 7J6F66ClLmg1"}  # 입력.h5


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def tus(store: Path) -> Iterator[Tus]:
    with serving(store) as tus:
        yield tus


def run(store: Path, *arguments: str, code: int = 0) -> Result:
    """The result of a command that ends with this exit code."""
    whole = [*arguments, "--upload-dir", str(store)]
    result = CliRunner().invoke(cli, whole, standalone_mode=False)
    assert (result.exception, result.return_value) == (None, code), result
    return result


def ident(url: str) -> str:
    return url.rpartition("/")[2]


def test_ls_shows_each_upload_with_its_state(tus: Tus, store: Path) -> None:
    open_one, deferred = tus.mk(10, NAME), tus.mk(None)
    part = tus.mk(5, {"Upload-Concat": "partial"})
    pending = tus.location(tus.post({"Upload-Concat": f"final;{part}"}))
    finished = tus.made(b"hello")
    lines = {line.split()[0]: line for line in run(store, "ls").stdout.splitlines()}
    assert lines.keys() == {ident(url) for url in (open_one, deferred, part, pending, finished)}
    assert "unfinished" in lines[ident(open_one)]
    assert "0/10" in lines[ident(open_one)]
    assert lines[ident(open_one)].endswith("입력.h5")
    assert "0/?" in lines[ident(deferred)]
    assert "pending" in lines[ident(pending)]
    assert "finished" in lines[ident(finished)]


def test_ls_and_show_speak_json(tus: Tus, store: Path) -> None:
    url = tus.mk(10, NAME)
    tus.pa(url, 0, b"hello")
    (line,) = run(store, "ls", "--json").stdout.splitlines()
    shown = json.loads(run(store, "show", ident(url), "--json").stdout)
    assert json.loads(line) == shown
    assert (shown["id"], shown["state"], shown["offset"], shown["length"]) == (
        ident(url), "unfinished", 5, 10,
    )  # fmt: skip
    assert shown["metadata"] == {"filename": "입력.h5"}
    assert "filename" in run(store, "show", ident(url)).stdout


def test_show_tells_what_belongs_together(tus: Tus, store: Path) -> None:
    part = tus.made(b"hello", {"Upload-Concat": "partial"})
    final = tus.location(tus.post({"Upload-Concat": f"final;{part}"}))
    assert json.loads(run(store, "show", ident(part), "--json").stdout)["concat"] == "partial"
    shown = json.loads(run(store, "show", ident(final), "--json").stdout)
    assert shown["concat"] == [ident(part)]


def failed(store: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        cli, [*arguments, "--upload-dir", str(store)], standalone_mode=False
    )
    assert result.exception is not None
    return str(result.exception)


def test_unknown_uploads_and_missing_stores_are_said_to_be(tus: Tus, store: Path) -> None:
    assert "there is no such upload" in failed(store, "show", "0" * 32)
    assert "there is no directory" in failed(store / "none", "ls")


def fanned(url: str) -> str:
    return url.removeprefix("/files/")


@pytest.mark.parametrize("fan_out", [1, 2])
def test_all_commands_know_uploads_in_folders(store: Path, fan_out: int) -> None:
    with serving(store) as tus:
        flat = ident(tus.mk(10))
    with serving(store, fan_out=fan_out) as tus:
        open_one, left, lost, old = (fanned(tus.mk(10)) for _ in range(4))
        (store / f"{left}.marker").write_text("0 verify\n")
        (store / lost).unlink()
        os.utime(store / old, (0, 0))
        assert len(ident(open_one)) == 32 - 2 * fan_out
        listed = {line.split()[0] for line in run(store, "ls").stdout.splitlines()}
        assert listed == {flat, open_one, left, old}
        assert json.loads(run(store, "show", open_one, "--json").stdout)["id"] == open_one
        assert {entry["upload_id"] for entry in verify(store)} == {left, lost}
        assert f"{old}  expired, removed" in run(store, "sweep").stdout
        run(store, "rm", open_one, flat)
        assert tus.hd(f"/files/{left}").status == 200
    assert {line.split()[0] for line in run(store, "ls").stdout.splitlines()} == {left}


def test_rm_removes_also_what_a_request_is_using(tus: Tus, store: Path) -> None:
    urls = [tus.mk(10), tus.made(b"hello")]
    with tus.begin_patch(urls[0], 0, 10) as wire:
        wire.send(b"hello")
        eventually(lambda: tus.off(urls[0]) == 5)
        run(store, "rm", *map(ident, urls))
        assert wire.answer("PATCH").status == 423
    assert [tus.hd(url).status for url in urls] == [404, 404]
    assert names(store) == {".tusserver/locks"}
    assert "there is no such upload" in run(store, "rm", ident(urls[0]), code=1).stderr


def verify(store: Path, *arguments: str, code: int = 0) -> list[dict[str, object]]:
    result = run(store, "verify", "--json", *arguments, code=code)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_verify_finds_nothing_in_a_sound_store(tus: Tus, store: Path) -> None:
    tus.made(b"hello")
    tus.pa(tus.mk(10), 0, b"hello")
    assert verify(store) == []
    assert run(store, "verify").stdout == "Everything is in order.\n"


def test_verify_mends_what_a_crash_left_and_says_so(tus: Tus, store: Path) -> None:
    urls = {name: ident(tus.made(b"helloworld")) for name in ("surplus", "lost", "damaged", "good")}
    with (store / urls["surplus"]).open("ab") as file:
        file.write(b"!")
    (store / urls["lost"]).unlink()
    (store / f"{urls['damaged']}.info").write_text("{")
    (store / ".tusserver" / "tmp" / "x.1").touch()
    assert {entry["outcome"] for entry in verify(store, "--dry-run", code=1)} == {"found"}
    entries = verify(store)
    assert {(entry["kind"], entry["upload_id"], entry["outcome"]) for entry in entries} == {
        ("unsettled", urls["surplus"], "mended"),
        ("record-without-data", urls["lost"], "mended"),
        ("damaged-record", urls["damaged"], "mended"),
        ("temporary-file", "x", "mended"),
    }
    assert tus.content(f"/files/{urls['surplus']}") == b"helloworld"
    assert (store / f"{urls['damaged']}.info.damaged").read_text() == "{"
    assert (store / urls["damaged"]).read_bytes() == b"helloworld"
    assert tus.hd(f"/files/{urls['damaged']}").status == 404
    assert verify(store) == []


def test_verify_leaves_running_requests_alone(tus: Tus, store: Path) -> None:
    url = tus.mk(10)
    with tus.begin_patch(url, 0, 10, {"Upload-Checksum": "crc32 AAAAAA=="}) as wire:
        wire.send(b"hello")
        eventually((store / f"{ident(url)}.marker").exists)
        assert [entry["outcome"] for entry in verify(store, code=1)] == ["in use"]
        assert "in use" in run(store, "verify", code=1).stdout


def test_ls_goes_on_after_a_damaged_record(tus: Tus, store: Path) -> None:
    good, bad = ident(tus.made(b"x")), ident(tus.made(b"y"))
    (store / f"{bad}.info").write_text("{")
    result = run(store, "ls")
    assert good in result.stdout
    assert bad in result.stderr
    assert tus.hd(f"/files/{bad}").status == 410


def test_sweep_removes_what_is_due_and_only_tells_in_a_dry_run(tus: Tus, store: Path) -> None:
    old, young = ident(tus.mk(10)), ident(tus.mk(10))
    then = time.time() - 100
    os.utime(store / old, (then, then))
    (store / ".tusserver" / "tmp" / "x.1").touch()
    arguments = ("sweep", "--expire-after", "60s")
    dry = run(store, *arguments, "--dry-run").stdout
    assert f"{old}  expired, would be removed" in dry
    assert (store / old).exists()
    report = json.loads(run(store, *arguments, "--json").stdout)
    assert (report["uploads"], report["expired"]) == (2, [old])
    assert [entry["kind"] for entry in report["leftovers"]] == ["temporary-file"]
    assert tus.hd(f"/files/{old}").status == 404
    assert tus.hd(f"/files/{young}").status == 200
    assert "1 uploads seen, 0 expired, 0 leftovers" in run(store, *arguments).stdout


def test_looking_leaves_nothing_behind(tus: Tus, store: Path, tmp_path: Path) -> None:
    """Else `sudo tusserver ls` would make directories that the server itself may not use."""
    url = tus.made(b"hello")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (ident(url), f"{ident(url)}.info"):
        (copy / name).write_bytes((store / name).read_bytes())
    assert ident(url) in run(copy, "ls").stdout
    run(copy, "show", ident(url))
    run(copy, "verify", "--dry-run")
    assert sorted(path.name for path in copy.iterdir()) == [ident(url), f"{ident(url)}.info"]


def test_nothing_is_said_on_standard_error_when_all_is_well(tus: Tus, store: Path) -> None:
    """Cron sends a mail for every byte."""
    tus.made(b"hello")
    for command in ("ls", "verify", "sweep"):
        assert run(store, command).stderr == ""


def test_verify_goes_on_after_what_cannot_be_mended(tus: Tus, store: Path) -> None:
    good, stuck, unreadable = (ident(tus.made(b"hello")) for _ in range(3))
    (store / stuck).unlink()
    (store / stuck).mkdir()
    (store / f"{unreadable}.info").unlink()
    (store / f"{unreadable}.info").symlink_to(f"{unreadable}.info")
    (store / f"{good}.info").write_text("{")
    entries = {entry["upload_id"]: entry for entry in verify(store, code=1)}
    assert entries[good]["outcome"] == "mended"
    assert (entries[stuck]["outcome"], entries[unreadable]["outcome"]) == ("failed", "failed")
    assert "this is no plain file" in str(entries[stuck]["reason"])
    assert entries[unreadable]["kind"] == "unreadable"
    assert "Too many levels" in run(store, "verify", code=1).stdout
    assert "2 failed" in run(store, "sweep", code=1).stdout


@pytest.mark.parametrize("odd", ["../x", "a b", "", "a\nb", "\udcff", "x.info", "y" * 999])
def test_odd_ids_are_no_uploads(odd: str, store: Path) -> None:
    store.mkdir()
    found = run(store, "rm", odd, code=1).stderr
    assert found.count("\n") <= 1
    assert "there is no such upload" in found
    assert failed(store, "show", odd).endswith(": there is no such upload")


def test_what_the_system_refuses_is_one_line(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert failed(store, "ls") == f"Permission denied ({store})"
