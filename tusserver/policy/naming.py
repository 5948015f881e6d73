"""Where a finished upload belongs, out of what a stranger has written into its metadata.

A file name is made safe: what cannot stand is replaced, so that an upload never fails for its name.
A folder is refused instead: a replaced character could make one folder of two. Pure: says nothing
of whether a name is free, and reads no file, clock or setting.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

MAX_NAME = 255
"""Bytes of UTF-8 that one component may have on the usual file systems."""
MAX_LEVELS = 32
MAX_FOLDER = 1024
ANONYMOUS = "anonymous"
"""The folder of uploads without an owner."""

_FALLBACK = "upload"
_MAX_ESCAPED = 120
_SHOWN = 80
_REPLACED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Windows forbids the first ones; the others are letters and marks that nobody can see.
_REPLACED = frozenset(':*?"<>|/\\' + "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_DEVICES = re.compile(
    r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
# At the end of a name that has something before it. Behind the name of a compression there may be
# another one: tar.gz, nii.gz.
_EXTENSION = re.compile(
    r"(?<=.)(?:\.[A-Za-z][A-Za-z0-9]{0,4}(?=\.(?:gz|bz2|xz|zst|lz4|lzma|br|Z)\Z))?\.\w{1,16}\Z",
    re.DOTALL,
)
_DRIVE = re.compile(r"[A-Za-z]:")
_FIELD = re.compile(r"\{([^{}]*)\}")
_FIELDS = frozenset(
    {"owner", "destination", "filename", "upload_id", "date", "year", "month", "extension"}
)
_UNIQUE = frozenset({"filename", "upload_id"})
# Of these each has one width, so that an owner beside them can still be told from any other.
_BESIDE_OWNER = frozenset({"owner", "date", "year", "month"})


class NameRefused(ValueError):
    """Nothing can be placed there; the text is a sentence for a person."""


def safe_name(name: str) -> str:
    """One path component that is no hidden file, no option, no home directory and no device, out of
    any text; readable still, at most 255 bytes of UTF-8. What is safe already comes out as it is.

    The part before the last slash or backslash is dropped: browsers may send `C:\\fakepath\\x`.
    """
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    name = "".join("_" if _is_replaced(character) else character for character in name)
    name = _strip_end(name.lstrip())
    if name.startswith((".", "-", "~")):
        name = f"_{name[1:]}"
    name = _fit(name, MAX_NAME)
    if _DEVICES.fullmatch(name):
        name = f"_{_fit(name, MAX_NAME - 1)}"
    return name or _FALLBACK


def numbered(name: str, number: int) -> str:
    """The same safe name with a number, which is another one for each number: `a (1).tar.gz`. At
    most 255 bytes.
    """
    return _fit(name, MAX_NAME, f" ({number})")


def safe_folder(destination: str) -> tuple[str, ...]:
    """The components of a relative destination in NFC; none for an empty one. Raises NameRefused
    for what leads elsewhere, or would have to be changed to be safe.
    """
    if not destination:
        return ()
    folder = unicodedata.normalize("NFC", destination)
    shown = _shown(destination)
    if folder.startswith("/") or _DRIVE.match(folder):
        raise NameRefused(f"the destination {shown} is not relative")
    if len(folder.encode("utf-8", "surrogatepass")) > MAX_FOLDER:
        raise NameRefused(f"the destination {shown} has more than {MAX_FOLDER} bytes")
    components = tuple(folder.split("/"))
    if len(components) > MAX_LEVELS:
        raise NameRefused(f"the destination {shown} has more than {MAX_LEVELS} levels")
    for component in components:
        _check_component(component, f"the destination {shown}")
    return components


def matches_patterns(folder: tuple[str, ...], patterns: Sequence[str]) -> bool:
    """Whether a folder is one of those that `patterns` allow; without any, each one is.

    In a pattern `*` stands for any text within one component, `**` as a component for any number of
    them, none included.
    """
    return not patterns or any(
        _glob(folder, _pattern_components(pattern), "**", _component_matches)
        for pattern in patterns
    )


class Template:
    """Where uploads go below the root, as a setting says: `{owner}/{destination}/{filename}`.

    `{extension}` comes without its dot. A folder of nothing but fields that are empty is left out.
    """

    __slots__ = ("_folders", "_name", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError, with a sentence, for a template that cannot be used."""
        self.text = text
        *self._folders, self._name = text.split("/")
        if text.startswith("/") or _DRIVE.match(text):
            raise ValueError(f"the template {text!r} is not relative")
        for component in (*self._folders, self._name):
            _check_fields(text, component)
        for component in self._folders:
            _check_owner(text, component)
        if not _UNIQUE & set(_FIELD.findall(self._name)):
            raise ValueError(f"the template {text!r} does not end in {{filename}} or {{upload_id}}")
        self._check_samples()

    def expand(
        self,
        *,
        owner: str | None,
        destination: str,
        filename: str,
        upload_id: str,
        now: datetime,
    ) -> tuple[tuple[str, ...], str]:
        """The folders below the root and the file name for an upload. `now` is aware; dates are
        those of UTC. The folders of different owners differ. Raises NameRefused.
        """
        moment = now.astimezone(UTC)
        name = safe_name(filename)
        extension = _EXTENSION.search(name)
        values = {
            "owner": ANONYMOUS if owner is None else _escape(owner, taken=ANONYMOUS),
            "filename": name,
            "upload_id": _escape(upload_id),
            "date": f"{moment:%Y-%m-%d}",
            "year": f"{moment:%Y}",
            "month": f"{moment:%m}",
            "extension": extension.group()[1:] if extension else "",
        }
        return tuple(self._expand_folders(values, destination)), safe_name(
            _fill(self._name, values)
        )

    def _expand_folders(self, values: dict[str, str], destination: str) -> Iterator[str]:
        for component in self._folders:
            if component == "{destination}":
                yield from safe_folder(destination)
            elif folder := _fill(component, values):
                # What an owner is part of must not be changed, for it could become another's.
                folder = folder if "{owner}" in component else safe_name(folder)
                _check_component(folder, f"the folder {_shown(folder)}")
                yield folder

    def _check_samples(self) -> None:
        """Whatever does not depend on the upload is found out when the setting is read."""
        for text in ("a.b", "a", "a" * 2 * MAX_NAME):
            values = dict.fromkeys(_FIELDS, _escape(text))
            values["extension"] = text.partition(".")[2]
            for component in (*self._folders, self._name):
                self._check_sample(component, _fill(component, values))

    def _check_sample(self, component: str, filled: str) -> None:
        if "{owner}" not in component or component == self._name:
            # An empty extension may leave its dot, which is dropped as what is too long is.
            filled = _fit(_strip_end(filled), MAX_NAME)
        try:
            if filled:
                _check_component(filled, _shown(component))
        except NameRefused as error:
            raise ValueError(f"the template {self.text!r} does not work: {error}") from None


