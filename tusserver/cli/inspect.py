"""Commands that look into a store: `ls`, `show`, `rm`, `verify`, `sweep`. They may run beside a
server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from tusserver.cli.options import all_settings, settings_from, store_settings
from tusserver.compose import build_uploads
from tusserver.lock.base import LockerUnusable
from tusserver.protocol import grammar
from tusserver.protocol.errors import TusError, UploadNotFound
from tusserver.protocol.termination import Terminate
from tusserver.protocol.upload import Final, Partial, Upload
from tusserver.protocol.urls import is_upload_id
from tusserver.settings import SettingsError
from tusserver.store.base import Finding, InspectingStore, RemoteStore, StoreUnusable
from tusserver.sweeper import Sweeper, SweepReport, SweepTotals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tusserver.protocol.finish import Finish
    from tusserver.settings import Settings
    from tusserver.uploads import Uploads

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines for scripts.")
_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@asynccontextmanager
async def _opened(settings: Settings, *, only_looks: bool) -> AsyncIterator[Uploads]:
    uploads = build_uploads(settings, finishes=False)
    if not only_looks:
        await uploads.start()
    elif isinstance(uploads.store, RemoteStore):
        await uploads.store.connect()
    try:
        yield uploads
    finally:
        await uploads.close()


def _run(
    settings: Settings, work: Callable[[Uploads], Awaitable[int]], *, only_looks: bool = False
) -> int:
    """Runs a command on the store that the settings name; what goes wrong becomes one line.

    With `only_looks` nothing is created, locked or mended: so it works on a read-only copy, too,
    and leaves nothing behind that belongs to the user of the command instead of the server's.
    """

    async def run() -> int:
        async with _opened(settings, only_looks=only_looks) as uploads:
            return await work(uploads)

    try:
        if not settings.is_in_bucket and not settings.upload_dir.is_dir():
            raise click.ClickException(f"there is no directory {settings.upload_dir}")
        return asyncio.run(run())
    except (SettingsError, StoreUnusable, LockerUnusable) as error:
        raise click.ClickException(str(error)) from error
    except TusError as error:
        raise click.ClickException(_reason(error)) from error
    except BrokenPipeError:
        raise  # Whoever read our output has had enough.
    except OSError as error:
        where = "" if error.filename is None else f" ({error.filename})"
        raise click.ClickException(f"{error.strerror}{where}") from error


def _reason(error: TusError) -> str:
    """What is wrong, without the advice to clients but with the words of the system, if any."""
    said = error.message.partition(";")[0]
    cause = error.__cause__
    while isinstance(cause, TusError):
        cause = cause.__cause__
    return f"{said}: {cause.strerror}" if isinstance(cause, OSError) else said


def _quoted(upload_id: str) -> str:
    """What somebody gave as an id, on one line and harmless to a terminal."""
    return upload_id if upload_id and upload_id.isprintable() else ascii(upload_id)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int], None]]:
    """A live count on a terminal, nothing elsewhere; to be called with the number so far.

    What is told meanwhile goes above it, or where the output was led to.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None  # It would write an empty line, and cron would send a mail.
        return
    shares_terminal = sys.stdout.isatty()
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=shares_terminal
    ) as progress:
        task = progress.add_task(description, total=None)
        yield lambda count: progress.update(task, completed=count)


@click.command("ls")
@store_settings
@_json_option
def list_uploads(*, as_json: bool, **values: Any) -> int:
    """List the uploads in a store."""

    async def work(uploads: Uploads) -> int:
        async for upload_id in uploads.store.ids():
            try:
                upload = await uploads.store.get(upload_id)
            except UploadNotFound:
                continue
            except TusError as error:
                click.echo(f"{upload_id}: {_reason(error)}", err=True)
                continue
            click.echo(json.dumps(_as_dict(upload)) if as_json else _line(upload))
        return 0

    return _run(settings_from(values), work, only_looks=True)


@click.command()
@click.argument("upload_id", metavar="ID")
@store_settings
@_json_option
def show(*, upload_id: str, as_json: bool, **values: Any) -> int:
    """Show one upload."""

    async def work(uploads: Uploads) -> int:
        try:
            described = _as_dict(await uploads.store.get(upload_id))
        except TusError as error:
            raise click.ClickException(f"{_quoted(upload_id)}: {_reason(error)}") from error
        if as_json:
            click.echo(json.dumps(described))
        else:
            for name, value in described.items():
                click.echo(f"{name:<12} {value}")
        return 0

    return _run(settings_from(values), work, only_looks=True)


@click.command("rm")
@click.argument("upload_ids", metavar="ID...", nargs=-1, required=True)
@store_settings
def remove(*, upload_ids: tuple[str, ...], **values: Any) -> int:
    """Remove uploads; a request that is using one is asked to let go."""

    async def work(uploads: Uploads) -> int:
        status = 0
        for upload_id in upload_ids:
            try:
                if not is_upload_id(upload_id):
                    raise UploadNotFound
                await uploads.terminate(Terminate(upload_id))
            except TusError as error:
                click.echo(f"{_quoted(upload_id)}: {_reason(error)}", err=True)
                status = 1
        return status

    return _run(settings_from(values), work)


@dataclass(slots=True)
class _Verdict:
    """What `verify` made of one finding: mended, gone by itself, in use, failed (and why), or only
    reported.
    """

    finding: Finding
    outcome: str
    reason: str = ""


