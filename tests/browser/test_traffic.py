"""The watch over the pages, which all other tests rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.uploader import Uploader, url_of

if TYPE_CHECKING:
    from tests.browser.uploader import Visit
    from tests.conftest import Serve
    from tests.tus import Tus


def complaint_about(uploader: Uploader) -> str:
    with pytest.raises(AssertionError) as found:
        uploader.traffic.assert_clean(uploader.page.url.rstrip("/"))
    # It is not to be heard of again at the end of the test.
    uploader.traffic.complaints.clear()
    uploader.traffic.asked.clear()
    return str(found.value)


def test_a_request_to_another_host_is_noticed(visit: Visit, tus: Tus, serve: Serve) -> None:
    uploader = visit(url_of(tus))
    other = url_of(serve(), "/")
    with uploader.page.expect_popup() as popup:
        uploader.page.evaluate("url => { window.open(url) }", other)
    popup.value.wait_for_load_state()
    assert f"requests to another host: ['{other}'" in complaint_about(uploader)


def test_a_breach_of_the_policy_is_noticed(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus))
    uploader.page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert "Content Security Policy" in complaint_about(uploader)


def test_an_error_of_the_page_is_noticed(visit: Visit, tus: Tus) -> None:
    uploader = visit(url_of(tus))
    with uploader.page.context.expect_event("weberror"):
        uploader.page.evaluate("() => { setTimeout(() => { throw new Error('broken') }) }")
    assert "broken" in complaint_about(uploader)
