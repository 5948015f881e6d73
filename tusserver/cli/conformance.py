"""`tusserver conformance URL`: the black-box suite, as it comes with the package."""

from __future__ import annotations

import click

from conformance.cli import main as run_suite


@click.command(
    "conformance",
    # The suite reads them itself: it runs without this package as well.
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def conformance(arguments: tuple[str, ...]) -> int:
    """Tell whether a server, in any language, keeps the tus protocol."""
    return run_suite(arguments, program="tusserver conformance")
