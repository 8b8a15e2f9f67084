"""Steps at the console that several tests take, by what a person sees on the pages."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import Locator, Page, expect

from local.cloud import PBX_CLIENT_SECRET, Cloud
from local.sample import CLIENT_SECRET
from tests.browser.accessibility import check_accessible
from tests.browser.conftest import SETUP_KEY
from tests.browser.pictures import screenshot
from tests.system.client import Client

ADMIN = "Tim Peters"
"""Has the app role Bridge.Admin, and may consent for the whole organization."""
READER = "Hanna Berg"
"""Has the app role Bridge.Reader."""
NOBODY = "Noor Bakker"
"""Has no app role."""
RUN_PATIENCE = 90_000.0
"""Milliseconds that a run may take on a busy machine."""
CALLBACK = "/connect/callback"


def address(cloud: Cloud, path: str) -> str:
    return f"{cloud.environment['PUBLIC_BASE_URL']}{path}"


async def open_page(page: Page, cloud: Cloud, path: str) -> None:
    await page.goto(address(cloud, path))


async def looked_at(page: Page, picture: str, *, whole: bool = False) -> None:
    """Everybody can use this page; here is how it looks."""
    await screenshot(page, picture, whole=whole)
    await check_accessible(page)


def title(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


async def with_setup_key(page: Page, cloud: Cloud, key: str = SETUP_KEY, to: str = "/console") -> None:
    """Ask for a page without a session, and enter the setup key where that leads."""
    await open_page(page, cloud, to)
    await enter_setup_key(page, key)


async def enter_setup_key(page: Page, key: str) -> None:
    await page.get_by_label("Setup key").fill(key)
    await page.get_by_role("button", name="Sign in with the setup key").click()


async def with_microsoft(page: Page, cloud: Cloud, name: str, to: str = "/console") -> None:
    """Ask for a page without a session, and sign in at Microsoft's page."""
    await to_microsoft(page, cloud, to)
    await choose(page, name)


async def to_microsoft(page: Page, cloud: Cloud, to: str = "/console") -> None:
    """The same as far as Microsoft's page."""
    await open_page(page, cloud, to)
    await page.get_by_role("button", name="Sign in with Microsoft").click()


async def choose(page: Page, name: str, *, scripts: bool = True) -> None:
    """Find somebody at Microsoft's page and sign in as them."""
    await page.get_by_label("Name or sign-in name").fill(name)
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("button", name=name).click()
    if not scripts:
        await page.get_by_role("button", name="Continue").click()


async def connect_microsoft(page: Page, secret: str = CLIENT_SECRET) -> None:
    step = page.locator("#microsoft")
    await step.get_by_label("Client secret").last.fill(secret)
    await step.get_by_role("button", name="Test and save").click()


async def connect_pbx(page: Page, secret: str = PBX_CLIENT_SECRET) -> None:
    step = page.locator("#pbx")
    await step.get_by_label("Client secret").fill(secret)
    await step.get_by_label("Changes per second").fill("500")
    await step.get_by_role("button", name="Test and save").click()


async def finished(page: Page, words: str = "Succeeded") -> None:
    """Wait on the page of a run until it is over."""
    status = page.get_by_role("heading", name="Status")
    await expect(status).to_have_text(f"Status {words}", timeout=RUN_PATIENCE)


async def submit(page: Page, action: str, fields: dict[str, str]) -> None:
    """Post a form that no page of ours offers, as another site or a changed page would."""
    async with page.expect_navigation():
        await page.evaluate(
            """([action, fields]) => {
                const form = document.createElement("form");
                form.method = "post";
                form.action = action;
                for (const [name, value] of Object.entries(fields)) {
                    const input = document.createElement("input");
                    input.name = name;
                    input.value = value;
                    form.append(input);
                }
                document.body.append(form);
                form.submit();
            }""",
            [action, fields],
        )


@contextlib.asynccontextmanager
async def planted(client: Client, emulator: str, *faults: dict[str, Any]) -> AsyncIterator[None]:
    """An emulator misbehaves so during the block; ``emulator`` is its address."""
    for fault in faults:
        await client.control(emulator, "POST", "faults", fault)
    try:
        yield
    finally:
        await client.control(emulator, "DELETE", "faults")
