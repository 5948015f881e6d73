"""A server that is killed again and again in the middle of everything: acknowledged bytes are never
lost, no byte is wrong, no upload gets stuck, and a sweep leaves nothing behind.

Several clients create, append (plainly, with checksums, chunked, with trailers), join and terminate
uploads. SIGKILL comes while one of them is in a phase that is drawn by lot, to the whole server or
to one of its workers. TUSSERVER_TEST_KILLS sets how often, TUSSERVER_TEST_SEED repeats a run as far
as threads allow.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.crew import PHASES, Client, Crew
from tests.servers import ProcessServer
from tests.tus import eventually

if TYPE_CHECKING:
    from tests.e2e.ledger import Known
    from tests.wire import Answer

KILLS = int(os.environ.get("TUSSERVER_TEST_KILLS", "40"))
SEED = int(os.environ.get("TUSSERVER_TEST_SEED", random.randrange(2**32)))


class Server(ProcessServer):
    """One life of the server; `workers` of them when it is more than one."""

    def __init__(self, upload_dir: Path, workers: int, sync: str, direct_io: str) -> None:
        options = ("--sync", sync, "--direct-io", direct_io)
        super().__init__(upload_dir, "--workers", str(workers), *options)

    def kill(self) -> None:
        """Unlike the base class does not wait for init to bury the workers, which can take long."""
        workers = self._workers()
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        eventually(lambda: all(_is_dead(pid) for pid in workers))

    def kill_worker(self, chance: random.Random) -> None:
        """SIGKILL to one worker; the others go on, and it is replaced."""
        # The one before may have been the last, with its replacement still to come.
        eventually(lambda: bool(self._workers()))
        os.kill(chance.choice(self._workers()), signal.SIGKILL)

    def _workers(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]


def _is_dead(pid: int) -> bool:
    """Whether no thread of it runs any more, buried or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return True


class Inspector:
    """Looks at everything after each kill, while the clients are parked."""

    def __init__(self, crew: Crew, upload_dir: Path, chance: random.Random) -> None:
        self._crew = crew
        self._upload_dir = upload_dir
        self._chance = chance

    def check(self, *, finish_all: bool = False) -> None:
        """Every upload stands where it may, with the right bytes; those in flight go on, and some
        others.
        """
        self._adopt()
        for client, known in list(self._crew.live()):
            if known.is_final:
                self._check_final(client, known, finish_all=finish_all)
                continue
            was_in_flight = known.attempt is not None
            if not self._stands_right(known):
                continue
            if was_in_flight or finish_all or self._chance.random() < 0.15:
                client.finish(known)
                client.assert_right(known)

    def _adopt(self) -> None:
        """Uploads whose creation was not answered: there as a whole, or not at all."""
        found = {}
        for path in self._upload_dir.glob("*.info"):
            # A record without data is what is left of a creation or termination.
            if path.with_suffix("").exists():
                metadata = json.loads(path.read_text())["MetaData"]
                found[metadata["key"]] = f"{self._crew.tus.creation}{path.stem}"
        for _, known in self._crew.live():
            if known.url is None:
                known.url = found.get(known.key)
                known.is_gone = known.url is None
        strangers = found.keys() - {known.key for _, known in self._crew.live()}
        assert not strangers, f"removed uploads are there: {strangers}"

    def _head(self, known: Known) -> Answer | None:
        """How it stands; None if it is gone and may be."""
        answer = self._crew.tus.hd(known.path)
        if answer.status == 404 and known.is_ending:
            known.is_gone = True
            return None
        assert answer.status == 200, (answer, known)
        known.is_ending = False
        return answer

    def _stands_right(self, known: Known) -> bool:
        """Whether it is there; then its offset is one that may be, and all before it is right."""
        answer = self._head(known)
        if answer is None:
            return False
        offset = int(answer["Upload-Offset"])
        assert known.allows(offset), (offset, known)
        with open(self._upload_dir / known.upload_id, "rb") as file:
            assert file.read(offset) == known.data[:offset], (offset, known)
        length = answer.get("Upload-Length")
        assert length == str(known.length) or (length is None and not known.is_declared)
        known.is_declared = length is not None
        known.settle(offset)
        return True

    def _check_final(self, client: Client, known: Known, *, finish_all: bool) -> None:
        answer = self._head(known)
        if answer is None:
            return
        if finish_all or self._chance.random() < 0.5:
            for part in known.parts:
                client.finish(part)
        if not known.is_joinable:
            assert answer.get("Upload-Offset") is None
            return
        whole = str(known.length)
        eventually(lambda: self._crew.tus.hd(known.path).get("Upload-Offset") == whole)
        known.is_declared = True
        known.settle(known.length)
        client.assert_right(known)


