"""Who may do what: each verb for each kind of caller, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from tests.servers import serving
from tests.tus import OCTETS, VERSION, Tus, chunked_headers
from tests.wire import Answer, chunked
from tusserver import create_app
from tusserver.policy.access import Inquiry
from tusserver.policy.grants import Signer, new_grant
from tusserver.protocol.access import Caller, Verb
from tusserver.protocol.refusals import Forbidden
from tusserver.settings import SettingsError

SECRET = b"a secret of thirty-two bytes at the least"
SIGNING = b"another secret of thirty-two bytes at the least"
SIGNER = Signer(SIGNING)
AUDIENCE = "portal"
SOON, PAST = int(time.time()) + 3600, int(time.time()) - 60


def token(user: str = "alice", **claims: object) -> str:
    full = {"sub": user, "exp": SOON, "aud": AUDIENCE, **claims}
    return jwt.encode(full, SECRET, "HS256")


def bearer(user: str = "alice", **claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, **claims)}"}


ALICE = bearer()


@dataclass(frozen=True)
class Site:
    """A server that asks for tokens, with uploads of Alice."""

    tus: Tus
    uploads: Path
    part: str
    finished: str

    def files(self) -> dict[str, int]:
        """Every file of the store with its size."""
        return {str(path): path.stat().st_size for path in self.uploads.rglob("*")
                if path.is_file() and ".tusserver" not in path.parts}  # fmt: skip

    def ask(self, verb: Verb, url: str, headers: dict[str, str], query: str = "") -> Answer:
        """One request that would succeed if it were allowed. `url` is what it is about."""
        about = f"{url}?{query}" if query else url
        creation = f"{self.tus.creation}?{query}" if query else self.tus.creation
        headers = {**VERSION, **headers}
        match verb:
            case Verb.CREATE:
                body = {**headers, **OCTETS, "Upload-Length": "9", "Content-Length": "5"}
                return self.tus.request("POST", creation, body, b"hello")
            case Verb.JOIN:
                final = {**headers, "Upload-Concat": f"final;{self.part}"}
                return self.tus.request("POST", creation, {**final, "Content-Length": "0"})
            case Verb.PATCH:
                body = {**headers, **OCTETS, "Upload-Offset": "3", "Content-Length": "5"}
                return self.tus.request("PATCH", about, body, b"hello")
            case _:
                return self.tus.request(verb.value.upper(), about, headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "secret").write_bytes(SECRET + b"\n")
    (directory / "signing").write_bytes(SIGNING)
    uploads = directory / "uploads"
    with serving(
        uploads,
        jwt_secret_file=directory / "secret",
        jwt_audience=(AUDIENCE,),
        jwt_admin_claim="roles",
        jwt_cookie="portal_token",
        signing_secret_file=directory / "signing",
    ) as tus:
        part = made(tus, b"part", {"Upload-Concat": "partial"})
        yield Site(tus, uploads, part, made(tus, b"finished"))


def made(tus: Tus, data: bytes, headers: dict[str, str] | None = None) -> str:
    """A finished upload of Alice."""
    answer = tus.post({**ALICE, **OCTETS, "Upload-Length": str(len(data)), **(headers or {})}, data)
    assert answer.status == 201, answer
    return tus.location(answer)


def begun(site: Site) -> str:
    """An upload of Alice with three of eight bytes."""
    answer = site.tus.post({**ALICE, **OCTETS, "Upload-Length": "8"}, b"123")
    assert (answer.status, answer["Upload-Offset"]) == (201, "3")
    return site.tus.location(answer)


GOOD = {
    Verb.CREATE: 201, Verb.HEAD: 200, Verb.PATCH: 204, Verb.DELETE: 204, Verb.GET: 200,
    Verb.JOIN: 201,
}  # fmt: skip
NOBODY = {
    "no token": {},
    "no token at all": {"Authorization": "Bearer "},
    "another scheme": {"Authorization": "Basic YWxpY2U6eA=="},
    "bad": {"Authorization": "Bearer nonsense"},
    "bad signature": {"Authorization": f"Bearer {token()[:-4]}AAAA"},
    "expired": bearer(exp=PAST),
    "wrong audience": bearer(aud="elsewhere"),
    "another's cookie": {"Cookie": f"other={token()}"},
    "posing as a signed URL": bearer("grant:abc"),
}
SOMEBODY = {
    "owner": ALICE,
    "owner by cookie": {"Cookie": f'a=b; portal_token="{token()}"; c=d'},
    "admin": bearer("root", roles=["user", "admin"]),
}


@pytest.mark.parametrize("caller", list(NOBODY))
@pytest.mark.parametrize("verb", list(Verb))
def test_who_cannot_be_told_is_refused_before_anything_is_stored(
    site: Site, verb: Verb, caller: str
) -> None:
    url = site.finished if verb is Verb.GET else begun(site)
    before = site.files()
    answer = site.ask(verb, url, NOBODY[caller])
    assert answer.status == 401, answer
    assert answer["WWW-Authenticate"].startswith('Bearer realm="tusserver"')
    assert ("error=" in answer["WWW-Authenticate"]) == (caller in {
        "bad", "bad signature", "expired", "wrong audience", "posing as a signed URL"})  # fmt: skip
    assert site.files() == before


@pytest.mark.parametrize("caller", list(SOMEBODY))
@pytest.mark.parametrize("verb", list(Verb))
def test_owners_and_admins_may_do_everything(site: Site, verb: Verb, caller: str) -> None:
    url = site.finished if verb is Verb.GET else begun(site)
    answer = site.ask(verb, url, SOMEBODY[caller])
    assert answer.status == GOOD[verb], answer


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.CREATE])
def test_other_users_may_do_nothing_with_an_upload(site: Site, verb: Verb) -> None:
    url = site.finished if verb is Verb.GET else begun(site)
    before = site.files()
    answer = site.ask(verb, url, bearer("bob"))
    assert answer.status == 403, answer
    assert site.files() == before
    assert site.ask(Verb.CREATE, url, bearer("bob")).status == 201


@pytest.mark.parametrize("verb", [Verb.HEAD, Verb.PATCH, Verb.DELETE, Verb.GET])
def test_a_signed_url_allows_its_verbs_on_its_upload(site: Site, verb: Verb) -> None:
    url = site.finished if verb is Verb.GET else begun(site)
    upload_id = url.rpartition("/")[2]
    before = site.files()
    signed = SIGNER.sign(new_grant(PAST, upload_id=upload_id, verbs=(verb,)))
    answer = site.ask(verb, url, {}, signed)
    assert answer.status == 401
    assert "time of this signed URL is over" in answer["WWW-Authenticate"]
    others = tuple(each for each in Verb if each is not verb)
    for grant in (
        new_grant(SOON, upload_id=upload_id, verbs=others),
        new_grant(SOON, upload_id="f" * 32, verbs=(verb,)),
        new_grant(SOON, verbs=(verb,)),
    ):
        assert site.ask(verb, url, {}, SIGNER.sign(grant)).status == 403
    signed = SIGNER.sign(new_grant(SOON, upload_id=upload_id, verbs=(verb,)))
    other_bytes = (signed[:-3] + "AAA", signed.replace("=e", "=f", 1))
    for broken in (*other_bytes, f"{signed}&{signed}", "grant="):
        assert site.ask(verb, url, {}, broken).status == 401
    stranger = Signer(b"x" * 40).sign(new_grant(SOON, upload_id=upload_id, verbs=(verb,)))
    assert site.ask(verb, url, {}, stranger).status == 401
    assert site.files() == before
    assert site.ask(verb, url, {}, signed).status == GOOD[verb]


def test_a_signed_url_to_create_leads_to_a_whole_upload(site: Site) -> None:
    """The client has nothing but URLs; the one of its upload is signed as well."""
    query = SIGNER.sign(new_grant(SOON))
    answer = site.ask(Verb.CREATE, "", {}, query)
    assert answer.status == 201
    location = urlsplit(answer["Location"])
    assert location.query.startswith("grant=")
    url = f"{location.path}?{location.query}"
    assert site.tus.pa(url, 5, b"data").status == 204
    assert site.tus.off(url) == 9
    assert site.tus.hd(location.path).status == 401
    # It is bound to that upload: another one cannot be had with it, nor created.
    assert site.ask(Verb.HEAD, begun(site), {}, location.query).status == 403
    assert site.ask(Verb.CREATE, "", {}, location.query).status == 403
    assert site.tus.get(url).status == 403, "to fetch it was not allowed"


def test_what_a_signed_url_creates_belongs_to_the_owner_that_it_names(site: Site) -> None:
    answer = site.ask(Verb.CREATE, "", {}, SIGNER.sign(new_grant(SOON, owner="alice")))
    url = site.tus.location(answer)
    assert site.ask(Verb.HEAD, url, ALICE).status == 200
    assert site.ask(Verb.HEAD, url, bearer("bob")).status == 403


def test_parts_made_under_one_signed_url_are_joined_under_it(site: Site) -> None:
    query = SIGNER.sign(new_grant(SOON))
    target = f"{site.tus.creation}?{query}"
    urls = []
    for data in (b"hello ", b"world"):
        headers = {**VERSION, **OCTETS, "Upload-Concat": "partial",
                   "Upload-Length": str(len(data)), "Content-Length": str(len(data))}  # fmt: skip
        urls.append(site.tus.request("POST", target, headers, data)["Location"])
    final = {**VERSION, "Upload-Concat": f"final;{' '.join(urls)}", "Content-Length": "0"}
    assert site.tus.request("POST", target, final).status == 201
    stranger = f"{site.tus.creation}?{SIGNER.sign(new_grant(SOON))}"
    assert site.tus.request("POST", stranger, final).status == 403


def test_an_upload_without_an_owner_is_for_admins(site: Site) -> None:
    url = begun(site)
    record = site.uploads / f"{url.rpartition('/')[2]}.info"
    record.write_text(record.read_text().replace('"owner":"alice"', '"owner":null'))
    assert site.ask(Verb.HEAD, url, ALICE).status == 403
    assert site.ask(Verb.HEAD, url, SOMEBODY["admin"]).status == 200


def test_what_does_not_exist_is_missing_for_everybody_who_has_a_token(site: Site) -> None:
    nowhere = f"{site.tus.creation}{'0' * 32}"
    assert site.ask(Verb.HEAD, nowhere, bearer("bob")).status == 404
    assert site.ask(Verb.HEAD, nowhere, {}).status == 401


def test_options_needs_no_token(site: Site) -> None:
    assert site.tus.options().status == 200


def test_a_refused_body_is_not_waited_for(site: Site) -> None:
    url = begun(site)
    with site.tus.begin_patch(url, 3, 5, bearer("bob")) as wire:
        assert wire.answer("PATCH").status == 403
    assert site.ask(Verb.HEAD, url, ALICE)["Upload-Offset"] == "3"


def test_an_application_may_have_a_check_of_its_own(tmp_path: Path) -> None:
    seen = []

    async def check(inquiry: Inquiry) -> Caller | None:
        await asyncio.sleep(0)
        seen.append((inquiry.method, inquiry.target, inquiry.query))
        if inquiry.header(b"x-user") == "mallory":
            raise Forbidden("Mallory has been here before")
        user = inquiry.header(b"x-user")
        return None if user is None else Caller(user)

    with serving(tmp_path, check=check) as tus:
        assert tus.post({"Upload-Length": "5"}).status == 401
        refused = tus.post({"Upload-Length": "5", "X-User": "mallory"})
        assert (refused.status, b"Mallory" in refused.body) == (403, True)
        url = tus.mk(5, {"X-User": "alice"})
        assert tus.request("HEAD", f"{url}?a=b", {**VERSION, "X-User": "bob"}).status == 403
        assert tus.request("HEAD", url, {**VERSION, "X-User": "alice"}).status == 200
    upload_id = url.rpartition("/")[2]
    assert ("HEAD", upload_id, "a=b") in seen
    assert ("POST", "", "") in seen


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Tus]:
    """A server that takes 100 bytes, and less of those whose token says so."""
    (tmp_path / "secret").write_bytes(SECRET)
    with serving(
        tmp_path / "up",
        jwt_secret_file=tmp_path / "secret",
        jwt_max_size_claim="limits.upload",
        max_size=100,
    ) as tus:
        yield tus


SMALL = bearer(limits={"upload": 10})


@pytest.mark.parametrize(
    ("headers", "bound"),
    [(SMALL, 10), (ALICE, 100), (bearer(limits={"upload": "200"}), 100)],
    ids=["less", "no claim", "more"],
)
def test_a_token_may_bound_the_length_of_an_upload(
    bounded: Tus, headers: dict[str, str], bound: int
) -> None:
    assert bounded.post({**headers, "Upload-Length": str(bound)}).status == 201
    answer = bounded.post({**headers, "Upload-Length": str(bound + 1)})
    assert (answer.status, b"ERR_MAX_SIZE_EXCEEDED" in answer.body) == (413, True)
    assert f"longer than the {bound} bytes".encode() in answer.body


def test_such_a_bound_holds_for_a_length_that_is_told_later(bounded: Tus) -> None:
    answer = bounded.post({**SMALL, "Upload-Defer-Length": "1"})
    url = bounded.location(answer)
    declared = bounded.pa(url, 0, b"x", {**SMALL, "Upload-Length": "11"})
    assert (declared.status, b"ERR_MAX_SIZE_EXCEEDED" in declared.body) == (413, True)
    assert bounded.pa(url, 0, b"x" * 11, SMALL).status == 413
    chunks = chunked_headers(0, SMALL)
    assert bounded.request("PATCH", url, chunks, chunked(b"x" * 11)).status == 413
    head = bounded.request("HEAD", url, {**VERSION, **SMALL})
    assert head["Upload-Offset"] == "10", "what fits is kept"
    with_bytes = {**SMALL, **OCTETS, "Upload-Defer-Length": "1"}
    assert bounded.post(with_bytes, b"x" * 11).status == 413


def test_such_a_bound_holds_for_the_sum_of_parts(bounded: Tus) -> None:
    partial = {**SMALL, **OCTETS, "Upload-Concat": "partial"}
    made = [
        bounded.post({**partial, "Upload-Length": str(len(data))}, data)
        for data in (b"x" * 6, b"y" * 5)
    ]
    parts = [bounded.location(answer) for answer in made]
    unknown = bounded.location(bounded.post({**partial, "Upload-Defer-Length": "1"}))

    def join(*urls: str) -> int:
        return bounded.post({**SMALL, "Upload-Concat": f"final;{' '.join(urls)}"}).status

    assert join(*parts) == 413
    assert join(unknown) == 400, "nobody knows what it will come to"
    assert join(parts[0]) == 201


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"signing_secret_file": Path("missing")}, "signing-secret-file: missing cannot be read"),
        ({"jwt_secret_file": Path("missing")}, "jwt: "),
        ({"jwt_secret_file": Path("a"), "jwt_jwks_url": "https://b"}, "give one of"),
    ],
    ids=["signing", "jwt", "both"],
)
def test_keys_that_cannot_be_used_are_told_at_the_start(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        create_app(upload_dir=tmp_path, **values)


def test_a_short_secret_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    with pytest.raises(SettingsError, match="holds 5 bytes; a secret has 32 at least"):
        create_app(upload_dir=tmp_path, signing_secret_file=tmp_path / "secret")
