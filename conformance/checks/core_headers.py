"""CORE-HDR: how header fields are spelt, and the one that replaces the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import VERSION
from conformance.probe import CLIENT_ERRORS, GONE, SUCCESS, Probe
from conformance.tus import offset_of, patch_headers
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.wire import Answer, Wire

_OVERRIDE = "X-HTTP-Method-Override"
_PATIENCE = 5.0
"""Seconds for bytes that an answer announces."""


@check("CORE-HDR-03")
def override_by_patch(c: Probe) -> None:
    plain = c.pa(c.mk(4), 0, b"abcd")
    if plain.status not in SUCCESS:
        c.give_up(f"PATCH itself was answered {plain}")
    url = c.mk(4)
    answer = c.request("POST", url, patch_headers(0, 4, {_OVERRIDE: "PATCH"}), b"abcd")
    ok = (answer.status, offset_of(answer)) == (plain.status, offset_of(plain))
    probe = f"POST with {_OVERRIDE}: PATCH"
    c.expect("CORE-HDR-03", ok, f"the answer to PATCH, {plain}", answer, probe=probe)


@check("CORE-HDR-03")
def override_by_head(c: Probe) -> None:
    url = c.mk(4)
    plain = c.hd(url)
    if plain.status not in SUCCESS or offset_of(plain) is None:
        c.give_up(f"HEAD itself was answered {plain}")
    headers = {**VERSION, "Content-Length": "0", _OVERRIDE: "HEAD"}
    with c.wire(url, timeout=_PATIENCE) as wire:
        wire.send(c.head("POST", url, headers))
        # Read as an answer to HEAD, as whether a body comes is a question of its own.
        answer = wire.answer("HEAD")
        ok = answer.status in SUCCESS and offset_of(answer) == offset_of(plain)
        probe = f"POST with {_OVERRIDE}: HEAD"
        c.expect("CORE-HDR-03", ok, f"the answer to HEAD, {plain}", answer, probe=probe)
        if ok:
            c.expect("CORE-HDR-03", _body_is_whole(wire, answer),
                     "as many bytes as it announces, as it answers a POST", answer,
                     probe=f"{probe}: framing", broken=Verdict.WARN)  # fmt: skip


def _body_is_whole(wire: Wire, answer: Answer) -> bool:
    """Whether what an answer to POST announces comes, the head of which has been read."""
    if answer.status in (204, 304):
        return True
    length = answer.get("content-length")
    if length is None and "transfer-encoding" not in answer:
        return wire.is_ended(within=_PATIENCE)
    return length == "0" or (wire.has_more(_PATIENCE) and not wire.is_ended(within=0.0))


@check("CORE-HDR-03")
def override_by_delete(c: Probe) -> None:
    if not c.has("termination"):
        return
    plain = c.delete(c.mk(4))
    if plain.status not in SUCCESS:
        c.give_up(f"DELETE itself was answered {plain}")
    url, headers = c.mk(4), {**VERSION, "Content-Length": "0", _OVERRIDE: "DELETE"}
    answer, probe = c.request("POST", url, headers), f"POST with {_OVERRIDE}: DELETE"
    c.status("CORE-HDR-03", answer, (plain.status,), probe=probe)
    gone = c.hd(url)
    c.expect("CORE-HDR-03", gone.status not in SUCCESS, "no upload", gone, probe=f"{probe}, HEAD")


@check("CORE-HDR-05")
def override_where_it_is_not_needed(c: Probe) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        url = c.mk(4)
        answer = c.request(method, url, {**VERSION, _OVERRIDE: "DELETE"})
        probe, expected = f"{method} with {_OVERRIDE}: DELETE", "nothing is deleted"
        if _is_server_error(answer):
            c.expect("CORE-HDR-05", False, "no 5xx", answer, probe=probe)
        elif c.hd(url).status in GONE:
            c.say("CORE-HDR-05", Verdict.INFO, expected, answer, probe=f"{probe} deletes")
        else:
            c.expect("CORE-HDR-05", True, expected, answer, probe=probe)


@check("CORE-HDR-05")
def override_by_what_is_no_method(c: Probe) -> None:
    usual = c.request("POST", c.mk(4), patch_headers(0, 4, {_OVERRIDE: "PATCH"}), b"abcd")
    if usual.status not in SUCCESS:
        c.give_up("the server does not heed the header")
    for values in (("FOO",), ("",), ("patch",), ("PATCH", "DELETE")):
        spelt = " and ".join(repr(value) for value in values)
        overrides = [(_OVERRIDE, value) for value in values]
        headers = [*patch_headers(0, 4, {"Upload-Length": "4"}).items(), *overrides]
        url = c.mk(4)
        answer = c.request("POST", url, headers, b"abcd")
        accepted = {"FOO": Verdict.FAIL, "patch": Verdict.PASS}.get(values[0], Verdict.INFO)
        _judge_odd_override(c, answer, accepted, f"POST on an upload, override {spelt}")
        if c.has("creation"):
            creation = {**VERSION, "Upload-Length": "4", "Content-Length": "0"}
            answer = c.request("POST", c.url, [*creation.items(), *overrides])
            # An empty value can be read as no value at all.
            created = Verdict.FAIL if values[0] else Verdict.INFO
            _judge_odd_override(c, answer, created, f"POST on the creation URL, override {spelt}")


def _judge_odd_override(c: Probe, answer: Answer, accepted: Verdict, probe: str) -> None:
    """`accepted` is the verdict on a success other than the creation of an upload."""
    verdict = Verdict.INFO
    if answer.status in CLIENT_ERRORS or answer.status == 501:
        verdict = Verdict.PASS
    elif answer.status >= 500:
        verdict = Verdict.FAIL
    elif answer.status in SUCCESS:
        verdict = accepted
    c.say("CORE-HDR-05", verdict, "4xx", answer, probe=probe)


def _is_server_error(answer: Answer) -> bool:
    """501 is a fair answer to a method that is not known."""
    return answer.status >= 500 and answer.status != 501


# Spelling


@check("CORE-HDR-06")
def spelling_of_names_and_blanks_around_values(c: Probe) -> None:
    expected = _happy_path(c, lambda name, value: (name, value))
    if expected[-1][0] != "HEAD":
        c.give_up(f"even the usual spelling does not work: {expected[-1]}")
    spellings: dict[str, Callable[[str, str], tuple[str, str]]] = {
        "lower-case names": lambda name, value: (name.lower(), value),
        "upper-case names": lambda name, value: (name.upper(), value),
        "blanks around Upload-Offset": lambda name, value: (
            (name, f"  {value}  ") if name == "Upload-Offset" else (name, value)
        ),
    }
    for probe, spell in spellings.items():
        got = _happy_path(c, spell)
        c.expect("CORE-HDR-06", got == expected, _told(expected), _told(got), probe=probe)


_Steps = list[tuple[str, int, int | None]]
"""Method, status and offset of each step."""


def _happy_path(c: Probe, spell: Callable[[str, str], tuple[str, str]]) -> _Steps:
    """As far as it goes: it ends with HEAD where all went well."""

    def ask(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        answer = c.request(method, url, [spell(*pair) for pair in headers.items()], body)
        steps.append((method, answer.status, offset_of(answer)))
        return answer

    steps: _Steps = []
    if c.has("creation"):
        made = ask("POST", c.url, {**VERSION, "Upload-Length": "4", "Content-Length": "0"})
        if made.status != 201 or "location" not in made:
            return steps
        url = c.created(made)
    else:
        url = c.mk(4)
    for offset, data in ((0, b"ab"), (2, b"cd")):
        if ask("PATCH", url, patch_headers(offset, 2), data).status not in SUCCESS:
            return steps
    ask("HEAD", url, VERSION)
    return steps


def _told(steps: _Steps) -> str:
    return ", ".join(
        f"{method} {status}" + ("" if offset is None else f" at {offset}")
        for method, status, offset in steps
    )
