"""The token endpoint for people: codes are for one use, refresh tokens for many, and both end when they should."""

import base64
import json
from typing import Any

import jwt
import pytest

from local import sample
from local.sample import user_id
from tests.microsoft.signing_in import (
    VERIFIER,
    address,
    ask,
    automatic,
    code_for,
    redeem,
    refresh,
    tokens_for,
)
from tests.microsoft.support import Answer, Client
from tests.microsoft.test_entra import assert_refused, exchange_token

NOOR = user_id(1)
OTHER_APP = "77777777-7777-4777-8777-777777777777"
DAY = 86_400


async def pass_time(client: Client, seconds: float) -> None:
    await client.control("POST", "clock", {"advance_seconds": seconds})


async def other_app(client: Client) -> None:
    """A second app with the same permissions and the secret "other"."""
    registration = (await client.control("GET", "registration")).json
    await client.control("PUT", f"app?client_id={OTHER_APP}", {"secrets": [{"secret": "other"}]})
    for part in ("app_roles", "assignments"):
        registration[part] = []
    assert (await client.control("PUT", f"registration?client_id={OTHER_APP}", registration)).status == 200
    await client.control("POST", f"consent?client_id={OTHER_APP}", {"grant": list(sample.DELEGATED)})


# Codes


async def test_a_code_is_worth_all_tokens(client: Client) -> None:
    answer = await redeem(client, await code_for(client, NOOR))
    assert answer.status == 200
    assert answer.headers["Cache-Control"].startswith("no-store")
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["scope"] == "User.Read openid profile email"
    assert 3600 <= answer.json["expires_in"] == answer.json["ext_expires_in"] <= 5400
    assert {"access_token", "refresh_token", "id_token"} <= set(answer.json)
    assert "client_info" not in answer.json


async def test_what_was_not_asked_for_does_not_come(client: Client) -> None:
    answer = await tokens_for(client, NOOR, scope="User.Read")
    assert set(answer) == {"token_type", "scope", "expires_in", "ext_expires_in", "access_token"}


async def test_the_default_scope_stands_for_the_permissions_of_the_registration(client: Client) -> None:
    answer = await tokens_for(client, NOOR, scope="https://graph.microsoft.com/.default offline_access")
    assert answer["scope"] == "Contacts.Read.Shared Presence.Read.All User.Read"


async def test_the_second_use_of_a_code_is_refused(client: Client) -> None:
    code = await code_for(client, NOOR)
    first = (await redeem(client, code)).json
    assert_refused(await redeem(client, code), 54005, "invalid_grant", 400)
    assert (await refresh(client, first["refresh_token"])).status == 200, "what was given stays given"


async def test_a_code_lives_ten_minutes_of_the_emulators_clock(client: Client) -> None:
    early, late = await code_for(client, NOOR), await code_for(client, NOOR)
    await pass_time(client, 590)
    assert (await redeem(client, early)).status == 200
    await pass_time(client, 11)
    assert_refused(await redeem(client, late), 70008, "invalid_grant", 400)


@pytest.mark.parametrize(
    ("changes", "code", "error"),
    [
        ({"code": "1.invented"}, 9002313, "invalid_request"),
        ({"code": None}, 900144, "invalid_request"),
        ({"redirect_uri": None}, 900144, "invalid_request"),
        ({"redirect_uri": "http://localhost:7072/sso/callback"}, 500112, "invalid_grant"),
        ({"redirect_uri": "http://localhost:7071/connect/callback"}, 500112, "invalid_grant"),
        ({"code_verifier": None}, 50148, "invalid_grant"),
        ({"code_verifier": VERIFIER + "x"}, 501481, "invalid_grant"),
        ({"scope": "Contacts.Read"}, 65001, "invalid_grant"),
        ({"scope": "Nonsense.Read"}, 650053, "invalid_client"),
    ],
    ids=str,
)
async def test_a_refused_redemption_says_why_and_leaves_the_code_usable(
    client: Client, changes: dict[str, Any], code: int, error: str
) -> None:
    good = await code_for(client, NOOR)
    assert_refused(await redeem(client, **{"code": good, **changes}), code, error, 400)
    assert (await redeem(client, good)).status == 200


async def test_a_verifier_without_a_challenge_is_refused(client: Client) -> None:
    code = await code_for(client, NOOR, code_challenge=None, code_challenge_method=None)
    assert_refused(await redeem(client, code), 50147, "invalid_grant", 400)
    assert (await redeem(client, code, code_verifier=None)).status == 200


async def test_the_app_has_to_prove_that_it_is_the_app(client: Client) -> None:
    code = await code_for(client, NOOR)
    assert_refused(await redeem(client, code, client_secret=None), 7000218, "invalid_client", 401)
    assert_refused(await redeem(client, code, client_secret="wrong"), 7000215, "invalid_client", 401)
    expired = await redeem(client, code, client_secret=sample.EXPIRED_CLIENT_SECRET)
    assert_refused(expired, 7000222, "invalid_client", 401)


