"""The page of everybody who has an extension: signing in, what there is to see, and what each decides for himself."""

from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.me import COMPANY, ROWS, SAME, Row, faults_of, fields_of, map_of
from console.presence_words import CHOICES, TEAMS
from local.emulator import Fault
from local.sample import TENANT_ID
from presence.mapping import STATES
from presence.poll import carry_out
from presence.preferences import set_preferences
from sso.sessions import COOKIE
from sso.signin import STATE_COOKIE
from store.document import PresenceChoice
from store.presence import Preference
from tests.console.page import Page
from tests.console.presence import Office
from tests.console.records import has_notice
from tests.console.rules import stored
from tests.console.signing_in import CALLBACK, ENTRA, assigned, at_microsoft, registered, with_setup_key
from tests.console.site import HOSTILE, Site

PATH = "/me/presence"
OWN_MAPS = st.dictionaries(st.sampled_from(STATES), st.sampled_from(list(CHOICES)))


@pytest.fixture
async def office(site: Site) -> AsyncIterator[Office]:
    """Nobody is signed in, and nobody has an extension yet."""
    office = Office(site)
    yield office
    await office.close()


async def present(office: Office, **rules: object) -> str:
    """Ann, who has the extension 1000 and is signed in; answers her object id."""
    ann, _ = await office.open("Ann Ash", "Ben Birch", **rules)
    await office.site.sign_in("person", name="Ann Ash", person=ann)
    return ann


async def preference(office: Office, person: str) -> Preference:
    return (await office.record(person)).preference


def standing(page: Page) -> str:
    """Whether the extension follows, in words."""
    return page.root.all("section")[0].all("p", class_="notice")[0].text


def facts(page: Page) -> dict[str, str]:
    names, values = page.root.all("dt"), page.root.all("dd")
    return {name.text: value.text for name, value in zip(names, values, strict=True)}


async def with_microsoft(site: Site, person: str) -> Page:
    """Sign in on the page and come back to it."""
    sent_away = await site.press((await site.get(PATH)).form_with("Sign in"), follow=False)
    return await site.post(CALLBACK, await at_microsoft(site, sent_away, person), **ENTRA)


# Signing in


async def test_who_is_not_signed_in_reads_what_it_is_and_can_sign_in(site: Site) -> None:
    page = await site.get(PATH)
    assert (page.status, page.path, page.heading) == (200, PATH, "Your phone and Teams")
    assert page.form(PATH).buttons == ["Sign in with Microsoft"]
    assert page.root.all("nav") == []
    assert not any(address.startswith("/console") for address in page.links.values())


async def test_anybody_of_the_tenant_signs_in_and_comes_back_as_a_person(office: Office) -> None:
    site = office.site
    ann, _ = await office.open("Ann Ash", "Ben Birch")
    registered(site)
    page = await with_microsoft(site, ann)
    assert (page.status, page.path) == (200, PATH)
    assert facts(page)["Your extension"] == "1000"
    assert page.root.one("form", class_="who").text.startswith("Ann Ash")
    assert STATE_COOKIE not in site.cookies
    assert (await site.get("/console")).status == 403
    assert await site.trail() == [], "a company of thousands would fill it"


async def test_who_has_an_app_role_uses_the_page_and_the_console_with_one_session(office: Office) -> None:
    site = office.site
    ann, _ = await office.open("Ann Ash", "Ben Birch")
    assigned(site, ann, "Bridge.Reader")
    page = await with_microsoft(site, ann)
    assert facts(page)["Your extension"] == "1000"
    assert page.root.all("nav") == []
    assert (await site.get("/console")).status == 200


async def test_a_sign_in_that_fails_leads_back_to_the_page(office: Office) -> None:
    site = office.site
    ann, _ = await office.open("Ann Ash", "Ben Birch")
    registered(site)
    sent_away = await site.press((await site.get(PATH)).form_with("Sign in"), follow=False)
    form = await at_microsoft(site, sent_away, ann)
    page = await site.post(CALLBACK, {**form, "code": "1.invented"}, **ENTRA)
    assert page.status == 400
    assert page.links["Back to your presence"] == PATH
    assert page.root.all("nav") == []
    assert not any(address.startswith("/con") for address in page.links.values())


