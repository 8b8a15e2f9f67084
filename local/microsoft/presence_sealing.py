"""Resource data in notifications: encrypted for the certificate that the subscriber brought.

After "Set up change notifications that include resource data" in the Microsoft Graph documentation.
"""

import base64
import functools
import hashlib
import hmac
import secrets
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding

KEY_BITS = (2048, 4096)
SYMMETRIC_KEY_BYTES, BLOCK_BYTES = 32, 16


def read_certificate(text: str) -> x509.Certificate:
    """A base64 DER certificate with an RSA key of 2048 to 4096 bits. ``ValueError`` in plain words for anything else.

    Only the public part is needed, self-signed ones are fine, and its dates do not matter.
    """
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    except ValueError:
        raise ValueError("is no base64 encoded X.509 certificate (DER, without PEM header lines)") from None
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not KEY_BITS[0] <= key.key_size <= KEY_BITS[1]:
        raise ValueError("needs an RSA key of 2,048 to 4,096 bits")
    return certificate


def thumbprint(certificate: x509.Certificate) -> str:
    """Upper-case hexadecimal SHA-1 of the certificate."""
    return hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest().upper()


def seal(content: Any, certificate: str, certificate_id: str | None) -> dict[str, Any]:
    """``encryptedContent`` of a notification, each time with a fresh symmetric key."""
    public, print_ = _recipient(certificate)
    key = secrets.token_bytes(SYMMETRIC_KEY_BYTES)
    padder = padding.PKCS7(BLOCK_BYTES * 8).padder()
    padded = padder.update(msgspec.json.encode(content)) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:BLOCK_BYTES])).encryptor()
    data = encryptor.update(padded) + encryptor.finalize()
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - as documented
    return {
        "data": _base64(data),
        "dataSignature": _base64(hmac.digest(key, data, "sha256")),
        "dataKey": _base64(public.encrypt(key, oaep)),
        "encryptionCertificateId": certificate_id,
        "encryptionCertificateThumbprint": print_,
    }


@functools.lru_cache(maxsize=64)
def _recipient(text: str) -> tuple[rsa.RSAPublicKey, str]:
    certificate = read_certificate(text)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("needs an RSA key")  # noqa: TRY004 - a wrong value, not a wrong type
    return key, thumbprint(certificate)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
