"""All settings of a server, each once: type, default, group and help text.

The command line, the environment (`TUSSERVER_…`) and the TOML file are made from this list, and
`docs/settings.md` is tested against it. Values are checked here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(i?)B?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_ORIGIN = re.compile(r"\*|~.+|null|[a-z][a-z0-9+.-]*://[^/\s]+/?", re.IGNORECASE)
_NONE = frozenset({"off", "0"})
_LONGEST = timedelta(days=36500)


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
    if not 0 <= seconds <= _LONGEST.total_seconds():  # As it is for not-a-number, too.
        raise SettingsError(f"{value} is no time span from 0 to {_LONGEST.days}d")
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


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "size": parse_size,
    "duration": parse_duration,
    "mode": parse_mode,
    "list": parse_list,
    "path": parse_path,
}
"""How the value of a setting is made from what a user writes; other kinds stand for themselves."""


def parse_value(kind: str, value: object) -> object:
    """The value of a setting of this kind. Raises SettingsError."""
    return _PARSERS[kind](value) if kind in _PARSERS else value


def _setting(
    default: str | int, group: str, text: str, *, kind: str = "text", choices: tuple[str, ...] = ()
) -> Any:  # noqa: ANN401 - stands for the field's value, as dataclasses.field does
    """`default` as a user would write it; `kind` says how the value is made from that."""
    metadata = {
        "group": group,
        "help": text,
        "kind": "choice" if choices else kind,
        "shown": default,
        "choices": choices,
    }
    return field(default=parse_value(kind, default), metadata=metadata)


def _is_plain_path(path: str) -> bool:
    """Whether requests can match it: no part that clients or proxies take off or rewrite."""
    segments = path.removeprefix("/").removesuffix("/").split("/")
    is_regular = path == "/" or not {"", ".", ".."} & set(segments)
    return is_regular and path.isprintable() and not set("?#%\\") & set(path)


LISTEN, STORAGE, LIMITS = "Where it listens", "Where it stores", "Limits"
EXPIRY, PROTOCOL, BROWSERS = "How long uploads are kept", "What is offered", "Browsers (CORS)"
PROXIES, LOGGING = "Behind a proxy", "Logging"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server.

    Sizes in bytes; None for a limit or a time span: there is none.
    """

    host: str = _setting("127.0.0.1", LISTEN, "Address or name to listen on; 0.0.0.0 for all.")
    port: int = _setting(8080, LISTEN, "Port to listen on; 0 for a free one.", kind="integer")
    unix_sock: Path | None = _setting(
        "", LISTEN, "Listen on this unix socket instead of host and port.", kind="path"
    )
    unix_sock_perms: int = _setting("0660", LISTEN, "Permissions of the unix socket.", kind="mode")
    base_path: str = _setting("/files/", LISTEN, "Path of the URL at which uploads are created.")
    workers: int = _setting(1, LISTEN, "Number of serving processes.", kind="integer")
    tls_certificate: Path | None = _setting(
        "", LISTEN, "Serve HTTPS with this certificate chain (PEM).", kind="path"
    )
    tls_key: Path | None = _setting(
        "", LISTEN, "The private key of the certificate (PEM).", kind="path"
    )

    upload_dir: Path = _setting(
        "./uploads",
        STORAGE,
        "Directory for the uploads; one of tusd's may be given.",
        kind="path",
    )
    sync: str = _setting(
        "finish",
        STORAGE,
        "What survives a loss of power: nothing is promised (none), a finished upload before its "
        "last reply (finish), every acknowledged byte (patch).",
        choices=("none", "finish", "patch"),
    )
    lock: str = _setting(
        "auto",
        STORAGE,
        "Locks between processes (file), or inside this one only (memory); auto takes file where "
        "the system has it.",
        choices=("auto", "file", "memory"),
    )
    file_calls: str = _setting(
        "auto",
        STORAGE,
        "Where calls of the file system are made: at once as long as they are fast (auto), always "
        "so (inline), or in threads (threads).",
        choices=("auto", "inline", "threads"),
    )
    direct_io: str = _setting(
        "off",
        STORAGE,
        "Which bodies are written past the page cache (O_DIRECT), which costs less processor time "
        "and leaves other programs their memory: large ones, where the file system lies on a disk "
        "(auto), none (off), or all that are not tiny (on).",
        choices=("auto", "off", "on"),
    )
    fan_out: int = _setting(
        0,
        STORAGE,
        "How many folders deep new uploads lie below the directory, with 256 folders on each "
        "level: 1 for millions of uploads, 2 for more, 0 for none.",
        kind="integer",
    )
    file_perms: int = _setting(
        "0664", STORAGE, "Permissions of new files, before the umask.", kind="mode"
    )
    dir_perms: int = _setting(
        "0775",
        STORAGE,
        "Permissions of new directories, before the umask.",
        kind="mode",
    )

    max_size: int | None = _setting("off", LIMITS, "Longest upload, as 10GiB.", kind="size")
    network_timeout: timedelta | None = _setting(
        "60s",
        LIMITS,
        "A client that sends nothing for so long in the middle of a body is cut off; what arrived "
        "is kept.",
        kind="duration",
    )
    acquire_lock_timeout: timedelta | None = _setting(
        "5s",
        LIMITS,
        "How long a request waits for another one on the same upload to let go, before it is "
        "answered 423.",
        kind="duration",
    )
    shutdown_timeout: timedelta | None = _setting(
        "10s",
        LIMITS,
        "How long running requests may take to end at a stop.",
        kind="duration",
    )

    expire_after: timedelta | None = _setting(
        "24h",
        EXPIRY,
        "Remove an unfinished upload so long after its last byte.",
        kind="duration",
    )
    retain_finished: timedelta | None = _setting(
        "off",
        EXPIRY,
        "Remove a finished upload so long after its last byte.",
        kind="duration",
    )
    sweep_interval: timedelta | None = _setting(
        "1h",
        EXPIRY,
        "How often expired uploads and leftovers are removed.",
        kind="duration",
    )

    location: str = _setting(
        "path",
        PROTOCOL,
        "Tell the URL of a new upload as an absolute path, or as a full URL with the host that the "
        "client named.",
        choices=("path", "url"),
    )
    disable_download: bool = _setting(
        False, PROTOCOL, "Do not serve finished uploads on GET.", kind="flag"
    )
    disable_termination: bool = _setting(
        False, PROTOCOL, "Do not let clients delete uploads.", kind="flag"
    )
    disable_concatenation: bool = _setting(
        False, PROTOCOL, "Do not offer uploads in parallel parts.", kind="flag"
    )

    disable_cors: bool = _setting(
        False, BROWSERS, "Send no CORS headers at all, as when a proxy does.", kind="flag"
    )
    cors_allow_origin: tuple[str, ...] = _setting(
        "*",
        BROWSERS,
        "Origins, between commas: exact ones (https://app.example), or patterns after ~ that match "
        "the whole origin (~https://[a-z]+\\.app\\.example).",
        kind="list",
    )
    cors_allow_credentials: bool = _setting(
        False, BROWSERS, "Let browsers send cookies; the origins must be named then.", kind="flag"
    )
    cors_allow_headers: tuple[str, ...] = _setting(
        "", BROWSERS, "Further request headers that browsers may send.", kind="list"
    )
    cors_max_age: timedelta | None = _setting(
        "24h",
        BROWSERS,
        "How long browsers may remember a preflight.",
        kind="duration",
    )

    behind_proxy: bool = _setting(
        False,
        PROXIES,
        "Believe the forwarding headers of a proxy on this machine (the same as --trusted-proxies "
        "127.0.0.0/8,::1,unix).",
        kind="flag",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        "",
        PROXIES,
        "Addresses or networks whose Forwarded and X-Forwarded-* headers are believed; unix for "
        "peers on a unix socket, * for all.",
        kind="list",
    )

    access_log: bool = _setting(True, LOGGING, "Log a line for each request.", kind="switch")
    log_format: str = _setting("text", LOGGING, "Form of the log lines.", choices=("text", "json"))
    log_level: str = _setting(
        "info",
        LOGGING,
        "Least important lines to log.",
        choices=("debug", "info", "warning", "error"),
    )

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """As the constructor, but with values as on the command line: `max_size="10GiB"`."""
        kinds = {item.name: item.metadata["kind"] for item in fields(cls)}
        unknown = sorted(values.keys() - kinds.keys())
        if unknown:
            raise SettingsError(f"there is no setting {unknown[0]}")
        parsed: dict[str, Any] = {
            name: parse_value(kinds[name], value) if isinstance(value, str) else value
            for name, value in values.items()
        }
        return cls(**parsed)

    def __post_init__(self) -> None:
        """Raises SettingsError for values that cannot be meant or do not go together."""
        self._check_values()
        self._check_time_spans()
        self._check_combinations()

    def _check_values(self) -> None:
        if not self.base_path.startswith("/"):
            raise SettingsError("base-path begins with a slash, as /files/")
        if not _is_plain_path(self.base_path):
            raise SettingsError(
                "base-path is the path as people read it, as /files/, without // . .. ? # % and \\"
            )
        if self.workers < 1:
            raise SettingsError("workers is at least 1")
        if not 0 <= self.port <= _MAX_PORT:
            raise SettingsError(f"port is a number from 0 to {_MAX_PORT}")
        if not 0 <= self.fan_out <= _MAX_FAN_OUT:
            raise SettingsError(f"fan-out is a number from 0 to {_MAX_FAN_OUT}")
        if self.upload_dir is None:
            raise SettingsError("upload-dir is empty; name a directory, as /data/uploads")
        for origin in self.cors_allow_origin:
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"cors-allow-origin: {origin!r} is no origin; write it as https://app.example, "
                    "or a pattern after ~, or * for all"
                )
        if self.max_size is not None and not 1 <= self.max_size <= _MAX_SIZE:
            raise SettingsError("max-size is at least 1 byte and below 8192PiB, or off")

    def _check_time_spans(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, timedelta) and not timedelta(0) < value <= _LONGEST:
                name = item.name.replace("_", "-")
                raise SettingsError(f"{name} is more than 0 and at most {_LONGEST.days}d, or off")

    def _check_combinations(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("tls-certificate and tls-key are given together or not at all")
        if self.workers > 1 and self.lock == "memory":
            raise SettingsError("several workers need locks between processes; use --lock file")
        if self.cors_allow_credentials and "*" in self.cors_allow_origin:
            raise SettingsError(
                "cors-allow-credentials needs cors-allow-origin to name the origins"
            )


_MAX_PORT = 65535
_MAX_FAN_OUT = 2
_MAX_SIZE = 2**63 - 1
NAMES = tuple(item.name for item in fields(Settings))