async def test_the_setup_key_is_told_to_sign_in_with_microsoft(office: Office) -> None:
    site = office.site
    ann, _ = await office.open("Ann Ash", "Ben Birch")
    registered(site)
    await with_setup_key(site)
    earlier = site.cookies[COOKIE]
    page = await site.get(PATH)
    assert has_notice(page, "You are signed in with the setup key")
    assert page.form_with("Sign in with Microsoft")
    for act in ("save", "reset"):
        refused = await site.post(PATH, {"act": act, "follows": "off"})
        assert (refused.status, refused.heading) == (403, "Sign in with Microsoft")
    page = await with_microsoft(site, ann)
    assert facts(page)["Your extension"] == "1000"
    site.cookies[COOKIE] = earlier
    assert (await site.get("/console", follow=False)).status == 303, "the session of the setup key is over"


async def test_a_form_to_sign_in_needs_the_cookie_of_its_page(site: Site) -> None:
    values = (await site.get(PATH)).form(PATH).values()
    site.cookies.clear()
    page = await site.post(PATH, values)
    assert (page.status, page.heading) == (403, "Form refused")
    assert page.links["Sign in"] == PATH
    assert STATE_COOKIE not in site.cookies


async def test_signing_out_ends_the_session_everywhere(office: Office) -> None:
    site = office.site
    await present(office)
    cookie = site.cookies[COOKIE]
    [form] = [form for form in (await site.get(PATH)).forms if "Sign out" in form.buttons]
    page = await site.press(form)
    assert page.says("You are signed out.")
    assert page.form(PATH).buttons == ["Sign in with Microsoft"]
    site.cookies[COOKIE] = cookie
    assert (await site.get(PATH)).form(PATH).buttons == ["Sign in with Microsoft"]


async def test_a_person_signs_out_from_a_page_that_refused_as_well(office: Office) -> None:
    site = office.site
    await present(office)
    refused = await site.get("/console")
    page = await site.press(refused.form_with("Sign out"))
    assert page.says("You are signed out.")
    assert COOKIE not in site.cookies


async def test_a_person_can_reach_the_sign_in_of_the_console_without_going_in_circles(office: Office) -> None:
    site = office.site
    await present(office)
    page = await site.get("/console/sign-in?to=/console/runs")
    assert (page.status, page.heading) == (200, "Sign in")
    page = await with_setup_key(site)
    assert page.path == "/console/connection"


async def test_an_entra_that_cannot_be_reached_is_said(site: Site) -> None:
    site.world.microsoft.faults.append(Fault(kind="drop", path="*/.well-known/openid-configuration", times=None))
    page = await site.press((await site.get(PATH)).form(PATH))
    assert (page.status, page.heading) == (503, "This did not work")
    assert page.root.all("nav") == []


# What there is to see


async def test_the_page_shows_the_extension_what_teams_shows_and_what_the_extension_shows(office: Office) -> None:
    ann = await present(office)
    await office.teams(ann, "Busy")
    page = await office.site.get(PATH)
    assert standing(page) == "Your extension follows Teams."
    shown = facts(page)
    assert (shown["Your extension"], shown["Your extension shows"]) == ("1000", "Away")
    assert shown["Teams shows"].startswith("Busy (")


async def test_a_status_that_was_chosen_on_the_phone_is_explained(office: Office) -> None:
    ann = await present(office)
    await office.teams(ann, "Busy")
    office.choose("1000", "lunch")
    await office.teams(ann, "DoNotDisturb")
    page = await office.site.get(PATH)
    assert facts(page)["Your extension shows"] == "Lunch break"
    assert page.says("Its status was chosen on the phone or in Linkus.")


async def test_a_custom_status_is_shown_by_its_name_and_explained(office: Office) -> None:
    ann = await present(office)
    office.choose("1000", "available", custom=HOSTILE)
    await office.teams(ann, "Busy")
    page = await office.site.get(PATH)
    assert facts(page)["Your extension shows"] == HOSTILE
    assert page.says("It shows a custom status, which is never replaced.")
    assert "<script>alert" not in page.html


