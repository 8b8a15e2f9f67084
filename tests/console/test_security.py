"""Who may do what, from where and how: every page and every form, walked over one by one."""

import datetime
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest

from console.app import Page as Route
from console.rooms import place_of
from console.subjects import SUBJECTS
from local.sample import TENANT_ID
from sso import sealing
from sso.sessions import COOKIE, end_all, end_session, start_session
from store.audit import AuditStore, Entry
from store.errors import StoreUnavailable
from store.health import Reason
from store.links import Link
from store.runs import Fault, Run, RunItem, Status, Step, run_id
from store.sessions import AccountRecord, SessionStore
from store.subscriptions import Subscription, SubscriptionStore
from tests.console.page import Element, Page
from tests.console.site import FORM, HOSTILE, ORIGIN, SETUP_KEY, Site

ROUTES = [route for pages in SUBJECTS for route in pages.all]
LOOKING = [route for route in ROUTES if route.method == "GET" and route.role is not None]
CHANGING = [route for route in ROUTES if route.method == "POST" and route.role is not None]
ENTRANCES = {"GET /me/presence", "POST /me/presence"}
"""Where one signs in and is then shown what is about oneself."""
GUARDED = [route for route in LOOKING if not route.is_entrance]
"""Pages that send away who is not signed in."""
OPEN = {
    "GET /console/static/{name}",
    "GET /console/sign-in",
    "POST /console/sign-in",
    "POST /console/sign-in/microsoft",
    "GET /connect/callback",
    "POST /connect/callback",
}
"""What anybody may ask for."""
READERS = {"POST /console/sign-out", "POST /me/presence"}
"""What readers may send: it is about themselves."""
RUN = "77777777777777-abcdef"
PERSON = "11111111-2222-4333-8444-555555555555"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
ADDRESSES = ("href", "src", "action", "formaction", "hx-get", "hx-post", "hx-put", "hx-delete", "xlink:href", "data")


class SealedId(msgspec.Struct, frozen=True):
    """What the cookie of a session holds."""

    id: str
    mark: str = ""


def address(route: Route) -> str:
    """A path that leads there."""
    action = "pause?what=users" if route.method == "GET" else "pause"
    names = {"run_id": RUN, "object_id": PERSON, "action": action, "name": "console.css"}
    path = route.path
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def called(route: Route) -> str:
    return f"{route.method} {route.path}"


def secured(site: Site, page: Page) -> None:
    """Every answer tells the browser to be careful, whatever it says."""
    headers = page.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy.pop("form-action") == f"'self' {site.world.environment.entra_authority}", page
    assert policy == POLICY, page
    assert headers["x-content-type-options"] == "nosniff", page
    assert headers["x-frame-options"] == "DENY", page
    assert headers["referrer-policy"] == "same-origin", page
    assert headers["cross-origin-opener-policy"] == "same-origin", page
    assert headers["strict-transport-security"].startswith("max-age="), page
    assert headers["cache-control"] == "no-store" or page.path.startswith("/console/static/"), page
    assert "evil" not in str(headers), page


async def untouched(site: Site) -> object:
    """Everything that a form could have changed."""
    connection = site.connection
    runs = [run async for run in connection.runs.newest(10)]
    return (
        (await connection.settings.load()).http_etag,
        await connection.health.load(),
        [run.id for run in runs],
        [(entry.action, entry.object) for entry in await site.trail()],
        list(site.queue),
    )


def test_only_signing_in_and_files_are_open_to_everybody() -> None:
    assert {called(route) for route in ROUTES if route.role is None} == OPEN


def test_only_administrators_change_anything() -> None:
    assert {called(route) for route in CHANGING if route.role != "admin"} == READERS


def test_only_what_is_about_oneself_is_for_everybody_of_the_tenant() -> None:
    assert {called(route) for route in ROUTES if route.role == "person"} == ENTRANCES
    assert {called(route) for route in ROUTES if route.is_entrance} == ENTRANCES


