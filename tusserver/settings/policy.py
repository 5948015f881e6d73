"""The settings of a site's rules: who may upload, how much of what, and where it ends up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.settings.objects import ObjectSettings
from tusserver.settings.values import setting

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

ACCESS, RULES = "Who may upload", "What may be uploaded"
FINISH, PLACEMENT = "What is done with a finished upload", "Where a finished file goes"
SCAN = "Virus scan"
STATUS = "Seeing how uploads get on"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings(ObjectSettings):
    """All that is off, or harmless, until it is asked for."""

    jwt_secret_file: Path | None = setting(
        "",
        ACCESS,
        "Ask for a JSON Web Token signed with the secret in this file (HS256, HS384, HS512).",
        kind="path",
    )
    jwt_public_key_file: Path | None = setting(
        "",
        ACCESS,
        "Ask for a token that this public key (PEM) verifies (RS, PS, ES, EdDSA).",
        kind="path",
    )
    jwt_jwks_url: str = setting(
        "", ACCESS, "Ask for a token that one of the keys at this URL verifies (JWKS)."
    )
    jwt_algorithms: tuple[str, ...] = setting(
        "", ACCESS, "Algorithms that are taken; without, those that fit the key.", kind="list"
    )
    jwt_audience: tuple[str, ...] = setting(
        "", ACCESS, "A token must be for one of these audiences.", kind="list"
    )
    jwt_issuer: str = setting("", ACCESS, "A token must come from this issuer.")
    jwt_leeway: timedelta | None = setting(
        "10s", ACCESS, "How far the clocks of issuer and server may differ.", kind="duration"
    )
    jwt_user_claim: str = setting(
        "sub", ACCESS, "The claim that names the user; realm.user for one inside another."
    )
    jwt_admin_claim: str = setting(
        "", ACCESS, "The claim that tells admins, who may do everything, as realm_access.roles."
    )
    jwt_admin_value: str = setting(
        "admin", ACCESS, "What that claim is, or has among its values, for an admin."
    )
    jwt_max_size_claim: str = setting(
        "",
        ACCESS,
        "The claim that bounds the uploads of this user, in bytes; without the claim, max-size.",
    )
    jwt_cookie: str = setting(
        "", ACCESS, "A cookie of this name may bring the token, for pages in a browser."
    )
    signing_secret_file: Path | None = setting(
        "",
        ACCESS,
        "Take URLs that were signed with the secret in this file, see tusserver sign.",
        kind="path",
    )

    allow_preset: str = setting(
        "off",
        RULES,
        "Take only files with the extensions of this list; hpc: txt csv json yaml yml py sh bash "
        "tar gz zip bz2 xz sif img h5 hdf5 nc dat.",
        choices=("off", "hpc"),
    )
    allow_extensions: tuple[str, ...] = setting(
        "",
        RULES,
        "Take only files with one of these extensions (and those of the preset).",
        kind="list",
    )
    allow_types: tuple[str, ...] = setting(
        "", RULES, "Take only files of these media types, as image/*.", kind="list"
    )
    check_content: bool = setting(
        False,
        RULES,
        "Refuse a file whose first bytes contradict its extension or media type.",
        kind="flag",
    )
    quota_size: int | None = setting(
        "off", RULES, "Bytes that one user may have here, finished or not.", kind="size"
    )
    quota_uploads: int = setting(
        0, RULES, "Number of uploads that one user may have here; 0 for any.", kind="integer"
    )
    quota_active: int = setting(
        0, RULES, "Number of unfinished uploads that one user may have; 0 for any.", kind="integer"
    )
    min_free_space: int | None = setting(
        "off", RULES, "Take no upload that would leave less room on the disk.", kind="size"
    )

    digests: tuple[str, ...] = setting(
        "",
        FINISH,
        "Digests of the whole file to compute at the end: sha256, sha512, sha1, md5.",
        kind="list",
    )
    verify_digests: bool = setting(
        False,
        FINISH,
        "Refuse a file that does not match the digest which its client gave, in the metadata "
        "(sha256, md5, …) or as Repr-Digest.",
        kind="flag",
    )
    finish: str = setting(
        "reply",
        FINISH,
        "Keep the client waiting until all that is done with a finished upload is done (reply), or "
        "reply at once and do it in the background.",
        choices=("reply", "background"),
    )

    scan: str = setting(
        "",
        SCAN,
        "Have finished uploads scanned by ClamAV's daemon, at a unix socket "
        "(unix:/run/clamav/clamd.ctl, four times faster) or at host:port.",
    )
    scan_max_size: int | None = setting(
        "100MiB",
        SCAN,
        "Larger files are not scanned; not more than MaxFileSize and StreamMaxLength of the "
        "daemon, beyond which it calls everything clean; 2GiB at most.",
        kind="size",
    )
    scan_timeout: timedelta | None = setting(
        "5m", SCAN, "How long one scan may take.", kind="duration"
    )
    scan_too_large: str = setting(
        "refuse",
        SCAN,
        "Refuse a file that is too large to be scanned, or accept it and note that.",
        choices=("refuse", "accept"),
    )
    scan_down: str = setting(
        "hold",
        SCAN,
        "While the daemon does not answer: hold uploads until it does, or refuse them.",
        choices=("hold", "refuse"),
    )
    quarantine_dir: Path | None = setting(
        "", SCAN, "Keep infected files in this directory instead of deleting them.", kind="path"
    )

    destination_root: Path | None = setting(
        "",
        PLACEMENT,
        "Move finished files below this directory, which must exist; without, they stay in the "
        "upload directory.",
        kind="path",
    )
    destination_prefix: str = setting(
        "",
        PLACEMENT,
        "With uploads in a bucket: copy finished ones to keys that begin so, as jobs/; without, "
        "they stay.",
    )
    destination_template: str = setting(
        "{owner}/{destination}/{filename}",
        PLACEMENT,
        "Where below it, by owner, destination and filename (of the metadata), extension, "
        "upload_id, date, year and month.",
    )
    allow_destinations: tuple[str, ...] = setting(
        "",
        PLACEMENT,
        "Destinations that may be asked for, as jobs/* or shared/**; without, all below the "
        "template's folder.",
        kind="list",
    )
    on_collision: str = setting(
        "number",
        PLACEMENT,
        "If the name is taken: take another one, name (1).ext (number), refuse the upload, or "
        "replace the file.",
        choices=("number", "refuse", "replace"),
    )
    destination_file_perms: int = setting(
        "0664", PLACEMENT, "Permissions of files there, whatever the umask.", kind="mode"
    )
    destination_dir_perms: int = setting(
        "0775", PLACEMENT, "Permissions of new directories there.", kind="mode"
    )
    destination_group: str = setting("", PLACEMENT, "Group of files there, by name or number.")

    api: str = setting(
        "auto",
        STATUS,
        "Serve the status API (lists, progress, live events) at /api/: on, off, or where tokens "
        "are asked for (auto). Without tokens it shows everybody all uploads.",
        choices=("auto", "on", "off"),
    )
    disable_pages: bool = setting(
        False,
        STATUS,
        "Serve no pages for people at / (upload) and /dashboard (with the status API).",
        kind="flag",
    )

    @property
    def asks_for_tokens(self) -> bool:
        """Whether callers have to say who they are by a token."""
        return bool(self.jwt_secret_file or self.jwt_public_key_file or self.jwt_jwks_url)

    @property
    def has_api(self) -> bool:
        """Whether the status API is served."""
        return self.api == "on" or (self.api == "auto" and self.asks_for_tokens)