async def test_presence_that_is_off_in_the_whole_company_is_said(office: Office) -> None:
    ann = await present(office)
    await stored(office.site, "presence", enabled=False)
    page = await office.site.get(PATH)
    assert standing(page) == "Presence is switched off for the whole company."
    assert facts(page) == {"Your extension": "1000"}
    assert page.root.all("select") == []
    await refused(office, ann)


async def test_an_integration_that_is_disabled_is_no_presence_either(office: Office) -> None:
    ann = await present(office)
    health = office.site.connection.health
    await health.update(lambda one: msgspec.structs.replace(one, disabled=True))
    assert standing(await office.site.get(PATH)) == "Presence is switched off for the whole company."
    await refused(office, ann)


async def test_who_has_no_extension_is_told_so(office: Office) -> None:
    await present(office)
    await office.site.sign_in("person", name="Nora Nobody")
    page = await office.site.get(PATH)
    assert standing(page).startswith("You have no extension")
    assert facts(page) == {}
    assert page.root.all("select") == []
    answer = await office.site.post(PATH, {"act": "reset"})
    assert (answer.status, answer.heading) == (409, "Not possible now")


async def test_who_has_an_extension_that_presence_has_not_seen_yet_is_asked_for_patience(office: Office) -> None:
    ann = await present(office)
    await office.room.store.remove([ann])
    page = await office.site.get(PATH)
    assert standing(page) == "Your extension is new here. Look again in ten minutes."
    assert facts(page) == {"Your extension": "1000"}


async def test_who_is_in_none_of_the_groups_is_told_so(office: Office) -> None:
    sales = office.site.world.group("Sales")
    await present(office, users="groups", group_ids=[sales])
    page = await office.site.get(PATH)
    assert standing(page).endswith("that is for members of certain groups, and you are in none of them.")
    assert page.says("As the company has it (it does not follow)")


async def test_where_it_is_up_to_each_the_page_says_so_and_switching_it_on_works(office: Office) -> None:
    ann = await present(office, users="opt_in")
    page = await office.site.get(PATH)
    assert standing(page).endswith("that is up to each of you, and you did not switch it on.")
    page = await office.site.press(page.form_with("Save"), "Save", follows="on")
    assert standing(page) == "Your extension follows Teams."
    assert (await office.record(ann)).is_followed


@pytest.mark.parametrize(("by", "who"), [("person", "you"), ("administrator", "an administrator")])
async def test_who_switched_it_off_is_said(office: Office, by: Literal["person", "administrator"], who: str) -> None:
    ann = await present(office)
    await set_preferences(office.room, [ann], follows="off", by=by)
    page = await office.site.get(PATH)
    assert standing(page) == f"Your extension does not follow Teams: {who} switched it off."
    assert page.form_with("Save")["follows"] == "off"


async def test_a_phone_system_that_does_not_answer_leaves_the_rest_of_the_page(office: Office) -> None:
    await present(office)
    office.site.world.pbx.faults.append(Fault(kind="status", path="*", times=None))
    page = await office.site.get(PATH)
    assert page.status == 200
    assert facts(page)["Your extension shows"] == "It cannot be asked for now."
    assert page.form_with("Save")


async def test_hostile_names_stay_text(office: Office) -> None:
    ann = await present(office)
    await office.put(ann, number=HOSTILE, name=HOSTILE)
    await office.site.sign_in("person", name=HOSTILE, person=ann)
    page = await office.site.get(PATH)
    assert facts(page)["Your extension"] == HOSTILE
    assert HOSTILE in page.root.one("form", class_="who").text
    assert "<script>alert" not in page.html
    assert "<img" not in page.html


async def test_every_field_has_a_label_and_do_not_disturb_a_warning(office: Office) -> None:
    await present(office)
    page = await office.site.get(PATH)
    labels = [label["for"] for label in page.root.all("label")]
    ids = [element["id"] for element in page.root.walk() if element["id"]]
    assert len(set(ids)) == len(ids)
    for control in page.root.one("main").all("input", "select"):
        is_labelled = control["id"] in labels or any(one.name == "label" for one in control.above())
        assert control["type"] == "hidden" or is_labelled, control
    for select in page.root.all("select"):
        words = {option["value"]: option.text for option in select.all("option")}
        assert words["do_not_disturb"] == "Do not disturb (calls do not ring)"
    assert has_notice(page, "calls to your extension do not ring")


