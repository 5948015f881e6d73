"""From `Settings` to command-line options, environment variables and the keys of a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tusserver.settings import Settings, SettingsError, parse_value

# Only newer versions of click let it be subscripted.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])

_NUMERIC = ("size", "duration")
_WRITTEN = (str, int, float, list)
_STORE = (
    "upload_dir", "store", "sync", "lock", "file_perms", "dir_perms", "object_part_size",
    "object_memory", "s3_endpoint", "s3_region", "s3_preset", "s3_checksum", "azure_endpoint",
)  # fmt: skip
"""The settings of commands that work on a store; they need not know the others."""
_KINDS = {item.name: item.metadata["kind"] for item in fields(Settings)}
_WANTED = {
    "flag": "true or false",
    "switch": "true or false",
    "integer": "a whole number without quotes",
    "size": 'a size as "10GiB", or a whole number of bytes',
    "duration": 'a time span as "24h", or a number of seconds',
    "mode": 'octal digits in quotes, as "0664"',
    "list": "a list of texts",
}
"""What the TOML file may have, by kind."""


class _Kind(_ParamType):
    """Text that becomes a value of one of our kinds."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.name = {
            "size": "size",
            "duration": "time",
            "mode": "octal",
            "list": "a,b,…",
            "store": "url",
        }.get(kind, kind)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Raises click.BadParameter with our sentence."""
        try:
            if isinstance(value, str | list) or self._kind in _NUMERIC:
                return parse_value(self._kind, value) if isinstance(value, _WRITTEN) else value
            return value
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class SettingOption(click.Option):
    """An option that knows in which group of the help it stands."""

    def __init__(self, *args: Any, group: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows its options in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one section for each group, in the order of the first option of each."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Other"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def all_settings(command: _Decorated) -> _Decorated:
    """Adds an option for every setting, and `--config`; the command takes them as keywords."""
    return _decorate(command, fields(Settings))


def store_settings(command: _Decorated) -> _Decorated:
    """The same for the settings of the store only."""
    return some_settings(*_STORE)(command)


def some_settings(*names: str) -> Callable[[_Decorated], _Decorated]:
    """The same for these settings only."""
    items = [item for item in fields(Settings) if item.name in names]
    return lambda command: _decorate(command, items)


def setting_kind(kind: str) -> click.ParamType[Any]:
    """The type of an option that is written as settings of this kind are."""
    return _Kind(kind)


def _decorate(command: _Decorated, items: Any) -> _Decorated:  # noqa: ANN401 - Field[Any]s
    config = click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        envvar="TUSSERVER_CONFIG",
        callback=_load_config,
        cls=SettingOption,
        group="Other",
        help="Read settings from this TOML file; its keys are the names of the options.",
    )
    command = config(command)
    for item in reversed(items):
        command = _option(item)(command)
    return command


def _option(item: Field[Any]) -> Callable[[_Decorated], _Decorated]:
    name, metadata = item.name.replace("_", "-"), item.metadata
    declaration, arguments = f"--{name}", dict[str, Any]()
    match metadata["kind"]:
        case "flag":
            arguments["is_flag"] = True
        case "switch":
            declaration = f"--{name}/--no-{name}"
        case "choice":
            arguments["type"] = click.Choice(metadata["choices"], case_sensitive=False)
        case "integer":
            arguments["type"] = int
        case "text":
            arguments["type"] = str
        case kind:
            arguments["type"] = _Kind(kind)
    shown = metadata["shown"]
    return click.option(
        declaration,
        item.name,
        default=item.default,
        envvar=f"TUSSERVER_{item.name.upper()}",
        help=f"{metadata['help']}"
        + ("" if isinstance(shown, bool) or shown == "" else f" [{shown}]"),
        cls=SettingOption,
        group=metadata["group"],
        **arguments,
    )


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Makes the keys of the file the defaults of this command; flags and environment go before."""
    if value is None:
        return
    defaults: dict[str, Any] = {}
    for key, entry in _read_toml(value, ctx, param).items():
        name = key.replace("-", "_")
        if name not in _KINDS:
            raise click.BadParameter(f"{value} has an unknown key {key!r}{_like(name)}", ctx, param)
        if name in defaults:
            raise click.BadParameter(f"{value} has the key {key!r} twice", ctx, param)
        if not _is_plausible(entry, _KINDS[name]):
            wanted = _WANTED.get(_KINDS[name], "a text in quotes")
            text = f"{value}: {key} cannot be {entry!r}; give {wanted}"
            raise click.BadParameter(text, ctx, param)
        defaults[name] = entry
    ctx.default_map = defaults


def _read_toml(path: Path, ctx: click.Context, param: click.Parameter) -> dict[str, Any]:
    try:
        # TOML is always UTF-8; editors on Windows put a mark in front.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.BadParameter(f"cannot read {path}: {reason}", ctx, param) from error


def _like(name: str) -> str:
    """A question for somebody who mistyped this name."""
    close = get_close_matches(name.lower(), _KINDS, 1)
    return f"; did you mean {close[0].replace('_', '-')!r}?" if close else ""


def _is_plausible(entry: object, kind: str) -> bool:
    """Whether a TOML value may stand for a setting of this kind; its text is judged later."""
    match kind:
        case "flag" | "switch":
            return isinstance(entry, bool)
        case "integer":
            return isinstance(entry, int) and not isinstance(entry, bool)
        case "size":
            return isinstance(entry, (str, int)) and not isinstance(entry, bool)
        case "duration":
            return isinstance(entry, (str, int, float)) and not isinstance(entry, bool)
        case "list":
            return isinstance(entry, str) or (
                isinstance(entry, list) and all(isinstance(item, str) for item in entry)
            )
        case _:
            # Permissions, too: 0664 is no TOML number, and 664 would be taken for a decimal one.
            return isinstance(entry, str)


def source_of(error: click.UsageError) -> str:
    """Where a wrong value was given, if not on the command line: at the end of the complaint."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    match error.ctx.get_parameter_source(error.param.name or ""):
        case ParameterSource.ENVIRONMENT:
            return f" (from the variable {error.param.envvar})"
        case ParameterSource.DEFAULT_MAP:
            return " (from the file of --config)"
    return ""


def settings_from(values: dict[str, Any]) -> Settings:
    """The settings that the options of a command make. Raises click.UsageError."""
    try:
        return Settings(**values)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
