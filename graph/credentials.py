"""The application's own credential (app-only): client secret, certificate, or federated managed identity.

azure-identity is imported when the first token is needed, never on the notification path.
"""

import base64
import binascii
import re
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

import msgspec

from graph.aadsts import IDS, from_entra, from_identity
from graph.errors import CredentialsRejected, Unavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import ClientAuthenticationError

EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"
PUBLIC_AUTHORITIES = {"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"}

TENANT = re.compile(r"[A-Za-z0-9.-]+")
UNUSABLE = {"secret": "it is empty", "certificate": "it has to be a PEM file with a certificate and its private key"}
ONE_ATTEMPT: dict[str, Any] = {"retry_total": 0}
"""Repeating is done in one place, ``graph.client``: azure-identity's own pauses would add up to minutes."""


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are in the tenant and how we prove it."""

    tenant_id: str
    client_id: str
    authority: str
    """https address of Entra, without a path."""
    kind: Literal["secret", "certificate", "federated"]
    proof: str = ""
    """The client secret, or the certificate with its private key as PEM; empty when federated."""
    identity_client_id: str = ""
    """Federated: the user-assigned managed identity; empty for the system-assigned one."""

    def __repr__(self) -> str:
        return f"Application(tenant_id={self.tenant_id!r}, client_id={self.client_id!r}, kind={self.kind!r})"

    __str__ = __repr__


class ApplicationCredential:
    """An azure-core token credential whose failures are ours: ``CredentialsRejected`` or ``Unavailable``.

    Tokens are kept by azure-identity until shortly before they end, so asking is cheap.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._inner: AsyncTokenCredential | None = None
        self._identity: AsyncTokenCredential | None = None
        self._assertion = ""

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """A token for ``scopes``."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            inner = self._open()
            if self._identity is not None:
                self._assertion = await self._identity_token(self._identity)
            return await inner.get_token(*scopes, **options)
        except ClientAuthenticationError as error:
            raise from_entra(str(error.message), _status(error)) from None
        except (AzureError, OSError) as error:
            raise Unavailable(f"Entra's token service cannot be reached ({type(error).__name__})") from None

    async def _identity_token(self, identity: "AsyncTokenCredential") -> str:
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            return (await identity.get_token(EXCHANGE_SCOPE)).token
        except ClientAuthenticationError as error:
            raise from_identity(_status(error)) from None
        except (AzureError, OSError) as error:
            raise Unavailable(f"the managed identity cannot be reached ({type(error).__name__})") from None

    async def close(self) -> None:
        for credential in (self._inner, self._identity):
            if credential is not None:
                await credential.close()
        self._inner = self._identity = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()

    def _open(self) -> "AsyncTokenCredential":
        if self._inner is None:
            self._inner = self._make()
        return self._inner

    def _make(self) -> "AsyncTokenCredential":
        from azure.identity import aio as identity

        app = self._application
        _check(app)
        options: dict[str, Any] = {
            "authority": app.authority,
            # Asking Microsoft's directory of authorities about any other one would only fail.
            "disable_instance_discovery": urlsplit(app.authority).hostname not in PUBLIC_AUTHORITIES,
            **ONE_ATTEMPT,
        }
        try:
            if app.kind == "secret":
                return identity.ClientSecretCredential(app.tenant_id, app.client_id, app.proof, **options)
            if app.kind == "certificate":
                data = app.proof.encode()
                return identity.CertificateCredential(app.tenant_id, app.client_id, certificate_data=data, **options)
        except ValueError:
            raise CredentialsRejected(f"the stored {app.kind} is unusable: {UNUSABLE[app.kind]}") from None
        self._identity = identity.ManagedIdentityCredential(client_id=app.identity_client_id or None, **ONE_ATTEMPT)
        return identity.ClientAssertionCredential(app.tenant_id, app.client_id, lambda: self._assertion, **options)


def _check(app: Application) -> None:
    """Ids that cannot be are found here, so that whatever the library refuses is the secret or the certificate."""
    if not TENANT.fullmatch(app.tenant_id) or not app.client_id:
        raise CredentialsRejected("the tenant id or the client id is missing or malformed", IDS, "entra_ids_malformed")
    if urlsplit(app.authority).scheme != "https":
        raise CredentialsRejected("the address of Entra has to begin with https://", code="entra_authority_malformed")


def _status(error: "ClientAuthenticationError") -> int | None:
    return error.response.status_code if error.response is not None else None


def tenant_of(token: str) -> str:
    """The ``tid`` claim of one of our own access tokens, in lower case; empty when it cannot be read.

    Nothing is verified: the token came from Entra and is Graph's to judge.
    """
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return ""
    return claims.tid.lower()


class _Claims(msgspec.Struct, frozen=True):
    tid: str = ""
