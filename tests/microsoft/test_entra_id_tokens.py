"""ID tokens: what they say about a person, and the wrong ones that a careful app refuses."""

from typing import Any

import jwt
import pytest

from local import sample
from local.microsoft.id_tokens import FOREIGN_TENANT
from local.sample import group_id, user_id
from tests.microsoft.signing_in import address as sign_in_address
from tests.microsoft.signing_in import automatic, redeem, refresh, tokens_for, verified
from tests.microsoft.support import Client

NOOR, MARA = user_id(1), user_id(4)


async def claims_of(client: Client, user: str, **changes: str | None) -> dict[str, Any]:
    return await verified(client, (await tokens_for(client, user, **changes))["id_token"])


async def test_the_claims_of_a_sign_in(client: Client) -> None:
    claims = await claims_of(client, NOOR)
    expected = {
        "ver": "2.0",
        "iss": f"{client.emulator.url}/{sample.TENANT_ID}/v2.0",
        "aud": sample.CLIENT_ID,
        "tid": sample.TENANT_ID,
        "oid": NOOR,
        "name": "Noor Bakker",
        "preferred_username": "user1@contoso.example",
        "email": "noor@contoso.example",
        "nonce": "the nonce",
    }
    assert {name: claims[name] for name in expected} == expected
    assert set(claims) == {*expected, "sub", "iat", "nbf", "exp", "sid", "rh", "uti"}
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["nbf"] == claims["iat"]


async def test_the_header_names_algorithm_and_key(client: Client) -> None:
    token = (await tokens_for(client, NOOR))["id_token"]
    kid = client.emulator.keys.current.kid
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "RS256", "kid": kid}


async def test_the_subject_is_the_same_for_one_app_only(client: Client) -> None:
    first, again = await claims_of(client, NOOR), await claims_of(client, NOOR)
    assert first["sub"] == again["sub"]
    assert first["sub"] != (await claims_of(client, MARA))["sub"]
    other = "77777777-7777-4777-8777-777777777777"
    await client.control("PUT", f"app?client_id={other}", {})
    made = await client.control("POST", f"id-token?client_id={other}", {"user": NOOR})
    assert (await verified(client, made.json["id_token"], audience=other))["sub"] != first["sub"]


async def test_profile_and_email_come_with_their_scopes(client: Client) -> None:
    bare = await claims_of(client, NOOR, scope="openid")
    assert not {"oid", "name", "preferred_username", "email"} & set(bare)
    assert "email" not in await claims_of(client, NOOR, scope="openid profile")
    assert "email" not in await claims_of(client, MARA), "who has no mail has no such claim"


async def test_without_a_nonce_there_is_none_and_a_refresh_does_not_repeat_it(client: Client) -> None:
    assert "nonce" not in await claims_of(client, NOOR, nonce=None)
    tokens = await tokens_for(client, NOOR)
    again = (await refresh(client, tokens["refresh_token"])).json["id_token"]
    assert "nonce" not in await verified(client, again)


async def test_the_session_id_is_that_of_the_callback(client: Client) -> None:
    page = await (await automatic(client, NOOR)).open(sign_in_address())
    tokens = (await redeem(client, page.returned()["code"])).json
    assert (await verified(client, tokens["id_token"]))["sid"] == page.returned()["session_state"]


async def test_changed_people_have_changed_claims_and_the_same_id(client: Client) -> None:
    await client.control("PATCH", f"users/{NOOR}", {"userPrincipalName": "new@contoso.example", "mail": "n@x.example"})
    claims = await claims_of(client, NOOR)
    assert (claims["preferred_username"], claims["email"]) == ("new@contoso.example", "n@x.example")
    assert claims["oid"] == NOOR


# Roles


async def assign(client: Client, principal: str, role: str | None) -> None:
    assert (await client.control("POST", "assignments", {"principal": principal, "role": role})).status == 201


async def test_roles_are_those_assigned_directly_and_through_groups(client: Client) -> None:
    assert "roles" not in await claims_of(client, NOOR)
    await assign(client, NOOR, "Bridge.Reader")
    assert (await claims_of(client, NOOR))["roles"] == ["Bridge.Reader"]
    await assign(client, group_id(1), "Bridge.Admin")
    await assign(client, group_id(1), "Bridge.Reader")
    assert (await claims_of(client, NOOR))["roles"] == ["Bridge.Admin", "Bridge.Reader"]


async def test_nested_groups_and_access_without_a_role_give_none(client: Client) -> None:
    await client.control("POST", f"groups/{group_id(2)}/members", {"add": [MARA]})  # inside group 1
    await assign(client, group_id(1), "Bridge.Admin")
    await assign(client, MARA, None)
    assert "roles" not in await claims_of(client, MARA)


async def test_a_role_is_gone_with_the_next_token(client: Client) -> None:
    await assign(client, NOOR, "Bridge.Admin")
    token = (await tokens_for(client, NOOR))["refresh_token"]
    path = f"/_control/assignments?principal={NOOR}&role=Bridge.Admin"
    assert (await client.send("DELETE", path)).status == 204
    assert "roles" not in await verified(client, (await refresh(client, token)).json["id_token"])
    assert (await client.send("DELETE", path)).status == 404


# Groups