def test_only_the_answer_of_microsoft_may_come_from_another_site() -> None:
    assert {called(route) for route in ROUTES if route.is_cross_site} == {"POST /connect/callback"}


def test_no_two_pages_have_the_same_address() -> None:
    names = [called(route) for route in ROUTES]
    assert len(names) == len(set(names))


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(site: Site) -> None:
    for route in GUARDED:
        path = address(route)
        page = await site.get(path, follow=False)
        assert page.status == 303, path
        assert page.location == f"/console/sign-in?to={quote(path, safe='')}", path
        secured(site, page)


async def test_a_part_of_a_page_sends_the_whole_window_to_sign_in(site: Site) -> None:
    for route in GUARDED:
        page = await site.get(address(route), part=True)
        assert page.status == 401, route.path
        assert page.headers["hx-redirect"].startswith("/console/sign-in?to="), route.path


async def test_a_form_without_a_session_changes_nothing(site: Site) -> None:
    before = await untouched(site)
    for route in CHANGING:
        page = await site.post(address(route), {"csrf": "x"})
        assert page.status == 401, route.path
        assert page.links["Sign in"] == ("/me/presence" if route.is_entrance else "/console/sign-in")
        secured(site, page)
    assert await untouched(site) == before


async def test_a_reader_may_look_at_everything_but_what_is_for_changing(site: Site) -> None:
    await site.sign_in("reader")
    for route in LOOKING:
        page = await site.get(address(route))
        if route.role == "admin":
            assert page.status == 403, route.path
        else:
            assert page.status in {200, 404}, (route.path, page.main)
        secured(site, page)


async def test_a_person_opens_no_page_of_the_console_and_changes_nothing(site: Site) -> None:
    session = await site.sign_in("person", name="Pia Person")
    before = await untouched(site)
    for route in [*LOOKING, *CHANGING]:
        if called(route) in ENTRANCES:
            continue
        for part in (False, True):
            body = {"csrf": session.csrf, "act": "save", "step": "presence", "what": "users"}
            page = await (
                site.get(address(route), follow=False, part=part)
                if route.method == "GET"
                else site.post(address(route), body, follow=False, part=part)
            )
            assert (page.status, page.heading) == (403, "Not for your account"), called(route)
            assert page.links["Your presence"] == "/me/presence"
            assert page.root.all("nav") == [], "nothing leads into the console"
            secured(site, page)
    assert await untouched(site) == before


async def test_a_reader_changes_nothing_even_with_the_right_token(site: Site) -> None:
    await site.sign_in("reader")
    before = await untouched(site)
    for route in CHANGING:
        if called(route) not in READERS:
            page = await site.post(address(route), {"act": "save", "step": "pbx", "what": "users"})
            assert (page.status, page.heading) == (403, "You may not change this"), route.path
            secured(site, page)
    assert await untouched(site) == before


@pytest.mark.parametrize("token", ["", "wrong", "é", "x" * 5000], ids=["none", "wrong", "not ascii", "long"])
async def test_a_form_needs_the_token_of_the_session(site: Site, token: str) -> None:
    await site.sign_in()
    before = await untouched(site)
    for route in CHANGING:
        page = await site.post(address(route), {"csrf": token or None})
        assert (page.status, page.heading) == (403, "Form refused"), route.path
    assert await untouched(site) == before


async def test_the_token_of_another_session_does_not_do(site: Site) -> None:
    other = await site.sign_in()
    await site.sign_in()
    for route in CHANGING:
        page = await site.post(address(route), {"csrf": other.csrf})
        assert page.status == 403, route.path


