"""The keys that tokens are verified with: which algorithms fit which key, and which of the keys has
signed a token.

Needs PyJWT and cryptography; who imports this module says what to install if they are missing. A
public key never verifies an HMAC: whoever can read it could make such a signature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError, PyJWTError

from tusserver.policy.tokens import KeyUnknown, TokenRefused, TokensUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jwt.algorithms import AllowedPublicKeys
    from jwt.types import SigOptions

_MAX_FILE = 64 * 1024
_MIN_SECRET = 32
_MIN_RSA_BITS = 2048

_HMAC_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes of the secret. RFC 7518, section 3.2: a key of the same size as the hash output or larger
MUST be used.
"""
_RSA = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
_ED25519, _ED448 = frozenset(("EdDSA", "Ed25519")), frozenset(("EdDSA", "Ed448"))
_PUBLIC = _RSA | frozenset(_CURVES.values()) | _ED25519 | _ED448

# What a JSON Web Key says about its public half; the private one of a careless issuer is not read.
_MEMBERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_FROM_JWK = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_STRICT: SigOptions = {"verify_signature": True, "enforce_minimum_key_length": True}


def _make_jws() -> PyJWS:
    jws = PyJWS()
    # The names of RFC 9864, which say the curve as well.
    for name in ("Ed25519", "Ed448"):
        if name not in jws.get_algorithms():
            jws.register_algorithm(name, OKPAlgorithm())
    return jws


_jws = _make_jws()


@dataclass(frozen=True, slots=True)
class Key:
    """One key, the algorithms it may be used with, and the name by which tokens refer to it."""

    material: AllowedPublicKeys | bytes
    algorithms: frozenset[str]
    kid: str | None = None


