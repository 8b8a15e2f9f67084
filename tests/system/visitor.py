"""A browser without scripts at the console of the running cloud, and a person at Microsoft's page."""

import ssl
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from local.cloud import Cloud
from tests.console.page import Page

CALLBACK = "/connect/callback"


class Visitor:
    """Keeps cookies as a browser does, which takes secure ones from localhost without https."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._cookies: dict[str, str] = {}
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=cloud.ca_file), force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def enter(self) -> None:
        """Sign in with the setup key of the deployment, unless somebody is signed in."""
        page = await self._open("/console/sign-in")
        if not page.path.startswith("/console/sign-in"):
            return
        form = page.form("/console/sign-in").filled(key=self._cloud.environment["SETUP_KEY"])
        done = await self._ask("POST", "/console/sign-in", form)
        assert done.status == 303, done

    async def connect_account(self, person: str, *, step: Literal["account", "presence"] = "account") -> None:
        """Make a person, by object id, the authorization account, or a further one for presence: at the page Connect
        and at Microsoft's."""
        page = await self._open("/connect")
        [form] = [one for one in page.forms if ("step", step) in one.values()]
        away = await self._ask("POST", form.action, form.filled())
        assert away.status == 303, away
        answer = await self._at_microsoft(away.location, person)
        done = await self._ask("POST", CALLBACK, answer, origin="null", site="cross-site")
        assert done.status == 303, done

    async def _at_microsoft(self, address: str, person: str) -> list[tuple[str, str]]:
        """What Microsoft's page posts when this person signs in and accepts."""
        switches = {
            "automatic_user": person,
            "automatic_consent": "accept_for_organization",
            "administrators": [person],
        }
        async with self._session.put(f"{self._cloud.microsoft_url}/_control/sign-in", json=switches) as answer:
            assert answer.status == 200, await answer.text()
        async with self._session.get(address) as answer:
            page = Page(answer.status, address, list(answer.headers.items()), await answer.read())
        return page.form().values()

    async def _open(self, path: str) -> Page:
        page = await self._ask("GET", path)
        return await self._open(page.location) if page.status == 303 else page

    async def _ask(self, method: str, path: str, form: Any = None, *, origin: str = "", site: str = "") -> Page:
        """One request; no redirect is followed."""
        pairs = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        base = self._cloud.environment["PUBLIC_BASE_URL"]
        headers = {"origin": origin or base, "sec-fetch-site": site or "same-origin"} | (
            {"cookie": pairs} if pairs else {}
        )
        url = f"{self._cloud.host.url}{path}"
        async with self._session.request(method, url, data=form, headers=headers, allow_redirects=False) as answer:
            self._keep(answer.headers.getall("Set-Cookie", []))
            return Page(answer.status, path, list(answer.headers.items()), await answer.read())

    def _keep(self, headers: list[str]) -> None:
        for header in headers:
            for name, morsel in SimpleCookie(header).items():
                self._cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self._cookies[name]
