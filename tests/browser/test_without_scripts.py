"""Everything that the console does, in a browser that runs no scripts."""

from playwright.async_api import Page, expect

from local.cloud import Cloud
from tests.browser.console_site import (
    ADMIN,
    RUN_PATIENCE,
    choose,
    connect_microsoft,
    connect_pbx,
    finished,
    open_page,
    title,
    with_setup_key,
)
from tests.browser.watch import Watch
from tests.system.client import Client

GROUP = "Finance"


async def test_a_connection_from_its_beginning_to_its_end(cloud: Cloud, watch: Watch) -> None:
    page = await watch.new_page(scripts=False)
    async with Client(cloud) as client:
        by_hand = await client.pbx("GET", "extensions")
        await connecting(page, cloud)
        created = await rules(page)
        assert len(await client.pbx("GET", "extensions")) == len(by_hand) + created
        await run_now(page, cloud)
        await explaining(page, cloud)
        await pausing(page, cloud, created)
        assert await client.pbx("GET", "extensions") == by_hand
        await disconnecting(page, cloud)
        assert (await client.get("/api/status"))["state"] == "not_connected"


async def connecting(page: Page, cloud: Cloud) -> None:
    await with_setup_key(page, cloud, to="/connect")
    await connect_microsoft(page)
    await expect(page.get_by_text("The application works and was saved.")).to_be_visible()
    await connect_pbx(page)
    await expect(page.get_by_text("The PBX works and was saved.")).to_be_visible()
    await page.locator("#account").get_by_role("button", name="Sign in with Microsoft").click()
    await choose(page, ADMIN, scripts=False)
    await expect(page.get_by_text("Connected. You are signed in.")).to_be_visible()


async def rules(page: Page) -> int:
    """Members of one group get an extension, once the preview showed it. How many there are."""
    await page.get_by_role("link", name="Rules for users").click()
    await page.get_by_label("Synchronize users").check()
    await page.get_by_label("Members of certain groups").check()
    await page.get_by_label("Search all groups of the tenant by name").fill(GROUP)
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("button", name=f"Add {GROUP}").click()
    await expect(page.get_by_role("button", name=f"Remove {GROUP}")).to_be_visible()
    await expect(page.get_by_label("Synchronize users")).to_be_checked()
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="What would happen")).to_be_visible(timeout=RUN_PATIENCE)
    planned = await page.locator(".figures div", has_text="To create").locator("dd").inner_text()
    await page.get_by_role("button", name="Save these rules").click()
    await expect(page.get_by_text("A full run with these rules starts in a moment.")).to_be_visible()
    await page.get_by_role("link", name="Runs").click()
    await page.get_by_role("row", name="First synchronization").get_by_role("link").click()
    await finished(page)
    return int(planned)


async def run_now(page: Page, cloud: Cloud) -> None:
    await open_page(page, cloud, "/console")
    await page.get_by_role("button", name="Update now").click()
    await expect(page.get_by_text("The run was queued and starts in a moment.")).to_be_visible()
    await finished(page)


async def explaining(page: Page, cloud: Cloud) -> None:
    await open_page(page, cloud, "/console/users/find")
    await page.get_by_label("Name, user principal name or address").fill(ADMIN)
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("button", name=f"Explain {ADMIN}").click()
    await finished(page)
    await expect(page.get_by_role("heading", name="Step by step")).to_be_visible()


async def pausing(page: Page, cloud: Cloud, created: int) -> None:
    await open_page(page, cloud, "/console/connection")
    await page.get_by_role("link", name="Pause users").click()
    await page.get_by_label(f"Delete {created} extensions from the PBX").check()
    await page.get_by_role("button", name="List what would be deleted").click()
    await finished(page)
    await expect(page.get_by_role("heading", name="What it would do, one by one")).to_be_visible()
    await page.go_back()
    await page.get_by_label(f"Delete {created} extensions from the PBX").check()
    await page.get_by_role("button", name="Pause users").click()
    await finished(page)


async def disconnecting(page: Page, cloud: Cloud) -> None:
    await open_page(page, cloud, "/console/connection")
    await page.get_by_role("link", name="Disconnect").click()
    await page.get_by_label("To confirm, type").fill("disconnect")
    await page.get_by_role("button", name="Disconnect").click()
    await expect(page.get_by_text("Disconnected.")).to_be_visible(timeout=RUN_PATIENCE)
    await expect(title(page)).to_have_text("Sign in")
