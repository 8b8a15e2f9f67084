"""Opens what Graph encrypted for us (https://learn.microsoft.com/graph/change-notifications-with-resource-data).

Anybody can encrypt for a certificate that Graph was given: this says what was sent, not who sent it.
"""

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEY_BYTES = 32
BLOCK_BYTES = 16


class Sealed(msgspec.Struct, frozen=True, rename="camel"):
    """The encrypted part of a notification, all of it in base64."""

    data: str
    data_signature: str
    data_key: str
    encryption_certificate_id: str = ""


class Unreadable(ValueError):
    """It was altered, cut off, or is not meant for this key."""


def open_sealed(sealed: Sealed, key: "RSAPrivateKey") -> bytes:
    """What was encrypted. The signature is compared before anything is decrypted with the key inside."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what Graph uses
    try:
        data, signature, wrapped = (_decode(text) for text in (sealed.data, sealed.data_signature, sealed.data_key))
        symmetric = key.decrypt(wrapped, oaep)
    except ValueError:
        raise Unreadable("it is not encrypted for this certificate") from None
    if len(symmetric) != KEY_BYTES or not hmac.compare_digest(hmac.digest(symmetric, data, "sha256"), signature):
        raise Unreadable("it was altered")
    return _decrypt(data, symmetric)


def _decrypt(data: bytes, key: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:BLOCK_BYTES])).decryptor()
    unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
    try:
        padded = decryptor.update(data) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise Unreadable("it is cut off") from None


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unreadable("it is no base64") from None
