"""The audit trail as a page."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from console.activity import Difference, deed, differences
from store.audit import AuditStore, Entry
from tests.console.site import HOSTILE, Site

OTHERS = {"kind": "all", "user_types": [], "group_ids": []}


async def record(site: Site, **members: str) -> None:
    """Add an entry to the trail."""
    usual = {"at": site.world.tell().isoformat(timespec="milliseconds"), "who": "Ada Admin", "role": "admin",
             "action": "settings.saved"}  # fmt: skip
    await AuditStore(site.connection.tables, site.connection.id).add(Entry(**{**usual, **members}))


async def test_an_empty_trail_says_so(site: Site) -> None:
    await site.sign_in("reader")
    page = await site.get("/console/activity")
    assert page.heading == "Activity"
    assert "Nothing was done yet." in page.main


async def test_an_entry_tells_who_did_what_when_and_what_became_of_it(site: Site) -> None:
    before = msgspec.json.encode({"enabled": False, "scope": OTHERS, "delete_grace_days": 0}).decode()
    after = msgspec.json.encode({"enabled": True, "scope": OTHERS, "delete_grace_days": 7}).decode()
    await record(site, object="/users", before=before, after=after, account="tenant:person")
    await site.sign_in("reader")
    page = await site.get("/console/activity")
    [row] = page.rows
    assert row[0] == "2026-03-02 09:00"
    assert row[1] == "Ada Admin tenant:person"
    assert row[2] == "Saved settings"
    assert row[3] == "/users enabled: false → became true delete_grace_days: 0 → became 7"


async def test_a_deed_about_a_run_leads_to_the_run(site: Site) -> None:
    await record(site, action="sync.started", object="98227557999973-a7ac60", after="Users, full")
    await site.sign_in()
    page = await site.get("/console/activity")
    assert page.links["The run"] == "/console/runs/98227557999973-a7ac60"


async def test_the_trail_is_read_page_by_page_newest_first_without_gap_or_repetition(site: Site) -> None:
    for number in range(120):
        await record(site, action="sync.started", object=f"object {number}")
    await site.sign_in()
    page = await site.get("/console/activity")
    seen: list[str] = []
    sizes: list[int] = []
    while True:
        sizes.append(len(page.rows))
        seen += [row[3] for row in page.rows]
        if "Earlier entries" not in page.links:
            break
        page = await site.get(page.links["Earlier entries"])
    assert sizes == [50, 50, 20]
    assert seen == [f"object {number}" for number in reversed(range(120))]
    assert (await site.get(page.links["Newest"])).rows[0][3] == "object 119"


async def test_a_page_that_ends_just_with_the_trail_has_no_next_one(site: Site) -> None:
    for _ in range(50):
        await record(site)
    await site.sign_in()
    assert "Earlier entries" not in (await site.get("/console/activity")).links


async def test_a_place_in_the_trail_that_cannot_be_is_not_found(site: Site) -> None:
    await site.sign_in()
    for after in ("../x", "a b", "%27%20or%20", "x" * 65):
        assert (await site.get(f"/console/activity?after={after}")).status == 404


async def test_what_somebody_called_himself_or_typed_stays_text(site: Site) -> None:
    text = msgspec.json.encode({HOSTILE: HOSTILE}).decode()
    await record(site, who=HOSTILE, account=HOSTILE, action=HOSTILE, object=HOSTILE, before=HOSTILE, after=HOSTILE)
    await record(site, object=HOSTILE, before="{}", after=text)
    await site.sign_in(name=HOSTILE)
    page = await site.get("/console/activity")
    assert page.text.count(HOSTILE) == 10
    assert not page.root.all("img")
    assert all(script.has("src") for script in page.root.all("script"))


def test_an_unknown_action_is_shown_in_its_own_words() -> None:
    assert deed(Entry(at="", who="", action="users.moved_away")).words == "users: moved away"


def test_texts_that_are_no_objects_are_shown_as_they_are() -> None:
    assert differences("before", "after") == [Difference("", "before", "after")]
    assert differences("", "[1, 2]") == [Difference("", "", "[1, 2]")]
    assert differences("", "") == []
    assert differences('{"a": 1', '{"a": 2}') == [Difference("", '{"a": 1', '{"a": 2}')]


def test_members_that_came_or_went_are_differences_too() -> None:
    assert differences("", '{"scope": {"group_ids": ["a", "b"]}}') == [Difference("scope.group_ids", "", "a, b")]
    assert differences('{"days": ["mon"]}', '{"days": []}') == [Difference("days", "mon", "")]


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=5))
def test_the_same_object_has_no_differences(members: dict[str, object]) -> None:
    text = msgspec.json.encode(members).decode()
    assert differences(text, text) == []