@pytest.mark.parametrize(
    ("which", "groups"),
    [
        ("None", None),
        ("SecurityGroup", [group_id(1), group_id(2), group_id(4)]),
        ("ApplicationGroup", [group_id(2)]),
        ("All", [group_id(1), group_id(2), group_id(4), "list"]),
    ],
)
async def test_groups_come_as_configured_and_nested_ones_count(
    client: Client, which: str, groups: list[str] | None
) -> None:
    """Noor is in group 1, which is in group 2, and in a distribution list; group 4 has her directly."""
    newsletter = {"displayName": "Newsletter", "mailEnabled": True, "securityEnabled": False}
    made = (await client.control("POST", "groups", newsletter)).json["id"]
    for group in (made, group_id(4)):
        await client.control("POST", f"groups/{group}/members", {"add": [NOOR]})
    await assign(client, group_id(2), "Bridge.Reader")
    await client.control("PUT", "registration", {"group_claims": which})
    claims = await claims_of(client, NOOR)
    wanted = None if groups is None else [made if group == "list" else group for group in groups]
    assert claims.get("groups") == wanted


@pytest.mark.parametrize(("count", "overage"), [(198, False), (199, True)])
async def test_above_200_groups_the_token_points_elsewhere(client: Client, count: int, overage: bool) -> None:
    directory = client.emulator.directory
    for number in range(count):  # beside the two that she is in
        group = directory.create("group", {"displayName": f"Group {number}"})
        directory.link(group, "members", [NOOR], [])
    await client.control("PUT", "registration", {"group_claims": "SecurityGroup"})
    await client.control("POST", "consent", {"grant": ["User.Read"]})
    tokens = await tokens_for(client, NOOR)
    claims = await verified(client, tokens["id_token"])
    assert ("groups" in claims) != overage
    assert ("_claim_names" in claims) == overage
    client.token = tokens["access_token"]
    path = "/v1.0/me/getMemberObjects"
    whole = (await client.send("POST", path, json={"securityEnabledOnly": True})).json["value"]
    assert len(whole) == count + 2
    if overage:
        assert claims["_claim_names"] == {"groups": "src1"}
        assert claims["_claim_sources"]["src1"]["endpoint"].endswith(f"/users/{NOOR}/getMemberObjects")
    else:
        assert claims["groups"] == whole


# Wrong ones


async def forged(client: Client, kind: str, **claims: Any) -> str:
    forgery = {"kind": kind, "claims": claims}
    answer = await client.control("POST", "id-token", {"user": NOOR, "nonce": "the nonce", "forgery": forgery})
    assert answer.status == 200, answer.text
    return str(answer.json["id_token"])


async def test_a_genuine_one_can_be_had_by_hand(client: Client) -> None:
    assert (await verified(client, await forged(client, "genuine")))["nonce"] == "the nonce"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("foreign_key", jwt.InvalidSignatureError),
        ("expired", jwt.ExpiredSignatureError),
        ("not_yet_valid", jwt.ImmatureSignatureError),
        ("other_tenant", jwt.InvalidIssuerError),
        ("wrong_issuer", jwt.InvalidIssuerError),
        ("wrong_audience", jwt.InvalidAudienceError),
        ("alg_none", jwt.InvalidAlgorithmError),
        ("alg_hs256", jwt.InvalidAlgorithmError),
    ],
)
async def test_a_careful_app_refuses_each_wrong_one(client: Client, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await verified(client, await forged(client, kind))


async def test_the_unknown_key_is_not_published(client: Client) -> None:
    kid = jwt.get_unverified_header(await forged(client, "unknown_key"))["kid"]
    keys = (await client.send("GET", f"/{sample.TENANT_ID}/discovery/v2.0/keys")).json["keys"]
    assert kid not in [key["kid"] for key in keys]


async def test_a_token_of_another_tenant_is_consistent_in_itself(client: Client) -> None:
    claims = jwt.decode(await forged(client, "other_tenant"), options={"verify_signature": False})
    assert (claims["tid"], FOREIGN_TENANT in claims["iss"]) == (FOREIGN_TENANT, True)


async def test_a_wrong_nonce_is_the_only_thing_wrong(client: Client) -> None:
    assert (await verified(client, await forged(client, "wrong_nonce")))["nonce"] != "the nonce"


async def test_claims_can_be_replaced_and_removed(client: Client) -> None:
    claims = await verified(client, await forged(client, "genuine", oid=None, roles=["Bridge.Admin"]))
    assert ("oid" in claims, claims["roles"]) == (False, ["Bridge.Admin"])


async def test_the_next_sign_ins_get_the_planned_tokens(client: Client) -> None:
    await client.control("PUT", "sign-in", {"next_id_tokens": [{"kind": "wrong_nonce"}, {"kind": "foreign_key"}]})
    assert (await claims_of(client, NOOR))["nonce"] != "the nonce"
    with pytest.raises(jwt.InvalidSignatureError):
        await claims_of(client, NOOR)
    assert (await claims_of(client, NOOR))["nonce"] == "the nonce"


async def test_after_a_rotation_the_new_key_signs_and_is_published(client: Client) -> None:
    old = (await tokens_for(client, NOOR))["id_token"]
    await client.control("POST", "rotate-keys")
    new = (await tokens_for(client, NOOR))["id_token"]
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    for token in (old, new):
        assert (await verified(client, token))["oid"] == NOOR
