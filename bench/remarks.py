"""Sentences under the tables, where two figures belong together."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.cases import CHECKSUMS, GIB, OURS, WAYS, Case, Sample, cost, rate
from bench.rounds import hashing
from bench.servers import TWO_WORKERS

if TYPE_CHECKING:
    from bench.report import Results

Limits = list[dict[str, Any]]
_ON_WAYS = (
    "All with the default `--sync finish`. Only the first takes its bytes past the event loop. "
    "'Memory kept' is with glibc told by its environment to keep freed memory, as our own server "
    "does by itself"
)


def remarks(results: Results, case: Case, medium: str, limits: Limits) -> list[str]:
    """What is to be said of this case on this medium."""
    if case.name == WAYS:
        return [_ON_WAYS]
    if case.name in CHECKSUMS:
        return _checksum_remarks(results, case, medium, limits)
    return _worker_remarks(results, case, medium)


def _checksum_remarks(results: Results, case: Case, medium: str, limits: Limits) -> list[str]:
    """With the checksum, beside without it and the hashing alone: what more it costs than it
    must.
    """
    plain = next((each for each in results.cases if each.name == "blocks"), None)
    alone = [limit for limit in limits if limit["what"] == hashing(case.name)]
    if plain is None or not alone:
        return []
    hash_time = median(limit["seconds"] / (limit["bytes"] / GIB) for limit in alone)
    hash_cost = median(limit["cpu"] / (limit["bytes"] / GIB) for limit in alone)
    found = []
    for server in results.servers():
        if server not in OURS or not results.of(plain, medium, server):
            continue
        for what, hashed, figure in (("CPU", hash_cost, _cost), ("time", hash_time, _time)):
            with_it = results.median(case, medium, server, figure)
            without = results.median(plain, medium, server, figure)
            if with_it is not None and without is not None:
                found.append(
                    f"{server}, {what}: with checksum = {with_it:.2f} s/GiB, without + hashing = "
                    f"{without:.2f} + {hashed:.2f} = {without + hashed:.2f} s/GiB"
                )
    return found


def _cost(sample: Sample) -> float:
    return cost(sample, "bytes")


def _time(sample: Sample) -> float:
    return sample.seconds / (sample.bytes / GIB)


def _worker_remarks(results: Results, case: Case, medium: str) -> list[str]:
    """Two workers beside one, and how even they were."""
    two = results.of(case, medium, TWO_WORKERS)
    beside_one = replace(case, base="tusserver")
    where = (beside_one, medium, TWO_WORKERS)
    throughput = results.ratio(*where, lambda sample: rate(sample, case.unit))
    price = results.ratio(*where, lambda sample: cost(sample, case.unit))
    if throughput is None or price is None:
        return []
    busier = median(sample.cpu_each[0] / sum(sample.cpu_each[:2]) for sample in two)
    return [
        f"2 workers = {throughput:.2f} × one, with {price:.2f} × the CPU for each request; of that "
        f"CPU one worker had {busier * 100:.0f} %, the other {100 - busier * 100:.0f} %"
    ]
