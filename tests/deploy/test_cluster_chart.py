"""The chart in `deploy/cluster/helm/`: rendered by the real Helm, held against the schemas of
Kubernetes, and its nodes' settings against a real Redis and a real S3 service.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.deploy.composed import CLUSTER
from tests.go_program import go_program
from tests.lock.redis_server import RedisServer, redis_server
from tests.servers import ProcessServer
from tests.store.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tusserver.settings import NAMES, parse_duration, parse_size

# The first test may have to build Helm.
pytestmark = pytest.mark.timeout(900)

CHART = CLUSTER / "helm" / "tusserver"
DOCKERFILE = CLUSTER.parent / "Dockerfile"
HELM, HELM_VERSION = "helm.sh/helm/v3/cmd/helm", "v3.19.0"
LOCK = "redis://tusserver:hunter2@redis.internal:6379/0"
LEAST: dict[str, Any] = {
    "image": {"repository": "registry.example/tusserver"},
    "store": "s3://uploads/tusserver/",
    "existingSecret": "cluster-keys",
}
MOST: dict[str, Any] = {
    **LEAST,
    "existingSecret": "",
    "secret": {"TUSSERVER_LOCK": LOCK, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    "s3": {"endpoint": "http://s3.internal:9000", "region": "eu-1", "preset": "minio"},
    "imagePullSecrets": [{"name": "pull"}],
    "trustedProxies": ["10.244.0.0/16", "10.245.0.0/16"],
    "autoscaling": {"enabled": True},
    "ingress": {
        "enabled": True,
        "hosts": ["a.example", "b.example"],
        "tls": [{"hosts": ["a.example"], "secretName": "certificate"}],
    },
    "networkPolicy": {
        "enabled": True,
        "egress": [{"ports": [{"port": 6379, "protocol": "TCP"}]}],
    },
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "uploads", "operator": "Exists"}],
}
KINDS = {
    "least": (LEAST, "Deployment PodDisruptionBudget Service ServiceAccount"),
    "most": (
        MOST,
        "Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget Secret "
        "Service ServiceAccount",
    ),
}
Resource = dict[str, Any]


def helm(command: str, directory: Path, values: dict[str, Any], *more: str) -> tuple[int, str, str]:
    """The exit code of `helm lint` or `helm template` with these values, and what it says."""
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    name = ["uploads"] if command == "template" else []
    done = subprocess.run(
        [str(go_program("helm", HELM, HELM_VERSION)), command, *name, str(CHART),
         "--kube-version", "1.34", "--values", str(file), *more],
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def render(directory: Path, values: dict[str, Any]) -> dict[str, Resource]:
    """The resources by their kind, of which there is one each."""
    code, text, said = helm("template", directory, values)
    assert (code, said) == (0, "")
    found = [resource for resource in yaml.safe_load_all(text) if resource]
    by_kind = {resource["kind"]: resource for resource in found}
    assert len(by_kind) == len(found)
    return by_kind


def pod_of(resources: dict[str, Resource]) -> dict[str, Any]:
    pod: dict[str, Any] = resources["Deployment"]["spec"]["template"]
    return pod


def container_of(resources: dict[str, Resource]) -> dict[str, Any]:
    [container] = pod_of(resources)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environment_of(resources: dict[str, Resource]) -> dict[str, str]:
    """What the nodes get, in the order in which Kubernetes lets one win over the other."""
    pairs = [(each["name"], each["value"]) for each in container_of(resources)["env"]]
    assert len(dict(pairs)) == len(pairs)
    return {**resources.get("Secret", {}).get("stringData", {}), **dict(pairs)}


@pytest.mark.parametrize("values", [LEAST, MOST], ids=["least", "most"])
def test_helm_has_nothing_to_say_against_it(tmp_path: Path, values: dict[str, Any]) -> None:
    code, said, complaint = helm("lint", tmp_path, values, "--strict")
    assert code == 0, said + complaint
    assert "[WARNING]" not in said


@pytest.mark.parametrize("version", ["1.25", "1.29", "1.34", "1.37"])
@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_takes_what_it_makes(tmp_path: Path, kind: str, version: str) -> None:
    values, kinds = KINDS[kind]
    resources = render(tmp_path, values)
    assert sorted(resources) == kinds.split()
    for resource in resources.values():
        assert validate(resource, version, strict=True) == version


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("store", "store: s3://bucket/prefix"),
        ("image", "image.repository: where your image is"),
        ("existingSecret", "name existingSecret, or give secret.TUSSERVER_LOCK"),
    ],
)
def test_what_is_needed_is_asked_for(tmp_path: Path, missing: str, sentence: str) -> None:
    values = {name: value for name, value in LEAST.items() if name != missing}
    code, _, said = helm("template", tmp_path, values)
    assert (code, sentence in said) == (1, True), said


def test_uploads_cannot_be_at_the_root_where_the_probes_ask(tmp_path: Path) -> None:
    code, _, said = helm("template", tmp_path, {**LEAST, "ingress": {"path": "/"}})
    assert (code, "uploads at / leave nothing" in said) == (1, True)


def test_the_resources_find_each_other(tmp_path: Path) -> None:
    resources = render(tmp_path, MOST)
    labels = pod_of(resources)["metadata"]["labels"].items()
    selectors = [
        resources["Deployment"]["spec"]["selector"]["matchLabels"],
        resources["Service"]["spec"]["selector"],
        resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    name = resources["Deployment"]["metadata"]["name"]
    assert resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
    assert "replicas" not in resources["Deployment"]["spec"]
    account = resources["ServiceAccount"]["metadata"]["name"]
    assert pod_of(resources)["spec"]["serviceAccountName"] == account
    [port] = container_of(resources)["ports"]
    [served] = resources["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    assert environment_of(resources)["TUSSERVER_PORT"] == str(port["containerPort"])
    for rule in resources["Ingress"]["spec"]["rules"]:
        [path] = rule["http"]["paths"]
        service = path["backend"]["service"]
        assert service["name"] == resources["Service"]["metadata"]["name"]
        assert service["port"]["name"] == served["name"]
        assert path["path"] == environment_of(resources)["TUSSERVER_BASE_PATH"]


def test_keys_come_from_the_secret_alone(tmp_path: Path) -> None:
    given = render(tmp_path, MOST)
    assert "hunter2" not in yaml.safe_dump(given["Deployment"])
    [source] = container_of(given)["envFrom"]
    assert source["secretRef"]["name"] == given["Secret"]["metadata"]["name"]
    [named] = container_of(render(tmp_path, LEAST))["envFrom"]
    assert named["secretRef"]["name"] == LEAST["existingSecret"]


def test_a_changed_secret_is_a_roll_out(tmp_path: Path) -> None:
    changed = {**MOST, "secret": {**MOST["secret"], "AWS_SECRET_ACCESS_KEY": "another"}}
    before, after = (pod_of(render(tmp_path, values)) for values in (MOST, changed))
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def test_a_node_has_the_time_and_the_room_that_its_settings_need(tmp_path: Path) -> None:
    resources = render(tmp_path, LEAST)
    pod, container = pod_of(resources)["spec"], container_of(resources)
    environment = environment_of(resources)
    stop = parse_duration(environment["TUSSERVER_SHUTDOWN_TIMEOUT"])
    assert stop is not None
    word, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + stop.total_seconds()
    memory = parse_size(environment["TUSSERVER_OBJECT_MEMORY"])
    limit = parse_size(f"{container['resources']['limits']['memory']}B")
    assert memory is not None
    assert limit is not None
    assert limit >= memory + 256 * 2**20


def test_a_node_may_write_nowhere_but_in_its_spool_and_is_nobody(tmp_path: Path) -> None:
    resources = render(tmp_path, LEAST)
    pod, container = pod_of(resources)["spec"], container_of(resources)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    [mount] = container["volumeMounts"]
    [volume] = pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (
        volume["name"],
        environment_of(resources)["TUSSERVER_UPLOAD_DIR"],
    )
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert user is not None
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (
        True,
        int(user[1]),
        int(user[2]),
    )


def test_the_ingress_is_told_what_the_site_of_the_cluster_says(tmp_path: Path) -> None:
    site = (CLUSTER / "nginx.conf").read_text()
    annotations = render(tmp_path, MOST)["Ingress"]["metadata"]["annotations"]
    names = {"proxy-body-size": "client_max_body_size"}
    assert len(annotations) > 10
    for key, value in annotations.items():
        name = key.removeprefix("nginx.ingress.kubernetes.io/")
        directive = names.get(name, name.replace("-", "_"))
        said = re.search(rf"^ +{directive} ([^;]+);", site, re.MULTILINE)
        assert said is not None, directive
        assert value in (said[1], said[1].removesuffix("s")), directive


# What the nodes are started with.


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def variables(
    tmp_path: Path, s3: S3Server, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The variables of a node of the chart, for a site that is here; they are set."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    values = {
        **MOST,
        "store": f"s3://{BUCKET}/chart/",
        "s3": {"endpoint": s3.endpoint, "region": "us-east-1", "preset": "seaweedfs"},
        "secret": {"TUSSERVER_LOCK": redis.address, **keys},
    }
    found = environment_of(render(tmp_path, values))
    found["TUSSERVER_UPLOAD_DIR"] = str(tmp_path / "data")
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_the_settings_of_a_node_are_good(variables: dict[str, str]) -> None:
    others = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert variables.keys() - others <= {f"TUSSERVER_{name.upper()}" for name in NAMES}
    command = [sys.executable, "-m", "tusserver", "serve", "--check-config"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_node_is_well_although_redis_and_the_bucket_are_away(
    variables: dict[str, str], tmp_path: Path, s3: S3Server, redis: RedisServer
) -> None:
    probed = {
        container_of(render(tmp_path, MOST))[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    }
    server = ProcessServer(tmp_path / "data")
    server.start()
    s3.pause()
    redis.pause()
    try:
        assert [server.tus.get(path).status for path in probed] == [200]
    finally:
        s3.go_on()
        redis.go_on()
        assert server.stop() == 0
