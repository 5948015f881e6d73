"""`tusserver status` and `tusserver cancel`."""

from __future__ import annotations

import json

import pytest

from tests.client import trees
from tests.client.command import Command
from tests.client.conftest import MEBI, Site, interrupted
from tests.client.gate import Gate
from tests.client.scripted import Reply, Scripted
from tests.conftest import Serve


def test_status_tells_where_uploads_stand(serve: Serve, command: Command) -> None:
    tus = serve(api="on")
    url = f"http://127.0.0.1:{tus.address[1]}"
    half = tus.mk(1000, {"Upload-Metadata": "filename ZGF0YS5oNQ=="})
    tus.pa(half, 0, bytes(250))
    empty = tus.mk(0)
    done = command.run("status", f"{url}{half}", f"{url}{empty}")
    assert done.code == 0, done
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[1][:7] == ["data.h5", "uploading", "250", "bytes", "1.0", "kB", "25.0"]
    assert rows[2][:7] == ["–", "finished", "0", "bytes", "0", "bytes", "100.0"]
    told = command.run("status", "--json", f"{url}{half}")
    facts = json.loads(told.out)
    assert (facts["offset"], facts["length"], facts["percent"]) == (250, 1000, 25.0)
    # What only the status API knows.
    assert facts["metadata"] == {"filename": "data.h5"}


def test_status_needs_no_status_api(serve: Serve, command: Command) -> None:
    tus = serve()
    path = tus.mk(None)
    done = command.run("status", "--json", f"http://127.0.0.1:{tus.address[1]}{path}")
    facts = json.loads(done.out)
    assert (facts["offset"], facts["length"], facts["percent"]) == (0, None, None)
    assert facts["state"] == "uploading"


def test_one_url_that_fails_does_not_keep_the_others_back(serve: Serve, command: Command) -> None:
    tus = serve()
    url = f"http://127.0.0.1:{tus.address[1]}"
    path = tus.mk(5)
    done = command.run("status", f"{url}/files/missing", f"{url}{path}")
    assert done.code == 3
    assert "uploading" in done.out
    assert "missing: HTTP 404" in done.err


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Upload-Concat": "final;/a /b"}, {"state": "uploading", "offset": None}),
        ({"Upload-Offset": "5", "Upload-Length": "5", "Upload-Refused": "too bad"},
         {"state": "refused", "refusal": "too bad"}),
        ({"Upload-Offset": "5", "Upload-Metadata": "!"}, {"filename": "", "offset": 5}),
        ({"Upload-Offset": "5", "Upload-Place": "a%2Fb%1B"}, {"place": "a/b�"}),
    ],
)  # fmt: skip
def test_status_understands_other_servers(
    command: Command, headers: dict[str, str], expected: dict[str, object]
) -> None:
    with Scripted(
        lambda asked: (200, headers, b"") if asked.method == "HEAD" else (200, {}, b"[]")
    ) as server:
        done = command.run("status", "--json", f"{server.url}x")
        shown = command.run("status", f"{server.url}x")
    assert (done.code, shown.code) == (0, 0)
    assert json.loads(done.out).items() >= expected.items()


def test_what_is_no_upload_is_told(command: Command) -> None:
    with Scripted(lambda asked: (200, {}, b"")) as server:
        done = command.run("status", f"{server.url}x")
    assert (done.code, "no Upload-Offset" in done.err) == (3, True)


def test_status_is_asked_again_while_a_server_is_down(command: Command) -> None:
    replies: list[Reply] = [
        (503, {}, b""), (200, {"Upload-Offset": "1"}, b""), (404, {}, b""), (503, {}, b""),
    ]  # fmt: skip
    with Scripted(lambda asked: replies.pop(0)) as server:
        done = command.run("status", f"{server.url}x")
        failed = command.run("status", f"{server.url}x", "--retries", "0")
    assert (done.code, "again in 1 s" in done.err) == (0, True)
    assert failed.code == 1


def test_cancel_removes_an_upload_and_what_was_remembered(
    site: Site, command: Command, gate: Gate
) -> None:
    trees.make(command.home, {"data.bin": 24 * MEBI})
    arguments = ("upload", "data.bin", "--to", gate.url, "--json")
    url = interrupted(command, gate, 12 * MEBI, *arguments).named("begun")[0]["url"]
    assert site.uploads() == 1
    done = command.run("cancel", url)
    assert (done.code, done.out) == (0, f"{url}: removed\n")
    assert site.uploads() == 0
    assert not list(command.state.glob("*.json"))
    # Nothing is there any more; and nothing is begun anew that would have to be told.
    assert command.run("cancel", url).code == 3
    assert not command.run(*arguments).named("anew")


def test_cancel_for_scripts(serve: Serve, command: Command) -> None:
    tus = serve()
    url = f"http://127.0.0.1:{tus.address[1]}{tus.mk(5)}"
    done = command.run("cancel", "--json", url)
    assert (done.code, json.loads(done.out)) == (0, {"url": url, "state": "removed"})


def test_what_a_server_does_not_remove_is_told(serve: Serve, command: Command) -> None:
    tus = serve(disable_termination=True)
    done = command.run("cancel", f"http://127.0.0.1:{tus.address[1]}{tus.mk(5)}")
    assert done.code == 3
    assert done.err.count("\n") == 1