async def test_a_managed_identity_stands_in_for_the_secret(client: Client) -> None:
    code = await code_for(client, NOOR)
    assertion: dict[str, str | None] = {
        "client_secret": None,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": await exchange_token(client),
    }
    tokens = await redeem(client, code, **assertion)
    assert tokens.status == 200
    assert (await refresh(client, tokens.json["refresh_token"], **assertion)).status == 200


async def test_another_app_can_use_neither_code_nor_refresh_token(client: Client) -> None:
    await other_app(client)
    other: dict[str, str | None] = {"client_id": OTHER_APP, "client_secret": "other"}
    code = await code_for(client, NOOR)
    assert_refused(await redeem(client, code, **other), 70000, "invalid_grant", 400)
    token = (await redeem(client, code)).json["refresh_token"]
    assert_refused(await refresh(client, token, **other), 70000, "invalid_grant", 400)


async def test_an_app_for_one_tenant_cannot_redeem_at_common(client: Client) -> None:
    code = await code_for(client, NOOR)
    assert_refused(await redeem(client, code, tenant="common"), 50194, "invalid_request", 400)


async def test_a_token_request_may_narrow_the_scope(client: Client) -> None:
    answer = await redeem(client, await code_for(client, NOOR), scope="User.Read offline_access")
    assert (answer.json["scope"], "id_token" in answer.json) == ("User.Read", False)
    whole = await refresh(client, answer.json["refresh_token"])
    assert whole.json["scope"] == "User.Read openid profile email"


async def test_microsofts_client_libraries_learn_who_it_is(client: Client) -> None:
    answer = await redeem(client, await code_for(client, NOOR), client_info="1")
    info = base64.urlsafe_b64decode(answer.json["client_info"] + "==")
    assert json.loads(info) == {"uid": NOOR, "utid": sample.TENANT_ID}


# Refresh tokens


async def test_each_use_brings_a_new_token_and_the_old_one_stays_valid(client: Client) -> None:
    first = (await tokens_for(client, NOOR))["refresh_token"]
    second = (await refresh(client, first)).json["refresh_token"]
    third = (await refresh(client, first)).json["refresh_token"]
    assert len({first, second, third}) == 3
    for token in (first, second, third):
        assert (await refresh(client, token)).status == 200


async def test_a_token_slides_on_with_each_use_and_ends_after_90_idle_days(client: Client) -> None:
    used = (await tokens_for(client, NOOR))["refresh_token"]
    idle = (await tokens_for(client, NOOR))["refresh_token"]
    for _ in range(2):
        await pass_time(client, 60 * DAY)
        assert (await refresh(client, used)).status == 200
    answer = await refresh(client, idle)
    assert_refused(answer, 700082, "invalid_grant", 400)
    assert "90.00:00:00" in answer.json["error_description"]


async def test_a_refresh_may_ask_for_whatever_was_consented_to(client: Client) -> None:
    token = (await tokens_for(client, NOOR, scope="offline_access User.Read"))["refresh_token"]
    answer = await refresh(client, token, scope="Presence.Read.All")
    assert answer.json["scope"] == "Presence.Read.All"
    assert_refused(await refresh(client, token, scope="Contacts.Read"), 65001, "invalid_grant", 400)


async def test_withdrawn_consent_has_an_error_of_its_own(client: Client) -> None:
    token = (await tokens_for(client, NOOR))["refresh_token"]
    await client.control("POST", "consent", {"withdraw": ["User.Read"]})
    answer = await refresh(client, token)
    assert_refused(answer, 65001, "invalid_grant", 400)
    assert answer.json["suberror"] == "consent_required"


async def test_a_changed_password_ends_codes_and_refresh_tokens_of_that_user_only(client: Client) -> None:
    others = (await tokens_for(client, user_id(3)))["refresh_token"]
    before = (await tokens_for(client, NOOR))["refresh_token"]
    code = await code_for(client, NOOR)
    await client.control("POST", f"users/{NOOR}/revoke")
    assert_refused(await refresh(client, before), 50173, "invalid_grant", 400)
    assert_refused(await redeem(client, code), 50173, "invalid_grant", 400)
    assert (await refresh(client, others)).status == 200
    assert (await refresh(client, (await tokens_for(client, NOOR))["refresh_token"])).status == 200


async def test_a_disabled_user_gets_no_more_tokens_until_enabled_again(client: Client) -> None:
    token = (await tokens_for(client, NOOR))["refresh_token"]
    code = await code_for(client, NOOR)
    await client.control("PATCH", f"users/{NOOR}", {"accountEnabled": False})
    assert_refused(await refresh(client, token), 50057, "invalid_grant", 400)
    assert_refused(await redeem(client, code), 50057, "invalid_grant", 400)
    await client.control("PATCH", f"users/{NOOR}", {"accountEnabled": True})
    assert (await refresh(client, token)).status == 200