async def test_the_token_may_come_in_a_header_as_htmx_sends_it(site: Site) -> None:
    session = await site.sign_in()
    page = await site.post("/console/sign-out", {"csrf": None}, follow=False, x_csrf_token="wrong")
    assert page.status == 403
    page = await site.post("/console/sign-out", {"csrf": None}, follow=False, x_csrf_token=session.csrf)
    assert page.status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ORIGIN.replace("https", "http")},
        {"origin": f"{ORIGIN}:8443"},
        {"origin": f"{ORIGIN}.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=lambda headers: " ".join(f"{name} {value}" for name, value in headers.items()),
)
async def test_a_form_of_another_site_is_refused_before_it_is_looked_at(site: Site, headers: dict[str, str]) -> None:
    await site.sign_in()
    before = await untouched(site)
    for route in ROUTES:
        if route.method == "POST" and not route.is_cross_site:
            page = await site.post(address(route), {"key": SETUP_KEY}, follow=False, part=False, **headers)
            assert (page.status, page.heading) == (403, "Form refused"), route.path
            secured(site, page)
    assert await untouched(site) == before
    assert (await site.get("/console")).status == 200


async def test_microsofts_answer_may_come_from_its_site_and_proves_nothing_by_itself(site: Site) -> None:
    page = await site.post(
        "/connect/callback", {"code": "x", "state": "y"}, origin="https://login.example", sec_fetch_site="cross-site"
    )
    assert page.status == 400
    assert COOKIE not in site.cookies
    secured(site, page)


# Sessions


async def refused(site: Site, cookie: str) -> None:
    """With this cookie nobody is signed in, and the browser is told to sign in."""
    site.cookies[COOKIE] = cookie
    page = await site.get("/console", follow=False)
    assert (page.status, page.location[:16]) == (303, "/console/sign-in"), cookie[:50]


