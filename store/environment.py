"""The application settings of a deployment, read once from the environment.

Everything an administrator decides later lives in the settings document; only what the deployment itself knows is here.
"""

import os
from collections.abc import Mapping

import msgspec

from store.errors import Misconfigured

GRAPH = "https://graph.microsoft.com"
ENTRA = "https://login.microsoftonline.com"


class StorageAccount(msgspec.Struct, frozen=True):
    """Where Table Storage is: a connection string, or a service address with a managed identity."""

    connection_string: str = ""
    table_uri: str = ""
    client_id: str = ""
    """Client id of the user-assigned identity; empty for the system-assigned one."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's application settings."""

    storage: StorageAccount
    key_vault_url: str = ""
    identity_client_id: str = ""
    """Client id of the user-assigned managed identity (``AZURE_CLIENT_ID``)."""
    has_identity: bool = False
    """Azure offers a managed identity to this process (``IDENTITY_ENDPOINT``)."""
    public_base_url: str = ""
    graph_base_url: str = f"{GRAPH}/v1.0"
    entra_authority: str = ENTRA
    tenant_id: str = ""
    client_id: str = ""
    pbx_fqdn: str = ""
    pbx_client_id: str = ""
    setup_key: str = ""
    """Signs an administrator in to the console while nobody can sign in with Microsoft; empty: there is none."""

    def __repr__(self) -> str:
        return f"Environment(key_vault_url={self.key_vault_url!r}, public_base_url={self.public_base_url!r})"

    __str__ = __repr__


def read_environment(values: Mapping[str, str] | None = None) -> Environment:
    """Read the application settings; ``values`` defaults to the process environment.

    ``GRAPH_BASE_URL`` may or may not end in ``/v1.0``, ``ENTRA_AUTHORITY_HOST`` may or may not carry ``https://``: both
    spellings are in use among Microsoft's own tools. ``Misconfigured`` names a value that is not https.
    """
    env = os.environ if values is None else values
    return Environment(
        storage=_storage(env),
        key_vault_url=_https("KEY_VAULT_URL", env.get("KEY_VAULT_URL", "")),
        identity_client_id=env.get("AZURE_CLIENT_ID", ""),
        has_identity=bool(env.get("IDENTITY_ENDPOINT")),
        public_base_url=env.get("PUBLIC_BASE_URL", "").rstrip("/"),
        graph_base_url=_graph(_https("GRAPH_BASE_URL", env.get("GRAPH_BASE_URL") or GRAPH)),
        entra_authority=_https("ENTRA_AUTHORITY_HOST", env.get("ENTRA_AUTHORITY_HOST") or ENTRA),
        tenant_id=env.get("ENTRA_TENANT_ID", ""),
        client_id=env.get("ENTRA_CLIENT_ID", ""),
        pbx_fqdn=env.get("PBX_FQDN", ""),
        pbx_client_id=env.get("PBX_CLIENT_ID", ""),
        setup_key=env.get("SETUP_KEY", "").strip(),
    )


def trust_private_authority() -> None:
    """Let ``REQUESTS_CA_BUNDLE`` alone do, which only one of our libraries reads: OpenSSL reads ``SSL_CERT_FILE``.

    Call it before the first TLS connection of the process.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle:
        os.environ.setdefault("SSL_CERT_FILE", bundle)


def _storage(env: Mapping[str, str]) -> StorageAccount:
    # The identity form: https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity
    name = "AzureWebJobsStorage"
    uri = env.get(f"{name}__tableServiceUri", "")
    account = env.get(f"{name}__accountName", "")
    if not uri and account:
        uri = f"https://{account}.table.core.windows.net"
    return StorageAccount(env.get(name, ""), uri.rstrip("/"), env.get(f"{name}__clientId", ""))


def _https(name: str, value: str) -> str:
    value = value.strip().rstrip("/")
    if value and "://" not in value:
        value = f"https://{value}"
    if value and not value.startswith("https://"):
        raise Misconfigured(f"the application setting {name} has to be an https address")
    return value


def _graph(url: str) -> str:
    return url if url.rsplit("/", 1)[-1] in {"v1.0", "beta"} else f"{url}/v1.0"
