"""The preview of rules that are not saved: what it shows, that it changes nothing, and what can follow."""

from typing import Any

import msgspec
import pytest

from console.rooms import place_of
from local.sample import TENANT_ID
from sso.sessions import COOKIE, start_session
from store.document import Users
from store.runs import Run
from tests.console.page import Page
from tests.console.rules import opened, sent, stored, values
from tests.console.site import HOSTILE, Site

USERS = "/console/users"
GROUPS = "/console/groups"
NOTHING = "\u2013"
"""What stands for an empty field."""


async def begun(site: Site, section: str = "users", **typed: Any) -> Page:
    """Type this and press Preview."""
    return await sent(site, await opened(site, section), "Preview", **typed)


async def another_admin(site: Site) -> None:
    """Sign in as another administrator than the first."""
    account = f"{TENANT_ID}:00000000-0000-4000-8000-000000000009"
    _, site.cookies[COOKIE] = await start_session(place_of(site.connection), "Bob", account, "admin", site.world.tell())


async def ended(site: Site, page: Page) -> Page:
    """The same page when the preview is over."""
    await site.work()
    return await site.get(page.path)


async def run_of(site: Site, page: Page) -> Run:
    run = await site.connection.runs.get(page.path.rpartition("/")[2].partition("?")[0])
    assert run is not None
    return run


def figures(page: Page) -> dict[str, str]:
    names, numbers = page.root.all("dt"), page.root.all("dd")
    return {name.text: number.text for name, number in zip(names, numbers, strict=True)}


def names(page: Page) -> list[str]:
    return [row[0] for row in page.rows if len(row) == 4]


async def test_a_preview_shows_what_unsaved_rules_would_do_and_changes_nothing(site: Site) -> None:
    site.world.people(2)
    site.world.person("Gone", accountEnabled=False)
    await site.world.secrets()
    await site.sign_in()
    page = await begun(site, users__enabled="yes", users__number__start="4000")
    assert page.heading == "Preview of the rules for users"
    page = await ended(site, page)
    assert figures(page) == {
        "To create": "2", "To associate": "0", "To update": "0", "To delete": "0", "To release": "0", "Skipped": "1",
        "Held": "0", "Unchanged": "0",
    }  # fmt: skip
    [first] = [row for row in page.rows if row[0].startswith("Person 0000")]
    assert first[1:3] == ["4000", "Create Planned"]
    assert f"First name {NOTHING} Person 0000" in first[3]
    assert [row[3] for row in page.rows if row[0].startswith("Gone")] == ["The account is disabled in Entra."]
    assert site.world.extensions() == {}
    assert await site.settings() == site.connection.settings.first
    [entry] = [entry for entry in await site.trail() if entry.action == "preview.started"]
    assert (entry.who, entry.object) == ("Ada Admin", (await run_of(site, page)).id)


async def test_before_and_after_of_each_field_are_shown(site: Site) -> None:
    [person] = await site.world.staff(1)
    await site.world.secrets()
    site.world.change_user(person, jobTitle="Pilot")
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    assert figures(page)["To update"] == "1"
    assert [row for row in page.rows if row[0] == "Job title"] == [["Job title", NOTHING, "Pilot"]]


async def test_the_page_follows_the_preview_with_scripts_and_without(site: Site) -> None:
    site.world.people(1)
    await site.world.secrets()
    await site.sign_in()
    page = await begun(site, users__enabled="yes")
    part = page.root.one(id="preview")
    assert (part["hx-get"], part["hx-trigger"]) == (page.path, "every 1s")
    assert page.root.one("noscript").one("meta")["http-equiv"] == "refresh"
    assert page.links["Refresh"] == page.path
    assert page.says("The preview waits for its turn")
    polled = await site.get(page.path, part=True)
    assert polled.heading == ""
    assert polled.root.one(id="preview")["hx-get"] == page.path
    await site.work()
    assert (await site.get(page.path, part=True)).headers["hx-refresh"] == "true"
    over = await site.get(page.path)
    assert not over.root.all("noscript")
    assert not over.root.all(id="preview")


