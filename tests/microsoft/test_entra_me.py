"""What a signed-in user may read of themselves: ``/me``, their groups, the userinfo endpoint."""

from typing import Any

import pytest

from local import sample
from local.sample import group_id, user_id
from tests.microsoft.signing_in import tokens_for, verified
from tests.microsoft.support import Client

NOOR = user_id(1)
ALL_GROUPS = [group_id(1), group_id(2)]


async def enter(client: Client, scope: str, user: str = NOOR) -> dict[str, Any]:
    """The client carries a delegated token with these scopes from now on."""
    await client.control("POST", "consent", {"grant": scope.split()})
    tokens = await tokens_for(client, user, scope=scope)
    client.token = tokens["access_token"]
    return tokens


async def test_me_is_the_user_of_the_token(client: Client) -> None:
    await enter(client, "User.Read")
    me = (await client.graph("me")).json
    assert (me["id"], me["mail"], me["mobilePhone"]) == (NOOR, "noor@contoso.example", "+31600000001")
    assert me["@odata.context"].endswith("$metadata#users/$entity")
    selected = (await client.graph("me?$select=id,accountEnabled")).json
    assert (selected["id"], selected["accountEnabled"]) == (NOOR, True)
    assert (await client.graph("me?$filter=id eq 'x'")).status == 400


async def test_me_needs_a_user(client: Client) -> None:
    answer = await client.graph("me")
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "delegated" in answer.json["error"]["message"]


async def test_me_needs_a_permission_on_the_own_profile(client: Client) -> None:
    await enter(client, "Presence.Read.All")
    assert (await client.graph("me")).status == 403


async def test_me_ends_with_the_user(client: Client) -> None:
    await enter(client, "User.Read")
    await client.control("DELETE", f"users/{NOOR}")
    assert (await client.graph("me")).status == 404


async def groups(client: Client, path: str, body: Any = None) -> Any:
    asked = {"securityEnabledOnly": False} if body is None else body
    answer = await client.send("POST", f"/v1.0/{path}/getMemberObjects", json=asked)
    return answer.json["value"] if answer.status == 200 else answer.status


async def test_ones_own_groups_can_be_read_with_the_own_profile(client: Client) -> None:
    await enter(client, "User.Read")
    assert await groups(client, "me") == ALL_GROUPS
    assert await groups(client, f"users/{NOOR}") == ALL_GROUPS
    assert await groups(client, f"users/{user_id(3)}") == 403


async def test_groups_of_others_need_permissions_on_users_and_memberships(client: Client) -> None:
    assert await groups(client, f"users/{NOOR}") == ALL_GROUPS
    assert await groups(client, f"users/{user_id(9)}") == 404
    for roles in (["User.Read.All"], ["GroupMember.Read.All"], ["User.Read"]):
        client.token = client.emulator.token_for(*roles)
        assert await groups(client, f"users/{NOOR}") == 403, roles
    client.token = client.emulator.token_for("Directory.Read.All")
    assert await groups(client, f"users/{NOOR}") == ALL_GROUPS


async def test_only_security_groups_if_so_asked(client: Client) -> None:
    newsletter = {"displayName": "Newsletter", "mailEnabled": True, "securityEnabled": False}
    made = (await client.control("POST", "groups", newsletter)).json["id"]
    await client.control("POST", f"groups/{made}/members", {"add": [NOOR]})
    assert await groups(client, f"users/{NOOR}") == [*ALL_GROUPS, made]
    assert await groups(client, f"users/{NOOR}", {"securityEnabledOnly": True}) == ALL_GROUPS


@pytest.mark.parametrize(
    "body", [{}, {"securityEnabledOnly": "yes"}, {"securityEnabledOnly": True, "more": 1}], ids=str
)
async def test_another_body_is_refused(client: Client, body: Any) -> None:
    assert await groups(client, f"users/{NOOR}", body) == 400


# userinfo


async def test_userinfo_says_what_the_id_token_says(client: Client) -> None:
    tokens = await enter(client, "openid profile email")
    claims = await verified(client, tokens["id_token"])
    for method in ("GET", "POST"):
        answer = await client.send(method, "/oidc/userinfo")
        assert answer.json == {
            "sub": claims["sub"],
            "name": "Noor Bakker",
            "given_name": "Noor",
            "email": "noor@contoso.example",
        }


async def test_userinfo_tells_as_much_as_the_scopes_allow(client: Client) -> None:
    await enter(client, "openid")
    assert set((await client.send("GET", "/oidc/userinfo")).json) == {"sub"}


@pytest.mark.parametrize("scope", ["User.Read", None])
async def test_userinfo_needs_a_user_who_signed_in_with_openid(client: Client, scope: str | None) -> None:
    if scope is not None:
        await enter(client, scope)
    answer = await client.send("GET", "/oidc/userinfo")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    client.token = None
    assert (await client.send("GET", "/oidc/userinfo")).status == 401


async def test_discovery_names_the_endpoints_that_are_there(client: Client) -> None:
    document = (await client.send("GET", f"/{sample.TENANT_ID}/v2.0/.well-known/openid-configuration")).json
    client.token = None
    for name in ("authorization_endpoint", "end_session_endpoint", "userinfo_endpoint"):
        assert (await client.send("GET", document[name])).status != 404, name
