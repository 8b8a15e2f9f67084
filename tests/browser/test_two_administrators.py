"""Two people at the same rules: the second one learns what the first one did, and loses nothing typed."""

from playwright.async_api import Page, expect

from local.cloud import Cloud
from tests.browser.accessibility import check_accessible
from tests.browser.console_site import ADMIN, open_page, with_microsoft, with_setup_key
from tests.browser.watch import Watch
from tests.system.client import Client

TAKE_OVER = "Take over an extension that has the user's e-mail address"


async def save(page: Page) -> None:
    await page.get_by_role("button", name="Save", exact=True).click()


async def test_what_both_changed_is_shown_and_what_was_typed_is_kept(cloud: Cloud, watch: Watch) -> None:
    watch.expect("status of 409")
    first, second = await watch.new_page(), await watch.new_page()
    await with_setup_key(first, cloud, to="/console/users")
    async with Client(cloud) as client:
        await client.secrets()
        await with_microsoft(second, cloud, ADMIN, to="/console/users")
        await second.get_by_label("First number").fill("4000")
        await second.get_by_label(TAKE_OVER).check()

        await first.get_by_label("First number").fill("3000")
        await save(first)
        await expect(first.get_by_text("Saved.", exact=True)).to_be_visible()
        await open_page(first, cloud, "/console/schedule")
        await first.get_by_label("Time", exact=True).fill("05:10")
        await save(first)
        await expect(first.get_by_text("Saved.", exact=True)).to_be_visible()

        await save(second)
        told = second.get_by_role("alert").filter(has_text="somebody else changed the settings")
        await expect(told.get_by_role("listitem")).to_have_text(
            ["Time /schedule/at: 05:10", "First number /users/number/start: 3000"]
        )
        await expect(second.get_by_label("First number")).to_have_value("4000")
        await expect(second.get_by_label(TAKE_OVER)).to_be_checked()
        await check_accessible(second)
        assert (await client.get("/api/settings"))["users"]["number"]["start"] == 3000

        await save(second)
        await expect(second.get_by_text("Saved.", exact=True)).to_be_visible()
        settings = await client.get("/api/settings")
    assert (settings["users"]["number"]["start"], settings["users"]["associate_by_email"]) == (4000, True)
    assert settings["schedule"]["at"] == "05:10"


async def test_the_second_may_take_the_values_of_the_first(cloud: Cloud, watch: Watch) -> None:
    watch.expect("status of 409")
    first, second = await watch.new_page(), await watch.new_page()
    for page in (first, second):
        await with_setup_key(page, cloud, to="/console/groups")
    await first.get_by_label("Deletions in one run, at most").fill("7")
    await save(first)
    await expect(first.get_by_text("Saved.", exact=True)).to_be_visible()
    await second.get_by_label("Deletions in one run, at most").fill("9")
    await save(second)
    await second.get_by_role("link", name="Or open the form with their values.").click()
    await expect(second.get_by_label("Deletions in one run, at most")).to_have_value("7")
