"""What is connected, its secrets, and the pages before something is paused, disabled or ended."""

from typing import Any

import msgspec
import pytest

from console.decisions import ACTIONS, KINDS, decision
from console.rooms import place_of
from local.sample import CLIENT_ID, CLIENT_SECRET, EXPIRED_CLIENT_SECRET, TENANT_ID
from sso.account import further_accounts, read_account
from sso.sessions import COOKIE
from store.document import Settings
from store.secrets import SecretName
from store.sessions import AccountRecord, SessionStore
from tests.console.page import Page, escaped
from tests.console.rules import stored
from tests.console.signing_in import with_setup_key
from tests.console.site import HOSTILE, Site
from tests.engine.world import PBX_SECRET

PATH = "/console/connection"


async def secret(site: Site, name: SecretName) -> str:
    return (await site.connection.secrets.read(name)).value


async def synced(site: Site, *people: str, groups: bool = False) -> None:
    """These people have extensions, and a group of them if wanted; the guard lets everything pass."""
    ids = [site.world.person(name) for name in people]
    if groups:
        site.world.group("Sales", *ids)
        await site.world.first_sync()
        return
    await site.world.secrets()
    [message] = await site.world.enable()
    assert (await site.world.execute(message)).status == "succeeded"


async def asked(site: Site, action: str, what: str = "") -> Page:
    return await site.get(f"{PATH}/{action}" + (f"?what={what}" if what else ""))


async def replaced(site: Site, name: str, value: str) -> Page:
    page = await site.get(PATH)
    [form] = [form for form in page.forms if "name" in form.names and form["name"] == name]
    return await site.press(form, "Replace", value=value)


def switch(value: str | None) -> dict[str, Any]:
    """The setup key signs in as well, or not."""
    return {"/console/setup_key": value}


async def account(site: Site, **changes: Any) -> None:
    """Somebody is the authorization account."""
    record = AccountRecord(
        tenant_id=TENANT_ID,
        object_id="o",
        name="Noor Bakker",
        user_principal_name="noor@contoso.example",
        signed_in_at=site.world.tell().isoformat(),
        token_version="v",
    )
    store = SessionStore(site.connection.tables, site.connection.id)
    await store.save_account(msgspec.structs.replace(record, **changes))


async def further_account(site: Site, person: str) -> None:
    """Somebody is a further account as well."""
    store = SessionStore(site.connection.tables, site.connection.id)
    first, _ = await store.account()
    assert first is not None
    await store.save_account(msgspec.structs.replace(first, object_id=person), person)


# What is shown


async def test_both_sides_are_described(site: Site) -> None:
    await synced(site, "Ada Byron")
    await account(site)
    await site.connection.health.update(
        lambda health: msgspec.structs.replace(health, secret_expires_at="2026-05-01T00:00:00+00:00")
    )
    await site.sign_in()
    page = await site.get(PATH)
    facts = dict(row for row in page.rows if len(row) == 2)
    assert (facts["Tenant"], facts["Application"]) == (TENANT_ID, CLIENT_ID)
    assert facts["Proves itself by"] == "Client secret"
    assert facts["Good until"].startswith("2026-05-01 00:00 (in ")
    assert facts["Authorization account"].startswith("Noor Bakker (noor@contoso.example), signed in ")
    assert facts["Authorization account"].endswith("Valid")
    health = await site.connection.health.load()
    assert health.pbx is not None
    assert (facts["Model"], facts["Firmware"]) == (health.pbx.model, health.pbx.firmware)
    assert facts["Extensions"].endswith(f"of {health.pbx.extension_capacity} in use")
    assert page.heading == "Connection Connected"


async def test_an_account_that_has_to_sign_in_again_says_why(site: Site) -> None:
    await account(site, state="needs_sign_in", reason="The sign-in was revoked, as by a changed password.")
    await site.sign_in()
    page = await site.get(PATH)
    assert page.says("Has to sign in again The sign-in was revoked, as by a changed password.")


