"""The authorize endpoint: what it takes, what the app hears, what only the person sees, and who gets in silently."""

import html
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import sample
from local.microsoft import MicrosoftEmulator
from local.microsoft.authorize_reply import Reply
from local.microsoft.registration import Registration
from local.sample import group_id, user_id
from tests.microsoft.browser import Browser
from tests.microsoft.signing_in import CALLBACK, address, assert_error, assert_shown, automatic, redeem
from tests.microsoft.support import Client

NOOR, IMRE, MARA, LUCA = (user_id(number) for number in (1, 2, 4, 5))


# What is asked


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": None}, 900144),
        ({"client_id": sample.IDENTITY_CLIENT_ID}, 700016),
        ({"redirect_uri": None}, 900144),
        ({"redirect_uri": f"{CALLBACK}/"}, 50011),
        ({"redirect_uri": "http://localhost:7071/SSO/callback"}, 50011),
        ({"redirect_uri": "https://localhost:7071/sso/callback"}, 50011),
        ({"redirect_uri": f"{CALLBACK}?more=1"}, 50011),
        ({"redirect_uri": "http://localhost.attacker.example/sso/callback"}, 50011),
        ({"redirect_uri": "http://localhost:7071@attacker.example/sso/callback"}, 50011),
        ({"redirect_uri": "http://attacker.example@localhost:7071/sso/callback"}, 50011),
        ({"redirect_uri": "http://localhost:none/sso/callback"}, 50011),
        ({"tenant": "nobody.example"}, 90002),
        ({"tenant": "common"}, 50194),
        ({"tenant": "consumers"}, 50194),
    ],
    ids=str,
)
async def test_what_concerns_the_app_itself_is_shown_and_never_redirected(
    client: Client, changes: dict[str, Any], code: int
) -> None:
    browser = await automatic(client, NOOR)
    assert_shown(await browser.open(address(**changes)), code)


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": None}, "invalid_request", 900144),
        ({"response_type": "token"}, "unsupported_response_type", 700054),
        ({"response_type": "code id_token"}, "unsupported_response_type", 700054),
        ({"response_mode": "web_message"}, "invalid_request", 70007),
        ({"scope": None}, "invalid_request", 900144),
        ({"scope": "openid Nonsense.Read"}, "invalid_client", 650053),
        ({"scope": "https://graph.microsoft.com/.default User.Read"}, "invalid_scope", 70011),
        ({"scope": "User.Read https://vault.azure.net/user_impersonation"}, "invalid_scope", 28000),
        ({"scope": "https://elsewhere.example/User.Read"}, "invalid_resource", 500011),
        ({"prompt": "sometimes"}, "invalid_request", 90023),
        ({"code_challenge_method": "plain"}, "invalid_request", 50149),
        ({"code_challenge_method": None}, "invalid_request", 50149),
        ({"code_challenge": None}, "invalid_request", 50147),
        ({"code_challenge": "short"}, "invalid_request", 501491),
        ({"code_chalenge": "x"}, "invalid_request", 9002313),
    ],
    ids=str,
)
async def test_what_the_app_got_wrong_it_hears_of(
    client: Client, changes: dict[str, Any], error: str, code: int
) -> None:
    browser = await automatic(client, NOOR)
    page = await browser.open(address(**changes))
    assert page.status == 302
    assert page.location.startswith(f"{CALLBACK}?")
    assert_error(page, error, code)


async def test_a_repeated_parameter_is_malformed(client: Client) -> None:
    assert_shown(await Browser(client).open(address() + "&state=another"), 9002313)


@pytest.mark.parametrize("tenant", [sample.TENANT_ID, "contoso.example", "Contoso.onmicrosoft.example"])
async def test_the_tenant_may_be_named_by_id_or_domain(client: Client, tenant: str) -> None:
    page = await (await automatic(client, NOOR)).open(address(tenant=tenant))
    assert (await redeem(client, page.returned()["code"])).status == 200


@pytest.mark.parametrize("tenant", ["common", "organizations"])
async def test_an_app_for_many_tenants_may_ask_without_naming_one(client: Client, tenant: str) -> None:
    await client.control("PUT", "registration", {"multi_tenant": True})
    page = await (await automatic(client, NOOR)).open(address(tenant=tenant))
    answer = await redeem(client, page.returned()["code"], tenant=tenant)
    assert answer.status == 200


async def test_the_request_may_be_posted(client: Client) -> None:
    await automatic(client, NOOR)
    path, _, query = address().partition("?")
    answer = await client.send("POST", path, data=dict(parse_qsl(query)), allow_redirects=False)
    assert "code=" in answer.headers["Location"]


# How it is answered


