"""What `deploy/cluster/compose.yaml` comes to, by the library that Docker reads it with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.go_program import go_program

CLUSTER = Path(__file__).parents[2] / "deploy" / "cluster"
NODES = ("node1", "node2", "node3")
SECRETS = {"S3_ACCESS_KEY": "key4s3", "S3_SECRET_KEY": "secret4s3", "REDIS_PASSWORD": "hunter2"}
_PACKAGE, _VERSION = "github.com/compose-spec/compose-go/v2/cli", "v2.16.2"
_MAIN = Path(__file__).with_name("compose_project.go")

Service = dict[str, Any]


def read_project(file: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Reads a compose file with these variables in the environment."""
    program = go_program("compose-project", _PACKAGE, _VERSION, main=_MAIN)
    return subprocess.run(
        [str(program), str(file)],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
    )


def services() -> dict[str, Service]:
    """The services of the cluster by name."""
    done = read_project(CLUSTER / "compose.yaml", SECRETS)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


def node_options(environment: dict[str, str], **changes: str) -> list[str]:
    """The settings that a node gets by its variables, with changes, as options."""
    values = {
        name.removeprefix("TUSSERVER_").lower(): value
        for name, value in environment.items()
        if name.startswith("TUSSERVER_")
    }
    return [f"--{name.replace('_', '-')}={value}" for name, value in {**values, **changes}.items()]
