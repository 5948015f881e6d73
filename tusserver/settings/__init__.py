"""All settings of a server, each once: type, default, group and help text.

The command line, the environment (`TUSSERVER_…`) and the TOML file are made from this list, and
`docs/settings.md` is tested against it. Values are checked here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from tusserver.settings.objects import MIN_PART, as_folder
from tusserver.settings.policy import PolicySettings
from tusserver.settings.values import (
    LONGEST,
    SettingsError,
    format_duration,
    parse_duration,
    parse_list,
    parse_lock,
    parse_mode,
    parse_path,
    parse_size,
    parse_store,
    parse_value,
)

__all__ = [
    "NAMES",
    "Settings",
    "SettingsError",
    "format_duration",
    "parse_duration",
    "parse_list",
    "parse_mode",
    "parse_path",
    "parse_size",
    "parse_value",
]

_ORIGIN = re.compile(r"\*|~.+|null|[a-z][a-z0-9+.-]*://[^/\s]+/?", re.IGNORECASE)


def _is_plain_path(path: str) -> bool:
    """Whether requests can match it: no part that clients or proxies take off or rewrite."""
    segments = path.removeprefix("/").removesuffix("/").split("/")
    is_regular = path == "/" or not {"", ".", ".."} & set(segments)
    return is_regular and path.isprintable() and not set("?#%\\") & set(path)


def _is_url(text: str) -> bool:
    """Whether it names a server and no secrets."""
    parts = urlsplit(text)
    is_bare = not (parts.query or parts.fragment or parts.username)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_bare


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(PolicySettings):
    """The settings of one server.

    Sizes in bytes; None for a limit or a time span: there is none.
    """

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
        if self.is_in_bucket:
            self._check_bucket()
        elif self.destination_prefix:
            raise SettingsError(
                "destination-prefix is for uploads in a bucket; with a directory use "
                "--destination-root"
            )

    def _check_values(self) -> None:
        parse_lock(self.lock)
        parse_store(self.store)
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
            if isinstance(value, timedelta) and not timedelta(0) < value <= LONGEST:
                name = item.name.replace("_", "-")
                raise SettingsError(f"{name} is more than 0 and at most {LONGEST.days}d, or off")

    def _check_combinations(self) -> None:
        keys = (self.jwt_secret_file, self.jwt_public_key_file, self.jwt_jwks_url)
        if sum(map(bool, keys)) > 1:
            raise SettingsError(
                "give one of jwt-secret-file, jwt-public-key-file and jwt-jwks-url, not several"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("tls-certificate and tls-key are given together or not at all")
        if self.workers > 1 and self.lock == "memory":
            raise SettingsError("several workers need locks between processes; use --lock file")
        if self.cors_allow_credentials and "*" in self.cors_allow_origin:
            raise SettingsError(
                "cors-allow-credentials needs cors-allow-origin to name the origins"
            )

    def _check_bucket(self) -> None:
        for name in ("destination_root", "quarantine_dir", "min_free_space"):
            if getattr(self, name) is not None:
                shown = name.replace("_", "-")
                raise SettingsError(f"{shown} is for uploads in a directory, not with {self.store}")
        if self.direct_io == "on":
            raise SettingsError(f"direct-io is for uploads in a directory, not with {self.store}")
        for name, example in (("s3", "s3.example.org"), ("azure", "account.blob.example.org")):
            endpoint = getattr(self, f"{name}_endpoint")
            if endpoint and not _is_url(endpoint):
                raise SettingsError(f"{name}-endpoint is a URL, as https://{example}")
        self._check_prefixes()
        part, longest = self.bounds.shown
        if not MIN_PART <= (self.object_part_size or 0) <= self.bounds.part:
            raise SettingsError(f"object-part-size is at least 5MiB and at most {part}")
        if (self.max_size or 0) > self.bounds.object:
            raise SettingsError(f"max-size is at most {longest}, the largest object, or off")

    def _check_prefixes(self) -> None:
        """No name that a client asks for may become the key of an upload, or of its record."""
        ours, theirs = self.key_prefix, as_folder(self.destination_prefix)
        if theirs.startswith("/"):
            raise SettingsError("destination-prefix is a prefix of keys, as jobs/")
        if theirs and (theirs.startswith(ours) or ours.startswith(theirs)):
            kind, _, rest = self.store.partition("://")
            bucket = rest.partition("/")[0]
            raise SettingsError(
                f"destination-prefix: {theirs} and the keys of the uploads must not lie within "
                "each other; keep the uploads under a prefix of their own, as "
                f"{kind}://{bucket}/uploads/"
            )


_MAX_PORT = 65535
_MAX_FAN_OUT = 2
_MAX_SIZE = 2**63 - 1
NAMES = tuple(item.name for item in fields(Settings))