@pytest.mark.parametrize(("mode", "separator"), [(None, "?"), ("query", "?"), ("fragment", "#")])
async def test_code_and_state_come_in_the_address(client: Client, mode: str | None, separator: str) -> None:
    page = await (await automatic(client, NOOR)).open(address(response_mode=mode))
    assert (page.status, page.location.startswith(f"{CALLBACK}{separator}")) == (302, True)
    assert set(page.returned()) == {"code", "state", "session_state"}
    assert page.returned()["state"] == "the state"
    assert page.headers["Cache-Control"].startswith("no-store")


async def test_a_form_post_carries_the_same_and_has_a_button_for_browsers_without_scripts(client: Client) -> None:
    state = """a "quoted" <state> & more"""
    page = await (await automatic(client, NOOR)).open(address(response_mode="form_post", state=state))
    assert (page.status, page.form.method, page.form.action) == (200, "post", CALLBACK)
    assert set(page.form.fields) == {"code", "state", "session_state"}
    assert page.form.fields["state"] == state
    assert page.buttons == ["Continue"]
    assert "form-action" not in page.headers["Content-Security-Policy"], "it would stop the form at the app's redirect"


async def test_without_a_state_none_comes_back(client: Client) -> None:
    page = await (await automatic(client, NOOR)).open(address(state=None))
    assert set(page.returned()) == {"code", "session_state"}


async def test_an_error_takes_the_way_that_was_asked_for(client: Client) -> None:
    page = await Browser(client).open(address(response_mode="form_post", prompt="none"))
    assert page.form.action == CALLBACK
    assert_error(page, "login_required", 50058)


async def test_microsofts_client_libraries_learn_who_signed_in(client: Client) -> None:
    page = await (await automatic(client, NOOR)).open(address(client_info="1"))
    assert "client_info" in page.returned()


@given(st.text(), st.sampled_from(["query", "fragment"]))
def test_any_state_survives_the_address(state: str, mode: str) -> None:
    parts = urlsplit(Reply("https://app.example/back?keep=1", mode, state).send({"code": "c"}).headers["Location"])
    found = dict(parse_qsl(parts.query if mode == "query" else parts.fragment, keep_blank_values=True))
    kept = {"keep": "1"} if mode == "query" else {}
    assert found == {"code": "c", "state": state, **kept}


@given(st.text().filter(lambda text: "\0" not in text and "\r" not in text))
def test_any_state_survives_the_form(state: str) -> None:
    body = Reply("https://app.example/back", "form_post", state).send({}).text or ""
    value = body.partition('name="state" value="')[2].partition('"')[0]
    assert html.unescape(value) == html.unescape(html.escape(state)) == state
    assert "<" not in value


def test_an_address_without_a_path_gets_one() -> None:
    assert Reply("https://app.example").send({"code": "c"}).headers["Location"] == "https://app.example/?code=c"


@given(st.integers(1, 65535), st.sampled_from(["localhost", "127.0.0.1"]))
def test_only_the_port_of_a_loopback_address_does_not_count(port: int, host: str) -> None:
    registered = Registration(redirect_uris=[f"http://{host}/back", "https://app.example/back"])
    assert registered.accepts(f"http://{host}:{port}/back")
    assert not registered.accepts(f"http://{host}:{port}/other")
    assert not registered.accepts(f"https://{host}:{port}/back")
    assert not registered.accepts(f"https://app.example:{port}/back")


# Who gets in without a page


async def signed_in(client: Client, user: str = NOOR) -> Browser:
    """A browser that has signed in once and remembers it."""
    browser = await automatic(client, user)
    await browser.open(address())
    await client.control("PUT", "sign-in", {"automatic_user": None})
    return browser


async def test_whoever_is_signed_in_already_gets_in_silently(client: Client) -> None:
    browser = await signed_in(client)
    for prompt in (None, "none"):
        page = await browser.open(address(prompt=prompt))
        assert "code" in page.returned()


async def test_nobody_signed_in_is_an_error_for_a_silent_request(client: Client) -> None:
    assert_error(await Browser(client).open(address(prompt="none")), "login_required", 50058)


@pytest.mark.parametrize("prompt", ["login", "select_account"])
async def test_the_app_may_insist_on_the_page(client: Client, prompt: str) -> None:
    page = await (await signed_in(client)).open(address(prompt=prompt))
    assert page.heading == "Sign in"


async def test_a_hint_at_somebody_else_asks_again(client: Client) -> None:
    browser = await signed_in(client)
    for hint in ("USER1@contoso.example", "noor@contoso.example", NOOR):
        assert "code" in (await browser.open(address(login_hint=hint))).returned()
    page = await browser.open(address(login_hint="user4@contoso.example"))
    assert (page.heading, page.buttons) == ("Sign in", ["Search", "Mara Jansen user4@contoso.example", "Cancel"])
    silent = await browser.open(address(login_hint="user4@contoso.example", prompt="none"))
    assert_error(silent, "login_required", 50058)


