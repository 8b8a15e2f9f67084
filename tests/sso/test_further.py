"""Further accounts: added for presence beside the authorization account, with tokens and an end of their own."""

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from local.microsoft.registration import Consent
from local.sample import TENANT_ID
from sso.account import (
    access_token,
    forget_account,
    forget_all,
    forget_further,
    further_accounts,
    read_account,
    settle_in,
)
from sso.errors import SignInNeeded
from sso.failures import Failed
from sso.oauth import Tokens, redeem, refresh
from sso.sessions import end_session, start_session
from sso.signin import Completed
from store.health import Reason
from store.sessions import AUTHORIZATION, SessionStore
from tests.sso.site import MARA, NOOR, SEAN, Site, reason_codes

OTHER_TENANT = "33333333-3333-4333-8333-333333333333"


async def keys(site: Site) -> list[str]:
    return [one.key for one in await further_accounts(site.place)]


async def who(site: Site, token: str) -> str:
    """Whose token it is, as Graph sees it."""
    site.client.token = token
    answer = await site.client.graph("me")
    assert answer.status == 200, answer.text
    return str(answer.json["id"])


async def revoke(site: Site, person: str) -> None:
    site.client.token = None
    assert (await site.client.control("POST", f"users/{person}/revoke")).status == 204


async def refused(site: Site, key: str) -> str:
    """Why there is no token for an account."""
    with pytest.raises(SignInNeeded) as caught:
        await site.token(key=key)
    return str(caught.value)


def vault(site: Site, person: str) -> list[str]:
    """The versions of the refresh token of a further account, oldest first; none once it is deleted."""
    kept = site.microsoft.vault.secrets.get(f"{site.connection}-presence-refresh-token-{person}")
    return [] if kept is None or kept.deleted is not None else [version.value for version in kept.versions]


async def reasons(site: Site) -> list[Reason]:
    return (await site.place.health.load()).reasons


# Adding


async def test_an_added_account_has_tokens_of_its_own(site: Site) -> None:
    await site.connect(NOOR)
    account = await site.added(SEAN)
    assert (account.key, account.object_id, account.tenant_id) == (SEAN, SEAN, TENANT_ID)
    assert (account.state, account.reason) == ("valid", "")
    assert set(account.scopes) >= {"User.Read", "Presence.Read.All"}
    assert await further_accounts(site.place) == [account]
    assert await who(site, await site.token(key=SEAN)) == SEAN
    assert await who(site, await site.token()) == NOOR
    first = await read_account(site.place)
    assert first is not None
    assert (first.key, first.object_id) == (AUTHORIZATION, NOOR)


async def test_it_is_asked_for_what_presence_needs_and_nothing_else(site: Site) -> None:
    begun = await site.begin("presence", (await site.first_session()).id)
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    wanted = {"openid", "profile", "offline_access", "User.Read", "Presence.Read.All"}
    assert set(query["scope"].split()) == wanted
    assert (query["prompt"], query["response_mode"]) == ("select_account", "form_post")


async def test_the_administrator_who_adds_it_stays_who_he_was(site: Site) -> None:
    session, cookie = await start_session(site.place, "Ada", f"{TENANT_ID}:{MARA}", "admin", site.now)
    begun = await site.begin("presence", session.id, "/connect")
    done = await site.complete(begun, await site.answered(begun, SEAN, administrators=[SEAN]))
    assert isinstance(done, Completed)
    assert (done.purpose, done.return_to, done.session, done.cookie) == ("presence", "/connect", session, "")
    assert await site.open(cookie) == session


async def test_an_added_account_opens_no_page(site: Site) -> None:
    await site.connect(NOOR)
    await site.added(SEAN)
    outcome = await site.sign_in(SEAN)
    assert isinstance(outcome, Failed)
    assert outcome.code == "no_role"


async def test_adding_it_again_replaces_its_token(site: Site) -> None:
    await site.added(SEAN)
    await site.token(key=SEAN)
    site.later(minutes=1)
    account = await site.added(SEAN)
    assert await further_accounts(site.place) == [account]
    newest = vault(site, SEAN)[-1]
    await site.token(key=SEAN)
    assert f"refresh_token={newest}" in site.token_requests()[-1]


async def test_several_accounts_stand_side_by_side(site: Site) -> None:
    for person in (SEAN, MARA):
        await site.added(person)
    assert await keys(site) == sorted([SEAN, MARA])
    assert [await who(site, await site.token(key=person)) for person in (SEAN, MARA)] == [SEAN, MARA]


async def test_the_authorization_account_is_no_further_one(site: Site) -> None:
    await site.connect(NOOR)
    outcome = await site.add(NOOR)
    assert isinstance(outcome, Failed)
    assert outcome.code == "not_added"
    assert "authorization account" in outcome.message
    assert await keys(site) == []
    assert vault(site, NOOR) == []


async def test_a_further_account_that_becomes_the_authorization_account_counts_once(site: Site) -> None:
    await site.added(SEAN)
    await site.connect(SEAN)
    assert await keys(site) == []
    assert vault(site, SEAN) == []
    assert await who(site, await site.token()) == SEAN


