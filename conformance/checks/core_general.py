"""CORE-GEN and CORE-VER: the methods there are, and the version of the protocol."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.check import check
from conformance.discovery import OCTETS, VERSION, items
from conformance.probe import SUCCESS, Probe
from conformance.tus import joined, offset_of
from conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.wire import Answer

_WRONG_SHA1 = f"sha1 {27 * 'A'}="
_LIST_FORM = "1.0.0, 1.0.0"
_BAD_VERSIONS = ("0.0.1", "0.2.2", "2.0.0", "1.0", "foo", _LIST_FORM)


@check("CORE-GEN-01")
def head_and_patch_are_there(c: Probe) -> None:
    url = c.mk(4)
    for method, answer in (("HEAD", c.hd(url)), ("PATCH", c.pa(url, 0, b"abcd"))):
        there = answer.status not in (404, 405, 501)
        c.expect("CORE-GEN-01", there, "none of 404, 405, 501", answer, probe=method)


@check("CORE-GEN-02", "CORE-GEN-03")
def urls_and_credentials_are_its_own_affair(c: Probe) -> None:
    c.say("CORE-GEN-02", Verdict.PASS, "URLs of any shape", "no upload URL is built or taken apart")
    given = ", ".join(name for name, _ in c.target.headers) or "no header"
    c.say("CORE-GEN-03", Verdict.PASS, "credentials of any kind", f"{given} with every request")


@check("CORE-GEN-04")
def http2(c: Probe) -> None:
    c.give_up("the server takes HTTP/2, but this suite does not speak it")


# CORE-VER


@check("CORE-VER-01")
def every_answer_names_its_version(c: Probe) -> None:
    # 1.0.0 is what is asked for, however the list is spelt.
    known = tuple(dict.fromkeys(("1.0.0", *c.discovery.versions)))
    for kind, answers in (("success", _successes(c)), ("refusal", _refusals(c))):
        for method, answer in answers:
            named = answer.all("tus-resumable")
            ok = len(named) == 1 and named[0] in known
            got = f"Tus-Resumable: {', '.join(named)}" if named else "no Tus-Resumable"
            probe = f"{kind}: {method} answered {answer.status}, {got}"
            expected = f"one Tus-Resumable, which is {' or '.join(known)}"
            c.expect("CORE-VER-01", ok, expected, answer, probe=probe)


def _successes(c: Probe) -> Iterator[tuple[str, Answer]]:
    if c.has("creation"):
        created = c.post({"Upload-Length": "4"})
        yield "POST", created
        url = c.created(created)
    else:
        url = c.mk(4)
    yield "HEAD", c.hd(url)
    yield "PATCH", c.pa(url, 0, b"abcd")
    yield "HEAD", c.hd(url)
    if c.has("termination"):
        yield "DELETE", c.delete(url)


def _refusals(c: Probe) -> Iterator[tuple[str, Answer]]:
    url = c.mk(4)
    gone = c.stranger(url)
    yield "HEAD", c.hd(gone)
    yield "PATCH", c.pa(gone, 0, b"abcd")
    yield "PATCH", c.pa(url, 1, b"x")
    yield "PATCH", c.pa(url, 0, b"ab", {"Content-Type": "text/plain"})
    yield "PATCH", _ask(c, "PATCH", url, _foreign(c))
    if c.has("creation"):
        yield "POST", c.post({})
    if c.has("creation", "max-size"):
        yield "POST", c.post({"Upload-Length": str((c.discovery.max_size or 0) + 1)})
    if c.has("checksum"):
        yield "PATCH", c.pa(url, 0, b"ab", {"Upload-Checksum": _WRONG_SHA1})
    if c.has("creation", "concat"):
        part = c.made(b"ab", {"Upload-Concat": "partial"})
        yield "PATCH", c.pa(c.created(c.post(joined([part]))), 2, b"x")


def _foreign(c: Probe) -> str:
    """A version that the server does not speak."""
    return next(each for each in ("2.0.0", "9.9.9", "0.0.1") if each not in c.discovery.versions)


def _ask(c: Probe, method: str, url: str, version: str | None) -> Answer:
    """A request that would succeed with the right version, on an upload that has 0 of 4 bytes."""
    headers = {
        "POST": {"Upload-Length": "4", "Content-Length": "0"},
        "PATCH": {**OCTETS, "Upload-Offset": "0", "Content-Length": "4"},
    }.get(method, {})
    named = {} if version is None else {"Tus-Resumable": version}
    body = b"abcd" if method == "PATCH" else b""
    return c.request(method, c.url if method == "POST" else url, {**named, **headers}, body)


def _working(c: Probe) -> list[str]:
    """The methods that succeed with the right version; DELETE comes last. Others show nothing."""
    needed = {"HEAD": "url", "POST": "creation", "PATCH": "url", "DELETE": "termination"}
    there = [method for method, need in needed.items() if c.has(need)]
    return [each for each in there if _ask(c, each, c.mk(4), "1.0.0").status in SUCCESS]


def _changing(c: Probe) -> list[str]:
    """Of those, the ones that change something."""
    return [method for method in _working(c) if method != "HEAD"]


@check("CORE-VER-03", "CORE-VER-04")
def other_versions_are_refused(c: Probe) -> None:
    has_refused, methods = False, _working(c)
    for version in _BAD_VERSIONS:
        if version in c.discovery.versions:
            continue
        url = c.mk(4)
        for method in methods:
            answer = _ask(c, method, url, version)
            passes = (400, 412) if version == _LIST_FORM else (412,)
            probe = f"{method} with Tus-Resumable: {version}"
            c.status("CORE-VER-03", answer, passes, probe=probe)
            if answer.status == 412 or (answer.status == 400 and version != _LIST_FORM):
                has_refused = True
                _judge_list_of_versions(c, answer, probe)
    if not has_refused:
        c.give_up("no version was refused")


def _judge_list_of_versions(c: Probe, answer: Answer, probe: str) -> None:
    told, known = items(answer.get("tus-version")), c.discovery.versions
    ok = bool(told) and (not known or sorted(told) == sorted(known))
    listed = f"Tus-Version: {','.join(known)}" if known else "a Tus-Version"
    c.expect("CORE-VER-04", ok, listed, answer, probe=probe)


@check("CORE-VER-03")
def blanks_around_the_version_do_not_matter(c: Probe) -> None:
    for method in _working(c):
        answer = _ask(c, method, c.mk(4), " \t1.0.0  ")
        c.status("CORE-VER-03", answer, SUCCESS, probe=f"{method} with blanks around 1.0.0")


@check("CORE-VER-05")
def a_refused_version_has_no_effect(c: Probe) -> None:
    version, methods = _foreign(c), _changing(c)
    rest = b"abcd" if "PATCH" in methods else b""
    for method in methods:
        probe = f"{method} with Tus-Resumable: {version}"
        url = c.mk(4)
        before = c.hd(url)
        if before.status not in SUCCESS or offset_of(before) is None:
            c.give_up(f"HEAD was answered {before}")
        answer = _ask(c, method, url, version)
        if method == "POST":
            c.expect("CORE-VER-05", "location" not in answer, "no Location", answer, probe=probe)
        else:
            c.intact("CORE-VER-05", url, 0, rest, probe)


@check("CORE-VER-06")
def a_missing_version_is_not_guessed(c: Probe) -> None:
    for method in _changing(c):
        answer = _ask(c, method, c.mk(4), None)
        probe, expected = f"{method} without Tus-Resumable", "412 with Tus-Version"
        verdict = Verdict.WARN
        if answer.status == 412:
            verdict = Verdict.PASS if "tus-version" in answer else Verdict.INFO
        c.say("CORE-VER-06", verdict, expected, answer, probe=probe)
    url = c.mk(4)
    for method in ("HEAD", "GET"):
        usual = c.request(method, url, VERSION).status
        answer = c.request(method, url)
        probe = f"{method} without Tus-Resumable"
        c.status("CORE-VER-06", answer, (412, usual), probe=probe)


@check("CORE-VER-07")
def the_list_of_versions(c: Probe) -> None:
    value = c.options().get("tus-version") or ""
    listed = [item.strip(" \t") for item in value.split(",")]
    ok = all(re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", item) for item in listed)
    expected = "versions between commas, none twice, and 1.0.0 among them"
    is_good = ok and len(set(listed)) == len(listed) and "1.0.0" in listed
    c.expect("CORE-VER-07", is_good, expected, f"Tus-Version: {value}")


@check("CORE-VER-08")
def options_ignores_the_version(c: Probe) -> None:
    plain, again = c.options(), c.options()
    # What differs between two equal requests says nothing, as a number for each request.
    varying = {"date", "age", *_differing(plain, again)}
    for version in ("0.0.1", "foo", "1.0.0"):
        answer = c.options(headers={"Tus-Resumable": version})
        changed = sorted(_differing(plain, answer) - varying)
        probe = f"Tus-Resumable: {version}" + (f", other {', '.join(changed)}" if changed else "")
        ok = answer.status == plain.status and not changed
        c.expect("CORE-VER-08", ok, "the answer as without it", answer, probe=probe)


def _differing(one: Answer, other: Answer) -> set[str]:
    names = {name for name, _ in (*one.headers, *other.headers)}
    return {name for name in names if one.all(name) != other.all(name)}
