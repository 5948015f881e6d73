"""What makes a token believed, and whom it names; keys from files."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.policy.issuer import (
    SigningKey,
    certificate,
    claims,
    private_pem,
    public_jwk,
    public_pem,
    signing_key,
    token,
    token_by_hand,
)
from tusserver.policy.tokens import (
    Identity,
    TokenOptions,
    TokenRefused,
    TokensUnusable,
    TokenVerifier,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = b"0123456789abcdef" * 4


class Clock:
    """Stands still until a test moves it on."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


Make = Callable[..., TokenVerifier]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def with_secret(tmp_path: Path, clock: Clock) -> Make:
    """A verifier of what `SECRET` has signed, with options of the test's own."""

    def make(secret: bytes = SECRET, **options: Any) -> TokenVerifier:
        path = tmp_path / "secret"
        path.write_bytes(secret)
        return TokenVerifier(TokenOptions(secret_file=path, **options), clock=clock)

    return make


@pytest.fixture
def with_key(tmp_path: Path, clock: Clock) -> Make:
    """A verifier of what the owner of a public key has signed."""

    def make(pem: bytes, **options: Any) -> TokenVerifier:
        path = tmp_path / "key.pem"
        path.write_bytes(pem)
        return TokenVerifier(TokenOptions(public_key_file=path, **options), clock=clock)

    return make


def signed(**changes: object) -> str:
    """Signed with the secret, good at NOW but for the changes."""
    return token(SECRET, "HS256", claims(NOW, **changes))


def carrying(payload: bytes) -> str:
    return token(SECRET, "HS256", payload)


async def refusal(verifier: TokenVerifier, text: str) -> str:
    """Why the token is refused; it must be."""
    with pytest.raises(TokenRefused) as caught:
        await verifier.verify(text)
    assert caught.value.error == "invalid_token"
    return str(caught.value)


# Signatures.


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_token_signed_with_the_shared_secret_is_believed(
    with_secret: Make, algorithm: str
) -> None:
    identity = await with_secret().verify(token(SECRET, algorithm, claims(NOW)))
    assert identity == Identity("alice", False, NOW + timedelta(hours=1))
    assert identity.expires_at.tzinfo is UTC


