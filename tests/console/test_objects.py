"""Synced users and groups in the console: the lists, one user, and the search for anybody in the tenant."""

from typing import Any

import msgspec
import pytest

from console.objects import FOUND_A_PAGE, ITEMS_LOOKED_AT
from store.links import Link
from tests.console.page import Page
from tests.console.records import UNKNOWN, has_notice, item, recorded
from tests.console.site import HOSTILE, Site


async def synced(site: Site, *names: str, **rules: Any) -> list[Link]:
    """These people with their extensions, and an administrator at the browser."""
    world = site.world
    for name in names:
        world.person(name)
    await world.secrets()
    [message] = await world.enable(**rules)
    run = await world.execute(message)
    assert run.status == "succeeded", run
    await site.sign_in()
    return sorted(await world.links(), key=lambda link: link.number)


NOTHING = "\N{EN DASH}"


def history_of(page: Page) -> list[list[str]]:
    section = page.root.one("section", aria_labelledby="past-title")
    rows = [row for row in section.all("tr") if row.parent is not None and row.parent.name == "tbody"]
    cells = [[cell.text for cell in row.children if cell.name in {"td", "th"}] for row in rows]
    return [row for row in cells if len(row) == 4]


# One user


async def test_a_user_is_told_with_the_link_the_fields_and_what_runs_did(site: Site) -> None:
    [ann] = await synced(site, "Ann Smit")
    site.world.change_user(ann.object_id, jobTitle="Dispatcher")
    run = await site.world.run()
    page = await site.get(f"/console/users/{ann.object_id}")
    assert page.heading == "Ann Smit"
    assert ["Extension number", "1000"] in page.rows
    assert ["State", "Synced"] in page.rows
    assert ["Came about", "Created by the bridge"] in page.rows
    assert ["Job title", "Dispatcher"] in page.rows
    assert ["E-mail", "ann.smit@contoso.example"] in page.rows
    assert page.links["a run"] == f"/console/runs/{run.id}"
    assert [row[1:3] for row in history_of(page)] == [["Update", "Done"], ["Create", "Done"]]


async def test_somebody_who_was_skipped_is_told_why_though_there_is_no_link(site: Site) -> None:
    site.world.licence(1)
    await synced(site, "Ann", "Bob")
    bob = next(entity.id for _, entity in site.world.microsoft.directory.live("user")
               if entity.properties["displayName"] == "Bob")  # fmt: skip
    page = await site.get(f"/console/users/{bob}")
    assert page.heading == "Bob"
    assert page.says("No extension is linked to this user.")
    [row] = history_of(page)
    assert row[1:3] == ["Skip", "Skipped"]
    assert "the limit of its licence is reached" in row[3]


async def test_a_mark_for_deletion_says_since_when_and_when_it_takes_effect(site: Site) -> None:
    [ann, _] = await synced(site, "Ann", "Bob", delete_grace_days=7)
    await site.world.settings(lambda document: document["guard"].update(max_deletion_percent=100))
    site.world.delete_user(ann.object_id)
    await site.world.run()
    page = await site.get(f"/console/users/{ann.object_id}")
    assert has_notice(page, "Marked for deletion since 2026-03-02 09:00.")
    assert has_notice(page, "The first full run after 2026-03-09 09:00 UTC deletes the extension")
    assert ["State", "Leaving"] in page.rows


async def test_a_released_extension_is_said_to_belong_to_the_pbx(site: Site) -> None:
    [ann] = await synced(site, "Ann")
    await site.connection.links("users").write(save=[msgspec.structs.replace(ann, state="released")])
    page = await site.get(f"/console/users/{ann.object_id}")
    assert has_notice(page, "Released: the PBX manages extension 1000 now.")


