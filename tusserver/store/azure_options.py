"""How a client of Azure Blob Storage works, and what the service takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from tusserver.store.object_parts import MIB, PartRules

MAX_PART, MAX_PARTS = 4000 * MIB, 50_000
MAX_OBJECT = 100 * MIB * MIB
"""100 TiB; the service takes 190 of them, of which a part is left for numbers that get lost."""


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """A container, and how to get at it: by a connection string, or by the URL of the account with
    its name and key, or with a shared access signature. Times in seconds.
    """

    container: str
    url: str = ""
    connection_string: str = field(default="", repr=False)
    account: str = ""
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    retries: int = 3
    """After 2 seconds, 4, and so on, as long as the deadline is not over."""
    deadline: float = 30.0
    """For one call that moves no part."""
    part_deadline: float = 300.0
    """For one part, with all attempts."""


def azure_rules(usual: int) -> PartRules:
    """The rules of parts, which usually have so many bytes."""
    return PartRules(usual, most=MAX_PART, count=MAX_PARTS, are_copied=False)