async def test_each_row_names_what_the_company_has(office: Office) -> None:
    await present(office)
    page = await office.site.get(PATH)
    [first] = [one for one in page.root.one("select", name="row.busy").all("option") if one["value"] == COMPANY]
    [mixed] = [one for one in page.root.one("select", name="row.offline").all("option") if one["value"] == COMPANY]
    assert first.text == "Away (as the company has it)"
    assert mixed.text == "Leave as it is (as the company has it)"


# Deciding


async def refused(office: Office, person: str) -> None:
    """Nothing can be decided now, and nothing is."""
    before = await preference(office, person)
    fields = {"act": "save", "follows": "off", **fields_of({})}
    page = await office.site.post(PATH, fields)
    assert (page.status, page.heading) == (409, "Not possible now")
    assert await preference(office, person) == before
    assert office.site.updates == []


async def test_switching_off_is_kept_recorded_and_shown(office: Office) -> None:
    ann = await present(office)
    page = await office.site.press((await office.site.get(PATH)).form_with("Save"), "Save", follows="off")
    assert page.says("Saved.")
    assert standing(page) == "Your extension does not follow Teams: you switched it off."
    kept = await preference(office, ann)
    assert (kept.follows, kept.set_by) == (False, "person")
    [entry] = [entry for entry in await office.site.trail() if entry.action == "presence.preference"]
    assert (entry.who, entry.account, entry.role) == ("Ann Ash", f"{TENANT_ID}:{ann}", "person")
    assert (entry.object, entry.before) == ("Ann Ash", '{"follows":"rule","map":{}}')
    assert entry.after == '{"follows":"off","map":{}}'


async def test_a_row_decides_for_all_its_states_and_the_extension_follows_it(office: Office) -> None:
    ann = await present(office)
    await office.teams(ann, "Busy")
    page = await office.site.press((await office.site.get(PATH)).form_with("Save"), "Save", row__busy="lunch")
    assert (await preference(office, ann)).map == {"Busy": "lunch", "BusyIdle": "lunch", "Focusing": "lunch"}
    assert page.form_with("Save")["row.busy"] == "lunch"
    [update] = office.site.updates
    await carry_out(office.room, update)
    assert office.shown()["1000"] == "lunch"


async def test_one_state_can_differ_from_its_row(office: Office) -> None:
    ann = await present(office)
    form = (await office.site.get(PATH)).form_with("Save")
    page = await office.site.press(
        form, "Save", row__call="do_not_disturb", state__InAMeeting="leave", state__InACall=COMPANY
    )
    assert (await preference(office, ann)).map == {"InAConferenceCall": "do_not_disturb", "InAMeeting": "leave"}
    assert page.root.one("details").has("open"), "what is chosen there is not hidden"
    again = page.form_with("Save")
    assert map_of({name: again[name] for name in fields_of({})}) == (await preference(office, ann)).map


async def test_saving_again_without_a_change_records_nothing(office: Office) -> None:
    await present(office)
    for _ in range(2):
        form = (await office.site.get(PATH)).form_with("Save")
        assert (await office.site.press(form, "Save", follows="off")).status == 200
    assert len([entry for entry in await office.site.trail() if entry.action == "presence.preference"]) == 1


async def test_everything_can_be_left_to_the_company_again(office: Office) -> None:
    ann = await present(office)
    page = await office.site.get(PATH)
    assert len([form for form in page.forms if "Do all as the company has it" in form.buttons]) == 0
    page = await office.site.press(page.form_with("Save"), "Save", follows="off", row__away="leave")
    page = await office.site.press(page.form_with("Do all as"), "Do all as")
    assert page.says("Done. All is as the company has it.")
    assert (await preference(office, ann)).is_default
    assert standing(page) == "Your extension follows Teams."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("follows", "maybe"),
        ("follows", None),
        ("row.busy", "dancing"),
        ("row.busy", SAME),
        ("row.busy", None),
        ("state.Busy", "dancing"),
        ("state.Busy", HOSTILE),
        ("state.Busy", None),
    ],
)
async def test_made_up_values_change_nothing_and_what_was_chosen_stays(
    office: Office, field: str, value: str | None
) -> None:
    ann = await present(office)
    fields = {"act": "save", "follows": "on", **fields_of({}), "row.out": "lunch", field: value}
    page = await office.site.post(PATH, fields)
    assert page.status == 422
    assert page.faults == ["This has to be one of the choices."]
    assert has_notice(page, "Nothing was saved")
    assert page.form_with("Save")["row.out"] == "lunch"
    assert "<script>alert" not in page.html
    assert (await preference(office, ann)).is_default
    assert office.site.updates == []


