from __future__ import annotations

import os.path
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tusserver.policy.naming import (
    NameRefused,
    Template,
    matches_patterns,
    numbered,
    safe_folder,
    safe_name,
)

ROOT = "/srv/data"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FAMILY = "👩\u200d👩\u200d👧"

# Whatever anybody may send, and on purpose often what is special somewhere.
HOSTILE = st.lists(
    st.one_of(
        st.text(st.characters(), max_size=5),
        st.sampled_from(
            [
                *("..", ".", "/", "\\", "~", "-", ":", "%", "%2e", "CON", "nul", "COM1", "a", " "),
                *("\0", "\n", "\x7f", "\x85", "\u202e", "\u200d", "\ufeff", "\u2028", "\ud800"),
                *("\u3164", "\u00a0", "\u0301", "\u0338", "\u1100", "\u1161", "é", "한글", "🙂"),
                *("\uffff", "\U0001d15f", "C:", "//", "...", ".tar.gz", ".h5", "x" * 90, " " * 250),
            ]
        ),
    ),
    max_size=12,
).map("".join)
# Among few texts there are many that differ only a little.
OWNERS = st.one_of(
    HOSTILE,
    st.text(st.sampled_from("aA%4.1é\u0301e/_-~ "), max_size=4),
    st.sampled_from(["anonymous", "%61nonymous", "CON", "_CON", "%43ON"]),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("한글 이름.h5", "한글 이름.h5"),
        ("scan (1).tar.gz", "scan (1).tar.gz"),
        ("Straße & Co; $HOME 'x'.txt", "Straße & Co; $HOME 'x'.txt"),
        (unicodedata.normalize("NFD", "한글 é.h5"), "한글 é.h5"),
        ("C:\\fakepath\\image.png", "image.png"),
        ("/etc/passwd", "passwd"),
        ("../../x", "x"),
        ("..\\..\\x", "x"),
        ("folder/", "upload"),
        ("", "upload"),
        (".", "upload"),
        ("..", "upload"),
        ("... ...", "upload"),
        (" ", "upload"),
        (".bashrc", "_bashrc"),
        ("..hidden", "_.hidden"),
        (" .hidden", "_hidden"),
        ("-rf", "_rf"),
        ("~root", "_root"),
        ("name. .", "name"),
        ("name.txt\u00a0", "name.txt"),
        ("a\0b\nc\x7fd\x9be", "a_b_c_d_e"),
        ("invoice\u202egnp.exe", "invoice_gnp.exe"),
        ("a\u200bb\ufeffc\u3164d", "a_b_c_d"),
        ("a\uffffb\ufdd0c\U0001fffed", "a_b_c_d"),
        (FAMILY, "👩_👩_👧"),
        ('a:b*c?d"e<f>g|h', "a_b_c_d_e_f_g_h"),
        ("\ud800\udfff.txt", "__.txt"),
        ("CON", "_CON"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("Com1 .txt", "_Com1 .txt"),
        ("LPT².x", "_LPT².x"),
        ("console.log", "console.log"),
        ("COM10", "COM10"),
    ],
)
def test_a_known_name_becomes(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_a_name_that_is_too_long_keeps_its_extension_and_whole_characters() -> None:
    name = safe_name("한" * 200 + ".tar.gz")
    assert name == "한" * 82 + ".tar.gz"
    assert safe_name("x" * 300) == "x" * 255
    assert safe_name("x" * 251 + ".txt") == "x" * 251 + ".txt"


def test_a_device_that_comes_out_of_a_cut_is_none() -> None:
    assert safe_name("CON" + " " * 300 + "x.txt") == "_CON.txt"
    assert safe_name("CON" + " " * 248 + ".txt") == "_CON.txt"


@given(HOSTILE)
@settings(max_examples=800, deadline=None)
def test_every_name_stays_below_the_folder(name: str) -> None:
    safe = safe_name(name)
    assert os.path.normpath(f"{ROOT}/{safe}") == f"{ROOT}/{safe}"
    assert "/" not in safe
    assert "\\" not in safe
    assert "\0" not in safe
    assert 0 < len(safe.encode()) <= 255
    assert safe[0] not in ".-~"
    assert safe[-1] not in ". "
    assert unicodedata.is_normalized("NFC", safe)
    assert not {unicodedata.category(character) for character in safe} & {"Cc", "Cf", "Cs", "Zl"}


@given(HOSTILE)
@settings(max_examples=400, deadline=None)
def test_a_safe_name_is_safe_already(name: str) -> None:
    assert safe_name(safe_name(name)) == safe_name(name)


@given(HOSTILE, st.integers(1, 10**6), st.integers(1, 10**6))
@settings(max_examples=400, deadline=None)
def test_numbered_names_are_safe_and_differ(name: str, first: int, second: int) -> None:
    safe = safe_name(name)
    assert safe_name(numbered(safe, first)) == numbered(safe, first)
    assert numbered(safe, first) != safe
    assert (numbered(safe, first) == numbered(safe, second)) == (first == second)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("name.ext", "name (7).ext"),
        ("a.tar.gz", "a (7).tar.gz"),
        ("brain.nii.gz", "brain (7).nii.gz"),
        ("run.2024.gz", "run.2024 (7).gz"),
        ("README", "README (7)"),
        ("Dr. Who is here", "Dr. Who is here (7)"),
        ("x" * 251 + ".txt", "x" * 247 + " (7).txt"),
        ("한" * 85, "한" * 83 + " (7)"),
    ],
)
def test_a_number_comes_before_the_extension(name: str, expected: str) -> None:
    assert numbered(name, 7) == expected


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("", ()),
        ("inbox", ("inbox",)),
        ("jobs/한글 이름/2026", ("jobs", "한글 이름", "2026")),
        (unicodedata.normalize("NFD", "é/é"), ("é", "é")),
        ("/".join("a" * 32), tuple("a" * 32)),
        ("a%2e%2e/b", ("a%2e%2e", "b")),
    ],
)
def test_a_destination_that_is_a_folder(destination: str, expected: tuple[str, ...]) -> None:
    assert safe_folder(destination) == expected


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("../x", "the destination '../x' leads out of the folder"),
        ("a/../../b", "leads out"),
        ("..", "leads out"),
        ("a/./b", "cannot be a folder: '.'"),
        ("/etc", "not relative"),
        ("//host/share", "not relative"),
        ("C:/x", "not relative"),
        ("c:x", "not relative"),
        ("a\\b", "cannot be a folder"),
        ("a\0b", "cannot be a folder"),
        ("a\nb", "cannot be a folder"),
        ("a\ud800", "cannot be a folder"),
        ("a//b", "part without a name"),
        ("a/", "part without a name"),
        (" ", "cannot be a folder"),
        ("a /b", "cannot be a folder"),
        ("a/b.", "cannot be a folder"),
        (".tusserver/tmp", "cannot be a folder"),
        ("~root", "cannot be a folder"),
        ("-rf", "cannot be a folder"),
        ("aux/x", "cannot be a folder"),
        ("a\u202eb", "cannot be a folder"),
        ("/".join("a" * 33), "32 levels"),
        ("a" * 256, "cannot be a folder"),
        ("/".join(["a" * 200] * 6), "1024 bytes"),
    ],
)
def test_a_destination_that_is_refused(destination: str, reason: str) -> None:
    with pytest.raises(NameRefused, match=reason) as refusal:
        safe_folder(destination)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600


