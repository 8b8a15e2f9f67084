"""What holds for every call of Graph: tokens, permissions, errors, headers, throttling."""

import uuid
from typing import Any

import jwt
import pytest

from local import sample
from local.microsoft import MicrosoftEmulator
from local.microsoft.apps import VAULT
from local.sample import group_id, user_id
from tests.microsoft.support import Answer, Client


def assert_error(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer.text
    inner = answer.json["error"]["innerError"]
    assert set(inner) == {"date", "request-id", "client-request-id"}
    assert inner["request-id"] == answer.headers["request-id"]
    assert answer.json["error"]["message"]


async def with_token(client: Client, token: str | None) -> Answer:
    client.token = token
    return await client.graph("users")


# Tokens


async def test_without_a_token_nothing_is_answered(client: Client) -> None:
    answer = await with_token(client, None)
    assert_error(answer, 401, "InvalidAuthenticationToken")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
async def test_what_is_no_token_is_refused(client: Client, token: str) -> None:
    assert_error(await with_token(client, token), 401, "InvalidAuthenticationToken")


async def test_a_token_for_another_resource_is_refused(client: Client, emulator: MicrosoftEmulator) -> None:
    answer = await with_token(client, emulator.token_for("User.Read.All", resource=VAULT))
    assert_error(answer, 401, "InvalidAuthenticationToken")
    assert "audience" in answer.json["error"]["message"]


async def test_a_token_of_another_tenant_is_refused(client: Client, emulator: MicrosoftEmulator) -> None:
    claims = jwt.decode(emulator.token_for("User.Read.All"), options={"verify_signature": False})
    foreign = emulator.tokens.sign({**claims, "tid": "99999999-9999-4999-8999-999999999999"})
    assert_error(await with_token(client, foreign), 401, "InvalidAuthenticationToken")


async def test_a_forged_token_is_refused(client: Client, emulator: MicrosoftEmulator) -> None:
    head, body, signature = emulator.token_for("User.Read.All").split(".")
    forged = f"{head}.{body}.{signature[:-8]}AAAAAAAA"
    assert_error(await with_token(client, forged), 401, "InvalidAuthenticationToken")


async def test_an_unsigned_token_is_refused(client: Client, emulator: MicrosoftEmulator) -> None:
    claims = jwt.decode(emulator.token_for("User.Read.All"), options={"verify_signature": False})
    kid = emulator.keys.current.kid
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": kid})
    assert_error(await with_token(client, unsigned), 401, "InvalidAuthenticationToken")


async def test_a_token_lives_3599_seconds_of_the_emulators_clock(client: Client) -> None:
    await client.control("POST", "clock", {"advance_seconds": 3590})
    assert (await client.graph("users")).status == 200
    await client.control("POST", "clock", {"advance_seconds": 10})
    assert_error(await client.graph("users"), 401, "InvalidAuthenticationToken")


# Permissions

READ_USERS, READ_GROUPS = "User.Read.All", "GroupMember.Read.All"


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("users", ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "User.ReadBasic.All"]),
        ("users/delta", ["User.Read.All", "Directory.Read.All"]),
        (f"users/{user_id(1)}", ["User.Read.All", "User.ReadBasic.All"]),
        ("directory/deletedItems/graph.user", ["User.Read.All"]),
        ("directory/deletedItems/graph.group", ["Group.Read.All"]),
        ("groups", ["GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"]),
        ("groups/delta", ["GroupMember.Read.All"]),
        (f"groups/{group_id(1)}/members", ["GroupMember.Read.All"]),
        (f"groups/{group_id(1)}/transitiveMembers", ["Group.Read.All"]),
        (f"applications(appId='{sample.CLIENT_ID}')", ["Application.Read.All", "Application.ReadWrite.OwnedBy"]),
        ("organization", ["Organization.Read.All"]),
    ],
)
async def test_each_call_needs_its_permission(client: Client, path: str, roles: list[str]) -> None:
    for role in roles:
        client.token = client.emulator.token_for(role)
        assert (await client.graph(path)).status == 200, role
    client.token = client.emulator.token_for("Mail.Read")
    assert_error(await client.graph(path), 403, "Authorization_RequestDenied")
    client.token = client.emulator.token_for()
    assert_error(await client.graph(path), 403, "Authorization_RequestDenied")


