"""The mark by which a test names the rows of the specification's check list that it shows."""

from __future__ import annotations

import pytest


def spec(*ids: str) -> pytest.MarkDecorator:
    """Names requirement ids of `conformance/requirements.toml`, as `@spec("CORE-HEAD-01")`."""
    return pytest.mark.spec(*ids)