async def test_a_deleted_user_gets_no_more_tokens(client: Client) -> None:
    token = (await tokens_for(client, NOOR))["refresh_token"]
    await client.control("DELETE", f"users/{NOOR}")
    assert_refused(await refresh(client, token), 50034, "invalid_grant", 400)


async def test_an_assignment_that_ends_ends_refreshing(client: Client) -> None:
    token = (await tokens_for(client, NOOR))["refresh_token"]
    await client.control("PUT", "registration", {"assignment_required": True})
    assert_refused(await refresh(client, token), 50105, "invalid_grant", 400)


@pytest.mark.parametrize(("token", "code"), [("1.invented", 9002313), (None, 900144)])
async def test_what_is_no_refresh_token_is_refused(client: Client, token: str | None, code: int) -> None:
    form = {"client_id": sample.CLIENT_ID, "client_secret": sample.CLIENT_SECRET}
    answer = await ask(client, grant_type="refresh_token", refresh_token=token, **form)
    assert_refused(answer, code, "invalid_request", 400)


async def test_lifetimes_can_be_set(client: Client) -> None:
    lifetimes = {"code_seconds": 5, "access_token_seconds": 60, "refresh_token_seconds": 90, "id_token_seconds": 30}
    assert (await client.control("PUT", "sign-in", lifetimes)).status == 200
    tokens = await tokens_for(client, NOOR)
    assert tokens["expires_in"] == 60
    claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 30
    code = await code_for(client, NOOR)
    await pass_time(client, 91)
    assert_refused(await redeem(client, code), 70008, "invalid_grant", 400)
    assert_refused(await refresh(client, tokens["refresh_token"]), 700082, "invalid_grant", 400)


async def test_saved_content_keeps_codes_sessions_and_tokens(client: Client) -> None:
    browser = await automatic(client, NOOR)
    token = (await redeem(client, (await browser.open(address())).returned()["code"])).json["refresh_token"]
    code = (await browser.open(address())).returned()["code"]
    await client.control("PUT", "sign-in", {"automatic_user": None})
    saved = (await client.control("GET", "state")).json
    await client.control("POST", "reset")
    assert_refused(await refresh(client, token), 9002313, "invalid_request", 400)
    assert (await client.control("PUT", "state", saved)).status == 204
    assert (await client.control("GET", "state")).json == saved
    assert (await refresh(client, token)).status == 200
    assert (await redeem(client, code)).status == 200
    assert "code" in (await browser.open(address(prompt="none"))).returned()


@pytest.mark.parametrize("damage", [{}, {"sign_in": {"codes": 1}}, {"sign_in": {"more": {}}}], ids=str)
async def test_saved_content_with_a_damaged_part_is_refused_whole(client: Client, damage: dict[str, Any]) -> None:
    saved = (await client.control("GET", "state")).json
    rest = {name: value for name, value in saved.items() if name != "sign_in"}
    answer = await client.control("PUT", "state", rest | damage)
    assert (answer.status, "sign_in" in answer.json["error"]) == (400, True)
    assert (await client.control("GET", "state")).json == saved


# Delegated access tokens


async def call(client: Client, path: str, tokens: dict[str, Any], method: str = "GET", **options: Any) -> Answer:
    client.token = tokens["access_token"]
    return await client.send(method, path, **options)


async def test_a_delegated_token_opens_what_its_scopes_open(client: Client) -> None:
    reading = ["User.Read.All", "GroupMember.Read.All", "Organization.Read.All"]
    await client.control("POST", "consent", {"grant": reading})
    tokens = await tokens_for(client, NOOR, scope=" ".join(reading))
    for path in ("users", "users/delta", "groups", "organization"):
        assert (await call(client, f"/v1.0/{path}", tokens)).status == 200, path
    less = await tokens_for(client, NOOR, scope="User.Read")
    for path in ("users", "users/delta", "groups", "organization", f"applications(appId='{sample.CLIENT_ID}')"):
        assert (await call(client, f"/v1.0/{path}", less)).status == 403, path
    assert (await call(client, "/secrets?api-version=7.4", tokens)).status == 401


async def test_a_delegated_token_names_user_and_scopes(client: Client) -> None:
    tokens = await tokens_for(client, NOOR)
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert (claims["oid"], claims["tid"], claims["appid"]) == (NOOR, sample.TENANT_ID, sample.CLIENT_ID)
    assert claims["scp"] == "User.Read openid profile email"
    assert "roles" not in claims
    principal = client.emulator.tokens.validate(tokens["access_token"], "https://graph.microsoft.com")
    assert (principal.delegated, principal.object_id) == (True, NOOR)


async def test_an_access_token_ends_when_it_said(client: Client) -> None:
    tokens = await tokens_for(client, NOOR)
    await pass_time(client, tokens["expires_in"] - 5)
    assert (await call(client, "/v1.0/me", tokens)).status == 200
    await pass_time(client, 6)
    assert (await call(client, "/v1.0/me", tokens)).status == 401