async def test_explain_asks_for_a_preview_and_sync_for_a_run_about_this_user_only(site: Site) -> None:
    [ann, _] = await synced(site, "Ann", "Bob")
    site.world.change_user(ann.object_id, jobTitle="Dispatcher")
    page = await site.get(f"/console/users/{ann.object_id}")
    explained = await site.press(page.form("/console/runs"), "Explain")
    await site.work()
    assert (await site.get(explained.path)).says("Step by step")
    assert site.world.extensions()["1000"].get("title", "") == ""
    await site.press(page.form("/console/runs"), "Sync this user now")
    await site.work()
    runs = [run async for run in site.connection.runs.newest(2)]
    assert [(run.preview, run.object_id, run.what) for run in runs] == [
        (False, ann.object_id, ["users"]),
        (True, ann.object_id, ["users"]),
    ]
    assert site.world.extensions()["1000"]["title"] == "Dispatcher"
    assert [entry.action for entry in await site.trail()][:2] == ["sync.started", "sync.previewed"]


async def test_a_reader_looks_at_a_user_and_starts_nothing(site: Site) -> None:
    [ann] = await synced(site, "Ann")
    await site.sign_in("reader")
    page = await site.get(f"/console/users/{ann.object_id}")
    assert page.heading == "Ann"
    assert page.form("/console/runs").buttons == []
    refused = await site.post("/console/runs", {"what": "users", "object_id": ann.object_id, "preview": "1"})
    assert refused.status == 403
    assert site.queue == []


async def test_a_user_nobody_knows_has_a_page_to_explain_from(site: Site) -> None:
    await site.sign_in()
    page = await site.get(f"/console/users/{UNKNOWN.upper()}")
    assert (page.status, page.heading) == (200, UNKNOWN)
    assert page.says("recorded nothing about this user")


@pytest.mark.parametrize("object_id", ["ann", "..%2Fsettings", "%27%20or%20true", "1" * 36])
async def test_what_is_no_object_id_has_no_page(site: Site, object_id: str) -> None:
    await site.sign_in()
    assert (await site.get(f"/console/users/{object_id}")).status == 404


async def test_large_runs_are_searched_only_when_they_changed_the_extension(site: Site) -> None:
    [ann] = await synced(site, "Ann")
    crowd = [item() for _ in range(ITEMS_LOOKED_AT)]
    large = await recorded(site, item(object_id=ann.object_id, reason="In a crowd."), *crowd)
    page = await site.get(f"/console/users/{ann.object_id}")
    assert [row[1] for row in history_of(page)] == ["Create"]
    await site.connection.links("users").write(save=[msgspec.structs.replace(ann, run_id=large.id)])
    page = await site.get(f"/console/users/{ann.object_id}")
    assert [row[1] for row in history_of(page)] == ["Update", "Create"]
    assert "In a crowd." in history_of(page)[0][3]


async def test_what_is_markup_stays_text_on_the_page_of_a_user(site: Site) -> None:
    await site.sign_in()
    link = Link(
        object_id=UNKNOWN,
        pbx_id=1,
        number=HOSTILE,
        name=HOSTILE,
        user_principal_name=HOSTILE,
        written={HOSTILE: HOSTILE},
        leaving_since="2026-03-02T09:00:00+00:00",
        leaving_reason=HOSTILE,
    )
    await site.connection.links("users").write(save=[link])
    await recorded(site, item(name=HOSTILE, reason=HOSTILE, notes=[HOSTILE], after={HOSTILE: HOSTILE}))
    page = await site.get(f"/console/users/{UNKNOWN}")
    assert page.heading == HOSTILE
    assert "<script>alert" not in page.html
    assert "<img" not in page.html


# Anybody in the tenant


async def test_anybody_in_the_tenant_is_found_synced_or_not_and_can_be_explained(site: Site) -> None:
    [ann] = await synced(site, "Ann Smit")
    new = site.world.person("Nora Smit")
    page = await site.get("/console/users/find")
    assert page.rows == []
    page = await site.press(page.form(), "Search", search="smit")
    assert [row[:3] for row in page.rows] == [
        ["Ann Smit", "ann.smit@contoso.example", "1000"],
        ["Nora Smit", "nora.smit@contoso.example", "none"],
    ]
    assert page.links["Nora Smit"] == f"/console/users/{new}"
    form = next(form for form in page.forms if ("object_id", new) in form.values())
    explained = await site.press(form, "Explain")
    await site.work()
    assert ["What changes?", "create"] in [row[:2] for row in (await site.get(explained.path)).rows]
    assert ann.object_id != new


