"""What can go wrong with a transfer.

ClientError
├── Passing       trying again later may help
├── Refused       the server will say the same again
├── Gone          the upload is not there any more
├── FileChanged   the file is another one than at the beginning
├── Unreadable    the file cannot be read, or what was loaded not be written
├── Busy          another process sends this file
└── Interrupted   the user has stopped it
"""

from __future__ import annotations


class ClientError(Exception):
    """`message` is for the user: one sentence without a full stop. `is_final`: the same command
    would only hear the same again.
    """

    is_final = False

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Passing(ClientError):
    """`retry_after`: the seconds that the server asks to be left alone, if it does."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class Refused(ClientError):
    is_final = True


class Gone(ClientError):
    is_final = True


class FileChanged(ClientError):
    pass


class Unreadable(ClientError):
    pass


class Busy(ClientError):
    pass


class Interrupted(ClientError):
    def __init__(self) -> None:
        super().__init__("interrupted")
