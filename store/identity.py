"""How this deployment proves who it is to storage and Key Vault. azure-identity is imported only when it is needed."""

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

    from store.environment import Environment

PATIENCE: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 30}
"""Seconds that the Azure clients wait for a service; their own default of 300 outlasts a whole run."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def retries(total: int) -> dict[str, Any]:
    """Options of an Azure client for ``total`` repetitions, whatever fails: the library counts each kind apart and
    stops at three."""
    kinds = ("total", "connect", "read", "status")
    return {**{f"retry_{kind}": total for kind in kinds}, "retry_backoff_factor": 0.4, "retry_backoff_max": 20}


def azure_credential(environment: "Environment", target: str, client_id: str = "") -> "AsyncTokenCredential":
    """The credential for ``target`` (an address), decided by the application settings alone.

    The managed identity wherever Azure offers one; on a developer's machine whatever azure-identity finds there. An
    emulator on loopback, with neither given, gets a token that says nothing: no real service listens there.
    """
    if environment.has_identity:
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=client_id or environment.identity_client_id or None)
    if urlsplit(target).hostname in LOOPBACK:
        return _EmulatorCredential()
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id or environment.identity_client_id or None)


class _EmulatorCredential:
    async def get_token(self, *_scopes: str, **_options: Any) -> "AccessToken":
        from azure.core.credentials import AccessToken

        return AccessToken("emulator", 4102444800)

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
