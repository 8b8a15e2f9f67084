"""The overview: the state and what it needs, in words, from what is really stored."""

import datetime

import msgspec
import pytest

from console.mending import mend
from console.overview import account_fact, credential, under_way
from console.plain import plain
from sso.account import Account
from store.document import Microsoft, Settings
from store.health import Health, PbxFacts, Reason
from store.runs import Run, Status, run_id
from store.subscriptions import Resource, Subscription, SubscriptionStore
from sync import lifecycle
from sync import status as engine_status
from sync.service import request_run
from sync.status import SecretExpiry, read_status
from tests.console.site import HOSTILE, Site


async def synced(site: Site, people: int = 3) -> Run:
    """Some people and a group on the PBX, by a first run."""
    world = site.world
    ids = world.people(people)
    world.group("Sales", *ids)
    return await world.first_sync()


async def remember(site: Site, **changes: object) -> None:
    """Change the memory of the connection."""
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, **changes))


async def test_before_everything_the_page_leads_to_connecting(site: Site) -> None:
    await site.sign_in()
    page = await site.get("/console")
    assert page.status == 200
    assert page.heading == "Overview Not connected"
    assert page.links["Connect"] == "/connect"
    assert "The client secret of the Entra application is not stored yet" in page.main
    assert "/api/" not in page.main
    assert "There was none yet" in page.main
    assert not page.forms


async def test_a_connection_that_works_shows_its_state_its_runs_and_its_capacity(site: Site) -> None:
    run = await synced(site)
    await site.sign_in()
    page = await site.get("/console")
    assert page.heading == "Overview Connected"
    assert page.root.one("h1").one(class_="badge")["class"] == "badge good"
    assert f"/console/runs/{run.id}" in page.links.values()
    figures = [cell.text for cell in page.root.one(class_="figures").all("dd")]
    assert figures == ["3", "1"]
    meter = page.root.one("meter")
    facts = (await site.connection.health.load()).pbx
    assert facts is not None
    assert f"{facts.extension_used} of 500 extensions are in use" in page.main
    assert (meter["max"], meter["value"]) == (str(facts.extension_capacity), str(facts.extension_used))


async def test_times_are_those_of_the_schedules_time_zone(site: Site) -> None:
    await synced(site)
    await site.world.settings(
        lambda document: document["schedule"].update(time_zone="Asia/Tokyo", at="05:15", kind="daily")
    )
    await site.sign_in()
    page = await site.get("/console")
    assert "2026-03-03 05:15, in" in page.main
    assert "Times in Asia/Tokyo" in page.main


async def test_the_changes_of_the_last_days_are_a_drawing_and_a_table_that_say_the_same(site: Site) -> None:
    await synced(site)
    await site.sign_in()
    page = await site.get("/console")
    drawing = page.root.one("svg", role="img")
    assert drawing["aria-label"] == "4 created in the last 30 days."
    assert [block["class"] for block in drawing.all("rect")] == ["created"]
    assert ["2026-03-02", "4"] in page.rows
    assert [one.text for one in page.root.one(class_="legend").all("li")] == ["Created"]


async def test_without_changes_there_is_a_sentence_and_no_empty_drawing(site: Site) -> None:
    await site.sign_in()
    page = await site.get("/console")
    assert "Nothing changed in the last 30 days." in page.main
    assert not page.root.all("svg")


async def test_an_administrator_updates_now_and_sees_how_far_it_is(site: Site) -> None:
    await synced(site)
    await site.sign_in()
    page = await site.get("/console")
    followed = await site.press(page.form("/console/runs"), "Update now")
    assert followed.status == 200
    assert followed.path.startswith("/console/runs/")
    [message] = site.queue
    page = await site.get("/console")
    live = page.root.one(id="live")
    assert live["hx-get"].startswith(f"/console/live?run={message.run}")
    assert live.one("progress")["aria-label"]
    part = await site.get(live["hx-get"], part=True)
    assert part.status == 200
    assert part.root.one(id="live")["hx-trigger"] == "every 1s"
    assert not part.root.all("html")
    await site.work()
    ended = await site.get(live["hx-get"], part=True)
    assert ended.status == 204
    assert ended.headers["hx-redirect"] == "/console"
    assert not (await site.get("/console")).root.all(id="live")


async def test_progress_without_scripts_is_the_overview_itself(site: Site) -> None:
    await synced(site)
    run, _ = await request_run(site.connection, site.world.tell(), started_by="console")
    await site.sign_in()
    page = await site.get(f"/console/live?run={run.id}")
    assert (page.status, page.path) == (200, "/console")


