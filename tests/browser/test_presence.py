"""The pages about presence: switched on, watched while people change in Teams, decided about; also without scripts."""

from urllib.parse import quote

from playwright.async_api import Page, expect

from local.cloud import Cloud
from tests.browser.accessibility import check_accessible
from tests.browser.console_site import (
    ADMIN,
    READER,
    choose,
    looked_at,
    open_page,
    title,
    with_microsoft,
    with_setup_key,
)
from tests.browser.watch import Watch
from tests.system.client import Client

PERSON = "Zoë Müller-Lüdenscheid"
PATIENCE = 60_000.0
"""Milliseconds: the timer asks every ten seconds."""


async def test_presence_from_the_switch_to_a_decision_about_many(cloud: Cloud, watch: Watch) -> None:
    async with Client(cloud) as client:
        await client.secrets()
        await client.enable_users()
        await client.newest_run()
        page = await watch.new_page()
        await with_setup_key(page, cloud, to="/console/presence")
        await switching_on(page)
        await announced(page, cloud)
        await living(page, cloud, client)
        await one_user(page)
        await many(page, cloud)
        await a_reader(cloud, watch)
        await without_scripts(cloud, watch)


async def switching_on(page: Page) -> None:
    await expect(page.locator("#state .badge").first).to_have_text("Off")
    await looked_at(page, "presence-off")
    await page.get_by_label("Extensions follow Teams").check()
    calls = page.locator("tr", has=page.get_by_label("In a call", exact=True))
    await expect(calls.get_by_text("Calls do not ring")).to_be_hidden()
    await calls.get_by_role("combobox").select_option("Do not disturb")
    await expect(calls.get_by_text("Calls do not ring")).to_be_visible()
    await calls.get_by_role("combobox").select_option("Away")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="What these rules would do now")).to_be_visible()
    await expect(page.get_by_label("Extensions follow Teams")).to_be_checked()
    await check_accessible(page)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved. Extensions follow these rules")).to_be_visible()
    await expect(page.locator("#state")).to_contain_text("nobody has signed in for the bridge yet", timeout=PATIENCE)
    await expect(page.locator("#state .badge").first).to_have_text("Working, slower", timeout=PATIENCE)
    await looked_at(page, "presence-polled")


async def announced(page: Page, cloud: Cloud) -> None:
    """Somebody signs in, and Microsoft announces changes from then on."""
    await page.locator("#state").get_by_role("link", name="Sign in with Microsoft").click()
    await page.locator("#account").get_by_role("button", name="Sign in with Microsoft").click()
    await choose(page, ADMIN)
    await expect(page.get_by_text("Connected. You are signed in.")).to_be_visible()
    await open_page(page, cloud, "/console/presence")
    await expect(page.locator("#state")).to_contain_text("arrive within seconds", timeout=PATIENCE)
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("#preview table")).to_be_visible()
    await looked_at(page, "presence")


async def living(page: Page, cloud: Cloud, client: Client) -> None:
    """The list follows Teams by itself; ticks and the focus stay where they are."""
    await open_page(page, cloud, f"/console/presence/users?search={quote(PERSON)}")
    row = page.get_by_role("row", name=PERSON)
    box = row.get_by_role("checkbox")
    await box.check()
    await expect(box).to_be_focused()
    object_id = await box.get_attribute("value")
    await client.microsoft("PUT", f"presence/users/{object_id}", {"availability": "DoNotDisturb"})
    await expect(row.get_by_role("cell").nth(1)).to_have_text("Do not disturb", timeout=PATIENCE)
    await expect(row.get_by_role("cell").nth(2)).to_have_text("Do not disturb", timeout=PATIENCE)
    await expect(box).to_be_checked()
    await expect(box).to_be_focused()
    await page.get_by_label("Name, user principal name or number").fill("")
    await expect(page.locator("#total")).to_contain_text("users.")
    await page.get_by_label("Name, user principal name or number").blur()
    await looked_at(page, "presence-users")
    await page.get_by_label("Live").uncheck()
    await expect(page.locator("#list [hx-trigger]")).to_have_count(0)


async def one_user(page: Page) -> None:
    await page.get_by_label("Name, user principal name or number").fill(PERSON)
    await page.get_by_role("link", name=PERSON).click()
    await expect(title(page)).to_have_text(PERSON)
    await page.get_by_label("Busy", exact=True).select_option("Lunch break")
    await looked_at(page, "presence-user")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    await expect(page.locator("#facts")).to_contain_text("has a map of its own")


async def many(page: Page, cloud: Cloud) -> None:
    await open_page(page, cloud, "/console/presence/users")
    await page.get_by_label("on every page").check()
    await page.get_by_role("button", name="Set own map").click()
    await expect(title(page)).to_have_text("Set a map of their own")
    await check_accessible(page)
    await page.get_by_role("link", name="Cancel").click()
    await page.get_by_label("on every page").check()
    await page.get_by_role("button", name="Do not follow").click()
    await looked_at(page, "presence-decision")
    await page.get_by_role("button", name="Do not follow").click()
    await expect(page.get_by_text("These extensions do not follow Teams any more")).to_be_visible()
    await expect(page.get_by_role("cell", name="Off, set by an administrator").first).to_be_visible()
    await open_page(page, cloud, "/console")
    await expect(page.get_by_role("heading", name="Presence", exact=True)).to_be_visible()
    await check_accessible(page)


async def a_reader(cloud: Cloud, watch: Watch) -> None:
    page = await watch.new_page()
    await with_microsoft(page, cloud, READER, to="/console/presence/users")
    await expect(page.get_by_text("You may look at this and change nothing")).to_be_visible()
    await check_accessible(page)


async def without_scripts(cloud: Cloud, watch: Watch) -> None:
    """Rules, search, and a decision, in a browser that runs no scripts."""
    page = await watch.new_page(scripts=False)
    await with_setup_key(page, cloud, to="/console/presence/users")
    await page.get_by_label("Name, user principal name or number").fill(PERSON)
    await page.get_by_label("Who", exact=True).select_option("Do not follow Teams")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#total")).to_have_text("1 user found.")
    await page.get_by_role("checkbox", name=f"Choose {PERSON}").check()
    await page.get_by_role("button", name="As the rules say").click()
    await page.get_by_role("button", name="As the rules say").click()
    await expect(page.get_by_text("The rules decide about these users again.")).to_be_visible()
    await expect(page.locator("#total")).to_have_text("0 users found.")
