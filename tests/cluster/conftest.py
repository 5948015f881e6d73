"""The site that the tests of a cluster share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.site import Site, whole_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.s3_server import S3Server


@pytest.fixture(scope="package")
def site(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it runs at the beginning of a test, and has to at its end."""
    with whole_site(s3, tmp_path_factory.mktemp("site")) as site:
        yield site
