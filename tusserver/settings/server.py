"""The settings of the server itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.settings.values import setting

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

LISTEN, STORAGE, LIMITS = "Where it listens", "Where it stores", "Limits"
EXPIRY, PROTOCOL, BROWSERS = "How long uploads are kept", "What is offered", "Browsers (CORS)"
PROXIES, LOGGING = "Behind a proxy", "Logging"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where a server listens and stores, what it offers, and to whom."""

    host: str = setting("127.0.0.1", LISTEN, "Address or name to listen on; 0.0.0.0 for all.")
    port: int = setting(8080, LISTEN, "Port to listen on; 0 for a free one.", kind="integer")
    unix_sock: Path | None = setting(
        "", LISTEN, "Listen on this unix socket instead of host and port.", kind="path"
    )
    unix_sock_perms: int = setting("0660", LISTEN, "Permissions of the unix socket.", kind="mode")
    base_path: str = setting("/files/", LISTEN, "Path of the URL at which uploads are created.")
    workers: int = setting(1, LISTEN, "Number of serving processes.", kind="integer")
    tls_certificate: Path | None = setting(
        "", LISTEN, "Serve HTTPS with this certificate chain (PEM).", kind="path"
    )
    tls_key: Path | None = setting(
        "", LISTEN, "The private key of the certificate (PEM).", kind="path"
    )

    upload_dir: Path = setting(
        "./uploads",
        STORAGE,
        "Directory for the uploads; one of tusd's may be given. With a store elsewhere, for what "
        "this host alone needs: its locks, and parts that wait.",
        kind="path",
    )
    store: str = setting(
        "",
        STORAGE,
        "Keep the uploads in this bucket instead (s3://bucket or s3://bucket/prefix), or in this "
        "container (azure://container/prefix).",
        kind="store",
    )
    sync: str = setting(
        "finish",
        STORAGE,
        "What survives a loss of power: nothing is promised (none), a finished upload before its "
        "last reply (finish), every acknowledged byte (patch).",
        choices=("none", "finish", "patch"),
    )
    lock: str = setting(
        "auto",
        STORAGE,
        "Locks between processes (file), inside this one only (memory), or between hosts, in Redis "
        "(redis://[user:password@]host:6379/0, rediss://…, unix://path); auto takes file where the "
        "system has it.",
        kind="lock",
        is_secret=True,
    )
    file_calls: str = setting(
        "auto",
        STORAGE,
        "Where calls of the file system are made: at once as long as they are fast (auto), always "
        "so (inline), or in threads (threads).",
        choices=("auto", "inline", "threads"),
    )
    direct_io: str = setting(
        "off",
        STORAGE,
        "Which bodies are written past the page cache (O_DIRECT), which costs less processor time "
        "and leaves other programs their memory: large ones, where the file system lies on a disk "
        "(auto), none (off), or all that are not tiny (on).",
        choices=("auto", "off", "on"),
    )
    fan_out: int = setting(
        0,
        STORAGE,
        "How many folders deep new uploads lie below the directory, with 256 folders on each "
        "level: 1 for millions of uploads, 2 for more, 0 for none.",
        kind="integer",
    )
    file_perms: int = setting(
        "0664", STORAGE, "Permissions of new files, before the umask.", kind="mode"
    )
    dir_perms: int = setting(
        "0775",
        STORAGE,
        "Permissions of new directories, before the umask.",
        kind="mode",
    )

    max_size: int | None = setting("off", LIMITS, "Longest upload, as 10GiB.", kind="size")
    network_timeout: timedelta | None = setting(
        "60s",
        LIMITS,
        "A client that sends nothing for so long in the middle of a body is cut off; what arrived "
        "is kept.",
        kind="duration",
    )
    acquire_lock_timeout: timedelta | None = setting(
        "5s",
        LIMITS,
        "How long a request waits for another one on the same upload to let go, before it is "
        "answered 423.",
        kind="duration",
    )
    shutdown_timeout: timedelta | None = setting(
        "10s",
        LIMITS,
        "How long running requests may take to end at a stop.",
        kind="duration",
    )

    expire_after: timedelta | None = setting(
        "24h",
        EXPIRY,
        "Remove an unfinished upload so long after its last byte.",
        kind="duration",
    )
    retain_finished: timedelta | None = setting(
        "off",
        EXPIRY,
        "Remove a finished upload so long after its last byte.",
        kind="duration",
    )
    sweep_interval: timedelta | None = setting(
        "1h",
        EXPIRY,
        "How often expired uploads and leftovers are removed.",
        kind="duration",
    )

    location: str = setting(
        "path",
        PROTOCOL,
        "Tell the URL of a new upload as an absolute path, or as a full URL with the host that the "
        "client named.",
        choices=("path", "url"),
    )
    disable_download: bool = setting(
        False, PROTOCOL, "Do not serve finished uploads on GET.", kind="flag"
    )
    disable_termination: bool = setting(
        False, PROTOCOL, "Do not let clients delete uploads.", kind="flag"
    )
    disable_concatenation: bool = setting(
        False, PROTOCOL, "Do not offer uploads in parallel parts.", kind="flag"
    )

    disable_cors: bool = setting(
        False, BROWSERS, "Send no CORS headers at all, as when a proxy does.", kind="flag"
    )
    cors_allow_origin: tuple[str, ...] = setting(
        "*",
        BROWSERS,
        "Origins, between commas: exact ones (https://app.example), or patterns after ~ that match "
        "the whole origin (~https://[a-z]+\\.app\\.example).",
        kind="list",
    )
    cors_allow_credentials: bool = setting(
        False, BROWSERS, "Let browsers send cookies; the origins must be named then.", kind="flag"
    )
    cors_allow_headers: tuple[str, ...] = setting(
        "", BROWSERS, "Further request headers that browsers may send.", kind="list"
    )
    cors_max_age: timedelta | None = setting(
        "24h",
        BROWSERS,
        "How long browsers may remember a preflight.",
        kind="duration",
    )

    behind_proxy: bool = setting(
        False,
        PROXIES,
        "Believe the forwarding headers of a proxy on this machine (the same as --trusted-proxies "
        "127.0.0.0/8,::1,unix).",
        kind="flag",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "",
        PROXIES,
        "Addresses or networks whose Forwarded and X-Forwarded-* headers are believed; unix for "
        "peers on a unix socket, * for all.",
        kind="list",
    )

    access_log: bool = setting(True, LOGGING, "Log a line for each request.", kind="switch")
    log_format: str = setting("text", LOGGING, "Form of the log lines.", choices=("text", "json"))
    log_level: str = setting(
        "info",
        LOGGING,
        "Least important lines to log.",
        choices=("debug", "info", "warning", "error"),
    )

    @property
    def locks_in_redis(self) -> bool:
        """Whether `lock` is the address of a Redis."""
        return "://" in self.lock
