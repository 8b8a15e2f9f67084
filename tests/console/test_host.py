"""The console through the Functions host, as a browser and a script meet it."""

from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pytest

from local.cloud import Cloud
from tests.console.page import Page
from tests.system.client import Client

SETUP_KEY = "a-setup-key-for-the-test-of-the-host"


class Visitor:
    """A browser at the host. Browsers take secure cookies from localhost without https, and so does this one."""

    def __init__(self, cloud: Cloud, session: aiohttp.ClientSession) -> None:
        self.cloud = cloud
        self.cookies: dict[str, str] = {}
        self._session = session

    async def ask(self, method: str, path: str, form: Any = None) -> Page:
        """One request; no redirect is followed."""
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"origin": self.cloud.environment["PUBLIC_BASE_URL"], "sec-fetch-site": "same-origin"}
        headers |= {"cookie": pairs} if pairs else {}
        url = f"{self.cloud.host.url}{path}"
        async with self._session.request(method, url, data=form, headers=headers, allow_redirects=False) as answer:
            self._keep(answer.headers.getall("Set-Cookie", []))
            return Page(answer.status, path, list(answer.headers.items()), await answer.read())

    async def open(self, path: str) -> Page:
        page = await self.ask("GET", path)
        return await self.open(page.location) if page.status == 303 else page

    async def press(self, page: Page, button: str, **fields: str) -> Page:
        """Press a button and follow the redirect that comes back."""
        form = page.form_with(button)
        done = await self.ask("POST", form.action, form.filled(button, **fields))
        return await self.open(done.location) if done.status == 303 else done

    def _keep(self, headers: list[str]) -> None:
        for header in headers:
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    async with (
        Cloud(extra_environment={"SETUP_KEY": SETUP_KEY}) as cloud,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield Visitor(cloud, session)


async def test_every_address_of_the_console_is_served(visitor: Visitor) -> None:
    for path in ("/console", "/console/", "/console/runs", "/connect"):
        page = await visitor.ask("GET", path)
        assert page.status == 303, path
        assert page.location.startswith("/console/sign-in?to=%2Fcon"), path
        assert page.headers["cache-control"] == "no-store"
    for method in ("GET", "POST"):
        page = await visitor.ask(method, "/connect/callback", {"state": "x", "code": "y"} if method == "POST" else None)
        assert page.status == 400, method
        assert page.headers["content-type"] == "text/html; charset=utf-8"
    page = await visitor.ask("GET", "/console/nothing")
    assert (page.status, page.heading) == (404, "Not found")
    for method in ("PUT", "DELETE"):
        assert (await visitor.ask(method, "/console")).status == 404
    sheet = (await visitor.open("/console/sign-in")).root.one("link", rel="stylesheet")["href"]
    file = await visitor.ask("GET", sheet)
    assert (file.status, file.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in file.headers["cache-control"]


async def test_an_administrator_signs_in_and_starts_a_run_that_the_queue_carries_out(visitor: Visitor) -> None:
    page = await visitor.open("/console")
    page = await visitor.press(page, "Sign in with the setup key", key=SETUP_KEY)
    assert page.heading == "Overview Not connected"
    async with Client(visitor.cloud) as script:
        await script.secrets()
        await script.enable_users()
        await script.newest_run()
        page = await visitor.open("/console")
        assert page.heading == "Overview Connected"
        followed = await visitor.press(page, "Update now")
        run = await script.newest_run()
        assert run["started_by"] == "console"
        assert followed.path.startswith(f"/console/runs/{run['id']}")
    page = await visitor.open("/console/activity")
    trail = [(row[1], row[2]) for row in page.rows]
    assert trail == [
        ("Setup key setup-key", "Started a run"),
        ("API key", "Saved settings"),  # of the users
        ("API key", "Saved settings"),  # of the PBX
        ("API key", "Replaced a secret"),
        ("API key", "Replaced a secret"),
        ("Setup key setup-key", "Signed in"),
    ]


async def test_a_deployment_that_is_set_up_wrongly_says_so_instead_of_a_page() -> None:
    async with (
        Cloud(extra_environment={"ENTRA_AUTHORITY_HOST": "http://login.example"}) as cloud,
        aiohttp.ClientSession() as session,
        session.get(f"{cloud.host.url}/console") as answer,
    ):
        assert answer.status == 503
        assert "ENTRA_AUTHORITY_HOST has to be an https address" in await answer.text()