async def test_the_search_finds_while_somebody_types(site: Site) -> None:
    await synced(site, "Ann Smit")
    page = await site.get("/console/users/find")
    box = page.root.one("input", name="search")
    assert (box["hx-get"], box["hx-target"]) == ("/console/users/find", "#found")
    part = await site.get("/console/users/find?search=ann", part=True)
    assert part.root.all("h1") == []
    assert [row[0] for row in part.rows] == ["Ann Smit"]
    assert (await site.get("/console/users/find?search=zoe", part=True)).says("Nobody in the tenant")


async def test_a_search_that_finds_many_says_that_there_may_be_more(site: Site) -> None:
    await synced(site, "Ann")
    site.world.people(FOUND_A_PAGE + 1)
    page = await site.get("/console/users/find?search=person")
    assert len(page.rows) == FOUND_A_PAGE
    assert page.says("There may be more")


async def test_a_tenant_that_cannot_be_asked_is_told_with_what_to_do(site: Site) -> None:
    await site.deploy(tenant_id="", client_id="")
    await site.sign_in()
    page = await site.get("/console/users/find?search=ann")
    assert page.status == 200
    assert has_notice(page, "The tenant cannot be asked for its users now.")
    assert has_notice(page, "Connect the tenant first.")


async def test_a_reader_finds_users_and_has_no_button_to_explain(site: Site) -> None:
    await synced(site, "Ann")
    await site.sign_in("reader")
    page = await site.get("/console/users/find?search=ann")
    assert [row[0] for row in page.rows] == ["Ann"]
    assert [form.action for form in page.forms] == ["/console/users/find"]


async def test_names_that_are_markup_stay_texts_in_what_is_found(site: Site) -> None:
    await synced(site, "Ann")
    site.world.person("Mallory", displayName=f"Mallory {HOSTILE}")
    page = await site.get("/console/users/find?search=mallory")
    assert [row[0] for row in page.rows] == [f"Mallory {HOSTILE}"]
    assert "<script>alert" not in page.html
    assert "<script>alert" not in (await site.get("/console/users/find?search=%3Cscript%3Ealert")).html


# The lists


def table_of(page: Page) -> list[list[str]]:
    """The rows of the list; one of groups has no number."""
    return [row for row in page.rows if len(row) in {4, 5}]


def names(page: Page) -> list[str]:
    """The first names in the list."""
    return [row[0].split()[0] for row in table_of(page)]


async def test_every_user_is_listed_with_number_state_and_last_operation(site: Site) -> None:
    site.world.licence(2)
    await synced(site, "Ann", "Bob", "Cas")
    page = await site.get("/console/users/list")
    assert page.heading == "Synced users"
    assert page.root.one(id="total").text == "3 users: 2 synced, 1 skipped."
    ann, bob, cas = table_of(page)
    assert ann == ["Ann ann@contoso.example", "1000", "Synced", "2026-03-02 09:00", ann[4]]
    assert ann[4].startswith("Done")
    assert (bob[1], bob[2]) == ("1001", "Synced")
    assert cas[:3] == ["Cas cas@contoso.example", NOTHING, "Skipped"]
    assert "the limit of its licence is reached" in cas[4]
    links = await site.world.links()
    assert page.links["Ann"] in {f"/console/users/{link.object_id}" for link in links}
    assert page.links["Rules for users"] == "/console/users"


async def test_the_list_is_searched_and_filtered_also_while_somebody_types(site: Site) -> None:
    site.world.licence(2)
    await synced(site, "Ann Smit", "Bob Smit", "Cas Smit")
    page = await site.get("/console/users/list")
    page = await site.press(page.form(), "Show", search="smit", state="skipped")
    assert names(page) == ["Cas"]
    assert page.root.one(id="total").text == "1 user found: 1 skipped."
    assert page.form()["search"] == "smit"
    assert page.form()["state"] == "skipped"
    assert names(await site.get("/console/users/list?search=1001")) == ["Bob"]
    assert names(await site.get("/console/users/list?outcome=done")) == ["Ann", "Bob"]
    part = await site.get("/console/users/list?search=BOB", part=True)
    assert part.root.all("h1") == []
    assert names(part) == ["Bob"]
    total = part.root.one("p", id="total")
    assert (total["hx-swap-oob"], total.text) == ("innerHTML", "1 user found: 1 synced.")
    nothing = await site.get("/console/users/list?search=zoe")
    assert nothing.says("Nothing fits the search and the filters.")


