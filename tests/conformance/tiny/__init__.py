"""A tiny tus server that is correct, and made to be broken: what the suite's checks are proved on.

Everything is in memory and every request in a thread. Each small method is a place where a subclass
(a mutant, see `tests.conformance.mutants`) can put one fault of a real server. What is wrong below
the protocol (framing, heads) goes into a subclass of Connection, named by `connection_class`.

`python -m tests.conformance.tiny --port 1080` serves it.
"""

from tests.conformance.tiny.connection import Connection
from tests.conformance.tiny.messages import Body, Broken, Refused, Request, Response
from tests.conformance.tiny.server import Tiny
from tests.conformance.tiny.uploads import Upload

__all__ = ["Body", "Broken", "Connection", "Refused", "Request", "Response", "Tiny", "Upload"]