@pytest.mark.parametrize("act", ["", "delete", "sign-in"])
async def test_a_button_that_the_page_does_not_have_is_refused(office: Office, act: str) -> None:
    await present(office)
    page = await office.site.post(PATH, {"act": act})
    assert (page.status, page.heading) == (422, "No such button")
    assert STATE_COOKIE not in office.site.cookies


@pytest.mark.parametrize("name", ["object_id", "user", "account", "person", "id", "oid"])
async def test_no_field_of_the_form_names_anybody_else(office: Office, name: str) -> None:
    ann = await present(office)
    [ben] = [one for one in (await office.room.store.all()) if one != ann]
    fields = {"act": "save", "follows": "off", **fields_of({}), name: ben}
    page = await office.site.post(f"{PATH}?{name}={ben}", fields)
    assert page.status == 200
    assert (await preference(office, ann)).follows is False
    assert (await preference(office, ben)).is_default
    shown = await office.site.get(f"{PATH}?{name}={ben}")
    assert facts(shown)["Your extension"] == "1000"


@pytest.mark.parametrize("token", [None, "wrong", "é"])
async def test_a_form_without_the_token_of_the_session_changes_nothing(office: Office, token: str | None) -> None:
    ann = await present(office)
    for act in ("save", "reset", "sign-out", "sign-in"):
        page = await office.site.post(PATH, {"act": act, "follows": "off", **fields_of({}), "csrf": token})
        assert (page.status, page.heading) == (403, "Form refused")
        assert page.root.all("nav") == []
    assert (await preference(office, ann)).is_default
    assert (await office.site.get(PATH)).form_with("Save")


async def test_a_session_that_is_over_saves_nothing_and_says_so(office: Office) -> None:
    ann = await present(office)
    form = (await office.site.get(PATH)).form_with("Save")
    office.site.passes(hours=9)
    page = await office.site.press(form, "Save", follows="off")
    assert (page.status, page.heading) == (401, "Signed out")
    assert page.links["Sign in"] == PATH
    assert (await preference(office, ann)).is_default


async def test_the_page_needs_no_script_and_leads_nowhere_else(office: Office) -> None:
    await present(office)
    page = await office.site.get(PATH)
    assert {urlsplit(address).path for address in page.links.values()} <= {PATH, ""}
    assert {form.action for form in page.forms} == {PATH}
    assert not any(name.startswith("hx-") for one in page.root.one("main").walk() for name in one.attributes)


# The map of the form


def test_the_rows_have_every_state_once_and_words_for_each() -> None:
    states = [state for row in ROWS for state in row.states]
    assert sorted(states) == sorted(STATES)
    assert set(states) == set(TEAMS)


@given(OWN_MAPS)
def test_what_the_form_shows_for_a_map_is_saved_as_the_same_map(own: dict[str, PresenceChoice]) -> None:
    fields = fields_of(own)
    assert faults_of(fields) == {}
    assert map_of(fields) == own


@given(OWN_MAPS, st.sampled_from(ROWS), st.sampled_from([*CHOICES, COMPANY]))
def test_a_row_that_is_changed_moves_only_what_went_with_it(own: dict[str, str], row: Row, choice: str) -> None:
    fields = fields_of(own)
    changed = map_of({**fields, f"row.{row.id}": choice})
    for one in ROWS:
        for state in one.states:
            moves = one == row and fields.get(f"state.{state}", SAME) == SAME
            assert changed.get(state, COMPANY) == (choice if moves else own.get(state, COMPANY))


def test_the_usual_choice_of_a_row_is_shown_in_it() -> None:
    fields = fields_of({"Busy": "lunch", "BusyIdle": "lunch", "Focusing": "leave"})
    assert fields["row.busy"] == "lunch"
    assert (fields["state.Busy"], fields["state.Focusing"]) == (SAME, "leave")
