"""The sign-in pages of the emulated Microsoft Entra in a real browser, with scripts and without, back to the app."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from local.microsoft import MicrosoftEmulator
from local.sample import user_id
from local.tls import CertificateAuthority, ServerCertificate
from tests.browser.accessibility import check_accessible
from tests.browser.chromium import Site
from tests.browser.loopback import Loopback, Received
from tests.browser.watch import Watch
from tests.microsoft.signing_in import address, redeem
from tests.microsoft.support import Client, small_tenant

CALLBACK = "/sso/callback"
NOOR = user_id(1)
CONSENT = "Permissions requested"
TROUBLE = "Sorry, but"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificate(authority: CertificateAuthority) -> ServerCertificate:
    return authority.issue("microsoft")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(certificate: ServerCertificate) -> AsyncIterator[MicrosoftEmulator]:
    async with await MicrosoftEmulator(small_tenant()).start(certificate) as emulator:
        yield emulator


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def app() -> AsyncIterator[Loopback]:
    """Where the browser goes back to."""
    page = '<!doctype html><html lang="en"><title>Back</title><main><h1>Back at the app</h1></main></html>'
    async with Loopback({CALLBACK: (page, {})}).serving() as app:
        yield app


@pytest.fixture(scope="module")
def site(running: MicrosoftEmulator, app: Loopback, certificate: ServerCertificate) -> Site:
    return Site(frozenset({running.url, app.url}), (certificate.certificate,))


@pytest.fixture
def emulator(running: MicrosoftEmulator, app: Loopback) -> MicrosoftEmulator:
    """As it was at its start; so is the app."""
    running.reset()
    app.received.clear()
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def client(emulator: MicrosoftEmulator, authority: CertificateAuthority) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=authority.certificate_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield Client(session, emulator)


def start(emulator: MicrosoftEmulator, app: Loopback, **changes: str | None) -> str:
    return emulator.url + address(**{"redirect_uri": app.url + CALLBACK, "response_mode": "form_post", **changes})


async def back(page: Page, app: Loopback) -> dict[str, str]:
    """What the app was sent, once the browser is there again."""
    await expect(page.get_by_role("heading")).to_have_text("Back at the app")
    (received,) = posted(app)
    return received.form


def posted(app: Loopback) -> list[Received]:
    return [received for received in app.received if received.method == "POST"]


async def withdraw(client: Client, *scopes: str) -> None:
    answer = await client.control("POST", "consent", {"withdraw": list(scopes)})
    assert answer.status == 200, answer.text


async def test_choosing_an_account_comes_back_by_a_form_that_posts_itself(
    emulator: MicrosoftEmulator, app: Loopback, client: Client, page: Page
) -> None:
    await page.goto(start(emulator, app))
    await expect(page.get_by_role("heading")).to_have_text("Sign in")
    await check_accessible(page)
    await page.get_by_role("button", name="Noor Bakker").click()
    form = await back(page, app)
    assert form["state"] == "the state"
    assert (await redeem(client, form["code"], redirect_uri=app.url + CALLBACK)).status == 200


async def test_the_post_to_the_app_comes_from_another_site(
    emulator: MicrosoftEmulator, app: Loopback, page: Page
) -> None:
    """From https to http a browser keeps the origin to itself (Fetch, "append a request `Origin` header"): it says
    ``null`` here, and the authority's origin to an app that is served by https."""
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await back(page, app)
    (received,) = posted(app)
    assert (received.headers["Origin"], received.headers.get("Referer")) == ("null", None)
    assert received.headers["Sec-Fetch-Site"] == "cross-site"
    assert received.headers["Sec-Fetch-Mode"] == "navigate"


async def test_without_scripts_a_button_leads_back(emulator: MicrosoftEmulator, app: Loopback, watch: Watch) -> None:
    page = await watch.new_page(scripts=False)
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await expect(page.get_by_role("heading")).to_have_text("Working...")
    assert posted(app) == []
    await page.get_by_role("button", name="Continue").click()
    assert "code" in await back(page, app)


async def test_the_browser_stays_signed_in(emulator: MicrosoftEmulator, app: Loopback, page: Page) -> None:
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await back(page, app)
    app.received.clear()
    await page.goto(start(emulator, app, prompt="none"), wait_until="commit")
    assert "code" in await back(page, app)


async def test_the_keyboard_finds_somebody_and_signs_them_in(
    emulator: MicrosoftEmulator, app: Loopback, page: Page
) -> None:
    await page.goto(start(emulator, app))
    await page.keyboard.press("Tab")
    await page.keyboard.type("o'brien")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("Showing 1")
    await check_accessible(page)
    for _ in range(3):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert "code" in await back(page, app)


