"""The certificate and its key, looked at before anything listens, so that a wrong one is one clear
line and not a server that dies at its start.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn


class CannotUseCertificate(Exception):
    """HTTPS cannot be served with these files; the message is one sentence for the operator."""


def check_certificate(certificate: Path, key: Path) -> None:
    """Raises CannotUseCertificate unless both can be read and belong together."""
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise CannotUseCertificate(f"cannot read {path}: {error.strerror}") from error

    def refuse_to_ask() -> NoReturn:
        # A server starts without a person who could type; OpenSSL would ask on the terminal.
        raise CannotUseCertificate(f"the key {key} has a pass phrase; take it off, as with openssl")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the key {key} does not belong to the certificate {certificate}"
        else:
            problem = f"{certificate} and {key} are not a certificate and its key in PEM form"
        raise CannotUseCertificate(problem) from error
