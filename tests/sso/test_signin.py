"""Signing in to the console and connecting an account, against the real authorize and token endpoints."""

import asyncio
import datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import CredentialsRejected, Unavailable
from local.emulator import Fault
from local.microsoft.registration import Consent
from local.microsoft.scopes import DELEGATED
from local.sample import EXPIRED_CLIENT_SECRET, TENANT_ID
from sso import signin
from sso.account import forget_account, read_account, settle_in
from sso.errors import NotSetUp
from sso.failures import Failed, refused
from sso.sessions import end_session, start_session
from sso.signin import STATE_COOKIE, Completed, local_path
from tests.microsoft.browser import Browser
from tests.sso.site import BASE, IMRE, MARA, NOOR, NOOR_ACCOUNT, SEAN, Site

TOKEN = "*/oauth2/v2.0/token"
DISCOVERY = "*/.well-known/openid-configuration"


def code_of(outcome: Completed | Failed) -> str:
    """The code of a failure, which has a sentence and something to do."""
    assert isinstance(outcome, Failed), outcome
    assert outcome.title
    assert outcome.message.endswith(".")
    assert outcome.action.endswith(".")
    return outcome.code


# Into the console


@pytest.mark.parametrize(("app_role", "role"), [("Bridge.Admin", "admin"), ("Bridge.Reader", "reader")])
async def test_an_app_role_opens_the_console(site: Site, app_role: str, role: str) -> None:
    await site.assign(NOOR, app_role)
    done = await site.signed_in()
    assert (done.purpose, done.return_to) == ("console", "/console/runs")
    session = await site.open(done.cookie)
    assert session == done.session
    assert (session.name, session.account, session.role) == ("Noor Bakker", NOOR_ACCOUNT, role)