class KeySet:
    """Keys of which one may have signed a token. Two sets are never equal."""

    __slots__ = ("keys",)

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)

    def open(self, token: str) -> bytes:
        """What the token carries, once its signature is found to be right.

        Raises KeyUnknown if that can be the fault of a set that is out of date, TokenRefused
        otherwise.
        """
        header = _header(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        named = [key for key in self.keys if kid is not None and key.kid == kid]
        # A key without a name may be any; a token that names none may be signed with any.
        candidates = named or [key for key in self.keys if kid is None or key.kid is None]
        refusal = TokenRefused if named else KeyUnknown
        if not candidates:
            raise refusal("the token is signed with a key that is not known here")
        fitting = [key for key in candidates if algorithm in key.algorithms]
        if not fitting:
            raise refusal("the token is signed in a way that is not accepted here")
        for key in fitting:
            payload = _open_with(key, token)
            if payload is not None:
                return payload
        raise refusal("the signature of the token is wrong")


class FixedKeys:
    """One key for as long as the process lives."""

    def __init__(self, key: Key) -> None:
        self._keys = KeySet([key])

    async def keys(self) -> KeySet:
        return self._keys

    async def newer(self, than: KeySet) -> KeySet:
        return than

    async def close(self) -> None:
        pass


def _header(token: str) -> dict[str, Any]:
    try:
        header = _jws.get_unverified_header(token)
    except PyJWTError:
        raise TokenRefused("this is not a JSON Web Token") from None
    if not isinstance(header.get("alg"), str):
        raise TokenRefused("this is not a JSON Web Token")
    return header


def _open_with(key: Key, token: str) -> bytes | None:
    try:
        opened = _jws.decode_complete(token, key.material, sorted(key.algorithms), _STRICT)
    except PyJWTError:
        return None
    payload: bytes = opened["payload"]
    return payload


def read_secret(path: Path, algorithms: tuple[str, ...]) -> Key:
    """The shared secret in this file, without the white space at its end. Raises TokensUnusable."""
    secret = _read(path).rstrip()
    if len(secret) < _MIN_SECRET:
        raise TokensUnusable(
            f"the secret in {path} is {len(secret)} bytes long; at least {_MIN_SECRET} are needed"
        )
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError as error:
        raise TokensUnusable(f"{path} holds a key of another kind than a secret") from error
    fitting = frozenset(name for name, length in _HMAC_MIN.items() if len(secret) >= length)
    for name in algorithms:
        if name in _HMAC_MIN and name not in fitting:
            raise TokensUnusable(
                f"{name} needs a secret of {_HMAC_MIN[name]} bytes; that in {path} has "
                f"{len(secret)}"
            )
    return Key(secret, _chosen(algorithms, fitting, f"the secret in {path}"))


def read_public_key(path: Path, algorithms: tuple[str, ...]) -> Key:
    """The key in this PEM file. Raises TokensUnusable."""
    pem = _read(path)
    if b"PRIVATE KEY-----" in pem:
        raise TokensUnusable(f"{path} holds a private key; give the public one that belongs to it")
    material: object
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            material = load_pem_x509_certificate(pem).public_key()
        else:
            material = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TokensUnusable(f"there is no public key in {path} that can be read") from error
    if isinstance(material, RSAPublicKey) and material.key_size < _MIN_RSA_BITS:
        raise TokensUnusable(
            f"the RSA key in {path} has {material.key_size} bits; at least {_MIN_RSA_BITS} are "
            "needed"
        )
    key = _key(material)
    if key is None:
        raise TokensUnusable(f"the key in {path} is of a kind that signs no tokens")
    return Key(key.material, _chosen(algorithms, key.algorithms, f"the key in {path}"))


def accepted_of_public_keys(algorithms: tuple[str, ...]) -> frozenset[str]:
    """The algorithms that keys from a JWKS may be used with. Raises TokensUnusable."""
    return _chosen(algorithms, _PUBLIC, "a public key")


def read_jwks(document: bytes, accepted: frozenset[str]) -> KeySet:
    """The keys of a JSON Web Key Set (RFC 7517) that can verify tokens; others are passed over.

    Raises ValueError if it is none.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ValueError("it did not answer with JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ValueError("it did not answer with a JSON Web Key Set")
    keys = (_read_jwk(jwk, accepted) for jwk in found["keys"])
    return KeySet(key for key in keys if key is not None)


def _read_jwk(jwk: object, accepted: frozenset[str]) -> Key | None:
    if not isinstance(jwk, dict) or not _may_verify(jwk):
        return None
    kty, kid, alg = jwk.get("kty"), jwk.get("kid"), jwk.get("alg")
    if not isinstance(kty, str) or kty not in _FROM_JWK or not isinstance(kid, str | None):
        return None
    public = {name: jwk[name] for name in _MEMBERS[kty] if name in jwk}
    try:
        key = _key(_FROM_JWK[kty](public))
    except (PyJWTError, TypeError, ValueError, UnsupportedAlgorithm):
        return None
    if key is None:
        return None
    algorithms = {name for name in key.algorithms & accepted if alg in (None, name)}
    return Key(key.material, frozenset(algorithms), kid) if algorithms else None


def _may_verify(jwk: dict[str, object]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    is_allowed = isinstance(operations, list) and "verify" in operations
    return is_allowed and jwk.get("use", "sig") == "sig"


def _key(material: object) -> Key | None:
    """With all algorithms that fit it; None if there are none."""
    match material:
        case RSAPublicKey() if material.key_size >= _MIN_RSA_BITS:
            return Key(material, _RSA)
        case EllipticCurvePublicKey() if material.curve.name in _CURVES:
            return Key(material, frozenset((_CURVES[material.curve.name],)))
        case Ed25519PublicKey():
            return Key(material, _ED25519)
        case Ed448PublicKey():
            return Key(material, _ED448)
    return None


def _chosen(wanted: tuple[str, ...], fitting: frozenset[str], what: str) -> frozenset[str]:
    for name in wanted:
        if name not in fitting:
            raise TokensUnusable(
                f"the algorithm {name} does not fit {what}; these do: {', '.join(sorted(fitting))}"
            )
    return frozenset(wanted) or fitting


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise TokensUnusable(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE:
        raise TokensUnusable(f"{path} is too large to hold a key")
    return content
