"""How the values of settings are written, and what they become."""

from __future__ import annotations

import re
from dataclasses import field
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(i?)B?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_NONE = frozenset({"off", "0"})
_LOCKS = ("auto", "file", "memory")
_REDIS = ("redis", "rediss", "unix")
_REDIS_OPTIONS = {"db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile"}
_STORE = re.compile(
    r"(?:s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|azure://(?=[^/]{3,63}(?:/|$))[a-z0-9]+(?:-[a-z0-9]+)*)"
    r"(?:/(?P<prefix>.*))?",
    re.ASCII,
)
LONGEST = timedelta(days=36500)


class SettingsError(ValueError):
    """A value that cannot be meant; the message names the setting and says what it may be."""


def parse_size(value: str | int) -> int | None:
    """A number of bytes: `10GiB`, `500MB` (powers of 1000), `1048576`, or `off` (or 0) for none."""
    if isinstance(value, int):
        return value or None
    if value.strip().lower() in _NONE:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise SettingsError(
            f"{value!r} is no size; write it as 10GiB, 500MB, a number of bytes, or off"
        )
    number, prefix, binary = match.groups()
    # A float would lose the last digits of a long number, and overflow for a very long one.
    return int(Fraction(number) * (1024 if binary else 1000) ** _POWERS[prefix.upper()])


def parse_duration(value: str | float) -> timedelta | None:
    """A time span: `24h`, `90s`, `7d`, a number of seconds, or `off` (or 0)."""
    if isinstance(value, (int, float)):
        seconds = float(value)
    elif value.strip().lower() in _NONE:
        return None
    elif match := _DURATION.fullmatch(value.strip()):
        seconds = float(match[1]) * _SECONDS[match[2]]
    else:
        raise SettingsError(f"{value!r} is no time span; write it as 24h, 90s, 7d, or off")
    if not 0 <= seconds <= LONGEST.total_seconds():  # As it is for not-a-number, too.
        raise SettingsError(f"{value} is no time span from 0 to {LONGEST.days}d")
    return timedelta(seconds=seconds) if seconds or isinstance(value, str) else None


def format_duration(span: timedelta) -> str:
    """The time span as `parse_duration` takes it, in its largest unit that needs no fraction."""
    seconds = span.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.15g}s"


def parse_mode(value: str | int) -> int:
    """Permissions in octal digits, as `0664`."""
    text = str(value)
    if not re.fullmatch(r"(0o?)?[0-7]{3,4}", text):
        raise SettingsError(f"{value!r} are no permissions; write them in octal digits, as 0664")
    return int(text.removeprefix("0o"), 8)


def parse_list(value: str | list[str]) -> tuple[str, ...]:
    """Items between commas, or a TOML list."""
    items = value.split(",") if isinstance(value, str) else value
    return tuple(item.strip() for item in items if item.strip())


def parse_path(value: str) -> Path | None:
    """A path; an empty text for none."""
    if "\0" in value:
        raise SettingsError(f"{value!r} is no path")
    return Path(value) if value else None


def parse_lock(value: str) -> str:
    """`auto`, `file`, `memory` or the address of a Redis, which no complaint repeats: it may have a
    password.
    """
    if "://" not in value:
        if value.lower() not in _LOCKS:
            raise SettingsError("lock is auto, file, memory, or redis://…, rediss:// or unix://")
        return value.lower()
    if not _is_redis(value):
        raise SettingsError(
            "lock: that is no address of a Redis; write it as redis://user:password@host:6379/0 or "
            "unix:///run/redis.sock?db=0, with / @ : ? and # in a password as %2F %40 %3A %3F %23"
        )
    return value


def _is_redis(value: str) -> bool:
    try:
        parts = urlsplit(value)
        number, options = parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        return False
    if parts.scheme not in _REDIS or parts.fragment or not options.keys() <= _REDIS_OPTIONS:
        return False
    if not options.get("db", "0").isdecimal():
        return False
    if parts.scheme == "unix":
        return len(parts.path) > 1 and parts.hostname is None
    database = parts.path.removeprefix("/")
    return bool(parts.hostname) and number != 0 and (not database or database.isdecimal())


def parse_store(value: str) -> str:
    """An empty text, or the address of a bucket and what the keys in it begin with."""
    match = _STORE.fullmatch(value)
    if value and not (match is not None and _is_prefix(match["prefix"] or "")):
        raise SettingsError(
            f"store: {value!r} is no bucket; write it as s3://bucket or s3://bucket/prefix, "
            "azure://container or azure://container/prefix"
        )
    return value


def _is_prefix(text: str) -> bool:
    segments = text.removesuffix("/").split("/")
    return not text or (not {"", ".", ".."} & set(segments) and text.isprintable())


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "size": parse_size,
    "duration": parse_duration,
    "mode": parse_mode,
    "list": parse_list,
    "path": parse_path,
    "lock": parse_lock,
    "store": parse_store,
}
"""How the value of a setting is made from what a user writes; other kinds stand for themselves."""


def parse_value(kind: str, value: object) -> object:
    """The value of a setting of this kind. Raises SettingsError."""
    return _PARSERS[kind](value) if kind in _PARSERS else value


def setting(
    default: str | int,
    group: str,
    text: str,
    *,
    kind: str = "text",
    choices: tuple[str, ...] = (),
    is_secret: bool = False,
) -> Any:  # noqa: ANN401 - stands for the field's value, as dataclasses.field does
    """`default` as a user would write it; `kind` says how the value is made from that. What may be
    secret is not shown with the other values.
    """
    metadata = {
        "group": group,
        "help": text,
        "kind": "choice" if choices else kind,
        "shown": default,
        "choices": choices,
    }
    return field(default=parse_value(kind, default), metadata=metadata, repr=not is_secret)