def _check_fields(template: str, component: str) -> None:
    if component in ("", ".", ".."):
        raise ValueError(f"the template {template!r} has a folder {component!r}")
    fields = _FIELD.findall(component)
    for field in fields:
        if field not in _FIELDS:
            known = ", ".join(sorted(_FIELDS))
            raise ValueError(f"the template {template!r} has a field {field!r}; there are {known}")
    literal = _FIELD.sub("", component)
    if "{" in literal or "}" in literal:
        raise ValueError(f"the template {template!r} has a brace that belongs to no field")
    if any(_is_replaced(character) for character in literal):
        raise ValueError(f"the template {template!r} has a character that no name may have")
    if "destination" in fields and component != "{destination}":
        raise ValueError(f"in the template {template!r} {{destination}} is not a folder of its own")


def _check_owner(template: str, component: str) -> None:
    fields = _FIELD.findall(component)
    if "owner" in fields and (fields.count("owner") > 1 or not set(fields) <= _BESIDE_OWNER):
        # Of "ab" and "c", and of "a" and "bc", the same would come out.
        raise ValueError(
            f"in the template {template!r} owners could not be told apart: give {{owner}} a folder"
            " of its own"
        )


def _fill(component: str, values: dict[str, str]) -> str:
    return _FIELD.sub(lambda match: values[match.group(1)], component)