@click.command()
@store_settings
@_json_option
@_dry_run_option
def verify(*, as_json: bool, dry_run: bool, **values: Any) -> int:
    """Reconcile records and data after a crash; say what was found and mended.

    Exit code 0 when nothing is left to mend, 1 otherwise. Damaged records are set aside, never
    removed. Uploads that a running server is using are left to it.
    """

    async def work(uploads: Uploads) -> int:
        if not isinstance(uploads.store, InspectingStore):
            raise click.ClickException("only uploads in a directory can be verified")
        count = left = 0
        with _progress("findings") as show_count:
            async for finding in uploads.store.findings():
                verdict = await _judge(uploads, finding, dry_run=dry_run)
                # At once: there may be very many, and what was mended is told in any case.
                _report(verdict, as_json=as_json)
                count, left = count + 1, left + (verdict.outcome not in ("mended", "gone"))
                show_count(count)
        if not count and not as_json:
            click.echo("Everything is in order.")
        return int(left > 0)

    return _run(settings_from(values), work, only_looks=dry_run)


async def _judge(uploads: Uploads, finding: Finding, *, dry_run: bool) -> _Verdict:
    assert isinstance(uploads.store, InspectingStore)
    if dry_run:
        return _Verdict(finding, "found")
    lock = await uploads.locker.try_acquire(finding.upload_id)
    if lock is None:
        return _Verdict(finding, "in use")
    try:
        return _Verdict(finding, "mended" if await uploads.store.mend(finding) else "gone")
    except TusError as error:
        return _Verdict(finding, "failed", _reason(error))
    finally:
        await lock.release()


def _report(verdict: _Verdict, *, as_json: bool) -> None:
    finding = verdict.finding
    if as_json:
        reason = {"reason": verdict.reason} if verdict.reason else {}
        click.echo(json.dumps({**asdict(finding), "outcome": verdict.outcome, **reason}))
    else:
        told = verdict.reason or (finding.remedy if verdict.outcome in ("found", "mended") else "")
        remedy = told and f": {told}"
        click.echo(f"{finding.upload_id}  {finding.problem}  [{verdict.outcome}{remedy}]")


@click.command()
@all_settings
@_json_option
@_dry_run_option
def sweep(*, as_json: bool, dry_run: bool, **values: Any) -> int:
    """Remove expired uploads and leftovers of crashes, as a server does by itself (for cron).

    The times are those of the settings --expire-after and --retain-finished. Exit code 1 when
    something could not be read or removed.
    """

    async def work(uploads: Uploads) -> int:
        totals, verb = SweepTotals(), "would be removed" if dry_run else "removed"
        with _progress("uploads") as show_count:

            def tell(report: SweepReport) -> None:
                show_count(report.uploads)
                if not as_json:
                    _tell_removed(report, verb)
                    totals.take(report)

            report = await Sweeper(uploads).sweep(dry_run=dry_run, on_step=tell)
        if as_json:
            click.echo(json.dumps(asdict(report)))
            return int(bool(report.failed))
        if report.is_skipped:
            click.echo("A sweep is under way already.")
            return 0
        click.echo(
            f"{totals.uploads} uploads seen, {totals.expired} expired, {totals.leftovers} "
            f"leftovers, {totals.in_use} expired but in use, {totals.failed} failed"
        )
        return int(totals.failed > 0)

    return _run(settings_from(values), work)


def _tell_removed(report: SweepReport, verb: str) -> None:
    for upload_id in report.expired:
        click.echo(f"{upload_id}  expired, {verb}")
    for finding in report.leftovers:
        click.echo(f"{finding.upload_id}  {finding.problem}, {verb}")


def _as_dict(upload: Upload) -> dict[str, object]:
    pairs = grammar.parse_metadata(upload.metadata)
    return {
        "id": upload.upload_id,
        "state": _state(upload),
        "offset": upload.offset,
        "length": upload.length,
        "metadata": {key: value.decode("utf-8", "replace") for key, value in pairs},
        "concat": _concat(upload),
        "created": upload.created_at.isoformat(timespec="seconds"),
        "modified": upload.modified_at.isoformat(timespec="seconds"),
        "owner": upload.owner,
        **_finish(upload.finish),
    }


def _finish(finish: Finish | None) -> dict[str, object]:
    """What the record says of a finish, as far as it says anything."""
    if finish is None:
        return {}
    refusal = finish.refusal
    return {
        "digests": dict(finish.digests),
        "scan": finish.scan or None,
        "place": finish.place or None,
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
    }


def _state(upload: Upload) -> str:
    if upload.is_finished:
        return "finished"
    if upload.is_refused:
        return "refused"
    if upload.is_due:
        return "finishing"
    return "pending" if upload.is_pending else "unfinished"


def _concat(upload: Upload) -> object:
    if isinstance(upload.concat, Final):
        return list(upload.concat.partials)
    return "partial" if isinstance(upload.concat, Partial) else None


def _line(upload: Upload) -> str:
    length = "?" if upload.length is None else upload.length
    metadata = dict(grammar.parse_metadata(upload.metadata))
    filename = (metadata.get("filename") or metadata.get("name") or b"").decode("utf-8", "replace")
    printable = "".join(character for character in filename if character.isprintable())
    modified = upload.modified_at.isoformat(timespec="seconds")
    progress = f"{upload.offset}/{length}"
    return f"{upload.upload_id}  {_state(upload):<10}  {progress:>21}  {modified}  {printable}"
