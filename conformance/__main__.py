"""`python -m conformance URL`."""

import sys

from conformance.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python -m conformance"))