async def test_of_two_roles_the_greater_counts(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Reader")
    await site.assign(NOOR, "Bridge.Admin")
    assert (await site.signed_in()).session.role == "admin"


async def test_without_a_role_nobody_gets_in_and_hears_where_to_get_one(site: Site) -> None:
    await site.assign(MARA, None)
    outcome = await site.sign_in(MARA)
    assert code_of(outcome) == "no_role"
    assert "Bridge.Admin and Bridge.Reader" in outcome.message  # type: ignore[union-attr]
    assert "Users and groups" in outcome.action  # type: ignore[union-attr]


async def test_the_authorization_account_is_an_administrator_without_any_role(site: Site) -> None:
    await site.connect(NOOR)
    assert (await site.signed_in(NOOR)).session.role == "admin"
    assert code_of(await site.sign_in(MARA)) == "no_role"


async def test_the_request_is_protected_in_every_way_and_asks_for_little(site: Site) -> None:
    begun = await site.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    assert (query["response_type"], query["response_mode"]) == ("code", "form_post")
    assert query["code_challenge_method"] == "S256"
    assert query["prompt"] == "select_account"
    assert query["redirect_uri"] == f"{BASE}/connect/callback"
    assert set(query["scope"].split()) == {"openid", "profile", "offline_access", "User.Read"}
    assert min(len(query["state"]), len(query["nonce"]), len(query["code_challenge"])) >= 16
    again = parse_qs(urlsplit((await site.begin()).url).query)
    for name in ("state", "nonce", "code_challenge"):
        assert again[name][0] != query[name]


async def test_only_who_connects_is_asked_for_what_the_features_need(site: Site) -> None:
    await site.settings(presence={"enabled": True})
    for purpose, wanted in (("console", False), ("connect", True)):
        begun = await site.begin(purpose)  # type: ignore[arg-type]
        assert ("Presence.Read.All" in parse_qs(urlsplit(begun.url).query)["scope"][0]) == wanted
    done = await site.connect(NOOR, administrators=[NOOR])
    found = await read_account(site.place)
    assert done.session.role == "admin"
    assert found is not None
    assert {"Presence.Read.All", "User.Read"} <= set(found.scopes)


async def test_the_cookie_shows_nothing_of_what_it_holds_and_fits_into_a_browser(site: Site) -> None:
    begun = await site.begin(to=f"/console/{'x' * 900}")
    state = parse_qs(urlsplit(begun.url).query)["state"][0]
    assert state not in begun.cookie
    assert len(begun.cookie) < 4000


async def test_a_tenant_named_by_its_domain_signs_in_by_its_id(site: Site) -> None:
    await site.settings(microsoft={"tenant_id": "contoso.example"})
    await site.assign(NOOR, "Bridge.Admin")
    assert (await site.signed_in()).session.account == NOOR_ACCOUNT


@pytest.mark.parametrize(
    ("given_path", "wanted"),
    [
        ("/console/runs?x=1", "/console/runs?x=1"),
        ("//evil.example", "/console"),
        ("/\\evil.example", "/console"),
        ("https://evil.example", "/console"),
        ("/\n/evil.example", "/console"),
        ("javascript:alert(1)", "/console"),
        ("", "/console"),
    ],
)
async def test_the_way_back_stays_on_this_site(site: Site, given_path: str, wanted: str) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    begun = await site.begin(to=given_path)
    done = await site.complete(begun, await site.answered(begun))
    assert isinstance(done, Completed)
    assert done.return_to == wanted


@given(st.text())
def test_no_text_leads_to_another_site(path: str) -> None:
    found = local_path(path)
    assert found in {path, "/console"}
    parts = urlsplit(found)
    assert (parts.scheme, parts.netloc) == ("", "")
    assert found.startswith("/")
    assert "\\" not in found


# Connecting


async def test_connecting_makes_the_account_the_authorization_account(site: Site) -> None:
    done = await site.connect(NOOR)
    assert (done.purpose, done.return_to, done.session.role) == ("connect", "/connect", "admin")
    found = await read_account(site.place)
    assert found is not None
    assert (found.tenant_id, found.object_id, found.name) == (TENANT_ID, NOOR, "Noor Bakker")
    assert (found.state, found.reason) == ("valid", "")
    assert "User.Read" in found.scopes
    assert await site.token()


async def test_the_session_that_connected_is_exchanged_for_a_new_one(site: Site) -> None:
    first, cookie = await start_session(site.place, "Setup key", "setup-key", "admin", site.now)
    begun = await site.begin("connect", first.id)
    done = await site.complete(begun, await site.answered(begun))
    assert isinstance(done, Completed)
    assert done.session.id != first.id
    assert await site.open(cookie) is None
    assert await site.open(done.cookie) == done.session


async def test_another_account_takes_the_place_of_the_first(site: Site) -> None:
    done = await site.connect(NOOR)
    begun = await site.begin("connect", done.session.id)
    after = await site.complete(begun, await site.answered(begun, SEAN))
    assert isinstance(after, Completed)
    found = await read_account(site.place)
    assert found is not None
    assert found.object_id == SEAN
    assert code_of(await site.sign_in(NOOR)) == "no_role"


@pytest.mark.parametrize("how", ["none", "ended", "over", "reader", "unknown"])
async def test_only_a_live_session_of_an_administrator_connects(site: Site, how: str) -> None:
    role = "reader" if how == "reader" else "admin"
    session, _ = await start_session(site.place, "Somebody", f"{TENANT_ID}:{SEAN}", role, site.now)  # type: ignore[arg-type]
    if how == "over":
        site.later(hours=7, minutes=55)
    named = {"none": "", "unknown": "0" * 32}.get(how, session.id)
    begun = await site.begin("connect", named)
    form = await site.answered(begun)
    if how == "ended":
        await end_session(site.place, session, site.now)
    site.later(minutes=6)
    assert code_of(await site.complete(begun, form)) == "session_ended"
    assert await read_account(site.place) is None


async def test_without_a_refresh_token_nothing_is_connected(site: Site) -> None:
    begun = await site.begin("connect", (await site.first_session()).id)
    form = await site.answered(begun)
    [code] = site.microsoft.sign_in.content.codes.values()
    code.scopes.remove("offline_access")
    assert code_of(await site.complete(begun, form)) == "no_refresh_token"
    assert await read_account(site.place) is None


# What goes wrong at Entra


async def test_who_cancels_is_told_so(site: Site) -> None:
    begun = await site.begin()
    browser = Browser(site.client)
    page = await browser.press(await browser.open(begun.url), "Cancel")
    assert code_of(await site.complete(begun, page.returned())) == "cancelled"


@pytest.mark.parametrize("error", ["access_denied", "consent_required"])
async def test_who_declines_the_consent_has_cancelled(site: Site, error: str) -> None:
    site.app.consent = Consent()
    begun = await site.begin()
    form = await site.answered(begun, NOOR, automatic_consent="decline", declined_error=error)
    assert code_of(await site.complete(begun, form)) == "cancelled"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("consent_required", "consent_missing"),
        ("interaction_required", "interaction_required"),
        ("login_required", "interaction_required"),
        ("server_error", "unavailable"),
        ("temporarily_unavailable", "unavailable"),
        ("unauthorized_client", "refused"),
        ("invalid_scope", "refused"),
    ],
)
async def test_an_error_on_the_way_has_its_words(site: Site, error: str, code: str) -> None:
    begun = await site.begin()
    form = await site.answered(begun, NOOR, next_errors=[{"error": error, "description": None}])
    assert code_of(await site.complete(begun, form)) == code


