"""An administrator's way through the console, from the first start to the end of the connection."""

from typing import Any

import pytest_asyncio
from playwright.async_api import Page, expect

from local.cloud import Cloud
from tests.browser.conftest import SETUP_KEY
from tests.browser.console_site import (
    ADMIN,
    RUN_PATIENCE,
    choose,
    connect_microsoft,
    connect_pbx,
    enter_setup_key,
    finished,
    looked_at,
    open_page,
    planted,
    title,
)
from tests.browser.watch import Watch
from tests.system.client import Client

FOUND = "Zoë Müller"
GROUP = "Finance"
CREATE = {"kind": "delay", "path": "/openapi/v1.0/extension/create"}
BUSY = ({**CREATE, "times": 100, "seconds": 0.03}, {**CREATE, "times": None, "seconds": 4.0})
"""A PBX that takes its time once progress was recorded, so that there is a run under way to look at."""
DELETE = {"kind": "delay", "path": "/openapi/v1.0/extension/delete*", "times": None, "seconds": 1.0}


@pytest_asyncio.fixture(loop_scope="session")
async def client(cloud: Cloud) -> Any:
    async with Client(cloud) as client:
        yield client


async def test_from_the_first_start_to_the_end_of_the_connection(cloud: Cloud, client: Client, watch: Watch) -> None:
    page = await watch.new_page()
    by_hand = await client.pbx("GET", "extensions")
    await first_start(page, cloud)
    await connecting(page)
    created = await users(page, cloud, client)
    extensions = await client.pbx("GET", "extensions")
    assert len(extensions) == len(by_hand) + created
    await one_user(page, cloud, extensions)
    await groups(page, client)
    await schedule(page)
    await connection(page)
    await pausing(page, created)
    assert await client.pbx("GET", "extensions") == by_hand
    await resuming(page)
    assert len(await client.pbx("GET", "extensions")) == len(by_hand) + created
    await looking_back(page)
    watch.expect("status of 401")  # the page that follows the run asks on when everybody is signed out
    await disconnecting(page, cloud, client)
    assert await client.pbx("GET", "extensions") == by_hand
    assert [group["name"] for group in await client.pbx("GET", "groups") if group["name"] == GROUP] == []
    assert (await client.get("/api/status"))["state"] == "not_connected"


async def first_start(page: Page, cloud: Cloud) -> None:
    await open_page(page, cloud, "/console")
    await expect(title(page)).to_have_text("Sign in")
    await looked_at(page, "sign-in")
    await enter_setup_key(page, SETUP_KEY)
    await expect(title(page)).to_have_text("Overview Not connected")
    await looked_at(page, "first-start")
    await page.get_by_role("link", name="Connect", exact=True).click()


async def connecting(page: Page) -> None:
    await looked_at(page, "connect-first")
    await connect_microsoft(page)
    await expect(page.get_by_text("The application works and was saved.")).to_be_visible()
    await connect_pbx(page)
    await expect(page.get_by_text("The PBX works and was saved.")).to_be_visible()
    await page.locator("#account").get_by_role("button", name="Sign in with Microsoft").click()
    await choose(page, ADMIN)
    await expect(page.get_by_text("Connected. You are signed in.")).to_be_visible()
    await expect(page.locator("#account")).to_contain_text(f"{ADMIN} (tim.peters@contoso.example)")
    for step in ("register", "microsoft", "pbx", "account", "consent"):
        await expect(page.locator(f"#{step} h2 .badge")).to_have_text("Done")
    await page.locator("#account").evaluate("section => section.scrollIntoView()")
    await looked_at(page, "connect")


async def users(page: Page, cloud: Cloud, client: Client) -> int:
    """Rules, a preview of them, the run that they start. How many extensions it made."""
    await page.get_by_role("link", name="Rules for users").click()
    await page.get_by_label("Synchronize users").check()
    await page.get_by_label("First number").fill("2100")
    await looked_at(page, "users")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="What would happen")).to_be_visible(timeout=RUN_PATIENCE)
    planned = await page.locator(".figures div", has_text="To create").locator("dd").inner_text()
    await looked_at(page, "preview")
    async with planted(client, cloud.pbx_url, *BUSY):
        await page.get_by_role("button", name="Save these rules").click()
        await expect(page.get_by_text("A full run with these rules starts in a moment.")).to_be_visible()
        await expect(page.get_by_label("Synchronize users")).to_be_checked()
        await page.get_by_role("link", name="Overview").click()
        await expect(page.locator("#live progress[value]")).to_be_visible(timeout=RUN_PATIENCE)
        await looked_at(page, "overview-run")
        await page.get_by_role("link", name="Follow the run").click()
        await expect(page.locator("#progress progress[value]")).to_be_visible()
        await looked_at(page, "progress")
    await finished(page)
    await looked_at(page, "run")
    return int(planned)


