"""Decides who a JSON Web Token (RFC 7519) names, and whether it may be believed.

The signature is the matter of `keys`, which needs PyJWT and is imported only when tokens are
verified; what the claims must say is decided here, by a clock of the caller's.
"""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.policy.keys import KeySet

_MAX_TOKEN = 16 * 1024
_MAX_USER = 255
_MAX_REMEMBERED = 1024
_SIZE = re.compile(r"[0-9]{1,19}", re.ASCII)
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, line breaks, and half characters that no encoding can write."""

Claims = Mapping[str, object]


class TokensUnusable(Exception):
    """Tokens cannot be verified with these options; the message is a sentence for the operator."""


class TokenRefused(Exception):
    """This token is not believed; the message is a sentence for the client that quotes nothing of
    the token.
    """

    error: ClassVar[str] = "invalid_token"
    """The code of RFC 6750, section 3.1."""


class KeyUnknown(TokenRefused):
    """None of the keys at hand has signed this token; newer ones might have. Never leaves the
    verifier as anything but a TokenRefused.
    """


class KeysUnavailable(Exception):
    """No key could be had so far; the client may try the same token again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """Which tokens are believed, and what is read from them.

    Exactly one source of keys is given: `secret_file` (HMAC), `public_key_file` (PEM, a public key
    or a certificate, of which only the key counts) or `jwks_url`. No `algorithms` means those that
    fit the keys. No `audience` means that `aud` is not looked at. `leeway` is in seconds. The
    claims may be dotted paths. Raises ValueError for options that contradict themselves.
    """

    secret_file: Path | None = None
    public_key_file: Path | None = None
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    issuer: str | None = None
    leeway: float = 10.0
    user_claim: str = "sub"
    admin_claim: str | None = None
    admin_value: str = "admin"
    max_size_claim: str | None = None

    def __post_init__(self) -> None:
        sources = (self.secret_file, self.public_key_file, self.jwks_url)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give exactly one of secret_file, public_key_file and jwks_url")
        if not (math.isfinite(self.leeway) and self.leeway >= 0):
            raise ValueError("the leeway is a number of seconds, zero or more")
        claims = (self.user_claim, self.admin_claim, self.max_size_claim)
        if "" in (*claims, self.admin_value, self.issuer):
            raise ValueError("the names of claims, the admin value and the issuer are not empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwksTiming:
    """Seconds. Keys older than `lifespan` are fetched again, at most once in `retry` while that
    fails. A token with an unknown key brings the fetch forward, at most once in `cooldown`. A fetch
    is given up after `timeout`. `monotonic` is the clock of all but the last.
    """

    lifespan: float = 300.0
    cooldown: float = 30.0
    retry: float = 10.0
    timeout: float = 5.0
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names. `expires_at` is aware and in UTC, without the leeway; `max_size` in bytes
    is the longest upload that this user may make, None where the token does not say.
    """

    user: str
    is_admin: bool
    expires_at: datetime
    max_size: int | None = None


class KeySource(Protocol):
    """Where the keys come from. As long as the same object is returned, the keys are the same."""

    async def keys(self) -> KeySet:
        """The keys to verify with now. Raises KeysUnavailable."""
        ...

    async def newer(self, than: KeySet) -> KeySet:
        """The keys after `than`, or `than` if there are none. Raises KeysUnavailable."""
        ...

    async def close(self) -> None:
        """Ends what runs in the background."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TokenVerifier:
    """Verifies tokens against one source of keys; belongs to one event loop.

    `clock` gives the current moment, aware. Files are read here and never again. Raises
    TokensUnusable.
    """

    def __init__(
        self,
        options: TokenOptions,
        *,
        clock: Callable[[], datetime] = _utc_now,
        timing: JwksTiming | None = None,
    ) -> None:
        self._options = options
        self._clock = clock
        self._source = _key_source(options, timing or JwksTiming())
        self._verified = _VerifiedTokens()

    async def verify(self, token: str) -> Identity:
        """Whom the token names. Raises TokenRefused and KeysUnavailable.

        Waits only for keys from the network; all else takes some 100 microseconds, or next to
        nothing for a token that was verified before.
        """
        if len(token) > _MAX_TOKEN:
            raise TokenRefused(f"the token is longer than {_MAX_TOKEN // 1024} KiB")
        if not token.isascii():
            raise TokenRefused("this is not a JSON Web Token")
        digest = sha256(token.encode()).digest()
        keys = await self._source.keys()
        identity = self._verified.find(digest, keys)
        if identity is None:
            keys, claims = await self._open(token, keys)
            identity = self._identify(claims)
            self._refuse_expired(identity)
            self._verified.add(digest, keys, identity)
        else:
            self._refuse_expired(identity)
        return identity

    async def require_keys(self) -> None:
        """Raises KeysUnavailable if there is nothing now that a token could be verified with."""
        await self._source.keys()

    async def close(self) -> None:
        """Ends a fetch of keys that is under way."""
        await self._source.close()

    async def _open(self, token: str, keys: KeySet) -> tuple[KeySet, Claims]:
        """What the token claims, and the keys of which one has signed it."""
        try:
            return keys, _claims(keys.open(token))
        except KeyUnknown:
            newer = await self._source.newer(keys)
            if newer is keys:
                raise
        return newer, _claims(newer.open(token))

    def _identify(self, claims: Claims) -> Identity:
        options = self._options
        expires_at = _expiry(claims)
        not_before = claims.get("nbf")
        if not_before is not None:
            # `iat` is not looked at: RFC 7519 lets no token be refused for it.
            start = _seconds(not_before)
            if start is None or start > self._clock().timestamp() + options.leeway:
                raise TokenRefused("the token is not valid yet")
        if options.issuer is not None and claims.get("iss") != options.issuer:
            raise TokenRefused("the token is from another issuer")
        if options.audience and not _is_meant_for(claims.get("aud"), options.audience):
            raise TokenRefused("the token is meant for another audience")
        user = _user(claims, options.user_claim)
        max_size = _size(claims, options.max_size_claim)
        return Identity(user, self._is_admin(claims), expires_at, max_size)

    def _is_admin(self, claims: Claims) -> bool:
        options = self._options
        if options.admin_claim is None:
            return False
        return _holds(_find(claims, options.admin_claim), options.admin_value)

    def _refuse_expired(self, identity: Identity) -> None:
        if self._clock().timestamp() >= identity.expires_at.timestamp() + self._options.leeway:
            raise TokenRefused("the token has expired")


class _VerifiedTokens:
    """Whom the tokens name that were verified with the present keys, the least used forgotten
    first. Whether one has expired meanwhile is for the caller to see.
    """

    def __init__(self) -> None:
        self._keys: KeySet | None = None
        self._identities: OrderedDict[bytes, Identity] = OrderedDict()

    def find(self, digest: bytes, keys: KeySet) -> Identity | None:
        if keys is not self._keys or digest not in self._identities:
            return None
        self._identities.move_to_end(digest)
        return self._identities[digest]

    def add(self, digest: bytes, keys: KeySet, identity: Identity) -> None:
        if keys is not self._keys:
            # What an old key has signed must be verified anew: that key may have been withdrawn.
            self._identities.clear()
            self._keys = keys
        self._identities[digest] = identity
        if len(self._identities) > _MAX_REMEMBERED:
            self._identities.popitem(last=False)


def _key_source(options: TokenOptions, timing: JwksTiming) -> KeySource:
    try:
        from tusserver.policy import jwks, keys
    except ImportError as error:
        # Missing, or too old to have what is needed.
        raise TokensUnusable(
            f"packages to verify tokens with are missing ({error}): pip install 'tusserver[jwt]'"
        ) from error
    if options.jwks_url is not None:
        accepted = keys.accepted_of_public_keys(options.algorithms)
        return jwks.RemoteKeys(options.jwks_url, accepted, timing)
    if options.public_key_file is not None:
        return keys.FixedKeys(keys.read_public_key(options.public_key_file, options.algorithms))
    assert options.secret_file is not None
    return keys.FixedKeys(keys.read_secret(options.secret_file, options.algorithms))


def _claims(payload: bytes) -> Claims:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise TokenRefused("this is not a JSON Web Token")
    return claims


def _seconds(claim: object) -> float | None:
    """A NumericDate of RFC 7519, section 2: seconds since 1970, perhaps with a fraction."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        seconds = float(claim)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _expiry(claims: Claims) -> datetime:
    if "exp" not in claims:
        raise TokenRefused("the token does not say when it expires")
    seconds = _seconds(claims["exp"])
    # A date that is out of range may be in milliseconds by mistake: the token would be good for
    # fifty thousand years.
    with suppress(ValueError, OverflowError, OSError):
        if seconds is not None:
            return datetime.fromtimestamp(seconds, UTC)
    raise TokenRefused("the time at which the token expires is not one")


def _is_meant_for(claim: object, audience: tuple[str, ...]) -> bool:
    named = claim if isinstance(claim, list) else [claim]
    return any(name in named for name in audience)


def _user(claims: Claims, path: str) -> str:
    user = _find(claims, path)
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    if not isinstance(user, str) or not user.strip():
        raise TokenRefused(f"the token has no claim '{path}' that names the user")
    if len(user) > _MAX_USER or any(unicodedata.category(char) in _UNPRINTABLE for char in user):
        raise TokenRefused(f"the claim '{path}' of the token is not the name of a user")
    return user


def _size(claims: Claims, path: str | None) -> int | None:
    """A claim with bytes; as a text, too, since some issuers make one of every attribute."""
    size = None if path is None else _find(claims, path)
    if size is None:
        return None
    if isinstance(size, str) and _SIZE.fullmatch(size):
        return int(size)
    # A bound that cannot be read must not become none.
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise TokenRefused(f"the claim '{path}' of the token is not a number of bytes")
    return size


def _find(claims: object, path: str) -> object:
    """The claim at a path whose names are joined by dots; None if there is none.

    Names may have dots themselves, as URLs and the clients of Keycloak do: the longest that exists
    wins.
    """
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    head, dot, _ = path.rpartition(".")
    while dot:
        if head in claims:
            found = _find(claims[head], path[len(head) + 1 :])
            if found is not None:
                return found
        head, dot, _ = head.rpartition(".")
    return None


def _holds(claim: object, value: str) -> bool:
    match claim:
        case bool():
            return claim and value == "true"
        case str():
            return claim == value or value in claim.split(" ")
        case list():
            return value in claim
    return False
