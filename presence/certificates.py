"""The certificate that Graph encrypts presence for: made here, kept in the Key Vault, made anew before it ends."""

import base64
import datetime

import msgspec

from presence.trust import STORED_AS
from store.errors import SecretMissing
from store.secrets import SecretStore

LIFETIME = datetime.timedelta(days=90)
RENEW_BEFORE = datetime.timedelta(days=14)
KEY_BITS = 2048
"""Graph takes 2,048 to 4,096; opening a notification takes a fraction of a millisecond with the former."""


class Certificate(msgspec.Struct, frozen=True):
    """The public part, and the version of the secret that has the private one."""

    id: str
    text: str
    """DER in base64."""


async def current_certificate(secrets: SecretStore, now: datetime.datetime) -> Certificate:
    """The certificate in use; another one when there is none, or when it ends soon. Earlier versions stay readable."""
    try:
        stored = await secrets.read(STORED_AS)
    except SecretMissing:
        stored = None
    text = "" if stored is None else _public_part(stored.value, now)
    if stored is None or not text:
        stored = await secrets.write(STORED_AS, make_certificate(now))
        text = _public_part(stored.value, now)
    return Certificate(stored.version, text)


def make_certificate(now: datetime.datetime) -> str:
    """A self-signed certificate and its private key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, KEY_BITS)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Entra Bridge presence")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - datetime.timedelta(hours=1), now + LIFETIME
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return (public + private).decode()


def _public_part(pem: str, now: datetime.datetime) -> str:
    """What Graph is given; empty when it ends soon or is no certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return ""
    if certificate.not_valid_after_utc - now <= RENEW_BEFORE:
        return ""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