async def test_columns_sort_both_ways_and_keep_the_filter(site: Site) -> None:
    await synced(site, "Ann", "Bob", "Cas")
    page = await site.get("/console/users/list?state=linked")
    assert page.root.one("th", aria_sort="ascending").text.startswith("Name")
    page = await site.get(page.links["Extension: sort"])
    assert names(page) == ["Ann", "Bob", "Cas"]
    page = await site.get(page.links["Extension: sort"])
    assert names(page) == ["Cas", "Bob", "Ann"]
    assert page.root.one("th", aria_sort="descending").text.startswith("Extension")
    page = await site.press(page.form(), "Show", search="b")
    assert (names(page), page.form()["order"], page.form()["state"]) == (["Bob"], "number", "linked")


async def test_the_list_has_pages_and_shows_everybody_once(site: Site) -> None:
    await site.world.staff(120)
    await site.world.secrets()
    await site.world.enable()
    await site.sign_in()
    page = await site.get("/console/users/list?order=number&descending=1")
    seen: list[str] = []
    sizes: list[int] = []
    while True:
        rows = table_of(page)
        sizes.append(len(rows))
        seen += [row[1] for row in rows]
        if "Next page" not in page.links:
            break
        page = await site.get(page.links["Next page"])
    assert sizes == [50, 50, 20]
    assert seen == [str(number) for number in range(1119, 999, -1)]
    assert page.links["First page"] == "/console/users/list?order=number&descending=1"


@pytest.mark.parametrize(
    "query", ["after=nonsense", "order=secret", "state=%3Cscript%3E", "outcome=x", "after=WyJhIiwxXQ=="]
)
async def test_an_address_that_no_list_gives_is_not_found(site: Site, query: str) -> None:
    await site.sign_in()
    page = await site.get(f"/console/users/list?{query}")
    assert (page.status, page.heading) == (404, "No such page")
    assert page.links["The whole list"] == "/console/users/list"


async def test_groups_are_listed_with_state_and_reason_and_without_numbers(site: Site) -> None:
    world = site.world
    ann = world.person("Ann")
    world.group("Sales", ann)
    world.add_pbx_group("Support")
    world.group("Support", ann)
    await world.first_sync()
    await site.sign_in("reader")
    page = await site.get("/console/groups/list")
    assert page.heading == "Synced groups"
    sales, support = table_of(page)
    assert (len(sales), sales[0], sales[1]) == (4, "Sales", "Synced")
    assert (support[0], support[1]) == ("Support", "Skipped")
    assert "has an extension group Support already" in support[3]
    assert "Extension: sort" not in page.links
    assert page.links["Rules for groups"] == "/console/groups"


async def test_before_the_first_run_the_list_says_so(site: Site) -> None:
    await site.sign_in("reader")
    for kind in ("users", "groups"):
        page = await site.get(f"/console/{kind}/list")
        assert page.says("Nothing is synced yet.")
        assert page.root.one(id="total").text == f"0 {kind}."


async def test_names_and_searches_that_are_markup_stay_texts_in_the_list(site: Site) -> None:
    await site.sign_in()
    hostile = Link(object_id=UNKNOWN, pbx_id=1, number="1000", name=HOSTILE, user_principal_name=HOSTILE)
    await site.connection.links("users").write(save=[hostile])
    await recorded(site, item(name=HOSTILE, reason=HOSTILE, outcome="failed"))
    for query in ("", "?search=%3Cscript%3Ealert(%221%22)%3C/script%3E'%22"):
        page = await site.get(f"/console/users/list{query}")
        assert len(table_of(page)) == 1
        assert "<script>alert" not in page.html
        assert "<img" not in page.html