@given(HOSTILE)
@settings(max_examples=800, deadline=None)
def test_a_destination_is_refused_or_stays_below_the_root(destination: str) -> None:
    try:
        folder = safe_folder(destination)
    except NameRefused:
        return
    joined = "/".join((ROOT, *folder))
    assert os.path.normpath(joined) == joined
    # Nothing but the composition of characters was changed: no two folders became one.
    assert "/".join(folder) == unicodedata.normalize("NFC", destination)
    assert safe_folder("/".join(folder)) == folder


def expand(
    template: str,
    *,
    owner: str | None = "bob",
    destination: str = "jobs/7",
    filename: str = "scan.tar.gz",
    upload_id: str = "0a1b",
    now: datetime = NOW,
) -> str:
    folders, name = Template(template).expand(
        owner=owner, destination=destination, filename=filename, upload_id=upload_id, now=now
    )
    return "/".join((*folders, name))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{filename}", "scan.tar.gz"),
        ("{owner}/{destination}/{filename}", "bob/jobs/7/scan.tar.gz"),
        ("{date}/{upload_id}-{filename}", "2026-11-24/0a1b-scan.tar.gz"),
        ("in/{year}/{month}/{upload_id}.{extension}", "in/2026/11/0a1b.tar.gz"),
        ("of {owner}/{extension}/{upload_id}", "of bob/tar.gz/0a1b"),
        ("{filename}/{upload_id}", "scan.tar.gz/0a1b"),
    ],
)
def test_a_template_expands_to(template: str, expected: str) -> None:
    assert expand(template) == expected


