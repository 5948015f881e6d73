"""Which kinds of files are taken: by their name, by the media type that the client claims, and by
their first bytes.

A false accusation costs a user the upload, a miss costs little: bytes are refused only if they
contradict the name beyond doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

HPC = (
    "txt", "csv", "json", "yaml", "yml", "py", "sh", "bash", "tar", "gz", "zip", "bz2", "xz", "sif",
    "img", "h5", "hdf5", "nc", "dat",
)  # fmt: skip
PRESETS = {"hpc": HPC}

SNIFF_SIZE = 8192
"""Bytes from the beginning of a file that `check_content` looks at."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_NETCDF = (b"CDF\x01", b"CDF\x02", b"CDF\x05", _HDF5)
_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "gz": (b"\x1f\x8b",),
    "tgz": (b"\x1f\x8b",),
    "zip": _ZIP,
    "docx": _ZIP,
    "xlsx": _ZIP,
    "npz": _ZIP,
    "jar": _ZIP,
    "bz2": (b"BZh",),
    "xz": (b"\xfd7zXZ\x00",),
    "zst": (b"\x28\xb5\x2f\xfd",),
    "7z": (b"7z\xbc\xaf\x27\x1c",),
    "nc": _NETCDF,
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpg": (b"\xff\xd8\xff",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "pdf": (b"%PDF-",),
    "npy": (b"\x93NUMPY",),
}
_TEXT = frozenset({
    "txt", "csv", "tsv", "json", "yaml", "yml", "toml", "ini", "py", "sh", "bash", "md", "xml",
    "log",
})  # fmt: skip
_EXECUTABLE = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xcf\xfa\xed\xfe",
               b"\xce\xfa\xed\xfe")  # fmt: skip
_UNICODE = (b"\xff\xfe", b"\xfe\xff")
"""Marks of UTF-16 and UTF-32, whose letters have NUL bytes."""
_MEDIA = {
    "application/gzip": "gz",
    "application/zip": "zip",
    "application/x-bzip2": "bz2",
    "application/x-xz": "xz",
    "application/zstd": "zst",
    "application/pdf": "pdf",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
}
"""Media types of which the first bytes are known, by the extension that stands for the same."""
_SIF, _SIF_AT = b"SIF_MAGIC", 32
_TAR, _TAR_AT = b"ustar", 257
_HDF5_BLOCKS = (0, 512, 1024, 2048, 4096)
"""Where a superblock of HDF5 may begin; a block for other programs may stand before it."""


class KindRefused(ValueError):
    """This kind of file is not taken; a sentence for a person."""


@dataclass(frozen=True, slots=True)
class KindRules:
    """What is taken: `extensions` in lower case without a dot, `media_types` as patterns
    (`image/*`); none of them: all. With `checks_content` the first bytes must fit the name.
    """

    extensions: frozenset[str] = frozenset()
    media_types: tuple[str, ...] = ()
    checks_content: bool = False

    def check_claims(self, filename: str, media_type: str) -> None:
        """Judges what a client says, empty for nothing. Raises KindRefused."""
        extension = extension_of(filename)
        if self.extensions and extension not in self.extensions:
            what = f"files with the extension .{extension}" if extension else "files without one"
            raise KindRefused(f"{what} are not taken; the extension is one of {self._listed()}")
        media_type = media_type.partition(";")[0].strip().lower()
        if self.media_types and not any(fnmatchcase(media_type, each) for each in self.media_types):
            raise KindRefused(
                f"the type {media_type or 'of a file without a type'} is not taken; it is one of "
                f"{', '.join(self.media_types[:20])}"
            )

    def _listed(self) -> str:
        names = sorted(self.extensions)
        return ", ".join(names[:30]) + (" …" if len(names) > 30 else "")

    def check_content(self, first: bytes, filename: str, media_type: str) -> None:
        """Judges how a file begins, by up to SNIFF_SIZE bytes. Raises KindRefused."""
        if not self.checks_content or not first:
            return
        extension = extension_of(filename)
        media = _MEDIA.get(media_type.partition(";")[0].strip().lower(), "")
        for claimed in filter(None, (extension, media)):
            if not _begins_as(first, claimed):
                raise KindRefused(f"the file does not begin as a .{claimed} file does")
        if extension in _TEXT and not _may_be_text(first):
            raise KindRefused(f"the file is not the text that a .{extension} file is")
        if self.extensions and first.startswith(_EXECUTABLE) and _is_executable(first):
            raise KindRefused("the file is a program, and programs are not taken")


def extension_of(filename: str) -> str:
    """What follows the last dot of a file name, in lower case; empty if nothing does."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return extension.lower() if dot and stem else ""


def _begins_as(first: bytes, extension: str) -> bool:
    """Whether these may be the first bytes of such a file; too few of them may be any."""
    if extension in ("h5", "hdf5"):
        return _HDF5.startswith(first) or any(first.startswith(_HDF5, at) for at in _HDF5_BLOCKS)
    if extension == "sif":
        return _has_at(first, _SIF, _SIF_AT)
    if extension == "tar":
        # The oldest form has no mark; then at least it is no other archive.
        has_mark = first.startswith(_TAR, _TAR_AT)
        return has_mark or not first.startswith((*_ZIP, b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
    beginnings = _BEGINNINGS.get(extension)
    return beginnings is None or any(
        first.startswith(each) or each.startswith(first) for each in beginnings
    )


def _has_at(first: bytes, mark: bytes, at: int) -> bool:
    return first[at : at + len(mark)] == mark[: max(len(first) - at, 0)]


def _may_be_text(first: bytes) -> bool:
    if first.startswith(_UNICODE):
        return True
    archives = (*_ZIP, b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x7fELF")
    return b"\0" not in first and not first.startswith(archives)


def _is_executable(first: bytes) -> bool:
    """Of the two letters that begin a Windows program a text may be made as well."""
    return not first.startswith(b"MZ") or b"\0" in first[:512]
