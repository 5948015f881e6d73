"""`tusserver check`: tries on the configured services what a server will need of them."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import click

from tusserver.checking.base import Result, State, Totals, results
from tusserver.cli.options import GroupedCommand, SettingOption, all_settings, settings_from
from tusserver.compose_checks import build_checks
from tusserver.settings import SettingsError

if TYPE_CHECKING:
    from tusserver.checking.base import Section

_EPILOG = """\b
It takes the settings of `tusserver serve`, and tries on the services that they name (bucket, Redis,
directories, virus scanner, issuer of tokens) each thing that a server will do with them:

\b
  ok       it works
  note     it works, or is not needed, and there is something to know
  missing  a server needs it, and it does not work
  untried  it builds on something that does not work

\b
Exit code 0 when all that is needed works, 1 when something is missing, 2 for wrong settings. Run
it as the user of the server, beside running servers if you like: what it makes has names of its
own, and is removed in the end; if it is killed, the sweeper of a server does that.

\b
Examples:
  tusserver check --config /etc/tusserver/tusserver.toml
  tusserver check --upload-dir /data/uploads --destination-root /data/jobs
  tusserver check --store s3://uploads/portal/ --s3-endpoint http://minio.internal:9000
  tusserver check --store azure://uploads/portal/
  TUSSERVER_LOCK=redis://user:password@redis.internal tusserver check --store s3://uploads
  tusserver check --config tusserver.toml --json | jq 'select(.state == "missing")'
"""
_MARKS = {State.OK: "green", State.NOTE: "yellow", State.MISSING: "red", State.UNTRIED: "magenta"}
_MARK_WIDTH, _NAME_WIDTH = 7, 29


@click.command(cls=GroupedCommand, epilog=_EPILOG)
@all_settings
@click.option(
    "--json", "as_json", is_flag=True, cls=SettingOption, help="Print JSON lines for scripts."
)
def check(*, as_json: bool, **values: Any) -> int:
    """Try on the configured services what a server needs of them; say what works and what not."""
    # What goes wrong is said in the lines of the checks, and not in a log besides.
    logging.getLogger("tusserver").addHandler(logging.NullHandler())
    try:
        sections = build_checks(settings_from(values))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    try:
        totals = asyncio.run(_tell_all(sections, as_json=as_json))
    except (asyncio.CancelledError, KeyboardInterrupt):
        click.echo("tusserver: interrupted; what had been made is removed", err=True)
        raise click.Abort from None
    _tell_verdict(totals, as_json=as_json)
    return 0 if totals.is_good else 1


async def _tell_all(sections: tuple[Section, ...], *, as_json: bool) -> Totals:
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # On Windows.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    totals, title = Totals(), ""
    async with aclosing(results(sections)) as found:
        async for result in found:
            totals.add(result)
            if as_json:
                click.echo(json.dumps(_facts(result), ensure_ascii=False))
                continue
            if result.section != title:
                click.echo(("\n" if title else "") + click.style(result.section, bold=True))
                title = result.section
            _tell(result)
    return totals


def _facts(result: Result) -> dict[str, object]:
    return {
        "section": result.section,
        "check": result.name,
        "state": result.state.value,
        "needed": result.is_needed,
        "text": result.text,
        "advice": result.advice,
    }


def _tell(result: Result) -> None:
    mark = click.style(f"{result.state.value:<{_MARK_WIDTH}}", fg=_MARKS[result.state])
    told = ": ".join(filter(None, (result.text, result.advice)))
    click.echo(f"  {mark}  {result.name:<{_NAME_WIDTH}}  {told}".rstrip())


def _tell_verdict(totals: Totals, *, as_json: bool) -> None:
    counts = {state.value: count for state, count in totals.counts.items()}
    if as_json:
        click.echo(json.dumps({"verdict": "good" if totals.is_good else "missing", **counts}))
        return
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    verdict = (
        "All that is needed works" if totals.is_good else "Something that is needed is missing"
    )
    color = "green" if totals.is_good else "red"
    click.echo("\n" + click.style(f"{verdict}: {told}.", fg=color, bold=True))
