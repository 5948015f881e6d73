"""An issuer of tokens: its keys, the tokens it signs, and the real HTTP server at which it
publishes its keys.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SigningKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi"}
_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
    "P-224": ec.SECP224R1(),
}


@lru_cache
def signing_key(kind: str = "P-256", number: int = 0) -> SigningKey:
    """The same key for the same arguments: `RSA` (2048 bits), `RSA-1024`, a curve, `Ed25519` or
    `Ed448`; the number tells several of a kind apart.
    """
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, 1024 if kind == "RSA-1024" else 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind])


def public_pem(key: SigningKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: SigningKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(key: SigningKey) -> bytes:
    """A self-signed one in PEM, long out of date."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    is_edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2020, 1, 2, tzinfo=UTC))
        .sign(key, None if is_edwards else hashes.SHA256())
    )
    return built.public_bytes(Encoding.PEM)


def public_jwk(key: SigningKey, kid: str | None = "1", **members: object) -> dict[str, object]:
    """The public half as a JSON Web Key; `members` are added or, if None, left out."""
    private = private_jwk(key, kid, **members)
    return {name: value for name, value in private.items() if name not in _PRIVATE_MEMBERS}


def private_jwk(key: SigningKey, kid: str | None = "1", **members: object) -> dict[str, object]:
    """What a careless issuer publishes."""
    kind: Any = OKPAlgorithm
    if isinstance(key, rsa.RSAPrivateKey):
        kind = RSAAlgorithm
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        kind = ECAlgorithm
    whole = {**kind.to_jwk(key, as_dict=True), "key_ops": None, "kid": kid, "use": "sig", **members}
    return {name: value for name, value in whole.items() if value is not None}


def claims(now: datetime | None = None, **changes: object) -> dict[str, object]:
    """Those of a good token of alice, valid for an hour; None leaves a claim out."""
    expires_at = (now or datetime.now(UTC)) + timedelta(hours=1)
    whole = {"sub": "alice", "exp": int(expires_at.timestamp()), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def token(
    key: SigningKey | bytes,
    algorithm: str,
    carried: Mapping[str, object] | bytes | None = None,
    *,
    kid: str | None = None,
    **header: object,
) -> str:
    """A signed token that carries these claims, which need not be good ones."""
    payload = carried if isinstance(carried, bytes) else json.dumps(carried or claims()).encode()
    whole = {**header, "kid": kid} if kid is not None else header
    jws = jwt.PyJWS()
    for name in ("Ed25519", "Ed448"):
        if name not in jws.get_algorithms():
            jws.register_algorithm(name, OKPAlgorithm())
    return jws.encode(payload, key, algorithm, headers=whole)


def token_by_hand(
    header: object, carried: object, secret: bytes | None = None, hash_name: str = "sha256"
) -> str:
    """What a library would not write; unsigned, or with an HMAC by any secret."""
    signing_input = ".".join(_base64(json.dumps(part).encode()) for part in (header, carried))
    if secret is None:
        return f"{signing_input}."
    digest = hmac.new(secret, signing_input.encode(), getattr(hashlib, hash_name)).digest()
    return f"{signing_input}.{_base64(digest)}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class JwksServer:
    """Publishes a key set at `url`; a context manager. What it answers may be changed at any time.

    `requests` counts the requests that came in. While `answers` is cleared, they wait.
    """

    def __init__(self, *keys: object) -> None:
        self.document = b""
        self.status = 200
        self.headers: dict[str, str] = {"Content-Type": "application/jwk-set+json"}
        self.requests = 0
        self.answers = threading.Event()
        self.answers.set()
        self._asked = threading.Condition()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.publish(*keys)
        self.start()

    def __enter__(self) -> JwksServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/keys"

    def publish(self, *keys: object) -> None:
        """Answers with these keys and no others from now on."""
        self.document = json.dumps({"keys": keys}).encode()

    def start(self) -> None:
        """Listens; after a stop at the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Connections are refused from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait_for_requests(self, number: int) -> None:
        """Returns when so many have come in since the start. Blocks; raises AssertionError."""
        with self._asked:
            assert self._asked.wait_for(lambda: self.requests >= number, timeout=20)

    def count(self) -> None:
        with self._asked:
            self.requests += 1
            self._asked.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.count()
                issuer.answers.wait(30)
                # Whoever gave up has closed the connection.
                with suppress(OSError):
                    self.send_response(issuer.status)
                    for name, value in issuer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(issuer.document)))
                    self.end_headers()
                    self.wfile.write(issuer.document)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