@pytest.mark.parametrize("query", ["", "?run=", "?run=none", "?run=../secrets", "?run=%00"])
async def test_progress_of_a_run_that_does_not_exist_is_not_found(site: Site, query: str) -> None:
    await site.sign_in("reader")
    assert (await site.get(f"/console/live{query}", part=True)).status == 404


async def test_a_reader_sees_the_button_disabled_with_the_reason(site: Site) -> None:
    await synced(site)
    await site.sign_in("reader")
    page = await site.get("/console")
    form = page.form("/console/runs")
    assert form.buttons == []
    described = page.root.one("fieldset")["aria-describedby"]
    assert "may look only" in page.root.one(id=described).text


async def test_what_is_paused_is_said_with_the_way_to_resume_it(site: Site) -> None:
    await synced(site)
    await lifecycle.pause(site.connection, "users", site.world.tell())
    await site.sign_in()
    page = await site.get("/console")
    assert page.heading == "Overview Paused"
    assert any("synchronization of users is paused" in notice for notice in page.notices)
    assert page.links["Resume it on the page Connection"] == "/console/connection"


async def test_what_is_disabled_is_said_and_nothing_can_be_started(site: Site) -> None:
    await synced(site)
    await lifecycle.disable(site.connection, [], site.world.tell())
    await site.sign_in()
    page = await site.get("/console")
    assert page.heading == "Overview Disabled"
    assert not page.forms
    assert "None is planned" in page.main


async def test_held_deletions_lead_to_the_run_that_holds_them(site: Site) -> None:
    await synced(site, people=30)
    await site.world.settings(lambda document: document["guard"].update(max_deletions=1))
    for user in [link.object_id for link in await site.world.links()][:5]:
        site.world.delete_user(user)
    run = await site.world.sync()
    await site.sign_in()
    page = await site.get("/console")
    assert page.heading == "Overview Needs attention"
    assert page.links["Decide"] == f"/console/runs/{run.id}"
    assert "5 deletions wait for a decision." in page.main
    assert "/api/" not in page.main
    assert [one.text for one in page.root.one(class_="figures").all("dd")][2:] == ["5"]


async def test_a_rejected_secret_names_the_page_where_it_is_replaced(site: Site) -> None:
    await synced(site)
    await site.connection.secrets.write("entra-client-secret", "wrong")
    await site.world.run()
    await site.sign_in()
    page = await site.get("/console")
    assert page.heading == "Overview Needs attention"
    assert page.links["Replace the credential"] == "/console/connection"


async def test_notifications_are_working_while_graph_knows_the_subscriptions(site: Site) -> None:
    await synced(site)
    store = SubscriptionStore(site.connection.tables, site.connection.id)
    end = (site.world.now + datetime.timedelta(days=1)).isoformat(timespec="seconds")
    resources: tuple[Resource, ...] = ("users", "groups")
    for resource in resources:
        record = Subscription(resource=resource, state="live", id=resource, expires_at=end)
        await store.save(record)
    await site.sign_in()
    page = await site.get("/console")
    assert page.says("Working")
    assert page.says("Microsoft reports changes of users and groups within seconds.")
    await site.world.settings(lambda document: document["groups"].update(enabled=False))
    assert (await site.get("/console")).says("Microsoft reports changes of users within seconds.")
    site.passes(hours=3)
    assert "Working" in (await site.get("/console")).main


async def test_notifications_that_graph_refused_say_why_and_what_happens_instead(site: Site) -> None:
    await synced(site)
    store = SubscriptionStore(site.connection.tables, site.connection.id)
    await store.save(Subscription(resource="users", state="gone", last_error=f"Graph said {HOSTILE}."))
    await site.sign_in()
    page = await site.get("/console")
    assert "Not working" in page.main
    assert f"Graph said {HOSTILE}." in page.main
    assert "every 60 minutes" in page.main
    assert "<script>alert" not in page.html


async def test_reasons_are_escaped(site: Site) -> None:
    await synced(site)
    await remember(site, reasons=[Reason("internal", HOSTILE, HOSTILE, "2026-03-02T08:00:00+00:00")])
    await site.sign_in()
    page = await site.get("/console")
    assert HOSTILE in page.main
    assert "<script>alert" not in page.html


async def test_a_meter_without_any_licence_is_still_a_meter(site: Site) -> None:
    await remember(site, pbx=PbxFacts(extension_capacity=0, extension_used=0, read_at="2026-03-02T08:00:00+00:00"))
    await site.sign_in()
    assert (await site.get("/console")).root.one("meter")["max"] == "1"


