"""The benchmark: tusserver beside other tus servers, each started fresh, round by round.

Knows nothing of tusserver but its command line; see `bench/run --help`.
"""
