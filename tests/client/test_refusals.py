"""What servers refuse, what passes, and the exit codes that scripts see."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import jwt
import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI
from tests.client.gate import Gate
from tests.client.scripted import Asked, Reply, Scripted
from tests.conftest import Serve
from tests.servers import free_port, process_server
from tests.tus import Tus

SECRET = "a secret of thirty-two bytes at the least"


def url_of(tus: Tus) -> str:
    return f"http://127.0.0.1:{tus.address[1]}/files/"


def token(user: str = "alice", *, secret: str = SECRET, **claims: object) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + 3600, **claims}, secret, "HS256")


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> Tus:
    """A server that asks for tokens."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    return serve(jwt_secret_file=secret, jwt_max_size_claim="max")


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"max_size": 10}, 413), ({"allow_extensions": ("csv",)}, 415)],
    ids=["too large", "of a wrong kind"],
)
def test_what_a_server_does_not_take_is_told_in_its_words_and_not_tried_again(
    serve: Serve, command: Command, settings: dict[str, object], status: int
) -> None:
    tus = serve(**settings)
    trees.make(command.home, {"data.bin": 11})
    done = command.run("upload", "data.bin", "--to", url_of(tus), "--json")
    assert done.code == 3
    (refused,) = done.named("refused")
    assert refused["status"] == status
    assert "ERR_" in refused["message"]
    assert not done.named("waiting")
    assert done.named("summary")[0]["exit_code"] == 3
    # A person is told the same.
    shown = command.run("upload", "data.bin", "--to", url_of(tus))
    assert refused["message"] in shown.out


def test_a_file_that_is_refused_does_not_keep_the_others_back(
    serve: Serve, command: Command
) -> None:
    tus = serve(max_size=10)
    trees.make(command.home / "run", {"a": 5, "b": 11, "c": 10})
    done = command.run("upload", "run", "--to", url_of(tus), "--json")
    assert done.code == 3
    assert done.named("summary")[0]["files"] == {"refused": 1, "uploaded": 2}


def test_without_a_token_the_server_says_what_is_missing(guarded: Tus, command: Command) -> None:
    trees.make(command.home, {"data.bin": 11})
    done = command.run("upload", "data.bin", "--to", url_of(guarded))
    assert done.code == 3
    assert "refused" in done.out
    assert "token" in done.out


def test_a_token_from_the_environment_is_sent(guarded: Tus, command: Command) -> None:
    trees.make(command.home, {"data.bin": 11})
    arguments = ("upload", "data.bin", "--to", url_of(guarded))
    assert command.run(*arguments, TUSSERVER_TOKEN=token()).code == 0


def test_what_the_token_does_not_allow_is_forbidden_for_good(
    guarded: Tus, command: Command
) -> None:
    trees.make(command.home, {"data.bin": 11})
    path = guarded.mk(11, {"Authorization": f"Bearer {token('bob')}"})
    url = f"http://127.0.0.1:{guarded.address[1]}{path}"
    done = command.run("status", url, TUSSERVER_TOKEN=token())
    # An answer to HEAD has no room for a sentence.
    assert (done.code, done.err) == (3, f"tusserver: {url}: HTTP 403 Forbidden\n")
    done = command.run("upload", "data.bin", "--to", url_of(guarded), TUSSERVER_TOKEN=token(max=10))
    assert done.code == 3
    assert "ERR_" in done.out


def test_a_token_that_is_not_good_any_more_in_the_middle_is_read_again_from_its_file(
    command: Command, tmp_path: Path
) -> None:
    path = trees.make(command.home, {"data.bin": 12 * MEBI}) / "data.bin"
    secret, file = tmp_path / "secret", command.home / "token"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    file.write_text(token())
    with (
        process_server(tmp_path / "uploads", "--jwt-secret-file", str(secret)) as server,
        Gate(("127.0.0.1", server.port), 4 * MEBI) as gate,
    ):
        process = command.start(
            "upload", "data.bin", "--to", gate.url, "--token-file", "token", "--json"
        )
        gate.wait_until_held()
        # From now on the server believes no token that it has believed so far.
        server.kill()
        secret.write_text(SECRET[::-1])
        file.write_text(token(secret=SECRET[::-1]) + "\n")
        gate.open()
        server.start()
        done = command.end(process)
    assert done.code == 0, done
    renewed = [event for event in done.named("waiting") if "renewed" in event["message"]]
    assert [event["seconds"] for event in renewed] == [0]
    assert done.named("uploaded")[0]["size"] == path.stat().st_size
    assert len({event["url"] for event in done.named("begun")}) == 1


