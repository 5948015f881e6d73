"""Quotas and lists of several nodes: one ledger in Redis, which is counted anew when it is lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.cluster.site import Site, whole_site
from tests.tus import OCTETS, VERSION, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import ProcessServer
    from tests.store.s3_server import S3Server
    from tests.wire import Answer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def strict(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site where everybody together may have twelve uploads."""
    options = ("--quota-uploads=12", "--quota-size=1MiB")
    with whole_site(s3, tmp_path_factory.mktemp("strict"), *options) as site:
        yield site


def create(node: ProcessServer, length: int = 10) -> Answer:
    return node.tus.post({"Upload-Length": str(length)})


def listed(node: ProcessServer) -> list[dict[str, object]]:
    """What the status API of a node tells."""
    answer = node.tus.request("GET", "/api/uploads?limit=100")
    assert answer.status == 200, answer
    uploads: list[dict[str, object]] = json.loads(answer.body)["uploads"]
    return uploads


def removed_all(site: Site) -> None:
    for upload in listed(site.nodes[0]):
        assert site.tus.delete(f"/files/{upload['id']}").status == 204


def test_nodes_share_one_quota(strict: Site) -> None:
    nodes = strict.nodes * 12
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(create, nodes))
    assert sorted({answer.status for answer in answers}) == [201, 413]
    assert sum(answer.status == 201 for answer in answers) == 12
    urls = [strict.tus.location(answer) for answer in answers if answer.status == 201]
    assert strict.nodes[1].tus.delete(urls[0]).status == 204
    assert create(strict.nodes[2]).status == 201
    assert create(strict.nodes[0]).status == 413
    assert len(listed(strict.nodes[1])) == 12
    removed_all(strict)


def test_a_body_of_unknown_length_gets_what_is_left(strict: Site) -> None:
    create(strict.nodes[0], 2**20 - 5)
    url = strict.nodes[1].tus.mk(None)
    headers = {**VERSION, **OCTETS, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    body = b"8\r\n12345678\r\n0\r\n\r\n"
    assert strict.nodes[2].tus.request("PATCH", url, headers, body).status == 413
    assert strict.nodes[0].tus.off(url) <= 5
    removed_all(strict)


def test_a_quota_holds_when_redis_has_forgotten_everything(strict: Site) -> None:
    urls = [strict.tus.location(create(node)) for node in strict.nodes * 3]
    assert strict.nodes[0].tus.pa(urls[0], 0, b"0123456789").status == 204
    strict.redis.kill()
    strict.redis.start()
    strict.redis.let_age()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(create, strict.nodes * 3))
    # Some may have been told to wait until everything is counted.
    assert {answer.status for answer in answers} <= {201, 413, 423}
    eventually(lambda: create(strict.nodes[0]).status == 413)
    assert len(listed(strict.nodes[1])) == 12
    states = {str(each["id"]): each["state"] for each in listed(strict.nodes[2])}
    assert states[urls[0].rpartition("/")[2]] == "finished"
    removed_all(strict)


def test_a_node_sees_what_another_one_receives(site: Site) -> None:
    url = site.nodes[0].tus.mk(100)
    upload_id = url.rpartition("/")[2]
    with site.nodes[0].tus.begin_patch(url, 0, 100) as wire:
        wire.send(b"x" * 40)

        def offset() -> object:
            answer = site.nodes[2].tus.request("GET", f"/api/uploads/{upload_id}")
            return json.loads(answer.body)["offset"]

        eventually(lambda: offset() == 40)
        wire.send(b"x" * 60)
        assert wire.answer("PATCH").status == 204
    assert offset() == 100
