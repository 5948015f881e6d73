"""DELETE on an upload (termination extension): finished and unfinished ones alike."""

from __future__ import annotations

from dataclasses import dataclass

from tusserver.protocol.decision import Reply


@dataclass(frozen=True, slots=True)
class Terminate:
    """DELETE: the upload ends, what it holds is freed, and later requests get 404."""

    upload_id: str

    def reply(self) -> Reply:
        """204."""
        return Reply(204)
