"""Runs in the console: asked for, followed, looked at, and decided about."""

import csv
import io
from typing import Any

import msgspec
import pytest

from console.runs import ITEMS_A_PAGE, RUNS_A_PAGE, about, held_words, lasted, progress, tally_of
from store.runs import Fault, Run
from sync import lifecycle
from tests.console.page import Page, escaped
from tests.console.records import UNKNOWN, has_notice, item, recorded
from tests.console.site import HOSTILE, Site


async def synced(site: Site, number: int = 3, **rules: Any) -> Run:
    """So many people with their extensions, and an administrator at the browser."""
    world = site.world
    world.people(number)
    await world.secrets()
    [message] = await world.enable(**rules)
    run = await world.execute(message)
    assert run.status == "succeeded", run
    await site.sign_in()
    return run


async def holding(site: Site, number: int = 3) -> Run:
    """A run that holds the deletion of so many of ten users."""
    await synced(site, 10)
    links = await site.world.links()
    for link in links[:number]:
        site.world.delete_user(link.object_id)
    run = await site.world.run()
    assert run.counts["delete.held"] == number
    return run


def live_part(page: Page) -> Any:
    return page.root.one("section", id="progress")


# Asking for a run


async def test_without_a_connection_the_page_says_what_is_missing_and_where_to_mend_it(site: Site) -> None:
    await site.deploy(tenant_id="", client_id="")
    await site.sign_in()
    page = await site.get("/console/runs")
    assert has_notice(page, "not connected yet. Missing: the tenant, the id of the application")
    assert page.links["Connect"] == "/connect"
    assert page.form("/console/runs").buttons == []
    assert page.says("No run yet")
    refused = await site.post("/console/runs", {"what": "users"})
    assert (refused.status, refused.heading) == (409, "Not possible now")
    assert refused.says("Nothing was started.")
    assert site.queue == []


async def test_a_run_is_started_followed_to_its_end_and_noted_in_the_trail(site: Site) -> None:
    first = await synced(site)
    site.world.person("Nora New")
    page = await site.get("/console/runs")
    assert page.notices == []
    page = await site.press(page.form("/console/runs"), "Update now")
    assert page.path.endswith("?done=started")
    assert has_notice(page, "queued")
    run_page = page.path.partition("?")[0]
    await site.work()
    page = await site.get(run_page)
    assert page.says("Succeeded")
    assert page.says("1 created.")
    assert "Nora New" in page.links
    [run] = [run async for run in site.connection.runs.newest(1)]
    assert (run.started_by, run.mode, run.what, run.preview) == ("console", "incremental", ["users"], False)
    [entry] = [entry for entry in await site.trail() if entry.action.startswith("sync.")]
    assert (entry.who, entry.action, entry.object, entry.after) == (
        "Ada Admin", "sync.started", run.id, "Users, incremental",
    )  # fmt: skip
    rows = (await site.get("/console/runs")).rows
    assert [row[1:4] for row in rows] == [
        ["By hand", "Users, incremental", "Succeeded"],
        ["First synchronization", "Users, full", "Succeeded"],
    ]
    assert first.message in rows[1][4]


async def test_a_preview_changes_nothing_and_works_while_another_run_is_under_way(site: Site) -> None:
    await synced(site)
    await recorded(site, status="running")
    site.world.person("Nora New")
    written = len(site.world.writes())
    page = await site.press((await site.get("/console/runs")).form("/console/runs"), "Only show", mode="full")
    await site.work()
    page = await site.get(page.path)
    assert page.heading.startswith("Preview of ")
    assert page.says("What it would do, one by one")
    assert ["Nora New nora.new@contoso.example", "1003", "Create", "Planned"] in [row[:4] for row in page.rows]
    assert len(site.world.writes()) == written
    assert [entry.action for entry in await site.trail()][:1] == ["sync.previewed"]