@pytest.mark.parametrize("scripts", [True, False])
async def test_consent_is_asked_for_and_given(
    emulator: MicrosoftEmulator, app: Loopback, client: Client, watch: Watch, scripts: bool
) -> None:
    await withdraw(client, "User.Read")
    page = await watch.new_page(scripts=scripts)
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await expect(page.get_by_role("heading")).to_have_text(CONSENT)
    if scripts:
        await check_accessible(page)
    await page.get_by_role("button", name="Accept").click()
    if not scripts:
        await page.get_by_role("button", name="Continue").click()
    assert "code" in await back(page, app)
    assert "User.Read" in (await client.control("GET", "consent")).json["users"][NOOR]


async def test_an_administrator_consents_for_everybody(
    emulator: MicrosoftEmulator, app: Loopback, client: Client, page: Page
) -> None:
    await withdraw(client, "User.Read")
    await client.control("PUT", "sign-in", {"administrators": [NOOR]})
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await page.get_by_label("Consent on behalf of your organization").check()
    await check_accessible(page)
    await page.get_by_role("button", name="Accept").click()
    assert "code" in await back(page, app)
    assert "User.Read" in (await client.control("GET", "consent")).json["organization"]


async def test_declining_tells_the_app(emulator: MicrosoftEmulator, app: Loopback, client: Client, page: Page) -> None:
    await withdraw(client, "User.Read")
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await page.get_by_role("button", name="Cancel").click()
    assert (await back(page, app))["error"] == "access_denied"


async def test_who_may_not_consent_needs_an_administrator(
    emulator: MicrosoftEmulator, app: Loopback, client: Client, page: Page
) -> None:
    await withdraw(client, "Presence.Read.All")
    await page.goto(start(emulator, app, scope="openid Presence.Read.All"))
    await page.get_by_role("button", name="Noor Bakker").click()
    await expect(page.get_by_role("heading")).to_have_text("Need admin approval")
    await check_accessible(page)
    await page.get_by_role("button", name="Return to the application").click()
    assert (await back(page, app))["error"] == "access_denied"


async def test_cancelling_tells_the_app(emulator: MicrosoftEmulator, app: Loopback, page: Page) -> None:
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Cancel").click()
    assert await back(page, app) == {"error": "access_denied", "error_subcode": "cancel", "state": "the state"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"redirect_uri": "https://elsewhere.example/"}, 50011), ({"client_id": NOOR}, 700016)],
    ids=["redirect URI", "client id"],
)
async def test_an_error_that_no_app_may_hear_of_is_shown(
    emulator: MicrosoftEmulator, app: Loopback, watch: Watch, changes: dict[str, Any], code: int
) -> None:
    watch.expect("status of 400")
    page = await watch.new_page()
    answer = await page.goto(start(emulator, app, **changes))
    assert answer is not None
    assert answer.status == 400
    await expect(page.get_by_role("heading")).to_contain_text(TROUBLE)
    await expect(page.get_by_role("alert")).to_contain_text(f"AADSTS{code}: ")
    await check_accessible(page)
    assert app.received == []


async def test_a_disabled_account_is_refused_on_the_page(
    emulator: MicrosoftEmulator, app: Loopback, watch: Watch, page: Page
) -> None:
    watch.expect("status of 400")
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Imre Szabo").click()
    await expect(page.get_by_role("alert")).to_contain_text("AADSTS50057: ")
    assert app.received == []


async def test_a_name_with_markup_runs_nothing(
    emulator: MicrosoftEmulator, app: Loopback, client: Client, page: Page
) -> None:
    name = """<script>alert("1")</script><img src="http://127.0.0.1:9/x.png" onerror="alert(2)">"""
    await client.control("PATCH", f"users/{NOOR}", {"displayName": name})
    await page.goto(start(emulator, app))
    await expect(page.get_by_role("button", name="user1@contoso.example")).to_contain_text(name)


async def test_signing_out_ends_the_session(emulator: MicrosoftEmulator, app: Loopback, page: Page) -> None:
    await page.goto(start(emulator, app))
    await page.get_by_role("button", name="Noor Bakker").click()
    await back(page, app)
    app.received.clear()
    await page.goto(f"{emulator.url}/organizations/oauth2/v2.0/logout")
    await check_accessible(page)
    await page.goto(start(emulator, app, prompt="none"), wait_until="commit")
    assert (await back(page, app))["error"] == "login_required"
