"""META broken: the grammar of Upload-Metadata."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from tests.conformance.mutants import mutant
from tests.conformance.tiny import Refused, Tiny

if TYPE_CHECKING:
    from tests.conformance.tiny import Request


class Rewriting(Tiny):
    """Takes the metadata apart and puts it together again, pair by pair."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        if metadata is None:
            return None
        pairs = [pair.strip().partition(" ") for pair in metadata.split(",")]
        rewritten = [(key, self.rewritten(base64.b64decode(value))) for key, _, value in pairs]
        return ",".join(f"{key} {value}" if value else key for key, value in rewritten)

    def rewritten(self, value: bytes) -> str:
        return base64.b64encode(value).decode()


@mutant("META-01")
class FirstPairOnly(Tiny):
    """The list is read up to its first comma."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        return metadata and metadata.partition(",")[0]


@mutant("META-01")
class OnePairAtMost(Tiny):
    """The whole value has to be one pair."""

    def metadata_of(self, request: Request) -> str | None:
        if "," in (request.get("upload-metadata") or ""):
            raise Refused(400, "One pair, please.")
        return super().metadata_of(request)


@mutant("META-01")
class AnyBlanksInPair(Tiny):
    """Key and value are taken apart at blanks, however many; the header comes back as it came."""

    def key_of(self, pair: str) -> str:
        return super().key_of(" ".join(pair.split()))


@mutant("META-01")
class TrailingCommaComesBack(Tiny):
    """A comma at the end is overlooked, and comes back."""

    def key_of(self, pair: str) -> str:
        return super().key_of(pair) if pair else ""


@mutant("META-02")
class EmptyKeyComesBack(Tiny):
    """Between two commas is a pair with an empty key."""

    def key_of(self, pair: str) -> str:
        return super().key_of(pair) if pair.strip() else ""


@mutant("META-02")
class BlankInKey(Tiny):
    """The key goes up to the last blank of a pair."""

    def key_of(self, pair: str) -> str:
        key, _, value = pair.strip().rpartition(" ")
        return super().key_of(f"{key.replace(' ', '_')} {value}" if key else value)


@mutant("META-03")
class KeysInLatin1(Tiny):
    """Keys are taken for Latin-1 and come back in UTF-8."""

    def key_of(self, pair: str) -> str:
        return super().key_of(re.sub("[^ -~]", "x", pair))

    def metadata_of(self, request: Request) -> str | None:
        metadata = super().metadata_of(request)
        return metadata and metadata.encode().decode("latin-1")


@mutant("META-04")
class ValuesAreText(Rewriting):
    """Values are kept in JSON, as text."""

    def rewritten(self, value: bytes) -> str:
        return super().rewritten(value.decode("utf-8", "replace").encode())


@mutant("META-04")
class PaddingIsLost(Rewriting):
    """Values come back without their padding."""

    def rewritten(self, value: bytes) -> str:
        return super().rewritten(value).rstrip("=")


@mutant("META-04")
class PaddingIsRefused(Tiny):
    """The pattern for values knows one equals sign at most."""

    def check_base64(self, value: str) -> None:
        super().check_base64(value)
        if value.endswith("==") and value != "YQ==":
            raise Refused(400, "Values of metadata are Base64.")


@mutant("META-04")
class ValuesForUrls(Rewriting):
    """Values come back in the alphabet for URLs."""

    def rewritten(self, value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode()


@mutant("META-04")
class ValuesAreCStrings(Rewriting):
    """Values end at the first NUL."""

    def rewritten(self, value: bytes) -> str:
        return super().rewritten(value.partition(b"\0")[0])


@mutant("META-05")
class KeysMayRepeat(Tiny):
    """The metadata is a list of pairs, and nobody compares their keys."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = request.get("upload-metadata") or None
        for pair in (metadata or "k").split(","):
            self.key_of(pair)
        return metadata


@mutant("META-05")
class KeysWithoutCase(Tiny):
    """Keys that differ in case only are the same."""

    def key_of(self, pair: str) -> str:
        return super().key_of(pair).lower()


@mutant("META-06")
class ValueIsNeeded(Tiny):
    """A pair has a key and a value."""

    def key_of(self, pair: str) -> str:
        if " " not in pair.strip():
            raise Refused(400, "A key without a value.")
        return super().key_of(pair)


@mutant("META-08")
class RepairedBase64(Rewriting):
    """What is not in the alphabet is passed over, missing padding is made up for."""

    def check_base64(self, value: str) -> None:
        """Something will be in it."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = request.get("upload-metadata")
        if metadata:
            pairs = [pair.strip().partition(" ") for pair in metadata.split(",")]
            request.set("upload-metadata", ",".join(f"{k}{b}{_clean(v)}" for k, b, v in pairs))
        return super().metadata_of(request)


def _clean(value: str) -> str:
    letters = re.sub("[^A-Za-z0-9+/]", "", value)
    return letters + "=" * (-len(letters) % 4)


@mutant("META-08")
class Base64IsNotChecked(Tiny):
    """Values come back as they came, whatever they are."""

    def check_base64(self, value: str) -> None:
        """Nobody reads it here."""


@mutant("META-09")
class EmptyMetadataIsRefused(Tiny):
    """An empty header is no list with at least one pair."""

    def metadata_of(self, request: Request) -> str | None:
        if request.get("upload-metadata") == "":
            raise Refused(400, "Metadata without a pair.")
        return super().metadata_of(request)


@mutant("META-10")
class BlanksOfTheListCount(Rewriting):
    """A blank behind a comma ends the key of the next pair, which is then empty and left out."""

    def metadata_of(self, request: Request) -> str | None:
        metadata = request.get("upload-metadata")
        if metadata:
            kept = [pair for pair in metadata.split(",") if not pair.startswith(" ")]
            request.set("upload-metadata", ",".join(kept))
        return super().metadata_of(request)


@mutant("META-11")
class FirstLineOnly(Tiny):
    """Of several header lines the first one counts."""

    def metadata_of(self, request: Request) -> str | None:
        lines = request.all("upload-metadata")
        if lines:
            request.set("upload-metadata", lines[0])
        return super().metadata_of(request)


@mutant("META-11")
class LastLineOnly(Tiny):
    """Of several header lines the last one counts."""

    def metadata_of(self, request: Request) -> str | None:
        lines = request.all("upload-metadata")
        if lines:
            request.set("upload-metadata", lines[-1])
        return super().metadata_of(request)
