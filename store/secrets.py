"""Secrets of one connection, in Azure Key Vault only.

A secret's value goes from here straight to the gateway that needs it; it is never cached in storage or logged.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NewType, Self
from urllib.parse import urlsplit

import msgspec

from store.environment import Environment
from store.errors import (
    AccessDenied,
    AlreadyExists,
    InvalidRecord,
    Misconfigured,
    SecretMissing,
    StoreUnavailable,
    translated,
)
from store.identity import PATIENCE, azure_credential, retries
from store.tables import is_unicode

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.keyvault.secrets import KeyVaultSecret
    from azure.keyvault.secrets.aio import SecretClient

type SecretName = Literal["entra-client-secret", "entra-client-certificate", "pbx-client-secret", "pbx-webhook-secret"]
PresenceToken = NewType("PresenceToken", str)
"""The name of the refresh token of a further account; ``presence_token`` makes it."""
type InternalName = Literal["session-key", "authorization-refresh-token", "presence-certificate"] | PresenceToken
"""Secrets that the bridge makes or is given by Entra; nobody types them in."""
SECRET_NAMES: tuple[SecretName, ...] = (
    "entra-client-secret",
    "entra-client-certificate",
    "pbx-client-secret",
    "pbx-webhook-secret",
)
MAX_BYTES = 25_600
"""Key Vault's limit for one secret (https://learn.microsoft.com/azure/key-vault/secrets/about-secrets)."""
PLACE = "the Key Vault"


def presence_token(object_id: str) -> PresenceToken:
    """Where the refresh token of the further account with this object id is kept."""
    return PresenceToken(f"presence-refresh-token-{object_id.lower()}")


def certificate_fault(pem: str) -> str:
    """What is wrong with a certificate that an application is to sign in with; empty when it can be used."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: the key asks for a password
        return "has to be a certificate and its private key, both as PEM and without a password"
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*spki) != key.public_key().public_bytes(*spki):
        return "has a private key that does not belong to its certificate"
    return ""


class Secret(msgspec.Struct, frozen=True):
    """A value and the id of its version, which says whether the value changed without comparing values."""

    value: str
    version: str

    def __repr__(self) -> str:
        return f"Secret(version={self.version!r})"

    __str__ = __repr__


class SecretStore:
    """The secrets of one connection. Close it, or use it as an asynchronous context manager."""

    def __init__(self, environment: Environment, connection: str) -> None:
        self._environment = environment
        self._connection = connection
        self._client: SecretClient | None = None
        self._credential: AsyncTokenCredential | None = None

    async def read(self, name: SecretName | InternalName, version: str = "") -> Secret:
        """The newest version, or the one that is named; ``SecretMissing`` when there is none or it is switched off."""
        try:
            with translated(PLACE):
                found = await self._open().get_secret(self._name(name), version or None)
        except (InvalidRecord, AccessDenied) as error:
            if _is_missing(error.__cause__):
                raise SecretMissing(self._name(name)) from error
            raise
        if not found.value:
            raise SecretMissing(self._name(name))
        return Secret(found.value, found.properties.version or "")

    async def write(self, name: SecretName | InternalName, value: str) -> Secret:
        """Store a new version; ``InvalidRecord`` when the value is empty or over 25 KiB."""
        if not value or len(value.encode(errors="surrogatepass")) > MAX_BYTES or not is_unicode(value):
            raise InvalidRecord("a secret has to be a text of 1 to 25,600 bytes")
        try:
            with translated(PLACE):
                stored = await self._open().set_secret(self._name(name), value)
        except AlreadyExists as error:
            if _inner_code(error.__cause__) != "ObjectIsDeletedButRecoverable":
                raise StoreUnavailable(f"{PLACE} is still busy with an earlier change of this secret") from error
            stored = await self._revived(name, value)
        return Secret(value, stored.properties.version or "")

    async def _revived(self, name: SecretName | InternalName, value: str) -> "KeyVaultSecret":
        """Store a value under a name that was deleted: the name is reserved until it is recovered or purged, and where
        a vault is protected nobody may purge (https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview).
        """
        with translated(PLACE):
            await self._open().recover_deleted_secret(self._name(name))
            return await self._open().set_secret(self._name(name), value)

    async def delete(self, name: SecretName | InternalName) -> None:
        """Delete all versions; a secret that is not there is no error. The vault keeps it recoverable for its days."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with translated(PLACE):
                await self._open().delete_secret(self._name(name))
        except InvalidRecord as error:
            if not isinstance(error.__cause__, ResourceNotFoundError):
                raise
        except AlreadyExists:
            return  # 409: it is being deleted at this moment

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._credential is not None:
            await self._credential.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _name(self, name: SecretName | InternalName) -> str:
        return name if self._connection == "default" else f"{self._connection}-{name}"

    def _open(self) -> "SecretClient":
        if self._client is None:
            from azure.keyvault.secrets.aio import SecretClient

            url = self._environment.key_vault_url
            if not url:
                raise Misconfigured("the application setting KEY_VAULT_URL is missing: secrets have nowhere to be")
            self._credential = azure_credential(self._environment, url)
            # Off Azure's own domains (an emulator) the library would refuse the challenge of any vault.
            is_azure = (urlsplit(url).hostname or "").endswith(
                (".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net")
            )
            options: dict[str, Any] = {**retries(4), **PATIENCE}
            self._client = SecretClient(url, self._credential, verify_challenge_resource=is_azure, **options)
        return self._client


def _is_missing(cause: BaseException | None) -> bool:
    """Whether Key Vault says that there is no such secret, or that it is switched off (403 with its own inner code)."""
    from azure.core.exceptions import HttpResponseError

    if not isinstance(cause, HttpResponseError):
        return False
    return cause.status_code == 404 or (cause.status_code == 403 and _inner_code(cause) == "SecretDisabled")


def _inner_code(cause: BaseException | None) -> str:
    """Key Vault's own code of a refusal; empty when it gives none."""
    inner = getattr(getattr(cause, "error", None), "innererror", None) or {}
    return str(inner.get("code", ""))