def test_what_is_empty_leaves_no_trace() -> None:
    template = "{destination}/{extension}/{upload_id}.{extension}"
    assert expand(template, destination="", filename="README") == "0a1b"


def test_the_date_is_that_of_utc() -> None:
    early = datetime(2027, 1, 1, 3, tzinfo=timezone(timedelta(hours=9)))
    assert expand("{date}/{year}/{month}/{filename}", now=early) == "2026-12-31/2026/12/scan.tar.gz"


def test_a_long_file_name_makes_room_for_what_stands_before_it() -> None:
    placed = expand("{upload_id}-{filename}", filename="x" * 251 + ".txt")
    assert placed == "0a1b-" + "x" * 246 + ".txt"


def test_a_long_file_name_can_be_part_of_a_folder() -> None:
    folder, _, name = expand("of {filename}/{filename}", filename="x" * 255).partition("/")
    assert folder == "of " + "x" * 252
    assert name == "x" * 255


def test_an_upload_id_with_slashes_is_one_component() -> None:
    assert expand("{upload_id}/{filename}", upload_id="ab/cd/-e") == "ab%2Fcd%2F-e/scan.tar.gz"
    assert len(expand("{upload_id}", upload_id="a/" * 250)) <= 255


def test_a_destination_that_leads_out_is_refused_when_it_is_used() -> None:
    with pytest.raises(NameRefused, match="leads out"):
        expand("{destination}/{filename}", destination="../x")
    assert expand("{filename}", destination="../x") == "scan.tar.gz"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("", "folder ''"),
        ("/srv/{filename}", "not relative"),
        ("C:{filename}", "not relative"),
        ("../{filename}", r"folder '\.\.'"),
        ("a/./{filename}", r"folder '\.'"),
        ("a//{filename}", "folder ''"),
        ("{filename}/", "folder ''"),
        ("{filename}/data", "does not end in"),
        ("{upload_id}/{date}", "does not end in"),
        ("{user}/{filename}", "field 'user'; there are date, destination"),
        ("{}/{filename}", "field ''"),
        ("{owner!r}/{filename}", "field 'owner!r'"),
        ("{owner/{filename}", "brace"),
        ("{{filename}}", "brace"),
        ("a\\{filename}", "character"),
        ("a\n/{filename}", "character"),
        ("x-{destination}/{filename}", "folder of its own"),
        ("{destination}-{filename}", "folder of its own"),
        ("{owner}{extension}/{filename}", "told apart"),
        ("{owner}{owner}/{filename}", "told apart"),
        (".tusserver/{filename}", "does not work"),
        (".{owner}/{filename}", "does not work"),
        ("~/{filename}", "does not work"),
        ("{owner}./{filename}", "does not work"),
        (".{filename}", "does not work"),
        ("con/{filename}", "does not work"),
        ("x" * 200 + "{owner}/{filename}", "does not work"),
    ],
)
def test_a_template_that_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Template(template)


