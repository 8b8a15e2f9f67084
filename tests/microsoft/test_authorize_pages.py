"""The pages of a sign-in, used as a person uses them, without scripts."""

import pytest

from local.sample import user_id
from tests.microsoft.browser import Browser, Page
from tests.microsoft.signing_in import CALLBACK, address, assert_error, assert_shown, automatic, redeem, refresh
from tests.microsoft.support import Client

NOOR, SEAN = user_id(1), user_id(3)
NOOR_BUTTON = "Noor Bakker user1@contoso.example"
SCOPES = ["openid", "profile", "email", "offline_access", "User.Read"]


@pytest.fixture
async def browser(client: Client) -> Browser:
    return Browser(client)


async def withdraw(client: Client, *scopes: str) -> None:
    answer = await client.control("POST", "consent", {"withdraw": list(scopes)})
    assert answer.status == 200, answer.text


# Choosing who signs in


async def test_everybody_is_listed_with_what_is_special_about_them(browser: Browser) -> None:
    page = await browser.open(address())
    assert (page.status, page.heading) == (200, "Sign in")
    assert page.labels == ["Name or sign-in name"]
    assert page.buttons == [
        "Search",
        NOOR_BUTTON,
        "Imre Szabo user2@contoso.example Account disabled",
        "Seán O'Brien user3@contoso.example",
        "Mara Jansen user4@contoso.example",
        "Luca Rossi user5@contoso.example Guest",
        "Cancel",
    ]
    assert "Entra Bridge (sample)" in page.words
    assert "Showing 5" in page.words


async def test_choosing_somebody_signs_them_in(client: Client, browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), NOOR_BUTTON)
    assert page.location.startswith(f"{CALLBACK}?")
    assert page.returned()["state"] == "the state"
    assert (await redeem(client, page.returned()["code"])).status == 200
    assert "code" in (await browser.open(address(prompt="none"))).returned(), "the browser stays signed in"


@pytest.mark.parametrize("words", ["o'brien", "USER3@", "  seán ", "sean.o'brien@contoso.example"])
async def test_a_search_finds_by_name_sign_in_name_and_mail(browser: Browser, words: str) -> None:
    page = await browser.press(await browser.open(address()), "Search", search=words)
    assert page.buttons == ["Search", "Seán O'Brien user3@contoso.example", "Cancel"]
    assert "code" in (await browser.press(page, "Seán O'Brien")).returned()


async def test_a_search_that_finds_nobody_says_so(browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), "Search", search="nobody at all")
    assert page.buttons == ["Search", "Cancel"]
    assert "Showing 0" in page.words


async def test_a_large_tenant_shows_some_and_finds_the_others(client: Client, browser: Browser) -> None:
    for number in range(100):
        new = {"displayName": f"Person {number:03}", "userPrincipalName": f"p{number}@contoso.example"}
        client.emulator.directory.create("user", new)
    page = await browser.open(address())
    assert len(page.buttons) == 27
    assert "Showing 25 of 105." in page.words
    page = await browser.press(page, "Search", search="Person 099")
    assert "code" in (await browser.press(page, "Person 099")).returned()


@pytest.mark.parametrize(
    ("hints", "shown"),
    [
        ({"login_hint": "user4@contoso.example"}, 1),
        ({"domain_hint": "contoso.example"}, 5),
        ({"domain_hint": "organizations"}, 5),
    ],
    ids=str,
)
async def test_hints_search_at_once(browser: Browser, hints: dict[str, str], shown: int) -> None:
    page = await browser.open(address(**hints))
    assert len(page.buttons) - 2 == shown


async def test_cancelling_tells_the_app_without_a_description(browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), "Cancel")
    assert page.returned() == {"error": "access_denied", "error_subcode": "cancel", "state": "the state"}


async def test_choosing_a_disabled_account_shows_why_it_is_refused(browser: Browser) -> None:
    assert_shown(await browser.press(await browser.open(address()), "Imre Szabo"), 50057)


async def test_a_page_left_open_too_long_has_to_start_again(client: Client, browser: Browser) -> None:
    page = await browser.open(address())
    await client.control("POST", "clock", {"advance_seconds": 3601})
    assert_shown(await browser.press(page, NOOR_BUTTON), 50089)


async def test_a_page_is_good_for_one_sign_in(browser: Browser) -> None:
    page = await browser.open(address())
    await browser.press(page, NOOR_BUTTON)
    assert_shown(await browser.press(page, NOOR_BUTTON), 50089)


async def test_a_name_with_markup_is_shown_as_it_is(client: Client, browser: Browser) -> None:
    name = """<script>alert("1")</script>'&amp;"""
    await client.control("PATCH", f"users/{NOOR}", {"displayName": name})
    await client.control("PUT", "app", {"display_name": "<b>App</b>"})
    await withdraw(client, "User.Read")
    page = await browser.open(address())
    assert page.buttons[1] == f"{name} user1@contoso.example"
    assert "<b>App</b>" in page.words
    page = await browser.press(page, "Search", search='"><script>')
    assert page.forms[0].fields["search"] == '"><script>'
    page = await browser.press(await browser.open(address()), name)
    assert "<b>App</b> would like to" in page.words


async def test_pages_run_no_script_and_are_not_kept(browser: Browser) -> None:
    page = await browser.open(address())
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Cache-Control"].startswith("no-store")


# Consent


async def consent_page(browser: Browser, button: str = NOOR_BUTTON, **changes: str) -> Page:
    return await browser.press(await browser.open(address(**changes)), button)


