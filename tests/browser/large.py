"""One large file through the page at `/`, over the death of the server in the middle.

`python -m tests.browser.large 1GiB` does it by hand, at any size, and says how it went.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chromium import WAIT, chromium
from tests.browser.uploader import MEBI, Uploader, Visit, digest_of, stored_digests, url_of, visits
from tests.servers import process_server
from tusserver.settings import parse_size


def upload_large(visit: Visit, directory: Path, size: int) -> list[int]:
    """Returns the percentages that the page has shown. AssertionError unless the stored file is
    byte by byte that which was sent, and most of it was sent only once.
    """
    file = directory / "large.bin"
    with open(file, "wb") as out:
        for start in range(0, size, 16 * MEBI):
            out.write(os.urandom(min(16 * MEBI, size - start)))
    with process_server(directory / "uploads") as server:
        uploader = visit(url_of(server.tus))
        # Six seconds at the least, so that there is a middle.
        uploader.throttle(size / 6)
        uploader.choose(file)
        watch_percentages(uploader)
        uploader.wait_for_percent(file.name, 45)
        server.kill()
        uploader.expect_state(file.name, "The server cannot be reached. Trying again, 1 of 3")
        server.start()
        uploader.throttle(-1)
        done = uploader.row(file.name).get_by_text("Uploaded")
        expect(done).to_be_visible(timeout=WAIT * 1000 + size / 10_000)
    assert stored_digests(directory / "uploads", size) == {digest_of(file)}
    for path in uploader.traffic.uploads():
        assert uploader.traffic.offsets(path).count(0) == 1
    percentages: list[int] = uploader.page.evaluate("window.percentages")
    return percentages


def watch_percentages(uploader: Uploader) -> None:
    """Notes every percentage that is shown from now on in `window.percentages`."""
    uploader.page.evaluate(
        """() => {
            window.percentages = []
            const note = () => {
                const shown = document.querySelector('.tus-state')?.textContent.match(/^(\\d+)%/)
                if (shown) window.percentages.push(Number(shown[1]))
            }
            const options = { subtree: true, childList: true, characterData: true }
            new MutationObserver(note).observe(document.body, options)
        }"""
    )


def main() -> None:
    size = parse_size(sys.argv[1])
    assert size is not None
    expect.set_options(timeout=WAIT * 1000)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, chromium() as browser, visits(browser) as visit:
        shown = upload_large(visit, Path(place), size)
    sys.stdout.write(
        f"{size} bytes are identical after {time.monotonic() - began:.1f} s and one kill of the "
        f"server; the page has shown {len(set(shown))} different percentages\n"
    )


if __name__ == "__main__":
    main()
