"""The command as a user meets it: help, wrong values, config files, start and stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.servers import ProcessServer, process_server
from tests.tus import Tus, eventually
from tests.wire import Wire, head
from tusserver import __version__
from tusserver.cli import main as main_module
from tusserver.cli.main import cli, main
from tusserver.settings import Settings


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, env=env)


def complaint(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The one line of a command that ends with exit code 2."""
    command = [sys.executable, "-m", "tusserver", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=30
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"tusserver: .+\n", done.stderr), done.stderr
    return done.stderr


def test_help_shows_every_setting_in_its_group_with_examples() -> None:
    found = run("serve", "--help").output
    for item in fields(Settings):
        assert f"--{item.name.replace('_', '-')}" in found
        assert f"{item.metadata['group']}:" in found
    assert "Examples:" in found
    assert "TUSSERVER_UPLOAD_DIR" in found


def test_help_of_the_whole_names_the_commands() -> None:
    found = run("--help").output
    for name in ("serve", "ls", "show", "rm", "verify", "sweep"):
        assert re.search(rf"^  {name} ", found, re.MULTILINE)


def test_version() -> None:
    assert run("--version").output == f"tusserver, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "many"], "--port"),
        (["--port", "99999"], "port is a number"),
        (["--max-size", "big"], "'big' is no size"),
        (["--expire-after", "soon"], "'soon' is no time span"),
        (["--sync", "maybe"], "'none', 'finish', 'patch'"),
        (["--file-perms", "rw"], "octal"),
        (["--workers", "0"], "at least 1"),
        (["--expire-after", "9" * 20 + "d"], "is no time span"),
        (["--max-size", "9" * 400], "below 8192PiB"),
        (["--upload-dir", ""], "upload-dir is empty"),
        (["--no-such-thing"], "--no-such-thing"),
        (["--trusted-proxies", "nobody"], "nobody"),
        (["--cors-allow-origin", "~["], "regular expression"),
        (["--cors-allow-credentials"], "name the origins"),
        (["nonsense"], "nonsense"),
        (["show"], "ID"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_values_are_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    assert words in complaint(*arguments)


def test_wrong_values_in_the_environment_too() -> None:
    found = complaint(env={"TUSSERVER_MAX_SIZE": "big"})
    assert "'big' is no size" in found
    assert found.endswith("(from the variable TUSSERVER_MAX_SIZE)\n")
    # As Kubernetes sets it for a service of this name.
    assert "TUSSERVER_PORT" in complaint(env={"TUSSERVER_PORT": "tcp://10.0.0.1:80"})
    assert "from the" not in complaint("--max-size", "big", env={"TUSSERVER_MAX_SIZE": "1"})


@pytest.mark.parametrize("value", ["", "0", "false", "no", "off", "FALSE"])
def test_switches_in_the_environment_can_be_off(value: str, tmp_path: Path) -> None:
    wrong = ("--cors-allow-origin", "*")
    env = {"TUSSERVER_CORS_ALLOW_CREDENTIALS": value}
    check(tmp_path, "--upload-dir", str(tmp_path), *wrong, env=env)
    env = {"TUSSERVER_CORS_ALLOW_CREDENTIALS": "1"}
    assert "name the origins" in complaint(*wrong, env=env)


def test_choices_may_be_written_in_capitals(tmp_path: Path) -> None:
    check(tmp_path, "--upload-dir", str(tmp_path), "--log-level", "INFO", "--sync", "Patch")


def check(tmp_path: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    result = run("serve", "--check-config", *arguments, env=env)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_nearest_value_counts(tmp_path: Path) -> None:
    config = tmp_path / "tusserver.toml"
    config.write_text(f'upload-dir = "{tmp_path}/file"\nport = 9\nmax_size = "1GiB"\n')
    env = {"TUSSERVER_UPLOAD_DIR": f"{tmp_path}/environment"}
    assert f"{tmp_path}/file" in check(tmp_path, "--config", str(config))
    assert f"{tmp_path}/environment" in check(tmp_path, "--config", str(config), env=env)
    flag = ("--upload-dir", f"{tmp_path}/flag")
    assert f"{tmp_path}/flag" in check(tmp_path, "--config", str(config), *flag, env=env)
    env["TUSSERVER_CONFIG"] = str(config)
    del env["TUSSERVER_UPLOAD_DIR"]
    assert f"{tmp_path}/file" in check(tmp_path, env=env)


@pytest.mark.parametrize(
    "content",
    ["port = 1\nmax-size = 1000", 'max-size = "1GiB"\nexpire-after = 3600.5',
     "disable-download = true\naccess-log = false",
     'cors-allow-origin = ["https://a.example", "https://b.example"]\ntrusted-proxies = "unix"',
     'file-perms = "0640"'],
)  # fmt: skip
def test_config_files_take_the_types_of_toml(content: str, tmp_path: Path) -> None:
    config = tmp_path / "tusserver.toml"
    config.write_text(content)
    check(tmp_path, "--config", str(config), "--upload-dir", str(tmp_path / "up"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("colour = 'red'", "unknown key 'colour'"),
        ("uplod_dir = 'x'", "did you mean 'upload-dir'?"),
        ("Port = 1", "did you mean 'port'?"),
        ("max_size = 1\nmax-size = 2", "has the key 'max-size' twice"),
        ("port = 'x'", "port cannot be 'x'; give a whole number"),
        ("port = true", "port cannot be True"),
        ("disable-download = 1", "disable-download cannot be 1"),
        ("max-size = true", "max-size cannot be True"),
        ("max-size = 'big'", "or off (from the file of --config)"),
        ("max-size = 1.5", "max-size cannot be 1.5"),
        ("max-size = inf", "max-size cannot be inf"),
        ("expire-after = inf", "is no time span"),
        ("expire-after = nan", "is no time span"),
        ("expire-after = -1", "is no time span"),
        ("upload-dir = '/a\\u0000'".replace("'", '"'), "is no path"),
        ("file-perms = 664", "file-perms cannot be 664; give octal digits in quotes"),
        ("cors-allow-origin = [1]", "cannot be [1]"),
        ("[serve]\nport = 1", "unknown key 'serve'"),
        ("port = ", "cannot read"),
        ("sync = 'maybe'", "'none', 'finish', 'patch'"),
    ],
)
def test_a_bad_config_file_is_one_line(content: str, words: str, tmp_path: Path) -> None:
    config = tmp_path / "tusserver.toml"
    config.write_text(content)
    assert words in complaint("--config", str(config))


def test_config_files_are_utf8_whatever_the_locale_and_the_editor(tmp_path: Path) -> None:
    config = tmp_path / "tusserver.toml"
    config.write_bytes(b"\xef\xbb\xbf" + f'upload-dir = "{tmp_path}/up" # le dépôt'.encode())
    command = [sys.executable, "-m", "tusserver", "--config", str(config), "--check-config"]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(command, check=True, capture_output=True, env=env, timeout=30)
    assert (tmp_path / "up").is_dir()


def test_a_missing_config_file_is_one_line(tmp_path: Path) -> None:
    assert "No such file" in complaint("--config", str(tmp_path / "none.toml"))


def failure(*arguments: str) -> str:
    """The one line of a command that ends with exit code 1."""
    command = [sys.executable, "-m", "tusserver", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done
    assert re.fullmatch(r"tusserver: .+\n", done.stderr), done.stderr
    return done.stderr


def test_an_upload_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot store uploads" in failure("--upload-dir", str(tmp_path / "file"))


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = failure("--port", port, "--upload-dir", str(tmp_path))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in found


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_a_host_that_is_not_ours_is_one_line(host: str, tmp_path: Path) -> None:
    found = failure("--host", host, "--port", "0", "--upload-dir", str(tmp_path))
    assert f"cannot listen on {host}:0" in found


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_tells_where_it_listens_stores_and_what_it_offers(workers: str, tmp_path: Path) -> None:
    options = ("--max-size", "1GiB", "--expire-after", "36h")
    with process_server(tmp_path / "up", "--workers", workers, *options) as server:
        started = server.log.read_text()
        assert f"http://127.0.0.1:{server.port}/files/" in started
        assert str(tmp_path / "up") in started
        assert "checksum-trailer" in started
        assert str(2**30) in started
        assert "unfinished uploads expire after 36h" in started
        assert server.stop() == 0


def test_a_unix_socket_is_used_with_its_permissions_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "tus.sock"
    for _ in range(2):
        command = [sys.executable, "-m", "tusserver", "--unix-sock", str(path),
                   "--unix-sock-perms", "0600", "--upload-dir", str(tmp_path / "up")]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        eventually(lambda: path.exists() and _answers(path))
        assert path.stat().st_mode & 0o777 == 0o600
        tus = Tus(str(path))
        assert tus.content(tus.made(b"hello")) == b"hello"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert not path.exists()
        # A killed server leaves its socket; the next one takes the place.
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopping_server_leaves_the_unix_socket_of_its_successor(
    workers: str, tmp_path: Path
) -> None:
    path = Path(os.path.relpath(tmp_path / "u.sock"))
    arguments = ("--unix-sock", str(path), "--workers", workers)
    with (
        unix_server(path, *arguments, "--upload-dir", str(tmp_path / "1")) as former,
        Tus(str(path)).wire() as wire,
    ):
        url = Tus(str(path)).made(bytes(8 * 1024 * 1024))
        wire.send(head("GET", url))  # And reads nothing, so that the stop takes its time.
        time.sleep(0.3)
        former.terminate()
        eventually(lambda: not _answers(path))
        with unix_server(path, *arguments, "--upload-dir", str(tmp_path / "2")):
            assert former.poll() is None
            wire.close()
            assert former.wait(20) == 0
            Tus(str(path)).assert_live()
        assert not path.exists()


@contextmanager
def unix_server(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on this unix socket, until it is terminated."""
    process = subprocess.Popen([sys.executable, "-m", "tusserver", *arguments])
    try:
        eventually(lambda: _answers(path), within=20)
        Tus(str(path)).assert_live()
        yield process
    finally:
        process.terminate()
        process.wait(20)


def test_a_unix_socket_in_use_and_a_plain_file_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "tus.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        arguments = ("--unix-sock", str(path), "--upload-dir", str(tmp_path / "up"))
        assert "another process listens there" in failure(*arguments)
    path.unlink()
    path.write_text("precious")
    assert "a file that is no socket is there already" in failure(*arguments)
    assert path.read_text() == "precious"


def test_a_dead_worker_is_replaced_and_workers_end_with_the_supervisor(tmp_path: Path) -> None:
    with process_server(tmp_path / "up", "--workers", "2") as server:
        assert server.process is not None
        first = _children(server)
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(_children(server)) == 2 and _children(server) != first)
        server.tus.assert_live()
        second = _children(server)
        os.kill(server.process.pid, signal.SIGKILL)
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in second))


def _children(server: ProcessServer) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_workers_once(number: int, tmp_path: Path) -> None:
    with process_server(tmp_path / "up", "--workers", "2") as server:
        assert server.process is not None
        url = server.tus.mk(10)
        with server.tus.begin_patch(url, 0, 10) as wire:
            wire.send(b"hello")
            eventually(lambda: server.tus.off(url) == 5)
            os.killpg(server.process.pid, number)
            assert wire.answer("PATCH").status == 503
        assert server.process.wait(20) == 0


def test_https_with_the_given_certificate(tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with process_server(tmp_path / "up", *options, tls=context) as server:
        with Wire(("127.0.0.1", server.port), tls=context) as wire:
            assert wire.request("OPTIONS", "/files/").status == 200
        assert f"https://127.0.0.1:{server.port}/files/" in server.log.read_text()


def _self_signed(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
               "subjectAltName=DNS:localhost", "-keyout", str(key),
               "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("none.pem", "key.pem", "cannot read .*none.pem: No such file"),
        ("cert.pem", "directory", "cannot read .*directory: Is a directory"),
        ("cert.pem", "other.pem", "other.pem does not belong to the certificate"),
        ("cert.pem", "junk.pem", "are not a certificate and its key in PEM form"),
        ("key.pem", "cert.pem", "are not a certificate and its key in PEM form"),
        ("cert.pem", "locked.pem", "locked.pem has a pass phrase"),
    ],
)
def test_unusable_certificates_are_one_line(
    certificate: str, key: str, words: str, tmp_path: Path
) -> None:
    _self_signed(tmp_path)
    (tmp_path / "directory").mkdir()
    (tmp_path / "junk.pem").write_text("junk")
    curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for command in (
        ["genpkey", *curve, "-out", str(tmp_path / "other.pem")],
        ["genpkey", *curve, "-aes128", "-pass", "pass:x", "-out", str(tmp_path / "locked.pem")],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    files = ("--tls-certificate", str(tmp_path / certificate), "--tls-key", str(tmp_path / key))
    for options in (("--check-config",), ("--port", "0", "--workers", "2")):
        found = failure("--upload-dir", str(tmp_path / "up"), *files, *options)
        assert re.search(words, found), found


def test_log_lines_as_text_and_as_json(tmp_path: Path) -> None:
    with process_server(tmp_path / "text", "--access-log") as server:
        server.tus.mk(5)
        eventually(lambda: '"POST /files/" 201' in server.log.read_text())
    with process_server(tmp_path / "json", "--access-log", "--log-format", "json") as server:
        server.tus.mk(5)
        eventually(lambda: '"status":201' in server.log.read_text())
        entries = [line for line in server.log.read_text().splitlines() if line[:1] == "{"]
        entry = json.loads(entries[-1])
        assert (entry["method"], entry["path"]) == ("POST", "/files/")


def test_an_aborted_command_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tusserver", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    monkeypatch.setattr(sys, "argv", ["tusserver", "ls", "--upload-dir", "/no/such"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == main_module.FAILURE


def test_free_ports_are_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tusserver", "--port", "0", "--upload-dir", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    process.terminate()
    process.communicate(timeout=20)
    assert re.search(r"http://127.0.0.1:[1-9][0-9]*/files/", lines[1]), lines
