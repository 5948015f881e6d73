"""A black-box suite for servers of the tus protocol, in any language.

It knows a URL and the specification, and nothing of the server behind it. `python -m conformance
URL` runs it; the package needs nothing but the standard library.
"""

__version__ = "1.0.0"
