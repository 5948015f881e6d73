"""Functions of an application that are asked, or told, about uploads in this process."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from tusserver.protocol import grammar
from tusserver.protocol.errors import TusError
from tusserver.protocol.refusals import FinishUnavailable, UploadRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tusserver.protocol.access import Caller
    from tusserver.protocol.upload import Upload

_T = TypeVar("_T")
_logger = logging.getLogger("tusserver")


class HookFailed(TusError):
    """A hook has raised something else than a refusal, or has not come to an end in time."""

    code = "ERR_HOOK_FAILED"
    is_for_operator = True
    default_message = "a check of this site failed; try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """All of them optional. Those that are asked refuse by raising a TusError, as
    `Forbidden("not now")` or `UploadRefused("ERR_TOO_OLD", "this file is too old")`; whatever else
    they raise, and more than `timeout` seconds, is the server's failure, not the client's.

    `on_create` is asked before there is anything, and may return metadata that is added or changed;
    also about partial uploads, and the final one that they are joined to. `before_finish` is asked
    when all bytes are there, after the other checks and before the file is placed; what it raises
    with 4xx is for good, and if it fails it is asked again later. `on_finish` is told the outcome
    that stands in `upload.finish`, at least once: also again after a crash or if it fails. Neither
    hears of partial uploads, nor of an upload that was refused for its first bytes. `on_terminate`
    is asked before a client ends an upload.
    """

    on_create: Callable[[Upload, Caller | None], Awaitable[Mapping[str, str] | None]] | None = None
    before_finish: Callable[[Upload], Awaitable[None]] | None = None
    on_finish: Callable[[Upload], Awaitable[None]] | None = None
    on_terminate: Callable[[Upload], Awaitable[None]] | None = None
    timeout: float = 30.0

    async def created(self, upload: Upload, caller: Caller | None) -> Upload:
        """The new upload with the metadata that `on_create` wants. Raises as `call` does."""

        async def ask(hook: Callable[..., Awaitable[Mapping[str, str] | None]]) -> Upload:
            return with_metadata(upload, await hook(upload, caller) or {})

        return upload if self.on_create is None else await self.call(ask, self.on_create)

    async def call(self, hook: Callable[..., Awaitable[_T]], *args: object) -> _T:
        """What the hook returns. Raises the TusError that it raises, else HookFailed."""
        try:
            async with asyncio.timeout(self.timeout):
                return await hook(*args)
        except TusError:
            raise
        except TimeoutError as error:
            raise HookFailed("a check of this site took too long; try again later") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody wants the request to end: something that the hook awaited was cancelled.
            _logger.exception("a hook failed")
            raise HookFailed from error
        except Exception as error:
            _logger.exception("a hook failed")
            raise HookFailed from error


def with_metadata(upload: Upload, changes: Mapping[str, str]) -> Upload:
    """The upload with these pairs in its metadata. Raises ValueError for those that no header can
    hold.
    """
    if not changes:
        return upload
    pairs = dict(grammar.parse_metadata(upload.metadata))
    pairs.update((key, value.encode()) for key, value in changes.items())
    metadata = grammar.format_metadata(tuple(pairs.items()))
    if len(grammar.parse_metadata(metadata)) != len(pairs):
        raise ValueError("a key of the metadata cannot be sent in a header")
    return replace(upload, metadata=metadata)


class HookStep:
    """Asks `before_finish`. Needed for `on_finish` as well: only the record of a finish in steps
    says whether its outcome has been told.
    """

    name = "hook"

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def is_needed(self, upload: Upload) -> bool:
        assert upload.finish is not None
        return self._hooks.before_finish is not None and not upload.finish.is_approved

    async def run(self, upload: Upload) -> Upload:
        assert upload.finish is not None
        assert self._hooks.before_finish is not None
        try:
            await self._hooks.call(self._hooks.before_finish, upload)
        except TusError as error:
            if error.status >= 500:
                raise FinishUnavailable(error.message) from error
            # Clients take these two for passing, and would ask for ever.
            status = 422 if error.status in (409, 423) else error.status
            raise UploadRefused(error.code, error.message, status) from error
        return replace(upload, finish=replace(upload.finish, is_approved=True))
