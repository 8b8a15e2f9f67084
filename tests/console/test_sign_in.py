"""Signing in to the console and out of it, with the setup key and with Microsoft."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.sign_in import FORM_COOKIE, HOME, target
from sso.sessions import COOKIE
from sso.signin import STATE_COOKIE
from tests.console.page import escaped
from tests.console.signing_in import CALLBACK, ENTRA, assigned, at_microsoft, registered, with_microsoft, with_setup_key
from tests.console.site import HOSTILE, SETUP_KEY, Site


async def actions(site: Site) -> list[str]:
    return [entry.action for entry in await site.trail()]


# Where to go afterwards


@pytest.mark.parametrize(
    "wanted",
    ["/console", "/console/runs", "/console/runs?after=1&x=%2F", "/connect", "/console/users/0f-1", "/connect?done=x"],
)
def test_pages_of_the_console_are_gone_to(wanted: str) -> None:
    assert target(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "/",
        "https://evil.example/console",
        "//evil.example/console",
        "/console//evil.example",
        "/\\evil.example",
        "/console\\evil",
        "/consolex",
        "/console.evil.example",
        "/console@evil.example",
        "/console/../api/settings",
        "/console/./x",
        "/console/x\r\nSet-Cookie: a=b",
        "/console\t/x",
        "/console/sign-in",
        "/console/sign-in?to=/console/sign-in",
        "/connect/callback?code=1",
        "javascript:alert(1)",
        "/api/settings",
        " /console",
    ],
)
def test_anything_else_becomes_the_overview(wanted: str) -> None:
    assert target(wanted) == HOME


@given(st.one_of(st.text(), st.text(alphabet="/\\.:@consleti?&=%").map("/console".__add__)))
def test_no_target_leaves_the_site(wanted: str) -> None:
    gone = target(wanted)
    assert gone.split("?")[0].split("/")[1] in {"console", "connect"}
    assert "//" not in gone
    assert "\\" not in gone
    assert "/." not in gone


# The page


async def test_both_ways_are_offered_while_no_account_is_connected(site: Site) -> None:
    page = await site.get("/console/runs")
    assert (page.path.partition("?")[0], page.status, page.heading) == ("/console/sign-in", 200, "Sign in")
    assert page.form("/console/sign-in")["to"] == "/console/runs"
    assert page.form("/console/sign-in/microsoft")["to"] == "/console/runs"
    assert page.root.one("input", name="key")["type"] == "password"
    assert page.root.one("label", for_="key").text == "Setup key"


async def test_microsoft_is_offered_only_when_a_tenant_is_set_up(site: Site) -> None:
    await site.deploy(tenant_id="", client_id="")
    page = await site.get("/console/sign-in")
    assert [form.action for form in page.forms] == ["/console/sign-in"]


async def test_without_any_way_in_the_page_says_how_to_make_one(site: Site) -> None:
    await site.deploy(tenant_id="", client_id="", setup_key="")
    page = await site.get("/console/sign-in")
    assert page.forms == []
    assert page.says("Give it the app setting SETUP_KEY")


async def test_who_is_signed_in_already_goes_on(site: Site) -> None:
    await site.sign_in()
    page = await site.get("/console/sign-in?to=/console/connection", follow=False)
    assert (page.status, page.location) == (303, "/console/connection")


async def test_a_target_elsewhere_is_forgotten_at_every_step(site: Site) -> None:
    page = await site.get("/console/sign-in?to=https://evil.example/console")
    form = page.form("/console/sign-in")
    assert form["to"] == "/console"
    answer = await site.press(form, key=SETUP_KEY, to="//evil.example", follow=False)
    assert (answer.status, answer.location) == (303, "/console")


async def test_a_target_that_is_markup_is_not_repeated(site: Site) -> None:
    page = await site.get(f"/console/sign-in?to={HOSTILE.replace('#', '').replace('&', '').replace(' ', '+')}")
    assert HOSTILE not in page.html
    assert page.form("/console/sign-in")["to"] == "/console"


# The setup key


async def test_the_setup_key_signs_an_administrator_in(site: Site) -> None:
    page = await with_setup_key(site)
    assert (page.status, page.path) == (200, "/console/connection")
    assert page.root.one("form", class_="who").text.startswith("Setup key")
    [entry] = await site.trail()
    assert (entry.action, entry.object, entry.who, entry.role) == ("signed_in", "setup key", "Setup key", "admin")


async def test_the_session_cookie_is_for_this_host_and_hidden_from_scripts(site: Site) -> None:
    page = await site.get("/console/sign-in")
    answer = await site.press(page.form("/console/sign-in"), key=SETUP_KEY, follow=False)
    [cookie] = [value for value in answer.cookies if value.startswith(f"{COOKIE}=")]
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=28800")
    assert FORM_COOKIE not in site.cookies


async def test_a_wrong_setup_key_is_refused_and_recorded_without_the_key(site: Site) -> None:
    page = await with_setup_key(site, "not-the-key-but-perhaps-somebodys-password")
    assert (page.status, page.heading) == (403, "Sign in")
    assert page.says("This is not the setup key.")
    assert COOKIE not in site.cookies
    assert "somebodys-password" not in page.html
    [entry] = await site.trail()
    assert (entry.action, entry.who) == ("sign_in_refused", "nobody")
    assert "somebodys-password" not in str(entry)


async def test_after_five_wrong_keys_the_right_one_waits_and_the_trail_is_not_filled(site: Site) -> None:
    for _ in range(5):
        assert (await with_setup_key(site, "wrong")).status == 403
    page = await with_setup_key(site)
    assert page.status == 429
    assert 0 < int(page.headers["retry-after"]) <= 900
    assert page.says("Try again in 15 minutes.")
    assert len(await site.trail()) == 5
    site.passes(minutes=16)
    assert (await with_setup_key(site)).status == 200


async def test_attempts_are_counted_by_the_address_that_azure_saw(site: Site) -> None:
    page = await site.get("/console/sign-in")
    values = page.form("/console/sign-in").filled(key="wrong")
    for number in range(5):
        forwarded = f"10.0.0.{number}, 198.51.100.7:{50000 + number}"
        answer = await site.post("/console/sign-in", values, x_forwarded_for=forwarded)
        assert answer.status == 403
    claimed = await site.post("/console/sign-in", values, x_forwarded_for="203.0.113.9, 198.51.100.7:9")
    other = await site.post("/console/sign-in", values, x_forwarded_for="198.51.100.7, 203.0.113.9:1")
    assert (claimed.status, other.status) == (429, 403)


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/sign-in/microsoft"])
async def test_a_form_without_its_cookie_is_refused(site: Site, path: str) -> None:
    page = await site.get("/console/sign-in")
    values = page.form(path).values()
    site.cookies.clear()
    answer = await site.post(path, [*values, ("key", SETUP_KEY)])
    assert (answer.status, answer.heading) == (403, "Form refused")
    assert COOKIE not in site.cookies
    assert await site.trail() == []


async def test_a_form_with_the_token_of_another_browser_is_refused(site: Site) -> None:
    values = (await site.get("/console/sign-in")).form("/console/sign-in").filled(key=SETUP_KEY)
    site.sign_out()
    await site.get("/console/sign-in")
    assert (await site.post("/console/sign-in", values)).status == 403


async def test_a_planted_form_cookie_that_is_no_token_is_replaced(site: Site) -> None:
    site.cookies[FORM_COOKIE] = "short"
    page = await site.get("/console/sign-in")
    assert page.form("/console/sign-in")["token"] == site.cookies[FORM_COOKIE] != "short"


async def test_a_second_tab_keeps_the_form_of_the_first_good(site: Site) -> None:
    first = await site.get("/console/sign-in")
    await site.get("/console/sign-in")
    assert (await site.press(first.form("/console/sign-in"), key=SETUP_KEY, follow=False)).status == 303


# Microsoft


@pytest.mark.parametrize(("role", "session"), [("Bridge.Admin", "admin"), ("Bridge.Reader", "reader")])
async def test_an_app_role_opens_the_page_that_was_asked_for(site: Site, role: str, session: str) -> None:
    await site.world.secrets()
    person = site.world.person("Noor Bakker")
    assigned(site, person, role)
    page = await with_microsoft(site, person)
    assert (page.status, page.path) == (200, "/console/connection")
    assert page.root.one("form", class_="who").text.startswith("Noor Bakker")
    assert STATE_COOKIE not in site.cookies
    entry = (await site.trail())[0]
    assert (entry.action, entry.object, entry.who, entry.role) == ("signed_in", "Microsoft", "Noor Bakker", session)


async def test_the_state_travels_in_a_cookie_that_comes_back_with_microsofts_form(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    page = await site.get("/console/sign-in")
    answer = await site.press(page.form("/console/sign-in/microsoft"), follow=False)
    assert answer.status == 303
    assert answer.location.startswith(f"{site.world.microsoft.url}/")
    [cookie] = [value for value in answer.cookies if value.startswith(f"{STATE_COOKIE}=")]
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=600")


async def test_without_a_role_nobody_gets_in_and_hears_where_to_get_one(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    page = await with_microsoft(site, site.world.person("Mara Jansen"))
    assert (page.status, page.heading) == (403, "Your account may not use this console")
    assert page.says("Bridge.Admin and Bridge.Reader")
    assert page.links["Back to the console"] == "/console"
    assert COOKIE not in site.cookies
    [entry] = await site.trail()
    assert entry.action == "sign_in_refused"
    assert entry.after.startswith("no_role: ")


async def test_a_name_that_is_markup_is_shown_as_it_is(site: Site) -> None:
    await site.world.secrets()
    person = site.world.person("x", displayName=HOSTILE)
    assigned(site, person, "Bridge.Admin")
    page = await with_microsoft(site, person)
    assert page.status == 200
    assert HOSTILE not in page.html
    assert escaped("<script>alert(") in page.html


async def test_a_forged_answer_is_refused_and_does_not_fill_the_trail(site: Site) -> None:
    answer = await site.post(CALLBACK, {"code": "x", "state": "y"}, **ENTRA)
    assert (answer.status, answer.heading) == (400, "This sign-in cannot be finished")
    assert await site.trail() == []


async def test_an_answer_is_taken_once(site: Site) -> None:
    await site.world.secrets()
    person = site.world.person("Noor Bakker")
    assigned(site, person, "Bridge.Admin")
    page = await site.get("/console/sign-in")
    sent_away = await site.press(page.form("/console/sign-in/microsoft"), follow=False)
    state = site.cookies[STATE_COOKIE]
    form = await at_microsoft(site, sent_away, person)
    assert (await site.post(CALLBACK, form, follow=False, **ENTRA)).status == 303
    site.sign_out()
    site.cookies[STATE_COOKIE] = state
    assert (await site.post(CALLBACK, form, **ENTRA)).status == 400
    assert COOKIE not in site.cookies


async def test_microsoft_that_cannot_be_reached_is_said_so(site: Site) -> None:
    await site.deploy(entra_authority="https://127.0.0.1:1")
    page = await site.get("/console/sign-in")
    answer = await site.press(page.form("/console/sign-in/microsoft"))
    assert answer.status == 503
    assert STATE_COOKIE not in site.cookies


# Out


async def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(site: Site) -> None:
    await site.sign_in()
    copy = site.cookies[COOKIE]
    page = await site.post("/console/sign-out")
    assert (page.status, page.heading) == (200, "Sign in")
    assert page.notices == ["You are signed out."]
    assert COOKIE not in site.cookies
    site.cookies[COOKIE] = copy
    assert (await site.get("/console/connection", follow=False)).status == 303
    assert "signed_out" in await actions(site)


async def test_signing_out_needs_the_form_of_the_session(site: Site) -> None:
    await site.sign_in()
    assert (await site.post("/console/sign-out", {"csrf": "x"})).status == 403
    assert (await site.get("/console/connection", follow=False)).status == 200
