"""The runner: what it makes of servers that fall, checks that break down, and what is absent."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from conformance.check import Check
from conformance.discovery import NeedsCredentials, Unreachable, discover
from conformance.runner import FALLS, Report, Runner
from conformance.target import Target
from conformance.verdict import Verdict
from tests.conformance.tiny import Refused, Request, Response, Tiny

if TYPE_CHECKING:
    from conformance.probe import Probe


class Mortal(Tiny):
    """Falls at PATCH with a media type of death, and can be raised again on the same port."""

    falls_at_get = False

    def __init__(self) -> None:
        super().__init__()
        self.port = int(self.url.split(":")[2].split("/")[0])
        self.restarts = 0

    def fall(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def restart(self) -> None:
        self.fall()
        self.restarts += 1
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.__enter__()

    def check_label(self, request: Request) -> None:
        if request.get("content-type") == "application/death":
            self.fall()
        super().check_label(request)

    def get(self, request: Request) -> Response:
        response = super().get(request)
        if self.falls_at_get:
            self.fall()
        return response


def deadly(c: Probe) -> None:
    answer = c.pa(c.mk(4), 0, b"data", {"Content-Type": "application/death"})
    c.status("CORE-PATCH-03", answer, (415,))


def harmless(c: Probe) -> None:
    c.expect("CORE-HEAD-01", c.off(c.mk(4)) == 0, "an offset of 0")


def breaks_down(c: Probe) -> None:
    c.expect("CORE-HEAD-04", True, "a length")
    with c.wire() as wire:
        wire.send(b"GET / HTTP/9.9\r\n\r\n")
        wire.answer()
        wire.answer()


DEADLY = Check("deadly", ("CORE-PATCH-03",), deadly)
HARMLESS = [Check(f"harmless {number}", ("CORE-HEAD-01",), harmless) for number in range(8)]


def run(target: Target, *checks: Check, jobs: int = 1) -> Report:
    return Runner(target, discover(target), jobs=jobs).run(checks)


def test_a_server_that_falls_ends_the_run() -> None:
    with Mortal() as server:
        report = run(Target(server.url, timeout=2), HARMLESS[0], FATAL, *HARMLESS[1:3])
    assert report.down_after == "CORE-PATCH-04"
    assert report.rows["CORE-HEAD-01"].verdict is Verdict.PASS
    assert "down after CORE-PATCH-04" in report.rows["CORE-PATCH-01"].reason


def fatal(c: Probe) -> None:
    c.pa(c.mk(4), 0, b"data", {"Content-Type": "application/death"})
    c.expect("CORE-PATCH-04", c.off(c.mk(4)) == 0, "a server that still answers")


FATAL = Check("fatal", ("CORE-PATCH-04",), fatal)


@pytest.mark.parametrize("jobs", [1, 4])
def test_one_that_can_be_started_again_is_and_only_the_culprit_is_blamed(jobs: int) -> None:
    with Mortal() as server:
        target = Target(server.url, timeout=2, restarter=server.restart)
        report = run(target, *HARMLESS[:3], FATAL, *HARMLESS[3:], jobs=jobs)
    assert report.falls == ("fatal",)
    assert not report.down_after
    assert report.rows["CORE-HEAD-01"].verdict is Verdict.PASS
    assert report.rows["CORE-PATCH-04"].verdict is Verdict.FAIL
    assert report.rows[FALLS].verdict is Verdict.FAIL
    assert "fatal" in report.rows[FALLS].findings[-1].got
    assert server.restarts >= 1


def test_a_fall_that_leaves_an_answer_behind_is_noticed_as_well() -> None:
    with Mortal() as server:
        target = Target(server.url, timeout=2, restarter=server.restart)
        alone = Check("deadly", ("CORE-PATCH-03",), deadly, is_alone=True)
        report = run(target, alone, *HARMLESS[:1])
    assert report.falls == ("deadly",)
    assert report.rows["CORE-PATCH-03"].verdict is Verdict.PASS


def test_contents_are_not_compared_where_a_download_is_fatal() -> None:
    with Mortal() as server:
        server.falls_at_get = True
        target = Target(server.url, timeout=2, restarter=server.restart)
        found = discover(target)
        assert "get" not in found.holds
        assert run(target, HARMLESS[0]).rows[FALLS].verdict is Verdict.FAIL
        server.restart()
        with pytest.raises(Unreachable, match="GET of a finished upload"):
            discover(Target(server.url, timeout=2))


def test_a_check_that_gets_no_answer_blames_only_the_rows_still_to_be_shown() -> None:
    both = Check("breaks", ("CORE-HEAD-04", "CORE-HEAD-06"), breaks_down)
    with Tiny() as server:
        report = run(Target(server.url, timeout=2), both)
    assert report.rows["CORE-HEAD-04"].verdict is Verdict.PASS
    assert report.rows["CORE-HEAD-06"].verdict is Verdict.WARN
    assert not report.down_after


def test_an_extension_that_is_not_announced_is_never_a_pass() -> None:
    class Bare(Tiny):
        extensions = ("creation",)

    with Bare() as server:
        report = run(Target(server.url), *HARMLESS[:1])
        assumed = discover(Target(server.url, assumed=frozenset({"checksum"})))
    assert report.rows["CHK-08"].verdict is Verdict.NOT_APPLICABLE
    assert "does not offer checksum" in report.rows["CHK-08"].reason
    assert "checksum" in assumed.holds


def test_a_server_that_refuses_strangers_is_not_judged() -> None:
    class Guarded(Tiny):
        def route(self, request: Request) -> Response:
            if request.get("authorization") != "Bearer key":
                raise Refused(401, "Who are you?")
            return super().route(request)

    with Guarded() as server:
        with pytest.raises(NeedsCredentials):
            discover(Target(server.url))
        target = Target(server.url, headers=(("Authorization", "Bearer key"),))
        assert run(target, HARMLESS[0]).rows["CORE-HEAD-01"].verdict is Verdict.PASS


@pytest.mark.parametrize("location", ["http://[x", "http://127.0.0.1:99999/x"])
def test_a_location_that_is_no_url_does_not_end_the_run(location: str) -> None:
    class Lost(Tiny):
        def create(self, request: Request) -> Response:
            return super().create(request).set("Location", location)

    with Lost() as server:
        target = Target(server.url, timeout=2)
        report = run(target, HARMLESS[0])
    assert report.rows["CORE-HEAD-01"].verdict is Verdict.UNVERIFIABLE


def test_no_server_at_all() -> None:
    with pytest.raises(Unreachable):
        discover(Target("http://127.0.0.1:1/files/"))
