"""The conformance suite against three nodes behind nginx, with Redis and an S3 service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.verdict import Verdict
from tests.conformance.judging import judge, not_kept, with_verdict
from tests.conformance.test_against_tusserver import OF_NGINX

if TYPE_CHECKING:
    from tests.cluster.site import Site

pytestmark = pytest.mark.timeout(400)


def test_only_what_is_nginx_s_own_is_broken(site: Site) -> None:
    address = site.tus.address
    report = judge(f"http://{address[0]}:{address[1]}/files/")
    broken = not_kept(report)
    assert {row: why for row, why in broken.items() if row not in OF_NGINX} == {}
    # The largest object is so large that its bound cannot be tried.
    assert with_verdict(report, Verdict.UNVERIFIABLE).keys() <= {"CONCAT-21"}
    assert not report.down_after
