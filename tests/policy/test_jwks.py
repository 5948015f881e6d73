"""Keys that an issuer publishes: which are used, and when they are fetched."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.policy.issuer import (
    JwksServer,
    SigningKey,
    claims,
    private_jwk,
    public_jwk,
    public_pem,
    signing_key,
    token,
    token_by_hand,
)
from tusserver.policy.tokens import (
    JwksTiming,
    KeysUnavailable,
    TokenOptions,
    TokenRefused,
    TokensUnusable,
    TokenVerifier,
)

pytestmark = pytest.mark.anyio

OLD, NEW = signing_key("P-256", 0), signing_key("P-256", 1)
IMPATIENT = JwksTiming(cooldown=0, retry=0, timeout=5)
PATIENT = JwksTiming(lifespan=300, cooldown=30, retry=10, timeout=5)


class Monotonic:
    """Stands still until a test moves it on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with JwksServer(public_jwk(OLD, "old")) as server:
        yield server


@pytest.fixture
def time() -> Monotonic:
    return Monotonic()


Make = Callable[..., TokenVerifier]
Publish = Callable[[SigningKey, str], dict[str, object]]


@pytest.fixture
async def verifying(server: JwksServer, time: Monotonic) -> AsyncIterator[Make]:
    """Makes verifiers that fetch from the server and are closed at the end."""
    made = []

    def make(timing: JwksTiming = PATIENT, **options: Any) -> TokenVerifier:
        whole = TokenOptions(**{"jwks_url": server.url, **options})
        made.append(TokenVerifier(whole, timing=replace(timing, monotonic=time)))
        return made[-1]

    yield make
    for verifier in made:
        await verifier.close()


def signed(key: SigningKey = OLD, kid: str | None = "old", **changes: object) -> str:
    return token(key, "ES256", claims(None, **changes), kid=kid)


async def is_believed(verifier: TokenVerifier, text: str) -> bool:
    try:
        await verifier.verify(text)
    except TokenRefused:
        return False
    return True


def is_believed_at_once(verifier: TokenVerifier, text: str) -> bool:
    """Whether it is without waiting for anything, be it a thread or the network."""
    running = verifier.verify(text)
    try:
        running.send(None)
    except StopIteration:
        return True
    running.close()
    return False


async def requests(server: JwksServer, number: int) -> None:
    """Returns when so many have come in."""
    await asyncio.to_thread(server.wait_for_requests, number)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# Which keys are used.


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "RS256"),
        ("RSA", "PS512"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
        ("Ed448", "EdDSA"),
    ],
)
@pytest.mark.parametrize("published", [public_jwk, private_jwk])
async def test_a_token_signed_with_a_published_key_is_believed(
    server: JwksServer, verifying: Make, kind: str, algorithm: str, published: Publish
) -> None:
    key = signing_key(kind)
    server.publish(published(OLD, "other"), published(key, "this"))
    assert await is_believed(verifying(), token(key, algorithm, claims(), kid="this"))
    stranger = token(signing_key(kind, 1), algorithm, claims(), kid="this")
    assert not await is_believed(verifying(), stranger)


async def test_a_key_may_be_bound_to_one_algorithm(server: JwksServer, verifying: Make) -> None:
    key = signing_key("RSA")
    server.publish(public_jwk(key, "1", alg="RS512"))
    verifier = verifying()
    assert await is_believed(verifier, token(key, "RS512", claims(), kid="1"))
    assert not await is_believed(verifier, token(key, "RS256", claims(), kid="1"))


async def test_only_the_algorithms_of_the_operator_are_accepted(
    server: JwksServer, verifying: Make
) -> None:
    key = signing_key("RSA")
    server.publish(public_jwk(key, "1"), public_jwk(OLD, "old"))
    verifier = verifying(algorithms=("RS512",))
    assert await is_believed(verifier, token(key, "RS512", claims(), kid="1"))
    assert not await is_believed(verifier, token(key, "RS256", claims(), kid="1"))
    assert not await is_believed(verifier, signed())


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES999"])
async def test_published_keys_are_no_secrets(verifying: Make, algorithm: str) -> None:
    with pytest.raises(TokensUnusable, match=f"{algorithm} does not fit a public key"):
        verifying(algorithms=("ES256", algorithm))


async def test_a_published_secret_is_not_used(server: JwksServer, verifying: Make) -> None:
    secret = b"0123456789abcdef" * 2
    jwk = {"kty": "oct", "kid": "old", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}
    server.publish(jwk, {**jwk, "alg": "HS256"}, public_jwk(OLD, "new"))
    forged = token(secret, "HS256", claims(), kid="old")
    assert not await is_believed(verifying(), forged)