async def test_missing_consent_is_asked_for_and_remembered_for_that_user(client: Client, browser: Browser) -> None:
    await withdraw(client, "User.Read", "profile")
    page = await consent_page(browser)
    assert page.heading == "Permissions requested"
    assert page.items == [
        "Sign you in and read your profile",
        "Sign you in",
        "View your basic profile",
        "View your email address",
        "Maintain access to data you have given it access to",
    ]
    assert (page.labels, page.buttons) == ([], ["Accept", "Cancel"])
    page = await browser.press(page, "Accept")
    assert (await redeem(client, page.returned()["code"])).status == 200
    consent = (await client.control("GET", "consent")).json
    assert set(consent["users"]) == {NOOR}
    assert "User.Read" not in consent["organization"]
    assert "code" in (await browser.open(address())).returned()
    assert (await consent_page(browser, "Seán", prompt="login")).heading == "Permissions requested"


@pytest.mark.parametrize("error", ["access_denied", "consent_required"])
async def test_declining_is_told_to_the_app(client: Client, browser: Browser, error: str) -> None:
    await withdraw(client, "User.Read")
    await client.control("PUT", "sign-in", {"declined_error": error})
    assert_error(await browser.press(await consent_page(browser), "Cancel"), error, 65004)
    assert (await client.control("GET", "consent")).json["users"] == {}


async def test_silently_missing_consent_is_an_error(client: Client, browser: Browser) -> None:
    await consent_page(browser)
    await withdraw(client, "User.Read")
    assert_error(await browser.open(address(prompt="none")), "consent_required", 65001)


async def test_the_app_may_insist_on_the_consent_page(browser: Browser) -> None:
    page = await consent_page(browser, prompt="consent")
    assert page.heading == "Permissions requested"
    assert "code" in (await browser.press(page, "Accept")).returned()


async def test_an_administrator_may_consent_for_everybody(client: Client, browser: Browser) -> None:
    await withdraw(client, "User.Read", "Presence.Read.All")
    await client.control("PUT", "sign-in", {"administrators": [NOOR]})
    page = await consent_page(browser, scope="openid offline_access User.Read Presence.Read.All")
    assert page.labels == ["Consent on behalf of your organization"]
    assert "code" in (await browser.press(page, "Accept", organization="yes")).returned()
    consent = (await client.control("GET", "consent")).json
    assert {"User.Read", "Presence.Read.All"} <= set(consent["organization"])
    assert consent["users"] == {}
    assert "code" in (await consent_page(browser, "Seán", prompt="login")).returned()


async def test_an_administrator_may_consent_for_oneself(client: Client, browser: Browser) -> None:
    await withdraw(client, "Presence.Read.All")
    await client.control("PUT", "sign-in", {"administrators": [NOOR]})
    page = await consent_page(browser, scope="Presence.Read.All")
    assert "code" in (await browser.press(page, "Accept")).returned()
    assert (await client.control("GET", "consent")).json["users"] == {NOOR: ["Presence.Read.All"]}


@pytest.mark.parametrize("tenant_forbids", [False, True])
async def test_what_only_an_administrator_may_grant_needs_approval(
    client: Client, browser: Browser, tenant_forbids: bool
) -> None:
    scope = "User.Read" if tenant_forbids else "Presence.Read.All"
    await withdraw(client, scope)
    await client.control("PUT", "sign-in", {"user_consent": not tenant_forbids, "administrators": [SEAN]})
    page = await consent_page(browser, scope=scope)
    assert page.heading == "Need admin approval"
    assert_error(await browser.press(page, "Return to the application"), "access_denied", 65004)
    page = await consent_page(browser, scope=scope, prompt="login")
    page = await browser.press(page, "Have an admin account?")
    page = await browser.press(page, "Seán O'Brien")
    assert page.labels == ["Consent on behalf of your organization"]
    assert "code" in (await browser.press(page, "Accept", organization="yes")).returned()


async def test_nobody_gets_around_the_approval_by_posting_an_answer(client: Client, browser: Browser) -> None:
    await withdraw(client, "Presence.Read.All")
    page = await consent_page(browser, scope="Presence.Read.All")
    form = {**page.forms[0].fields, "answer": "accept", "organization": "yes"}
    answer = await client.send("POST", page.url.replace("/login", "/consent"), data=form, allow_redirects=False)
    assert "Need admin approval" in answer.text
    assert "Presence.Read.All" not in (await client.control("GET", "consent")).text


async def test_an_answer_counts_only_after_somebody_signed_in(client: Client, browser: Browser) -> None:
    page = await browser.open(address())
    form = {**page.forms[1].fields, "answer": "accept"}
    url = page.url.partition("?")[0].replace("/oauth2/v2.0/authorize", "/consent")
    answer = await client.send("POST", url, data=form, allow_redirects=False)
    assert "<h1>Sign in</h1>" in answer.text


@pytest.mark.parametrize(
    ("answer", "outcome"), [("accept", "code"), ("accept_for_organization", "code"), ("decline", "error")]
)
async def test_consent_can_be_answered_without_the_page(client: Client, answer: str, outcome: str) -> None:
    await withdraw(client, "User.Read")
    browser = await automatic(client, NOOR, automatic_consent=answer, administrators=[NOOR])
    assert outcome in (await browser.open(address())).returned()
    consent = (await client.control("GET", "consent")).json
    assert ("User.Read" in consent["organization"]) == (answer == "accept_for_organization")
    assert (NOOR in consent["users"]) == (answer == "accept")


async def test_consent_that_is_withdrawn_later_ends_refreshing(client: Client, browser: Browser) -> None:
    page = await consent_page(browser)
    token = (await redeem(client, page.returned()["code"])).json["refresh_token"]
    await withdraw(client, "User.Read")
    assert (await refresh(client, token)).json["error_codes"] == [65001]
    await client.control("POST", "consent", {"grant": ["User.Read"], "user": NOOR})
    assert (await refresh(client, token)).status == 200
