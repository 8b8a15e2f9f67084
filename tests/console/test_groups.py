"""The rules for groups; what they share with those for users is tested there."""

from typing import Any

import msgspec
import pytest

from store.document import Groups, GroupScope
from tests.console.rules import opened, searched, sent, stored, values
from tests.console.site import Site

PATH = "/console/groups"


async def saved(site: Site) -> Groups:
    return (await site.settings()).groups


async def test_the_page_shows_what_is_stored(site: Site) -> None:
    await stored(
        site, "groups", scope={"kind": "types", "group_types": ["microsoft365"]}, delete_out_of_scope=True,
        associate_by_name=True,
    )  # fmt: skip
    await site.sign_in()
    page = await site.get(PATH)
    form = page.form(PATH)
    assert form["/groups/scope/kind"] == "types"
    assert values(form, "/groups/scope/group_types") == ["microsoft365"]
    assert form["/groups/delete_out_of_scope"] == form["/groups/associate_by_name"] == "yes"
    assert values(form, "/groups/enabled") == []
    assert form["/guard/max_deletions"] == form["/guard/max_deletion_percent"] == "20"
    assert page.links["Synced groups"] == "/console/groups/list"


async def test_every_member_of_the_rules_has_a_field(site: Site) -> None:
    await stored(site, "groups", scope={"kind": "groups", "group_ids": ["00000000-0000-4000-8000-000000000000"]})
    await site.sign_in()
    form = await opened(site, "groups")
    document = msgspec.to_builtins(await saved(site))
    members = {f"/groups/{name}" for name in document if name != "scope"}
    members |= {f"/groups/scope/{name}" for name in document["scope"]}
    assert members <= form.names


async def test_what_is_typed_is_saved_and_recorded(site: Site) -> None:
    sales = site.world.group("Sales")
    await site.world.secrets()
    await site.sign_in()
    page = await searched(site, await opened(site, "groups"), "sal")
    page = await site.press(page.form(PATH), "Add Sales")
    page = await sent(
        site, page.form(PATH), groups__scope__kind="groups", groups__delete_out_of_scope="yes",
        groups__associate_by_name="yes", guard__max_deletions="2",
    )  # fmt: skip
    assert page.path == f"{PATH}?done=saved"
    after = await site.settings()
    scope = GroupScope(kind="groups", group_ids=[sales])
    assert after.groups == Groups(scope=scope, delete_out_of_scope=True, associate_by_name=True)
    assert after.guard.max_deletions == 2
    assert {entry.object for entry in await site.trail() if entry.action == "settings.saved"} == {"/groups", "/guard"}


async def test_the_first_save_that_switches_groups_on_starts_a_full_run(site: Site) -> None:
    world = site.world
    world.group("Sales", *world.people(2))
    await world.secrets()
    await world.execute((await world.enable())[0])
    await site.sign_in()
    page = await sent(site, await opened(site, "groups"), groups__enabled="yes")
    assert page.says("Saved. A full run with these rules starts in a moment.")
    await site.work()
    assert world.pbx_groups() == [("Sales", ["1000", "1001"])]


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"groups__scope__kind": "types"}, "groups-scope-group_types", "has to name security, microsoft365 or both"),
        ({"groups__scope__kind": "groups"}, "groups-scope-group_ids", "has to name at least one group"),
        ({"groups__scope__group_types": ["lists"]}, "groups-scope-group_types", "has to be one of"),
        ({"guard__max_deletions": "some"}, "guard-max_deletions", "has to be a whole number"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_fault_is_told_at_its_field_and_everything_typed_is_kept(
    site: Site, typed: dict[str, Any], field: str, words: str
) -> None:
    await site.sign_in()
    page = await sent(site, await opened(site, "groups"), **{"groups__associate_by_name": "yes", **typed})
    assert page.status == 422
    assert words in page.root.one(id=f"fault-{field}").text
    assert page.form(PATH)["/groups/associate_by_name"] == "yes"
    assert await saved(site) == Groups()


async def test_a_save_after_somebody_else_s_tells_what_they_changed_and_the_next_one_wins(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "groups")
    await stored(site, "groups", associate_by_name=True)
    page = await sent(site, form, groups__delete_out_of_scope="yes")
    assert page.status == 409
    assert page.says("Take over extension groups with the same name /groups/associate_by_name: on")
    await sent(site, page.form(PATH))
    assert await saved(site) == Groups(delete_out_of_scope=True)


async def test_a_reader_sees_the_rules_and_cannot_change_them(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get(PATH)
    assert page.says("Bridge.Admin")
    assert page.form(PATH).buttons == []
    assert (await site.post(PATH, {"/groups/enabled": "yes"})).status == 403
    assert await saved(site) == Groups()


async def test_a_form_without_the_token_is_refused(site: Site) -> None:
    await site.sign_in()
    pairs = [pair for pair in (await opened(site, "groups")).values("Save") if pair[0] != "csrf"]
    assert (await site.post(PATH, [*pairs, ("csrf", "wrong")])).status == 403


async def test_while_groups_are_paused_the_form_is_read_only_and_says_why(site: Site) -> None:
    await site.sign_in()
    form = await opened(site, "groups")
    await site.connection.health.update(lambda health: msgspec.structs.replace(health, paused=["groups"]))
    page = await site.get(PATH)
    assert page.says("The synchronization of groups is paused")
    assert page.form(PATH).buttons == []
    assert (await sent(site, form, groups__associate_by_name="yes")).status == 409
    assert await saved(site) == Groups()