def test_a_token_file_that_cannot_be_used_is_a_wrong_command(command: Command) -> None:
    trees.make(command.home, {"data.bin": 1})
    (command.home / "empty").touch()
    (command.home / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "empty", "binary"):
        done = command.run(
            "upload", "data.bin", "--to", "http://127.0.0.1:1/", "--token-file", name
        )
        assert done.code == 2
        assert "token" in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload", "data.bin"),
        ("upload", "data.bin", "--to", "portal.example/files"),
        ("upload", "missing", "--to", "http://127.0.0.1:1/"),
        ("upload", "/dev/null", "--to", "http://127.0.0.1:1/"),
        ("upload", "data.bin", "--to", "http://127.0.0.1:1/", "--chunk-size", "much"),
        ("upload", "data.bin", "--to", "http://127.0.0.1:1/", "--parallel", "0"),
        ("download", "nowhere"),
        ("status", "nowhere"),
    ],
)
def test_a_wrong_command_is_told_on_one_line(command: Command, arguments: tuple[str, ...]) -> None:
    trees.make(command.home, {"data.bin": 1})
    done = command.run(*arguments)
    assert done.code == 2, done
    assert done.err.startswith("tusserver: ")
    assert done.err.count("\n") == 1
    assert not done.out


def test_no_server_is_tried_again_and_then_given_up(command: Command) -> None:
    trees.make(command.home, {"data.bin": 1})
    nowhere = f"http://127.0.0.1:{free_port()}/files/"
    done = command.run("upload", "data.bin", "--to", nowhere, "--retries", "2", "--json")
    assert done.code == 1
    first, second = (event["seconds"] for event in done.named("waiting"))
    assert 0.75 <= first <= 1
    assert 1.5 <= second <= 2
    assert "Connection refused" in done.named("failed")[0]["message"]


def test_the_server_says_when_to_come_back(command: Command) -> None:
    trees.make(command.home, {"empty": 0})
    replies: list[Reply] = [
        (429, {"Retry-After": "1"}, b""),
        (503, {"Content-Type": "text/plain"}, b"down for a moment\nmore"),
        (201, {"Location": "1"}, b""),
    ]
    with Scripted(lambda asked: replies.pop(0)) as server:
        done = command.run("upload", "empty", "--to", server.url, "--json")
    assert done.code == 0, done
    first, second = done.named("waiting")
    assert first["seconds"] >= 1
    assert second["message"] == "down for a moment"


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([(301, {"Location": "https://elsewhere/"}, b"")], "points to https://elsewhere/"),
        ([(200, {}, b"")], "no tus server"),
        ([(201, {}, b"")], "no tus server"),
        ([(404, {}, b"")], "404"),
        ([(501, {"Content-Type": "application/json"}, b"nonsense")], "HTTP 501"),
        ([(400, {"Content-Type": "application/json"}, b"[]")], "HTTP 400"),
        ([(400, {"Content-Type": "application/json"}, b'{"message": 5}')], "HTTP 400"),
        ([(400, {"Content-Type": "application/json"}, b'{"detail": "no\\u001b[2J"}')], "no�[2J"),
        ([(201, {"Location": "1"}, b""), (204, {}, b"")], "PATCH has no Upload-Offset"),
    ],
)
def test_answers_that_no_tus_server_gives_are_refusals(
    command: Command, replies: list[Reply], said: str
) -> None:
    trees.make(command.home, {"data.bin": 5})
    with Scripted(lambda asked: replies.pop(0)) as server:
        done = command.run("upload", "data.bin", "--to", server.url, "--json")
    assert done.code == 3, done
    assert said in done.named("refused")[0]["message"]