async def test_a_cookie_that_was_tampered_with_opens_nothing(site: Site) -> None:
    await site.sign_in()
    good = site.cookies[COOKIE]
    for index in range(0, len(good), max(1, len(good) // 25)):
        await refused(site, good[:index] + ("A" if good[index] != "A" else "B") + good[index + 1 :])
    for bad in (good[:-4], good[1:], good + good, good + "A", "", "null", "x" * 10_000, "é", good.swapcase()):
        await refused(site, bad)
    site.cookies[COOKIE] = good
    assert (await site.get("/console")).status == 200


async def test_a_session_ends_after_eight_hours(site: Site) -> None:
    await site.sign_in()
    site.passes(hours=7, minutes=59)
    assert (await site.get("/console")).status == 200
    site.passes(minutes=2)
    await refused(site, site.cookies[COOKIE])


async def test_a_session_that_was_ended_cannot_be_used_from_a_copy(site: Site) -> None:
    session = await site.sign_in()
    copy = site.cookies[COOKIE]
    await end_session(place_of(site.connection), session, site.world.tell())
    await refused(site, copy)
    await site.sign_in()
    copy = site.cookies[COOKIE]
    await end_all(place_of(site.connection), site.world.tell())
    await refused(site, copy)


async def test_signing_out_ends_the_session_and_takes_the_cookie_away(site: Site) -> None:
    await site.sign_in()
    copy = site.cookies[COOKIE]
    page = await site.post("/console/sign-out")
    assert page.status == 200
    assert COOKIE not in site.cookies
    assert "You are signed out." in page.notices
    await refused(site, copy)


async def test_a_session_of_another_connection_is_none_here(site: Site) -> None:
    other = site.world.bridge.connection("other")
    _, cookie = await start_session(place_of(other), "Eve", f"{TENANT_ID}:x", "admin", site.world.tell())
    await refused(site, cookie)


async def test_a_cookie_that_was_sealed_for_another_purpose_is_no_session(site: Site) -> None:
    session = await site.sign_in()
    content = SealedId(session.id)
    await refused(site, await sealing.seal(place_of(site.connection), "state", content, site.world.tell()))


async def test_the_cookie_of_a_session_is_hidden_from_scripts_and_other_sites(site: Site) -> None:
    page = await site.get("/console/sign-in")
    page = await site.press(page.form("/console/sign-in"), "Sign in with the setup key", key=SETUP_KEY, follow=False)
    [cookie] = [one for one in page.cookies if one.startswith(f"{COOKIE}=")]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"path=/", "secure", "httponly", "samesite=lax", "max-age=28800"} == attributes


# What is sent


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD"])
async def test_other_methods_do_nothing(site: Site, method: str) -> None:
    await site.sign_in()
    before = await untouched(site)
    assert site.session is not None
    headers = {"content-type": FORM, "origin": ORIGIN, "x-csrf-token": site.session.csrf}
    for route in ROUTES:
        page = await site.send(method, address(route), headers)
        if method != "HEAD":
            assert page.status == 405, route.path
        secured(site, page)
    assert await untouched(site) == before


async def test_a_form_sent_as_a_link_does_nothing(site: Site) -> None:
    """What only forms may do cannot be done by an address alone."""
    await site.sign_in()
    before = await untouched(site)
    looked_at = {route.path for route in ROUTES if route.method == "GET"}
    for route in CHANGING:
        page = await site.get(f"{address(route)}?csrf={site.session and site.session.csrf}&act=save&step=pbx")
        if route.path not in looked_at and "{action}" not in route.path:
            assert page.status in {404, 405}, route.path
    assert await untouched(site) == before


async def test_a_form_that_is_too_large_is_refused_unread(site: Site) -> None:
    await site.sign_in()
    for route in ROUTES:
        if route.method == "POST":
            page = await site.post(address(route), {"filler": "x" * 600_000})
            assert page.status == 413, route.path
            secured(site, page)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", "x"])
async def test_what_is_no_form_is_refused(site: Site, kind: str) -> None:
    await site.sign_in()
    for route in ROUTES:
        if route.method == "POST":
            page = await site.post(address(route), {"a": "b"}, content_type=kind)
            assert page.status == 415, route.path


async def test_a_form_of_a_hundred_thousand_fields_is_refused_as_a_form(site: Site) -> None:
    await site.sign_in()
    headers = {"content-type": FORM, "origin": ORIGIN}
    page = await site.send("POST", "/console/runs", headers, b"a&" * 100_000)
    assert page.status in {400, 403}
    secured(site, page)


@pytest.mark.parametrize("body", [b"csrf=%ff%fe&a=%", b"\xff\x00=\x00", b"&&&===", b"csrf", b"csrf=a&csrf=b"])
async def test_a_form_that_makes_no_sense_is_refused_as_such(site: Site, body: bytes) -> None:
    await site.sign_in()
    page = await site.send("POST", "/console/runs", {"content-type": FORM, "origin": ORIGIN}, body)
    assert page.status == 403
    secured(site, page)


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/console",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/console\\..\\..\\evil",
        "/console/..//evil.example",
        "/console@evil.example",
        "/consoleevil.example",
        "javascript:alert(1)",
        "/console\r\nSet-Cookie: evil=1",
        " //evil.example",
        "/connect/callback?state=evil",
        "/console/sign-in?to=//evil.example",
    ],
)
async def test_signing_in_never_leads_to_another_site(site: Site, to: str) -> None:
    page = await site.get(f"/console/sign-in?to={quote(to, safe='')}")
    page = await site.press(page.form("/console/sign-in"), "Sign in with the setup key", key=SETUP_KEY, follow=False)
    assert (page.status, page.location) == (303, "/console")
    secured(site, page)


async def test_the_host_that_a_request_names_is_not_repeated(site: Site) -> None:
    """The public address is the deployment's to know, not the caller's."""
    for path in ("/console", "/console/", "/console/nothing", "/console/sign-in", "/connect"):
        page = await site.get(path, follow=False, host="evil.example", x_forwarded_host="evil.example")
        assert b"evil.example" not in page.body
        secured(site, page)


async def test_a_slash_at_the_end_is_the_same_page(site: Site) -> None:
    await site.sign_in()
    assert (await site.get("/console/")).heading.startswith("Overview")


@pytest.mark.parametrize("path", ["/console/nothing", "/console/static/../app.py", "/console/static/%2e%2e%2fapp.py",
                                  "/console/static/app.py", "/console//evil.example", "/console/runs/%00",
                                  "/console/runs/..%2f..%2fsettings", "/", "/console/users/not-an-id"])  # fmt: skip
async def test_addresses_that_lead_nowhere_are_not_found(site: Site, path: str) -> None:
    await site.sign_in()
    page = await site.get(path, follow=False)
    assert page.status == 404
    secured(site, page)


