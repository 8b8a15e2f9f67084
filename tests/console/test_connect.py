"""Setting the bridge up: the application, the tenant, the PBX, who signs in, the permissions."""

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from console.rooms import place_of, presence_room
from local.emulator import Fault
from local.microsoft.registration import Consent
from local.microsoft.sign_in_content import PlannedError
from local.sample import CLIENT_ID, CLIENT_SECRET, EXPIRED_CLIENT_SECRET, TENANT_ID
from presence.hearing import stamp
from sso.account import further_accounts, read_account
from sso.sessions import COOKIE
from sso.signin import STATE_COOKIE
from store.errors import SecretMissing
from store.presence import PresenceSubscription
from store.secrets import SecretName
from store.sessions import SessionStore
from tests.console.page import Form, Page
from tests.console.rules import stored
from tests.console.signing_in import CALLBACK, ENTRA, at_microsoft, registered, with_microsoft, with_setup_key
from tests.console.site import HOSTILE, ORIGIN, Site
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET

MICROSOFT = {"/microsoft/tenant_id": TENANT_ID, "/microsoft/client_id": CLIENT_ID, "/microsoft/credential": "secret"}
OTHER = "33333333-3333-4333-8333-333333333333"


def pbx_of(site: Site) -> dict[str, str]:
    return {"/pbx/fqdn": site.world.pbx.url.removeprefix("https://"), "/pbx/client_id": PBX_CLIENT_ID}


def step_of(page: Page, step: str) -> Form:
    """The form of a step."""
    [form] = [form for form in page.forms if form["step"] == step]
    return form


def card(page: Page, step: str) -> str:
    return page.root.one("section", id=step).text


async def sent(site: Site, step: str, fields: Mapping[str, str], page: Page | None = None) -> Page:
    """Fill in a step and press its button."""
    form = step_of(page or await site.get("/connect"), step)
    kept = [pair for pair in form.values() if pair[0] not in fields]
    assert set(fields) <= form.names
    return await site.post("/connect", [*kept, *fields.items()])


async def secret(site: Site, name: SecretName) -> str:
    try:
        return (await site.connection.secrets.read(name)).value
    except SecretMissing:
        return ""


@pytest.fixture
async def blank(site: Site) -> Site:
    """A deployment that knows neither tenant nor PBX, and somebody who has the setup key."""
    await site.deploy(tenant_id="", client_id="", pbx_fqdn="", pbx_client_id="")
    await with_setup_key(site, to="/connect")
    return site


# What the page shows


async def test_a_first_start_leads_through_the_setup_key_to_the_steps(site: Site) -> None:
    page = await with_setup_key(site, to="/connect")
    assert (page.path, page.heading) == ("/connect", "Connect Microsoft 365 and the PBX")
    assert [words.split(".")[0] for words in page.headings[1:]] == ["1", "2", "3", "4", "5", "6"]


async def test_the_redirect_uris_are_there_to_copy(blank: Site) -> None:
    page = await blank.get("/connect")
    shown = [field for field in page.root.all("input") if field.has("readonly")]
    assert [field["value"] for field in shown] == [f"{ORIGIN}/connect/callback", f"{ORIGIN}/sso/callback"]


async def test_the_permissions_are_listed_with_what_they_are_for(blank: Site) -> None:
    rows = [row for row in (await blank.get("/connect")).rows if row[0] == "User.Read.All"]
    assert rows == [["User.Read.All", "application", "users", "yes"]]


async def test_what_is_not_set_up_cannot_be_signed_in_to(blank: Site) -> None:
    page = await blank.get("/connect")
    for step in ("account", "consent"):
        assert step_of(page, step).buttons == []
        assert "To do" in card(page, step)


async def test_every_field_has_a_label(blank: Site) -> None:
    page = await blank.get("/connect")
    labels = [label["for"] for label in page.root.all("label")]
    ids = [element["id"] for element in page.root.walk() if element["id"]]
    assert len(set(ids)) == len(ids)
    for control in page.root.one("main").all("input", "textarea"):
        is_labelled = control["id"] in labels or any(one.name == "label" for one in control.above())
        assert control["type"] == "hidden" or is_labelled, control
        for described in control["aria-describedby"].split():
            page.root.one(id=described)


async def test_readers_do_not_get_here(site: Site) -> None:
    await site.sign_in("reader")
    assert (await site.get("/connect")).status == 403
    assert (await site.post("/connect", {"step": "microsoft", **MICROSOFT})).status == 403