async def test_a_second_run_is_refused_with_the_way_to_the_first(site: Site) -> None:
    await synced(site)
    under_way = await recorded(site, status="running")
    page = await site.post("/console/runs", {"what": "users"})
    assert (page.status, page.heading) == (409, "A run is in progress")
    assert page.links["Follow the run"] == f"/console/runs/{under_way.id}"
    assert site.queue == []


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"what": "groups"}, 409, "The synchronization of groups is off or paused."),
        ({"what": ["users", "groups"]}, 409, "The synchronization of groups is off or paused."),
        ({"choose": "1"}, 422, "Choose users, groups or both."),
        ({"what": "contacts"}, 422, "Choose users, groups or both."),
        ({"what": "users", "object_id": "ann"}, 422, "is a GUID"),
    ],
    ids=["off", "one of two off", "nothing chosen", "unknown", "no object id"],
)
async def test_what_cannot_be_synced_is_refused_with_the_reason(
    site: Site, form: dict[str, Any], status: int, words: str
) -> None:
    await synced(site)
    page = await site.post("/console/runs", form)
    assert page.status == status
    assert page.says(words)
    assert page.says("Nothing was started.")
    assert site.queue == []
    assert len([run async for run in site.connection.runs.newest(5)]) == 1


async def test_while_paused_disabled_or_switched_off_the_page_says_so_and_starts_nothing(site: Site) -> None:
    await synced(site)
    await lifecycle.pause(site.connection, "users", site.world.tell())
    page = await site.get("/console/runs")
    assert has_notice(page, "The synchronization of users is paused.")
    assert page.form("/console/runs").buttons == []
    assert (await site.post("/console/runs", {"what": "users"})).status == 409
    await lifecycle.disable(site.connection, [], site.world.tell())
    assert has_notice(await site.get("/console/runs"), "The integration is disabled.")
    await lifecycle.enable(site.connection, site.world.tell())
    await lifecycle.resume(site.connection, "users", site.world.tell())
    await site.world.settings(lambda document: document["users"].update(enabled=False))
    page = await site.get("/console/runs")
    assert has_notice(page, "Neither users nor groups are switched on")
    assert page.links["Rules for users"] == "/console/users"


async def test_a_run_about_one_user_explains_itself_step_by_step(site: Site) -> None:
    await synced(site)
    link = (await site.world.links())[0]
    site.world.change_user(link.object_id, jobTitle="Dispatcher")
    page = await site.post("/console/runs", {"what": "users", "object_id": link.object_id.upper(), "preview": "1"})
    await site.work()
    page = await site.get(page.path)
    assert page.says("Step by step")
    assert ["What changes?", "update"] in [row[:2] for row in page.rows]
    assert ["In scope?", "yes", "The scope is all users."] in page.rows
    assert page.links[link.object_id] == f"/console/users/{link.object_id}"


# Who may


async def test_a_reader_sees_runs_and_starts_and_decides_nothing(site: Site) -> None:
    run = await holding(site)
    await site.sign_in("reader")
    page = await site.get("/console/runs")
    assert page.form("/console/runs").buttons == []
    assert page.says("somebody with the role Bridge.Admin can start a run")
    assert (await site.post("/console/runs", {"what": "users"})).status == 403
    page = await site.get(f"/console/runs/{run.id}")
    assert page.says("Your account may look only")
    for decision in ("approve", "reject"):
        assert page.form(f"/console/runs/{run.id}/{decision}").buttons == []
        assert (await site.post(f"/console/runs/{run.id}/{decision}", {"count": "3"})).status == 403
    stored = await site.connection.runs.get(run.id)
    assert stored is not None
    assert stored.decision == ""
    assert site.queue == []


@pytest.mark.parametrize("path", ["", "/{run}/approve", "/{run}/reject"])
async def test_a_form_without_the_token_of_the_session_does_nothing(site: Site, path: str) -> None:
    run = await holding(site)
    page = await site.post(f"/console/runs{path.format(run=run.id)}", {"what": "users", "count": "3", "csrf": None})
    assert (page.status, page.heading) == (403, "Form refused")
    assert site.queue == []


# The list


async def test_the_list_has_pages_from_the_newest_run_to_the_first(site: Site) -> None:
    await site.sign_in()
    for index in range(RUNS_A_PAGE + 2):
        await recorded(site, message=f"Run number {index}.")
    page = await site.get("/console/runs")
    assert len(page.rows) == RUNS_A_PAGE
    assert f"Run number {RUNS_A_PAGE + 1}." in page.rows[0]
    assert "Newest" not in page.links
    page = await site.get(page.links["Earlier runs"])
    assert [row[4] for row in page.rows] == ["Run number 1.", "Run number 0."]
    assert "Earlier runs" not in page.links
    assert page.links["Newest"] == "/console/runs"


