"""The sentences under the tables of the benchmark, and which server takes part where."""

from __future__ import annotations

from dataclasses import replace

from bench import ways
from bench.cases import DEFAULT, GIB, WAYS, cases, cost
from bench.remarks import remarks
from bench.report import Results, page, plot, table
from bench.rounds import hashing
from bench.servers import SERVERS, TWO_WORKERS
from tests.bench.test_verdict import sample

KNOWN = cases()
LIMITS = [
    {"what": hashing("sha1"), "seconds": seconds, "cpu": seconds / 2, "bytes": GIB}
    for seconds in (0.5, 0.6, 9.0)
]


def test_a_checksum_is_shown_beside_its_parts() -> None:
    samples = [
        replace(sample("tusserver", case="sha1", cpu=0.9), seconds=1.5),
        replace(sample("tusserver", case="blocks", cpu=0.4), seconds=1.0),
        sample("tusd", case="sha1"),
    ]
    results = Results(samples, KNOWN)
    assert remarks(results, KNOWN["sha1"], "disk", LIMITS) == [
        "tusserver, CPU: with checksum = 0.90 s/GiB, without + hashing = 0.40 + 0.30 = 0.70 s/GiB",
        "tusserver, time: with checksum = 1.50 s/GiB, without + hashing = 1.00 + 0.60 = 1.60 s/GiB",
    ]
    assert remarks(results, KNOWN["blocks"], "disk", LIMITS) == []
    facts = {"versions": {}, "date": "", "machine": "", "rounds": 1, "limits": LIMITS}
    assert "0.40 + 0.30 = 0.70 s/GiB.\n" in page(results, facts, [])


def test_a_checksum_without_its_parts_is_shown_alone() -> None:
    results = Results([sample("tusserver", case="sha1")], KNOWN)
    assert remarks(results, KNOWN["sha1"], "disk", LIMITS) == []


def test_two_workers_are_shown_beside_one() -> None:
    samples = [
        each
        for number, ratio in enumerate((1.5, 1.6, 9.0))
        for each in (
            sample("tusserver", number, case="small"),
            replace(
                sample(TWO_WORKERS, number, case="small", cpu=1.2),
                seconds=1 / ratio,
                cpu_each=(0.9, 0.3, 0.01),
            ),
        )
    ]
    assert remarks(Results(samples, KNOWN), KNOWN["small"], "disk", []) == [
        "2 workers = 1.60 × one, with 1.20 × the CPU for each request; of that CPU one worker had "
        "75 %, the other 25 %"
    ]


def test_a_worker_that_did_nothing_is_shown() -> None:
    two = replace(sample(TWO_WORKERS, case="small"), cpu_each=(1.0,))
    results = Results([sample("tusserver", case="small"), two], KNOWN)
    assert remarks(results, KNOWN["small"], "disk", [])[0].endswith("had 100 %, the other 0 %")


def test_servers_take_part_where_they_belong() -> None:
    suited = {
        name: {case.name for case in KNOWN.values() if case.suits(server)}
        for name, server in SERVERS.items()
    }
    assert suited[TWO_WORKERS] == {"small", "post", "head"}
    assert "blocks" in suited["tusserver"] & suited["tusserver, sync finish"]
    assert "blocks" not in suited["tusd"]
    assert "concat" not in suited["@tus/server"]
    others = {server.name for server in ways.SERVERS if KNOWN["patch"].suits(server)}
    assert not others
    assert [name for name in suited if WAYS in suited[name]] == [DEFAULT]
    assert all(KNOWN[WAYS].suits(server) for server in ways.SERVERS)


def test_other_ways_are_compared_with_our_own_and_not_plotted() -> None:
    results = Results(
        [
            sample(DEFAULT, case=WAYS, cpu=0.5),
            sample("uvicorn", case=WAYS, cpu=1.5),
            sample("tusd"),
        ],
        KNOWN,
    )
    assert "| uvicorn | 1024 | 1.00 | 1.50 | 3.00 |" in table(results, KNOWN[WAYS], "disk")
    assert "glibc" in remarks(results, KNOWN[WAYS], "disk", [])[0]
    svg = plot(results, "disk", "cost", cost)
    assert "tusd" in svg
    assert "uvicorn" not in svg


def test_slow_clients_are_as_many_as_they_say_whatever_the_scale() -> None:
    for scale in (0.1, 1.0):
        table = cases(scale)
        for name, clients in (("slow", 200), ("crowd", 2000)):
            words = table[name].load
            assert words[words.index("-parallel") + 1] == str(clients)
            numbers = dict(zip(words[::2], words[1::2], strict=True))
            assert int(numbers["-rate"]) * int(numbers["-seconds"]) >= 256 * 1024
