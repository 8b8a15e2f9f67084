"""Key Vault secrets over the bare REST API: challenge, versions, soft delete, names."""

from typing import Any

import pytest

from local import sample
from local.microsoft.apps import GRAPH, VAULT
from tests.microsoft.support import Answer, Client

API = "api-version=2026-04-01"


async def vault(client: Client, method: str, path: str, body: Any = None) -> Answer:
    options = {} if body is None else {"json": body}
    return await client.send(method, f"/{path}{'&' if '?' in path else '?'}{API}", **options)


@pytest.fixture
async def client_of_vault(client: Client) -> Client:
    client.token = client.emulator.token_for(resource=VAULT)
    return client


async def test_a_request_without_token_is_challenged(client: Client) -> None:
    client.token = None
    answer = await vault(client, "PUT", "secrets/a")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer authorization="{client.emulator.url}/{sample.TENANT_ID}", resource="https://vault.azure.net"'
    )


async def test_a_token_for_graph_or_an_expired_one_is_challenged(client_of_vault: Client) -> None:
    client = client_of_vault
    await client.control("POST", "clock", {"advance_seconds": 3600})
    expired = await vault(client, "GET", "secrets")
    client.token = client.emulator.token_for(resource=GRAPH)
    foreign = await vault(client, "GET", "secrets")
    for answer in (expired, foreign):
        assert (answer.status, answer.code) == (401, "Unauthorized")
        assert "WWW-Authenticate" in answer.headers


async def test_an_app_without_a_role_on_the_vault_is_forbidden(client_of_vault: Client) -> None:
    await client_of_vault.control("PUT", "app", {"vault_access": False})
    answer = await vault(client_of_vault, "GET", "secrets")
    assert (answer.status, answer.code, answer.json["error"]["innererror"]["code"]) == (
        403,
        "Forbidden",
        "ForbiddenByRbac",
    )


async def test_secrets_have_versions(client_of_vault: Client) -> None:
    client = client_of_vault
    first = (await vault(client, "PUT", "secrets/Name-1", {"value": "one"})).json
    second = (await vault(client, "PUT", "secrets/name-1", {"value": "two", "tags": {"a": "b"}})).json
    assert first["id"].startswith(f"{client.emulator.url}/secrets/Name-1/")
    assert first["attributes"]["enabled"] is True
    assert (await vault(client, "GET", "secrets/name-1/")).json["value"] == "two"
    old = first["id"].rsplit("/", 1)[1]
    assert (await vault(client, "GET", f"secrets/name-1/{old}")).json["value"] == "one"
    listed = (await vault(client, "GET", "secrets/name-1/versions")).json["value"]
    assert [item["id"] for item in listed] == [first["id"], second["id"]]
    assert all("value" not in item for item in listed)
    (entry,) = (await vault(client, "GET", "secrets")).json["value"]
    assert (entry["id"], entry["tags"]) == (f"{client.emulator.url}/secrets/Name-1", {"a": "b"})


async def test_a_deleted_secret_can_be_recovered_and_blocks_its_name(client_of_vault: Client) -> None:
    client = client_of_vault
    await vault(client, "PUT", "secrets/a", {"value": "x"})
    deleted = (await vault(client, "DELETE", "secrets/a")).json
    assert deleted["recoveryId"].endswith("/deletedsecrets/a")
    assert (await vault(client, "GET", "secrets/a/")).code == "SecretNotFound"
    conflict = await vault(client, "PUT", "secrets/a", {"value": "y"})
    assert (conflict.status, conflict.json["error"]["innererror"]["code"]) == (409, "ObjectIsDeletedButRecoverable")
    assert len((await vault(client, "GET", "deletedsecrets")).json["value"]) == 1
    assert (await vault(client, "POST", "deletedsecrets/a/recover")).status == 200
    assert (await vault(client, "GET", "secrets/a/")).json["value"] == "x"


async def test_a_purged_secret_is_gone(client_of_vault: Client) -> None:
    client = client_of_vault
    await vault(client, "PUT", "secrets/a", {"value": "x"})
    await vault(client, "DELETE", "secrets/a")
    assert (await vault(client, "DELETE", "deletedsecrets/a")).status == 204
    assert (await vault(client, "GET", "deletedsecrets/a")).status == 404
    assert (await vault(client, "PUT", "secrets/a", {"value": "y"})).status == 200


async def test_a_disabled_secret_is_not_readable(client_of_vault: Client) -> None:
    client = client_of_vault
    made = (await vault(client, "PUT", "secrets/a", {"value": "x", "attributes": {"exp": 4102444800}})).json
    version = made["id"].rsplit("/", 1)[1]
    changed = await vault(client, "PATCH", f"secrets/a/{version}", {"attributes": {"enabled": False}})
    assert changed.json["attributes"] | {"enabled": False, "exp": 4102444800} == changed.json["attributes"]
    answer = await vault(client, "GET", "secrets/a/")
    assert (answer.status, answer.json["error"]["innererror"]["code"]) == (403, "SecretDisabled")


async def test_lists_come_in_pages(client_of_vault: Client) -> None:
    client = client_of_vault
    for number in range(7):
        await vault(client, "PUT", f"secrets/s{number}", {"value": "x"})
    names, link = [], f"{client.emulator.url}/secrets?{API}&maxresults=3"
    while link:
        page = (await client.send("GET", link)).json
        names += [item["id"].rsplit("/", 1)[1] for item in page["value"]]
        link = page["nextLink"]
    assert names == [f"s{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "secrets/under_score", {"value": "x"}, 400),
        ("PUT", f"secrets/{'a' * 128}", {"value": "x"}, 400),
        ("PUT", "secrets/a", {}, 400),
        ("PUT", "secrets/a", {"value": 1}, 400),
        ("PUT", "secrets/a", {"value": "x", "unknown": 1}, 400),
        ("PUT", "secrets/a", {"value": "x" * 25_601}, 400),
        ("PUT", "secrets/a/b", {"value": "x"}, 405),
        ("POST", "secrets/a", {"value": "x"}, 405),
        ("GET", "secrets/none/", None, 404),
        ("GET", "secrets/a/b/c", None, 404),
        ("GET", "secretsandmore", None, 404),
        ("GET", "secrets?maxresults=26", None, 400),
        ("DELETE", "secrets/none", None, 404),
        ("POST", "deletedsecrets/none/recover", None, 404),
    ],
)
async def test_wrong_requests(client_of_vault: Client, method: str, path: str, body: Any, status: int) -> None:
    assert (await vault(client_of_vault, method, path, body)).status == status


@pytest.mark.parametrize("query", ["", "?api-version=1.0"])
async def test_the_api_version_is_required(client_of_vault: Client, query: str) -> None:
    assert (await client_of_vault.send("GET", f"/secrets{query}")).status == 400