# Faults


async def test_a_fault_of_the_bridge_shows_nothing_of_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("console.overview.read_status", broken)
    await site.sign_in()
    page = await site.get("/console")
    assert page.status == 500
    assert "hunter2" not in page.html
    assert "Traceback" not in page.html
    secured(site, page)


async def test_storage_that_fails_is_told_in_its_own_words(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreUnavailable("Table Storage does not answer")

    monkeypatch.setattr("console.overview.read_status", broken)
    await site.sign_in()
    page = await site.get("/console")
    assert page.status == 503
    assert "Table Storage does not answer." in page.main
    secured(site, page)


# Markup in data


async def poisoned(site: Site) -> list[str]:
    """Markup wherever somebody else chooses a text; answers the pages that show some of it."""
    world, connection = site.world, site.connection
    people = [world.person("Person", displayName=HOSTILE, givenName=HOSTILE, surname="<b>", jobTitle=HOSTILE)]
    world.group(HOSTILE, *people)
    first = await world.first_sync()
    now = world.tell()
    stamp = now.isoformat(timespec="milliseconds")
    item = RunItem(operation="update", outcome="held", object_id=PERSON, name=HOSTILE, user_principal_name=HOSTILE,
                   extension=HOSTILE, reason=HOSTILE, before={HOSTILE: HOSTILE}, after={"title": HOSTILE},
                   notes=[HOSTILE], errcode=1)  # fmt: skip
    ids: list[str] = []
    kinds: list[tuple[Status, bool]] = [("failed", False), ("succeeded", True), ("partial", False)]
    for number, (status, preview) in enumerate(kinds):
        at = now + datetime.timedelta(seconds=number)
        run = Run(id=run_id(at, f"abcde{number}"), what=["users", "groups"], mode="full", preview=preview,
                  status=status, started_by=HOSTILE, requested_at=stamp, started_at=stamp, finished_at=stamp,
                  message=HOSTILE, items=1, counts={"update.held": 1, "delete.held": 2, "groups.delete.held": 1},
                  fault=Fault(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
                  explanation=[Step(HOSTILE, HOSTILE, HOSTILE)])  # fmt: skip
        await connection.runs.create(run)
        await connection.runs.add_items(run.id, 0, [item, msgspec.structs.replace(item, kind="groups")])
        ids.append(run.id)
    link = Link(object_id=PERSON, pbx_id=5, number="5", name=HOSTILE, email=HOSTILE, user_principal_name=HOSTILE,
                written={"title": HOSTILE}, run_id=ids[0], leaving_since=stamp, leaving_reason=HOSTILE)  # fmt: skip
    await connection.links("users").write(save=[link])
    await SubscriptionStore(connection.tables, connection.id).save(Subscription(resource="users", last_error=HOSTILE))
    record = AccountRecord(tenant_id=TENANT_ID, object_id=PERSON, name=HOSTILE, user_principal_name=HOSTILE,
                           signed_in_at=stamp, state="needs_sign_in", reason=HOSTILE, scopes=[HOSTILE],
                           token_version="1")  # fmt: skip
    await SessionStore(connection.tables, connection.id).save_account(record)
    await AuditStore(connection.tables, connection.id).add(
        Entry(at=stamp, who=HOSTILE, account=HOSTILE, role=HOSTILE, action=HOSTILE, object=HOSTILE, before=HOSTILE)
    )
    reasons = [Reason(code, HOSTILE, HOSTILE) for code in (HOSTILE, "internal", "deletions_held")]
    await connection.health.update(lambda health: msgspec.structs.replace(health, reasons=reasons))
    runs = [f"/console/runs/{one}" for one in [first.id, *ids]]
    previews = [f"/console/{kind}/preview/{ids[1]}" for kind in ("users", "groups")]
    users = [f"/console/users/{one}" for one in [PERSON, *people]]
    actions = [f"/console/connection/{one}" for one in ("pause?what=users", "disable", "disconnect")]
    fixed = [route.path for route in LOOKING if "{" not in route.path and route.path != "/console/live"]
    return [*fixed, *runs, *previews, *users, *actions, "/console/users/find?search=p"]


def bad_markup(page: Page) -> Iterator[str]:
    """What no page may hold: scripts of its own, styles of its own, and addresses of other sites."""
    for element in page.root.walk():
        if element.name == "script" and (not element["src"].startswith("/console/static/") or element.children):
            yield "a script of its own"
        if element.name in {"style", "iframe", "object", "embed", "base", "img"}:
            yield f"<{element.name}>"
        yield from (f"{element.name} {name}" for name in element.attributes if name == "style" or name.startswith("on"))
        yield from _foreign(element)
    if "<script>alert" in page.html or "<img src=x" in page.html:
        yield "a text that was not escaped"


def _foreign(element: Element) -> Iterator[str]:
    for name in ADDRESSES:
        value = element[name]
        if value.startswith(("http:", "https:", "//", "/\\", "data:", "javascript:")) or "://" in value.split("?")[0]:
            yield f"{element.name} {name}={value}"
    if any(name.startswith("hx-on") for name in element.attributes):
        yield f"{element.name} with a script of htmx"


@pytest.mark.parametrize("part", [False, True], ids=["page", "part"])
async def test_texts_that_others_choose_never_become_markup(site: Site, *, part: bool) -> None:
    paths = await poisoned(site)
    await site.sign_in(name=HOSTILE)
    seen = 0
    for path in paths:
        page = await site.get(path, part=part)
        assert page.status in {200, 204}, (path, page.text)
        assert list(bad_markup(page)) == [], path
        assert part or page.root.one("h1").text, path
        seen += HOSTILE in page.text
        if page.html:
            secured(site, page)
    assert seen > (2 if part else len(paths) // 2)


NAMES = ("to", "done", "search", "after", "what", "outcome", "kind", "state", "order", "descending", "draft", "show",
         "said", "run", "error", "error_description", "code", "admin_consent", "tenant", "v", "key")  # fmt: skip


@pytest.mark.parametrize("part", [False, True], ids=["page", "part"])
async def test_parameters_of_an_address_never_become_markup(site: Site, *, part: bool) -> None:
    await site.world.first_sync()
    await site.sign_in()
    for route in ROUTES:
        if route.method != "GET":
            continue
        for name in NAMES:
            page = await site.get(
                f"{address(route).partition('?')[0]}?{name}={quote(HOSTILE)}", part=part, follow=False
            )
            assert page.status < 500, (route.path, name, page.text)
            assert list(bad_markup(page)) == [], (route.path, name)
            secured(site, page)


async def test_what_is_typed_into_any_form_never_becomes_markup(site: Site) -> None:
    await site.world.first_sync()
    await site.sign_in()
    for path in ("/console/users", "/console/groups", "/console/schedule", "/connect", "/console/connection"):
        page = await site.get(path)
        for form in page.forms:
            for button in form.buttons:
                filled = [(name, value if name == "csrf" else HOSTILE) for name, value in form.values(button)]
                page = await site.post(form.action, filled)
                assert page.status < 500, (path, form.action, button, page.text)
                assert list(bad_markup(page)) == [], (path, form.action, button)
                secured(site, page)
                await site.sign_in()


async def test_what_a_stranger_types_to_sign_in_never_becomes_markup(site: Site) -> None:
    page = await site.get(f"/console/sign-in?to={quote(HOSTILE)}")
    assert list(bad_markup(page)) == []
    page = await site.press(page.form("/console/sign-in"), "Sign in with the setup key", key=HOSTILE, to=HOSTILE)
    assert page.status == 403
    assert list(bad_markup(page)) == []
    for path in ("/connect/callback?error=access_denied&error_description=", "/connect/callback?state=",
                 "/console/sign-in?done=", "/console/static/"):  # fmt: skip
        page = await site.get(path + quote(HOSTILE, safe=""), follow=False)
        assert page.status < 500, path
        assert list(bad_markup(page)) == [], path