PAIRS = [
    *(("RSA", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    ("P-256", "ES256"),
    ("P-384", "ES384"),
    ("P-521", "ES512"),
    ("secp256k1", "ES256K"),
    ("Ed25519", "EdDSA"),
    ("Ed25519", "Ed25519"),
    ("Ed448", "EdDSA"),
    ("Ed448", "Ed448"),
]


@pytest.mark.parametrize(("kind", "algorithm"), PAIRS)
async def test_a_token_signed_with_the_private_key_is_believed(
    with_key: Make, kind: str, algorithm: str
) -> None:
    key = signing_key(kind)
    text = token(key, algorithm, claims(NOW))
    assert (await with_key(public_pem(key)).verify(text)).user == "alice"
    stranger = token(signing_key(kind, 1), algorithm, claims(NOW))
    assert "signature" in await refusal(with_key(public_pem(key)), stranger)


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
async def test_of_a_certificate_only_the_key_counts(with_key: Make, kind: str) -> None:
    key = signing_key(kind)
    algorithm = {"RSA": "RS256", "P-256": "ES256", "Ed25519": "EdDSA"}[kind]
    assert await with_key(certificate(key)).verify(token(key, algorithm, claims(NOW)))


async def test_white_space_at_the_end_of_the_secret_is_not_part_of_it(with_secret: Make) -> None:
    assert await with_secret(SECRET + b" \r\n").verify(signed())


async def test_a_token_that_was_changed_is_refused(with_secret: Make) -> None:
    head, _, signature = signed().split(".")
    _, payload, _ = signed(sub="root").split(".")
    reason = await refusal(with_secret(), f"{head}.{payload}.{signature}")
    assert reason == "the signature of the token is wrong"


@pytest.mark.parametrize("name", ["none", "None", "nOnE", "", None, ["HS256"], {}, 1])
async def test_a_token_without_a_signature_is_refused(with_secret: Make, name: object) -> None:
    header = {"alg": name} if name is not None else {}
    await refusal(with_secret(), token_by_hand(header, claims(NOW)))
    await refusal(with_secret(), token_by_hand(header, claims(NOW), SECRET))


@pytest.mark.parametrize("strip", [bytes, bytes.strip], ids=["as it is", "stripped"])
async def test_a_public_key_is_not_taken_for_a_shared_secret(
    with_key: Make, strip: Callable[[bytes], bytes]
) -> None:
    pem = public_pem(signing_key("RSA"))
    forged = token_by_hand({"alg": "HS256", "typ": "JWT"}, claims(NOW), strip(pem))
    assert "not accepted" in await refusal(with_key(pem), forged)


async def test_only_the_algorithms_of_the_operator_are_accepted(
    with_key: Make, with_secret: Make
) -> None:
    key = signing_key("RSA")
    verifier = with_key(public_pem(key), algorithms=("PS256", "PS384"))
    assert await verifier.verify(token(key, "PS384", claims(NOW)))
    assert "not accepted" in await refusal(verifier, token(key, "RS256", claims(NOW)))
    with_one = with_secret(algorithms=("HS512",))
    assert "not accepted" in await refusal(with_one, signed())


async def test_a_secret_verifies_only_hashes_that_are_not_longer(with_secret: Make) -> None:
    verifier = with_secret(SECRET[:32])
    assert await verifier.verify(token(SECRET[:32], "HS256", claims(NOW)))
    by_hand = token_by_hand({"alg": "HS512"}, claims(NOW), SECRET[:32], "sha512")
    assert "not accepted" in await refusal(verifier, by_hand)


async def test_the_name_of_the_key_does_not_matter_where_there_is_one(with_secret: Make) -> None:
    assert await with_secret().verify(token(SECRET, "HS256", claims(NOW), kid="2026"))


def _base64(text: bytes) -> str:
    return urlsafe_b64encode(text).rstrip(b"=").decode()


DEEP = b"[" * 5000
GARBAGE = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    "eyJhbGciOiJIUzI1NiJ9",
    "Bearer eyJhbGciOiJIUzI1NiJ9",
    f"{_base64(b'{}')}.{_base64(b'{}')}.",
    f"{_base64(b'[]')}.{_base64(b'{}')}.AAAA",
    f"{_base64(b'null')}.{_base64(b'{}')}.AAAA",
    f"{_base64(DEEP)}.{_base64(b'{}')}.AAAA",
    f"{_base64(bytes(range(255, 200, -1)))}.{_base64(b'{}')}.AAAA",
    token_by_hand({"alg": "HS256", "kid": 7}, claims(NOW), SECRET),
    token_by_hand({"alg": "HS256", "crit": ["exp"], "exp": 1}, claims(NOW), SECRET),
    token_by_hand({"alg": "HS256", "crit": ["b64"], "b64": False}, claims(NOW), SECRET),
    "a.b.c.d.e",
    "ключ.от.двери",
    "\udcff.\udcff.\udcff",
    "\0",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_refused(with_secret: Make, text: str) -> None:
    assert await refusal(with_secret(), text) == "this is not a JSON Web Token"


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'"alice"', b"{", b"\xff\xfe", DEEP, b'{"exp": 1' + b"0" * 5000 + b"}"],
    ids=range(8),
)
async def test_signed_garbage_is_refused(with_secret: Make, payload: bytes) -> None:
    assert await refusal(with_secret(), carrying(payload)) == "this is not a JSON Web Token"


async def test_a_token_longer_than_16_kib_is_refused_unread(with_secret: Make) -> None:
    longest = next(
        text
        for size in range(12_100, 12_300)
        if len(text := signed(filler="a" * size)) in (16 * 1024, 16 * 1024 - 1)
    )
    assert await with_secret().verify(longest)
    reason = await refusal(with_secret(), longest + "aa")
    assert reason == "the token is longer than 16 KiB"
    assert await refusal(with_secret(), "é" * 16 * 1024 + "é") == reason


# When, for whom, from whom.


async def test_a_token_is_believed_until_it_has_expired(with_secret: Make, clock: Clock) -> None:
    verifier, text = with_secret(leeway=10), signed()
    clock.now = NOW + timedelta(hours=1, seconds=9)
    # Each by a verifier that has not seen it before, and by one that has.
    assert await with_secret(leeway=10).verify(text)
    assert await verifier.verify(text)
    clock.now += timedelta(seconds=1)
    assert await refusal(with_secret(leeway=10), text) == "the token has expired"
    assert await refusal(verifier, text) == "the token has expired"
    # Once more: it is not let in by having been refused.
    assert await refusal(verifier, text) == "the token has expired"


