"""The rules for presence and how it does now: what is stored, typed, previewed, saved, and what stands in the way."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from console.presence_preview import forecast
from console.presence_state import MOST
from console.presence_words import CHOICES, GROUPS, TEAMS
from presence import report
from presence.mapping import STATES
from store.document import Presence, PresenceMap
from store.errors import StoreUnavailable
from store.presence import Preference, Teams, UserPresence
from tests.console.page import Page
from tests.console.presence import Office
from tests.console.records import has_notice
from tests.console.rules import opened, searched, sent, stored, values
from tests.console.site import HOSTILE, ORIGIN, Site

PATH = "/console/presence"
STATE = f"{PATH}/state"
NOBODY = "00000000-0000-4000-8000-000000000000"
SCOPE = "Presence.Read.All"
STORAGE = StoreUnavailable("Table Storage does not answer")


@pytest.fixture
async def office(site: Site) -> AsyncIterator[Office]:
    """An administrator at the browser; nobody has an extension yet."""
    await site.sign_in()
    office = Office(site)
    yield office
    await office.close()


async def saved(site: Site) -> Presence:
    return (await site.settings()).presence


def figures(page: Page) -> dict[str, str]:
    """The figures of the state, by what they are about."""
    blocks = page.root.one(id="state").one("dl", class_="figures").all("div")
    return {block.one("dt").text: block.one("dd").text for block in blocks}


def state(page: Page) -> str:
    """The state in a word."""
    return page.root.one(id="state").all(class_="badge")[0].text


def choice(page: Page, name: str) -> str:
    """What a state of Teams is mapped to on the page."""
    return page.form(PATH)[f"/presence/default_map/{name}"]


# The rules


async def test_the_page_shows_what_is_stored(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    chosen = {**msgspec.to_builtins(PresenceMap()), "Busy": "do_not_disturb", "Offline": "off_work", "Away": "lunch"}
    await stored(
        site, "presence", users="groups", group_ids=[sales], poll_seconds=45, respect_manual=False, default_map=chosen
    )
    await site.sign_in()
    page = await site.get(PATH)
    form = page.form(PATH)
    assert form["/presence/users"] == "groups"
    assert form["/presence/group_ids"] == sales
    assert page.root.one(id="picker").one("ul").text == "Sales Remove Sales"
    assert form["/presence/poll_seconds"] == "45"
    assert values(form, "/presence/respect_manual") == []
    assert values(form, "/presence/enabled") == []
    assert {name: choice(page, name) for name in chosen} == chosen


def test_every_state_of_teams_has_a_row_and_words_of_its_own() -> None:
    assert sorted(TEAMS) == sorted(STATES)
    for group in GROUPS:
        assert len(set(group.states.values())) == len(group.states)


async def test_each_state_is_offered_the_six_statuses_or_nothing_under_a_label(site: Site) -> None:
    await site.sign_in()
    page = await site.get(PATH)
    labels = {label["for"]: label.text for label in page.root.all("label")}
    for name, words in TEAMS.items():
        box = page.root.one("select", name=f"/presence/default_map/{name}")
        assert labels[box["id"]] == words
        assert [option["value"] for option in box.all("option")] == list(CHOICES)
    assert page.says("Calls do not ring on the extension.")
    assert [legend.text for legend in page.root.all("legend")][-5:] == [group.title for group in GROUPS]


async def test_every_member_of_the_rules_has_a_labelled_field(site: Site) -> None:
    await stored(site, "presence", users="groups", group_ids=[NOBODY])
    await site.sign_in()
    page = await site.get(PATH)
    document = msgspec.to_builtins(await saved(site))
    members = {
        f"/presence/{name}" + (f"/{inner}" if inner else "")
        for name, value in document.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert members <= page.form(PATH).names
    labels = {label["for"] for label in page.root.all("label")}
    for control in page.root.one("main").all("input", "select"):
        is_labelled = control["id"] in labels or any(one.name == "label" for one in control.above())
        assert control["type"] == "hidden" or is_labelled, control


async def test_what_is_typed_is_saved_and_recorded(site: Site) -> None:
    await site.sign_in()
    before = await site.settings()
    page = await sent(
        site, await opened(site, "presence"), presence__enabled="yes", presence__users="opt_in",
        presence__poll_seconds="60", presence__respect_manual=[], presence__default_map__Offline="off_work",
        presence__default_map__InACall="do_not_disturb",
    )  # fmt: skip
    assert page.path == f"{PATH}?done=presence-saved"
    assert page.says("Saved. Extensions follow these rules within half a minute.")
    after = await site.settings()
    chosen = PresenceMap(offline="off_work", in_a_call="do_not_disturb")
    assert after.presence == Presence(
        enabled=True, users="opt_in", poll_seconds=60, respect_manual=False, default_map=chosen
    )
    assert msgspec.structs.replace(after, presence=before.presence) == before
    [entry] = [entry for entry in await site.trail() if entry.action == "settings.saved"]
    assert entry.object == "/presence"
    assert msgspec.json.decode(entry.before, type=Presence) == before.presence
    assert msgspec.json.decode(entry.after, type=Presence) == after.presence


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"presence__poll_seconds": "9"}, "presence-poll_seconds", "has to be 10 or more"),
        ({"presence__poll_seconds": "3601"}, "presence-poll_seconds", "has to be 3600 or less"),
        ({"presence__poll_seconds": HOSTILE}, "presence-poll_seconds", "has to be a whole number"),
        ({"presence__users": "nobody"}, "presence-users", "has to be one of all, groups, opt_in"),
        ({"presence__users": "groups"}, "presence-group_ids", "has to name at least one group"),
        ({"presence__group_ids": [HOSTILE]}, "presence-group_ids", "has to be the object id of a group"),
        ({"presence__default_map__Busy": "asleep"}, "presence-default_map-Busy", "has to be one of"),
        ({"presence__default_map__Busy": HOSTILE}, "presence-default_map-Busy", "has to be one of"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_fault_is_told_at_its_field_and_everything_typed_is_kept(
    site: Site, typed: dict[str, Any], field: str, words: str
) -> None:
    await site.sign_in()
    form = await opened(site, "presence")
    page = await sent(site, form, **{"presence__enabled": "yes", "presence__default_map__Away": "lunch", **typed})
    assert page.status == 422
    assert words in page.root.one(id=f"fault-{field}").text
    assert len(page.faults) == 1
    assert page.form(PATH)["/presence/enabled"] == "yes"
    assert choice(page, "Away") == "lunch"
    for name, value in typed.items():
        if name.endswith(("seconds", "Busy")):
            assert page.form(PATH)[f"/{name.replace('__', '/')}"] == value
    assert not page.root.all("img")
    assert await site.settings() == site.connection.settings.first


async def test_groups_are_found_added_and_removed_without_scripts(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    page = await searched(site, await opened(site, "presence"), "sales")
    page = await site.press(page.form(PATH), "Add Sales")
    assert values(page.form(PATH), "/presence/group_ids") == [sales]
    await sent(site, page.form(PATH), presence__users="groups")
    assert (await saved(site)).group_ids == [sales]
    page = await site.press((await site.get(PATH)).form(PATH), "Remove Sales")
    assert values(page.form(PATH), "/presence/group_ids") == []


async def test_scripts_get_only_the_picker(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    form = await opened(site, "presence")
    part = await searched(site, form, "sales", part=True)
    assert [item.text for item in part.root.all("li")] == ["Sales Security group Add Sales"]
    pairs = [pair for pair in form.values() if pair[0] != "search"]
    added = await site.post(PATH, [*pairs, ("add", sales)], part=True)
    assert [one["value"] for one in added.root.all("input", name="/presence/group_ids")] == [sales]
    assert added.heading == ""


async def test_a_save_after_somebody_else_s_tells_what_they_changed_and_the_next_one_wins(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "presence")
    await stored(site, "presence", poll_seconds=90)
    page = await sent(site, form, presence__default_map__InAMeeting="do_not_disturb")
    assert page.status == 409
    [notice] = [notice for notice in page.notices if "somebody else changed" in notice]
    assert "Seconds between two looks /presence/poll_seconds: 90" in notice
    assert choice(page, "InAMeeting") == "do_not_disturb"
    assert await saved(site) == Presence(poll_seconds=90)
    await sent(site, page.form(PATH))
    assert await saved(site) == Presence(default_map=PresenceMap(in_a_meeting="do_not_disturb"))


async def test_a_reader_sees_the_rules_and_cannot_change_them(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert page.says("Bridge.Admin")
    assert page.form(PATH).values() == []
    assert page.form(PATH).buttons == []
    for act in ("save", "preview", "search"):
        assert (await site.post(PATH, {"/presence/enabled": "yes", "act": act})).status == 403
    assert await site.settings() == site.connection.settings.first


async def test_a_form_without_the_token_is_refused(site: Site) -> None:
    await site.sign_in()
    pairs = [pair for pair in (await opened(site, "presence")).values("Save") if pair[0] != "csrf"]
    assert (await site.post(PATH, [*pairs, ("csrf", "wrong")])).status == 403
    assert await site.settings() == site.connection.settings.first


async def test_while_the_integration_is_disabled_the_form_is_read_only_and_says_why(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "presence")
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, disabled=True))
    page = await site.get(PATH)
    assert has_notice(page, "The integration is disabled")
    assert page.form(PATH).buttons == []
    late = await sent(site, form, presence__poll_seconds="60")
    assert late.status == 409
    assert late.form(PATH).control("/presence/poll_seconds")["value"] == "60"
    assert await saved(site) == Presence()


async def test_names_of_groups_that_are_markup_stay_names(site: Site) -> None:
    evil = site.world.group(f"Sales {HOSTILE}")
    await site.world.secrets()
    await stored(site, "presence", users="groups", group_ids=[evil])
    await site.sign_in()
    page = await searched(site, await opened(site, "presence"), "Sales")
    assert page.says(f"Sales {' '.join(HOSTILE.split())}")
    assert "<img" not in page.html


# The preview


async def test_a_preview_counts_what_the_rules_as_typed_would_do_and_changes_nothing(office: Office) -> None:
    ann, bob, cas, dan, eve = await office.open("Ann", "Bob", "Cas", "Dan", "Eve")
    await office.teams(ann, "Busy")
    await office.teams(bob, "DoNotDisturb")
    office.choose("1002", "lunch")
    await office.teams(cas, "Away")
    office.choose("1003", "available", "Fire drill")
    await office.teams(dan, "Busy")
    await office.put(eve, preference=Preference(follows=False, set_by="person"))
    shown = office.shown()
    form = await opened(office.site, "presence")
    page = await sent(office.site, form, "Preview", presence__default_map__Busy="business_trip")
    assert page.status == 200
    preview = page.root.one(id="preview")
    assert "4 users follow Teams, and 1 of their extensions would change. Nothing was saved" in preview.text
    assert [row for row in page.rows if row[0] in {"Business trip", "Do not disturb"}][:2] == [
        ["Business trip", "1", "0"],
        ["Do not disturb", "0", "1"],
    ]
    assert [one.text for one in preview.all("li")] == [
        "Somebody chose another status on the phone: 1",
        "A custom presence is set: 1",
    ]
    assert "1 more do not follow Teams" in preview.text
    assert choice(page, "Busy") == "business_trip"
    assert await saved(office.site) == Presence(enabled=True)
    assert office.shown() == shown
    assert [entry.action for entry in await office.site.trail()] == []


async def test_what_the_preview_says_is_what_saving_does(office: Office) -> None:
    ids = await office.open("Ann", "Bob", "Cas")
    for object_id in ids:
        await office.teams(object_id, "Busy")
    form = await opened(office.site, "presence")
    page = await sent(office.site, form, "Preview", presence__default_map__Busy="lunch")
    assert ["Lunch break", "3", "0"] in page.rows
    await sent(office.site, page.form(PATH))
    await office.poll()
    assert list(office.shown().values()) == ["lunch"] * 3
    page = await sent(office.site, await opened(office.site, "presence"), "Preview")
    assert ["Lunch break", "0", "3"] in page.rows


async def test_a_preview_before_presence_is_on_counts_who_would_follow(office: Office) -> None:
    await office.open("Ann", "Bob", enabled=False)
    page = await sent(office.site, await opened(office.site, "presence"), "Preview", presence__enabled=[])
    assert page.says("2 users follow Teams, and 0 of their extensions would change.")
    assert page.says("Presence is off in these rules")
    assert page.says("It is not known yet what Teams shows: 2")


async def test_a_preview_by_groups_asks_who_is_in_them(office: Office) -> None:
    ann, _ = await office.open("Ann", "Bob")
    sales = office.site.world.group("Sales", ann)
    form = await opened(office.site, "presence")
    typed: dict[str, Any] = {"presence__users": "groups", "presence__group_ids": [sales, NOBODY]}
    page = await sent(office.site, form, "Preview", **typed)
    assert page.root.one(id="preview").one("p", role="status").text.startswith("1 user follows Teams")


async def test_a_preview_that_needs_a_tenant_that_cannot_be_asked_says_so(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "presence")
    page = await sent(site, form, "Preview", presence__users="groups", presence__group_ids=[NOBODY])
    assert page.status == 200
    assert has_notice(page, "That cannot be told now.")


async def test_faults_are_told_before_anything_is_previewed(site: Site) -> None:
    await site.sign_in()
    page = await sent(site, await opened(site, "presence"), "Preview", presence__poll_seconds="0")
    assert page.status == 422
    assert page.root.all(id="preview") == []


@pytest.mark.parametrize(
    ("users", "preference", "is_member", "follows"),
    [
        ("all", Preference(), False, True),
        ("all", Preference(follows=False, set_by="person"), False, False),
        ("groups", Preference(), True, True),
        ("groups", Preference(), False, False),
        ("groups", Preference(follows=True, set_by="administrator"), False, True),
        ("opt_in", Preference(), True, False),
        ("opt_in", Preference(follows=True, set_by="person"), False, True),
    ],
)
def test_the_preview_follows_whom_the_rules_follow(
    users: Any, preference: Preference, is_member: bool, follows: bool
) -> None:
    row = UserPresence(object_id="ann", preference=preference, teams=Teams("Away", "Away"), heard_at="2026")
    found = forecast([row], ["ann"], Presence(users=users), {"ann"} if is_member else set())
    assert found.followed == int(follows)
    assert [line.words for line in found.lines] == (["Away"] if follows else [])


# How it does


async def test_while_presence_is_off_the_page_says_only_that(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert state(page) == "Off"
    assert page.root.one(id="state").all("dl") == []
    assert not [notice for notice in page.notices if "connect" in notice]


async def test_the_figures_are_those_of_what_is_stored(office: Office) -> None:
    ann, bob, cas = await office.open("Ann", "Bob", "Cas")
    await office.teams(cas, "Busy")
    await office.signed_in(SCOPE)
    await office.announce(ann, bob)
    await office.put(ann, teams=Teams("Away", "Away"), heard_at="2026-03-02T09:00:30.000+00:00", source="notification")
    await office.put(bob, is_pending=True)
    page = await office.site.get(PATH)
    assert state(page) == "Working"
    assert page.says(
        "Changes of 2 of 3 users arrive within seconds; about the other 1 Microsoft is asked every 30 seconds."
    )
    told = figures(page)
    assert [told[name] for name in ("Follow Teams", "Announced by Microsoft", "Asked about", "Being written")] == [
        "3", "2", "1", "1",
    ]  # fmt: skip
    assert told["Delay: half within"].endswith(" s")
    assert page.says("2026-03-02 09:00, ")
    [row] = [row for row in page.rows if len(row) == 5]
    assert row == ["tim@contoso.example", "Announced", "2", row[3], "The presence comes along."]
    assert [note for note in page.notices if "/connect" in note] == []


async def test_a_covered_staff_is_told_so_and_polling_is_not_mentioned(office: Office) -> None:
    [ann] = await office.open("Ann")
    await office.signed_in(SCOPE)
    await office.announce(ann, certificate_id="")
    page = await office.site.get(PATH)
    assert page.says("Changes of 1 user arrive within seconds.")
    assert page.says("The presence is read after each announcement.")


@pytest.mark.parametrize(
    ("account", "words", "link"),
    [
        (None, "nobody has signed in for the bridge yet", "Sign in with Microsoft"),
        ({"state": "needs_sign_in", "reason": "The password changed."}, "has to sign in again", "Sign in again"),
        ({}, "The delegated permission Presence.Read.All is not granted", "Grant the permissions"),
    ],
    ids=["nobody", "ended", "not granted"],
)
async def test_what_keeps_microsoft_from_announcing_is_told_with_the_way_to_mend_it(
    office: Office, account: dict[str, Any] | None, words: str, link: str
) -> None:
    await office.open("Ann")
    if account is not None:
        await office.signed_in(**account)
    page = await office.site.get(PATH)
    assert state(page) == "Working, slower"
    [notice] = [notice for notice in page.notices if words in notice]
    assert "Presence works all the same, by asking, which is slower." in notice
    assert page.links[link] == "/connect"


async def test_an_address_that_microsoft_cannot_reach_is_told(office: Office) -> None:
    await office.open("Ann")
    await office.site.deploy(public_base_url="http://bridge.example")
    await office.site.sign_in()
    page = await office.site.get(PATH)
    assert has_notice(page, "The app setting PUBLIC_BASE_URL has to be an https address.")
    assert page.links["How the bridge is reached"] == "/connect"
    await office.site.deploy(public_base_url=ORIGIN)


async def test_a_subscription_that_failed_says_why(office: Office) -> None:
    await office.open("Ann")
    await office.signed_in(SCOPE)
    await office.announce(state="gone", last_error="Microsoft Graph cannot reach the address")
    page = await office.site.get(PATH)
    [row] = [row for row in page.rows if len(row) == 5]
    assert row[:3] == ["tim@contoso.example", "Not announced", "0"]
    assert row[4] == "Microsoft Graph cannot reach the address."


async def test_further_accounts_are_named_and_asked_for_when_there_are_too_many_users(office: Office) -> None:
    ids = await office.open("Ann")
    further = "00000000-0000-4000-8000-00000000000b"
    await office.signed_in(SCOPE)
    await office.announce(*ids)
    many = [f"00000000-0000-4000-8001-{number:012}" for number in range(MOST)]
    await office.room.store.change(many, lambda key, _: UserPresence(object_id=key, is_followed=True))
    page = await office.site.get(PATH)
    assert has_notice(page, "Each account hears of at most 650 users")
    assert page.links["Connect a further account"] == "/connect"
    await office.signed_in(SCOPE, further=further, object_id=further, user_principal_name="ada@contoso.example")
    await office.announce(*many, account=further, id="another")
    page = await office.site.get(PATH)
    assert not has_notice(page, "Each account hears of at most 650 users")
    assert {row[0] for row in page.rows if len(row) == 5} == {"tim@contoso.example", "ada@contoso.example"}


async def test_graph_that_cannot_be_asked_is_the_first_thing_told(office: Office) -> None:
    await office.open("Ann")
    kept = await office.room.store.clock()
    clock = msgspec.structs.replace(kept.clock, last_error=f"no permission {HOSTILE}", polled_at="")
    assert await office.room.store.set_clock(clock, kept.etag)
    page = await office.site.get(PATH)
    assert state(page) == "Not working"
    assert page.root.one(id="state").all(class_="notice")[0].text.startswith("No permission <script>")
    assert "<img" not in page.html


async def test_a_disabled_integration_is_told(office: Office) -> None:
    await stored(office.site, "presence", enabled=True)
    await office.site.connection.health.update(lambda health: msgspec.structs.replace(health, disabled=True))
    page = await office.site.get(PATH)
    assert state(page) == "Disabled"
    assert page.links["Enable it"] == "/console/connection"


async def test_a_missing_connection_is_told(office: Office) -> None:
    await stored(office.site, "presence", enabled=True)
    await stored(office.site, "microsoft", tenant_id="", client_id="")
    page = await office.site.get(PATH)
    assert state(page) == "Waits"
    assert has_notice(page, "The bridge is not connected yet. Missing: the tenant")


async def test_nobody_with_an_extension_is_told(office: Office) -> None:
    await office.site.world.secrets()
    await office.switch_on()
    page = await office.site.get(PATH)
    assert state(page) == "Nobody yet"
    assert page.links["Synced users"] == "/console/users/list"


async def test_the_state_keeps_itself_up_to_date(office: Office) -> None:
    ann, _ = await office.open("Ann", "Bob")
    page = await office.site.get(PATH)
    part = page.root.one(id="state")
    assert (part["hx-get"], part["hx-trigger"], part["hx-swap"]) == (STATE, "every 5s", "outerHTML")
    assert page.root.one(id="stale").has("hidden")
    await office.put(ann, is_pending=True)
    anew = await office.site.get(STATE, part=True)
    assert anew.root.all("h1") == []
    assert figures(anew)["Being written"] == "1"
    assert anew.root.one(id="state")["hx-get"] == STATE
    assert (await office.site.get(STATE)).path == PATH


async def test_storage_that_fails_is_told_in_the_part_and_the_part_goes_on(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.open("Ann")

    async def failing(_: Any) -> None:
        raise STORAGE

    monkeypatch.setattr(report, "figures", failing)
    for page in (await office.site.get(STATE, part=True), await office.site.get(PATH)):
        assert page.status == 200
        assert state(page) == "Not known"
        assert "Table Storage does not answer" in page.root.one(id="state").text
        assert page.root.one(id="state")["hx-trigger"] == "every 5s"


async def test_the_state_takes_a_session(site: Site) -> None:
    part = await site.get(STATE, part=True)
    assert part.status == 401
    assert part.headers["hx-redirect"].startswith("/console/sign-in")


# On the overview


async def test_the_overview_tells_how_presence_does(office: Office) -> None:
    page = await office.site.get("/console")
    assert page.says("Presence Off No extension follows Teams. Presence")
    await office.open("Ann")
    page = await office.site.get("/console")
    assert page.says("Presence Working, slower Microsoft is asked about 1 user every 30 seconds.")
    assert page.says("nobody has signed in for the bridge yet")
    assert page.root.one("nav", aria_label="Sections").one("a", href=PATH).text == "Presence"
