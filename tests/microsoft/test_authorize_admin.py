"""The admin-consent endpoints: an administrator grants for everybody, without a sign-in to the app."""

from typing import Any
from urllib.parse import urlencode

import pytest

from local import sample
from local.sample import user_id
from tests.microsoft.browser import Browser
from tests.microsoft.signing_in import assert_shown
from tests.microsoft.support import Client

NOOR = user_id(1)
CALLBACK = "http://localhost:7071/connect/callback"
GRAPH = "https://graph.microsoft.com"
ALWAYS = {"admin_consent": "True", "tenant": sample.TENANT_ID, "state": "s"}


def address(tail: str = "v2.0/adminconsent", tenant: str = sample.TENANT_ID, **changes: str | None) -> str:
    usual: dict[str, str | None] = {"client_id": sample.CLIENT_ID, "redirect_uri": CALLBACK, "state": "s"}
    if tail.startswith("v2.0"):
        usual["scope"] = f"{GRAPH}/.default"
    parameters = {name: value for name, value in {**usual, **changes}.items() if value is not None}
    return f"/{tenant}/{tail}?{urlencode(parameters)}"


@pytest.fixture
async def browser(client: Client) -> Browser:
    """Of an administrator, in a tenant where nothing was granted yet."""
    await client.control("PUT", "sign-in", {"administrators": [NOOR]})
    await client.control("POST", "consent", {"withdraw": list(sample.DELEGATED)})
    await client.control("PUT", "app", {"roles": []})
    return Browser(client)


async def granted(client: Client) -> tuple[set[str], set[str]]:
    """Delegated and application permissions."""
    consent, app = await client.control("GET", "consent"), await client.control("GET", "app")
    return set(consent.json["organization"]), set(app.json["roles"])


async def test_the_default_scope_grants_all_that_the_registration_lists(client: Client, browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), "Noor Bakker")
    assert "all users in your organization" in page.words
    assert "User.Read.All (application)" in page.items
    returned = (await browser.press(page, "Accept")).returned()
    assert {name: returned[name] for name in ALWAYS} == ALWAYS
    assert f"{GRAPH}/Presence.Read.All" in returned["scope"].split()
    assert await granted(client) == (set(sample.DELEGATED), set(sample.ROLES))


async def test_named_scopes_grant_just_these(client: Client, browser: Browser) -> None:
    wanted = f"{GRAPH}/User.Read {GRAPH}/Contacts.Read"
    page = await browser.press(await browser.open(address(scope=wanted)), "Noor Bakker")
    returned = (await browser.press(page, "Accept")).returned()
    assert returned == {**ALWAYS, "scope": wanted}
    assert await granted(client) == ({"User.Read", "Contacts.Read"}, set())


async def test_the_older_endpoint_grants_all_and_names_no_scope(client: Client, browser: Browser) -> None:
    page = await browser.press(await browser.open(address("adminconsent")), "Noor Bakker")
    assert (await browser.press(page, "Accept")).returned() == ALWAYS
    assert await granted(client) == (set(sample.DELEGATED), set(sample.ROLES))


async def test_declining_comes_back_as_an_error_and_grants_nothing(client: Client, browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), "Noor Bakker")
    returned = (await browser.press(page, "Cancel")).returned()
    assert {name: returned[name] for name in ALWAYS} == ALWAYS
    assert returned["error"] == "access_denied"
    assert returned["error_description"].startswith("AADSTS65004: ")
    assert await granted(client) == (set(), set())


async def test_others_cannot_grant(client: Client, browser: Browser) -> None:
    page = await browser.press(await browser.open(address()), "Seán O'Brien")
    assert page.heading == "Need admin approval"
    form = {**page.forms[0].fields, "answer": "accept", "organization": "yes"}
    answer = await client.send("POST", f"/{sample.TENANT_ID}/consent", data=form, allow_redirects=False)
    assert "Need admin approval" in answer.text
    returned = (await browser.press(page, "Return to the application")).returned()
    assert (returned["error"], returned["admin_consent"]) == ("access_denied", "True")
    assert await granted(client) == (set(), set())


async def test_it_can_be_answered_without_pages(client: Client, browser: Browser) -> None:
    await client.control("PUT", "sign-in", {"automatic_user": NOOR, "automatic_consent": "accept"})
    assert "error" not in (await browser.open(address())).returned()
    assert await granted(client) == (set(sample.DELEGATED), set(sample.ROLES))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": sample.IDENTITY_CLIENT_ID}, 700016),
        ({"redirect_uri": "http://localhost:7071/elsewhere"}, 50011),
        ({"tenant": "nobody.example"}, 90002),
        ({"tenant": "organizations"}, 50194),
    ],
    ids=str,
)
async def test_what_concerns_the_app_itself_is_shown(browser: Browser, changes: dict[str, Any], code: int) -> None:
    assert_shown(await browser.open(address(**changes)), code)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": None}, "invalid_request"),
        ({"scope": "Nonsense.Read"}, "invalid_client"),
        ({"prompt": "login"}, "invalid_request"),
        ({"tail": "adminconsent", "scope": "User.Read"}, "invalid_request"),
    ],
    ids=str,
)
async def test_what_the_app_got_wrong_it_hears_of(browser: Browser, changes: dict[str, Any], error: str) -> None:
    returned = (await browser.open(address(**changes))).returned()
    assert {name: returned[name] for name in ALWAYS} == ALWAYS
    assert returned["error"] == error