async def test_a_token_that_is_not_valid_yet_is_refused(with_secret: Make, clock: Clock) -> None:
    text = signed(nbf=int(NOW.timestamp()) + 60)
    verifier = with_secret(leeway=10)
    assert await refusal(verifier, text) == "the token is not valid yet"
    clock.now += timedelta(seconds=49)
    assert await refusal(verifier, text) == "the token is not valid yet"
    clock.now += timedelta(seconds=1)
    assert await verifier.verify(text)


async def test_times_may_have_fractions(with_secret: Make, clock: Clock) -> None:
    at = NOW.timestamp() + 0.5
    identity = await with_secret().verify(signed(exp=at, nbf=at))
    assert identity.expires_at == NOW + timedelta(seconds=0.5)


async def test_a_token_must_say_when_it_expires(with_secret: Make) -> None:
    reason = await refusal(with_secret(), signed(exp=None))
    assert reason == "the token does not say when it expires"


@pytest.mark.parametrize(
    "exp",
    [
        *("1e400", "NaN", "Infinity", '"1900000000"', "true", "null", "{}", "[1]"),
        *("1900000000000", "1" + "0" * 400),
    ],
)
async def test_an_expiry_that_is_no_time_is_refused(with_secret: Make, exp: str) -> None:
    text = carrying(b'{"sub": "alice", "exp": %s}' % exp.encode())
    assert await refusal(with_secret(), text) == "the time at which the token expires is not one"


@pytest.mark.parametrize("nbf", ["NaN", '"0"', "true", "{}", "1" + "0" * 400])
async def test_a_beginning_that_is_no_time_is_refused(with_secret: Make, nbf: str) -> None:
    exp = int(NOW.timestamp()) + 60
    text = carrying(b'{"sub": "alice", "exp": %d, "nbf": %s}' % (exp, nbf.encode()))
    assert await refusal(with_secret(), text) == "the token is not valid yet"


async def test_a_clock_of_the_issuer_that_is_ahead_does_no_harm(with_secret: Make) -> None:
    assert await with_secret().verify(signed(iat=int(NOW.timestamp()) + 600))


@pytest.mark.parametrize("aud", ["files", ["files"], ["mail", "files"], "backup"])
async def test_a_token_for_one_of_our_audiences_is_believed(with_secret: Make, aud: object) -> None:
    assert await with_secret(audience=("files", "backup")).verify(signed(aud=aud))


@pytest.mark.parametrize(
    "aud", [None, "", "file", "files ", [], ["mail"], 1, {"files": 1}, [["files"]]]
)
async def test_a_token_for_another_audience_is_refused(with_secret: Make, aud: object) -> None:
    reason = await refusal(with_secret(audience=("files",)), signed(aud=aud))
    assert reason == "the token is meant for another audience"


async def test_the_audience_is_not_looked_at_unless_wanted(with_secret: Make) -> None:
    assert await with_secret().verify(signed(aud="mail"))


@pytest.mark.parametrize(
    "iss", [None, "", "https://id.other", "https://id.example/", ["https://id.example"]]
)
async def test_a_token_from_another_issuer_is_refused(with_secret: Make, iss: object) -> None:
    verifier = with_secret(issuer="https://id.example")
    assert await refusal(verifier, signed(iss=iss)) == "the token is from another issuer"
    assert await verifier.verify(signed(iss="https://id.example"))


# Whom it names.


@pytest.mark.parametrize(
    ("carried", "path", "user"),
    [
        ({"sub": "Ünal Öz"}, "sub", "Ünal Öz"),
        ({"sub": 42}, "sub", "42"),
        ({"sub": "a" * 255}, "sub", "a" * 255),
        ({"realm_access": {"user": "bob"}}, "realm_access.user", "bob"),
        ({"https://example.org/user": "bob"}, "https://example.org/user", "bob"),
        ({"a.b": "literal", "a": {"b": "nested"}}, "a.b", "literal"),
        ({"a": {"my.client": {"user": "bob"}}}, "a.my.client.user", "bob"),
        ({"a.b": {"d": "other"}, "a": {"b.c": "bob"}}, "a.b.c", "bob"),
    ],
)
async def test_the_user_is_found_where_the_operator_says(
    with_secret: Make, carried: dict[str, object], path: str, user: str
) -> None:
    verifier = with_secret(user_claim=path)
    assert (await verifier.verify(signed(**{"sub": None, **carried}))).user == user


