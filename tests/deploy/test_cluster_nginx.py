"""The cluster of `deploy/cluster/` under load and under faults: three real nodes behind the real
nginx with the shipped configuration.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.deploy.cluster import Cluster, cluster
from tests.servers import ProcessServer
from tests.tus import Tus, eventually, patch_headers
from tests.wire import Answer, ConnectionEnded, head

# The first test may have to build the reader of compose.yaml.
pytestmark = pytest.mark.timeout(900)

MIB = 2**20
DATA = random.Random(3).randbytes(24 * MIB)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def site(started: Cluster) -> Iterator[Cluster]:
    yield started
    started.revive()


def go_on(tus: Tus, url: str, data: bytes) -> None:
    """What a client does after an answer that was none: ask, and send the rest."""

    def is_through() -> bool:
        looked = tus.hd(url)
        assert looked.status in (200, 204, 423), looked
        if looked.status == 423:
            return False
        offset = int(looked["Upload-Offset"])
        return offset == len(data) or tus.pa(url, offset, data[offset:]).status == 204

    eventually(is_through, within=30)
    assert tus.content(url) == data


def test_requests_are_spread_over_the_nodes(site: Cluster) -> None:
    for _ in range(5):
        url = site.tus.made(b"hello")
        assert site.tus.content(url) == b"hello"
    used = Counter(site.nginx.upstreams("", 15))
    assert used == {f"127.0.0.1:{node.port}": 5 for node in site.nodes}


def test_an_upload_goes_over_all_nodes(site: Cluster) -> None:
    url, step = site.tus.mk(len(DATA)), 3 * MIB
    for offset in range(0, len(DATA), step):
        assert site.tus.pa(url, offset, DATA[offset : offset + step]).status == 204
    assert site.tus.content(url) == DATA
    assert len(set(site.nginx.upstreams(f"PATCH {url}", 8))) == 3


def test_location_is_what_the_client_called_nginx(site: Cluster) -> None:
    faked = {"Forwarded": "host=evil.example", "X-Forwarded-Host": "evil.example"}
    for _ in range(3):
        answer = site.tus.post({"Upload-Length": "5", "Host": "uploads.example:8000", **faked})
        assert re.fullmatch(r"http://uploads\.example:8000/files/[0-9a-f]{32}", answer["Location"])


def test_a_slow_body_goes_through_as_it_comes(site: Cluster) -> None:
    url = site.tus.mk(12)
    with site.tus.begin_patch(url, 0, 12) as wire:
        for count in range(1, 4):
            wire.send(b"abc")
            eventually(lambda: site.tus.off(url) == 3 * count)  # noqa: B023
        wire.send(b"def")
        assert wire.answer("PATCH").status == 204
    assert site.tus.content(url) == b"abcabcabcdef"


def test_a_body_of_ten_gibibytes_is_let_in(site: Cluster) -> None:
    length = 10 * 2**30
    url = site.tus.mk(length)
    with site.tus.begin_patch(url, 0, length) as wire:
        wire.send(DATA[:MIB])
        eventually(lambda: site.tus.off(url) == MIB)
    assert site.tus.delete(url).status == 204


def test_refusals_of_large_bodies_are_not_taken_for_dead_nodes(site: Cluster) -> None:
    url = site.tus.mk(len(DATA))
    for _ in range(6):
        with site.tus.begin_patch(url, 5, len(DATA)) as wire:
            with suppress(OSError):
                wire.send(DATA)
            assert wire.answer("PATCH").status == 409
    nodes = site.nginx.upstreams(f"PATCH {url}", 6)
    assert Counter(nodes) == {f"127.0.0.1:{node.port}": 2 for node in site.nodes}


# A node dies.


def find_the_one_that_has(site: Cluster, send: Callable[[], None]) -> ProcessServer:
    """The node that a running request is at; all are frozen when this returns."""
    for node in site.nodes:
        site.freeze(node)
    send()
    return site.frozen_with_bytes()


def kill_and_thaw_the_others(site: Cluster, victim: ProcessServer) -> None:
    victim.kill()
    for node in list(site.frozen):
        site.thaw(node)


def patches_at(nodes: list[ProcessServer], url: str) -> int:
    """How many PATCH requests these nodes have answered."""
    return sum(node.log.read_text().count(f"PATCH {url}") for node in nodes)


def assert_asked_to_come_again(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert int(answer["Retry-After"]) > 0


def test_a_patch_that_breaks_with_its_node_is_not_sent_to_another(site: Cluster) -> None:
    url = site.tus.mk(len(DATA))
    with site.tus.begin_patch(url, 0, len(DATA)) as wire:
        wire.send(DATA[: 12 * MIB])
        eventually(lambda: site.tus.off(url) > 8 * MIB)
        victim = find_the_one_that_has(site, lambda: wire.send(DATA[12 * MIB : 13 * MIB]))
        kill_and_thaw_the_others(site, victim)
        assert_asked_to_come_again(wire.answer("PATCH"), 503)
    assert site.nginx.upstreams(f"PATCH {url}", 1) == [f"127.0.0.1:{victim.port}"]
    others = [node for node in site.nodes if node is not victim]
    assert patches_at(others, url) == 0
    # What the dead one had recorded is there, and its lock runs out.
    assert site.tus.off(url) > 8 * MIB
    go_on(site.tus, url, DATA)


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_a_short_body_that_nginx_has_whole_is_not_sent_again_either(
    site: Cluster, method: str
) -> None:
    url = site.tus.mk(5) if method == "PATCH" else "/files/"
    headers = patch_headers(0, 5, {"Upload-Length": "5"} if method == "POST" else None)
    with site.tus.wire() as wire:
        victim = find_the_one_that_has(
            site, lambda: wire.send(head(method, url, headers) + b"hello")
        )
        kill_and_thaw_the_others(site, victim)
        assert_asked_to_come_again(wire.answer(method), 503)
    assert site.nginx.upstreams(f"{method} {url}", 1) == [f"127.0.0.1:{victim.port}"]
    if method == "PATCH":
        assert site.tus.off(url) == 0
        go_on(site.tus, url, b"hello")


def test_a_killed_node_is_left_out(site: Cluster) -> None:
    url = site.tus.mk(10)
    victim = site.nodes[1]
    victim.kill()
    for _ in range(6):
        assert site.tus.off(url) == 0
        assert site.tus.post({"Upload-Length": "1"}).status == 201
    assert site.tus.pa(url, 0, b"helloworld").status == 204
    # Each of the two processes of nginx sees what the other has found out.
    [tried] = [one for one in site.nginx.upstreams("", 14) if "," in one]
    assert tried.startswith(f"127.0.0.1:{victim.port}, ")


def test_without_any_node_clients_are_asked_to_come_again(site: Cluster) -> None:
    url = site.tus.mk(5)
    for node in site.nodes:
        node.kill()
    assert_asked_to_come_again(site.tus.hd(url), 423)
    assert_asked_to_come_again(site.tus.pa(url, 0, b"hello"), 503)
    for node in site.nodes:
        node.start()
    go_on(site.tus, url, b"hello")


def test_what_only_looks_is_answered_although_a_node_is_frozen(site: Cluster) -> None:
    site.nginx.kill()
    site.nginx.start(look_timeout=2)
    url = site.tus.made(b"hello")
    site.freeze(site.nodes[0])
    for _ in range(3):
        assert site.tus.off(url) == 5
        assert site.tus.content(url) == b"hello"
    # One of them has found it out; then the node was left out.
    [tried] = [one for one in site.nginx.upstreams("", 8) if "," in one]
    assert tried.startswith(f"127.0.0.1:{site.nodes[0].port}, ")


def test_a_stopped_node_answers_for_itself_and_the_upload_goes_on_elsewhere(
    site: Cluster,
) -> None:
    url = site.tus.mk(10)
    with site.tus.begin_patch(url, 0, 10) as wire:
        wire.send(b"hello")
        eventually(lambda: site.tus.off(url) == 5)
        node = find_the_one_that_has(site, lambda: wire.send(b"w"))
        for each in site.nodes:
            site.thaw(each)
        assert node.stop() == 0
        answer = wire.answer("PATCH")
    assert answer.status == 503
    assert answer.body.startswith(b"ERR_SERVER_SHUTDOWN")
    site.tus.assert_intact(url, 6, b"orld")


def test_a_client_gets_through_a_roll_out(site: Cluster) -> None:
    url = site.tus.mk(len(DATA))
    with ThreadPoolExecutor(1) as threads:
        client = threads.submit(upload_stubbornly, site.tus, url)
        for node in site.nodes:
            assert node.stop() == 0
            node.start()
        client.result(40)
    assert site.tus.content(url) == DATA


def upload_stubbornly(tus: Tus, url: str) -> None:
    """Sends on from where the upload stands until it is through, whatever the answers are."""
    step = MIB // 4
    while (offset := _offset(tus, url)) != len(DATA):
        with (
            suppress(ConnectionEnded, OSError),
            tus.begin_patch(url, offset, len(DATA) - offset) as wire,
        ):
            for start in range(offset, len(DATA), step):
                wire.send(DATA[start : start + step])
                time.sleep(0.05)
            wire.answer("PATCH")


def _offset(tus: Tus, url: str) -> int:
    answer = tus.hd(url)
    while answer.status == 423:
        answer = tus.hd(url)
    return int(answer["Upload-Offset"])


# Something that all of them need is away.


def test_an_upload_outlives_nginx(site: Cluster) -> None:
    url = site.tus.mk(10)
    with site.tus.begin_patch(url, 0, 10) as wire:
        wire.send(b"hello")
        eventually(lambda: site.tus.off(url) == 5)
        site.nginx.kill()
        with pytest.raises(ConnectionEnded):
            wire.answer("PATCH")
    site.nginx.start()
    go_on(site.tus, url, b"helloworld")


def test_an_upload_outlives_the_service_of_the_bucket(site: Cluster) -> None:
    url = site.tus.mk(len(DATA))
    with site.tus.begin_patch(url, 0, len(DATA)) as wire:
        wire.send(DATA[: 10 * MIB])
        eventually(lambda: site.tus.off(url) > 8 * MIB)
        # Parts and then the record are tried four times, with growing pauses.
        wire.socket.settimeout(60)
        site.s3.kill()
        with suppress(OSError):
            wire.send(DATA[10 * MIB :])
        assert_asked_to_come_again(wire.answer("PATCH"), 423)
    # By the node, not by nginx, whose patience is greater.
    assert site.tus.hd(url)["Tus-Resumable"] == "1.0.0"
    site.s3.start()
    # It takes connections before it has found its own parts.
    eventually(lambda: site.tus.hd(url).status == 200, within=30)
    assert site.tus.off(url) > 8 * MIB
    go_on(site.tus, url, DATA)


def test_a_redis_that_was_restarted_holds_requests_up_for_some_seconds(site: Cluster) -> None:
    url = site.tus.mk(10)
    site.redis.kill()
    assert_asked_to_come_again(site.tus.pa(url, 0, b"hello"), 423)
    assert site.tus.off(url) == 0
    site.redis.start()
    go_on(site.tus, url, b"helloworld")


def test_a_full_redis_gives_out_no_locks_and_keeps_those_that_are_held(site: Cluster) -> None:
    url, other = site.tus.mk(10), site.tus.mk(5)
    with site.tus.begin_patch(url, 0, 10) as wire, site.redis.client() as client:
        wire.send(b"hello")
        eventually(lambda: site.tus.off(url) == 5)
        client.config_set("maxmemory", "1mb")
        try:
            assert_asked_to_come_again(site.tus.pa(other, 0, b"hello"), 423)
            assert site.tus.off(other) == 0
            # For longer than a lock is given, which is renewed all the same.
            for _ in range(5):
                time.sleep(1)
                wire.send(b"w")
            assert wire.answer("PATCH").status == 204
        finally:
            client.config_set("maxmemory", "0")
    go_on(site.tus, other, b"hello")


def test_a_frozen_redis_ends_requests_before_their_locks_run_out(site: Cluster) -> None:
    url = site.tus.mk(10)
    with site.tus.begin_patch(url, 0, 10) as wire:
        wire.send(b"hello")
        eventually(lambda: site.tus.off(url) == 5)
        site.redis.pause()
        try:
            answer = wire.answer("PATCH")
            assert_asked_to_come_again(answer, 423)
            assert site.tus.off(url) == 5
        finally:
            site.redis.go_on()
    go_on(site.tus, url, b"helloworld")
