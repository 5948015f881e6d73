"""The refusals that come of the rules of a site: who may, how much, of which kind, and what its
checks of a finished upload say.

As in `errors`, 4xx is for good and tells a client not to try the same again; what passes has
`Retry-After`.
"""

from __future__ import annotations

from tusserver.protocol.errors import RETRY_AFTER, TusError, UploadLocked


class Unauthorized(TusError):
    """RFC 9110, section 15.5.2, with the challenge of RFC 6750, section 3."""

    status = 401
    code = "ERR_UNAUTHORIZED"

    def __init__(self, message: str | None = None) -> None:
        """With a `message` there was a token, and it says what is wrong with it."""
        challenge = 'Bearer realm="tusserver"'
        if message is not None:
            quoted = message.translate({ord('"'): "'", ord("\\"): "/"})
            challenge += f', error="invalid_token", error_description="{quoted}"'
        super().__init__(
            message or "send a token: Authorization: Bearer …",
            headers=[(b"www-authenticate", challenge.encode("ascii", "replace"))],
        )


class Forbidden(TusError):
    status = 403
    code = "ERR_FORBIDDEN"
    default_message = "this upload belongs to somebody else, or this URL does not allow that"


class AccessUnknown(UploadLocked):
    """Who may do what cannot be found out for the moment. As 423: see StorageUnavailable."""

    code = "ERR_ACCESS_UNKNOWN"
    is_for_operator = True
    default_message = "it cannot be found out who you are; try again in a moment"


class InvalidName(TusError):
    """`filename` or `destination` in the metadata cannot be used."""

    status = 400
    code = "ERR_INVALID_NAME"


class KindNotAllowed(TusError):
    """The kind of the file, by its name, its media type or its first bytes, is not taken."""

    status = 415
    code = "ERR_KIND_NOT_ALLOWED"
    default_message = "this kind of file is not taken here"


class QuotaExceeded(TusError):
    """The user has used up what the site allows."""

    status = 413
    code = "ERR_QUOTA_EXCEEDED"


class TooManyUploads(TusError):
    """The user has as many unfinished uploads as the site allows."""

    status = 429
    code = "ERR_TOO_MANY_UPLOADS"
    headers = (RETRY_AFTER,)


class UploadRefused(TusError):
    """A check of the finished upload has refused it for good. `code` names the check; `status` is
    one of 4xx that no client takes for passing (as tus-js-client takes 409 and 423).
    """

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        super().__init__(message)
        # Of this refusal, not of the class.
        self.code = code  # type: ignore[misc]
        self.status = status  # type: ignore[misc]


class FinishUnavailable(TusError):
    """A check of the finished upload cannot be made for the moment; the bytes are kept, and it is
    made later.
    """

    status = 503
    code = "ERR_FINISH_PENDING"
    is_for_operator = True
    headers = ((b"retry-after", b"10"),)
    default_message = "all bytes are stored; a check of them is still to be made, ask again later"
