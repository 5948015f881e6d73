"""How a store of objects works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tusserver.store.object_parts import MIB, PartRules

if TYPE_CHECKING:
    from tusserver.store.object_places import Destination


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """How a store of objects uses its bucket. Sizes in bytes, times in seconds.

    All its keys begin with `prefix`. `memory` bounds the parts of all requests that are collected
    in memory, each process by itself; what does not fit goes through files without a name in
    `spool_dir` (None: where the system has them). At most `sending` parts of one body are on their
    way. Bytes of a slow client are stored every `flush` seconds. `keep_first` first bytes of an
    unfinished upload can be read. Bytes that seem to be ours and have no record at all are left
    alone for `grace` seconds. Finished uploads go to `destination`; None: they stay.
    """

    prefix: str = ""
    rules: PartRules = field(default_factory=PartRules)
    memory: int = 256 * MIB
    spool_dir: str | None = None
    sending: int = 3
    flush: float = 10.0
    keep_first: int = 0
    grace: float = 86400.0
    destination: Destination | None = None
