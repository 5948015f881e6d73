"""The command as its users run it: as a process, with a memory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [found for found in self.events if found["event"] == event]


@dataclass(frozen=True)
class Command:
    """Runs `tusserver …` with this folder for its state, and in the folder `home`."""

    home: Path

    @property
    def state(self) -> Path:
        return self.home / "state" / "tusserver" / "uploads"

    def start(
        self,
        *arguments: str,
        stdin: BinaryIO | int | None = None,
        stdout: BinaryIO | int = subprocess.PIPE,
        stderr: BinaryIO | int = subprocess.PIPE,
        **env: str,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tusserver", *arguments],
            stdin=stdin, stdout=stdout, stderr=stderr, cwd=self.home,
            encoding="utf-8", errors="surrogateescape",
            env={**os.environ, "XDG_STATE_HOME": str(self.home / "state"), **env},
        )  # fmt: skip

    def run(
        self,
        *arguments: str,
        stdin: BinaryIO | int | None = None,
        stdout: BinaryIO | int = subprocess.PIPE,
        **env: str,
    ) -> Done:
        process = self.start(*arguments, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, **env)
        return self.end(process)

    def end(self, process: subprocess.Popen[str]) -> Done:
        """Waits for it."""
        try:
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
        return Done(process.returncode, out or "", err or "")
