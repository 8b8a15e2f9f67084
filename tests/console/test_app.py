"""The gate of all pages: how requests come in, and what becomes of errors."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import cookie_parser

from console.adapter import Received, _meant, answer
from console.app import origin_of
from console.static_files import TYPES, address, content
from graph.errors import Unavailable
from pbx.errors import PbxError
from store.audit import AuditStore
from store.errors import Changed, Misconfigured, StoreUnavailable
from sync.connect import Trouble
from sync.service import Bridge, Conflict
from tests.console.site import Site

COOKIE_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='";,\\'), max_size=40)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_-]{1,10}", fullmatch=True), COOKIE_TEXT, max_size=4))
def test_cookies_come_back_as_they_were_set_although_the_host_encodes_them(cookies: dict[str, str]) -> None:
    header = "; ".join(f"{name}={quote(value, safe='-_.~')}" for name, value in cookies.items())
    assert cookie_parser(_meant("Cookie", header)) == cookies


@given(st.text(st.characters(max_codepoint=0xFF), max_size=60))
def test_a_cookie_never_becomes_two_by_being_decoded(text: str) -> None:
    assert _meant("cookie", text).count(";") <= text.count(";")


@pytest.mark.parametrize("text", ["a=%3B%20b=c", "a=%0d%0a", "a=%22", "a=%00", "a=%ff"])
def test_what_no_cookie_may_hold_stays_encoded(text: str) -> None:
    assert _meant("cookie", text) == text


def test_other_headers_stay_as_they_are() -> None:
    assert _meant("referer", "https://bridge.example/?a=%3D") == "https://bridge.example/?a=%3D"


async def test_a_wrong_deployment_is_told_without_any_page() -> None:
    def broken() -> Bridge:
        raise Misconfigured("the application setting KEY_VAULT_URL has to be an https address")

    answered = await answer(broken, Received("GET", "https://bridge.example/console", [], b""))
    assert answered.status == 503
    assert b"KEY_VAULT_URL has to be an https address. Correct the application settings" in answered.body
    assert dict(answered.headers)["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Conflict("Resume it first: POST /api/resume."), 409, "Resume it first."),
        (Changed("somebody was faster"), 409, "Nothing was changed here."),
        (StoreUnavailable("Table Storage does not answer"), 503, "Table Storage does not answer."),
        (Unavailable("Graph does not answer."), 503, "Graph does not answer."),
        (PbxError("the PBX is busy"), 503, "The PBX is busy."),
        (Trouble("x", "The PBX said no.", "Ask it again: PUT /api/settings."), 503, "The PBX said no. Ask it again."),
        (ValueError("secret words"), 500, "The bridge itself failed here; its log has the details."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_each_error_becomes_a_page_that_says_what_to_do(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("console.overview.read_status", fail)
    await site.sign_in()
    page = await site.get("/console")
    assert page.status == status
    assert words in page.main
    assert "secret words" not in page.html
    assert page.root.all("form", action="/console/sign-out"), "who is signed in stays so"


async def test_what_was_done_is_answered_although_it_could_not_be_recorded(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise StoreUnavailable("Table Storage does not answer")

    await site.world.first_sync()
    await site.sign_in()
    monkeypatch.setattr(AuditStore, "add", broken)
    page = await site.post("/console/runs", {"mode": "full"})
    assert page.status == 200
    assert len(site.queue) == 1
    assert "audit trail misses sync.started" in caplog.text


@pytest.mark.parametrize("name", sorted(TYPES))
async def test_a_file_is_kept_by_browsers_under_the_address_that_pages_use(site: Site, name: str) -> None:
    page = await site.get(address(name))
    assert (page.status, page.body) == (200, content(name))
    assert page.headers["content-type"] == TYPES[name]
    assert page.headers["cache-control"] == "public, max-age=31536000, immutable"
    for version in ("", "?v=", "?v=0123456789ab"):
        page = await site.get(f"/console/static/{name}{version}")
        assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Bridge.Example/", "https://bridge.example"),
        ("https://bridge.example:443", "https://bridge.example"),
        ("https://bridge.example:8443/app", "https://bridge.example:8443"),
        ("http://localhost:7071", "http://localhost:7071"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_the_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origin_of(url) == origin


async def test_a_deployment_that_does_not_know_its_address_says_so_when_a_form_comes(site: Site) -> None:
    await site.deploy(public_base_url="")
    await site.sign_in()
    page = await site.post("/console/runs")
    assert page.status == 403
    assert "PUBLIC_BASE_URL is not set" in page.main


async def test_a_page_of_somebody_who_may_look_only_says_so(site: Site) -> None:
    await site.sign_in("reader", name="Rita Reader")
    page = await site.get("/console")
    assert "Rita Reader (may look only)" in page.text
    await site.sign_in("admin")
    assert "may look only" not in (await site.get("/console")).text


async def test_the_tab_of_the_page_is_marked_as_the_current_one(site: Site) -> None:
    await site.sign_in()
    for path, label in (("/console", "Overview"), ("/console/users/list", "Users"), ("/console/activity", "Activity")):
        [current] = (await site.get(path)).root.all("a", aria_current="page")
        assert current.text == label


async def test_a_part_that_ends_sends_the_whole_window_on(site: Site) -> None:
    await site.world.first_sync()
    await site.sign_in()
    page = await site.post("/console/runs", {"mode": "full"}, part=True)
    assert page.status == 204
    assert page.headers["hx-redirect"].startswith("/console/runs/")