@pytest.mark.parametrize(
    "address", ["/console/runs?after=%2F..%23", "/console/runs/%27%20or%20true", "/console/runs/1"]
)
async def test_an_address_that_names_no_run_is_not_found(site: Site, address: str) -> None:
    await site.sign_in()
    page = await site.get(address)
    assert page.status == 404
    assert page.links["All runs"] == "/console/runs"


async def test_times_are_told_in_the_time_zone_of_the_schedule(site: Site) -> None:
    await site.sign_in()
    await site.world.settings(lambda document: document["schedule"].update(time_zone="Asia/Tokyo"))
    await recorded(site, requested_at="2026-03-02T20:00:00.000+00:00")
    page = await site.get("/console/runs")
    assert page.rows[0][0] == "2026-03-03 05:00"
    assert page.says("Times in Asia/Tokyo.")


# Following a run


async def test_a_run_under_way_is_followed_every_second_or_without_scripts_by_itself(site: Site) -> None:
    await site.sign_in()
    run = await recorded(site, status="running", counts={"total": 40, "read": 50}, items=10)
    page = await site.get(f"/console/runs/{run.id}")
    part = live_part(page)
    assert (part["hx-trigger"], part["hx-swap"]) == ("every 1s", "outerHTML")
    bar = part.one("progress")
    assert (bar["value"], bar["max"]) == ("10", "40")
    assert "10 of 40 operations." in part.text
    assert page.root.one("meta", http_equiv="refresh").parent.name == "noscript"  # type: ignore[union-attr]
    assert page.links["Refresh"] == f"/console/runs/{run.id}"
    assert page.root.one("p", id="said")["aria-live"] == "polite"


async def test_progress_is_said_aloud_with_every_tenth_and_not_every_second(site: Site) -> None:
    await site.sign_in()
    run = await recorded(site, status="running", counts={"total": 100}, items=10)
    address = live_part(await site.get(f"/console/runs/{run.id}"))["hx-get"]

    async def part(items: int) -> Page:
        await site.connection.runs.save(msgspec.structs.replace(run, items=items))
        return await site.get(address, part=True)

    page = await part(15)
    assert page.root.all("h1") == []
    assert page.root.all(id="said") == []
    page = await part(25)
    said = page.root.one("p", id="said")
    assert (said["hx-swap-oob"], said.text) == ("innerHTML", "25 of 100 operations.")
    address = live_part(page)["hx-get"]
    assert (await part(26)).root.all(id="said") == []


async def test_a_finished_run_sends_whoever_follows_it_to_the_whole_page_and_is_not_asked_again(site: Site) -> None:
    await site.sign_in()
    run = await recorded(site, item())
    part = await site.get(f"/console/runs/{run.id}?said=3", part=True)
    assert part.headers["hx-redirect"] == f"/console/runs/{run.id}"
    page = await site.get(f"/console/runs/{run.id}")
    assert not live_part(page).has("hx-get")
    assert page.root.all("meta", http_equiv="refresh") == []


async def test_before_the_plan_is_made_the_bar_has_no_end(site: Site) -> None:
    await site.sign_in()
    run = await recorded(site, status="queued")
    part = live_part(await site.get(f"/console/runs/{run.id}"))
    assert not part.one("progress").has("value")
    assert "Waits for its turn." in part.text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "queued"}, (0, 0, "Waits for its turn.")),
        ({"status": "queued", "message": "Waits for the run 1."}, (0, 0, "Waits for the run 1.")),
        ({"status": "running"}, (0, 0, "Reads Microsoft 365 and the PBX.")),
        ({"status": "running", "counts": {"total": 8}, "items": 2}, (2, 8, "2 of 8 operations.")),
        ({"status": "running", "counts": {"total": 8}, "items": 9}, (8, 8, "8 of 8 operations.")),
    ],
    ids=["queued", "waiting", "reading", "applying", "never beyond the end"],
)
def test_progress_in_words_and_numbers(changes: dict[str, Any], expected: tuple[int, int, str]) -> None:
    run = Run(id="1-a", what=["users"], mode="full", started_by="api", requested_at="", **changes)
    now = progress(run)
    assert (now.done, now.total, now.words) == expected


