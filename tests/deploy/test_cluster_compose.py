"""The cluster of `deploy/cluster/compose.yaml`, as far as it can be tried without Docker: what each
container runs is run here, on other ports.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.deploy.composed import CLUSTER, NODES, SECRETS, Service, node_options, read_project
from tests.deploy.composed import services as composed_services
from tests.servers import ProcessServer, free_port
from tests.tus import eventually
from tusserver.settings import NAMES as SETTINGS
from tusserver.settings import Settings, parse_duration, parse_size

# The first test may have to build the reader of compose.yaml.
pytestmark = pytest.mark.timeout(900)

ROOT = CLUSTER.parents[1]
MANUAL = ROOT / "docs" / "cluster.md"
OTHER_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    return composed_services()


def test_every_file_that_is_mounted_is_there(services: dict[str, Service]) -> None:
    mounted = [
        Path(volume["source"])
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert {path.parent for path in mounted} == {CLUSTER}
    assert [path for path in mounted if not path.is_file()] == []


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_nothing_starts_without_a_secret_of_ones_own(missing: str) -> None:
    example = dict(
        line.split("=") for line in (CLUSTER / "example.env").read_text().split("\n") if "=" in line
    )
    assert example == dict.fromkeys(SECRETS, "")
    done = read_project(CLUSTER / "compose.yaml", {**SECRETS, missing: example[missing]})
    assert done.returncode == 1
    assert f"required variable {missing} is missing a value: see docs/cluster.md" in done.stderr


def test_the_first_command_of_the_manual_makes_the_secrets(tmp_path: Path) -> None:
    found = re.search(r"^\(umask .*\)$", MANUAL.read_text(), re.MULTILINE)
    assert found is not None
    file = tmp_path / ".env"
    assert found[0].count("deploy/cluster/.env") == 1
    subprocess.run(found[0].replace("deploy/cluster/.env", str(file)), shell=True, check=True)
    assert file.stat().st_mode & 0o777 == 0o600
    made = dict(line.split("=") for line in file.read_text().splitlines())
    assert made.keys() == SECRETS.keys()
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in made.values())
    assert read_project(CLUSTER / "compose.yaml", made).returncode == 0


def test_the_tests_that_the_manual_names_are_there() -> None:
    manual = MANUAL.read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)(?:\[[a-z]+\])?`", manual))
    assert len(named) > 20
    # Each is in one of the files that are named, too.
    files = {Path(file) for file in re.findall(r"`(tests/[a-z0-9_/]+\.py)`", manual)}
    text = "".join((ROOT / file).read_text() for file in files)
    assert {name for name in named if f"def {name}(" not in text} == set()


@pytest.mark.parametrize("node", NODES)
def test_every_variable_of_a_node_is_a_setting(services: dict[str, Service], node: str) -> None:
    known = {f"TUSSERVER_{name.upper()}" for name in SETTINGS} | OTHER_VARIABLES
    assert services[node]["environment"].keys() <= known
    assert services[node]["environment"] == services["node1"]["environment"]


def test_nginx_and_the_nodes_know_each_other_by_their_addresses(
    services: dict[str, Service],
) -> None:
    addresses = {
        name: services[name]["networks"]["front"]["ipv4_address"] for name in ("nginx", *NODES)
    }
    site = (CLUSTER / "nginx.conf").read_text()
    assert re.findall(r"^ *server ([0-9.]+):8080 ", site, re.MULTILINE) == [
        addresses[node] for node in NODES
    ]
    trusted = services["node1"]["environment"]["TUSSERVER_TRUSTED_PROXIES"]
    assert trusted == addresses["nginx"]
    [subnet] = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["networks"]["front"]["ipam"][
        "config"
    ]
    assert all(ip_address(each) in ip_network(subnet["subnet"]) for each in addresses.values())


@pytest.mark.parametrize("node", NODES)
def test_a_node_has_the_time_and_the_memory_that_its_settings_need(
    services: dict[str, Service], node: str
) -> None:
    service = services[node]
    stop = parse_duration(service["stop_grace_period"])
    timeout = Settings().shutdown_timeout
    assert stop is not None
    assert timeout is not None
    assert stop > timeout
    memory = parse_size(service["environment"]["TUSSERVER_OBJECT_MEMORY"])
    assert memory is not None
    assert int(service["mem_limit"]) >= 2 * memory
    assert [volume["target"] for volume in service["volumes"]] == ["/data"]


def test_only_nginx_can_be_reached_from_outside(services: dict[str, Service]) -> None:
    assert [name for name, service in services.items() if service.get("ports")] == ["nginx"]
    on_front = {name for name, service in services.items() if "front" in service["networks"]}
    assert on_front == {"nginx", *NODES}
    assert "back" not in services["nginx"]["networks"]


# What the containers run.


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **environment}
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def redis_of(service: Service, directory: Path) -> Iterator[int]:
    """Redis as the container starts it, on another port."""
    port = free_port()
    config = directory / "redis.conf"
    text = (CLUSTER / "redis.conf").read_text()
    assert text.count("\nport 6379\nbind * -::*\n") == 1
    config.write_text(text.replace("port 6379\nbind * -::*", f"port {port}\nbind 127.0.0.1"))
    shell, option, script = service["command"]
    script = script.replace("$$", "$")
    assert script.count("/etc/redis.conf") == 1
    command = [shell, option, script.replace("/etc/redis.conf", str(config))]
    with running(command, directory / "redis.log", service["environment"]):
        eventually(lambda: _answers(port))
        yield port


def _answers(port: int) -> bool:
    try:
        with Redis(port=port, username="tusserver", password=SECRETS["REDIS_PASSWORD"]) as client:
            return bool(client.ping())
    except RedisConnectionError:
        return False


@contextmanager
def s3_of(service: Service, directory: Path) -> Iterator[str]:
    """SeaweedFS as the container starts it, on other ports."""
    ports = {
        name: free_port()
        for name in (
            "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
            "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
        )
    }  # fmt: skip
    port = free_port()
    changes = {
        "-dir=/objects": f"-dir={directory / 'objects'}",
        "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1",
        "-s3.port=8333": f"-s3.port={port}",
    }
    (directory / "objects").mkdir()
    command = [changes.pop(word, word) for word in [*service["entrypoint"], *service["command"]]]
    assert changes == {}
    assert command[0] == "weed"
    command[0] = str(Path(sys.executable).with_name("weed"))
    command += [f"-{name}={number}" for name, number in ports.items()]
    [*words, address] = service["healthcheck"]["test"]
    assert words[:2] == ["CMD", "wget"]
    address = address.replace(":8333", f":{port}")
    with running(command, directory / "weed.log", service["environment"]):
        eventually(lambda: _is_healthy(address), within=60)
        yield f"http://127.0.0.1:{port}"


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def make_bucket(service: Service, endpoint: str) -> subprocess.CompletedProcess[str]:
    words = [*service["entrypoint"], *service["command"]]
    assert words[:2] == ["python", "/make_bucket.py"]
    assert words[2] == "http://s3:8333"
    return subprocess.run(
        [sys.executable, str(CLUSTER / "make_bucket.py"), endpoint, *words[3:]],
        env={**os.environ, **service["environment"]},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def parts(
    services: dict[str, Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, str]]:
    """The port of Redis and the endpoint of S3."""
    directory = tmp_path_factory.mktemp("parts")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_of(services["redis"], directory))
        endpoint = stack.enter_context(s3_of(services["s3"], directory))
        for _ in range(2):  # A second start finds it there.
            done = make_bucket(services["bucket"], endpoint)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        yield redis, endpoint


def options_of(service: Service, parts: tuple[int, str]) -> list[str]:
    """The settings of a node, for what runs here."""
    port, endpoint = parts
    environment = service["environment"]
    assert environment["TUSSERVER_S3_ENDPOINT"] == "http://s3:8333"
    lock = urlsplit(environment["TUSSERVER_LOCK"])
    assert (lock.username, lock.password) == ("tusserver", SECRETS["REDIS_PASSWORD"])
    assert (lock.hostname, lock.port) == ("redis", 6379)
    here = lock._replace(netloc=lock.netloc.replace("redis:6379", f"127.0.0.1:{port}"))
    return node_options(environment, s3_endpoint=endpoint, lock=here.geturl())


def test_the_settings_of_the_nodes_are_good(
    services: dict[str, Service], parts: tuple[int, str], tmp_path: Path
) -> None:
    # All have the same; see above. The image says what is run.
    service = services["node1"]
    started = [(services[node]["entrypoint"], services[node]["command"]) for node in NODES]
    assert started == [(None, None)] * 3
    command = [sys.executable, "-m", "tusserver", "serve", "--check-config"]
    checked = subprocess.run(
        [*command, f"--upload-dir={tmp_path}", *options_of(service, parts)],
        env={**os.environ, **service["environment"]},
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "The settings are good" in checked.stdout


def test_an_upload_passes_through_what_is_started(
    services: dict[str, Service],
    parts: tuple[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in OTHER_VARIABLES:
        monkeypatch.setenv(name, services["node1"]["environment"][name])
    server = ProcessServer(tmp_path / "spool", *options_of(services["node1"], parts))
    server.start()
    try:
        url = server.tus.made(b"hello world")
        assert server.tus.content(url) == b"hello world"
    finally:
        assert server.stop() == 0


def test_redis_lets_in_nobody_else_and_throws_nothing_away(parts: tuple[int, str]) -> None:
    with Redis(port=parts[0]) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis(port=parts[0], username="tusserver", password=SECRETS["REDIS_PASSWORD"]) as client:
        with pytest.raises(NoPermissionError):
            client.set("something else", "1")
        server: Any = client.info("memory")
        assert server["maxmemory_policy"] == "noeviction"
        assert server["maxmemory"] == 256 * 2**20


def test_a_bucket_that_cannot_be_made_is_told_and_not_waited_for(
    services: dict[str, Service], parts: tuple[int, str]
) -> None:
    service = services["bucket"]
    wrong = {**service, "environment": {**service["environment"], "AWS_SECRET_ACCESS_KEY": "no"}}
    # What is no passing trouble is not tried again.
    done = make_bucket(wrong, parts[1])
    assert (done.returncode, "bucket uploads:" in done.stderr) == (1, True)
