"""Who may do what with which upload: values and one rule, for whoever finds out who is asking."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from tusserver.protocol.capabilities import CONCATENATION_UNFINISHED

if TYPE_CHECKING:
    from tusserver.protocol.capabilities import Capabilities
    from tusserver.protocol.upload import Upload


GRANTEE = "grant:"
"""How the user begins to whom uploads under a grant without an owner belong."""


class Verb(StrEnum):
    """What is asked for. `JOIN` is the use of a partial upload in a final one."""

    CREATE = "create"
    HEAD = "head"
    PATCH = "patch"
    DELETE = "delete"
    GET = "get"
    JOIN = "join"


class Grant(Struct, frozen=True, omit_defaults=True):
    """What a signed URL allows until `expires_at` (seconds since the epoch): these verbs on this
    upload, or with `upload_id` None the creation of uploads and the same verbs on them.

    `key` tells one grant from another; uploads made by one belong to `owner`, or else to the grant
    itself. `max_size` in bytes and `destination` bind what is created; None leaves them open.
    """

    verbs: tuple[Verb, ...]
    expires_at: int
    key: str
    upload_id: str | None = None
    owner: str | None = None
    max_size: int | None = None
    destination: str | None = None

    @property
    def user(self) -> str:
        """To whom uploads under this grant belong."""
        return f"{GRANTEE}{self.key}" if self.owner is None else self.owner

    def for_upload(self, upload_id: str) -> Grant:
        """The same for one upload that was created under this one."""
        verbs = tuple(verb for verb in self.verbs if verb is not Verb.CREATE)
        return Grant(verbs, self.expires_at, self.key, upload_id, self.owner)


class Caller(Struct, frozen=True):
    """Who is asking. An admin may do everything. `max_size` in bytes bounds the uploads that this
    caller makes and sends bytes to, besides the bound for all.
    """

    user: str | None = None
    is_admin: bool = False
    grant: Grant | None = None
    max_size: int | None = None

    def offered(self, capabilities: Capabilities) -> Capabilities:
        """What is offered to this caller."""
        if self.max_size is None:
            return capabilities
        bounds = (self.max_size, capabilities.max_size)
        return replace(
            capabilities,
            max_size=min(bound for bound in bounds if bound is not None),
            # Of parts that are not finished nobody knows what they will come to.
            extensions=capabilities.extensions - {CONCATENATION_UNFINISHED},
        )

    def may_create(self) -> bool:
        """Whether this caller may create uploads at all."""
        grant = self.grant
        return grant is None or (grant.upload_id is None and Verb.CREATE in grant.verbs)

    def may(self, verb: Verb, upload: Upload) -> bool:
        """Whether this caller may do that with this upload. One without an owner is for admins."""
        if self.is_admin:
            return True
        grant = self.grant
        if grant is not None and verb is not Verb.JOIN:
            return grant.upload_id == upload.upload_id and verb in grant.verbs
        return upload.owner is not None and upload.owner == self.user
