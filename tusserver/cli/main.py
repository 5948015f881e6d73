"""The command `tusserver`: `serve` is what it does when it is not told otherwise."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from tusserver import __version__

USAGE_ERROR, FAILURE = 2, 1
COMMANDS = {
    "serve": "serve:serve",
    "check": "check:check",
    "ls": "inspect:list_uploads",
    "show": "inspect:show",
    "rm": "inspect:remove",
    "verify": "inspect:verify",
    "sweep": "inspect:sweep",
    "sign": "sign:sign",
    "conformance": "conformance:conformance",
    "upload": "upload:upload",
    "download": "download:download",
    "status": "status:status",
    "cancel": "cancel:cancel",
}
"""Where each command is: in a module of `tusserver.cli`, imported when it is called. Those of the
client need nothing of the server, which takes most of a second to import.
"""


class _DefaultsToServe(click.Group):
    """A group that takes `tusserver --port 9000` for `tusserver serve --port 9000`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their names, as everywhere."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports it."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(import_module(f"tusserver.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

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
      tusserver check --config /etc/tusserver.toml
      tusserver ls --upload-dir /data
      tusserver upload run1 --to http://localhost:8080/files/
      tusserver conformance http://localhost:8080/files/
    """


def main() -> None:
    """The entry point: errors are one line, wrong values exit code 2, failures 1."""
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as error:
        from tusserver.cli.options import source_of

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