# What a run did


async def test_every_item_is_told_with_its_reason_its_fields_its_notes_and_the_error_of_the_pbx(site: Site) -> None:
    await site.sign_in()
    run = await recorded(
        site,
        item(before={"title": "Clerk"}, after={"title": "Boss"}, notes=["The title was cut."], extension="1000"),
        item(outcome="failed", reason="The PBX refuses it.", errcode=20001, object_id="o2", name="Bob"),
        counts={"update.done": 1, "update.failed": 1, "read": 2, "unchanged": 7},
    )
    page = await site.get(f"/console/runs/{run.id}")
    assert page.says("2 read, 7 unchanged.")
    assert ["Update", "1", "1"] in page.rows
    [ann] = [row for row in page.rows if row[0] == "Ann" and len(row) == 5]
    assert ann[1:4] == ["1000", "Update", "Done"]
    assert "The title was cut." in ann[4]
    assert ["Job title", "Clerk", "Boss"] in page.rows
    assert page.says("(error 20001 of the PBX)")
    assert page.links["Ann"] == f"/console/users/{UNKNOWN}"


async def test_items_are_filtered_by_outcome_and_kind(site: Site) -> None:
    await site.sign_in()
    run = await recorded(
        site,
        item(name="Ann"),
        item(name="Bob", outcome="failed"),
        item(name="Sales", kind="groups"),
        item(name="Support", kind="groups", outcome="failed"),
    )
    page = await site.get(f"/console/runs/{run.id}")

    def names(page: Page) -> list[str]:
        return [row[0] for row in page.rows if len(row) == 5]

    assert names(page) == ["Ann", "Bob", "Sales", "Support"]
    page = await site.press(page.form(f"/console/runs/{run.id}"), "Show", outcome="failed")
    assert names(page) == ["Bob", "Support"]
    page = await site.press(page.form(f"/console/runs/{run.id}"), "Show", kind="groups")
    assert names(page) == ["Support"], "the outcome chosen before is kept"
    assert names(await site.get(f"/console/runs/{run.id}?kind=users&outcome=held")) == []


async def test_items_come_a_hundred_a_page_and_none_is_lost_between_two(site: Site) -> None:
    await site.sign_in()
    many = [item(name=f"P{index:03}", outcome="failed" if index % 2 else "done") for index in range(2 * 230)]
    run = await recorded(site, *many)
    page = await site.get(f"/console/runs/{run.id}?outcome=failed")
    seen: list[str] = []
    sizes: list[int] = []
    while True:
        names = [row[0] for row in page.rows if len(row) == 5]
        sizes.append(len(names))
        seen += names
        if "Next page" not in page.links:
            break
        page = await site.get(page.links["Next page"].partition("#")[0])
    assert sizes == [ITEMS_A_PAGE, ITEMS_A_PAGE, 30]
    assert seen == [f"P{index:03}" for index in range(1, 460, 2)]
    assert page.links["First page"] == f"/console/runs/{run.id}?outcome=failed#items"


async def test_a_full_last_page_has_no_empty_one_behind_it(site: Site) -> None:
    await site.sign_in()
    run = await recorded(site, *(item() for _ in range(ITEMS_A_PAGE)))
    assert "Next page" not in (await site.get(f"/console/runs/{run.id}")).links


async def test_what_stopped_a_run_is_told_with_what_to_do(site: Site) -> None:
    await site.sign_in()
    words = "Store it: PUT /api/secrets/pbx-client-secret."
    fault = Fault("internal", "a fault of the bridge itself: KeyError", words, "Traceback <module>")
    run = await recorded(site, status="failed", message="A fault.", fault=fault)
    page = await site.get(f"/console/runs/{run.id}")
    assert has_notice(page, "A fault of the bridge itself: KeyError. Store it.")
    assert page.root.one("details").one("pre").text == "Traceback <module>"