async def test_a_published_key_is_not_taken_for_a_secret(verifying: Make) -> None:
    for alg in ("HS256", "none"):
        forged = token_by_hand({"alg": alg, "kid": "old"}, claims(), public_pem(OLD))
        assert not await is_believed(verifying(), forged)


UNFIT: list[object] = [
    public_jwk(OLD, "old", use="enc"),
    public_jwk(OLD, "old", key_ops=["encrypt"]),
    public_jwk(OLD, "old", key_ops="verify"),
    public_jwk(OLD, "old", alg="ES384"),
    public_jwk(OLD, "old", alg=["ES256"]),
    public_jwk(OLD, "old", crv="P-384"),
    public_jwk(OLD, "old", crv=[]),
    public_jwk(OLD, "old", x=None),
    public_jwk(OLD, "old", x=1),
    public_jwk(OLD, "old", x="ü"),
    public_jwk(OLD, "old", y="AAAA"),
    public_jwk(OLD, "old", kty="RSA"),
    public_jwk(OLD, "old", kty=["EC"]),
    {**public_jwk(OLD), "kid": 1},
    public_jwk(signing_key("RSA-1024"), "old"),
    public_jwk(signing_key("RSA"), "old", n="AAAA"),
    public_jwk(signing_key("RSA"), "old", e=None),
    public_jwk(signing_key("Ed25519"), "old", x="AAAA"),
    None,
    [],
    "old",
]


@pytest.mark.parametrize("jwk", UNFIT, ids=range(len(UNFIT)))
async def test_keys_that_can_verify_nothing_are_passed_over(
    server: JwksServer, verifying: Make, jwk: object
) -> None:
    server.publish(jwk, public_jwk(NEW, "new"))
    verifier = verifying()
    assert not await is_believed(verifier, signed())
    assert await is_believed(verifier, signed(NEW, "new"))


async def test_a_key_is_found_without_its_name(server: JwksServer, verifying: Make) -> None:
    # A token that names none may be signed with any, and a key that has none may be any.
    server.publish(public_jwk(OLD, "old"), public_jwk(NEW, "new"))
    verifier = verifying()
    assert await is_believed(verifier, signed(NEW, None))
    assert await is_believed(verifier, signed(OLD, None))
    server.publish(public_jwk(OLD, None), public_jwk(NEW, None))
    assert await is_believed(verifying(), signed(NEW, "new"))


async def test_two_keys_may_have_one_name(server: JwksServer, verifying: Make) -> None:
    key = signing_key("RSA")
    server.publish(public_jwk(key, "1"), public_jwk(OLD, "1"), public_jwk(NEW, "1"))
    assert await is_believed(verifying(), signed(NEW, "1"))


async def test_a_name_of_another_key_does_not_help(server: JwksServer, verifying: Make) -> None:
    server.publish(public_jwk(OLD, "old"), public_jwk(NEW, "new"))
    assert not await is_believed(verifying(), signed(NEW, "old"))
    assert server.requests == 1


# When they are fetched.


async def test_nothing_is_fetched_before_a_token_comes(server: JwksServer, verifying: Make) -> None:
    verifying()
    assert server.requests == 0


async def test_keys_are_fetched_once(server: JwksServer, verifying: Make, time: Monotonic) -> None:
    verifier = verifying()
    for number in range(50):
        assert await is_believed(verifier, signed(jti=str(number)))
    time.seconds += 299
    assert await is_believed(verifier, signed())
    assert server.requests == 1


async def test_many_that_come_at_once_wait_for_one_fetch(
    server: JwksServer, verifying: Make
) -> None:
    verifier = verifying()
    server.answers.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(verifier.verify(signed(jti=str(n)))) for n in range(50)]
        await requests(server, 1)
        server.answers.set()
    assert {task.result().user for task in tasks} == {"alice"}
    assert server.requests == 1


async def test_a_request_that_is_given_up_does_not_end_the_fetch_of_the_others(
    server: JwksServer, verifying: Make
) -> None:
    verifier = verifying()
    server.answers.clear()
    first = asyncio.create_task(verifier.verify(signed()))
    await requests(server, 1)
    second = asyncio.create_task(verifier.verify(signed()))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    server.answers.set()
    assert (await second).user == "alice"
    assert server.requests == 1


async def test_old_keys_are_fetched_again_in_the_background(
    server: JwksServer, verifying: Make, time: Monotonic
) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    server.publish(public_jwk(NEW, "new"))
    server.answers.clear()
    time.seconds += 300
    for _ in range(5):
        assert is_believed_at_once(verifier, signed())
    await requests(server, 2)
    server.answers.set()
    assert await is_believed(verifier, signed(NEW, "new"))
    # What a withdrawn key has signed is not believed any more, though it was before.
    assert not await is_believed(verifier, signed())
    assert server.requests == 3


