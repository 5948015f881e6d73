"""A request leaves nothing to the garbage collector: what is left waits, and memory grows by it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.servers import serving
from tests.tus import eventually
from tusserver.serving.cycle import Cycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.tus import Tus

MIB = 1024 * 1024


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _cycles() -> int:
    """How many requests there are that are not freed; the last one of a connection may be among
    them for a moment.
    """
    return sum(isinstance(each, Cycle) for each in gc.get_objects())


def small(tus: Tus) -> None:
    url = tus.mk(4)
    assert tus.pa(url, 0, b"data").status == 204
    assert tus.hd(url).status == 200
    assert tus.pa(url, 9, b"data").status == 409


def large(tus: Tus) -> None:
    url = tus.mk(2 * MIB)
    assert tus.pa(url, 0, bytes(2 * MIB)).status == 204


def broken_off(tus: Tus) -> None:
    url = tus.mk(2 * MIB)
    with tus.begin_patch(url, 0, 2 * MIB) as wire:
        wire.send(bytes(MIB))
        wire.reset()
    eventually(lambda: tus.off(url) > 0)


@pytest.mark.parametrize("requests", [small, large, broken_off])
def test_a_request_is_freed_when_it_is_done(
    requests: Callable[[Tus], None], tmp_path: Path
) -> None:
    with serving(tmp_path) as tus:
        requests(tus)
        with without_collector():
            # Those that an earlier test of this process may still have, as in a traceback.
            others = _cycles()
            for _ in range(5):
                requests(tus)
            eventually(lambda: _cycles() <= others)