async def test_names_and_reasons_that_are_markup_stay_texts(site: Site) -> None:
    await site.sign_in()
    hostile = item(name=HOSTILE, user_principal_name=HOSTILE, reason=HOSTILE, notes=[HOSTILE], extension=HOSTILE,
                   before={HOSTILE: HOSTILE}, after={"title": HOSTILE}, operation=HOSTILE)  # fmt: skip
    run = await recorded(
        site, hostile, message=HOSTILE, started_by=HOSTILE, fault=Fault("x", HOSTILE, HOSTILE, HOSTILE)
    )
    for address in (f"/console/runs/{run.id}", "/console/runs", f"/console/runs/{run.id}?outcome={escaped(HOSTILE)}"):
        page = await site.get(address)
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "<img" not in page.html


# Downloads


async def test_a_run_is_downloaded_as_csv_and_json_with_the_filter_of_the_page(site: Site) -> None:
    await site.sign_in("reader")
    run = await recorded(
        site, *(item(name=f"=P{index}", outcome="failed" if index % 2 else "done") for index in range(250))
    )
    page = await site.get(f"/console/runs/{run.id}?outcome=failed")
    answer = await site.get(page.links["CSV"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="run-{run.id}.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))
    assert [line["name"] for line in lines] == [f"'=P{index}" for index in range(1, 250, 2)]
    answer = await site.get(page.links["JSON"])
    assert answer.headers["content-type"] == "application/json"
    document = msgspec.json.decode(answer.body)
    assert document["run"]["id"] == run.id
    assert len(document["items"]) == 125


@pytest.mark.parametrize("ending", ["csv", "json"])
async def test_nobody_downloads_without_a_session_and_nothing_of_an_unknown_run(site: Site, ending: str) -> None:
    run = await recorded(site, item())
    page = await site.get(f"/console/runs/{run.id}/items.{ending}", follow=False)
    assert (page.status, page.location.partition("?")[0]) == (303, "/console/sign-in")
    await site.sign_in()
    assert (await site.get(f"/console/runs/1-a/items.{ending}")).status == 404


# Decisions


async def test_held_deletions_are_listed_and_an_approval_names_their_number(site: Site) -> None:
    run = await holding(site)
    page = await site.get(f"/console/runs/{run.id}")
    assert page.says("This run would delete 3 extensions.")
    assert page.says("3 of 10 extensions (30 %) are more than the guard's 20 %.")
    gone = {link.name for link in await site.world.links()} & {one.name for one in await site.world.items(run)}
    assert len(gone) == 3
    assert all(name in page.root.one("section", aria_labelledby="held-title").text for name in gone)
    form = page.form(f"/console/runs/{run.id}/approve")
    assert form.control("count").has("required")
    refused = await site.press(form, "Approve")
    assert refused.status == 422
    assert refused.says("that was not confirmed")
    assert site.queue == []
    assert len(site.world.extensions()) == 10


async def test_approved_deletions_are_carried_out_by_a_run_of_their_own(site: Site) -> None:
    run = await holding(site)
    page = await site.get(f"/console/runs/{run.id}")
    page = await site.press(page.form(f"/console/runs/{run.id}/approve"), "Approve", count="3")
    assert has_notice(page, "Approved.")
    assert page.links["an earlier run"] == f"/console/runs/{run.id}"
    await site.work()
    assert len(site.world.extensions()) == 7
    assert (await site.get(page.path)).says("3 deleted")
    [entry] = [entry for entry in await site.trail() if entry.action == "held.approved"]
    assert (entry.who, entry.object, entry.after) == ("Ada Admin", run.id, "delete 3 extensions")
    page = await site.get(f"/console/runs/{run.id}")
    assert has_notice(page, "What this run held was approved.")
    assert [form.method for form in page.forms] == ["get"], "there is nothing left to decide"


async def test_rejected_deletions_stay_on_the_pbx(site: Site) -> None:
    run = await holding(site)
    page = await site.get(f"/console/runs/{run.id}")
    page = await site.press(page.form(f"/console/runs/{run.id}/reject"), "Reject", count="3")
    assert page.path == f"/console/runs/{run.id}?done=rejected"
    assert has_notice(page, "What this run held was rejected.")
    assert site.queue == []
    assert len(site.world.extensions()) == 10
    assert [entry.action for entry in await site.trail()][:1] == ["held.rejected"]


async def test_a_decision_is_made_once_and_only_about_the_number_that_was_shown(site: Site) -> None:
    run = await holding(site)
    stale = await site.post(f"/console/runs/{run.id}/approve", {"count": "2"})
    assert stale.status == 422
    await site.post(f"/console/runs/{run.id}/reject", {"count": "3"})
    again = await site.post(f"/console/runs/{run.id}/approve", {"count": "3"})
    assert (again.status, again.heading) == (409, "Not possible now")
    assert again.says("This run was rejected already.")
    assert site.queue == []


async def test_nothing_is_decided_about_runs_that_hold_nothing_or_are_not_finished(site: Site) -> None:
    await site.sign_in()
    plain = await recorded(site, item())
    page = await site.post(f"/console/runs/{plain.id}/approve", {"count": "0"})
    assert (page.status, page.says("holds nothing")) == (409, True)
    under_way = await recorded(
        site, item(outcome="held", operation="delete"), status="running", counts={"delete.held": 1}
    )
    page = await site.post(f"/console/runs/{under_way.id}/approve", {"count": "1"})
    assert (page.status, page.heading) == (409, "Not finished")
    assert not (await site.get(f"/console/runs/{under_way.id}")).says("Waits for your decision")


async def test_of_many_held_deletions_the_first_are_named_and_all_can_be_listed(site: Site) -> None:
    await site.sign_in()
    many = [item(operation="delete", outcome="held", name=f"P{index:02}") for index in range(25)]
    run = await recorded(site, *many, counts={"delete.held": 25})
    page = await site.get(f"/console/runs/{run.id}")
    assert page.links["All 25"] == f"/console/runs/{run.id}?outcome=held#items"
    section = page.root.one("section", aria_labelledby="held-title")
    assert [element.text for element in section.all("li")] == [f"P{index:02}" for index in range(20)]


# Words


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"delete.held": 1}, "delete 1 extension"),
        ({"delete.held": 2, "release.held": 3, "create.done": 9}, "delete 2 extensions and release 3 extensions"),
        ({"groups.delete.held": 1, "delete.held": 4}, "delete 4 extensions and delete 1 extension group"),
        ({"delete.done": 4}, ""),
    ],
    ids=["one", "releases", "groups", "none"],
)
def test_what_is_held_in_words(counts: dict[str, int], words: str) -> None:
    assert held_words(counts) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (754.6, "12 min 35 s"), (7260, "2 h 1 min")],
)
def test_durations_as_people_say_them(seconds: float | None, words: str) -> None:
    assert lasted(seconds) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Users and groups, full"),
        ({"mode": "incremental", "what": ["users"]}, "Users, incremental"),
        ({"preview": True}, "Preview: users and groups, full"),
        ({"object_id": UNKNOWN, "what": ["users"], "preview": True}, "Preview: one user"),
        ({"task": "remove", "what": ["groups"]}, "Deletion of groups"),
        ({"task": "remove", "what": []}, "End of the connection"),
    ],
    ids=["both", "incremental", "preview", "one user", "deletion", "disconnection"],
)
def test_what_a_run_is_about_in_words(changes: dict[str, Any], words: str) -> None:
    usual: dict[str, Any] = {
        "id": "1-a",
        "what": ["users", "groups"],
        "mode": "full",
        "started_by": "api",
        "requested_at": "",
    }
    assert about(Run(**(usual | changes))) == words


def test_the_counts_of_users_and_groups_are_told_apart() -> None:
    counts = {"read": 9, "create.done": 2, "create.failed": 1, "total": 4, "groups.read": 3, "groups.update.done": 1}
    users, groups = tally_of(counts, "users"), tally_of(counts, "groups")
    assert (users.found, users.outcomes, users.rows) == ([("read", 9)], ["done", "failed"], [("create", [2, 1])])
    assert (groups.found, groups.outcomes, groups.rows) == ([("read", 3)], ["done"], [("update", [1])])