async def test_the_rules_of_a_preview_can_be_saved(site: Site) -> None:
    site.world.people(1)
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes", users__number__start="4000"))
    saved = await site.press(page.form_with("Save these rules"), "Save these rules")
    assert saved.path == f"{USERS}?done=saved-started"
    assert (await site.settings()).users.number.start == 4000
    await site.work()
    assert sorted(site.world.extensions()) == ["4000"]
    assert {entry.object for entry in await site.trail() if entry.action == "settings.saved"} == {"/users"}
    again = await site.press(page.form_with("Save these rules"), "Save these rules")
    assert again.status == 409
    assert again.says("is not kept any more")


async def test_back_to_the_rules_keeps_what_was_typed(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await begun(site, users__enabled="yes", users__number__start="4000", guard__max_deletions="1")
    back = await site.get(page.links["Back to the rules"])
    assert back.says("These are the rules of the preview. They are not saved yet.")
    form = back.form(USERS)
    assert (form["/users/number/start"], form["/guard/max_deletions"]) == ("4000", "1")
    await sent(site, form)
    assert (await site.settings()).users.number.start == 4000


async def test_rules_that_somebody_else_changed_meanwhile_are_not_saved_unseen(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__number__start="4000"))
    await stored(site, "users", delete_grace_days=9)
    late = await site.press(page.form_with("Save these rules"), "Save these rules")
    assert late.status == 409
    assert late.says("/users/delete_grace_days: 9")
    assert late.form(USERS)["/users/number/start"] == "4000"
    assert (await site.settings()).users == Users(delete_grace_days=9)
    await sent(site, late.form(USERS))
    assert (await site.settings()).users.number.start == 4000


async def test_faulty_rules_are_not_previewed(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await begun(site, users__number__start="none")
    assert page.status == 422
    assert len(page.faults) == 1
    assert site.queue == []


async def test_without_a_complete_connection_the_page_says_what_is_missing(site: Site) -> None:
    await site.sign_in()
    page = await begun(site, users__number__start="4000")
    assert page.status == 409
    assert page.says("Missing: the secret entra-client-secret, the secret pbx-client-secret.")
    assert page.form(USERS)["/users/number/start"] == "4000"
    assert site.queue == []


async def test_while_users_are_paused_nothing_is_previewed(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    form = await opened(site, "users")
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, paused=["users"]))
    page = await sent(site, form, "Preview")
    assert page.status == 409
    assert page.says("The synchronization of users is paused")
    assert site.queue == []


async def test_a_preview_that_fails_says_why_and_what_to_do(site: Site) -> None:
    await site.world.secrets(entra="wrong")
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    [notice] = page.notices
    assert notice.startswith("The preview could not be made.")
    assert "secret" in notice
    assert all("Save these rules" not in form.buttons for form in page.forms)
    assert page.links["Back to the rules"].startswith(f"{USERS}?draft=")


async def test_items_are_filtered_by_what_would_be_done(site: Site) -> None:
    site.world.people(2)
    site.world.person("Gone", accountEnabled=False)
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    assert len(names(page)) == 3
    skipped = await site.get(page.links["Skipped (1)"])
    assert [name.split()[0] for name in names(skipped)] == ["Gone"]
    created = await site.get(page.links["To create (2)"])
    assert [name[:11] for name in names(created)] == ["Person 0000", "Person 0001"]
    assert "To delete (0)" not in page.links


async def test_deletions_that_the_guard_would_hold_are_counted_and_shown_as_held(site: Site) -> None:
    people = await site.world.staff(4)
    await site.world.secrets()
    for person in people[:3]:
        site.world.delete_user(person)
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes", guard__max_deletions="1"))
    assert (figures(page)["Held"], figures(page)["To delete"]) == ("3", "0")
    held = await site.get(page.links["Held (3)"])
    assert [row[2] for row in held.rows if len(row) == 4] == ["Delete Held"] * 3
    assert len(site.world.extensions()) == 4


