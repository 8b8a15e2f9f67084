"""The fixtures that all tests of the console start from."""

from playwright.async_api import Page

from local.cloud import Cloud
from tests.browser.conftest import SETUP_KEY


async def test_the_app_answers_a_browser_at_its_public_address(cloud: Cloud, page: Page) -> None:
    answer = await page.goto(f"{cloud.environment['PUBLIC_BASE_URL']}/healthz")
    assert answer is not None
    assert (answer.status, await page.text_content("body")) == (200, "ok")
    assert cloud.environment["SETUP_KEY"] == SETUP_KEY


async def test_the_browser_trusts_the_emulator_of_microsoft(cloud: Cloud, page: Page) -> None:
    answer = await page.goto(f"{cloud.microsoft_url}/organizations/v2.0/.well-known/openid-configuration")
    assert answer is not None
    assert answer.status == 200
