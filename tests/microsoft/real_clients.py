"""A program of its own: Microsoft's clients, configured by environment variables alone, as the product runs them.

Prints one JSON object; ``test_real_clients.py`` starts it and reads that.
"""

import asyncio
import json
import os
import sys
from typing import Any

from azure.identity.aio import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
)
from azure.keyvault.secrets.aio import SecretClient
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.users.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph.graph_service_client import GraphServiceClient

GRAPH_SCOPE = "https://graph.microsoft.com/.default"
TENANT, CLIENT = os.environ["ENTRA_TENANT_ID"], os.environ["ENTRA_CLIENT_ID"]
AUTHORITY: dict[str, Any] = {"authority": os.environ["ENTRA_AUTHORITY_HOST"], "disable_instance_discovery": True}


async def credentials() -> dict[str, bool]:
    """A Graph token through each kind of credential."""
    identity = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])

    def assertion() -> str:
        from azure.identity import ManagedIdentityCredential as BlockingIdentity

        blocking = BlockingIdentity(client_id=os.environ["AZURE_CLIENT_ID"])
        return str(blocking.get_token("api://AzureADTokenExchange").token)

    kinds: dict[str, Any] = {
        "secret": ClientSecretCredential(TENANT, CLIENT, os.environ["SECRET"], **AUTHORITY),
        "certificate": CertificateCredential(TENANT, CLIENT, os.environ["CERTIFICATE"], **AUTHORITY),
        "identity": identity,
        "federated": ClientAssertionCredential(TENANT, CLIENT, assertion, **AUTHORITY),
    }
    found = {}
    for name, credential in kinds.items():
        async with credential:
            found[name] = bool((await credential.get_token(GRAPH_SCOPE)).token)
    return found


async def vault() -> dict[str, Any]:
    """Write, read, version, delete and recover a secret with the managed identity."""
    async with (
        ManagedIdentityCredential() as identity,
        SecretClient(os.environ["KEY_VAULT_URL"], identity, verify_challenge_resource=False) as client,
    ):
        await client.set_secret("entra-client-secret", "one")
        await client.set_secret("entra-client-secret", "two", tags={"for": "test"})
        value = (await client.get_secret("entra-client-secret")).value
        versions = [item.version async for item in client.list_properties_of_secret_versions("entra-client-secret")]
        names = [item.name async for item in client.list_properties_of_secrets()]
        await client.delete_secret("entra-client-secret")
        await client.recover_deleted_secret("entra-client-secret")
        return {"value": value, "versions": len(versions), "names": names}


async def graph() -> dict[str, Any]:
    """A delta round with msgraph-sdk's builders and bodies as bytes, then a refusal as ODataError."""
    async with ClientSecretCredential(TENANT, CLIENT, os.environ["SECRET"], **AUTHORITY) as credential:
        provider = AzureIdentityAuthenticationProvider(credential, scopes=[GRAPH_SCOPE], allowed_hosts=["localhost"])
        adapter = GraphRequestAdapter(provider)
        adapter.base_url = os.environ["GRAPH_BASE_URL"]
        client = GraphServiceClient(request_adapter=adapter)
        parameters = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(select=["id", "displayName"])
        info = client.users.delta.to_get_request_information(RequestConfiguration(query_parameters=parameters))
        pages, names = 0, []
        while True:
            raw: Any = await adapter.send_primitive_async(info, "bytes", {"XXX": ODataError})
            page = json.loads(raw)
            pages += 1
            names += [entry["displayName"] for entry in page["value"]]
            if "@odata.deltaLink" in page:
                break
            info = client.users.delta.with_url(page["@odata.nextLink"]).to_get_request_information()
        members = client.groups.by_group_id(os.environ["GROUP"]).transitive_members.graph_user
        refused = await _refusal(adapter, members.to_get_request_information())
        deleted = json.loads(
            await _bytes(adapter, client.directory.deleted_items.graph_user.to_get_request_information())
        )
        application = client.applications_with_app_id(CLIENT).to_get_request_information()
        secrets = json.loads(await _bytes(adapter, application))["passwordCredentials"]
        return {
            "pages": pages,
            "names": names,
            "refused": refused,
            "deleted": len(deleted["value"]),
            "hints": [secret["hint"] for secret in secrets],
            "heavy": "msgraph.generated.models.user" in sys.modules,
        }


async def _bytes(adapter: GraphRequestAdapter, info: Any) -> bytes:
    raw: Any = await adapter.send_primitive_async(info, "bytes", {"XXX": ODataError})
    return bytes(raw)


async def _refusal(adapter: GraphRequestAdapter, info: Any) -> list[Any]:
    try:
        await _bytes(adapter, info)
    except ODataError as error:
        return [error.response_status_code, error.error.code if error.error else None]
    return []


async def main() -> None:
    found = {"credentials": await credentials(), "vault": await vault(), "graph": await graph()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
