"""App registrations with their credentials and granted roles, and the managed identity."""

import base64
import datetime
import hashlib

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local.microsoft.registration import Consent, Registration

GRAPH = "https://graph.microsoft.com"
VAULT = "https://vault.azure.net"
TOKEN_EXCHANGE = "api://AzureADTokenExchange"
RESOURCES = frozenset({GRAPH, VAULT, TOKEN_EXCHANGE})

THIS_AUTHORITY = "{authority}"
"""Stands in a federated credential's issuer for the emulator's own address, which is known only once it listens."""


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client secret; ``hint`` (its first three characters) is all that can be read of it later."""

    key_id: str
    secret: str
    start: datetime.datetime
    end: datetime.datetime
    display_name: str | None = None

    @property
    def hint(self) -> str:
        return self.secret[:3]


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered certificate: only its public part, as base64 DER."""

    key_id: str
    der: str
    display_name: str | None = None

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(base64.b64decode(self.der))

    @property
    def sha1(self) -> str:
        """Thumbprint as the ``x5t`` header carries it."""
        return base64url(hashlib.sha1(base64.b64decode(self.der), usedforsecurity=False).digest())

    @property
    def sha256(self) -> str:
        """Thumbprint as the ``x5t#S256`` header carries it."""
        return base64url(hashlib.sha256(base64.b64decode(self.der)).digest())


class FederatedCredential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are accepted instead of a secret ("federatedIdentityCredential resource type")."""

    name: str
    issuer: str
    subject: str
    audience: str = TOKEN_EXCHANGE


class App(msgspec.Struct, forbid_unknown_fields=True):
    """An app registration and its service principal in the tenant."""

    client_id: str
    object_id: str
    service_principal_id: str
    display_name: str
    secrets: list[Secret] = []
    certificates: list[Certificate] = []
    federated: list[FederatedCredential] = []
    roles: list[str] = []
    """Granted application permissions of Microsoft Graph."""
    vault_access: bool = True
    """Whether it has a Key Vault role that reads and writes secrets."""
    token_seconds: int = 3599
    """Lifetime of the access tokens that speak for the app itself."""
    registration: Registration = msgspec.field(default_factory=Registration)
    consent: Consent = msgspec.field(default_factory=Consent)


class ManagedIdentity(msgspec.Struct, forbid_unknown_fields=True):
    """The one user-assigned managed identity of the emulated host."""

    client_id: str
    principal_id: str
    header: str
    """The value that ``X-IDENTITY-HEADER`` has to carry."""
    roles: list[str] = []
    vault_access: bool = True
    token_seconds: int = 86399


def certificate_from_pem(key_id: str, pem: str, display_name: str | None = None) -> Certificate:
    """``ValueError`` when ``pem`` holds no certificate or one without an RSA key."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise ValueError("the certificate needs an RSA key")  # noqa: TRY004 - a wrong value, not a wrong type
    der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    return Certificate(key_id=key_id, der=der, display_name=display_name)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
