"""What people see when something does not work: each page says what to do, and everybody can read it."""

import urllib.parse
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Page, expect

from local.cloud import Cloud
from tests.browser.accessibility import check_accessible
from tests.browser.conftest import SETUP_KEY
from tests.browser.console_site import (
    ADMIN,
    CALLBACK,
    NOBODY,
    READER,
    address,
    connect_microsoft,
    connect_pbx,
    enter_setup_key,
    open_page,
    planted,
    submit,
    title,
    to_microsoft,
    with_microsoft,
    with_setup_key,
)
from tests.browser.watch import Watch
from tests.system.client import Client

CONNECT = "Connect Microsoft 365 and the PBX"
HOUR = 3600.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(cloud: Cloud) -> AsyncIterator[Client]:
    """Of a cloud whose secrets are stored already."""
    async with Client(cloud) as client:
        await client.secrets()
        yield client


async def tells(page: Page, heading: str, what: str, action: str) -> None:
    """The page names what is wrong and what to do about it."""
    await expect(title(page)).to_have_text(heading)
    await expect(page.get_by_role("alert").filter(has_text=what)).to_be_visible()
    await expect(page.locator("main")).to_contain_text(action)
    await check_accessible(page)


async def test_a_cancelled_sign_in(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 400")
    await to_microsoft(page, cloud)
    await page.get_by_role("button", name="Cancel").click()
    await tells(page, "Sign-in cancelled", "The sign-in was cancelled", "Begin it again.")
    await page.get_by_role("link", name="Back to the console").click()
    await expect(page.get_by_role("button", name="Sign in with Microsoft")).to_be_visible()


async def test_consent_that_only_an_administrator_can_give(
    cloud: Cloud, client: Client, watch: Watch, page: Page
) -> None:
    watch.expect("status of 403")
    missing = {"error": "consent_required", "description": "AADSTS65001: The user or administrator has not consented."}
    await client.microsoft("PUT", "sign-in", {"next_errors": [missing]})
    await to_microsoft(page, cloud)
    await tells(page, "Consent is missing", "(AADSTS65001)", "Ask for consent on the page Connect")


async def test_an_account_of_another_tenant(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 403")
    await client.microsoft("PUT", "sign-in", {"next_id_tokens": [{"kind": "other_tenant"}]})
    await with_microsoft(page, cloud, ADMIN)
    await tells(page, "The account belongs to another tenant", "is of another", "Sign in with an account of")


async def test_an_account_without_a_role(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 403")
    await with_microsoft(page, cloud, NOBODY)
    await tells(page, "Your account may not use this console", "neither of the app roles", "An administrator of the")


async def test_an_answer_of_microsoft_that_comes_twice(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 400")
    async with page.expect_request(f"**{CALLBACK}") as sent:
        await with_microsoft(page, cloud, ADMIN)
    await expect(title(page)).to_contain_text("Overview")
    answer = dict(urllib.parse.parse_qsl((await sent.value).post_data or ""))
    assert answer["code"]
    await page.context.clear_cookies(name="__Host-bridge")
    await page.goto("about:blank")
    await submit(page, address(cloud, CALLBACK), answer)
    await tells(page, "This sign-in cannot be finished", "its answer was used already", "begin the sign-in again")


async def test_an_answer_that_nobody_asked_for(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 400")
    await submit(page, address(cloud, CALLBACK), {"code": "made-up", "state": "made-up"})
    await tells(page, "This sign-in cannot be finished", "begun in another browser", "begin the sign-in again")


async def test_a_session_that_has_ended(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 401")
    watch.expect("status of 401")
    await with_setup_key(page, cloud, to="/console/users")
    await cloud.advance(9 * HOUR)
    await page.get_by_role("button", name="Save").click()
    await tells(page, "Signed out", "Your session has ended. Nothing was changed.", "Sign in and do it again.")
    await page.get_by_role("link", name="Sign in").click()
    await enter_setup_key(page, SETUP_KEY)
    await open_page(page, cloud, "/console/users/find")
    await cloud.advance(9 * HOUR)
    await page.get_by_label("Name, user principal name or address").press_sequentially("Tim")
    await expect(page.get_by_text("Your session has ended. Sign in to go on where you were.")).to_be_visible()
    await enter_setup_key(page, SETUP_KEY)
    await expect(title(page)).to_have_text("Find a user")


async def test_a_form_of_another_site(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 403")
    await with_setup_key(page, cloud)
    await page.goto("about:blank")
    await submit(page, address(cloud, "/console/connection/pause"), {"what": "users"})
    await tells(page, "Form refused", "The form comes from another site", address(cloud, "/console"))


async def test_a_secret_that_entra_does_not_accept(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 422")
    await with_setup_key(page, cloud, to="/connect")
    await connect_microsoft(page, "the-id-of-the-secret")
    await tells(page, CONNECT, "Entra does not know this client secret.", "Create a new client secret")
    await expect(page.get_by_role("alert").filter(has_text="Nothing of step 2 was saved.")).to_be_visible()


async def test_a_pbx_that_cannot_be_reached(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 422")
    await with_setup_key(page, cloud, to="/connect")
    field = page.locator("#pbx").get_by_label("Address (FQDN)")
    await field.fill("localhost:1")
    await connect_pbx(page)
    await tells(page, CONNECT, "No connection to the PBX", "check that the PBX is up")
    await expect(page.get_by_role("alert").filter(has_text="Nothing of step 3 was saved.")).to_be_visible()
    await expect(field).to_have_value("localhost:1")


async def test_a_pbx_that_does_not_accept_the_secret(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 422")
    await with_setup_key(page, cloud, to="/connect")
    await connect_pbx(page, "not the secret")
    await tells(page, CONNECT, "The PBX rejects the API client id or secret", "Open Integrations > API on the PBX")


async def test_a_directory_that_cannot_be_asked(cloud: Cloud, client: Client, page: Page) -> None:
    """Searching fails in words, and the rest of the page stays."""
    await with_setup_key(page, cloud, to="/console/users/find")
    denied = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
    fault = {"kind": "status", "status": 403, "path": "/v1.0/users*", "times": None, "body": denied}
    async with planted(client, cloud.microsoft_url, fault):
        await page.get_by_label("Name, user principal name or address").press_sequentially("Tim")
        await expect(page.locator("#found .notice")).to_contain_text("The tenant cannot be asked")
    await check_accessible(page)


async def test_a_reader_changes_nothing(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 403")
    await with_microsoft(page, cloud, READER, to="/console/users")
    await expect(page.get_by_label("Synchronize users")).to_be_disabled()
    await expect(page.get_by_text("You may look at this and change nothing")).to_be_visible()
    await check_accessible(page)
    token = await page.locator("form.who input[name=csrf]").input_value()
    await submit(page, "/console/users", {"csrf": token, "/users/enabled": "yes"})
    await tells(page, "You may not change this", "Nothing was changed.", "Bridge.Admin")


async def test_an_address_without_a_page(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    watch.expect("status of 404")
    await open_page(page, cloud, "/console/nothing-here")
    await tells(page, "Not found", "There is no page at this address.", "Overview")


async def test_a_wrong_setup_key_and_too_many_of_them(cloud: Cloud, client: Client, watch: Watch, page: Page) -> None:
    for _ in range(5):
        watch.expect("status of 403")
    watch.expect("status of 429")
    await with_setup_key(page, cloud, "wrong")
    await tells(page, "Sign in", "setup key", "SETUP_KEY")
    for _ in range(4):
        await enter_setup_key(page, "wrong")
        await expect(page.get_by_role("alert")).to_be_visible()
    await enter_setup_key(page, SETUP_KEY)
    await tells(page, "Sign in", "There were too many attempts", "Try again in 15 minutes.")
    await cloud.advance(HOUR)
    await enter_setup_key(page, SETUP_KEY)
    await expect(title(page)).to_contain_text("Overview")