async def test_consent_that_was_withdrawn_before_the_code_is_redeemed_is_missing(site: Site) -> None:
    begun = await site.begin()
    form = await site.answered(begun)
    site.app.consent = Consent()
    outcome = await site.complete(begun, form)
    assert code_of(outcome) == "consent_missing"
    assert "AADSTS65001" in outcome.message  # type: ignore[union-attr]


async def test_who_is_not_assigned_any_more_is_told_so(site: Site) -> None:
    begun = await site.begin()
    form = await site.answered(begun)
    site.app.registration.assignment_required = True
    site.app.registration.assignments.clear()
    assert code_of(await site.complete(begun, form)) == "not_assigned"


async def test_who_is_disabled_meanwhile_is_told_so(site: Site) -> None:
    begun = await site.begin()
    form = await site.answered(begun)
    directory = site.microsoft.directory
    directory.update(directory.entities[NOOR], {"accountEnabled": False})
    assert code_of(await site.complete(begun, form)) == "account_disabled"


async def test_a_disabled_account_never_comes_back(site: Site) -> None:
    page = await site.visit((await site.begin()).url, IMRE)
    assert "AADSTS50057" in page.words


async def test_a_code_that_was_used_or_invented_is_refused(site: Site) -> None:
    for change in ("1.invented", None):
        begun = await site.begin()
        form = await site.answered(begun)
        if change is None:
            [*_, code] = site.microsoft.sign_in.content.codes.values()
            code.redeemed = True
        else:
            form["code"] = change
        assert code_of(await site.complete(begun, form)) == "code_rejected"


async def test_an_expired_client_secret_is_named(site: Site) -> None:
    await site.place.secrets.write("entra-client-secret", EXPIRED_CLIENT_SECRET)
    outcome = await site.sign_in()
    assert code_of(outcome) == "credentials_rejected"
    assert "expired" in outcome.message  # type: ignore[union-attr]
    assert "new client secret" in outcome.action  # type: ignore[union-attr]


async def test_a_missing_client_secret_is_named(site: Site) -> None:
    await site.place.secrets.delete("entra-client-secret")
    assert code_of(await site.sign_in()) == "not_set_up"


