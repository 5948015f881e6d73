"""`tusserver check` as a user meets it: its lines, its exit code, and how it ends early."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.checking.proxy import S3, Azure, Gate, Proxy, answering, error, proxy_to
from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import serving
from tests.store.azure_server import ACCOUNT, CONTAINER, AzureServer, signature
from tests.store.bucket import ObjectServer, Prefix
from tests.store.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tusserver.cli.main import cli
from tusserver.lock.memory import MemoryLocker
from tusserver.sweeper import Sweeper
from tusserver.uploads import Uploads

Options = list[str]
LINE = re.compile(r"  (ok|note|missing|untried) +(\S.*?)(?:  +(\S.*))?")


def check(*arguments: str, color: bool = False, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(
        cli, ["check", *arguments], color=color, env=env, standalone_mode=False
    )


def lines(result: Result) -> dict[str, tuple[str, str]]:
    """State and words of each check."""
    found = filter(None, map(LINE.fullmatch, result.stdout.splitlines()))
    return {match[2]: (match[1], match[3] or "") for match in found}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


# What it says.


def test_a_line_for_each_check_and_a_verdict(root: Path) -> None:
    result = check("--upload-dir", str(root))
    assert result.return_value == 0
    found = lines(result)
    assert found["make the directory"] == ("ok", "")
    assert found["locks between processes"][0] == "ok"
    assert found["start"] == ("ok", "all its parts start and stop")
    assert {state for state, _ in found.values()} == {"ok"}
    *_, last = result.stdout.splitlines()
    assert last == f"All that is needed works: {len(found)} ok."
    assert f"Uploads in {root}\n" in result.stdout
    columns = {line.index(name) for name in found for line in result.stdout.splitlines()
               if line.startswith("  ok") and f"  {name}" in line}  # fmt: skip
    assert len(columns) == 1


def test_what_is_missing_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = check("--upload-dir", str(tmp_path / "file" / "x"))
    assert result.return_value == 1
    found = lines(result)
    assert found["make the directory"][0] == "missing"
    assert found["room"] == ("untried", "needs what did not work: make the directory")
    assert found["start"][0] == "missing"
    assert "Something that is needed is missing: " in result.stdout.splitlines()[-1]


def test_notes_are_no_reason_to_fail(root: Path) -> None:
    result = check("--upload-dir", str(root), "--max-size", "4096TiB")
    assert (result.return_value, lines(result)["room"][0]) == (0, "note")


def test_lines_for_scripts(root: Path) -> None:
    result = check("--upload-dir", str(root), "--max-size", "4096TiB", "--json")
    *found, verdict = map(json.loads, result.stdout.splitlines())
    by_name = {each["check"]: each for each in found}
    assert by_name["room"]["state"] == "note"
    assert by_name["room"]["advice"] == "an upload of --max-size, 4.0 PiB, has no room"
    assert by_name["make the directory"]["section"] == f"Uploads in {root}"
    assert verdict == {
        "verdict": "good", "ok": len(found) - 1, "note": 1, "missing": 0, "untried": 0,
    }  # fmt: skip


def test_colour_is_for_terminals(root: Path) -> None:
    assert "\x1b[" not in check("--upload-dir", str(root)).stdout
    assert "\x1b[32mok" in check("--upload-dir", str(root), color=True).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-size", "big"], "'big' is no size"),
        (["--lock", "redis://"], "lock"),
        (["--destination-root", "/no/such/directory"], "is no directory"),
        (["--jwt-secret-file", "/no/such/file"], "jwt"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_settings_are_one_line_and_exit_code_2(
    arguments: list[str], words: str, root: Path
) -> None:
    command = [sys.executable, "-m", "tusserver", "check", "--upload-dir", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"tusserver: .+\n", done.stderr)
    assert words in done.stderr
    assert not root.exists()


def test_settings_come_from_a_file_and_the_environment(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "tusserver.toml"
    config.write_text(f'upload-dir = "{root}"\n')
    result = check("--config", str(config), env={"TUSSERVER_LOCK": "memory"})
    assert lines(result)["locks"] == ("ok", "in memory, for one process and nobody else")
    assert f"Uploads in {root}\n" in result.stdout


def test_a_certificate_of_another_key_is_told(root: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command = ["openssl", "req", "-x509", *kind, "-subj", "/CN=localhost", *files]
        subprocess.run(command, check=True, capture_output=True)
    tls = ["--upload-dir", str(root), "--tls-certificate", str(tmp_path / "first.crt")]
    assert check(*tls, "--tls-key", str(tmp_path / "first.key")).return_value == 0
    result = check(*tls, "--tls-key", str(tmp_path / "second.key"))
    assert lines(result)["certificate and key"][0] == "missing"


def test_help_has_examples_and_says_what_the_marks_mean() -> None:
    told = CliRunner().invoke(cli, ["check", "--help"]).stdout
    for words in ("--s3-endpoint", "Examples:", "missing  a server needs it", "Exit code 0"):
        assert words in told


# In a bucket, with locks in Redis.


@pytest.fixture
def kind() -> str:
    """Of the service that keeps the objects."""
    return "s3"


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> ObjectServer:
    server: ObjectServer = request.getfixturevalue(kind)
    return server


@pytest.fixture
def prefix(server: ObjectServer) -> Prefix:
    return Prefix(server, f"{secrets.token_hex(4)}/")


@pytest.fixture
def proxy(server: ObjectServer) -> Iterator[Proxy]:
    assert isinstance(server, S3Server | AzureServer)
    with proxy_to(server.port, S3() if isinstance(server, S3Server) else Azure()) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def options(prefix: Prefix, proxy: Proxy, root: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature())
    if isinstance(prefix.server, AzureServer):
        return [
            f"--store=azure://{CONTAINER}/{prefix.prefix}",
            f"--azure-endpoint={proxy.endpoint}/{ACCOUNT}", f"--upload-dir={root}",
        ]  # fmt: skip
    return [
        f"--store=s3://{BUCKET}/{prefix.prefix}", f"--s3-endpoint={proxy.endpoint}",
        "--s3-preset=seaweedfs", f"--upload-dir={root}",
    ]  # fmt: skip


def test_a_site_of_many_hosts_is_tried_as_a_whole(
    options: Options, redis: RedisServer, prefix: Prefix
) -> None:
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "tus", "on", ">geheim", "~*", "&*", "+@all")
    address = redis.address.replace("://", "://tus:geheim@")
    result = check(*options, env={"TUSSERVER_LOCK": address})
    assert result.return_value == 0, result.stdout
    assert {state for state, _ in lines(result).values()} == {"ok"}
    for words in ("Bucket s3://uploads/", "Parts that wait in ", "Locks in Redis at redis://127"):
        assert words in result.stdout
    assert "Quotas" not in result.stdout
    assert "geheim" not in result.stdout
    prefix.assert_only()


@pytest.mark.parametrize(
    "needing", ["--quota-uploads=3", "--quota-size=1GiB", "--quota-active=2", "--api=on"]
)
def test_quotas_and_lists_in_redis_are_tried_where_they_are_kept(
    root: Path, redis: RedisServer, needing: str
) -> None:
    with redis.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "tus", "on", ">geheim", "~*", "&*", "+@all", "-zcount"
        )
    address = redis.address.replace("://", "://tus:geheim@")
    result = check(f"--upload-dir={root}", needing, env={"TUSSERVER_LOCK": address})
    assert "Quotas and lists in Redis at redis://127" in result.stdout
    assert (result.return_value, lines(result)["run its commands"][0]) == (1, "missing")
    assert "not allowed: ZCOUNT: give the user" in result.stdout
    assert "geheim" not in result.stdout


def test_concatenation_that_is_off_needs_no_copies(options: Options, proxy: Proxy) -> None:
    proxy.fault = answering("UploadPartCopy", error(403, "AccessDenied"))
    name = "copy a range into a part"
    assert lines(check(*options))[name][0] == "missing"
    result = check(*options, "--disable-concatenation")
    assert (result.return_value, lines(result)[name][0]) == (0, "note")


@pytest.mark.parametrize("kind", ["azure"])
def test_a_container_is_tried_as_a_bucket_is(
    options: Options, prefix: Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = check(*options, f"--destination-prefix=jobs-{prefix.prefix}")
    assert result.return_value == 0, result.stdout
    assert {state for state, _ in lines(result).values()} == {"ok"}
    assert f"jobs-{prefix.prefix}.tusserver-check-" in lines(result)["place a finished upload"][1]
    assert prefix.server.keys(f"jobs-{prefix.prefix}") == []
    assert f"Container azure://{CONTAINER}/{prefix.prefix} at http://127" in result.stdout
    assert "sig=" not in result.stdout
    prefix.assert_only()
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature("rcwl"))
    result = check(*options)
    assert "place a finished upload" not in lines(result)
    state, told = lines(result)["remove an object"]
    assert (result.return_value, state) == (1, "missing")
    assert "give this key the right delete on uploads/" in told


def test_a_right_that_is_missing_is_exit_code_1(options: Options, proxy: Proxy) -> None:
    proxy.fault = answering("AbortMultipartUpload", error(403, "AccessDenied"))
    result = check(*options)
    assert result.return_value == 1
    state, told = lines(result)["end a multipart upload"]
    assert (state, "s3:AbortMultipartUpload" in told) == ("missing", True)


def test_beside_a_server_it_disturbs_nothing(options: Options, prefix: Prefix, root: Path) -> None:
    with serving(root, **prefix.server.settings(prefix.prefix)) as tus:
        url, finished = tus.mk(10), tus.made(b"hello")
        assert tus.pa(url, 0, b"01234").status == 204
        before = prefix.objects()
        assert check(*options).return_value == 0
        assert prefix.objects() == before
        assert tus.pa(url, 5, b"56789").status == 204
        assert (tus.content(url), tus.content(finished)) == (b"0123456789", b"hello")


# When it ends early.


STEPS = [
    ("s3", "PutObject", 1), ("s3", "UploadPartCopy", 1), ("s3", "CompleteMultipartUpload", 1),
    ("azure", "Put Blob", 1), ("azure", "Put Block", 2), ("azure", "Put Block List", 1),
]  # fmt: skip


def started(options: Options, proxy: Proxy, call: str, number: int) -> subprocess.Popen[str]:
    """A check as a process that has come so far and does not come further."""
    proxy.fault = gate = Gate(call, number)
    command = [sys.executable, "-m", "tusserver", "check", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert gate.reached.wait(30)
    return process


@pytest.mark.parametrize(("kind", "call", "number"), STEPS)
def test_what_a_killed_check_leaves_is_found_by_the_sweeper(
    options: Options, proxy: Proxy, prefix: Prefix, call: str, number: int
) -> None:
    process = started(options, proxy, call, number)
    process.kill()
    process.communicate(timeout=20)
    assert prefix.objects() or prefix.multiparts()
    asyncio.run(sweep(prefix))
    prefix.assert_only()


async def sweep(prefix: Prefix) -> None:
    """Once, as if a day had passed."""
    async with prefix.store(grace=0.0) as store:
        await asyncio.sleep(1.1)  # The service tells the time to the second.
        report = await Sweeper(Uploads(store, MemoryLocker())).sweep()
    assert report.leftovers
    assert not report.failed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("kind", "call", "count"), STEPS)
def test_an_interrupted_check_leaves_nothing(
    options: Options, proxy: Proxy, prefix: Prefix, call: str, count: int, number: int
) -> None:
    process = started(options, proxy, call, count)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told == "tusserver: interrupted; what had been made is removed\n"
    prefix.assert_only()


def test_a_reader_that_has_had_enough_ends_it(
    options: Options, proxy: Proxy, prefix: Prefix
) -> None:
    with started(options, proxy, "PutObject", 3) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert isinstance(proxy.fault, Gate)
        proxy.fault.opened.set()
        assert process.wait(30) == 1
    prefix.assert_only()
