"""Which cookies of an app at ``http://localhost`` a browser keeps and sends, on the way of a sign-in with Microsoft.

The other site is ``https://localhost`` at another port: the port does not matter to cookies, the scheme does
("Schemeful Same-Site"), so that for SameSite it is another site, as Microsoft's is.
"""

import json
import os
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from local.host.keys import Keys
from local.host.process import HostProcess
from local.tls import CertificateAuthority, ServerCertificate
from tests.browser.chromium import Site
from tests.browser.loopback import Loopback

APP = Path(__file__).parent / "cookie_app"
ALL = {"__Host-session": "lax", "__Host-state": "none", "__Host-strict": "strict"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("ca")).issue("other")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def host(program: str) -> AsyncIterator[HostProcess]:
    """Asks for ``program`` because it need not start when there is no browser."""
    settings = {"PATH": os.environ["PATH"], "AzureWebJobsStorage": ""}
    async with HostProcess(APP, settings, keys=Keys()) as host:
        yield host


@pytest.fixture(scope="module")
def url(host: HostProcess) -> str:
    return host.url.replace("127.0.0.1", "localhost")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other(certificate: ServerCertificate) -> AsyncIterator[Loopback]:
    async with Loopback().serving(certificate) as other:
        yield other


@pytest.fixture(scope="module")
def site(url: str, other: Loopback, certificate: ServerCertificate) -> Site:
    return Site(frozenset({url, other.url}), (certificate.certificate,))


async def shown(page: Page) -> Any:
    """The JSON that the browser shows."""
    return json.loads(await page.inner_text("body"))


async def opened(page: Page, url: str) -> Any:
    answer = await page.goto(url)
    assert answer is not None
    assert answer.status == 200
    return await shown(page)


def posting(other: Loopback, target: str, referrer_policy: str) -> str:
    """A page of the other site with a form for ``target``; its address."""
    text = (
        f'<!doctype html><html lang="en"><title>Form</title><form method="post" action="{escape(target)}">'
        '<input type="hidden" name="code" value="a+b/c="><button>Continue</button></form></html>'
    )
    other.pages["/form"] = (text, {"Referrer-Policy": referrer_policy})
    return f"{other.url}/form"


async def test_host_prefixed_secure_cookies_are_kept_and_sent_over_http_on_localhost(page: Page, url: str) -> None:
    assert (await opened(page, f"{url}/set"))["cookies"] == {}
    kept = {str(one.get("name")): one for one in await page.context.cookies()}
    assert {name: (one.get("secure"), one.get("httpOnly")) for name, one in kept.items()} == dict.fromkeys(
        ALL, (True, True)
    )
    assert {name: one.get("sameSite") for name, one in kept.items()} == {
        "__Host-session": "Lax",
        "__Host-state": "None",
        "__Host-strict": "Strict",
    }
    assert (await opened(page, f"{url}/console/"))["cookies"] == ALL


async def test_cookies_that_break_their_prefix_are_not_kept(page: Page, url: str) -> None:
    await opened(page, f"{url}/refused")
    assert await page.context.cookies() == []


async def test_a_post_from_another_site_brings_only_cookies_without_same_site(
    page: Page, url: str, other: Loopback
) -> None:
    await opened(page, f"{url}/set")
    await page.goto(posting(other, f"{url}/ends", "strict-origin-when-cross-origin"))
    await page.click("button")
    seen = await shown(page)
    assert (seen["method"], seen["form"]) == ("POST", "code=a%2Bb%2Fc%3D")
    assert seen["cookies"] == {"__Host-state": "none"}
    assert seen["headers"]["origin"] == "null"
    assert seen["headers"]["sec-fetch-site"] == "cross-site"


async def test_the_redirect_after_such_a_post_brings_lax_cookies(page: Page, url: str, other: Loopback) -> None:
    form = posting(other, f"{url}/connect/callback", "strict-origin-when-cross-origin")
    await page.goto(f"{url}/start?to={form}")
    await page.click("button")
    await page.wait_for_url(f"{url}/console/")
    seen = await shown(page)
    at_callback = json.loads(bytes.fromhex(seen["cookies"].pop("callback-saw")))
    assert at_callback["cookies"] == {"__Host-state": "none"}
    assert seen["method"] == "GET"
    assert seen["cookies"] == {"__Host-session": "renewed"}, "the new session, no strict cookie, the state is gone"
    assert seen["headers"]["sec-fetch-site"] == "cross-site"
    assert (await opened(page, f"{url}/console/"))["cookies"].keys() == {
        "__Host-session",
        "__Host-strict",
        "callback-saw",
    }


async def test_the_origin_is_told_by_another_site_that_tells_everybody(page: Page, url: str, other: Loopback) -> None:
    await page.goto(posting(other, f"{url}/ends", "unsafe-url"))
    await page.click("button")
    assert (await shown(page))["headers"]["origin"] == other.url


async def test_a_form_of_the_app_itself_brings_every_cookie_and_its_origin(page: Page, url: str) -> None:
    await opened(page, f"{url}/set")
    await page.evaluate(
        "(action) => { document.body.innerHTML = `<form method=post action=${action}><button>Go</button></form>` }",
        f"{url}/ends",
    )
    await page.click("button")
    seen = await shown(page)
    assert seen["cookies"] == ALL
    assert (seen["headers"]["origin"], seen["headers"]["sec-fetch-site"]) == (url, "same-origin")


@pytest.mark.parametrize(
    ("path", "rest"),
    [("/console", None), ("/console/", None), ("/console/runs", "runs"), ("/console/runs/1", "runs/1")],
)
async def test_a_route_for_all_paths_answers_with_and_without_a_path(
    page: Page, url: str, path: str, rest: str | None
) -> None:
    assert (await opened(page, url + path))["path"] == rest