@pytest.mark.parametrize("fault", ["status", "drop", "truncate", "nonsense", "throttled"])
async def test_a_token_service_that_fails_is_unavailable(site: Site, fault: str) -> None:
    planned = {
        "status": Fault(kind="status", path=TOKEN, status=503),
        "throttled": Fault(kind="status", path=TOKEN, status=429),
        "drop": Fault(kind="drop", path=TOKEN),
        "truncate": Fault(kind="truncate", path=TOKEN, bytes=30),
        "nonsense": Fault(kind="status", path=TOKEN, status=200, body="<html>"),
    }[fault]
    await site.assign(NOOR, "Bridge.Admin")
    begun = await site.begin()
    form = await site.answered(begun)
    site.microsoft.faults.append(planned)
    assert code_of(await site.complete(begun, form)) == "unavailable"
    assert isinstance(await site.sign_in(), Completed)


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"tenant_id": ""}, NotSetUp), ({"client_id": ""}, NotSetUp), ({"tenant_id": "a.example"}, CredentialsRejected)],
    ids=str,
)
async def test_a_sign_in_that_cannot_begin_says_why(
    site: Site, settings: dict[str, str], error: type[Exception]
) -> None:
    await site.settings(microsoft=settings)
    with pytest.raises(error) as caught:
        await site.begin()
    assert getattr(caught.value, "action", "")


async def test_without_a_public_address_nothing_begins(site: Site) -> None:
    site.place = site.process(public_base_url="")
    with pytest.raises(NotSetUp, match="public address"):
        await site.begin()


async def test_an_entra_that_cannot_be_reached_is_unavailable_and_works_again(site: Site) -> None:
    site.microsoft.faults.append(Fault(kind="drop", path=DISCOVERY, times=None))
    with pytest.raises(Unavailable):
        await site.begin()
    site.microsoft.faults.clear()
    assert (await site.begin()).url


