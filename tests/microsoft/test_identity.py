"""The managed-identity endpoint of App Service."""

from typing import Any

import jwt
import pytest

from local import sample
from tests.microsoft.support import Answer, Client

GRAPH = "https://graph.microsoft.com"
HEADER = {"X-IDENTITY-HEADER": sample.IDENTITY_HEADER}


async def ask(client: Client, query: str, headers: Any = None) -> Answer:
    return await client.send("GET", f"/msi/token?{query}", headers=HEADER if headers is None else headers)


@pytest.mark.parametrize("resource", [GRAPH, "https://vault.azure.net", "api://AzureADTokenExchange"])
@pytest.mark.parametrize("named", ["", f"&client_id={sample.IDENTITY_CLIENT_ID}"])
async def test_a_token_for_each_resource(client: Client, resource: str, named: str) -> None:
    answer = await ask(client, f"api-version=2019-08-01&resource={resource}{named}")
    assert answer.status == 200
    assert (answer.json["resource"], answer.json["token_type"]) == (resource, "Bearer")
    assert isinstance(answer.json["expires_on"], str)
    claims = jwt.decode(answer.json["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == (resource, sample.IDENTITY_PRINCIPAL_ID)
    if resource == "api://AzureADTokenExchange":
        assert claims["iss"] == f"{client.emulator.url}/{sample.TENANT_ID}/v2.0"


async def test_the_token_opens_graph_with_the_roles_of_the_identity(client: Client) -> None:
    query = f"api-version=2019-08-01&resource={GRAPH}"
    client.token = (await ask(client, query)).json["access_token"]
    assert (await client.graph("users")).status == 200
    await client.control("PUT", "identity", {"roles": []})
    client.token = (await ask(client, query)).json["access_token"]
    assert (await client.graph("users")).status == 403


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        (f"api-version=2019-08-01&resource={GRAPH}", {}, 400),
        (f"api-version=2019-08-01&resource={GRAPH}", {"X-IDENTITY-HEADER": "wrong"}, 401),
        (f"resource={GRAPH}", HEADER, 400),
        (f"api-version=2017-09-01&resource={GRAPH}", HEADER, 400),
        ("api-version=2019-08-01", HEADER, 400),
        (f"api-version=2019-08-01&resource={GRAPH}/.default", HEADER, 400),
        (f"api-version=2019-08-01&resource={GRAPH}&client_id=other", HEADER, 400),
        (f"api-version=2019-08-01&resource={GRAPH}&scope=x", HEADER, 400),
    ],
)
async def test_wrong_requests(client: Client, query: str, headers: dict[str, str], status: int) -> None:
    answer = await ask(client, query, headers)
    assert (answer.status, answer.json["statusCode"]) == (status, status)
    assert answer.json["message"]