async def test_keys_that_nobody_used_for_long_are_not_trusted(
    server: JwksServer, verifying: Make, time: Monotonic
) -> None:
    verifier, text = verifying(), signed()
    assert await is_believed(verifier, text)
    server.publish(public_jwk(NEW, "new"))
    time.seconds += 600
    assert not await is_believed(verifier, text)


async def test_a_token_stays_verified_when_the_same_keys_are_fetched_again(
    server: JwksServer, verifying: Make, time: Monotonic
) -> None:
    verifier, text = verifying(), signed()
    first = await verifier.verify(text)
    time.seconds += 600
    assert await verifier.verify(text) is first
    assert server.requests == 2


async def test_a_new_key_is_fetched_when_a_token_names_it(
    server: JwksServer, verifying: Make
) -> None:
    verifier, text = verifying(), signed()
    assert await is_believed(verifier, text)
    server.publish(public_jwk(NEW, "new"))
    assert await is_believed(verifier, signed(NEW, "new"))
    assert not await is_believed(verifier, text)
    assert server.requests == 2


async def test_a_new_key_without_a_name_is_fetched_as_well(
    server: JwksServer, verifying: Make
) -> None:
    server.publish(public_jwk(OLD, None))
    verifier = verifying()
    assert await is_believed(verifier, signed(kid=None))
    server.publish(public_jwk(NEW, None))
    assert await is_believed(verifier, signed(NEW, None))


async def test_unknown_keys_cannot_keep_the_issuer_busy(
    server: JwksServer, verifying: Make, time: Monotonic
) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    for number in range(20):
        assert not await is_believed(verifier, signed(NEW, f"unknown {number}"))
    assert server.requests == 2
    server.publish(public_jwk(NEW, "new"))
    time.seconds += 29
    assert not await is_believed(verifier, signed(NEW, "new"))
    assert server.requests == 2
    time.seconds += 1
    assert await is_believed(verifier, signed(NEW, "new"))
    assert server.requests == 3


async def test_many_with_a_new_key_wait_for_one_fetch(server: JwksServer, verifying: Make) -> None:
    verifier = verifying(IMPATIENT)
    assert await is_believed(verifier, signed())
    server.publish(public_jwk(NEW, "new"))
    server.answers.clear()
    async with asyncio.TaskGroup() as group:
        texts = [signed(NEW, "new", jti=str(number)) for number in range(20)]
        tasks = [group.create_task(verifier.verify(text)) for text in texts]
        await requests(server, 2)
        server.answers.set()
    assert len([task.result() for task in tasks]) == 20
    assert server.requests == 2


# When the issuer fails.


async def test_without_any_key_a_token_is_not_refused_but_put_off(
    server: JwksServer, verifying: Make, time: Monotonic
) -> None:
    verifier = verifying()
    server.stop()
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await verifier.verify(signed())
    server.start()
    # It is not asked again at once, or a dead one would slow down every request.
    with pytest.raises(KeysUnavailable):
        await verifier.verify(signed())
    assert server.requests == 0
    time.seconds += 10
    assert await is_believed(verifier, signed())


async def test_a_dead_issuer_leaves_the_last_keys_in_use(
    server: JwksServer, verifying: Make, time: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = verifying()
    with caplog.at_level(logging.INFO, "tusserver"):
        assert await is_believed(verifier, signed())
        server.stop()
        for number in range(5):
            time.seconds += 86_400
            assert await is_believed(verifier, signed(jti=str(number)))
            assert not await is_believed(verifier, signed(NEW, "new"))
        assert len(caplog.messages) == 1
        assert "the last ones that were fetched stay in use" in caplog.text
        server.start()
        server.publish(public_jwk(NEW, "new"))
        time.seconds += 600
        assert await is_believed(verifier, signed(NEW, "new"))
        assert "are to be had again" in caplog.messages[1]
        server.stop()
        time.seconds += 600
        assert await is_believed(verifier, signed(NEW, "new"))
        assert len(caplog.messages) == 3


async def test_a_dead_issuer_is_asked_again_now_and_then(
    server: JwksServer, verifying: Make, time: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    server.status = 503
    time.seconds += 300
    assert await is_believed(verifier, signed())
    await until(lambda: "it answered with 503" in caplog.text)
    time.seconds += 9
    tasks = asyncio.all_tasks()
    assert await is_believed(verifier, signed())
    assert asyncio.all_tasks() == tasks
    time.seconds += 1
    assert await is_believed(verifier, signed())
    await requests(server, 3)


@pytest.mark.parametrize("is_first", [True, False])
async def test_an_issuer_that_does_not_answer_is_given_up(
    server: JwksServer, verifying: Make, time: Monotonic, is_first: bool
) -> None:
    verifier = verifying(replace(PATIENT, timeout=0.2))
    if not is_first:
        assert await is_believed(verifier, signed())
        time.seconds += 600
    server.answers.clear()
    async with asyncio.timeout(10):
        if is_first:
            with pytest.raises(KeysUnavailable):
                await verifier.verify(signed())
        else:
            assert await is_believed(verifier, signed())


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "the answer takes too long"),
        (b"HTTP/1.1 200 OK\r\nX-Header: ", "no answer within 0.2 seconds"),
    ],
    ids=["body", "head"],
)
async def test_an_issuer_that_never_ends_is_given_up(
    verifying: Make, caplog: pytest.LogCaptureFixture, head: bytes, reason: str
) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        with suppress(ConnectionError), closing(writer):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    dripping = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = dripping.sockets[0].getsockname()[1]
    verifier = verifying(replace(PATIENT, timeout=0.2), jwks_url=f"http://127.0.0.1:{port}/")
    async with dripping, asyncio.timeout(10):
        with pytest.raises(KeysUnavailable):
            await verifier.verify(signed())
    assert reason in caplog.text