async def one_user(page: Page, cloud: Cloud, extensions: list[dict[str, Any]]) -> None:
    """Found in the list, read, explained."""
    await page.get_by_role("link", name="Overview").click()
    await expect(title(page)).to_have_text("Overview Connected")
    await looked_at(page, "overview")
    await page.locator(".figures a").first.click()
    await expect(title(page)).to_have_text("Synced users")
    await looked_at(page, "users-list")
    await page.get_by_label("Name, user principal name or number").press_sequentially(FOUND)
    await expect(page.get_by_role("status")).to_contain_text("1 user found")
    await page.get_by_role("link", name=FOUND).click()
    number = await page.get_by_role("row", name="Extension number").get_by_role("cell").inner_text()
    assert number in {extension["number"] for extension in extensions if extension["last_name"].startswith("Müller")}
    await looked_at(page, "user")
    await page.get_by_role("button", name="Explain").click()
    await finished(page)
    await expect(page.get_by_role("heading", name="Step by step")).to_be_visible()
    await looked_at(page, "explained", whole=True)
    await open_page(page, cloud, "/console/users/find")
    await page.get_by_label("Name, user principal name or address").press_sequentially(FOUND[:4])
    await expect(page.get_by_role("link", name=FOUND)).to_be_visible()
    await looked_at(page, "find")


async def groups(page: Page, client: Client) -> None:
    """One group of the tenant becomes an extension group."""
    await page.get_by_role("link", name="Groups", exact=True).click()
    await page.get_by_label("Synchronize groups").check()
    await page.get_by_label("Certain groups").check()
    await page.get_by_label("Search all groups of the tenant by name").press_sequentially(GROUP[:5])
    await page.get_by_role("button", name=f"Add {GROUP}").click()
    await expect(page.get_by_role("button", name=f"Remove {GROUP}")).to_be_visible()
    await looked_at(page, "groups")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="What would happen")).to_be_visible(timeout=RUN_PATIENCE)
    await page.get_by_role("link", name="Back to the rules").click()
    await expect(page.get_by_text("These are the rules of the preview.")).to_be_visible()
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("A full run with these rules starts in a moment.")).to_be_visible()
    await page.get_by_role("link", name="Runs").click()
    await page.get_by_role("row", name="First synchronization").first.get_by_role("link").click()
    await finished(page)
    [group] = [group for group in await client.pbx("GET", "groups") if group["name"] == GROUP]
    assert group["members"]


async def schedule(page: Page) -> None:
    await page.get_by_role("link", name="Schedule").click()
    await page.get_by_label("On certain days of the week").check()
    await page.get_by_label("Monday").check()
    await page.get_by_label("Time", exact=True).fill("06:15")
    await page.get_by_label("Time zone").fill("Europe/Amsterdam")
    await page.get_by_label("Time zone").blur()
    await expect(page.locator("#times time")).to_contain_text(["Monday", "Monday", "Monday"])
    await looked_at(page, "schedule")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.", exact=True)).to_be_visible()


async def connection(page: Page) -> None:
    await page.get_by_role("link", name="Connection").click()
    await page.get_by_role("button", name="Test both sides").click()
    await expect(page.get_by_text("The application signs in to Contoso Example.")).to_be_visible()
    await expect(page.get_by_text("The PBX answers:")).to_be_visible()
    await looked_at(page, "connection")


async def pausing(page: Page, created: int) -> None:
    """With the deletion of what the bridge made."""
    await page.get_by_role("link", name="Pause users").click()
    await page.get_by_label(f"Delete {created} extensions from the PBX").check()
    await looked_at(page, "pause")
    await page.get_by_role("button", name="Pause users").click()
    await finished(page)
    await page.get_by_role("link", name="Overview").click()
    await expect(title(page)).to_have_text("Overview Paused")


async def resuming(page: Page) -> None:
    await page.get_by_role("link", name="Connection", exact=True).click()
    await page.get_by_role("link", name="Resume users").click()
    await looked_at(page, "resume")
    await page.get_by_role("button", name="Resume users").click()
    await finished(page)


async def looking_back(page: Page) -> None:
    await page.get_by_role("link", name="Runs", exact=True).click()
    await looked_at(page, "runs")
    await page.get_by_role("link", name="Activity").click()
    await expect(page.get_by_role("row", name=ADMIN).first).to_be_visible()
    await looked_at(page, "activity")


async def disconnecting(page: Page, cloud: Cloud, client: Client) -> None:
    """With the deletion of all that was synchronized. The run takes the session along."""
    await page.get_by_role("link", name="Connection", exact=True).click()
    await page.get_by_role("link", name="Disconnect").click()
    for box in await page.get_by_role("checkbox").all():
        await box.check()
    await page.get_by_label("To confirm, type").fill("disconnect")
    await looked_at(page, "disconnect", whole=True)
    async with planted(client, cloud.pbx_url, DELETE):
        await page.get_by_role("button", name="Disconnect").click()
        await expect(page.locator("#progress progress")).to_be_visible()
    await expect(title(page)).to_have_text("Sign in", timeout=RUN_PATIENCE)
    await enter_setup_key(page, SETUP_KEY)
    await finished(page)
    await page.get_by_role("link", name="Overview").click()
    await expect(title(page)).to_have_text("Overview Not connected")
