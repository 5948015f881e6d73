"""Records the system calls of a program with strace, and reads them as values.

A call has two moments, its begin and its end, as line numbers of the trace: calls of several
threads overlap, and whether a sync covers a write is a matter of whether the one had ended when the
other began.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# A question mark: not every processor has this call.
_TRACED = (
    "openat,?creat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,?truncate,fsync,fdatasync,"
    "?sync,syncfs,sync_file_range,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,"
    "?rmdir,?link,linkat,?symlink,symlinkat,copy_file_range,sendfile,splice,fallocate,ioctl,"
    "?io_submit,?io_getevents,close,dup,?dup2,dup3,fcntl,?readlink,readlinkat"
)
_LINE = re.compile(r"\d+ +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"\d+ +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_END = re.compile(r"(?P<arguments>.*)\) += (?P<result>-?\d+|\?).*")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.{3})?')
_UNFINISHED = " <unfinished ...>"
_PLACE = "\0"


@dataclass(frozen=True)
class Call:
    """One call as strace shows it; strings among the arguments are hexadecimal."""

    name: str
    arguments: tuple[str, ...]
    result: int
    begun: int
    done: int

    def text(self, index: int) -> str:
        """A path among the arguments."""
        return self.data(index).decode()

    def data(self, index: int) -> bytes:
        """The bytes of a buffer, or of several in a row."""
        found = _STRING.findall(self.arguments[index])
        assert not any(cut for _, cut in found), "strace has cut a string off"
        return b"".join(bytes.fromhex(digits.replace("\\x", "")) for digits, _ in found)

    def number(self, index: int) -> int:
        return int(self.arguments[index].strip("[]"), 0)

    def has_flag(self, index: int, flag: str) -> bool:
        return flag in self.arguments[index].split("|")


def record(command: Sequence[str], directory: Path, trace: Path) -> None:
    """Runs `command` in this directory to its end, which must be a success."""
    done = subprocess.run(
        [
            "strace", "-f", "--seccomp-bpf", "-xx", "-s", "1000000", "-o", str(trace),
            "-e", f"trace={_TRACED}", "-e", "signal=none", *command,
        ],
        cwd=directory,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def read_trace(trace: Path) -> Iterator[Call]:
    """The calls that came to an end, in the order of their ends."""
    begun: dict[str, tuple[int, str]] = {}
    with open(trace) as lines:
        for number, line in enumerate(lines):
            thread = line.split(" ", 1)[0]
            if match := _RESUMED.match(line):
                start, text = begun.pop(thread)
                text += match["rest"]
            elif match := _LINE.match(line):
                start, text = number, match["rest"]
            else:
                continue
            if text.endswith(_UNFINISHED):
                begun[thread] = (start, text.removesuffix(_UNFINISHED))
            elif (end := _END.match(text)) and end["result"] != "?":
                arguments = tuple(_split(end["arguments"]))
                yield Call(match["name"], arguments, int(end["result"]), start, number)


def _split(arguments: str) -> list[str]:
    """At the commas outside of brackets."""
    # Strings can be very long, and have neither in them.
    strings = [match[0] for match in _STRING.finditer(arguments)]
    found, depth = [""], 0
    for character in _STRING.sub(_PLACE, arguments):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += strings.pop(0) if character == _PLACE else character
    return [argument.strip() for argument in found]
