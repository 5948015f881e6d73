"""A large file, as a person of the portal has it; see `tests.browser.large` for larger ones."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tests.browser.large import upload_large
from tests.browser.uploader import MEBI

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.uploader import Visit


def test_a_large_file_is_the_same_after_a_restart_of_the_server(
    visit: Visit, tmp_path: Path
) -> None:
    shown = upload_large(visit, tmp_path, 64 * MEBI)
    assert len(set(shown)) >= 5
    # What was shown once is not taken back by more than what the server did not get.
    assert all(after >= before - 20 for before, after in pairwise(shown))