async def test_many_items_come_in_pages_of_a_hundred(site: Site) -> None:
    site.world.people(230)
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    seen: list[str] = names(page)
    sizes = [len(seen)]
    while "Next 100" in page.links:
        page = await site.get(page.links["Next 100"].partition("#")[0])
        sizes.append(len(names(page)))
        seen += names(page)
    assert sizes == [100, 100, 30]
    assert len(set(seen)) == 230


async def test_a_page_number_that_is_none_shows_the_first_page(site: Site) -> None:
    site.world.people(1)
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    for query in ("after=x", "after=-5", "after=²", f"after={'9' * 30}", "show=everything", "show=<script>"):
        assert len(names(await site.get(f"{page.path}?{query}"))) == 1


async def test_groups_are_previewed_as_they_would_be_after_the_users_turn(site: Site) -> None:
    world = site.world
    world.group("Sales", *world.people(2))
    await world.secrets()
    await stored(site, "users", enabled=True)
    await site.sign_in()
    page = await ended(site, await begun(site, "groups", groups__enabled="yes"))
    assert page.heading == "Preview of the rules for groups"
    assert figures(page)["To create"] == "1"
    assert [row[0] for row in page.rows if len(row) == 4] == ["Sales"]
    assert ["Members", NOTHING, "1000, 1001"] in page.rows
    assert world.pbx_groups() == []
    saved = await site.press(page.form_with("Save these rules"), "Save these rules")
    assert saved.path.startswith(GROUPS)
    assert (await site.settings()).groups.enabled


async def test_previews_of_one_kind_are_not_shown_as_those_of_the_other(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await begun(site, users__number__start="4000")
    assert (await site.get(page.path.replace("users", "groups"))).status == 404


async def test_what_is_no_preview_has_no_page(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    run = await site.world.run()
    for id_ in (run.id, "nothing", "%27", "%23"):
        assert (await site.get(f"{USERS}/preview/{id_}")).status == 404


async def test_a_newer_preview_takes_the_place_of_the_draft(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    first = await ended(site, await begun(site, users__number__start="4000"))
    await begun(site, users__number__start="5000")
    page = await site.get(first.path)
    assert page.says("until another preview follows")
    assert [form.action for form in page.forms] == []
    lost = await site.get(f"{USERS}?draft={(await run_of(site, first)).id}")
    assert lost.says("What was typed for the preview is not kept any more.")
    assert lost.form(USERS)["/users/number/start"] == "1000"


@pytest.mark.parametrize("role", ["reader", "admin"])
async def test_somebody_else_may_look_at_a_preview_and_cannot_save_it(site: Site, role: str) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__number__start="4000"))
    site.sign_out()
    await (site.sign_in("reader") if role == "reader" else another_admin(site))
    seen = await site.get(page.path)
    assert figures(seen)["To create"] == "0"
    assert seen.forms == []
    assert (await site.post(page.path)).status == (403 if role == "reader" else 409)
    assert (await site.settings()).users == Users()


async def test_a_save_without_the_token_is_refused(site: Site) -> None:
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__number__start="4000"))
    assert (await site.post(page.path, {"csrf": "wrong"})).status == 403
    assert (await site.settings()).users == Users()


async def test_names_that_are_markup_stay_names(site: Site) -> None:
    site.world.person(HOSTILE, mail="hostile@contoso.example", userPrincipalName="hostile@contoso.example")
    await site.world.secrets()
    await site.sign_in()
    page = await ended(site, await begun(site, users__enabled="yes"))
    assert any(" ".join(HOSTILE.split()) in name for name in names(page))
    assert "<img" not in page.html
    assert values(page.form_with("Save these rules"), "csrf")
