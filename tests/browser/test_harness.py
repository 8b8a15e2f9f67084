"""The harness itself: it lets a clean page pass and finds each thing that was planted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from playwright.async_api import Error as PlaywrightError

from local.tls import self_signed
from tests.browser import chromium
from tests.browser.accessibility import check_accessible
from tests.browser.chromium import Site
from tests.browser.loopback import Loopback
from tests.browser.pictures import VARIABLE, screenshot
from tests.browser.watch import DESKTOP, Watch, watching

POLICY = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:"}
FOREIGN = "http://127.0.0.1:9/picture.png"


def document(body: str, head: str = "") -> str:
    start = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    )
    return f"{start}<title>Planted</title>{head}</head><body><main><h1>Planted</h1>{body}</main></body></html>"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Loopback]:
    async with Loopback().serving() as server:
        yield server


@pytest.fixture(scope="module")
def site(server: Loopback) -> Site:
    return Site(frozenset({server.url}))


async def test_a_clean_page_passes(watch: Watch, server: Loopback) -> None:
    server.pages["/"] = (document("<p>Nothing is wrong here.</p>"), POLICY)
    page = await watch.new_page()
    await page.goto(server.url)
    await check_accessible(page)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (f'<img alt="" src="{FOREIGN}">', f"request to a third party: GET {FOREIGN}"),
        ('<img alt="" src="/missing.png">', "status of 404"),
        ("<script>console.error('it went wrong')</script>", "console error: it went wrong"),
        ("<script>throw new Error('nobody caught it')</script>", "uncaught error: nobody caught it"),
        ("<script>setTimeout(() => Promise.reject(new Error('nor this')))</script>", "uncaught error: nor this"),
        ("<script>setTimeout(() => confirm('Really?'))</script>", "unhandled confirm dialog: Really?"),
    ],
    ids=["third party", "missing file", "console", "error", "promise", "dialog"],
)
async def test_what_is_planted_is_found(browser: Browser, site: Site, server: Loopback, body: str, told: str) -> None:
    server.pages["/"] = (document(body), {})
    with pytest.raises(AssertionError, match="the pages were not clean") as caught:
        await visit(browser, site, server.url)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "body",
    ["<script>document.title = 'ran'</script>", '<p style="color: red">styled</p>', f'<img alt="" src="{FOREIGN}">'],
    ids=["script", "style", "image"],
)
async def test_a_breach_of_the_page_s_own_policy_is_found(
    browser: Browser, site: Site, server: Loopback, body: str
) -> None:
    server.pages["/"] = (document(body), POLICY)
    with pytest.raises(AssertionError, match="Content Security Policy"):
        await visit(browser, site, server.url)


async def visit(browser: Browser, site: Site, url: str) -> None:
    """Open a page as the fixtures do, and close it when its timers have fired."""
    async with watching(browser, site.origins) as watch:
        page = await watch.new_page()
        await page.goto(url)
        await settled(page)


async def settled(page: Page) -> None:
    """Timers that were set before have fired, and the page has told of its problems."""
    await page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")


async def test_a_third_party_is_not_even_looked_up(browser: Browser, site: Site) -> None:
    watch = Watch(browser, site.origins)
    page = await watch.new_page()
    with pytest.raises(PlaywrightError, match="ERR_NAME_NOT_RESOLVED"):
        await page.goto("https://www.example.com/")
    await watch.close()
    assert watch.problems == ["request to a third party: GET https://www.example.com/"]


async def test_a_problem_of_a_window_that_a_page_opened_counts(browser: Browser, site: Site, server: Loopback) -> None:
    server.pages["/"] = (document('<p><a href="/new" target="_blank">New window</a></p>'), {})
    server.pages["/new"] = (document("<script>console.error('in the new window')</script>"), {})
    watch = Watch(browser, site.origins)
    page = await watch.new_page()
    await page.goto(server.url)
    async with page.expect_popup() as popup:
        await page.click("a")
    await (await popup.value).wait_for_load_state()
    await watch.close()
    with pytest.raises(AssertionError, match="in the new window"):
        watch.check()


async def test_an_expected_problem_passes_and_a_second_one_of_its_kind_does_not(
    browser: Browser, site: Site, server: Loopback
) -> None:
    watch = Watch(browser, site.origins)
    watch.expect("status of 404")
    page = await watch.new_page()
    async with page.expect_event("console"):
        await page.goto(f"{server.url}/first")
    watch.check()
    await page.goto(f"{server.url}/second")
    await watch.close()
    with pytest.raises(AssertionError, match="/second") as caught:
        watch.check()
    assert "/first" not in str(caught.value)


async def test_what_was_announced_has_to_happen(browser: Browser, site: Site) -> None:
    watch = Watch(browser, site.origins)
    watch.expect("status of 404")
    watch.answer_dialog()
    with pytest.raises(AssertionError) as caught:
        watch.check()
    assert "expected, but it did not happen: status of 404" in str(caught.value)
    assert "a dialog was announced, but none came up" in str(caught.value)


@pytest.mark.parametrize("accept", [True, False])
async def test_an_announced_dialog_is_answered(watch: Watch, server: Loopback, accept: bool) -> None:
    server.pages["/"] = (document("<p>Ask me.</p>"), {})
    page = await watch.new_page()
    await page.goto(server.url)
    watch.answer_dialog(accept=accept)
    assert await page.evaluate("() => confirm('Really?')") is accept
    assert watch.dialogs == ["Really?"]


async def test_each_page_is_a_person_of_their_own(watch: Watch, server: Loopback) -> None:
    server.pages["/"] = (document("<p>A cookie.</p>"), {"Set-Cookie": "who=first"})
    first, second = await watch.new_page(), await watch.new_page()
    await first.goto(server.url)
    server.pages["/"] = (document("<p>No cookie.</p>"), {})
    await second.goto(server.url)
    assert (await first.evaluate("document.cookie"), await second.evaluate("document.cookie")) == ("who=first", "")


@pytest.mark.parametrize(
    ("body", "style", "told"),
    [
        (
            '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
            "",
            ["image-alt (critical)", "light desktop, light phone"],
        ),
        ("<input>", "", ["label (critical)", "at input: <input>"]),
        (
            "<p>Faint</p>",
            "@media (prefers-color-scheme: dark) { body { background: #222 } p { color: #333 } h1 { color: #fff } }",
            ["color-contrast (serious)", "seen: dark desktop, dark phone"],
        ),
        ("<p>Wide</p>", "p { width: 500px }", ["pixels wider than the screen", "seen: light phone, dark phone"]),
    ],
    ids=["image", "label", "dark contrast", "overflow"],
)
async def test_what_keeps_people_out_is_found(
    watch: Watch, server: Loopback, body: str, style: str, told: list[str]
) -> None:
    server.pages["/"] = (document(body, '<link rel="stylesheet" href="/style.css">'), POLICY)
    server.pages["/style.css"] = (style, {})
    page = await watch.new_page()
    await page.goto(server.url)
    with pytest.raises(AssertionError, match="is not accessible to everybody") as caught:
        await check_accessible(page)
    for words in told:
        assert words in str(caught.value)
    assert page.viewport_size == DESKTOP


async def test_pictures_are_written_only_when_asked_for(
    page: Page, server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/"] = (document("<p>A picture.</p>"), {})
    await page.goto(server.url)
    monkeypatch.delenv(VARIABLE, raising=False)
    await screenshot(page, "a-page", folder=tmp_path / "images")
    assert not (tmp_path / "images").exists()
    monkeypatch.setenv(VARIABLE, "1")
    await screenshot(page, "a-page", folder=tmp_path / "images")
    assert (tmp_path / "images" / "a-page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["", "A", "a_b", "../a", "a.png", "-a"])
async def test_a_picture_has_a_plain_name(page: Page, name: str) -> None:
    with pytest.raises(ValueError, match="lower case letters"):
        await screenshot(page, name)


async def test_a_server_whose_key_was_not_named_is_not_trusted(browser: Browser, site: Site, tmp_path: Path) -> None:
    async with Loopback().serving(self_signed(tmp_path, "other", "localhost")) as other:
        watch = Watch(browser, site.origins | {other.url})
        page = await watch.new_page()
        with pytest.raises(PlaywrightError, match="ERR_CERT_AUTHORITY_INVALID"):
            await page.goto(other.url)
        await watch.close()
    assert other.received == []


def test_a_chromium_that_is_not_there_is_an_error_when_named_and_none_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(chromium.VARIABLE, raising=False)
    assert chromium.find() is None
    monkeypatch.setenv(chromium.VARIABLE, str(tmp_path / "chromium"))
    with pytest.raises(FileNotFoundError, match="is no program"):
        chromium.find()
    (tmp_path / "chromium").touch(mode=0o755)
    assert chromium.find() == str(tmp_path / "chromium")