@pytest.mark.parametrize("sub", [None, "", " ", True, 1.5, ["alice"], {"name": "alice"}])
async def test_a_token_that_names_no_user_is_refused(with_secret: Make, sub: object) -> None:
    reason = await refusal(with_secret(), signed(sub=sub))
    assert reason == "the token has no claim 'sub' that names the user"


@pytest.mark.parametrize("path", ["realm.user", "sub.name", "list.0", ".sub", "sub."])
async def test_a_path_that_leads_nowhere_names_no_user(with_secret: Make, path: str) -> None:
    text = signed(realm={"name": "alice"}, list=["alice"])
    assert "names the user" in await refusal(with_secret(user_claim=path), text)


@pytest.mark.parametrize(
    "sub", ["a" * 256, "a\nb", "a\0", "\x7f", "a\x85b", "a\u2028b", "\ud800", "1" * 256]
)
async def test_a_user_with_an_impossible_name_is_refused(with_secret: Make, sub: str) -> None:
    reason = await refusal(with_secret(), signed(sub=sub))
    assert reason == "the claim 'sub' of the token is not the name of a user"


@pytest.mark.parametrize(
    ("roles", "value", "is_admin"),
    [
        ("admin", "admin", True),
        ("user admin", "admin", True),
        ("the admin", "the admin", True),
        (["user", "admin"], "admin", True),
        (True, "true", True),
        ("true", "true", True),
        ("administrator", "admin", False),
        ("Admin", "admin", False),
        ("user,admin", "admin", False),
        (["administrator", ["admin"], None], "admin", False),
        (["user admin"], "admin", False),
        ({"admin": True}, "admin", False),
        (True, "admin", False),
        (False, "true", False),
        (1, "true", False),
        ([True], "true", False),
        (None, "admin", False),
    ],
)
async def test_who_is_an_admin(
    with_secret: Make, roles: object, value: str, is_admin: bool
) -> None:
    text = signed(realm_access={"roles": roles})
    verifier = with_secret(admin_claim="realm_access.roles", admin_value=value)
    assert (await verifier.verify(text)).is_admin is is_admin


async def test_a_role_may_have_the_name_of_a_url(with_secret: Make) -> None:
    text = signed(**{"https://example.org/roles": ["admin"]})
    verifier = with_secret(admin_claim="https://example.org/roles")
    assert (await verifier.verify(text)).is_admin


async def test_nobody_is_an_admin_unless_a_claim_says_so(with_secret: Make) -> None:
    assert not (await with_secret().verify(signed(admin="admin", roles=["admin"]))).is_admin


@pytest.mark.parametrize(
    ("claim", "size"),
    [(10737418240, 10737418240), ("10737418240", 10737418240), (0, 0), (None, None)],
)
async def test_a_token_may_bound_what_its_user_uploads(
    with_secret: Make, claim: object, size: int | None
) -> None:
    text = signed(limits={"upload": claim})
    verifier = with_secret(max_size_claim="limits.upload")
    assert (await verifier.verify(text)).max_size == size
    assert (await verifier.verify(signed())).max_size is None
    assert (await with_secret().verify(text)).max_size is None


@pytest.mark.parametrize("claim", [-1, True, 1.5, "10GiB", "", "-1", "٣", [1], "1" * 20])
async def test_a_bound_that_cannot_be_read_is_not_none(with_secret: Make, claim: object) -> None:
    verifier = with_secret(max_size_claim="max")
    with pytest.raises(TokenRefused, match="the claim 'max' of the token is not a number of bytes"):
        await verifier.verify(signed(max=claim))


# Tokens that were verified before.


async def test_a_token_is_verified_once(with_secret: Make) -> None:
    verifier, text = with_secret(), signed()
    first = await verifier.verify(text)
    assert await verifier.verify(text) is first
    assert await verifier.verify(signed(jti="2")) is not first
    await verifier.close()


async def test_those_not_used_for_longest_are_forgotten(with_secret: Make) -> None:
    verifier, old, used = with_secret(), signed(jti="old"), signed(jti="used")
    first_used, first_old = await verifier.verify(used), await verifier.verify(old)
    for number in range(1022):
        await verifier.verify(signed(jti=str(number)))
    assert await verifier.verify(used) is first_used
    await verifier.verify(signed(jti="one too many"))
    assert await verifier.verify(used) is first_used
    again = await verifier.verify(old)
    assert again == first_old
    assert again is not first_old


async def test_a_refused_token_takes_no_place(with_secret: Make, clock: Clock) -> None:
    verifier, text = with_secret(), signed()
    first = await verifier.verify(text)
    expired = int(NOW.timestamp()) - 60
    for number in range(1100):
        await refusal(verifier, signed(jti=str(number), exp=expired))
    assert await verifier.verify(text) is first


