"""Serves the tiny server, or one of its mutants, until it is interrupted."""

from __future__ import annotations

import argparse
import threading
from contextlib import suppress

from tests.conformance.mutants import mutants
from tests.conformance.tiny.server import Tiny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=1080)
    parser.add_argument("--broken", help="the name of a mutant, see tests.conformance.score --list")
    options = parser.parse_args()
    kind = mutants()[options.broken].kind if options.broken else Tiny
    with kind(options.port) as server, suppress(KeyboardInterrupt):
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
