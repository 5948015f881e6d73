"""Several nodes without a state of their own: an upload goes on wherever its requests come to, and
two requests never both get their bytes in at the same place.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from tests.tus import eventually

if TYPE_CHECKING:
    from tests.cluster.site import Site
    from tests.servers import ProcessServer
    from tests.tus import Tus
    from tests.wire import Answer

RACES = int(os.environ.get("TUSSERVER_TEST_RACES", "150"))
MIB = 2**20
DATA = random.Random(3).randbytes(24 * MIB + 77)

pytestmark = pytest.mark.timeout(60 + RACES)


def other_than(site: Site, node: ProcessServer) -> list[ProcessServer]:
    return [each for each in site.nodes if each is not node]


def test_consecutive_requests_go_to_different_nodes(site: Site) -> None:
    url = site.nodes[0].tus.mk(len(DATA))
    steps = [0, 1, 100_000, 5 * MIB, 5 * MIB + 9, 13 * MIB, 13 * MIB + 1, len(DATA)]
    for number, (start, end) in enumerate(pairwise(steps)):
        assert site.nodes[(number + 1) % 3].tus.off(url) == start
        answer = site.nodes[number % 3].tus.pa(url, start, DATA[start:end])
        assert (answer.status, answer["Upload-Offset"]) == (204, str(end))
    assert [node.tus.content(url) == DATA for node in site.nodes] == [True] * 3
    assert site.nodes[1].tus.delete(url).status == 204
    assert [node.tus.hd(url).status for node in site.nodes] == [404] * 3


def test_a_client_need_not_know_how_many_they_are(site: Site) -> None:
    url = site.tus.mk(60)
    for offset in range(60):
        assert site.tus.pa(url, offset, b"%c" % (65 + offset % 26)).status == 204
    assert site.tus.content(url) == bytes(65 + offset % 26 for offset in range(60))


@pytest.mark.parametrize("sent", [300_000, 17 * MIB], ids=["in-a-tail", "in-parts"])
def test_an_upload_whose_node_is_killed_goes_on_at_another(site: Site, sent: int) -> None:
    killed = site.nodes[1]
    other, third = other_than(site, killed)
    url = other.tus.mk(len(DATA))
    with killed.tus.begin_patch(url, 0, len(DATA)) as wire:
        wire.send(DATA[:sent])
        eventually(lambda: other.tus.off(url) == sent)
        killed.kill()
    # It waits for the lock of the dead, which is shorter than the patience of a request (5 s).
    assert site.tus.pa(url, sent, DATA[sent:]).status == 204
    assert third.tus.content(url) == DATA
    killed.start()


def test_two_nodes_never_both_take_bytes_at_one_offset(site: Site) -> None:
    chance = random.Random(2)
    url = site.tus.mk(None)
    barrier, offset = Barrier(2), 0
    rounds: list[tuple[int, set[bytes]]] = []
    """How much each one brought, and what that may be."""

    def send(tus: Tus, piece: bytes) -> Answer:
        barrier.wait(20)
        return tus.pa(url, offset, piece)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(RACES):
            nodes = [node.tus for node in chance.sample(site.nodes, 2)]
            pieces = [chance.randbytes(chance.randint(1, 50_000)) for _ in nodes]
            sent = list(zip(pieces, threads.map(send, nodes, pieces), strict=True))
            assert {answer.status for _, answer in sent} <= {204, 409, 423}, sent
            taken = [piece for piece, answer in sent if answer.status == 204]
            assert len(taken) <= 1, sent
            kept = site.tus.off(url) - offset
            # If neither has succeeded, the first may have left some bytes before it let go.
            rounds.append((kept, {piece[:kept] for piece in taken or pieces}))
            assert not taken or kept == len(taken[0])
            offset += kept
    assert site.tus.pa(url, offset, b"", {"Upload-Length": str(offset)}).status == 204
    content = site.tus.content(url)
    for kept, allowed in rounds:
        assert content[:kept] in allowed
        content = content[kept:]
    assert not content
    assert sum(len(allowed) == 1 for _, allowed in rounds) > RACES // 2