async def test_a_step_that_does_not_exist_is_refused(blank: Site) -> None:
    assert (await blank.post("/connect", {"step": "everything"})).status == 422


async def test_a_step_without_the_token_of_the_session_changes_nothing(blank: Site) -> None:
    answer = await blank.post("/connect", {"step": "microsoft", **MICROSOFT, "secret": CLIENT_SECRET, "csrf": None})
    assert answer.status == 403
    assert (await blank.settings()).microsoft.tenant_id == ""


# Microsoft


async def test_an_application_that_works_is_saved_with_its_secret(blank: Site) -> None:
    page = await sent(blank, "microsoft", {**MICROSOFT, "secret": CLIENT_SECRET})
    assert page.status == 200
    assert page.notices == ["The application works and was saved."]
    assert (await blank.settings()).microsoft.client_id == CLIENT_ID
    assert await secret(blank, "entra-client-secret") == CLIENT_SECRET
    assert f"({TENANT_ID})." in card(page, "microsoft")
    assert "Done" in card(page, "microsoft")
    deeds = {(entry.action, entry.object) for entry in await blank.trail()}
    assert deeds >= {("secret.replaced", "entra-client-secret"), ("settings.saved", "/microsoft")}
    assert CLIENT_SECRET not in str(await blank.trail())


async def test_a_secret_that_entra_rejects_changes_nothing_and_is_not_repeated(blank: Site) -> None:
    page = await sent(blank, "microsoft", {**MICROSOFT, "secret": EXPIRED_CLIENT_SECRET})
    assert page.status == 422
    assert "AADSTS7000222" in card(page, "microsoft")
    form = step_of(page, "microsoft")
    assert (form["/microsoft/client_id"], form["/microsoft/tenant_id"]) == (CLIENT_ID, TENANT_ID)
    assert form["secret"] == ""
    assert EXPIRED_CLIENT_SECRET not in page.html
    assert (await blank.settings()).microsoft.client_id == ""
    assert await secret(blank, "entra-client-secret") == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"/microsoft/tenant_id": "not a tenant"}, "This has to be the directory (tenant) id"),
        ({"/microsoft/client_id": "12"}, "This has to be the application (client) id"),
        ({"/microsoft/tenant_id": ""}, "The bridge needs to know the tenant."),
        ({"/microsoft/client_id": ""}, "The bridge needs to know its application."),
        ({"/microsoft/credential": "password"}, "This has to be one of"),
        ({"secret": ""}, "Enter the client secret of the application."),
        ({"/microsoft/credential": "certificate"}, "Enter the certificate with its private key"),
        (
            {"/microsoft/credential": "certificate", "certificate": "PEM"},
            "This has to be a certificate and its private",
        ),
    ],
)
async def test_what_cannot_be_right_is_said_at_its_field(blank: Site, fields: dict[str, str], words: str) -> None:
    page = await sent(blank, "microsoft", {**MICROSOFT, "secret": CLIENT_SECRET, **fields})
    assert page.status == 422
    assert any(fault.startswith(words) for fault in page.faults), page.faults
    assert (await blank.settings()).microsoft.client_id == ""
    assert await secret(blank, "entra-client-secret") == ""


async def test_typed_markup_comes_back_as_text(blank: Site) -> None:
    page = await sent(blank, "microsoft", {**MICROSOFT, "/microsoft/tenant_id": HOSTILE, "secret": "x"})
    assert page.status == 422
    assert HOSTILE not in page.html
    assert step_of(page, "microsoft")["/microsoft/tenant_id"] == HOSTILE