async def test_the_run_that_works_is_shown_before_one_that_waits(site: Site) -> None:
    now = site.world.tell()
    statuses: tuple[Status, ...] = ("succeeded", "running", "queued")
    for minute, status in enumerate(statuses):
        at = now + datetime.timedelta(minutes=minute)
        run = Run(id=run_id(at, status[:6].encode().hex()), what=["users"], mode="full", status=status,
                  started_by="api", requested_at=at.isoformat())  # fmt: skip
        await site.connection.runs.create(run)
    found = await under_way(site.connection)
    assert found is not None
    assert found.status == "running"


async def test_a_preview_is_not_shown_as_a_run_under_way(site: Site) -> None:
    await request_run(site.connection, site.world.tell(), started_by="console", preview=True)
    assert await under_way(site.connection) is None


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("setting_missing", "/connect"),
        ("secret_missing", "/connect"),
        ("graph_consent_missing", "/connect"),
        ("sign_in_needed", "/connect"),
        ("entra_credentials_rejected", "/console/connection"),
        ("entra_secret_wrong", "/console/connection"),
        ("entra_tenant_unknown", "/connect"),
        ("entra_federation_mismatch", "/console/connection"),
        ("pbx_credentials_rejected", "/console/connection"),
        ("pbx_unreachable", "/console/connection"),
        ("secret_expires", "/console/connection"),
        ("removal_incomplete", "/console/connection"),
        ("scope_group_missing", "/console/users"),
        ("groups_unavailable", "/console/groups"),
        ("internal", "/console/runs/77777777777777-abcdef"),
    ],
)
def test_each_reason_leads_to_the_page_that_mends_it(code: str, address: str) -> None:
    link = mend(Reason(code, "It stopped."), Health(last_run="77777777777777-abcdef")).link
    assert link is not None
    assert link[1] == address


@pytest.mark.parametrize("code", ["key_vault", "misconfigured", "storage_denied"])
def test_what_is_mended_in_azure_has_no_link(code: str) -> None:
    assert mend(Reason(code, "It stopped."), Health(last_run="77777777777777-abcdef")).link is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Store it: PUT /api/secrets/entra-client-secret.", "Store it."),
        ("Disconnect first: POST /api/disconnect. Or wait.", "Disconnect first. Or wait."),
        ("The settings lack /pbx/fqdn.", "The settings lack the address of the PBX."),
        ("Look at what run 98227553999999-a1b2c3 holds.", "Look at what the run holds."),
        ("Try again in 5 minutes.", "Try again in 5 minutes."),
    ],
)
def test_advice_for_programs_is_left_out(text: str, words: str) -> None:
    assert plain(text) == words


def test_the_account_is_told_with_what_it_needs() -> None:
    account = Account("t", "o", "Ada", "ada@contoso.example", "2026-03-01T10:00:00.000+00:00", "valid", "", [])
    assert account_fact(account).sentence == "ada@contoso.example, since 2026-03-01."
    lost = msgspec.structs.replace(account, state="needs_sign_in", reason="The password was changed.")
    assert account_fact(lost).colour == "bad"
    assert account_fact(lost).sentence == "ada@contoso.example has to sign in again. The password was changed."
    assert account_fact(lost).link == ("Sign in again", "/connect")
    assert account_fact(None).word == "None"


@pytest.mark.parametrize(
    ("days", "colour", "sentence"),
    [
        (-1, "bad", "It expired on 2027-01-01."),
        (1, "warn", "It expires on 2027-01-01, in 1 day."),
        (30, "warn", "It expires on 2027-01-01, in 30 days."),
        (31, "good", "It expires on 2027-01-01, in 31 days."),
    ],
)
async def test_the_end_of_the_credential_is_coloured_in_time(site: Site, days: int, colour: str, sentence: str) -> None:
    status = await _status(site, SecretExpiry("2027-01-01T00:00:00Z", days))
    fact = credential(status, Settings())
    assert (fact.colour, fact.sentence) == (colour, sentence)


async def test_a_managed_identity_has_nothing_that_runs_out(site: Site) -> None:
    settings = Settings(microsoft=Microsoft(credential="federated"))
    assert credential(await _status(site, None), settings).colour == "good"
    assert credential(await _status(site, None), Settings()).word == "Not known"


async def _status(site: Site, expiry: SecretExpiry | None) -> engine_status.Status:
    return msgspec.structs.replace(await read_status(site.connection, site.world.now), secret_expiry=expiry)


async def test_without_a_public_address_the_page_says_that_nothing_is_announced(site: Site) -> None:
    await synced(site)
    await site.deploy(public_base_url="http://bridge.example")
    await site.sign_in()
    page = await site.get("/console")
    assert "PUBLIC_BASE_URL has to be an https address" in page.main