async def test_basic_reading_shows_neither_phones_nor_account_state(client: Client) -> None:
    client.token = client.emulator.token_for("User.ReadBasic.All")
    user = (await client.graph(f"users/{user_id(1)}")).json
    assert "displayName" in user
    assert "mobilePhone" not in user
    assert_error(await client.graph("users?$select=id,accountEnabled"), 403, "Authorization_RequestDenied")
    assert_error(await client.graph("users/delta"), 403, "Authorization_RequestDenied")


async def test_group_reading_alone_shows_only_the_ids_of_users(client: Client) -> None:
    client.token = client.emulator.token_for(READ_GROUPS)
    members = (await client.graph(f"groups/{group_id(1)}/members?$select=id,displayName")).json["value"]
    user, group, _ = members
    assert user == {"@odata.type": "#microsoft.graph.user", "id": user_id(1), "displayName": None}
    assert group["displayName"] == "Reception"


async def test_hidden_members_need_a_permission_of_their_own(client: Client) -> None:
    client.token = client.emulator.token_for(READ_USERS, READ_GROUPS)
    path = f"groups/{group_id(3)}/members"
    assert_error(await client.graph(path), 403, "Authorization_RequestDenied")
    entries, _ = await client.round("groups/delta?$select=members")
    assert not any("members@delta" in entry for entry in entries if entry["id"] == group_id(3))
    client.token = client.emulator.token_for(READ_USERS, READ_GROUPS, "Member.Read.Hidden")
    assert [member["id"] for member in (await client.graph(path)).json["value"]] == [user_id(3)]


async def test_an_app_reads_no_other_app_with_owned_by(client: Client) -> None:
    other = str(uuid.uuid4())
    await client.control("PUT", f"app?client_id={other}", {})
    client.token = client.emulator.token_for("Application.ReadWrite.OwnedBy")
    assert_error(await client.graph(f"applications(appId='{other}')"), 403, "Authorization_RequestDenied")


# Errors and headers


async def test_the_client_request_id_is_echoed(client: Client) -> None:
    own = str(uuid.uuid4())
    good = await client.graph("users", client_request_id=own)
    assert good.headers["client-request-id"] == own
    assert "Date" in good.headers
    assert "x-ms-ags-diagnostic" in good.headers
    bad = await client.graph("users?$skip=1", client_request_id=own)
    assert bad.json["error"]["innerError"]["client-request-id"] == own


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "nothing", 400, "BadRequest"),
        ("GET", f"users/{user_id(1)}/nothing", 400, "BadRequest"),
        ("GET", f"groups/{group_id(1)}/members/graph.device", 400, "BadRequest"),
        ("GET", "directory/deletedItems/graph.device", 400, "BadRequest"),
        ("POST", "users", 405, "Request_BadRequest"),
        ("PATCH", "users/delta", 405, "Request_BadRequest"),
        ("DELETE", f"groups/{group_id(1)}/members", 405, "Request_BadRequest"),
        ("GET", "$batch", 405, "Request_BadRequest"),
        ("GET", "users/0f0f0f0f-0000-4000-8000-00000000000f", 404, "Request_ResourceNotFound"),
        ("GET", f"groups/{user_id(1)}", 404, "Request_ResourceNotFound"),
        ("GET", f"users/{user_id(6)}", 404, "Request_ResourceNotFound"),
        ("GET", "applications/0f0f0f0f-0000-4000-8000-00000000000f", 404, "Request_ResourceNotFound"),
    ],
)
async def test_wrong_paths_verbs_and_ids(client: Client, method: str, path: str, status: int, code: str) -> None:
    assert_error(await client.send(method, f"/v1.0/{path}"), status, code)


async def test_a_405_names_the_verbs_that_exist(client: Client) -> None:
    assert (await client.send("POST", "/v1.0/users")).headers["Allow"] == "GET"


async def test_a_get_carries_no_body(client: Client) -> None:
    answer = await client.send("GET", "/v1.0/users", json={})
    assert_error(answer, 400, "BadRequest")