async def test_an_empty_secret_keeps_the_stored_one(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await sent(site, "microsoft", {**MICROSOFT, "secret": ""})
    assert page.status == 200
    assert await secret(site, "entra-client-secret") == CLIENT_SECRET
    assert "secret.replaced" not in [entry.action for entry in await site.trail()]


async def test_another_application_asks_for_its_own_secret(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await sent(site, "microsoft", {"/microsoft/client_id": OTHER})
    assert page.status == 422
    assert page.faults == ["Enter the client secret of the application."]


async def test_a_managed_identity_needs_no_secret(blank: Site) -> None:
    page = await sent(blank, "microsoft", {**MICROSOFT, "/microsoft/credential": "federated"})
    assert page.status == 200, page.main
    assert (await blank.settings()).microsoft.credential == "federated"
    assert await secret(blank, "entra-client-secret") == ""


async def test_another_tenant_is_refused_while_anybody_of_the_first_is_linked(site: Site) -> None:
    await site.world.first_sync()
    await site.world.staff(1)
    await stored(site, "microsoft", tenant_id=TENANT_ID)
    await site.sign_in()
    page = await sent(site, "microsoft", {"/microsoft/tenant_id": "contoso.example", "secret": CLIENT_SECRET})
    assert page.status == 409
    assert any("belongs to another tenant" in words for words in page.notices)
    assert not any("/api/" in words for words in page.notices)
    assert (await site.settings()).microsoft.tenant_id == TENANT_ID


async def test_somebody_who_saved_meanwhile_is_named_and_everything_typed_is_kept(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await site.get("/connect")
    await stored(site, "pbx", max_writes_per_second=9)
    lost = await sent(
        site, "microsoft", {**MICROSOFT, "secret": CLIENT_SECRET, "/microsoft/tenant_id": TENANT_ID}, page
    )
    assert lost.status == 409
    assert any("9" in words for words in lost.notices)
    assert step_of(lost, "microsoft")["/microsoft/tenant_id"] == TENANT_ID
    again = await sent(site, "microsoft", {"secret": CLIENT_SECRET}, lost)
    assert again.status == 200
    assert (await site.settings()).pbx.max_writes_per_second == 9


# The PBX


async def test_a_pbx_that_works_is_saved_and_described(blank: Site) -> None:
    page = await sent(blank, "pbx", {**pbx_of(blank), "secret": PBX_SECRET, "/pbx/max_writes_per_second": "2.5"})
    assert page.status == 200, page.main
    assert page.notices == ["The PBX works and was saved."]
    pbx = (await blank.settings()).pbx
    assert (pbx.client_id, pbx.max_writes_per_second) == (PBX_CLIENT_ID, 2.5)
    assert await secret(blank, "pbx-client-secret") == PBX_SECRET
    facts = (await blank.connection.health.load()).pbx
    assert facts is not None
    assert f"{facts.model}, firmware {facts.firmware}" in card(page, "pbx")


async def test_a_pbx_that_refuses_changes_nothing(blank: Site) -> None:
    page = await sent(blank, "pbx", {**pbx_of(blank), "secret": "wrong-secret-of-mine"})
    assert page.status == 422
    assert "wrong-secret-of-mine" not in page.html
    assert step_of(page, "pbx")["/pbx/client_id"] == PBX_CLIENT_ID
    assert page.root.one("section", id="pbx").all(class_="notice")
    assert (await blank.settings()).pbx.fqdn == ""
    assert await secret(blank, "pbx-client-secret") == ""


async def test_a_pbx_that_cannot_be_reached_is_said_so(blank: Site) -> None:
    page = await sent(blank, "pbx", {**pbx_of(blank), "/pbx/fqdn": "127.0.0.1:1", "secret": PBX_SECRET})
    assert page.status == 422
    assert (await blank.settings()).pbx.fqdn == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"/pbx/fqdn": "https://pbx.example.com/"}, "This has to be a name with or without a port"),
        ({"/pbx/fqdn": ""}, "The bridge needs to know where the PBX is."),
        ({"/pbx/client_id": ""}, "The PBX asks for the client id of the bridge."),
        ({"/pbx/max_writes_per_second": "many"}, "This has to be a number"),
        ({"/pbx/ca_certificate": "x"}, "This has to be a certificate in PEM form"),
        ({"secret": ""}, "Enter the client secret that the PBX shows."),
    ],
)
async def test_what_cannot_be_right_about_the_pbx_is_said(blank: Site, fields: dict[str, str], words: str) -> None:
    page = await sent(blank, "pbx", {**pbx_of(blank), "secret": PBX_SECRET, **fields})
    assert page.status == 422
    assert any(fault.startswith(words) for fault in page.faults), page.faults
    assert blank.world.pbx.requests == []