@pytest.mark.parametrize(
    ("owner", "folder"),
    [
        (None, "anonymous"),
        ("anonymous", "%61nonymous"),
        ("bob", "bob"),
        ("박 지민", "박 지민"),
        ("bob@example.org", "bob@example.org"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".bob", "%2Ebob"),
        ("~bob", "%7Ebob"),
        ("100%", "100%25"),
        ("", "%"),
        ("CON", "%43ON"),
        ("grant:7", "grant%3A7"),
        (unicodedata.normalize("NFD", "é"), "%65%CC%81"),
    ],
)
def test_an_owner_has_a_folder(owner: str | None, folder: str) -> None:
    assert expand("{owner}/{filename}", owner=owner) == f"{folder}/scan.tar.gz"


@given(OWNERS, OWNERS)
@settings(max_examples=400, deadline=None)
def test_different_owners_never_share_a_folder(first: str, second: str) -> None:
    assume(first != second)
    folders = {
        Template("{owner} of {date}/{filename}").expand(
            owner=owner, destination="", filename="", upload_id="0a1b", now=NOW
        )[0]
        for owner in (first, second, None)
    }
    assert len(folders) == 3


def test_long_owners_that_begin_alike_do_not_share_a_folder() -> None:
    placed = {expand("{owner}/x{upload_id}", owner="한" * 100 + end) for end in ("", "a", "b")}
    assert len(placed) == 3
    assert max(map(len, placed)) < 200


@pytest.mark.timeout(300)
@given(OWNERS, HOSTILE, HOSTILE, HOSTILE)
@settings(max_examples=800, deadline=None)
def test_whatever_a_client_says_an_upload_stays_below_the_root(
    owner: str, destination: str, filename: str, upload_id: str
) -> None:
    template = "u {owner}/{destination}/{extension}/{upload_id}/{filename}.{upload_id}"
    try:
        placed = expand(
            template, owner=owner, destination=destination, filename=filename, upload_id=upload_id
        )
    except NameRefused:
        # Nothing else can make an upload fail.
        with pytest.raises(NameRefused):
            safe_folder(destination)
        return
    assert os.path.normpath(f"{ROOT}/{placed}") == f"{ROOT}/{placed}"
    assert placed.startswith("u ")
    for component in placed.split("/"):
        assert safe_name(component) == component


@pytest.mark.parametrize(
    ("folder", "patterns", "expected"),
    [
        ("anything/at/all", [], True),
        ("", [], True),
        ("inbox", ["inbox"], True),
        ("inbox/x", ["inbox"], False),
        ("Inbox", ["inbox"], False),
        ("jobs/7", ["jobs/*"], True),
        ("jobs", ["jobs/*"], False),
        ("jobs/7/8", ["jobs/*"], False),
        ("jobs/7-final", ["jobs/*-final"], True),
        ("jobs/final", ["jobs/*-final"], False),
        ("jobs/abab", ["jobs/a*ab"], True),
        ("shared", ["shared/**"], True),
        ("shared/a/b/c", ["shared/**"], True),
        ("other/shared/a", ["shared/**"], False),
        ("a/b/c/d", ["**/d"], True),
        ("a/d/c", ["**/d"], False),
        ("a/x/b/y/c", ["a/**/b/**/c"], True),
        ("", ["**"], True),
        ("", ["*"], False),
        ("", [""], True),
        ("a", [""], False),
        ("a", ["?"], False),
        ("a", ["[ab]"], False),
        ("é", [unicodedata.normalize("NFD", "é/")], True),
        ("b", ["a", "b"], True),
    ],
)
def test_a_folder_matches_patterns(folder: str, patterns: list[str], expected: bool) -> None:
    assert matches_patterns(safe_folder(folder), patterns) is expected


def test_no_folder_takes_long_to_match() -> None:
    folder = tuple(["-" * 200] * 5)
    assert not matches_patterns(folder, ["/".join(["**", "-*" * 30 + "x"] * 5)])
