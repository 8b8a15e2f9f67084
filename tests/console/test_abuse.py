"""What a stranger, another site or a host beside ours may try, and what it must not come to."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from starlette.requests import cookie_parser

from console.adapter import Received, _meant, respond
from console.rooms import place_of
from local.sample import CLIENT_SECRET, TENANT_ID
from sso.account import read_account
from sso.sessions import COOKIE, start_session
from sso.signin import STATE_COOKIE
from store.sessions import AccountRecord, SessionStore
from sync.api import Ask, put_settings
from tests.console.page import Form, Page
from tests.console.signing_in import CALLBACK, ENTRA, assigned, at_microsoft, registered, with_setup_key
from tests.console.site import ORIGIN, Site

FORMER = "99999999-8888-4777-8666-555555555555"
"""A tenant that the connection was to before."""


async def sent_to_microsoft(site: Site) -> Page:
    page = await site.get("/console/sign-in")
    return await site.press(page.form("/console/sign-in/microsoft"), follow=False)


# Cookies of another host of the same domain


@pytest.mark.parametrize("space", ["\N{NO-BREAK SPACE}", "\x85", "\x1c", "\N{EM SPACE}", "\x0b", "\t"])
def test_a_cookie_with_a_disguised_name_is_not_taken_for_ours(space: str) -> None:
    planted = f"a=b; {space}{COOKIE}=planted; {COOKIE}{space}=planted"
    assert cookie_parser(_meant("Cookie", planted)) == {"a": "b"}


async def test_a_planted_session_does_not_take_the_place_of_ones_own(site: Site) -> None:
    _, planted = await start_session(place_of(site.connection), "Mallory", f"{TENANT_ID}:m", "admin", site.world.tell())
    await site.sign_in(name="Ada Admin")
    cookies = f"{COOKIE}={site.cookies[COOKIE]}; \N{NO-BREAK SPACE}{COOKIE}={planted}"
    headers = [("cookie", cookies)]
    answered = await respond(
        site.connection, Received("GET", f"{ORIGIN}/console/activity", headers, b""), site.world.tell()
    )
    assert b"Ada Admin" in answered.body
    assert b"Mallory" not in answered.body


@pytest.mark.parametrize("url", ["https://[/console", "https://[::1/console", "https://a]b/console"])
async def test_an_address_that_is_none_is_not_found(site: Site, url: str) -> None:
    answered = await respond(site.connection, Received("GET", url, [], b""), site.world.tell())
    assert answered.status == 404


# Filling the trail


async def test_without_a_setup_key_strangers_cannot_fill_the_trail(site: Site) -> None:
    page = await site.get("/console/sign-in")
    form = page.form("/console/sign-in")
    await site.deploy(setup_key="")
    answer = await site.press(form, key="whatever")
    assert (answer.status, answer.heading) == (403, "Sign in")
    assert answer.says("This deployment has no setup key.")
    assert await site.trail() == []


@pytest.mark.parametrize(
    ("answer", "heading"),
    [
        ({"error": "access_denied", "error_description": "AADSTS65004: declined"}, "Sign-in cancelled"),
        ({"error": "server_error"}, "Microsoft cannot be reached"),
        ({"code": "made-up"}, "This sign-in cannot be finished"),
    ],
)
async def test_strangers_who_answer_their_own_sign_ins_cannot_fill_the_trail(
    site: Site, answer: dict[str, str], heading: str
) -> None:
    await site.world.secrets()
    registered(site)
    sent_away = await sent_to_microsoft(site)
    state = dict(parse_qsl(urlsplit(sent_away.location).query))["state"]
    page = await site.post(CALLBACK, {**answer, "state": state}, **ENTRA)
    assert (page.status, page.heading) == (400, heading)
    assert await site.trail() == []


async def test_who_was_refused_for_want_of_a_role_is_named_in_the_trail(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    person = site.world.person("Mara Jansen")
    await site.post(CALLBACK, await at_microsoft(site, await sent_to_microsoft(site), person), **ENTRA)
    [entry] = await site.trail()
    assert (entry.action, entry.who) == ("sign_in_refused", "nobody")
    assert entry.after.endswith(f"It was Mara Jansen ({TENANT_ID}:{person}).")


async def test_an_administrator_whose_connecting_fails_is_named_in_the_trail(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    await with_setup_key(site, to="/connect")
    form = next(one for one in (await site.get("/connect")).forms if ("step", "account") in one.values())
    sent_away = await site.press(form, follow=False)
    state = dict(parse_qsl(urlsplit(sent_away.location).query))["state"]
    await site.post(CALLBACK, {"error": "access_denied", "state": state}, **ENTRA)
    entry = (await site.trail())[0]
    assert (entry.action, entry.object) == ("sign_in_refused", "Microsoft")
    assert entry.after.endswith("It was Setup key (setup-key).")


# Other sites


async def test_a_forged_answer_does_not_end_the_sign_in_that_is_under_way(site: Site) -> None:
    await site.world.secrets()
    person = site.world.person("Noor Bakker")
    assigned(site, person, "Bridge.Admin")
    form = await at_microsoft(site, await sent_to_microsoft(site), person)
    forged = await site.post(CALLBACK, {"code": "x", "state": "y"}, origin="https://evil.example")
    assert (forged.status, STATE_COOKIE in site.cookies) == (400, True)
    assert (await site.post(CALLBACK, form, follow=False, **ENTRA)).status == 303
    assert COOKIE in site.cookies


# Another tenant


async def connect_to(site: Site, tenant_id: str) -> None:
    """Write this tenant into the settings, as an earlier connection would have."""

    def change(document: dict[str, Any]) -> None:
        document["microsoft"]["tenant_id"] = tenant_id

    await site.world.settings(change)


async def kept_account(site: Site, tenant_id: str, person: str) -> None:
    record = AccountRecord(
        tenant_id=tenant_id,
        object_id=person,
        name="Olga",
        user_principal_name="olga@contoso.example",
        signed_in_at=site.world.tell().isoformat(),
        scopes=["User.Read"],
        token_version="1",
    )
    await SessionStore(site.connection.tables, site.connection.id).save_account(record)


async def microsoft_form(site: Site) -> Form:
    return next(one for one in (await site.get("/connect")).forms if ("step", "microsoft") in one.values())


async def test_another_tenant_ends_what_the_former_one_allowed(site: Site) -> None:
    await site.world.secrets()
    await connect_to(site, FORMER)
    await kept_account(site, FORMER, "olga")
    place, now = place_of(site.connection), site.world.tell()
    _, reader = await start_session(place, "Rob", f"{FORMER}:rob", "reader", now)
    _, site.cookies[COOKIE] = await start_session(place, "Olga", f"{FORMER}:olga", "admin", now, basis="account")
    form = await microsoft_form(site)
    typed: dict[str, Any] = {"/microsoft/tenant_id": TENANT_ID, "secret": CLIENT_SECRET}
    page = await site.press(form, **typed)
    assert (page.status, page.notices) == (200, ["The application works and was saved."]), page.main
    assert await read_account(place_of(site.connection)) is None
    assert (await site.get("/connect")).status == 200
    site.cookies[COOKIE] = reader
    assert (await site.get("/console/activity", follow=False)).status == 303
    site.sign_out()
    await with_setup_key(site)
    assert COOKIE in site.cookies, "nobody of the new tenant has signed in yet"


async def test_the_same_tenant_again_ends_nothing(site: Site) -> None:
    await site.world.secrets()
    await kept_account(site, TENANT_ID, "olga")
    place, now = place_of(site.connection), site.world.tell()
    _, reader = await start_session(place, "Rob", f"{TENANT_ID}:rob", "reader", now)
    _, site.cookies[COOKIE] = await start_session(place, "Olga", f"{TENANT_ID}:olga", "admin", now, basis="account")
    page = await site.press(await microsoft_form(site))
    assert page.notices == ["The application works and was saved."], page.main
    account = await read_account(place_of(site.connection))
    assert account is not None
    assert account.name == "Olga"
    await SessionStore(site.connection.tables, site.connection.id).forget_account()
    assert (await site.get("/connect", follow=False)).status == 303, "the role still rests on the account"
    site.cookies[COOKIE] = reader
    assert (await site.get("/console/activity", follow=False)).status == 200


async def test_a_tenant_that_a_script_changes_ends_it_as_well(site: Site) -> None:
    await site.world.secrets()
    await connect_to(site, FORMER)
    await kept_account(site, FORMER, "olga")
    place, now = place_of(site.connection), site.world.tell()
    _, site.cookies[COOKIE] = await start_session(place, "Rob", f"{FORMER}:rob", "reader", now)
    settings = (await site.connection.settings.load()).settings
    moved = msgspec.structs.replace(
        settings, microsoft=msgspec.structs.replace(settings.microsoft, tenant_id=TENANT_ID)
    )
    for body in (settings, moved):
        ask = Ask(params={}, headers={"content-type": "application/json"}, body=msgspec.json.encode(body))
        assert (await put_settings(site.connection, ask, now)).status == 200
        signed_in = (await site.get("/console/activity", follow=False)).status == 200
        assert signed_in is (body is settings)
        assert (await read_account(place) is not None) is (body is settings)