def _check_component(component: str, what: str) -> None:
    if component == "":
        raise NameRefused(f"{what} has a part without a name")
    if component == "..":
        raise NameRefused(f"{what} leads out of the folder")
    if safe_name(component) != component:
        raise NameRefused(f"{what} has a part that cannot be a folder: {_shown(component)}")


def _shown(text: str) -> str:
    """For a message: no control characters, and not too long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _is_replaced(character: str) -> bool:
    return (
        character in _REPLACED
        or unicodedata.category(character) in _REPLACED_CATEGORIES
        or ord(character) & 0xFFFE == 0xFFFE
        or 0xFDD0 <= ord(character) <= 0xFDEF
    )


def _strip_end(name: str) -> str:
    """Without the dots and blanks that Windows drops behind a name."""
    while name and (name[-1] == "." or name[-1].isspace()):
        name = name.rstrip().rstrip(".")
    return name


def _fit(name: str, limit: int, suffix: str = "") -> str:
    """`suffix` before the extension, and as much of what is before it as there is room for."""
    extension = _EXTENSION.search(name)
    end = suffix + (extension.group() if extension else "")
    stem = name[: extension.start()] if extension else name
    room = limit - len(end.encode())
    if len(stem.encode()) > room:
        stem = _strip_end(stem.encode()[:room].decode("utf-8", "ignore"))
    return stem + end


def _escape(text: str, taken: str | None = None) -> str:
    """One component for any text, safe, different for different texts, not `taken`, and not longer
    than leaves room for something beside it.
    """
    for escaped in (_escape_unsafe(text), _escape_all(text)):
        is_safe = safe_name(escaped) == escaped and escaped != taken
        if is_safe and len(escaped.encode()) <= _MAX_ESCAPED:
            return escaped
    # No other escape has a percent sign before a minus sign.
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_escape_all(text)[: _MAX_ESCAPED - 66]}%-{digest}" if text else "%"


def _escape_unsafe(text: str) -> str:
    last = len(text) - 1
    return "".join(
        _percent(character)
        if _is_replaced(character)
        or character == "%"
        or (index == 0 and character in ".-~")
        or (index in (0, last) and (character == "." or character.isspace()))
        else character
        for index, character in enumerate(text)
    )


def _escape_all(text: str) -> str:
    """Always possible: the first character is escaped even if it is a letter, for it may begin the
    name of a device.
    """
    return "".join(
        character if index and character.isascii() and character.isalnum() else _percent(character)
        for index, character in enumerate(text)
    )


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _pattern_components(pattern: str) -> tuple[str, ...]:
    pattern = unicodedata.normalize("NFC", pattern).strip("/")
    return tuple(pattern.split("/")) if pattern else ()


def _component_matches(component: str, pattern: str) -> bool:
    return _glob(component, pattern, "*", str.__eq__)


def _glob(
    items: Sequence[str],
    pattern: Sequence[str],
    wildcard: str,
    is_match: Callable[[str, str], bool],
) -> bool:
    """Whether `items` match, where each wildcard takes any number of them. Never more than their
    product in steps, whatever somebody has made of either.
    """
    item, place = 0, 0
    resume: tuple[int, int] | None = None
    while item < len(items):
        if place < len(pattern) and pattern[place] == wildcard:
            place += 1
            resume = (item, place)
        elif place < len(pattern) and is_match(items[item], pattern[place]):
            item, place = item + 1, place + 1
        elif resume is not None:
            # The last wildcard takes one more; the ones before it cannot help.
            resume = (resume[0] + 1, resume[1])
            item, place = resume
        else:
            return False
    return all(part == wildcard for part in pattern[place:])
