"""``users/delta`` and ``groups/delta``: one test for each rule and each switch."""

from typing import Any
from urllib.parse import quote

import pytest

from local.microsoft.properties import USER_DEFAULT
from local.sample import device_id, group_id, user_id
from tests.microsoft.support import Client

SELECT = "users/delta?$select=id,displayName,mail,mobilePhone,accountEnabled"


def by_id(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last entry of each object wins."""
    return {entry["id"]: entry for entry in entries}


async def change(client: Client, number: int, **properties: Any) -> None:
    answer = await client.control("PATCH", f"users/{user_id(number)}", properties)
    assert answer.status == 200, answer.text


async def switch(client: Client, **switches: Any) -> None:
    answer = await client.control("PUT", "delta", switches)
    assert answer.status == 200, answer.text


# The initial round


@pytest.mark.parametrize("name", ["delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"])
async def test_all_spellings_lead_to_the_same_place(client: Client, name: str) -> None:
    assert (await client.graph(f"users/{name}?$select=id")).status == 200
    assert (await client.graph(f"groups/{name}?$select=id")).status == 200


async def test_the_initial_round_shows_everybody_and_what_was_ever_set(client: Client) -> None:
    entries, _ = await client.round(SELECT)
    assert [entry["id"] for entry in entries] == [user_id(number) for number in range(1, 6)]
    assert entries[0] == {
        "id": user_id(1),
        "displayName": "Noor Bakker",
        "mail": "noor@contoso.example",
        "mobilePhone": "+31600000001",
        "accountEnabled": True,
    }
    assert "mobilePhone" not in entries[1], "never set"
    assert entries[3]["mail"] is None, "cleared"


async def test_without_select_the_default_properties_are_tracked(client: Client) -> None:
    entries, link = await client.round("users/delta")
    assert set(entries[0]) <= set(USER_DEFAULT)
    await change(client, 1, accountEnabled=False, department="IT")
    assert (await client.round(link))[0] == []


async def test_the_id_comes_even_when_not_selected(client: Client) -> None:
    entries, _ = await client.round("users/delta?$select=displayName")
    assert entries[0] == {"id": user_id(1), "displayName": "Noor Bakker"}


async def test_pages_have_one_link_each_and_links_carry_the_options(client: Client) -> None:
    await switch(client, page_size=2)
    first = (await client.graph(SELECT)).json
    assert set(first) == {"@odata.context", "@odata.nextLink", "value"}
    assert "$select" not in first["@odata.nextLink"]
    assert first["@odata.context"].endswith("#users(id,displayName,mail,mobilePhone,accountEnabled)")
    entries, link = await client.round(SELECT)
    assert len(entries) == 5
    assert "/v1.0/users/delta?$deltatoken=" in link


async def test_a_page_can_be_asked_for_again(client: Client) -> None:
    await switch(client, page_size=2)
    link = (await client.graph(SELECT)).json["@odata.nextLink"]
    first, second = (await client.graph(link)).json, (await client.graph(link)).json
    assert first["value"] == second["value"]


async def test_latest_gives_a_link_and_nothing_else(client: Client) -> None:
    answer = (await client.graph(SELECT + "&$deltatoken=latest")).json
    assert answer["value"] == []
    await change(client, 2, displayName="Imre")
    assert [entry["id"] for entry in (await client.round(answer["@odata.deltaLink"]))[0]] == [user_id(2)]


async def test_restorable_users_may_show_in_the_initial_round(client: Client) -> None:
    await switch(client, removed_in_first_round=True)
    entries, _ = await client.round(SELECT)
    assert by_id(entries)[user_id(6)] == {"id": user_id(6), "@removed": {"reason": "changed"}}


# Later rounds


async def test_a_changed_user_comes_with_all_selected_properties(client: Client) -> None:
    _, link = await client.round(SELECT)
    await change(client, 1, mobilePhone=None)
    entries, link = await client.round(link)
    assert entries == [
        {
            "id": user_id(1),
            "displayName": "Noor Bakker",
            "mail": "noor@contoso.example",
            "mobilePhone": None,
            "accountEnabled": True,
        }
    ]
    assert (await client.round(link))[0] == []


async def test_minimal_shows_only_what_changed(client: Client) -> None:
    _, link = await client.round(SELECT)
    await change(client, 1, mobilePhone=None, jobTitle="x")
    new = (
        await client.control("POST", "users", {"displayName": "New", "userPrincipalName": "new@contoso.example"})
    ).json
    answer = await client.graph(link, Prefer="return=minimal")
    assert answer.headers["Preference-Applied"] == "return=minimal"
    assert answer.json["value"] == [
        {"id": user_id(1), "mobilePhone": None},
        {"id": new["id"], "displayName": "New", "accountEnabled": True},
    ]
    assert len((await client.graph(link)).json["value"][0]) == 5, "the header counts for one request"


async def test_an_unselected_property_is_not_tracked(client: Client) -> None:
    _, link = await client.round(SELECT)
    await change(client, 1, jobTitle="Director")
    assert (await client.round(link))[0] == []


async def test_a_value_written_again_is_no_change(client: Client) -> None:
    _, link = await client.round(SELECT)
    await change(client, 1, displayName="Noor Bakker")
    assert (await client.round(link))[0] == []


async def test_disabling_is_an_ordinary_entry(client: Client) -> None:
    _, link = await client.round(SELECT)
    await change(client, 1, accountEnabled=False)
    (entry,), _ = await client.round(link)
    assert entry["accountEnabled"] is False
    assert "@removed" not in entry


async def test_deleting_comes_twice_and_restoring_as_new(client: Client) -> None:
    _, link = await client.round(SELECT)
    one = f"users/{user_id(1)}"
    await client.control("DELETE", one)
    entries, link = await client.round(link)
    assert entries == [{"id": user_id(1), "@removed": {"reason": "changed"}}]
    await client.control("POST", f"{one}/restore")
    entries, link = await client.round(link, Prefer="return=minimal")
    assert "@removed" not in entries[0]
    assert entries[0]["displayName"] == "Noor Bakker"
    await client.control("DELETE", one)
    await client.control("POST", f"{one}/purge")
    entries, link = await client.round(link)
    assert entries == [{"id": user_id(1), "@removed": {"reason": "deleted"}}]


async def test_after_30_days_the_second_removal_comes_by_itself(client: Client) -> None:
    _, link = await client.round(SELECT)
    seen = []
    for _ in range(6):
        await client.control("POST", "clock", {"advance_seconds": 5.5 * 86_400})
        client.token = client.emulator.token_for("User.Read.All")
        entries, link = await client.round(link)
        seen += entries
    assert seen == [{"id": user_id(6), "@removed": {"reason": "deleted"}}]


async def test_a_change_during_a_round_comes_in_the_next_one(client: Client) -> None:
    await switch(client, page_size=2)
    first = (await client.graph(SELECT)).json
    await change(client, 1, displayName="Changed meanwhile")
    _, link = await client.round(first["@odata.nextLink"])
    entries, _ = await client.round(link)
    assert [entry["displayName"] for entry in entries] == ["Changed meanwhile"]


async def test_only_the_filtered_ids_are_tracked(client: Client) -> None:
    clause = quote(f"id eq '{user_id(1)}' or id eq '{user_id(2)}'")
    entries, link = await client.round(f"users/delta?$select=displayName&$filter={clause}")
    assert [entry["id"] for entry in entries] == [user_id(1), user_id(2)]
    await change(client, 3, displayName="x")
    await change(client, 2, displayName="y")
    assert [entry["id"] for entry in (await client.round(link))[0]] == [user_id(2)]


async def test_manager_is_tracked_when_selected(client: Client) -> None:
    await change(client, 1, manager=user_id(2))
    entries, link = await client.round("users/delta?$select=manager")
    assert by_id(entries)[user_id(1)]["manager@delta"] == [{"@odata.type": "#microsoft.graph.user", "id": user_id(2)}]
    assert "manager@delta" not in by_id(entries)[user_id(2)]
    await change(client, 1, manager=None)
    (entry,), _ = await client.round(link)
    assert entry["manager@delta"] == [
        {"@odata.type": "#microsoft.graph.user", "id": user_id(2), "@removed": {"reason": "deleted"}}
    ]


# What is refused


@pytest.mark.parametrize(
    "query",
    [
        "$top=5",
        "$orderby=displayName",
        "$expand=manager",
        "$count=true",
        "$search=x",
        "$skip=1",
        "$filter=displayName eq 'x'",
        "$filter=id ne 'x'",
        "$filter=id in ('a','b')",
        "$select=nosuch",
        "$select=members",
        "$select=",
        "$deltatoken=invented",
        "$skiptoken=invented",
        "$skiptoken=",
    ],
)
async def test_options_that_delta_does_not_take(client: Client, query: str) -> None:
    assert (await client.graph("users/delta?" + quote(query, safe="$=&"))).status == 400


async def test_more_than_50_ids_are_refused(client: Client) -> None:
    def path(count: int) -> str:
        return "users/delta?$filter=" + quote(" or ".join(f"id eq '{user_id(number)}'" for number in range(count)))

    assert (await client.graph(path(50))).status == 200
    assert (await client.graph(path(51))).status == 400


async def test_a_link_takes_no_further_options_and_no_other_place(client: Client) -> None:
    await switch(client, page_size=2)
    following = (await client.graph(SELECT)).json["@odata.nextLink"]
    _, link = await client.round(SELECT)
    for wrong in (
        link + "&$select=id",
        following + "&$top=5",
        link.replace("/users/", "/groups/"),
        link.replace("$deltatoken", "$skiptoken"),
        following.replace("$skiptoken", "$deltatoken"),
    ):
        assert (await client.graph(wrong)).status == 400, wrong


# Tokens that end


async def test_a_token_lives_seven_days(client: Client) -> None:
    _, link = await client.round(SELECT)
    await client.control("POST", "clock", {"advance_seconds": 7 * 86_400 - 60})
    client.token = client.emulator.token_for("User.Read.All")
    _, fresh = await client.round(link)
    await client.control("POST", "clock", {"advance_seconds": 120})
    answer = await client.graph(link)
    assert (answer.status, answer.code) == (410, "syncStateNotFound")
    assert answer.headers["Location"] == f"{client.emulator.url}/v1.0/users/delta?$deltatoken="
    assert (await client.graph(fresh)).status == 200
    entries, _ = await client.round(answer.headers["Location"])
    assert len(entries) == 5, "the empty token starts over"


@pytest.mark.parametrize(
    ("reset", "status", "code", "located"),
    [
        ("410_location", 410, "syncStateNotFound", True),
        ("410", 410, "syncStateNotFound", False),
        ("410_resync_required", 410, "resyncRequired", False),
        ("400_expired_page_token", 400, "Directory_ExpiredPageToken", False),
        ("400_sync_state_not_found", 400, "syncStateNotFound", False),
        ("400_resync_required", 400, "resyncRequired", False),
        ("404_sync_state_not_found", 404, "syncStateNotFound", False),
        ("404_resync_required", 404, "resyncRequired", False),
    ],
)
async def test_all_answers_to_an_expired_token(
    client: Client, reset: str, status: int, code: str, located: bool
) -> None:
    await switch(client, reset_answer=reset)
    _, link = await client.round(SELECT)
    await client.control("POST", "expire-tokens")
    answer = await client.graph(link)
    assert (answer.status, answer.code, "Location" in answer.headers) == (status, code, located)
    assert (await client.graph(SELECT)).status == 200


async def test_a_round_can_break_in_the_middle(client: Client) -> None:
    await switch(client, page_size=1)
    fault = {"kind": "reset", "path": "/v1.0/users/delta", "query": {"$skiptoken": "?*"}, "skip": 1}
    await client.control("POST", "faults", {**fault, "options": {"answer": "410_resync_required"}})
    second = (await client.graph(SELECT)).json["@odata.nextLink"]
    third = (await client.graph(second)).json["@odata.nextLink"]
    answer = await client.graph(third)
    assert (answer.status, answer.code) == (410, "resyncRequired")
    assert len((await client.round(SELECT))[0]) == 5


# Odd rounds


async def test_duplicates(client: Client) -> None:
    _, link = await client.round(SELECT)
    await switch(client, duplicates=True)
    await change(client, 1, displayName="a")
    assert [entry["id"] for entry in (await client.round(link))[0]] == [user_id(1)] * 2
    assert len((await client.round(SELECT))[0]) == 10


async def test_a_stale_duplicate_comes_before_the_valid_entry(client: Client) -> None:
    await switch(client, stale_duplicates=True, page_size=1)
    _, link = await client.round(SELECT)
    await change(client, 1, displayName="middle")
    await change(client, 1, displayName="new", mobilePhone=None)
    await change(client, 2, mobilePhone="1")
    entries, _ = await client.round(link)
    shown = [(entry["id"], entry["displayName"], entry.get("mobilePhone", "never")) for entry in entries]
    assert shown == [
        (user_id(1), "Noor Bakker", "+31600000001"),
        (user_id(2), "Imre Szabo", "never"),
        (user_id(1), "new", None),
        (user_id(2), "Imre Szabo", "1"),
    ]


async def test_out_of_order(client: Client) -> None:
    await switch(client, out_of_order=True)
    entries, _ = await client.round(SELECT)
    shown = [entry["id"] for entry in entries]
    assert shown != sorted(shown)
    assert len(set(shown)) == 5


async def test_empty_pages_come_first(client: Client) -> None:
    await switch(client, empty_pages=2)
    first = (await client.graph(SELECT)).json
    second = (await client.graph(first["@odata.nextLink"])).json
    assert (first["value"], second["value"]) == ([], [])
    assert len((await client.round(second["@odata.nextLink"]))[0]) == 5


async def test_a_change_shows_only_polls_later(client: Client) -> None:
    await switch(client, visible_after_polls=2)
    _, link = await client.round(SELECT)
    await change(client, 1, displayName="late")
    counts = []
    for _ in range(3):
        entries, link = await client.round(link)
        counts.append(len(entries))
    assert counts == [0, 1, 0]


async def test_replay_shows_earlier_changes_again(client: Client) -> None:
    _, link = await client.round(SELECT)
    for number in (1, 2, 3):
        await change(client, number, displayName="x")
    _, link = await client.round(link)
    await switch(client, replay=2)
    assert [entry["id"] for entry in (await client.round(link))[0]] == [user_id(2), user_id(3)]


# Groups


def links(entries: list[dict[str, Any]], group: str) -> list[str]:
    return [link["id"] for entry in entries if entry["id"] == group for link in entry.get("members@delta", [])]


async def test_members_come_by_default_and_an_empty_group_has_none(client: Client) -> None:
    entries, _ = await client.round("groups/delta")
    first = by_id(entries)[group_id(1)]
    assert first["members@delta"] == [
        {"@odata.type": "#microsoft.graph.user", "id": user_id(1)},
        {"@odata.type": "#microsoft.graph.group", "id": group_id(2)},
        {"@odata.type": "#microsoft.graph.device", "id": device_id(1)},
    ]
    assert "members@delta" not in by_id(entries)[group_id(4)]
    assert "members@delta" not in (await client.round("groups/delta?$select=displayName"))[0][0]


async def test_owners_come_when_selected(client: Client) -> None:
    entries, _ = await client.round("groups/delta?$select=owners")
    assert by_id(entries)[group_id(2)] == {
        "id": group_id(2),
        "owners@delta": [{"@odata.type": "#microsoft.graph.user", "id": user_id(1)}],
    }


async def test_added_and_removed_members(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=displayName,members")
    body = {"add": [user_id(3)], "remove": [user_id(1)]}
    assert (await client.control("POST", f"groups/{group_id(1)}/members", body)).status == 200
    entries, link = await client.round(link)
    assert entries == [
        {
            "id": group_id(1),
            "displayName": "Everyone",
            "members@delta": [
                {"@odata.type": "#microsoft.graph.user", "id": user_id(1), "@removed": {"reason": "deleted"}},
                {"@odata.type": "#microsoft.graph.user", "id": user_id(3)},
            ],
        }
    ]
    await client.control("PATCH", f"groups/{group_id(1)}", {"displayName": "All"})
    assert "members@delta" not in (await client.round(link))[0][0]


async def test_members_are_not_tracked_unless_selected(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=displayName")
    await client.control("POST", f"groups/{group_id(1)}/members", {"add": [user_id(3)]})
    assert (await client.round(link))[0] == []


async def test_deleting_a_user_leaves_the_membership_and_purging_ends_it(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=members")
    await client.control("DELETE", f"users/{user_id(2)}")
    assert (await client.round(link))[0] == []
    await client.control("POST", f"users/{user_id(2)}/purge")
    (entry,), _ = await client.round(link)
    assert entry["members@delta"] == [
        {"@odata.type": "#microsoft.graph.user", "id": user_id(2), "@removed": {"reason": "deleted"}}
    ]


async def test_microsoft_365_groups_can_be_restored_others_not(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=members")
    await client.control("DELETE", f"groups/{group_id(2)}")
    await client.control("DELETE", f"groups/{group_id(4)}")
    entries = by_id((await client.round(link))[0])
    assert entries[group_id(2)]["@removed"] == {"reason": "changed"}
    assert entries[group_id(4)]["@removed"] == {"reason": "deleted"}
    (deleted,) = (await client.graph("directory/deletedItems/graph.group?$select=id")).json["value"]
    assert deleted["id"] == group_id(2)
    await switch(client, delete_groups_softly=True)
    await client.control("DELETE", f"groups/{group_id(1)}")
    assert by_id((await client.round(link))[0])[group_id(1)]["@removed"] == {"reason": "changed"}


async def test_a_restored_group_comes_with_all_members(client: Client) -> None:
    await client.control("DELETE", f"groups/{group_id(2)}")
    _, link = await client.round("groups/delta?$select=members")
    await client.control("POST", f"groups/{group_id(2)}/restore")
    entries, _ = await client.round(link)
    assert links(entries, group_id(2)) == [user_id(2), user_id(6), group_id(1)]


async def test_a_restored_group_tells_who_left_meanwhile(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=members")
    await client.control("DELETE", f"groups/{group_id(2)}")
    await client.control("POST", f"users/{user_id(2)}/purge")
    await client.control("POST", f"groups/{group_id(2)}/restore")
    await client.control("POST", f"groups/{group_id(2)}/members", {"remove": [group_id(1)]})
    await switch(client, page_size=2)
    entries, _ = await client.round(link)
    assert [link for entry in entries if entry["id"] == group_id(2) for link in entry["members@delta"]] == [
        {"@odata.type": "#microsoft.graph.user", "id": user_id(6)},
        {"@odata.type": "#microsoft.graph.user", "id": user_id(2), "@removed": {"reason": "deleted"}},
        {"@odata.type": "#microsoft.graph.group", "id": group_id(1), "@removed": {"reason": "deleted"}},
    ]


async def test_a_nested_group_that_is_purged_is_a_removed_group(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=members")
    await client.control("POST", f"groups/{group_id(1)}/purge")
    saved = (await client.control("GET", "state")).json
    await client.control("PUT", "state", saved)
    entries = by_id((await client.round(link))[0])
    assert entries[group_id(1)] == {"id": group_id(1), "@removed": {"reason": "deleted"}}
    assert entries[group_id(2)]["members@delta"] == [
        {"@odata.type": "#microsoft.graph.group", "id": group_id(1), "@removed": {"reason": "deleted"}}
    ]


@pytest.mark.parametrize(
    ("query", "context"),
    [("", "groups"), ("?$select=displayName,members", "groups(displayName,members)")],
)
async def test_the_context_repeats_the_selection(client: Client, query: str, context: str) -> None:
    answer = (await client.graph(f"groups/delta{query}")).json
    assert answer["@odata.context"] == f"{client.emulator.url}/v1.0/$metadata#{context}"


async def test_one_group_can_be_followed_with_its_members(client: Client) -> None:
    clause = quote(f"id eq '{group_id(1)}'")
    entries, link = await client.round(f"groups/delta?$select=displayName,members&$filter={clause}")
    assert [entry["id"] for entry in entries] == [group_id(1)]
    await client.control("POST", f"groups/{group_id(2)}/members", {"add": [user_id(1)]})
    await client.control("POST", f"groups/{group_id(1)}/members", {"remove": [user_id(1)]})
    entries, _ = await client.round(link)
    assert [entry["id"] for entry in entries] == [group_id(1)]
    assert links(entries, group_id(1)) == [user_id(1)]


async def test_a_security_group_is_gone_for_good_at_once_and_a_new_one_comes_whole(client: Client) -> None:
    _, link = await client.round("groups/delta?$select=displayName,members")
    made = (await client.control("POST", "groups", {"displayName": "New"})).json["id"]
    await client.control("POST", f"groups/{made}/members", {"add": [user_id(1)]})
    (entry,), link = await client.round(link)
    assert (entry["displayName"], links([entry], made)) == ("New", [user_id(1)])
    await client.control("DELETE", f"groups/{made}")
    assert (await client.round(link))[0] == [{"id": made, "@removed": {"reason": "deleted"}}]


async def test_a_large_group_fills_several_pages(client: Client) -> None:
    made = [
        (await client.control("POST", "users", {"displayName": "x", "userPrincipalName": f"m{n}@contoso.example"})).json
        for n in range(25)
    ]
    new = [user["id"] for user in made]
    await client.control("POST", f"groups/{group_id(4)}/members", {"add": new})
    await switch(client, page_size=10)
    pages, link = [], "groups/delta?$select=displayName,members"
    while link:
        answer = (await client.graph(link)).json
        pages.append(answer["value"])
        link = answer.get("@odata.nextLink", "")
    slices = [entry for page in pages for entry in page if entry["id"] == group_id(4)]
    assert len(slices) >= 3
    assert [any(entry["id"] == group_id(4) for entry in page) for page in pages[-len(slices) :]] == [True] * len(slices)
    assert all(entry["displayName"] == "Empty" for entry in slices)
    assert links([entry for page in pages for entry in page], group_id(4)) == new


async def test_a_large_group_that_shrinks_meanwhile_loses_nobody(client: Client) -> None:
    made = [
        (await client.control("POST", "users", {"displayName": "x", "userPrincipalName": f"m{n}@contoso.example"})).json
        for n in range(12)
    ]
    new = [user["id"] for user in made]
    await client.control("POST", f"groups/{group_id(4)}/members", {"add": new})
    await switch(client, page_size=5)
    clause = quote(f"id eq '{group_id(4)}'")
    first = (await client.graph(f"groups/delta?$select=members&$filter={clause}")).json
    await client.control("POST", f"groups/{group_id(4)}/members", {"remove": new[:3]})
    rest, _ = await client.round(first["@odata.nextLink"])
    assert set(new[3:]) <= set(links(first["value"] + rest, group_id(4)))