async def test_the_stored_secret_goes_to_no_other_address(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await sent(site, "pbx", {"/pbx/fqdn": "127.0.0.1:1", "secret": ""})
    assert (page.status, page.faults) == (422, ["Enter the client secret that the PBX shows."])
    assert (await sent(site, "pbx", {"/pbx/max_writes_per_second": "7"})).status == 200


# Paused and disabled


@pytest.mark.parametrize("how", ["paused", "disabled"])
async def test_while_paused_or_disabled_nothing_can_be_set_up_anew(site: Site, how: str) -> None:
    await site.world.secrets()
    changes: dict[str, Any] = {"paused": ["users"]} if how == "paused" else {"disabled": True}
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, **changes))
    await site.sign_in()
    page = await site.get("/connect")
    assert any(how in words for words in page.notices)
    for step in ("microsoft", "pbx", "account", "consent"):
        assert step_of(page, step).buttons == []
        assert (await site.post("/connect", {"step": step})).status == 409


# The account and the consent


async def connected(site: Site, person: str) -> Page:
    """Sign in on the page and come back."""
    page = await site.get("/connect")
    sent_away = await site.press(step_of(page, "account"), follow=False)
    form = await at_microsoft(site, sent_away, person)
    return await site.post(CALLBACK, form, **ENTRA)