@pytest.mark.parametrize("how", ["none", "ended", "reader", "person"])
async def test_only_a_live_session_of_an_administrator_adds(site: Site, how: str) -> None:
    role = how if how in {"reader", "person"} else "admin"
    session, _ = await start_session(site.place, "Somebody", f"{TENANT_ID}:{MARA}", role, site.now)  # type: ignore[arg-type]
    begun = await site.begin("presence", "" if how == "none" else session.id)
    form = await site.answered(begun, SEAN, administrators=[SEAN])
    if how == "ended":
        await end_session(site.place, session, site.now)
    outcome = await site.complete(begun, form)
    assert isinstance(outcome, Failed)
    assert outcome.code == "session_ended"
    assert await keys(site) == []


async def test_an_account_of_another_tenant_is_refused(site: Site) -> None:
    outcome = await site.add(SEAN, next_id_tokens=[{"kind": "other_tenant"}])
    assert isinstance(outcome, Failed)
    assert outcome.code == "tenant_mismatch"
    assert await keys(site) == []


async def test_without_a_refresh_token_nothing_is_added(site: Site) -> None:
    begun = await site.begin("presence", (await site.first_session()).id)
    form = await site.answered(begun, SEAN, administrators=[SEAN])
    [code] = site.microsoft.sign_in.content.codes.values()
    code.scopes.remove("offline_access")
    outcome = await site.complete(begun, form)
    assert isinstance(outcome, Failed)
    assert outcome.code == "no_refresh_token"
    assert await keys(site) == []


