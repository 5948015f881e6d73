"""The scripts beside the code, as far as they need no network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SERVE = Path(__file__).parents[2] / "scripts" / "serve"


def test_a_python_that_was_asked_for_is_not_replaced_by_another(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHON": str(tmp_path / "none")}
    done = subprocess.run([SERVE], capture_output=True, text=True, env=env, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"serve: PYTHON={tmp_path}/none is no Python 3.11 or newer\n"