async def test_who_signs_in_becomes_the_authorization_account(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    await with_setup_key(site, to="/connect")
    page = await connected(site, site.world.person("Noor Bakker"))
    assert (page.status, page.path) == (200, "/connect?done=connected")
    assert page.notices == ["Connected. You are signed in."]
    assert "Noor Bakker (noor.bakker@contoso.example)" in card(page, "account")
    assert page.root.one("form", class_="who").text.startswith("Noor Bakker")
    assert (await site.trail())[0].action == "account.connected"
    account = await read_account(place_of(site.connection))
    assert account is not None
    assert account.name == "Noor Bakker"


async def test_the_authorization_account_administers_without_any_role(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    await with_setup_key(site, to="/connect")
    person = site.world.person("Noor Bakker")
    await connected(site, person)
    site.sign_out()
    assert (await with_microsoft(site, person)).path == "/console/connection"


async def test_a_sign_in_that_was_cancelled_keeps_who_was_there(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    await with_setup_key(site, to="/connect")
    session = site.cookies[COOKIE]
    sent_away = await site.press(step_of(await site.get("/connect"), "account"), follow=False)
    person = site.world.person("Noor Bakker")
    cancelled = PlannedError("access_denied", "AADSTS65004: User declined to consent to access the app.")
    form = await at_microsoft(site, sent_away, person, next_errors=[cancelled])
    page = await site.post(CALLBACK, form, **ENTRA)
    assert (page.status, page.heading) == (400, "Sign-in cancelled")
    assert page.links["Back to connecting"] == "/connect"
    assert site.cookies[COOKIE] == session
    assert STATE_COOKIE not in site.cookies
    assert await read_account(place_of(site.connection)) is None


async def test_an_error_of_a_sign_in_that_comes_as_a_link_is_a_page_too(site: Site) -> None:
    page = await site.get(f"{CALLBACK}?error=access_denied&error_description=AADSTS65004%3A+%3Cscript%3E&state=x")
    assert (page.status, page.heading) == (400, "This sign-in cannot be finished")
    assert "<script>" not in page.main


async def test_granted_and_missing_permissions_are_told_apart(site: Site) -> None:
    await site.world.secrets()
    await stored(site, "groups", enabled=True)
    app = registered(site)
    app.roles = ["User.Read.All"]
    await site.sign_in()
    page = await site.get("/connect")
    consent = page.root.one("section", id="consent")
    states = {row.all("th")[0].text: row.all("td")[1].text for row in consent.one("tbody").all("tr")}
    assert states["User.Read.All"] == "Granted"
    assert states["Group.Read.All"] == "Missing"
    assert states["Member.Read.Hidden"] == "Not needed"
    assert "missing" in consent.one("h2").text


async def test_consent_is_asked_for_at_microsoft_and_thanked_for(site: Site) -> None:
    await site.world.secrets()
    registered(site)
    await with_setup_key(site, to="/connect")
    person = site.world.person("Noor Bakker")
    sent_away = await site.press(step_of(await site.get("/connect"), "consent"), follow=False)
    answer = await at_microsoft(site, sent_away, person, administrators=[person])
    query = "&".join(f"{name}={value}" for name, value in answer.items() if name != "scope")
    page = await site.get(f"{CALLBACK}?{query}")
    assert (page.status, page.path) == (200, "/connect?done=consented"), page.main
    assert (await site.trail())[0].action == "consent.granted"


async def test_consent_that_was_not_asked_for_here_is_refused(site: Site) -> None:
    await site.sign_in()
    page = await site.get(f"{CALLBACK}?admin_consent=True&tenant={TENANT_ID}&state=forged")
    assert page.status == 400
    assert await site.trail() == []


async def test_entra_that_does_not_answer_is_shown_and_the_page_stays_usable(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    site.world.microsoft.faults.append(Fault(kind="status", path="*/oauth2/v2.0/token", times=None))
    page = await site.get("/connect")
    assert page.status == 200
    assert "Does not work" in card(page, "microsoft")


# Further accounts for presence


async def adding(site: Site, person: str) -> Page:
    """Have an account added, on the page and at Microsoft."""
    page = await site.get("/connect")
    sent_away = await site.press(step_of(page, "presence"), follow=False)
    form = await at_microsoft(site, sent_away, person, administrators=[person])
    return await site.post(CALLBACK, form, **ENTRA)


@pytest.fixture
async def office(site: Site) -> Site:
    """A connection with presence, and an administrator at it."""
    await site.world.secrets()
    await stored(site, "presence", enabled=True)
    registered(site)
    await site.sign_in()
    return site


async def test_an_account_is_added_and_who_added_it_stays_signed_in(office: Site) -> None:
    session = office.cookies[COOKIE]
    page = await adding(office, office.world.person("Noor Bakker"))
    assert (page.status, page.path) == (200, "/connect?done=presence-account-added")
    assert page.notices[0] == "The account was added. You are still signed in as yourself."
    assert page.root.one("form", class_="who").text.startswith("Ada Admin")
    assert office.cookies[COOKIE] == session
    assert STATE_COOKIE not in office.cookies
    [row] = page.root.one("section", id="presence").one("tbody").all("tr")
    assert row.text.startswith("Noor Bakker noor.bakker@contoso.example Works")
    [entry] = await office.trail()
    assert (entry.who, entry.action) == ("Ada Admin", "presence_account.added")
    assert entry.object == "Noor Bakker (noor.bakker@contoso.example)"
    assert await read_account(place_of(office.connection)) is None


async def test_whoever_presence_is_subscribed_to_for_is_of_the_tenant_that_signed_in(office: Site) -> None:
    noor = office.world.person("Noor Bakker")
    await adding(office, noor)
    room = presence_room(office.connection, office.world.tell)
    [first, further] = await room.subscribers()
    assert (first.person, first.tenant_id) == ("", "")
    assert (further.account, further.person, further.tenant_id) == (noor, noor, TENANT_ID)
    token = await room.delegated_token(noor, ["Presence.Read.All"])
    assert await room.delegated_token(noor, ["Presence.Read.All"]) == token
    office.passes(seconds=1)
    assert await room.delegated_token(noor, ["Presence.Read.All"], fresh=True) != token


async def test_an_added_account_can_be_removed_and_its_subscription_ends(office: Site) -> None:
    noor = office.world.person("Noor Bakker")
    page = await adding(office, noor)
    store = presence_room(office.connection, office.world.tell).store
    for account in (noor, "authorization"):
        later = stamp(office.world.now + datetime.timedelta(minutes=30))
        await store.save_subscription(PresenceSubscription(account=account, id=account, expires_at=later))
    asked = len(office.world.microsoft.requests)
    page = await office.press(page.form_with("Remove"))
    assert page.notices[0].startswith("The account was removed.")
    assert page.root.one("section", id="presence").all("tbody") == []
    assert await further_accounts(place_of(office.connection)) == []
    assert (await office.trail())[0].action == "presence_account.removed"
    assert (await office.trail())[0].object == "Noor Bakker (noor.bakker@contoso.example)"
    assert list(await store.subscriptions()) == ["authorization"]
    ended = [one.path for one in office.world.microsoft.requests[asked:] if one.method == "DELETE"]
    assert ended[0].endswith(f"/subscriptions/{noor}"), "before the token is gone"
    assert "refresh-token" in ended[1]


@pytest.mark.parametrize("account", ["", OTHER, "authorization", HOSTILE])
async def test_only_an_account_that_is_there_is_removed(office: Site, account: str) -> None:
    await adding(office, office.world.person("Noor Bakker"))
    page = await office.post("/connect", {"step": "remove", "account": account})
    assert (page.status, page.heading) == (404, "No such account")
    assert len(await further_accounts(place_of(office.connection))) == 1
    assert "presence_account.removed" not in [entry.action for entry in await office.trail()]


async def test_the_authorization_account_is_not_added(office: Site) -> None:
    person = office.world.person("Noor Bakker")
    await at_microsoft_for_account(office, person)
    page = await adding(office, person)
    assert (page.status, page.heading) == (400, "This is the authorization account")
    assert page.links["Back to connecting"] == "/connect"
    assert await further_accounts(place_of(office.connection)) == []


async def at_microsoft_for_account(site: Site, person: str) -> None:
    """Make somebody the authorization account, with everything that the rules need."""
    sent_away = await site.press(step_of(await site.get("/connect"), "account"), follow=False)
    form = await at_microsoft(site, sent_away, person, administrators=[person])
    assert (await site.post(CALLBACK, form, **ENTRA)).path == "/connect?done=connected"


async def test_an_account_that_has_to_sign_in_again_is_marked_with_the_reason(office: Site) -> None:
    person = office.world.person("Noor Bakker")
    await adding(office, person)
    store = SessionStore(office.connection.tables, office.connection.id)
    record, _ = await store.account(person)
    assert record is not None
    ended = msgspec.structs.replace(record, name=HOSTILE, state="needs_sign_in", reason=f"It was revoked. {HOSTILE}")
    await store.save_account(ended, person)
    page = await office.get("/connect")
    [row] = page.root.one("section", id="presence").one("tbody").all("tr")
    assert row.all("td")[0].text.startswith("Has to sign in again It was revoked.")
    assert "<script>alert" not in page.html
    page = await adding(office, person)
    assert "Works" in card(page, "presence")


async def test_without_presence_there_is_no_such_list_unless_accounts_are_left(office: Site) -> None:
    await adding(office, office.world.person("Noor Bakker"))
    await stored(office, "presence", enabled=False)
    page = await office.get("/connect")
    assert page.form_with("Remove")
    assert not [form for form in page.forms if "Add another account for presence" in form.buttons]
    answer = await office.post("/connect", {"step": "presence"})
    assert (answer.status, answer.heading) == (409, "Not possible now")
    page = await office.press(page.form_with("Remove"))
    assert page.root.all("section", id="presence") == []


async def test_while_disabled_accounts_are_neither_added_nor_removed(office: Site) -> None:
    person = office.world.person("Noor Bakker")
    await adding(office, person)
    await office.connection.health.update(lambda health: msgspec.structs.replace(health, disabled=True))
    page = await office.get("/connect")
    assert [form.buttons for form in page.forms if form["step"] in {"presence", "remove"}] == [
        [],
        [],
    ]
    for fields in ({"step": "presence"}, {"step": "remove", "account": person}):
        assert (await office.post("/connect", fields)).status == 409
    assert len(await further_accounts(place_of(office.connection))) == 1


async def test_removing_needs_the_token_of_the_session_and_an_administrator(office: Site) -> None:
    person = office.world.person("Noor Bakker")
    await adding(office, person)
    fields = {"step": "remove", "account": person}
    assert (await office.post("/connect", {**fields, "csrf": None})).status == 403
    for role in ("reader", "person"):
        await office.sign_in(role)
        assert (await office.post("/connect", fields)).status == 403
    assert len(await further_accounts(place_of(office.connection))) == 1


async def test_presence_that_is_switched_on_later_shows_what_the_account_lacks_and_mends_it(site: Site) -> None:
    await site.world.secrets()
    app = registered(site)
    app.consent = Consent(organization=["openid", "profile", "offline_access", "User.Read"])
    await site.sign_in()
    person = site.world.person("Noor Bakker")
    await at_microsoft_for_account(site, person)
    assert "Done" in (await site.get("/connect")).root.one("section", id="account").one("h2").text
    await stored(site, "presence", enabled=True)
    page = await site.get("/connect")
    assert "Sign in again" in page.root.one("section", id="account").one("h2").text
    assert "never asked for Presence.Read.All" in card(page, "account")
    rows = [row for row in page.root.one("section", id="consent").one("tbody").all("tr") if "delegated" in row.text]
    assert [row.all("td")[1].text for row in rows] == ["Granted", "Missing"]
    await at_microsoft_for_account(site, person)
    page = await site.get("/connect")
    assert "Done" in page.root.one("section", id="account").one("h2").text
    assert "never asked for" not in page.main