async def test_hostile_names_are_shown_as_they_are(site: Site) -> None:
    await account(site, name=HOSTILE, user_principal_name=HOSTILE)
    await site.sign_in()
    page = await site.get(PATH)
    assert HOSTILE not in page.html
    assert escaped("<script>alert(") in page.html


async def test_readers_see_everything_and_can_press_nothing(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert page.status == 200
    assert page.says(TENANT_ID)
    assert [button for form in page.forms for button in form.buttons] == []
    assert not any(address.startswith(f"{PATH}/") for address in page.links.values())


@pytest.mark.parametrize("part", ["test", "secret", "setup-key", "sign-everybody-out", *ACTIONS])
async def test_readers_may_not_do_it_either(site: Site, part: str) -> None:
    await site.sign_in("reader")
    assert (await site.post(f"{PATH}/{part}", {"what": "users"})).status == 403
    if part in ACTIONS:
        assert (await site.get(f"{PATH}/{part}?what=users")).status == 403


@pytest.mark.parametrize("part", ["test", "secret", "setup-key", "sign-everybody-out", "diagnostics", *ACTIONS])
async def test_without_the_token_of_the_session_nothing_is_done(site: Site, part: str) -> None:
    await site.sign_in()
    before = await site.connection.health.load()
    assert (await site.post(f"{PATH}/{part}", {"what": "users", "csrf": "forged"})).status == 403
    assert await site.connection.health.load() == before
    assert await site.trail() == []


async def test_every_field_has_a_label(site: Site) -> None:
    await site.sign_in()
    for path in (PATH, f"{PATH}/disconnect"):
        page = await site.get(path)
        labels = [label["for"] for label in page.root.all("label")]
        ids = [element["id"] for element in page.root.walk() if element["id"]]
        assert len(set(ids)) == len(ids)
        for control in page.root.one("main").all("input", "textarea"):
            is_labelled = control["id"] in labels or any(one.name == "label" for one in control.above())
            assert control["type"] == "hidden" or is_labelled, control


# Trying


async def test_both_sides_are_tried_when_asked(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await site.press((await site.get(PATH)).form(f"{PATH}/test"))
    assert page.status == 200
    assert any(words.startswith("The application signs in to ") for words in page.notices)
    assert any(words.startswith("The PBX answers: ") for words in page.notices)


async def test_what_does_not_work_is_said_for_each_side(site: Site) -> None:
    await site.world.secrets(entra=EXPIRED_CLIENT_SECRET, pbx="wrong")
    await site.sign_in()
    page = await site.press((await site.get(PATH)).form(f"{PATH}/test"))
    assert page.status == 200
    assert any("AADSTS7000222" in words for words in page.notices)
    assert not any(words.startswith("The PBX answers: ") for words in page.notices)
    assert EXPIRED_CLIENT_SECRET not in page.html


async def test_nothing_to_try_is_said_too(site: Site) -> None:
    await site.sign_in()
    page = await site.press((await site.get(PATH)).form(f"{PATH}/test"))
    assert any(words.startswith("There is nothing to try yet") for words in page.notices)


# Secrets


async def test_a_client_secret_that_works_takes_the_place_of_the_old_one(site: Site) -> None:
    await site.world.secrets(entra=EXPIRED_CLIENT_SECRET)
    await site.sign_in()
    page = await replaced(site, "entra-client-secret", CLIENT_SECRET)
    assert page.notices[0] == "The new secret works and replaced the old one."
    assert await secret(site, "entra-client-secret") == CLIENT_SECRET
    [entry] = await site.trail()
    assert (entry.action, entry.object, entry.after) == ("secret.replaced", "entra-client-secret", "")


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [("entra-client-secret", EXPIRED_CLIENT_SECRET, CLIENT_SECRET), ("pbx-client-secret", "wrong-one", PBX_SECRET)],
)
async def test_the_old_secret_stays_when_the_new_one_does_not_work(
    site: Site, name: SecretName, new: str, old: str
) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await replaced(site, name, new)
    assert page.status == 422
    assert page.faults[0].endswith("The old one stays.")
    assert new not in page.html
    assert await secret(site, name) == old
    assert await site.trail() == []


async def test_a_new_secret_of_the_pbx_is_tried_and_stored(site: Site) -> None:
    await site.world.secrets(pbx="an-old-one")
    await site.sign_in()
    page = await replaced(site, "pbx-client-secret", PBX_SECRET)
    assert page.notices[0] == "The new secret works and replaced the old one."
    assert await secret(site, "pbx-client-secret") == PBX_SECRET


async def test_the_webhooks_secret_is_stored_untried(site: Site) -> None:
    await site.sign_in()
    page = await replaced(site, "pbx-webhook-secret", "whatever")
    assert page.notices[0] == "The new secret was stored."
    assert await secret(site, "pbx-webhook-secret") == "whatever"


async def test_a_certificate_without_its_key_is_refused(site: Site) -> None:
    await stored(site, "microsoft", credential="certificate")
    await site.sign_in()
    page = await replaced(site, "entra-client-certificate", "-----BEGIN CERTIFICATE-----")
    assert page.status == 422
    assert page.faults[0].startswith("This has to be a certificate and its private key")


@pytest.mark.parametrize("name", ["session-key", "entra-client-certificate", ""])
async def test_other_secrets_cannot_be_written(site: Site, name: str) -> None:
    await site.sign_in()
    assert (await site.post(f"{PATH}/secret", {"name": name, "value": "x"})).status == 422
    assert await site.trail() == []


async def test_an_empty_secret_is_refused(site: Site) -> None:
    await site.sign_in()
    page = await replaced(site, "pbx-webhook-secret", "")
    assert (page.status, page.faults[0].split(".")[0]) == (422, "Nothing was entered")


async def test_a_secret_that_a_first_run_waits_for_starts_it(site: Site) -> None:
    await site.connection.secrets.write("pbx-client-secret", PBX_SECRET)
    await site.world.enable()
    await site.sign_in()
    await replaced(site, "entra-client-secret", CLIENT_SECRET)
    assert [message.task for message in site.queue] == ["run"]


# Who may come in


async def test_the_setup_key_is_switched_off_and_on(site: Site) -> None:
    await site.sign_in()
    form = (await site.get(PATH)).form(f"{PATH}/setup-key")
    page = await site.press(form, "Save", **switch(None))
    assert page.notices[0] == "Saved."
    assert not (await site.settings()).console.setup_key
    await site.press(page.form(f"{PATH}/setup-key"), "Save", **switch("on"))
    assert (await site.settings()).console.setup_key
    assert [entry.action for entry in await site.trail()] == ["settings.saved", "settings.saved"]


async def test_a_switch_that_somebody_else_turned_meanwhile_is_not_turned_back_unseen(site: Site) -> None:
    await site.sign_in()
    form = (await site.get(PATH)).form(f"{PATH}/setup-key")
    await stored(site, "console", setup_key=False)
    page = await site.press(form, "Save")
    assert page.status == 409
    assert any("Somebody else saved" in words for words in page.notices)
    assert not (await site.settings()).console.setup_key


async def test_everybody_is_signed_out_at_once(site: Site) -> None:
    await site.sign_in()
    other = site.cookies[COOKIE]
    site.sign_out()
    await with_setup_key(site)
    page = await site.press((await site.get(PATH)).form(f"{PATH}/sign-everybody-out"))
    assert (page.heading, page.notices) == ("Sign in", ["Everybody was signed out."])
    site.cookies[COOKIE] = other
    assert (await site.get(PATH, follow=False)).status == 303


# Pausing and resuming


async def test_a_pause_names_what_it_stops_and_what_it_could_delete(site: Site) -> None:
    await synced(site, "Ada Byron", "Bob Crane")
    await site.sign_in()
    page = await asked(site, "pause", "users")
    assert page.heading == "Pause users"
    assert page.root.one("legend").text == "The extensions of synchronized users: 2"
    assert page.says("Ada Byron (100")
    assert page.says("Delete 2 extensions from the PBX")
    assert (await site.connection.health.load()).paused == []


async def test_pausing_keeps_everything_unless_deletion_was_ticked(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    page = await site.press((await asked(site, "pause", "users")).form(), "Pause users")
    assert page.path == f"{PATH}?done=paused"
    assert page.says("Resume users")
    assert (await site.connection.health.load()).paused == ["users"]
    assert len(site.world.extensions()) == 1
    [entry] = await site.trail()
    assert (entry.action, entry.after) == ("users.paused", "")


async def test_pausing_with_deletion_leads_to_the_run_that_deletes(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    form = (await asked(site, "pause", "users")).form()
    page = await site.press(form, "Pause users", delete__users="on")
    assert page.path.startswith("/console/runs/")
    await site.work()
    assert site.world.extensions() == {}
    [entry] = await site.trail()
    assert (entry.action, entry.after) == ("users.paused", "deletes 1 extension")


async def test_what_would_be_deleted_can_be_listed_first(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    form = (await asked(site, "pause", "users")).form()
    page = await site.press(form, "List", delete__users="on")
    assert page.path.startswith("/console/runs/")
    await site.work()
    assert len(site.world.extensions()) == 1
    assert (await site.connection.health.load()).paused == []
    assert await site.trail() == []


async def test_a_list_of_nothing_asks_what_to_list(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    page = await site.press((await asked(site, "pause", "users")).form(), "List")
    assert (page.status, page.notices[0].split(";")[0]) == (422, "Choose what is to be deleted")
    assert site.queue == []


async def test_more_than_was_shown_is_not_deleted(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    form = (await asked(site, "pause", "users")).form()
    site.world.person("Bob Crane")
    await site.world.run()
    page = await site.press(form, "Pause users", delete__users="on")
    assert page.status == 422
    assert page.says("There are 2 extensions now")
    assert page.form().control("delete-users").has("checked")
    assert (await site.connection.health.load()).paused == []
    again = await site.press(page.form(), "Pause users")
    assert again.path.startswith("/console/runs/")


async def test_resuming_starts_a_full_run(site: Site) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    await site.press((await asked(site, "pause", "users")).form(), "Pause users")
    page = await site.press((await asked(site, "resume", "users")).form(), "Resume users")
    assert page.path.startswith("/console/runs/")
    assert (await site.connection.health.load()).paused == []
    assert [message.task for message in site.queue] == ["run"]
    assert "users.resumed" in [entry.action for entry in await site.trail()]


async def test_groups_are_paused_apart_from_users(site: Site) -> None:
    await synced(site, "Ada Byron", groups=True)
    await site.sign_in()
    page = await asked(site, "pause", "groups")
    assert page.root.one("legend").text == "The extension groups of synchronized groups: 1"
    await site.press(page.form(), "Pause groups")
    assert (await site.connection.health.load()).paused == ["groups"]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("resume?what=users", "The synchronization of users is not paused."),
        ("enable", "The integration is not disabled."),
    ],
)
async def test_what_is_not_stopped_cannot_go_on(site: Site, action: str, words: str) -> None:
    await site.sign_in()
    page = await site.get(f"{PATH}/{action}")
    assert page.notices == [words]
    assert page.forms == []
    answer = await site.post(f"{PATH}/{action.partition('?')[0]}", {"what": "users"})
    assert answer.status == 422
    assert await site.trail() == []


@pytest.mark.parametrize("address", ["pause", "pause?what=contacts", "resume", "explode", "explode?what=users"])
async def test_addresses_that_name_nothing_are_not_found(site: Site, address: str) -> None:
    await site.sign_in()
    assert (await site.get(f"{PATH}/{address}")).status == 404


async def test_hostile_names_among_what_would_be_deleted_are_shown_as_they_are(site: Site) -> None:
    await site.world.secrets()
    site.world.person("x", displayName=HOSTILE)
    [message] = await site.world.enable()
    await site.world.execute(message)
    await site.sign_in()
    page = await asked(site, "disable")
    assert HOSTILE not in page.html
    assert escaped("<script>") in page.html


# Disabling and enabling


async def test_disabling_and_enabling(site: Site) -> None:
    await synced(site, "Ada Byron", groups=True)
    await site.sign_in()
    page = await asked(site, "disable")
    assert [legend.text for legend in page.root.all("legend")] == [
        "The extensions of synchronized users: 1",
        "The extension groups of synchronized groups: 1",
    ]
    page = await site.press(page.form(), "Disable", delete__groups="on")
    assert page.path.startswith("/console/runs/")
    await site.work()
    assert site.world.pbx_groups() == []
    assert len(site.world.extensions()) == 1
    page = await site.get(PATH)
    assert page.heading == "Connection Disabled"
    assert page.form(f"{PATH}/setup-key").buttons == []
    page = await site.press((await asked(site, "enable")).form(), "Enable")
    assert page.path.startswith("/console/runs/")
    assert not (await site.connection.health.load()).disabled
    assert {entry.action for entry in await site.trail()} == {"integration.disabled", "integration.enabled"}


async def test_deleting_without_a_pbx_is_refused_in_words(site: Site) -> None:
    await site.world.staff(1)
    await site.sign_in()
    form = (await asked(site, "disable")).form()
    page = await site.press(form, "Disable", delete__users="on")
    assert page.status == 409
    assert page.notices[0].startswith("Nothing can be deleted on the PBX yet.")
    assert not (await site.connection.health.load()).disabled


# Disconnecting


@pytest.mark.parametrize("typed", ["", "yes", "Disconnect it"])
async def test_disconnecting_without_the_word_is_refused(site: Site, typed: str) -> None:
    await synced(site, "Ada Byron")
    await site.sign_in()
    page = await site.press((await asked(site, "disconnect")).form(), "Disconnect", confirmation=typed)
    assert page.status == 422
    assert page.says(f"type {TENANT_ID} or disconnect")
    assert len(await site.world.links()) == 1


@pytest.mark.parametrize("typed", ["disconnect", "DISCONNECT ", TENANT_ID.upper()])
async def test_disconnecting_forgets_the_connection_and_who_was_in(site: Site, typed: str) -> None:
    await synced(site, "Ada Byron")
    await account(site)
    await further_account(site, site.world.person("Ben Birch"))
    await site.sign_in()
    copy = site.cookies[COOKIE]
    page = await site.press((await asked(site, "disconnect")).form(), "Disconnect", confirmation=typed)
    assert (page.heading, page.notices) == ("Sign in", ["Disconnected."])
    assert await site.world.links() == []
    assert len(site.world.extensions()) == 1
    assert await read_account(place_of(site.connection)) is None
    assert await further_accounts(place_of(site.connection)) == []
    assert (await site.settings()).users == Settings().users
    site.cookies[COOKIE] = copy
    assert (await site.get(PATH, follow=False)).status == 303
    assert (await site.trail())[0].action == "connection.ended"


async def test_disconnecting_with_deletion_follows_the_run(site: Site) -> None:
    await synced(site, "Ada Byron", groups=True)
    await site.sign_in()
    form = (await asked(site, "disconnect")).form()
    page = await site.press(form, "Disconnect", confirmation="disconnect", delete__users="on", delete__groups="on")
    assert page.path.startswith("/console/runs/")
    assert "The connection is being ended." in (await site.get(PATH)).notices
    await site.work()
    assert (site.world.extensions(), site.world.pbx_groups()) == ({}, [])
    [entry] = await site.trail()
    assert entry.after == "deletes 1 extension and 1 extension group"


# The words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_page_says_what_will_happen_in_sentences(action: Any, kind: Any) -> None:
    page = decision(action, kind)
    assert len(page.effects) >= 2
    assert all(words.endswith(".") for words in page.effects)
    assert bool(page.keeps) == bool(page.kinds)