@pytest.mark.parametrize(
    "query",
    [
        "$expand=manager",
        "$skip=10",
        "$format=json",
        "select=id",
        "top=5",
        "whatever=1",
        "$top=0",
        "$top=1000",
        "$top=ten",
        "$top=5&$top=6",
        "$select=",
        "$select=id,nosuch",
        "$count=yes",
        "$orderby=jobTitle",
        "$orderby=displayName,id",
        "$skiptoken=invented",
    ],
)
async def test_undocumented_query_options_are_refused(client: Client, query: str) -> None:
    answer = await client.graph(f"users?{query}")
    assert answer.status == 400, answer.text


async def test_an_unknown_property_is_named(client: Client) -> None:
    answer = await client.graph("users?$select=id,telephone")
    assert_error(answer, 400, "Request_BadRequest")
    assert "'telephone' on type 'microsoft.graph.user'" in answer.json["error"]["message"]


# Applications and organization


async def test_credentials_of_the_registration_show_all_but_the_secret(client: Client) -> None:
    path = f"applications(appId='{sample.CLIENT_ID}')?$select=id,appId,passwordCredentials,keyCredentials"
    app = (await client.graph(path)).json
    assert set(app) == {"@odata.context", "id", "appId", "passwordCredentials", "keyCredentials"}
    expired, valid = app["passwordCredentials"]
    assert (expired["hint"], expired["endDateTime"], expired["secretText"]) == ("Old", "2025-11-01T00:00:00Z", None)
    assert valid["hint"] == "Smp"
    by_id = (await client.graph(f"applications/{app['id']}?$select=appId")).json
    assert by_id["appId"] == sample.CLIENT_ID


async def test_the_organization_names_its_domains(client: Client) -> None:
    (organization,) = (await client.graph("organization")).json["value"]
    assert organization["id"] == sample.TENANT_ID
    assert [(domain["name"], domain["isDefault"]) for domain in organization["verifiedDomains"]] == [
        ("contoso.example", True),
        ("contoso.onmicrosoft.example", False),
    ]
    assert (await client.graph("organization?$select=id,nosuch")).status == 400


# Throttling


async def test_the_cost_of_a_call_is_announced(client: Client) -> None:
    async def cost(path: str) -> str:
        return (await client.graph(path)).headers["x-ms-resource-unit"]

    assert await cost("users") == "2"
    assert await cost("users?$select=id") == "1"
    assert await cost("users?$select=id&$top=5") == "1"
    assert await cost(f"groups/{group_id(1)}/members") == "3"
    assert await cost(f"groups/{group_id(1)}/transitiveMembers") == "5"
    assert await cost(f"groups/{group_id(1)}/transitiveMembers?$top=5&$select=id") == "3"


async def test_the_bucket_empties_and_refills_with_time(client: Client) -> None:
    await client.control("PUT", "throttle", {"enabled": True, "limit": 10})
    answers = [await client.graph("users") for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[3].headers.get("x-ms-throttle-limit-percentage") is None
    assert float(answers[4].headers["x-ms-throttle-limit-percentage"]) > 0.8
    assert_error(answers[5], 429, "TooManyRequests")
    wait = int(answers[5].headers["Retry-After"])
    assert wait >= 1
    await client.control("POST", "clock", {"advance_seconds": wait + 2})
    assert (await client.graph("users")).status == 200


async def test_another_app_has_a_bucket_of_its_own(client: Client, emulator: MicrosoftEmulator) -> None:
    await client.control("PUT", "throttle", {"enabled": True, "limit": 1})
    assert (await client.graph("users")).status == 429
    identity = emulator.identity.identity
    client.token = emulator.tokens.for_identity(identity, "https://graph.microsoft.com")
    assert (await client.graph("users?$select=id")).status == 200


@pytest.mark.parametrize(("settings", "header"), [({"send_retry_after": False}, None), ({"retry_after": 180}, "180")])
async def test_retry_after_can_be_missing_or_long(client: Client, settings: dict[str, Any], header: str | None) -> None:
    await client.control("PUT", "throttle", {"enabled": True, "limit": 1, **settings})
    assert (await client.graph("users")).headers.get("Retry-After") == header


async def test_a_planted_429_carries_json(client: Client) -> None:
    body = {"error": {"code": "TooManyRequests", "message": "Too Many Requests"}}
    fault = {"kind": "status", "status": 429, "path": "/v1.0/users", "headers": {"Retry-After": "7"}, "body": body}
    await client.control("POST", "faults", fault)
    answer = await client.graph("users")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "TooManyRequests", "7")
    assert (await client.graph("users")).status == 200
