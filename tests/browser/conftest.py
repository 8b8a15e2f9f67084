"""A real browser and a running cloud for the tests of the pages.

One Playwright for the session; one cloud and one Chromium for each module, because Chromium is told the keys of the
cloud's servers when it starts (see chromium.py; a start takes a quarter of a second). Everything here runs in the
session's event loop: an async fixture of this folder needs ``pytest_asyncio.fixture(loop_scope="session")``.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, async_playwright

from local.cloud import Cloud
from tests.browser import chromium
from tests.browser.chromium import Site
from tests.browser.watch import Watch, watching

SETUP_KEY = "a-setup-key-for-the-tests-of-the-pages"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Playwright's objects belong to the loop that made them, so the tests share that of the session."""
    for item in items:
        if item.path.is_relative_to(HERE) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def program() -> str:
    """Chromium; without one the test is skipped."""
    found = chromium.find()
    if found is None:
        pytest.skip(chromium.MISSING)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cloud(program: str) -> AsyncIterator[Cloud]:
    """The whole cloud, not connected, with a setup key. Its address for a browser is its ``PUBLIC_BASE_URL``.

    It asks for ``program`` because it need not start when there is no browser.
    """
    async with Cloud(extra_environment={"SETUP_KEY": SETUP_KEY}) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    """The servers that pages may come from. A module with servers of its own replaces this fixture."""
    return Site(
        frozenset({cloud.environment["PUBLIC_BASE_URL"], cloud.microsoft_url}), (cloud.folder / "microsoft.pem",)
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(
    program: str, playwright: Playwright, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Browser]:
    home = tmp_path_factory.mktemp("chromium")
    async with await chromium.launch(playwright, program, site.certificates, home) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser, site: Site) -> AsyncIterator[Watch]:
    """Opens pages, and fails the test at its end if one of them was not clean."""
    async with watching(browser, site.origins) as watch:
        yield watch


@pytest_asyncio.fixture(loop_scope="session")
async def page(watch: Watch) -> Page:
    """One watched page with scripts."""
    return await watch.new_page()
