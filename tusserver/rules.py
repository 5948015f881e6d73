"""The rules that an operator sets for uploads, and what can be offered under them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tusserver.protocol import capabilities as names
from tusserver.protocol.capabilities import Capabilities
from tusserver.store.base import ConcatenatingStore, Store, TerminatingStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.admission import Admission
    from tusserver.finishing import FinishStep


@dataclass(frozen=True, slots=True)
class UploadsOptions:
    """The rules of this server. Sizes in bytes; None means no bound.

    `expires_after` is how long an unfinished upload is kept after its last byte, `retain_finished`
    how long a finished one. `lock_wait` is for how many seconds a request waits for a lock whose
    holder was asked to let go, `finish_wait` the same for a finish under way. `fan_out` is how many
    folders deep the ids of new uploads lie.
    """

    max_size: int | None = None
    expires_after: timedelta | None = timedelta(hours=24)
    retain_finished: timedelta | None = None
    lock_wait: float = 5.0
    finish_wait: float = 30.0
    termination: bool = True
    concatenation: bool = True
    download: bool = True
    fan_out: int = 0
    verify_digests: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site does with uploads besides storing them.

    `steps` finish a complete upload, in this order; clients are kept waiting unless it
    `finishes_in_background`. `on_step` hears of every point in a finish after which a crash could
    come. A finish that could not be made is tried again after `retry` seconds. Without `finishes`
    that is left to others, as by tools that look at the store of a server.
    """

    admission: Admission | None = None
    steps: tuple[FinishStep, ...] = ()
    finishes_in_background: bool = False
    on_step: Callable[[str], None] = lambda name: None
    retry: float = 30.0
    finishes: bool = True


_ID_BYTES = 16


def new_upload_id(fan_out: int) -> str:
    """An id that nobody can guess; its first bytes name so many folders, 256 of them in each."""
    digits = secrets.token_hex(_ID_BYTES)
    folders = (digits[2 * level : 2 * level + 2] for level in range(fan_out))
    return "/".join((*folders, digits[2 * fan_out :]))


def derive_capabilities(store: Store, options: UploadsOptions) -> Capabilities:
    """What can be offered: what the store satisfies and the options allow."""
    extensions = {
        names.CREATION,
        names.CREATION_WITH_UPLOAD,
        names.CREATION_DEFER_LENGTH,
        names.CHECKSUM,
    }
    can_terminate = isinstance(store, TerminatingStore)
    if can_terminate and options.termination:
        extensions.add(names.TERMINATION)
    if can_terminate and options.expires_after is not None:
        extensions.add(names.EXPIRATION)
    if isinstance(store, ConcatenatingStore) and options.concatenation:
        extensions |= {names.CONCATENATION, names.CONCATENATION_UNFINISHED}
    return Capabilities(
        frozenset(extensions),
        max_size=options.max_size,
        expires_after=options.expires_after if can_terminate else None,
        download=options.download,
        verifies_digests=options.verify_digests,
    )