def command(name: str, upload_dir: Path, *arguments: str) -> str:
    """What `tusserver <name>` says, which must be content."""
    done = subprocess.run(
        [sys.executable, "-m", "tusserver", name, "--upload-dir", str(upload_dir), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (name, done.stdout, done.stderr)
    return done.stdout


class Rounds:
    """One run: a kill, a look, and so on; at the end the books are compared with the directory."""

    def __init__(self, upload_dir: Path, workers: int) -> None:
        self.chance = random.Random(f"{SEED} {workers}")
        self.upload_dir = upload_dir
        self.workers = workers
        self.crew = Crew(f"{SEED} {workers}")
        self.inspector = Inspector(self.crew, upload_dir, self.chance)
        self.server = self._new_server()

    def _new_server(self) -> Server:
        sync = self.chance.choice(("finish", "finish", "patch", "none"))
        direct_io = self.chance.choice(("off", "on"))
        server = Server(self.upload_dir, self.workers, sync, direct_io)
        server.start()
        return server

    def run(self, kills: int) -> None:
        phases: list[str] = []
        for number in range(kills):
            # Each phase before any comes again.
            phases = phases or self.chance.sample(PHASES, len(PHASES))
            phase = phases.pop()
            try:
                self._round(phase)
            except BaseException as error:
                error.add_note(f"TUSSERVER_TEST_SEED={SEED}, kill {number} in {phase}")
                raise
        self.crew.pause()
        self.crew.await_parked()
        self.inspector.check(finish_all=True)

    def _round(self, phase: str) -> None:
        self.crew.resume(self.server.tus)
        self.crew.await_phase(phase)
        time.sleep(self.chance.uniform(0, self.chance.choice((0, 0.003, 0.03))))
        self.crew.pause()
        is_whole = self.workers == 1 or self.chance.random() < 0.6
        if is_whole:
            self.server.kill()
        else:
            self.server.kill_worker(self.chance)
        self.crew.await_parked()
        if is_whole:
            # Without `verify` the server has to mend by itself what it comes across.
            if self.chance.random() < 0.3:
                command("verify", self.upload_dir)
            self.server = self._new_server()
            self.crew.tus = self.server.tus
        elif self.chance.random() < 0.3:
            command("sweep", self.upload_dir)
        self.inspector.check()

    def close(self) -> None:
        self.crew.finish()
        process = self.server.process
        if process is not None and process.poll() is None:
            self.server.kill()

    def compare_with_directory(self) -> None:
        """Nothing is there but what belongs to a live upload; after their end nothing at all."""
        assert self.server.stop() == 0
        command("sweep", self.upload_dir)
        ids = {known.upload_id for _, known in self.crew.live()}
        listed = command("ls", self.upload_dir, "--json").splitlines()
        assert {json.loads(line)["id"] for line in listed} == ids
        files = ids | {f"{upload_id}.info" for upload_id in ids}
        assert _tree(self.upload_dir) == SKELETON | files
        assert command("verify", self.upload_dir) == "Everything is in order.\n"
        command("rm", self.upload_dir, *ids)
        assert _tree(self.upload_dir) == SKELETON


SKELETON = {f".tusserver{name}" for name in ("", "/locks", "/tmp", "/waiting", "/workers")}


def _tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
def test_nothing_is_lost_however_often_the_server_is_killed(tmp_path: Path, workers: int) -> None:
    rounds = Rounds(tmp_path / "uploads", workers)
    rounds.crew.start()
    try:
        rounds.run((KILLS + 1) // 2)
        rounds.compare_with_directory()
    finally:
        rounds.close()