async def test_a_session_ends_with_time(client: Client) -> None:
    browser = await signed_in(client)
    await client.control("POST", "clock", {"advance_seconds": 86_401})
    assert_error(await browser.open(address(prompt="none")), "login_required", 50058)


async def test_a_session_ends_with_its_user(client: Client) -> None:
    browser = await signed_in(client)
    await client.control("DELETE", f"users/{NOOR}")
    assert_error(await browser.open(address(prompt="none")), "login_required", 50058)


async def test_a_session_ends_when_it_is_revoked(client: Client) -> None:
    browser = await signed_in(client)
    assert (await client.control("POST", f"users/{NOOR}/revoke")).status == 204
    assert_error(await browser.open(address(prompt="none")), "login_required", 50058)


async def test_the_cookie_is_kept_from_scripts_and_comes_along_from_other_sites(client: Client) -> None:
    page = await (await automatic(client, NOOR)).open(address())
    cookie = page.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=None", "Path=/"))


# Who does not get in


async def test_a_disabled_user_sees_why(client: Client) -> None:
    assert_shown(await (await automatic(client, IMRE)).open(address()), 50057)
    silent = await (await automatic(client, IMRE)).open(address(prompt="none"))
    assert_error(silent, "interaction_required", 50057)


async def test_where_assignment_is_required_only_the_assigned_get_in(client: Client) -> None:
    await client.control("PUT", "registration", {"assignment_required": True})
    browser = await automatic(client, NOOR)
    assert_shown(await browser.open(address()), 50105)
    assert_error(await browser.open(address(prompt="none")), "interaction_required", 50105)
    assert (await client.control("POST", "assignments", {"principal": NOOR})).status == 201
    assert "code" in (await browser.open(address())).returned()
    gone = await client.send("DELETE", f"/_control/assignments?principal={NOOR}")
    assert gone.status == 204
    assert_shown(await browser.open(address()), 50105)


async def test_a_group_lets_in_its_direct_members_only(client: Client) -> None:
    await client.control("PUT", "registration", {"assignment_required": True})
    await client.control("POST", "assignments", {"principal": group_id(1), "role": "Bridge.Reader"})
    assert "code" in (await (await automatic(client, NOOR)).open(address())).returned()
    await client.control("POST", f"groups/{group_id(2)}/members", {"add": [MARA]})  # inside group 1
    assert_shown(await (await automatic(client, MARA)).open(address()), 50105)


async def test_a_guest_gets_in(client: Client) -> None:
    assert "code" in (await (await automatic(client, LUCA)).open(address())).returned()


async def test_the_sample_administrator_gets_in_at_once() -> None:
    made = MicrosoftEmulator()
    assert made.sign_in.content.switches.administrators == list(sample.ADMINISTRATORS)
    assert made.directory.entities[sample.ADMINISTRATORS[0]].properties["accountEnabled"]
    app = made.authority.apps[sample.CLIENT_ID]
    assert app.consent.missing(sample.ADMINISTRATORS[0], sample.DELEGATED) == []
    assert {item.principal_id for item in app.registration.assignments} <= set(made.directory.entities)
    app.registration.check()


# Planned errors


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable", "interaction_required", "access_denied"])
async def test_the_next_request_fails_as_planned_and_the_one_after_succeeds(client: Client, error: str) -> None:
    browser = await automatic(client, NOOR, next_errors=[{"error": error}])
    page = await browser.open(address())
    assert_error(page, error, None)
    assert page.returned()["error_description"].startswith("AADSTS90033: ")
    assert "code" in (await browser.open(address())).returned()


async def test_a_planned_error_may_come_without_a_description(client: Client) -> None:
    browser = await automatic(client, NOOR, next_errors=[{"error": "access_denied", "description": None}])
    assert (await browser.open(address())).returned() == {"error": "access_denied", "state": "the state"}


# Logout


async def test_after_signing_out_nobody_is_signed_in(client: Client) -> None:
    browser = await signed_in(client)
    page = await browser.open(f"/{sample.TENANT_ID}/oauth2/v2.0/logout")
    assert (page.status, page.heading) == (200, "You signed out of your account")
    assert_error(await browser.open(address(prompt="none")), "login_required", 50058)


async def test_signing_out_leads_back_to_registered_addresses_only(client: Client) -> None:
    browser = await signed_in(client)
    path = f"/{sample.TENANT_ID}/oauth2/v2.0/logout?state=s&post_logout_redirect_uri="
    page = await browser.open(path + CALLBACK)
    assert (page.status, page.location) == (302, f"{CALLBACK}?state=s")
    page = await browser.open(path + "https://attacker.example/")
    assert (page.status, page.location) == (200, "")
