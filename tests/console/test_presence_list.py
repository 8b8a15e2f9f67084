"""Presence of each user: what is shown, searched and kept up to date, and decisions about one or many."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from console.presence_list import A_PAGE, ACTS, NAMED, ONLY
from presence import report
from presence.mapping import STATES
from store.errors import StoreUnavailable
from store.presence import Preference, Teams, UserPresence
from tests.console.page import Form, Page
from tests.console.presence import Office, lines, names
from tests.console.records import has_notice
from tests.console.site import HOSTILE, Site

PATH = "/console/presence/users"
NOTHING = "\N{EN DASH}"
NOBODY = "00000000-0000-4000-8000-000000000000"
BY_PERSON = Preference(follows=False, set_by="person")
BY_ADMINISTRATOR = Preference(follows=False, set_by="administrator", set_at="2026-03-02T09:00:00+00:00")


@pytest.fixture
async def office(site: Site) -> AsyncIterator[Office]:
    await site.sign_in()
    office = Office(site)
    yield office
    await office.close()


async def ticked(office: Office, button: str, *object_ids: str, path: str = PATH) -> Page:
    """Tick these users on the list and press a button."""
    form = (await office.site.get(path)).form_with("Follow Teams")
    return await office.site.press(form, button, user=list(object_ids))


async def confirmed(office: Office, page: Page, typed: dict[str, str] | None = None) -> Page:
    """Press the button of the page that asks."""
    form = page.form(PATH)
    return await filled(office, form, form.buttons[0], typed or {})


async def filled(office: Office, form: Form, button: str, typed: dict[str, str]) -> Page:
    """Press a button with these fields, whose names are paths."""
    pairs = [(name, value) for name, value in form.values(button) if name not in typed]
    return await office.site.post(form.action, [*pairs, *typed.items()])


async def crowd(office: Office, number: int) -> list[str]:
    """So many users who are followed, as far as storage goes."""
    ids = [f"00000000-0000-4000-8001-{index:012}" for index in range(number)]

    def followed(key: str, _: UserPresence | None) -> UserPresence:
        index = int(key[-12:])
        return UserPresence(
            object_id=key, pbx_id=10_000 + index, number=str(10_000 + index), name=f"Person {index:05}",
            in_scope=True, is_followed=True,
        )  # fmt: skip

    await office.room.store.change(ids, followed)
    return ids


# The list


async def test_each_user_is_told_with_teams_the_extension_and_what_came_of_it(office: Office) -> None:
    ann, bob, cas = await office.open("Ann", "Bob", "Cas")
    await office.teams(ann, "DoNotDisturb")
    office.choose("1001", "lunch")
    await office.teams(bob, "Away")
    office.choose("1002", "available", "Fire drill")
    await office.teams(cas, "Busy")
    await office.announce(bob)
    page = await office.site.get(PATH)
    assert page.heading == "Presence of each user"
    assert page.root.one(id="total").text == "3 users."
    first, second, third = lines(page)
    assert first[:4] == ["Ann 1000, ann@contoso.example", "Do not disturb", "Do not disturb", "Asked about"]
    assert first[4].endswith("Set because of Teams")
    assert first[5].endswith(" s")
    assert first[6] == "On, by the rules"
    assert second[1:4] == ["Away", "Lunch break", "Announced"]
    assert second[4].endswith("Left alone: somebody chose it on the phone")
    assert second[5] == NOTHING
    assert third[1:3] == ["Busy", "Fire drill"]
    assert third[4].endswith("Left alone: a custom presence is set")
    assert page.links["Ann"] == f"{PATH}/{ann}"


@pytest.mark.parametrize(
    ("members", "column", "words"),
    [
        ({"outcome": "failed", "error": "The PBX refuses it."}, 4, "Failed The PBX refuses it."),
        ({"is_pending": True}, 4, "Is being written"),
        ({"outcome": "leave"}, 4, "Left as it is, by the map"),
        ({"outcome": "same"}, 4, "Showed it already"),
        ({"teams": Teams("Sleeping", "Dreaming")}, 1, "Dreaming"),
        ({"is_followed": False, "preference": BY_PERSON}, 6, "Off, chosen by the person"),
        ({"is_followed": False, "preference": BY_ADMINISTRATOR}, 6, "Off, set by an administrator"),
        ({"is_followed": False}, 6, "Off, by the rules"),
        ({"preference": Preference(map={"Busy": "lunch"})}, 6, "On, by the rules own map"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
async def test_whatever_is_remembered_has_words(
    office: Office, members: dict[str, Any], column: int, words: str
) -> None:
    [ann] = await office.open("Ann")
    await office.put(ann, **members)
    [line] = lines(await office.site.get(PATH))
    assert line[column].endswith(words)


async def test_an_extension_that_is_gone_from_the_pbx_is_told(office: Office) -> None:
    await office.open("Ann")
    office.site.world.remove_extension("1000")
    [line] = lines(await office.site.get(PATH))
    assert line[2] == "Not on the PBX"


async def test_a_pbx_that_cannot_be_asked_is_told_and_extensions_are_as_last_seen(office: Office) -> None:
    [ann] = await office.open("Ann")
    await office.teams(ann, "Away")
    await office.close()
    await office.site.connection.secrets.delete("pbx-client-secret")
    for part in (True, False):
        page = await office.site.get(PATH, part=part)
        assert page.status == 200
        assert has_notice(page, "The PBX cannot be asked now:")
        assert has_notice(page, "Extensions are shown as they were last seen.")
        [line] = lines(page)
        assert line[2] == "Away as last seen"


async def test_storage_that_fails_is_told_and_the_list_goes_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.open("Ann")

    async def failing(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("Table Storage does not answer")

    monkeypatch.setattr(report, "table", failing)
    for part in (True, False):
        page = await office.site.get(PATH, part=part)
        assert page.status == 200
        assert has_notice(page, "The list cannot be read now: Table Storage does not answer.")
        assert page.root.one("div", hx_trigger="every 5s")["hx-target"] == "#list"


async def test_the_list_is_searched_and_filtered_also_while_somebody_types(office: Office) -> None:
    ann, _, _ = await office.open("Ann Smit", "Bob Smit", "Cas")
    await office.put(ann, is_followed=False)
    page = await office.site.get(PATH)
    page = await office.site.press(page.form_with("Show"), "Show", search="SMIT", only="followed")
    assert names(page) == ["Bob Smit 1001, bob.smit@contoso.example"]
    assert page.root.one(id="total").text == "1 user found."
    assert (page.form_with("Show")["search"], page.form_with("Show")["only"]) == ("SMIT", "followed")
    assert names(await office.site.get(f"{PATH}?search=1002"))[0].startswith("Cas")
    assert names(await office.site.get(f"{PATH}?search=bob.smit%40contoso"))[0].startswith("Bob")
    part = await office.site.get(f"{PATH}?search=smit&said=yes", part=True)
    assert part.root.all("h1") == []
    assert part.root.one(id="total")["hx-swap-oob"] == "innerHTML"
    assert part.root.one(id="total").text == "2 users found."
    assert (await office.site.get(f"{PATH}?search=zoe")).says("Nobody fits the search.")
    assert names(await office.site.get(f"{PATH}?only=off"))[0].startswith("Ann")


async def test_every_filter_of_the_list_is_one_that_the_report_knows(office: Office) -> None:
    await office.open("Ann")
    for only in ONLY:
        assert (await office.site.get(f"{PATH}?only={only}")).status == 200
    assert (await office.site.get(f"{PATH}?only=secret")).status == 404


async def test_the_list_keeps_itself_up_to_date_until_that_is_switched_off(office: Office) -> None:
    [ann] = await office.open("Ann")
    page = await office.site.get(f"{PATH}?search=ann&only=followed")
    tick = page.root.one("div", hx_trigger="every 5s")
    assert tick["hx-get"] == f"{PATH}?search=ann&only=followed"
    await office.put(ann, teams=Teams("Busy", "InAMeeting"))
    part = await office.site.get(tick["hx-get"], part=True)
    assert lines(part)[0][1] == "In a meeting"
    assert part.root.all(id="total") == [], "what did not change is not said aloud every few seconds"
    assert [box["id"] for box in part.root.all("input", name="user") if box.has("hx-preserve")] == [f"pick-{ann}"]
    off = await office.site.press(page.form_with("Show"), "Show", live="off")
    assert off.root.all("div", hx_trigger="every 5s") == []
    assert off.form_with("Show").values().count(("live", "on")) == 0
    assert off.links["Refresh"] == f"{PATH}?search=ann&only=followed&live=off"


async def test_the_list_has_pages_of_25_and_shows_everybody_once(office: Office) -> None:
    await office.open("Ann")
    await crowd(office, 59)
    page = await office.site.get(f"{PATH}?live=off")
    seen: list[str] = []
    sizes: list[int] = []
    while True:
        sizes.append(len(lines(page)))
        seen += names(page)
        if "Next page" not in page.links:
            break
        page = await office.site.get(page.links["Next page"])
    assert sizes == [25, 25, 10]
    assert (seen[0][:3], len(set(seen))) == ("Ann", 60)
    assert page.says("51 to 60 of 60.")
    assert page.links["Previous page"] == f"{PATH}?page=2&live=off"
    beyond = await office.site.get(f"{PATH}?page=99")
    assert beyond.says("There is no such page any more.")
    for odd in ("0", "-1", "x", "9" * 5000):
        assert (await office.site.get(f"{PATH}?page={odd}")).status == 200


async def test_before_presence_was_on_the_list_says_who_will_be_there(site: Site) -> None:
    await site.sign_in("reader")
    assert (await site.get(PATH)).says("Nobody is listed yet. Users with a synced extension are")


async def test_what_is_markup_stays_text(office: Office) -> None:
    [ann] = await office.open("Ann")
    office.choose("1000", "available", HOSTILE[:60])
    await office.put(
        ann, name=HOSTILE, user_principal_name=HOSTILE, teams=Teams(HOSTILE, HOSTILE), outcome="failed", error=HOSTILE,
        preference=BY_ADMINISTRATOR,
    )  # fmt: skip
    for path in (PATH, f"{PATH}/{ann}", f"{PATH}?search=%3Cscript%3Ealert(1)%3C/script%3E"):
        page = await office.site.get(path)
        assert "<img" not in page.html
        assert "<script>alert" not in page.html
    asked = await ticked(office, "Follow Teams", ann)
    assert HOSTILE.split()[0] in asked.main
    assert "<img" not in asked.html


# Decisions about many


@pytest.mark.parametrize(
    ("button", "before", "after", "done"),
    [
        ("Follow Teams", Preference(), (True, {}), "written to these extensions in a moment"),
        ("Do not follow", Preference(), (False, {}), "do not follow Teams any more"),
        ("As the rules say", BY_ADMINISTRATOR, (None, {}), "The rules decide about these users again."),
        ("Back to the default", Preference(map={"Busy": "lunch"}), (None, {}), "have the default map again"),
    ],
)
async def test_a_decision_is_asked_for_with_whom_it_is_about_before_it_is_made(
    office: Office, button: str, before: Preference, after: tuple[bool | None, dict[str, str]], done: str
) -> None:
    ann, bob, cas = await office.open("Ann", "Bob", "Cas")
    for object_id in (ann, bob, cas):
        await office.put(object_id, preference=before)
    asked = await ticked(office, button, bob, ann)
    assert asked.status == 200
    assert "This is about 2 users: Ann, Bob." in asked.main
    assert (await office.record(ann)).preference == before
    page = await confirmed(office, asked)
    assert has_notice(page, done)
    for object_id in (ann, bob):
        decided = (await office.record(object_id)).preference
        assert (decided.follows, decided.map, decided.set_by) == (*after, "administrator")
    assert (await office.record(cas)).preference == before
    [entry] = [entry for entry in await office.site.trail() if entry.action == "presence.preference"]
    assert entry.object == "2 users"
    assert entry.after.endswith(": Ann, Bob")
    assert (await office.site.get("/console/activity")).says("Decided who follows Teams, and how")


async def test_what_follows_from_a_decision_is_queued_for_the_pbx(office: Office) -> None:
    [ann] = await office.open("Ann", users="opt_in")
    await office.put(ann, teams=Teams("Away", "Away"), heard_at="2026-03-02T09:00:00.000+00:00")
    await confirmed(office, await ticked(office, "Follow Teams", ann))
    assert (await office.record(ann)).is_followed
    assert [update.connection for update in office.site.updates] == [office.site.connection.id]


async def test_a_map_of_their_own_is_chosen_on_the_page_that_asks(office: Office) -> None:
    ann, bob = await office.open("Ann", "Bob")
    asked = await ticked(office, "Set own map", ann, bob)
    selects = {one["name"] for one in asked.root.all("select")}
    assert selects == {f"/map/{state}" for state in STATES}
    assert asked.root.one("select", name="/map/Busy").all("option")[0].text == "Default map: Away"
    refused = await confirmed(office, asked)
    assert refused.status == 422
    assert refused.faults == ["Choose something else than the default map for one state at least."]
    wrong = await confirmed(office, refused, {"/map/Busy": HOSTILE})
    assert (wrong.status, wrong.faults) == (422, ["This has to be one of the choices."])
    assert "This is about 2 users: Ann, Bob." in wrong.main
    assert "<img" not in wrong.html
    await confirmed(office, wrong, {"/map/Busy": "do_not_disturb", "/map/Offline": "leave"})
    assert (await office.record(bob)).preference.map == {"Busy": "do_not_disturb", "Offline": "leave"}
    [entry] = [entry for entry in await office.site.trail() if entry.action == "presence.preference"]
    assert entry.after == "Set a map of their own (Busy: do_not_disturb, Offline: leave): Ann, Bob"


async def test_all_that_fit_the_search_can_be_meant_at_once(office: Office) -> None:
    await office.open("Ann")
    ids = await crowd(office, 60)
    page = await office.site.get(f"{PATH}?search=person&only=followed")
    form = page.form_with("Follow Teams")
    assert page.says("All 60 that fit the search, on every page")
    asked = await office.site.press(form, "Do not follow", all="yes")
    people = ", ".join(f"Person {index:05}" for index in range(NAMED))
    assert f"This is about 60 users: {people} and 40 more." in asked.main
    page = await confirmed(office, asked)
    assert page.path == f"{PATH}?search=person&only=followed&done=presence-unfollowed"
    known = await office.room.store.all()
    assert [known[one].preference.follows for one in ids] == [False] * 60
    [ann] = [one for one in known.values() if one.name == "Ann"]
    assert ann.preference == Preference()


async def test_who_was_shown_is_who_it_is_done_to_though_the_search_finds_others_by_then(office: Office) -> None:
    ann, bob = await office.open("Ann", "Bob")
    await office.put(ann, outcome="manual")
    form = (await office.site.get(f"{PATH}?only=manual")).form_with("Follow Teams")
    asked = await office.site.press(form, "Do not follow", all="yes")
    await office.put(ann, outcome="same")
    await office.put(bob, outcome="manual")
    await confirmed(office, asked)
    assert (await office.record(ann)).preference.follows is False
    assert (await office.record(bob)).preference == Preference()


async def test_nobody_chosen_and_nothing_to_do_are_refused(office: Office) -> None:
    [ann] = await office.open("Ann")
    refused = await ticked(office, "Follow Teams")
    assert (refused.status, refused.heading) == (422, "Nobody chosen")
    assert refused.links["Back to the list"].startswith(PATH)
    unknown = await office.site.post(PATH, {"act": "on", "user": [NOBODY, "x", "../secrets"]})
    assert unknown.status == 422
    assert (await office.site.post(PATH, {"act": "delete", "user": ann})).status == 422
    page = await office.site.post(PATH, {"act": "on", "confirmed": "yes", "users": f"{NOBODY} x' {HOSTILE}"})
    assert page.status == 200
    assert await office.site.trail() == []


@pytest.mark.parametrize("act", ACTS)
async def test_a_reader_and_a_form_without_the_token_decide_nothing(office: Office, act: str) -> None:
    [ann] = await office.open("Ann")
    form: dict[str, Any] = {"act": act, "confirmed": "yes", "users": ann, "/map/Busy": "lunch", "follows": "on"}
    for path in (PATH, f"{PATH}/{ann}"):
        assert (await office.site.post(path, {**form, "csrf": "wrong"})).status == 403
    await office.site.sign_in("reader")
    for path in (PATH, f"{PATH}/{ann}"):
        assert (await office.site.post(path, form)).status == 403
    assert (await office.record(ann)).preference == Preference()


async def test_a_reader_looks_at_the_list_and_has_nothing_to_tick(office: Office) -> None:
    await office.open("Ann")
    await office.site.sign_in("reader")
    page = await office.site.get(PATH)
    assert [line[0] for line in lines(page)] == ["Ann 1000, ann@contoso.example"]
    assert page.root.all("input", type="checkbox", name="user") == []
    assert has_notice(page, "Bridge.Admin")
    assert [form.buttons for form in page.forms] == [["Show"], []]


async def test_five_thousand_users_are_listed_and_decided_about_in_one_go(office: Office) -> None:
    await office.open()
    ids = await crowd(office, 5_000)
    page = await office.site.get(f"{PATH}?search=person")
    assert (len(lines(page)), page.root.one(id="total").text) == (A_PAGE, "5,000 users found.")
    assert len(page.body) < 100_000
    asked = await office.site.press(page.form_with("Follow Teams"), "Do not follow", all="yes")
    assert "and 4,980 more" in asked.main
    page = await confirmed(office, asked)
    assert has_notice(page, "do not follow Teams any more")
    known = await office.room.store.all()
    assert sum(known[one].preference.follows is False for one in ids) == 5_000
    [entry] = [entry for entry in await office.site.trail() if entry.action == "presence.preference"]
    assert entry.object == "5,000 users"
    assert entry.after.endswith("and 4,980 more")


# One user


async def test_one_user_is_told_with_everything_that_is_known(office: Office) -> None:
    [ann] = await office.open("Ann")
    await office.teams(ann, "InAMeeting")
    page = await office.site.get(f"{PATH}/{ann}")
    assert page.heading == "Ann"
    assert ["Extension number", "1000"] in page.rows
    assert ["Extension shows", "Away"] in page.rows
    assert ["Changes are", "Asked about"] in page.rows
    [teams] = [row[1] for row in page.rows if row[0] == "Teams shows"]
    assert teams.startswith("In a meeting (InAMeeting), since 2026-03-02")
    assert page.links["The extension, and what runs did to it"] == f"/console/users/{ann}"
    form = page.form(f"{PATH}/{ann}")
    assert form["follows"] == "rule"
    assert form["/map/Busy"] == ""
    part = page.root.one(id="facts")
    assert (part["hx-get"], part["hx-trigger"]) == (f"{PATH}/{ann}", "every 5s")
    anew = await office.site.get(f"{PATH}/{ann}", part=True)
    assert anew.root.all("h1", "form") == []
    assert ["Extension shows", "Away"] in anew.rows


async def test_a_decision_about_one_user_is_saved_recorded_and_shown(office: Office) -> None:
    [ann] = await office.open("Ann")
    form = (await office.site.get(f"{PATH}/{ann}")).form(f"{PATH}/{ann}")
    page = await filled(office, form, "Save", {"follows": "on", "/map/Busy": "lunch"})
    assert page.path == f"{PATH}/{ann}?done=saved"
    decided = (await office.record(ann)).preference
    assert (decided.follows, decided.map, decided.set_by) == (True, {"Busy": "lunch"}, "administrator")
    form = page.form(f"{PATH}/{ann}")
    assert (form["follows"], form["/map/Busy"]) == ("on", "lunch")
    [entry] = [entry for entry in await office.site.trail() if entry.action == "presence.preference"]
    assert entry.object == "Ann"
    assert msgspec.json.decode(entry.before) == {"follows": "by the rules", "map": {}}
    assert msgspec.json.decode(entry.after) == {"follows": "on", "map": {"Busy": "lunch"}}
    await filled(office, form, "Save", {"follows": "rule", "/map/Busy": ""})
    assert (await office.record(ann)).preference.is_default


async def test_a_save_that_changes_nothing_is_not_recorded(office: Office) -> None:
    [ann] = await office.open("Ann")
    form = (await office.site.get(f"{PATH}/{ann}")).form(f"{PATH}/{ann}")
    await office.site.press(form, "Save")
    assert await office.site.trail() == []


async def test_a_wrong_choice_is_told_at_its_field_and_the_rest_is_kept(office: Office) -> None:
    [ann] = await office.open("Ann")
    form = (await office.site.get(f"{PATH}/{ann}")).form(f"{PATH}/{ann}")
    page = await filled(office, form, "Save", {"follows": "off", "/map/Busy": "asleep", "/map/Away": "lunch"})
    assert (page.status, page.faults) == (422, ["This has to be one of the choices."])
    form = page.form(f"{PATH}/{ann}")
    assert (form["follows"], form["/map/Busy"], form["/map/Away"]) == ("off", "asleep", "lunch")
    page = await filled(office, form, "Save", {"follows": "maybe", "/map/Busy": ""})
    assert page.root.one(id="fault-follows").text == "This has to be one of the choices."
    assert (await office.record(ann)).preference == Preference()


@pytest.mark.parametrize("object_id", [NOBODY, "ann", "..%2Fsettings", "%27%20or%20true", "1" * 36])
async def test_a_user_nobody_knows_is_not_found(office: Office, object_id: str) -> None:
    await office.open("Ann")
    page = await office.site.get(f"{PATH}/{object_id}")
    assert page.status == 404
    assert (await office.site.post(f"{PATH}/{object_id}", {"follows": "on"})).status == 404


async def test_a_reader_sees_one_user_and_a_form_that_is_disabled(office: Office) -> None:
    [ann] = await office.open("Ann")
    await office.site.sign_in("reader")
    page = await office.site.get(f"{PATH}/{ann}")
    assert has_notice(page, "Bridge.Admin")
    assert page.form(f"{PATH}/{ann}").buttons == []