async def test_the_tenant_is_described_once_a_day(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    for _ in range(3):
        await site.signed_in()
    found = [item.path for item in site.microsoft.requests if "openid-configuration" in item.path]
    assert len(found) == 1
    site.now += datetime.timedelta(hours=25)
    await site.begin()
    found = [item.path for item in site.microsoft.requests if "openid-configuration" in item.path]
    assert len(found) == 2


# What goes wrong with the state


async def test_an_answer_is_taken_once_by_whichever_process(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    begun = await site.begin()
    form = await site.answered(begun)
    outcomes = await asyncio.gather(
        site.complete(begun, form), site.complete(begun, form, site.process()), site.complete(begun, form)
    )
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 1
    assert [code_of(outcome) for outcome in outcomes if isinstance(outcome, Failed)] == ["state_mismatch"] * 2
    assert code_of(await site.complete(begun, form)) == "state_mismatch"
    assert len(site.token_requests()) == 1


async def test_an_error_uses_the_state_up_too(site: Site) -> None:
    begun = await site.begin()
    error = {"error": "access_denied", "state": parse_qs(urlsplit(begun.url).query)["state"][0]}
    assert code_of(await site.complete(begun, error)) == "cancelled"
    assert code_of(await site.complete(begun, await site.answered(begun))) == "state_mismatch"


@pytest.mark.parametrize("change", ["state", "no state", "no cookie", "tampered", "foreign", "session cookie"])
async def test_a_forged_state_is_refused_before_entra_is_asked(site: Site, change: str) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    begun = await site.begin()
    form, cookie = await site.answered(begun), begun.cookie
    match change:
        case "state":
            form["state"] += "x"
        case "no state":
            del form["state"]
        case "no cookie":
            cookie = ""
        case "tampered":
            cookie = cookie[:50] + ("A" if cookie[50] != "A" else "B") + cookie[51:]
        case "foreign":
            cookie = (await site.begin()).cookie
        case _:
            _, cookie = await start_session(site.place, "N", NOOR_ACCOUNT, "admin", site.now)
    outcome = await signin.complete(site.place, form, {STATE_COOKIE: cookie}, site.now)
    assert code_of(outcome) == "state_mismatch"
    assert site.token_requests() == []


async def test_a_state_is_good_for_ten_minutes(site: Site) -> None:
    await site.assign(NOOR, "Bridge.Admin")
    begun = await site.begin()
    form = await site.answered(begun)
    site.later(minutes=10)
    assert code_of(await site.complete(begun, form)) == "state_mismatch"


async def test_used_states_are_forgotten_when_they_are_too_old_anyway(site: Site) -> None:
    begun = await site.begin()
    await site.complete(begun, await site.answered(begun))
    site.later(minutes=11)
    begun = await site.begin()
    await site.complete(begun, await site.answered(begun))
    rows = [row async for row in site.place.tables.query("sessions", f"{site.connection}-states")]
    assert len(rows) == 1


async def test_an_answer_without_a_code_is_refused(site: Site) -> None:
    begun = await site.begin()
    form = await site.answered(begun)
    assert code_of(await site.complete(begun, {"state": form["state"]})) == "state_mismatch"


async def test_settings_that_changed_meanwhile_make_the_answer_worthless(site: Site) -> None:
    begun = await site.begin()
    form = await site.answered(begun)
    await site.settings(microsoft={"client_id": "33333333-3333-4333-8333-333333333333"})
    assert code_of(await site.complete(begun, form)) == "state_mismatch"


# Consent of an administrator


async def consent(site: Site, person: str = NOOR, **switches: object) -> tuple[signin.Begun, dict[str, str]]:
    begun = await signin.admin_consent_url(site.place, (await site.first_session()).id, site.now)
    page = await site.visit(begun.url, person, administrators=[NOOR], **switches)
    return begun, page.returned()


async def told(site: Site, begun: signin.Begun, query: dict[str, str]) -> signin.Consented | Failed:
    return await signin.consent_result(site.place, query, {STATE_COOKIE: begun.cookie}, site.now)


async def test_an_administrator_of_the_tenant_consents_to_everything(site: Site) -> None:
    site.app.roles = []
    begun, query = await consent(site)
    assert "admin_consent" in query
    assert await told(site, begun, query) == signin.Consented("/connect")
    assert "User.Read.All" in site.app.roles
    assert set(site.app.consent.organization) <= set(DELEGATED)


async def test_a_declined_consent_is_cancelled_and_changes_nothing(site: Site) -> None:
    site.app.roles = []
    begun, query = await consent(site, automatic_consent="decline")
    outcome = await told(site, begun, query)
    assert isinstance(outcome, Failed)
    assert outcome.code == "cancelled"
    assert site.app.roles == []


@pytest.mark.parametrize("how", ["replayed", "state", "late", "sign-in"])
async def test_a_consent_that_nobody_asked_for_is_refused(site: Site, how: str) -> None:
    begun, query = await consent(site)
    if how == "replayed":
        assert await told(site, begun, query) == signin.Consented("/connect")
    elif how == "state":
        query["state"] = "another"
    elif how == "late":
        site.later(minutes=10)
    else:
        begun = await site.begin()
        query["state"] = parse_qs(urlsplit(begun.url).query)["state"][0]
    outcome = await told(site, begun, query)
    assert isinstance(outcome, Failed)
    assert outcome.code == "state_mismatch"


async def test_a_consent_in_another_tenant_is_none(site: Site) -> None:
    begun, query = await consent(site)
    outcome = await told(site, begun, {**query, "tenant": "99999999-9999-4999-8999-999999999999"})
    assert isinstance(outcome, Failed)
    assert outcome.code == "tenant_mismatch"


async def test_a_consent_after_the_session_ended_is_not_taken(site: Site) -> None:
    session = await site.first_session()
    begun = await signin.admin_consent_url(site.place, session.id, site.now)
    page = await site.visit(begun.url, NOOR, administrators=[NOOR])
    await end_session(site.place, session, site.now)
    outcome = await told(site, begun, page.returned())
    assert isinstance(outcome, Failed)
    assert outcome.code == "session_ended"


async def test_an_answer_to_a_consent_signs_nobody_in(site: Site) -> None:
    begun, query = await consent(site)
    assert code_of(await site.complete(begun, {**query, "code": "1.code"})) == "state_mismatch"


# Words


@given(st.text(max_size=30), st.integers(0, 10**9))
def test_whatever_entra_says_there_are_words_for_it_that_do_not_quote_it(error: str, number: int) -> None:
    found = refused(error, number)
    assert found.code
    assert found.message.endswith(".")
    assert found.action.endswith(".")
    if len(error) > 12:
        assert error not in f"{found.title}{found.message}{found.action}"


# To one's own pages


async def begun_by(site: Site, person: str, session: str = "") -> Completed | Failed:
    """A whole sign-in to the page about oneself."""
    begun = await site.begin("person", session, "/me/presence")
    return await site.complete(begun, await site.answered(begun, person))


async def test_anybody_of_the_tenant_is_admitted_as_a_person(site: Site) -> None:
    done = await begun_by(site, MARA)
    assert isinstance(done, Completed), done
    assert (done.purpose, done.return_to) == ("person", "/me/presence")
    session = await site.open(done.cookie)
    assert session == done.session
    assert (session.role, session.account) == ("person", f"{TENANT_ID}:{MARA}")


@pytest.mark.parametrize(("app_role", "role"), [("Bridge.Admin", "admin"), ("Bridge.Reader", "reader")])
async def test_who_has_an_app_role_keeps_it_on_the_way_to_his_own_page(site: Site, app_role: str, role: str) -> None:
    await site.assign(NOOR, app_role)
    done = await begun_by(site, NOOR)
    assert isinstance(done, Completed)
    assert done.session.role == role


async def test_the_authorization_account_stays_an_administrator_on_its_own_page(site: Site) -> None:
    await site.connect(NOOR)
    done = await begun_by(site, NOOR)
    assert isinstance(done, Completed)
    assert done.session.role == "admin"
    await forget_account(site.place)
    assert await site.open(done.cookie) is None


async def test_a_person_is_asked_for_nothing_beyond_signing_in(site: Site) -> None:
    await site.settings(presence={"enabled": True})
    begun = await site.begin("person")
    scopes = parse_qs(urlsplit(begun.url).query)["scope"][0].split()
    assert set(scopes) == {"openid", "profile", "offline_access", "User.Read"}


async def test_the_session_that_a_person_began_in_ends(site: Site) -> None:
    first, cookie = await start_session(site.place, "Setup key", "setup-key", "admin", site.now)
    done = await begun_by(site, MARA, first.id)
    assert isinstance(done, Completed)
    assert await site.open(cookie) is None


async def test_somebody_of_another_tenant_is_not_admitted(site: Site) -> None:
    begun = await site.begin("person")
    form = await site.answered(begun, MARA, next_id_tokens=[{"kind": "other_tenant"}])
    assert code_of(await site.complete(begun, form)) == "tenant_mismatch"


async def test_a_person_connects_no_account(site: Site) -> None:
    done = await begun_by(site, MARA)
    assert isinstance(done, Completed)
    begun = await site.begin("connect", done.session.id)
    assert code_of(await site.complete(begun, await site.answered(begun, MARA))) == "session_ended"
    assert await read_account(site.place) is None


async def test_a_new_tenant_ends_the_sessions_of_persons(site: Site) -> None:
    done = await begun_by(site, MARA)
    assert isinstance(done, Completed)
    admin = await site.first_session()
    await settle_in(site.place, TENANT_ID, admin)
    assert await site.open(done.cookie) is not None
    await settle_in(site.place, "33333333-3333-4333-8333-333333333333", admin)
    assert await site.open(done.cookie) is None
