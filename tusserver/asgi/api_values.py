"""What the status API is asked and answers, besides what `tusserver.status` tells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from tusserver.policy.grants import new_grant
from tusserver.protocol.access import Verb
from tusserver.protocol.errors import MalformedRequest
from tusserver.protocol.urls import is_upload_id

if TYPE_CHECKING:
    from tusserver.policy.ledger import Order
    from tusserver.protocol.access import Caller, Grant

_LONGEST = 10 * 365 * 86400
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Seconds = Annotated[int, Meta(ge=1, le=_LONGEST)]
_Orders = Literal["created", "name", "size", "-created", "-name", "-size"]


class LiveQuery(Struct, forbid_unknown_fields=True):
    """The parameters of a stream."""

    state: Literal["active", "ended"] | None = None
    owner: str | None = None
    name: str = ""

    @property
    def is_active(self) -> bool | None:
        """What `state` means."""
        return None if self.state is None else self.state == "active"


class ListQuery(LiveQuery, forbid_unknown_fields=True):
    """The parameters of a list."""

    order: _Orders = "-created"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    skip: _Count = 0

    @property
    def by(self) -> Order:
        """What the list is ordered by."""
        order: Order = self.order.lstrip("-")  # type: ignore[assignment]
        return order

    @property
    def is_descending(self) -> bool:
        """The largest comes first."""
        return self.order.startswith("-")


class SignRequest(Struct, forbid_unknown_fields=True):
    """What a signed URL is to allow. `expires_in` in seconds, `max_size` in bytes."""

    expires_in: _Seconds
    verbs: tuple[Verb, ...] = ()
    upload: str | None = None
    owner: str | None = None
    max_size: _Count | None = None
    destination: str | None = None

    def grant(self) -> Grant:
        """Raises MalformedRequest."""
        if self.upload is not None and not is_upload_id(self.upload):
            raise MalformedRequest("upload is no id of an upload")
        if Verb.JOIN in self.verbs:
            raise MalformedRequest("join is no verb of a URL")
        return new_grant(
            int(time.time()) + self.expires_in,
            verbs=self.verbs,
            upload_id=self.upload,
            owner=self.owner,
            max_size=self.max_size,
            destination=self.destination,
        )


class SignedUrl(Struct, frozen=True):
    """A URL and when it ends."""

    url: str
    expires: datetime

    @classmethod
    def of(cls, url: str, grant: Grant) -> SignedUrl:
        """The URL that carries this grant."""
        return cls(url, datetime.fromtimestamp(grant.expires_at, UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a site takes; None and empty: no limit. `max_size` in bytes."""

    max_size: int | None = None
    extensions: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


class Facts(Struct, frozen=True):
    """Whom the server takes the caller for, and what it would take from them."""

    user: str | None
    is_admin: bool
    max_size: int | None
    extensions: tuple[str, ...]
    types: tuple[str, ...]
    uploads: str

    @classmethod
    def of(cls, caller: Caller, offer: Offer, uploads: str) -> Facts:
        """What this caller is to know; `uploads` is the creation URL."""
        return cls(
            caller.user, caller.is_admin, offer.max_size, offer.extensions, offer.types, uploads
        )
