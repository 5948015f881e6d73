"""Who may import whom, as section 2 of the design says; a breach fails here and not in a review."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tusserver"

# The layer of each module or package, most specific name first.
LAYERS = {
    "tusserver.protocol": 0,
    "tusserver.store.base": 1,
    "tusserver.lock.base": 1,
    "tusserver.events.base": 1,
    "tusserver.store": 2,
    "tusserver.lock": 2,
    "tusserver.checking.base": 1,
    "tusserver.checking": 2,
    "tusserver.admission": 1,
    "tusserver.together": 1,
    "tusserver.policy": 2,
    "tusserver.finishing": 3,
    "tusserver.keeping": 3,
    "tusserver.ground": 3,
    "tusserver.announcing": 3,
    "tusserver.appending": 3,
    "tusserver.creating": 3,
    "tusserver.telling": 3,
    "tusserver.sniffing": 3,
    "tusserver.settling": 3,
    "tusserver.joining": 3,
    "tusserver.rules": 3,
    "tusserver.sections": 3,
    "tusserver.uploads": 3,
    "tusserver.rounds": 3,
    "tusserver.duty": 3,
    "tusserver.sweeper": 3,
    "tusserver.status": 3,
    "tusserver.asgi": 4,
    "tusserver.client": 4,
    "tusserver.settings": 5,
    "tusserver.compose": 5,
    "tusserver.compose_checks": 5,
    "tusserver.compose_policy": 5,
    "tusserver.compose_status": 5,
    "tusserver.compose_store": 5,
    "tusserver.serving": 5,
    "tusserver.cli": 5,
    "tusserver.__main__": 5,
    "tusserver": 5,
}
PROTOCOL = "tusserver.protocol"
# What each layer may use besides the layers below it.
PURE = {
    "__future__", "base64", "collections", "dataclasses", "datetime", "email", "enum", "functools",
    "google_crc32c", "hashlib", "msgspec", "posixpath", "re", "typing", "urllib", "zlib",
}  # fmt: skip
NEVER = {
    0: {"asyncio", "anyio", "os", "io", "pathlib", "time", "uuid", "random", "secrets", "logging"},
    1: {"starlette", "uvicorn", "logging"},
    2: {"starlette", "uvicorn", "logging"},
    3: {"starlette", "uvicorn", "os", "pathlib"},
    4: {"uvicorn", "os", "pathlib"},
    5: set[str](),
}
# It works with files, and with any server: of ours it knows the grammar of the protocol.
NEVER_IN_CLIENT = {"starlette", "uvicorn", "asyncio", "anyio", "click"}
# The rules of a site ask servers for keys, which may be down for hours: a matter for the log.
NEVER_IN_POLICY = {"starlette", "uvicorn"}
MAX_MODULE, MAX_FUNCTION = 400, 40


@cache
def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(name: str) -> int:
    while name not in LAYERS:
        name = name.rpartition(".")[0]
    return LAYERS[name]


@cache
def imports(path: Path) -> list[str]:
    """What a module imports, for type checking included: types are dependencies as well."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def target(imported: str) -> str:
    """The module that an import statement reaches (`a.b.C` is in `a.b`)."""
    while imported not in modules():
        imported = imported.rpartition(".")[0]
    return imported


every_module = pytest.mark.parametrize("name", modules())


@every_module
def test_imports_point_downwards(name: str) -> None:
    layer = layer_of(name)
    for imported in imports(modules()[name]):
        if imported.split(".")[0] != "tusserver":
            continue
        found = target(imported)
        assert layer_of(found) <= layer, f"{name} (L{layer}) imports {found}"


@every_module
def test_stores_and_lockers_do_not_know_each_other(name: str) -> None:
    roles = {"tusserver.store", "tusserver.lock", "tusserver.events", "tusserver.policy"}
    own = ".".join(name.split(".")[:2])
    if layer_of(name) > 2 or own not in roles:
        return
    reached = {
        ".".join(found.split(".")[:2])
        for found in imports(modules()[name])
        if not found.startswith("tusserver.") or not target(found).endswith(".base")
    }
    assert not reached & (roles - {own})