async def test_without_the_permission_for_presence_nothing_is_added(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def redeemed(*details: Any) -> Tokens:
        return msgspec.structs.replace(await redeem(*details), scope="openid profile User.Read")

    monkeypatch.setattr("sso.signin.redeem", redeemed)
    outcome = await site.add(SEAN)
    assert isinstance(outcome, Failed)
    assert outcome.code == "consent_missing"
    assert await keys(site) == []


async def test_a_failed_sign_in_knows_where_it_was_begun(site: Site) -> None:
    begun = await site.begin("person", to="/me/presence")
    form = await site.answered(begun, SEAN, next_errors=[{"error": "server_error", "description": None}])
    outcome = await site.complete(begun, form)
    assert isinstance(outcome, Failed)
    assert outcome.return_to == "/me/presence"


# Its tokens


async def test_each_use_rotates_its_refresh_token_and_no_other(site: Site) -> None:
    await site.connect(NOOR)
    await site.added(SEAN)
    others = [item.versions for item in site.microsoft.vault.secrets.values() if "authorization" in item.name]
    before = [len(versions) for versions in others]
    for _ in range(3):
        site.later(hours=2)
        await site.token(key=SEAN)
    tokens = vault(site, SEAN)
    assert len(tokens) == len(set(tokens)) == 4
    assert f"refresh_token={tokens[-2]}" in site.token_requests()[-1]
    assert [len(versions) for versions in others] == before


async def test_two_processes_that_refresh_at_once_both_get_a_token(site: Site) -> None:
    await site.added(SEAN)
    places = [site.process() for _ in range(3)]
    tokens = await asyncio.gather(*(site.token(place, SEAN) for place in places))
    assert {await who(site, token) for token in tokens} == {SEAN}
    assert [one.state for one in await further_accounts(site.place)] == ["valid"]
    site.later(hours=2)
    assert await site.token(key=SEAN)


async def test_an_account_that_was_removed_during_a_refresh_leaves_no_token_behind(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.added(SEAN)

    async def interrupted(*details: Any) -> Tokens:
        tokens = await refresh(*details)
        await forget_further(site.process(), SEAN)
        return tokens

    monkeypatch.setattr("sso.account.refresh", interrupted)
    assert "none of this connection's" in await refused(site, SEAN)
    assert vault(site, SEAN) == []


async def test_nobody_gets_a_token_of_an_account_that_was_never_added(site: Site) -> None:
    await site.connect(NOOR)
    assert "none of this connection's" in await refused(site, SEAN)


async def test_a_permission_that_was_granted_to_everybody_meanwhile_is_known_with_the_next_token(site: Site) -> None:
    site.app.consent = Consent(organization=["openid", "profile", "offline_access", "User.Read"])
    await site.connect(NOOR)
    before = await read_account(site.place)
    assert before is not None
    assert "Presence.Read.All" not in before.scopes
    site.app.consent.grant(["Presence.Read.All"])
    await access_token(site.place, ["Presence.Read.All"], site.now)
    found = await read_account(site.place)
    assert found is not None
    assert set(found.scopes) >= {"User.Read", "Presence.Read.All"}


# What ends it


async def test_a_revoked_account_is_told_by_name_once_and_others_go_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.connect(NOOR)
    for person in (SEAN, MARA):
        await site.added(person)
    await revoke(site, SEAN)
    assert "revoked" in await refused(site, SEAN)
    for _ in range(2):
        sent = len(site.token_requests())
        assert "revoked" in await refused(site, SEAN)
        assert len(site.token_requests()) == sent
        site.place = site.process()
    [reason] = await reasons(site)
    assert reason.code == "presence_sign_in_needed"
    [ended] = [one for one in await further_accounts(site.place) if one.state != "valid"]
    assert f"{ended.name} ({ended.user_principal_name}): The sign-in was revoked" in reason.message
    assert "Connect" in reason.action
    assert reason.since == site.now.isoformat(timespec="seconds")
    assert [record.levelno for record in caplog.records if record.name == "sso"] == [logging.ERROR]
    assert await who(site, await site.token(key=MARA)) == MARA
    assert await who(site, await site.token()) == NOOR


async def test_of_two_that_end_both_are_named_and_each_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for person in (SEAN, MARA):
        await site.added(person)
        await revoke(site, person)
    await refused(site, SEAN)
    site.later(hours=1)
    first = (await reasons(site))[0]
    await refused(site, MARA)
    [reason] = await reasons(site)
    for one in await further_accounts(site.place):
        assert one.user_principal_name in reason.message
    assert reason.since == first.since
    assert len([record for record in caplog.records if record.name == "sso"]) == 2


async def test_signing_in_again_mends_one_and_leaves_the_other_named(site: Site) -> None:
    for person in (SEAN, MARA):
        await site.added(person)
        await revoke(site, person)
        await refused(site, person)
    account = await site.added(SEAN)
    assert account.state == "valid"
    [reason] = await reasons(site)
    assert account.user_principal_name not in reason.message
    assert await who(site, await site.token(key=SEAN)) == SEAN
    await site.added(MARA)
    assert await reasons(site) == []


async def test_removing_it_mends_it_too(site: Site) -> None:
    await site.added(SEAN)
    await revoke(site, SEAN)
    await refused(site, SEAN)
    await forget_further(site.place, SEAN)
    assert await reasons(site) == []
    assert await keys(site) == []
    assert vault(site, SEAN) == []


async def test_the_two_reasons_stand_apart(site: Site) -> None:
    await site.connect(NOOR)
    await site.added(SEAN)
    for person, key in ((NOOR, AUTHORIZATION), (SEAN, SEAN)):
        await revoke(site, person)
        await refused(site, key)
    assert reason_codes(await site.place.health.load()) == ["sign_in_needed", "presence_sign_in_needed"]
    await site.connect(NOOR)
    assert reason_codes(await site.place.health.load()) == ["presence_sign_in_needed"]
    await forget_account(site.place)
    assert reason_codes(await site.place.health.load()) == ["presence_sign_in_needed"]


async def test_a_reason_that_something_else_wiped_comes_back(site: Site) -> None:
    await site.added(SEAN)
    await revoke(site, SEAN)
    await refused(site, SEAN)
    await site.place.health.update(lambda health: msgspec.structs.replace(health, reasons=[]))
    await refused(site, SEAN)
    assert reason_codes(await site.place.health.load()) == ["presence_sign_in_needed"]


async def test_a_token_that_is_gone_from_the_vault_is_told(site: Site) -> None:
    await site.added(SEAN)
    await site.place.secrets.delete(f"presence-refresh-token-{SEAN}")  # type: ignore[arg-type]
    assert "Key Vault" in await refused(site, SEAN)
    [reason] = await reasons(site)
    assert "Key Vault" in reason.message


# Forgetting


async def test_forgetting_everything_leaves_neither_accounts_nor_tokens(site: Site) -> None:
    await site.connect(NOOR)
    for person in (SEAN, MARA):
        await site.added(person)
    await revoke(site, SEAN)
    await refused(site, SEAN)
    await forget_all(site.place)
    assert await read_account(site.place) is None
    assert await keys(site) == []
    assert await reasons(site) == []
    kept = [one.name for one in site.microsoft.vault.secrets.values() if "refresh" in one.name and one.deleted is None]
    assert kept == []
    assert "no account" in await refused(site, AUTHORIZATION)


async def test_removing_what_is_not_there_is_no_error(site: Site) -> None:
    await forget_further(site.place, SEAN)
    assert await keys(site) == []


@pytest.mark.parametrize("has_moved", [True, False], ids=["another tenant", "the same tenant"])
async def test_a_new_tenant_ends_what_the_former_ones_accounts_were_for(site: Site, has_moved: bool) -> None:
    session = await site.first_session()
    await site.added(SEAN)
    await site.added(MARA)
    store = SessionStore(site.place.tables, site.place.id)
    record, _ = await store.account(MARA)
    assert record is not None
    await store.save_account(msgspec.structs.replace(record, tenant_id=OTHER_TENANT), MARA)
    await settle_in(site.place, OTHER_TENANT if has_moved else TENANT_ID, session)
    assert await keys(site) == ([MARA] if has_moved else [SEAN])
    assert bool(vault(site, SEAN)) is not has_moved


async def test_no_secret_of_it_is_logged_or_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await site.added(SEAN)
    token = await site.token(key=SEAN)
    await revoke(site, SEAN)
    site.later(hours=2)
    await refused(site, SEAN)
    told = f"{caplog.text}{await further_accounts(site.place)!r}{await reasons(site)!r}"
    for secret in (token, *vault(site, SEAN)):
        assert secret not in told