ANSWERS = [
    (404, b"", "it answered with 404"),
    (500, b"{}", "it answered with 500"),
    (200, b"", "did not answer with JSON"),
    (200, b"<html>", "did not answer with JSON"),
    (200, b"[" * 5000, "did not answer with JSON"),
    (200, b"[]", "not answer with a JSON Web Key Set"),
    (200, b'{"keys": {}}', "not answer with a JSON Web Key Set"),
    (200, b" " * (1024 * 1024 + 1), "longer than 1048576 bytes"),
]


@pytest.mark.parametrize(("status", "document", "reason"), ANSWERS, ids=range(len(ANSWERS)))
async def test_an_answer_that_holds_no_keys_changes_nothing(
    server: JwksServer,
    verifying: Make,
    time: Monotonic,
    caplog: pytest.LogCaptureFixture,
    status: int,
    document: bytes,
    reason: str,
) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    server.status, server.document = status, document
    time.seconds += 600
    assert await is_believed(verifier, signed())
    assert reason in caplog.text
    with pytest.raises(KeysUnavailable):
        await verifying().verify(signed())


async def test_a_redirect_is_not_followed(server: JwksServer, verifying: Make) -> None:
    with JwksServer() as other:
        other.status, other.headers = 302, {"Location": server.url}
        with pytest.raises(KeysUnavailable):
            await verifying(jwks_url=other.url).verify(signed())
    assert server.requests == 0


@pytest.mark.parametrize(
    "keys",
    [[], [{"kty": "oct", "k": "AAAA"}], [public_jwk(signing_key("RSA-1024"))]],
    ids=["none", "a secret", "too short"],
)
async def test_an_issuer_that_withdraws_all_keys_is_obeyed(
    server: JwksServer,
    verifying: Make,
    time: Monotonic,
    caplog: pytest.LogCaptureFixture,
    keys: list[object],
) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    server.publish(*keys)
    time.seconds += 600
    with pytest.raises(KeysUnavailable):
        await verifier.verify(signed())
    assert "tokens cannot be verified" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://id.example/keys",
        "data:application/json,{}",
        "//id.example/keys",
        "https:///keys",
        "https://id.example:port/keys",
        "https://[::1/keys",
        "https://id.example/ke ys",
        "https://id.example/keys\n",
        "keys",
        "",
    ],
)
async def test_only_an_address_of_the_web_will_do(url: str) -> None:
    with pytest.raises(TokensUnusable, match="not an http or https URL"):
        TokenVerifier(TokenOptions(jwks_url=url))


# The end.


async def test_closing_ends_a_fetch_that_is_under_way(server: JwksServer, verifying: Make) -> None:
    verifier = verifying(replace(PATIENT, timeout=30))
    server.answers.clear()
    waiting = asyncio.create_task(verifier.verify(signed()))
    await requests(server, 1)
    async with asyncio.timeout(20):
        await verifier.close()
        with pytest.raises(KeysUnavailable):
            await waiting
    await verifier.close()


def test_a_fetch_that_is_stuck_does_not_keep_the_process_from_ending(server: JwksServer) -> None:
    program = f"""
import asyncio
from tusserver.policy.tokens import JwksTiming, TokenOptions, TokenVerifier

async def main():
    options = TokenOptions(jwks_url={server.url!r})
    verifier = TokenVerifier(options, timing=JwksTiming(timeout=50))
    try:
        await asyncio.wait_for(verifier.verify("token"), 0.2)
    except TimeoutError:
        await verifier.close()

asyncio.run(main())
"""
    server.answers.clear()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=25)


async def test_with_keys_at_hand_nothing_is_waited_for(verifying: Make) -> None:
    verifier = verifying()
    assert await is_believed(verifier, signed())
    text = signed()
    assert is_believed_at_once(verifier, text)
    assert is_believed_at_once(verifier, text)
