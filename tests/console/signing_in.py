"""What the tests of signing in share: a person at Microsoft's pages, between two pages of the console."""

import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec

from local.microsoft.apps import App
from local.microsoft.registration import Assignment
from local.sample import APP_ROLES, CLIENT_ID
from tests.console.page import Page
from tests.console.site import ORIGIN, SETUP_KEY, Site
from tests.microsoft.browser import Browser
from tests.microsoft.support import Client

CALLBACK = "/connect/callback"
ENTRA: dict[str, Any] = {"origin": "https://login.microsoftonline.com", "sec_fetch_site": "cross-site"}
"""What a browser says of the form that Microsoft's page posts."""


def registered(site: Site) -> App:
    """The application knows where the console is, and Microsoft's clock goes with ours."""
    site.world.now = datetime.datetime.now(datetime.UTC)
    app = site.world.microsoft.authority.apps[CLIENT_ID]
    addresses = [f"{ORIGIN}{CALLBACK}", f"{ORIGIN}/sso/callback"]
    app.registration = msgspec.structs.replace(app.registration, redirect_uris=addresses)
    return app


def assigned(site: Site, person: str, role: str) -> None:
    """Give a person an app role."""
    [role_id] = [id_ for id_, value, _ in APP_ROLES if value == role]
    registered(site).registration.assignments.append(Assignment(person, role_id))


async def at_microsoft(site: Site, sent_away: Page, person: str, **switches: object) -> dict[str, str]:
    """Where Microsoft's pages lead a person who accepts: what comes back to the callback."""
    assert sent_away.status == 303, sent_away.main
    content = site.world.microsoft.sign_in.content
    content.switches = msgspec.structs.replace(
        content.switches, **{"automatic_user": person, "automatic_consent": "accept", **switches}
    )
    async with aiohttp.ClientSession() as session:
        page = await Browser(Client(session, site.world.microsoft)).open(sent_away.location)
    if page.status == 302:
        assert page.location.startswith(f"{ORIGIN}{CALLBACK}?"), page.location
        return dict(parse_qsl(urlsplit(page.location).query))
    return page.form.fields


async def with_setup_key(site: Site, key: str = SETUP_KEY, to: str = "/console/connection") -> Page:
    """Sign in with the setup key; where that leads."""
    page = await site.get(f"/console/sign-in?to={to}")
    return await site.press(page.form("/console/sign-in"), key=key)


async def with_microsoft(site: Site, person: str, to: str = "/console/connection", *, follow: bool = True) -> Page:
    """Sign in to the console with Microsoft; where that leads."""
    page = await site.get(f"/console/sign-in?to={to}")
    sent_away = await site.press(page.form("/console/sign-in/microsoft"), follow=False)
    form = await at_microsoft(site, sent_away, person)
    return await site.post(CALLBACK, form, follow=follow, **ENTRA)