def test_with_keys_at_hand_nothing_is_waited_for(with_secret: Make) -> None:
    verifier = with_secret()
    for _ in range(2):
        running = verifier.verify(signed())
        with pytest.raises(StopIteration) as finished:
            running.send(None)
        assert finished.value.value.user == "alice"


# What the operator is told.


def unusable(make: Callable[[], object]) -> str:
    with pytest.raises(TokensUnusable) as caught:
        make()
    return str(caught.value)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (b"short", "is 5 bytes long; at least 32"),
        (SECRET[:31] + b"\n", "is 31 bytes long"),
        (b"\n" * 40, "is 0 bytes long"),
        (b"a" * 70_000, "too large"),
        (public_pem(signing_key()), "another kind than a secret"),
        (json.dumps(public_jwk(signing_key())).encode(), "another kind than a secret"),
    ],
    ids=range(6),
)
def test_a_secret_that_is_none_is_reported(with_secret: Make, secret: bytes, reason: str) -> None:
    assert reason in unusable(lambda: with_secret(secret))


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for options in (TokenOptions(secret_file=missing), TokenOptions(public_key_file=missing)):
        reason = unusable(lambda options=options: TokenVerifier(options))  # type: ignore[misc]
        assert reason == f"{missing} cannot be read: No such file or directory"
    assert "Is a directory" in unusable(lambda: TokenVerifier(TokenOptions(secret_file=tmp_path)))


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no public key"),
        (SECRET, "no public key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no public key"),
        (private_pem(signing_key()), "holds a private key"),
        (public_pem(signing_key("RSA-1024")), "has 1024 bits; at least 2048"),
        (public_pem(signing_key("P-224")), "signs no tokens"),
    ],
    ids=range(6),
)
def test_a_key_that_is_none_is_reported(with_key: Make, pem: bytes, reason: str) -> None:
    assert reason in unusable(lambda: with_key(pem))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (signing_key("RSA"), "ES256"),
        (signing_key("RSA"), "HS256"),
        (signing_key("RSA"), "none"),
        (signing_key("P-384"), "ES256"),
        (signing_key("Ed25519"), "Ed448"),
    ],
)
def test_an_algorithm_that_does_not_fit_the_key_is_reported(
    with_key: Make, key: SigningKey, algorithm: str
) -> None:
    make = lambda: with_key(public_pem(key), algorithms=(algorithm,))  # noqa: E731
    assert f"the algorithm {algorithm} does not fit the key" in unusable(make)


@pytest.mark.parametrize("algorithm", ["RS256", "none", "hs256", "HS1"])
def test_an_algorithm_that_does_not_fit_a_secret_is_reported(
    with_secret: Make, algorithm: str
) -> None:
    reason = unusable(lambda: with_secret(algorithms=("HS256", algorithm)))
    assert f"{algorithm} does not fit the secret" in reason


def test_a_secret_that_is_too_short_for_the_algorithm_is_reported(with_secret: Make) -> None:
    reason = unusable(lambda: with_secret(SECRET[:40], algorithms=("HS512",)))
    assert "HS512 needs a secret of 64 bytes" in reason


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"secret_file": Path("a"), "jwks_url": "https://id.example/keys"},
        {"secret_file": Path("a"), "public_key_file": Path("b")},
        {"secret_file": Path("a"), "leeway": -1.0},
        {"secret_file": Path("a"), "leeway": float("nan")},
        {"secret_file": Path("a"), "user_claim": ""},
        {"secret_file": Path("a"), "admin_claim": ""},
        {"secret_file": Path("a"), "max_size_claim": ""},
        {"secret_file": Path("a"), "admin_claim": "roles", "admin_value": ""},
    ],
)
def test_options_that_contradict_themselves_are_no_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"exactly one|leeway|not empty"):
        TokenOptions(**options)


@pytest.mark.parametrize("package", ["jwt", "cryptography"])
def test_a_missing_package_is_reported_only_when_tokens_are_verified(package: str) -> None:
    program = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
from tusserver.policy.tokens import TokenOptions, TokensUnusable, TokenVerifier
try:
    TokenVerifier(TokenOptions(secret_file=Path("missing")))
except TokensUnusable as error:
    sys.stdout.write(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert package in done.stdout
    assert done.stdout.endswith("pip install 'tusserver[jwt]'")
