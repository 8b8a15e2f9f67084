"""The signing keys of the authority, published as a JSON Web Key Set."""

import base64
import datetime
import hashlib
import threading
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from local.microsoft.apps import base64url


class SigningKey:
    """An RSA key with the self-signed certificate that ``x5c`` shows."""

    def __init__(self, pem: str, certificate: bytes) -> None:
        key = serialization.load_pem_private_key(pem.encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("a signing key has to be an RSA key")  # noqa: TRY004 - a wrong value, not a wrong type
        self.private = key
        self.public = key.public_key()
        self.pem = pem
        self.certificate = certificate
        self.kid = base64url(hashlib.sha1(certificate, usedforsecurity=False).digest())

    @classmethod
    def make(cls) -> "SigningKey":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.example")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1825))
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(pem.decode(), certificate.public_bytes(serialization.Encoding.DER))

    def jwk(self, issuer: str) -> dict[str, Any]:
        numbers = self.public.public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
            "x5c": [base64.b64encode(self.certificate).decode()],
            "issuer": issuer,
        }


class KeyRing:
    """All published keys; the first one signs. Keys are made on first use: making one costs a tenth of a second."""

    def __init__(self) -> None:
        self._keys: list[SigningKey] = []
        self._making = threading.Lock()

    @property
    def keys(self) -> list[SigningKey]:
        with self._making:
            if not self._keys:
                self._keys = [SigningKey.make()]
        return self._keys

    @property
    def current(self) -> SigningKey:
        return self.keys[0]

    def find(self, kid: str) -> SigningKey | None:
        return next((key for key in self.keys if key.kid == kid), None)

    def rotate(self, *, keep: bool = True) -> None:
        """Sign with a new key; the old ones stay published unless ``keep`` is false."""
        self._keys = [SigningKey.make(), *(self.keys if keep else [])]

    def state(self) -> list[dict[str, str]]:
        return [{"pem": key.pem, "certificate": base64.b64encode(key.certificate).decode()} for key in self.keys]

    def load(self, state: list[dict[str, str]]) -> None:
        self._keys = [SigningKey(key["pem"], base64.b64decode(key["certificate"])) for key in state]


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
