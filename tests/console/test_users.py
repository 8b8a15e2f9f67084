"""The rules for users: what is stored, what is typed, the groups to choose from, and what cannot be saved."""

from typing import Any

import msgspec
import pytest

from console import rules
from store.document import Guard, Numbering, Users, UserScope
from sync.service import save_if_matching
from tests.console.page import Page
from tests.console.rules import opened, searched, sent, stored, values
from tests.console.site import HOSTILE, Site

PATH = "/console/users"
NOBODY = "00000000-0000-4000-8000-000000000000"


async def saved(site: Site) -> Users:
    return (await site.settings()).users


def found(page: Page) -> list[str]:
    return [item.text for item in page.root.one(id="picker-found").all("li")]


async def test_the_page_shows_what_is_stored(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await stored(
        site, "users", scope={"kind": "groups", "user_types": ["Guest"], "group_ids": [sales]},
        number={"kind": "property", "start": 2000, "property": "employeeId"}, delete_when=["deleted"],
        delete_out_of_scope=True, delete_grace_days=30, associate_by_email=True, send_welcome_email=True,
    )  # fmt: skip
    await stored(site, "guard", max_deletions=5, max_deletion_percent=12.5)
    await site.sign_in()
    page = await site.get(PATH)
    form = page.form(PATH)
    assert form["/users/scope/kind"] == "groups"
    assert form["/users/scope/group_ids"] == sales
    assert page.root.one(id="picker").one("ul").text == "Sales Remove Sales"
    assert values(form, "/users/scope/user_types") == ["Guest"]
    assert form["/users/number/kind"] == "property"
    assert form["/users/number/start"] == "2000"
    assert form["/users/number/property"] == "employeeId"
    assert values(form, "/users/delete_when") == ["deleted"]
    assert form["/users/delete_grace_days"] == "30"
    assert form["/guard/max_deletions"] == "5"
    assert form["/guard/max_deletion_percent"] == "12.5"
    for name in ("delete_out_of_scope", "associate_by_email", "send_welcome_email"):
        assert form[f"/users/{name}"] == "yes"
    assert values(form, "/users/enabled") == []
    assert page.links["Synced users"] == "/console/users/list"


async def test_every_member_of_the_rules_has_a_field(site: Site) -> None:
    await stored(site, "users", scope={"kind": "groups", "group_ids": [NOBODY]})
    await site.sign_in()
    form = await opened(site, "users")
    document = msgspec.to_builtins(await site.settings())
    members = {
        f"/{section}/{name}" + (f"/{inner}" if inner else "")
        for section in ("users", "guard")
        for name, value in document[section].items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert members <= form.names


async def test_every_field_has_a_label(site: Site) -> None:
    await site.sign_in()
    page = await site.get(PATH)
    labels = {label["for"] for label in page.root.all("label")}
    for control in page.root.one("main").all("input", "select"):
        is_labelled = control["id"] in labels or any(one.name == "label" for one in control.above())
        assert control["type"] == "hidden" or is_labelled, control
        for described in control["aria-describedby"].split():
            page.root.one(id=described)


async def test_what_is_typed_is_saved_and_recorded(site: Site) -> None:
    await site.sign_in()
    before = await site.settings()
    page = await sent(
        site, await opened(site, "users"), users__scope__kind="types", users__scope__user_types=["Member", "Guest"],
        users__number__start="4000", users__delete_when=["disabled"], users__delete_out_of_scope="yes",
        users__delete_grace_days="14", users__associate_by_email="yes", users__send_welcome_email="yes",
        guard__max_deletions="3", guard__max_deletion_percent="7,5",
    )  # fmt: skip
    assert page.path == f"{PATH}?done=saved"
    after = await site.settings()
    assert after.users == Users(
        scope=UserScope(kind="types", user_types=["Member", "Guest"]),
        number=Numbering(start=4000),
        delete_when=["disabled"],
        delete_out_of_scope=True,
        delete_grace_days=14,
        associate_by_email=True,
        send_welcome_email=True,
    )
    assert after.guard == Guard(max_deletions=3, max_deletion_percent=7.5)
    assert (after.microsoft, after.pbx, after.groups) == (before.microsoft, before.pbx, before.groups)
    entries = [entry for entry in await site.trail() if entry.action == "settings.saved"]
    assert {entry.object for entry in entries} == {"/users", "/guard"}
    [users] = [entry for entry in entries if entry.object == "/users"]
    assert msgspec.json.decode(users.before, type=Users) == before.users
    assert msgspec.json.decode(users.after, type=Users) == after.users
    assert (users.who, users.role) == ("Ada Admin", "admin")


async def test_the_first_save_that_switches_users_on_starts_a_full_run(site: Site) -> None:
    site.world.people(3)
    await site.world.secrets()
    await site.sign_in()
    page = await sent(site, await opened(site, "users"), users__enabled="yes")
    assert page.says("Saved. A full run with these rules starts in a moment.")
    await site.work()
    assert sorted(site.world.extensions()) == ["1000", "1001", "1002"]
    again = await sent(site, await opened(site, "users"), users__number__start="2000")
    assert again.path == f"{PATH}?done=saved"
    assert site.queue == []


async def test_the_enter_key_saves(site: Site) -> None:
    await site.sign_in()
    await sent(site, await opened(site, "users"), "", users__number__start="4321")
    assert (await saved(site)).number.start == 4321


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"users__number__start": "0"}, "users-number-start", "has to be 1 or more"),
        ({"users__number__start": "12345678"}, "users-number-start", "has to be 9999999 or less"),
        ({"users__number__start": "ten"}, "users-number-start", "has to be a whole number"),
        ({"users__number__start": "\uff11\uff12"}, "users-number-start", "has to be a whole number"),
        ({"users__number__start": HOSTILE}, "users-number-start", "has to be a whole number"),
        ({"users__delete_grace_days": "366"}, "users-delete_grace_days", "has to be 365 or less"),
        ({"users__delete_grace_days": "-1"}, "users-delete_grace_days", "has to be 0 or more"),
        ({"guard__max_deletions": ""}, "guard-max_deletions", "has to be a whole number"),
        ({"guard__max_deletion_percent": "101"}, "guard-max_deletion_percent", "has to be 100 or less"),
        ({"guard__max_deletion_percent": "nan"}, "guard-max_deletion_percent", "has to be a number"),
        ({"users__number__kind": "property"}, "users-number-property", "has to name the property"),
        ({"users__number__property": "displayName"}, "users-number-property", "has to be one of businessPhones"),
        ({"users__scope__kind": "types"}, "users-scope-user_types", "has to name Member, Guest or both"),
        ({"users__scope__kind": "groups"}, "users-scope-group_ids", "has to name at least one group"),
        ({"users__scope__kind": "nobody"}, "users-scope-kind", "has to be one of all, groups, types"),
        ({"users__scope__group_ids": [HOSTILE]}, "users-scope-group_ids", "has to be the object id of a group"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_fault_is_told_at_its_field_and_everything_typed_is_kept(
    site: Site, typed: dict[str, Any], field: str, words: str
) -> None:
    await site.sign_in()
    page = await sent(
        site, await opened(site, "users"), **{"users__associate_by_email": "yes", "users__delete_when": [], **typed}
    )
    assert page.status == 422
    assert words in page.root.one(id=f"fault-{field}").text
    assert len(page.faults) == 1
    form = page.form(PATH)
    assert form["/users/associate_by_email"] == "yes"
    assert values(form, "/users/delete_when") == []
    for name, value in typed.items():
        if isinstance(value, str) and not name.endswith(("kind", "property")):
            assert form[f"/{name.replace('__', '/')}"] == value
    assert not page.root.all("img")
    assert await site.settings() == site.connection.settings.first


async def test_every_fault_is_told_at_once(site: Site) -> None:
    await site.sign_in()
    page = await sent(
        site,
        await opened(site, "users"),
        users__number__start="x",
        guard__max_deletions="-1",
        users__scope__kind="types",
    )
    assert len(page.faults) == 3


async def test_a_fault_outside_the_form_is_told_too(site: Site) -> None:
    await site.deploy(tenant_id="no tenant")
    await site.sign_in()
    page = await sent(site, await opened(site, "users"), users__number__start="4000")
    assert page.status == 422
    assert page.says("/microsoft/tenant_id has to be the directory (tenant) id")
    assert (await saved(site)).number.start == 1000


async def test_groups_of_the_whole_tenant_are_found_added_and_removed_without_scripts(site: Site) -> None:
    world = site.world
    sales, west = world.group("Sales", kind="microsoft365"), world.group("West Sales")
    for index in range(60):
        world.group(f"Team {index:02}")
    await world.secrets()
    await site.sign_in()
    form = await opened(site, "users")
    page = await searched(site, form, "sales")
    assert found(page) == ["Sales Microsoft 365 group Add Sales", "West Sales Security group Add West Sales"]
    page = await site.press(page.form(PATH), "Add Sales")
    assert values(page.form(PATH), "/users/scope/group_ids") == [sales]
    assert found(page)[0] == "Sales Microsoft 365 group Chosen"
    page = await site.press(page.form(PATH), "Add West Sales")
    assert values(page.form(PATH), "/users/scope/group_ids") == [sales, west]
    page = await site.press(page.form(PATH), "Remove Sales")
    assert values(page.form(PATH), "/users/scope/group_ids") == [west]
    await sent(site, page.form(PATH), users__scope__kind="groups", users__number__start="4000")
    assert (await saved(site)).scope == UserScope(kind="groups", group_ids=[west])
    assert (await site.get(PATH)).root.one(id="picker").one("ul").text == "West Sales Remove West Sales"


async def test_searching_keeps_everything_typed_and_saves_nothing(site: Site) -> None:
    site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    form = await opened(site, "users")
    pairs = [pair for pair in form.values("Search") if pair[0] not in {"search", "/users/number/start"}]
    page = await site.post(
        PATH, [*pairs, ("search", "Sa"), ("/users/number/start", "not yet"), ("/users/enabled", "yes")]
    )
    assert page.status == 200
    assert page.form(PATH)["/users/number/start"] == "not yet"
    assert page.form(PATH)["/users/enabled"] == "yes"
    assert page.form(PATH)["search"] == "Sa"
    assert await site.settings() == site.connection.settings.first
    entered = await searched(site, form, "Sa", "")
    assert found(entered) == ["Sales Security group Add Sales"]


async def test_a_search_tells_that_there_are_more_or_none(site: Site) -> None:
    for index in range(60):
        site.world.group(f"Team {index:02}")
    await site.world.secrets()
    await site.sign_in()
    page = await searched(site, await opened(site, "users"), "team")
    assert len(found(page)) == 50
    assert page.says("there may be more")
    none = await searched(site, page.form(PATH), "nothing like it")
    assert found(none) == []
    assert none.says("No group's name has a word that begins like this.")


async def test_scripts_get_only_the_part_they_asked_for(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    form = await opened(site, "users")
    part = await searched(site, form, "sales", part=True)
    assert part.heading == ""
    assert [item.text for item in part.root.all("li")] == ["Sales Security group Add Sales"]
    pairs = [pair for pair in form.values() if pair[0] != "search"]
    added = await site.post(PATH, [*pairs, ("search", "sales"), ("add", sales)], part=True)
    assert [one["value"] for one in added.root.all("input", name="/users/scope/group_ids")] == [sales]
    assert added.root.one("input", name="search").has("autofocus")


async def test_a_group_added_twice_is_chosen_once(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    form = await opened(site, "users")
    pairs = [*form.values(), ("/users/scope/group_ids", sales), ("add", sales)]
    assert values((await site.post(PATH, pairs)).form(PATH), "/users/scope/group_ids") == [sales]


async def test_an_id_in_capitals_is_the_same_group(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await stored(site, "users", scope={"kind": "groups", "group_ids": [sales.upper()]})
    await site.sign_in()
    page = await searched(site, await opened(site, "users"), "sales")
    assert found(page) == ["Sales Security group Chosen"]
    assert page.root.one(id="picker").all("ul")[0].text == "Sales Remove Sales"
    pairs = [pair for pair in page.form(PATH).values() if pair[0] != "search"]
    again = await site.post(PATH, [*pairs, ("add", sales)])
    assert values(again.form(PATH), "/users/scope/group_ids") == [sales]


async def test_names_that_were_read_once_are_not_read_again(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await stored(site, "users", scope={"kind": "groups", "group_ids": [sales]})
    await site.sign_in()
    form = await opened(site, "users")
    site.world.microsoft.requests.clear()
    page = await sent(site, form, users__number__start="x")
    assert page.root.one(id="picker").one("ul").text == "Sales Remove Sales"
    assert len(site.world.microsoft.requests) == 0


async def test_a_group_that_is_gone_is_shown_by_its_id_and_can_be_removed(site: Site) -> None:
    await site.world.secrets()
    await stored(site, "users", scope={"kind": "groups", "group_ids": [NOBODY]})
    await site.sign_in()
    page = await site.get(PATH)
    assert page.says(f"No group with a known name {NOBODY}")
    removed = await site.press(page.form(PATH), f"Remove {NOBODY}")
    assert values(removed.form(PATH), "/users/scope/group_ids") == []


async def test_without_a_secret_the_rules_can_still_be_edited(site: Site) -> None:
    await stored(site, "users", scope={"kind": "groups", "group_ids": [NOBODY]})
    await site.sign_in()
    page = await site.get(PATH)
    assert page.says("The tenant cannot be asked for its groups now.")
    await sent(site, page.form(PATH), users__number__start="4000")
    assert (await saved(site)).number.start == 4000


async def test_names_that_are_markup_stay_names(site: Site) -> None:
    evil = site.world.group(f"Sales {HOSTILE}")
    await site.world.secrets()
    await stored(site, "users", scope={"kind": "groups", "group_ids": [evil]})
    await site.sign_in()
    page = await searched(site, await opened(site, "users"), "Sales")
    words = " ".join(HOSTILE.split())
    assert page.root.one(id="picker").all("ul")[0].text == f"Sales {words} Remove Sales {words}"
    assert found(page) == [f"Sales {words} Security group Chosen"]
    assert "<img" not in page.html


async def test_a_save_after_somebody_else_s_tells_what_they_changed_and_the_next_one_wins(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "users")
    await stored(site, "users", delete_grace_days=9)
    await stored(site, "schedule", at="05:00")
    page = await sent(site, form, users__number__start="4000")
    assert page.status == 409
    [notice] = page.notices
    assert "Days before a deletion /users/delete_grace_days: 9" in notice
    assert "Time /schedule/at: 05:00" in notice
    assert "/users/number" not in notice
    assert page.form(PATH)["/users/number/start"] == "4000"
    assert await saved(site) == Users(delete_grace_days=9)
    await sent(site, page.form(PATH))
    after = await site.settings()
    assert after.users == Users(number=Numbering(start=4000))
    assert after.schedule.at == "05:00"


async def test_a_save_that_loses_the_race_at_the_last_moment_tells_it_as_well(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.sign_in()
    form = await opened(site, "users")

    async def late(*given: Any) -> Any:
        monkeypatch.setattr(rules, "save_if_matching", save_if_matching)
        await stored(site, "guard", max_deletions=1)
        return await save_if_matching(*given)

    monkeypatch.setattr(rules, "save_if_matching", late)
    page = await sent(site, form, users__number__start="4000")
    assert page.status == 409
    assert page.says("Deletions in one run /guard/max_deletions: 1")
    assert await saved(site) == Users()


async def test_a_save_by_somebody_else_that_changed_nothing_does_not_get_in_the_way(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "users")
    await stored(site, "users")
    await sent(site, form, users__number__start="4000")
    assert (await saved(site)).number.start == 4000


async def test_a_reader_sees_the_rules_and_cannot_change_them(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert page.says("Bridge.Admin")
    assert page.form(PATH).buttons == []
    assert page.form(PATH).values() == []
    for act in ("save", "preview", "search"):
        assert (await site.post(PATH, {"/users/enabled": "yes", "act": act})).status == 403
    assert await site.settings() == site.connection.settings.first


async def test_a_form_without_the_token_is_refused(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "users")
    pairs = [pair for pair in form.values("Save") if pair[0] != "csrf"]
    assert (await site.post(PATH, [*pairs, ("csrf", "wrong")])).status == 403


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"paused": ["users"]}, "The synchronization of users is paused"),
        ({"disabled": True}, "The integration is disabled"),
    ],
    ids=["paused", "disabled"],
)
async def test_while_it_is_stopped_the_form_is_read_only_and_says_why(
    site: Site, state: dict[str, Any], words: str
) -> None:
    await site.sign_in()
    form = await opened(site, "users")
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, **state))
    page = await site.get(PATH)
    assert page.says(words)
    assert page.form(PATH).buttons == []
    late = await sent(site, form, users__number__start="4000")
    assert late.status == 409
    assert late.says(f"Nothing was saved or started. {words}")
    assert late.root.one("input", id="users-number-start")["value"] == "4000"
    assert await saved(site) == Users()


async def test_paused_groups_do_not_lock_the_users(site: Site) -> None:
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, paused=["groups"]))
    await site.sign_in()
    await sent(site, await opened(site, "users"), users__number__start="4000")
    assert (await saved(site)).number.start == 4000
