"""Which uploads may be joined, and how long the result is (concatenation and
concatenation-unfinished).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.protocol.capabilities import CONCATENATION_UNFINISHED
from tusserver.protocol.errors import InvalidConcat, InvalidUploadLength, PartialUnfinished
from tusserver.protocol.grammar import MAX_INTEGER
from tusserver.protocol.upload import Partial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.upload import Upload


def joined_length(partials: Sequence[Upload], capabilities: Capabilities) -> int | None:
    """The sum of the lengths, or None as long as one of them is not declared.

    Raises InvalidConcat for an upload that was not created as a partial one, PartialUnfinished
    where unfinished ones are not on offer.
    """
    for upload in partials:
        if not isinstance(upload.concat, Partial):
            raise InvalidConcat(
                "only uploads that were created with 'Upload-Concat: partial' can be joined"
            )
        if not upload.is_finished and not capabilities.offers(CONCATENATION_UNFINISHED):
            raise PartialUnfinished
    total = sum_lengths(partials)
    if total is not None and total > MAX_INTEGER:
        raise InvalidUploadLength("the partial uploads come to 2^63 bytes or more")
    return total


def sum_lengths(partials: Sequence[Upload]) -> int | None:
    """The length that the joined upload has, None while one of the lengths is unknown."""
    total = 0
    for upload in partials:
        if upload.length is None:
            return None
        total += upload.length
    return total
