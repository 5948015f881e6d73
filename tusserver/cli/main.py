"""The command `tusserver`: `serve` is what it does when it is not told otherwise."""

from __future__ import annotations

import sys

import click

from tusserver import __version__
from tusserver.cli.cancel import cancel
from tusserver.cli.conformance import conformance
from tusserver.cli.download import download
from tusserver.cli.inspect import list_uploads, remove, show, sweep, verify
from tusserver.cli.options import source_of
from tusserver.cli.serve import serve
from tusserver.cli.sign import sign
from tusserver.cli.status import status
from tusserver.cli.upload import upload

USAGE_ERROR, FAILURE = 2, 1


class _DefaultsToServe(click.Group):
    """A group that takes `tusserver --port 9000` for `tusserver serve --port 9000`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the default command in front of options that are not the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_DefaultsToServe,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tusserver")
def cli() -> None:
    """Resumable upload server: tus 1.0 with every extension.

    Without a command it serves. See `tusserver serve --help` for all settings.

    \b
    Examples:
      tusserver                                   uploads to ./uploads on port 8080
      tusserver --upload-dir /data --max-size 20GiB
      tusserver --config /etc/tusserver.toml --check-config
      tusserver ls --upload-dir /data
      tusserver upload run1 --to http://localhost:8080/files/
      tusserver conformance http://localhost:8080/files/
    """


for command in (serve, list_uploads, show, remove, verify, sweep, sign, conformance):
    cli.add_command(command)
for command in (upload, download, status, cancel):
    cli.add_command(command)


def main() -> None:
    """The entry point: errors are one line, wrong values exit code 2, failures 1."""
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as error:
        _complain(error.format_message() + source_of(error))
        sys.exit(USAGE_ERROR)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(FAILURE)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    click.echo(f"tusserver: {message}", err=True)