@every_module
def test_only_the_composition_root_names_concrete_classes(name: str) -> None:
    if layer_of(name) < 3 or name.startswith("tusserver.compose") or name == "tusserver":
        return
    for imported in imports(modules()[name]):
        if imported.startswith(("tusserver.store.", "tusserver.lock.")):
            assert target(imported).endswith(".base"), f"{name} names {imported}"


@every_module
def test_settings_stay_at_the_top(name: str) -> None:
    if layer_of(name) < 5:
        assert "tusserver.settings" not in {
            target(imported)
            for imported in imports(modules()[name])
            if imported.startswith("tusserver")
        }


@every_module
def test_no_layer_uses_what_it_must_not_know(name: str) -> None:
    foreign = {imported.split(".")[0] for imported in imports(modules()[name])} - {"tusserver"}
    never = NEVER[layer_of(name)]
    if name.startswith("tusserver.policy."):
        never = NEVER_IN_POLICY
    elif name.startswith("tusserver.client"):
        never = NEVER_IN_CLIENT
    assert not foreign & never
    if layer_of(name) == 0:
        assert foreign <= PURE


@pytest.mark.parametrize(
    "name", [name for name in modules() if name.startswith("tusserver.client")]
)
def test_the_client_knows_nothing_of_the_server_but_the_grammar(name: str) -> None:
    ours = {target(found) for found in imports(modules()[name]) if found.startswith("tusserver")}
    assert not [found for found in ours if not found.startswith(("tusserver.client", PROTOCOL))]


@pytest.mark.parametrize("name", [name for name in modules() if layer_of(name) == 0])
def test_the_protocol_is_synchronous_and_never_asks_for_the_time(name: str) -> None:
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("now", "utcnow", "today")


def test_the_protocol_has_no_cycles() -> None:
    names = [name for name in modules() if layer_of(name) == 0 and name != "tusserver.protocol"]
    reach = {
        name: {target(found) for found in imports(modules()[name]) if found.startswith("tusserver")}
        for name in names
    }
    remaining = set(names)
    while remaining:
        leaves = {name for name in remaining if not reach[name] & remaining}
        assert leaves, f"a cycle among {sorted(remaining)}"
        remaining -= leaves


@pytest.mark.parametrize("folder", ["conformance", "bench"])
def test_what_works_from_outside_knows_nothing_of_the_inside(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] == "tusserver"]


OUTSIDE = {
    str(path.relative_to(ROOT)): path
    for folder in ("bench", "conformance")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


ALL = {**modules(), **OUTSIDE}
# The comparison starts the servers of the benchmark, and is not shipped.
SUITE = {
    name: path
    for name, path in OUTSIDE.items()
    if name.startswith("conformance/") and not name.startswith("conformance/compare/")
}


@pytest.mark.parametrize("path", SUITE.values(), ids=SUITE)
def test_the_suite_needs_nothing_but_the_standard_library(path: Path) -> None:
    known = {*sys.stdlib_module_names, "conformance"}
    assert {name.split(".")[0] for name in imports(path)} <= known


@pytest.mark.parametrize("path", ALL.values(), ids=ALL)
def test_modules_and_functions_are_small(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MAX_MODULE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", ALL.values(), ids=ALL)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    source = path.read_text()
    assert not source or ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("command", ["upload", "download", "status", "cancel"])
def test_the_commands_of_the_client_do_not_import_the_server(command: str) -> None:
    """It takes most of a second, which a script would pay for each file."""
    code = (
        "import sys\n"
        "from tusserver.cli.main import cli\n"
        "import tusserver.client.batch, tusserver.client.downloading, tusserver.client.inquiring\n"
        f"assert cli.get_command(None, {command!r}) is not None\n"
        "print({'starlette', 'uvicorn', 'tusserver.compose'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done