def test_a_server_that_stores_nothing_is_not_asked_for_ever(command: Command) -> None:
    trees.make(command.home, {"data.bin": 5})

    def script(asked: Asked) -> Reply:
        if asked.method == "POST":
            return 201, {"Location": "1"}, b""
        return 200, {"Upload-Offset": "0"}, b""

    with Scripted(script) as server:
        arguments = ("--to", server.url, "--retries", "1", "--json")
        done = command.run("upload", "data.bin", *arguments)
    assert done.code == 1, done
    assert "stored nothing" in done.named("failed")[0]["message"]


@pytest.mark.parametrize(
    ("head", "said"),
    [((200, {}, b""), "HEAD has no Upload-Offset"), ((404, {}, b""), "404")],
    ids=["no offset", "gone each time"],
)
def test_a_server_that_loses_everything_is_not_begun_with_for_ever(
    command: Command, head: Reply, said: str
) -> None:
    trees.make(command.home, {"data.bin": 5})

    def script(asked: Asked) -> Reply:
        if asked.method == "POST":
            return 201, {"Location": "1"}, b""
        return (423, {"Retry-After": "0"}, b"") if asked.method == "PATCH" else head

    with Scripted(script) as server:
        done = command.run("upload", "data.bin", "--to", server.url, "--json")
    assert done.code == 3, done
    assert said in done.named("refused")[0]["message"]
    assert server.methods().count("POST") <= 4


def test_the_token_goes_to_no_other_server(command: Command) -> None:
    trees.make(command.home, {"data.bin": 5})

    def store(asked: Asked) -> Reply:
        return 204, {"Upload-Offset": "5"}, b""

    with (
        Scripted(store) as other,
        Scripted(lambda asked: (201, {"Location": f"{other.url}1"}, b"")) as server,
    ):
        done = command.run(
            "upload", "data.bin", "--to", server.url, TUSSERVER_TOKEN="a.secret.token"
        )
    assert done.code == 0, done
    assert server.asked[0].headers["authorization"] == "Bearer a.secret.token"
    assert "authorization" not in other.asked[0].headers


def test_a_state_that_cannot_be_written_is_told(command: Command) -> None:
    trees.make(command.home, {"data.bin": 5, "state": 3})
    done = command.run("upload", "data.bin", "--to", "http://127.0.0.1:1/")
    assert done.code == 1
    assert "see --no-resume" in done.err
    assert done.err.count("\n") == 1


def test_without_tuspy_one_line_names_what_to_install(command: Command) -> None:
    (command.home / "tusclient").mkdir()
    (command.home / "tusclient" / "__init__.py").write_text("raise ModuleNotFoundError('no tuspy')")
    path = os.pathsep.join([str(command.home), os.environ.get("PYTHONPATH", "")])
    for words in (("upload", "-", "--to", "http://a/"), ("download", "http://a/"),
                  ("status", "http://a/"), ("cancel", "http://a/")):  # fmt: skip
        done = command.run(*words, PYTHONPATH=path)
        assert done.code == 1
        assert done.err == "tusserver: this command needs tuspy: pip install 'tusserver[client]'\n"


def test_an_entry_of_another_version_counts_for_nothing(serve: Serve, command: Command) -> None:
    tus = serve()
    trees.make(command.home, {"data.bin": 5})
    interrupted = Scripted(lambda asked: (201, {"Location": "1"}, b"") if asked.method == "POST"
                           else (403, {}, b""))  # fmt: skip
    with interrupted as server:
        assert command.run("upload", "data.bin", "--to", server.url).code == 3
    (entry,) = command.state.glob("*.json")
    for broken in (b"{", b"[]", json.dumps({"url": "x"}).encode()):
        entry.write_bytes(broken)
        assert command.run("upload", "data.bin", "--to", url_of(tus)).code == 0
