"""What is committed in `tusserver/web` is what `web/` builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser import node

if TYPE_CHECKING:
    from pathlib import Path

COMMITTED = node.ROOT / "tusserver" / "web"


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_the_committed_pages_are_those_that_a_fresh_build_makes(tmp_path: Path) -> None:
    fresh = tmp_path / "web"
    with node.web() as web:
        node.run("npm", "run", "build", "-w", "tusserver-react", cwd=web)
        node.run(
            "node", "node_modules/vite/bin/vite.js", "build", "pages",
            "--outDir", str(fresh), "--emptyOutDir",
            cwd=web,
        )  # fmt: skip
    built, committed = contents(fresh), contents(COMMITTED)
    assert sorted(built) == sorted(committed), "run scripts/build-web and commit what it makes"
    changed = [name for name, content in built.items() if committed[name] != content]
    assert not changed, "run scripts/build-web and commit what it makes"
