"""The extension groups: what is listed, what is taken and what is refused."""

from typing import Any

import pytest

from local.pbx.groups import LIMIT
from tests.pbx_emulator.api import Api, names

DEFAULT = {"id": 1, "name": "Default_All_Extensions", "member_select": "sel_all_ext", "total_extensions": 3}
SPECIFIC = "sel_specific"


def listed(answer: dict[str, Any]) -> list[str]:
    return [row["name"] for row in answer["data"]]


def members_of(group: dict[str, Any]) -> list[tuple[int, str]]:
    return [(member["ext_id"], member["user_type"]) for member in group["members"]]


# Reading


async def test_the_builtin_group_of_all_extensions_is_there_from_the_start(api: Api) -> None:
    assert (await api.get("/extensiongroup/list"))["data"] == [DEFAULT]
    await api.create("1500")
    (row,) = (await api.get("/extensiongroup/list"))["data"]
    assert row["total_extensions"] == 4
    assert (await api.group(1))["members"] == []


async def test_a_created_group_has_what_was_sent(api: Api) -> None:
    sent = [{"ext_id": 5, "user_type": "manager"}, {"ext_id": 1, "caller_id_name": "ignored"}]
    created = await api.create_group("Sales", members=sent, mgr_enb_monitor=1)
    detail = await api.group(created["id"])
    assert (detail["name"], detail["member_select"]) == ("Sales", SPECIFIC)
    assert detail["members"] == [
        {"ext_id": 5, "user_type": "manager", "caller_id_name": "20"},
        {"ext_id": 1, "user_type": "user", "caller_id_name": "Ada Lovelace"},
    ]
    assert (detail["mgr_enb_monitor"], detail["mgr_enb_call_park"]) == (1, 0)
    (row,) = (await api.get("/extensiongroup/search", search_value="SAL"))["data"]
    assert row == {"id": created["id"], "name": "Sales", "member_select": SPECIFIC, "total_extensions": 2}


async def test_groups_are_paged_and_come_by_id_or_by_name(api: Api) -> None:
    for name in ("beta", "Alpha", "Zeta"):
        await api.create_group(name)
    by_id = ["Default_All_Extensions", "beta", "Alpha", "Zeta"]
    by_name = ["Alpha", "beta", "Default_All_Extensions", "Zeta"]
    assert listed(await api.get("/extensiongroup/list")) == by_id
    assert listed(await api.get("/extensiongroup/list", sort_by="name")) == by_name
    assert listed(await api.get("/extensiongroup/list", sort_by="name", order_by="desc")) == by_name[::-1]
    page = await api.get("/extensiongroup/list", sort_by="id", page=2, page_size=3)
    assert (listed(page), page["total_number"]) == (["Zeta"], 4)
    assert (await api.get("/extensiongroup/list", sort_by="number"))["errcode"] == 40002


@pytest.mark.parametrize("endpoint", ["get", "delete"])
@pytest.mark.parametrize(("value", "errcode"), [("99", 60001), ("0", 40002), ("x", 40001), (None, 40001)], ids=str)
async def test_one_group_is_named_by_an_id(api: Api, endpoint: str, value: str | None, errcode: int) -> None:
    assert (await api.get(f"/extensiongroup/{endpoint}", id=value))["errcode"] == errcode


async def test_a_query_gives_the_groups_that_exist(api: Api) -> None:
    await api.create_group("Sales")
    answer = await api.get("/extensiongroup/query", ids="2,99,1")
    assert [group["id"] for group in answer["data"]] == [2, 1]
    assert (await api.get("/extensiongroup/query", ids="98,99"))["errcode"] == 60001
    await api.firmware(max_query_ids=2)
    assert (await api.get("/extensiongroup/query", ids="2,99,1"))["errcode"] == 40002


# Writing


async def test_the_members_that_are_sent_replace_the_membership(api: Api) -> None:
    await api.create_group("Sales", members=[{"ext_id": 1, "user_type": "manager"}, {"ext_id": 2}])
    await api.update_group(2, member_select=SPECIFIC, members=[{"ext_id": 1}, {"ext_id": 5, "user_type": "custom"}])
    assert members_of(await api.group(2)) == [(1, "user"), (5, "custom")]
    await api.update_group(2, mgr_enb_monitor=1)
    assert members_of(await api.group(2)) == [(1, "user"), (5, "custom")]
    await api.update_group(2, member_select="sel_all_ext")
    assert (await api.get("/extensiongroup/list"))["data"][1]["total_extensions"] == 3
    assert members_of(await api.group(2)) == []


async def test_a_deleted_extension_leaves_its_groups(api: Api) -> None:
    await api.create_group("Sales", 1, 2, 5)
    await api.get("/extension/delete", id=1)
    await api.control("DELETE", "/extensions/5")
    assert members_of(await api.group(2)) == [(2, "user")]
    await api.control("POST", "/extensions", {"id": 1, "number": "1000"})
    assert members_of(await api.group(2)) == [(2, "user")]


async def test_a_deleted_group_is_gone_and_its_id_is_never_used_again(api: Api) -> None:
    created = await api.create_group("Sales", 1)
    assert (await api.get("/extensiongroup/delete", id=created["id"]))["errcode"] == 0
    assert (await api.get("/extensiongroup/delete", id=created["id"]))["errcode"] == 60001
    assert (await api.update_group(created["id"], members=[]))["errcode"] == 60001
    assert (await api.create_group("Sales"))["id"] > created["id"]
    assert (await api.detail(1))["first_name"] == "Ada"


async def test_the_builtin_group_cannot_be_deleted_renamed_or_narrowed(api: Api) -> None:
    assert (await api.get("/extensiongroup/delete", id=1))["errcode"] == 70084
    assert (await api.update_group(1, name="Everyone"))["errcode"] == 70084
    assert (await api.update_group(1, member_select=SPECIFIC, members=[]))["errcode"] == 70084
    assert (await api.update_group(1, mgr_enb_monitor=1))["errcode"] == 0
    assert (await api.get("/extensiongroup/list"))["data"] == [DEFAULT]


async def test_the_builtin_group_counts_among_63(api: Api) -> None:
    for number in range(2, LIMIT + 1):
        assert (await api.create_group(f"Group {number}"))["errcode"] == 0
    assert (await api.create_group("One more"))["errcode"] == 60002
    status, _ = await api.try_control("POST", "/groups", {"name": "By hand"})
    assert status == 409
    assert (await api.get("/extensiongroup/list"))["total_number"] == 63
    await api.get("/extensiongroup/delete", id=2)
    assert (await api.create_group("One more"))["errcode"] == 0


async def test_a_name_in_use_is_40003_letter_case_aside(api: Api) -> None:
    await api.create_group("Sales")
    await api.create_group("Support")
    for answer in (await api.create_group("SALES"), await api.update_group(3, name="sales")):
        assert (answer["errcode"], names(answer)) == (40003, ["name"])
    assert (await api.update_group(2, name="SALES"))["errcode"] == 0
    assert await api.violations() == []


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ([{"ext_id": 1}, {"ext_id": 99}], ["members[1].ext_id"]),
        ([{"ext_id": 1}, {"ext_id": 2}, {"ext_id": 1}], ["members"]),
    ],
    ids=["unknown", "twice"],
)
async def test_members_have_to_be_distinct_extensions(api: Api, members: list[Any], wrong: list[str]) -> None:
    await api.create_group("Sales", 5)
    for answer in (await api.create_group("New", members=members), await api.update_group(2, members=members)):
        assert (answer["errcode"], names(answer)) == (40002, wrong)
    assert members_of(await api.group(2)) == [(5, "user")]
    assert await api.violations() == []


@pytest.mark.parametrize(
    ("changed", "errcode", "wrong"),
    [
        ({"name": ""}, 40002, "name"),
        ({"name": "x" * 64}, 40002, "name"),
        ({"name": 5}, 40001, "name"),
        ({"member_select": "sel_none"}, 40002, "member_select"),
        ({"members": {}}, 40001, "members"),
        ({"members": [{"user_type": "user"}]}, 40001, "members[0].ext_id"),
        ({"members": [{"ext_id": "1"}]}, 40001, "members[0].ext_id"),
        ({"members": [{"ext_id": 1, "user_type": "boss"}]}, 40002, "members[0].user_type"),
        ({"members": [{"ext_id": 1, "role": "x"}]}, 40001, "members[0].role"),
        ({"member_list": [{"ext_id": 1}]}, 40001, "member_list"),
        ({"mgr_enb_monitor": 2}, 40002, "mgr_enb_monitor"),
        ({"user_enb_monitor": 1}, 40001, "user_enb_monitor"),
    ],
    ids=str,
)
async def test_a_wrong_value_is_refused_by_name_and_changes_nothing(
    api: Api, changed: dict[str, Any], errcode: int, wrong: str
) -> None:
    await api.create_group("Sales", 5)
    before = await api.control("GET", "/groups")
    for answer in (await api.create_group(**{"name": "New", **changed}), await api.update_group(2, **changed)):
        assert (answer["errcode"], names(answer)) == (errcode, [wrong])
    assert await api.control("GET", "/groups") == before
    assert [name for _, name in await api.violations()] == [wrong] * 2


@pytest.mark.parametrize("member", ["name", "member_select", "members"])
async def test_a_create_needs_name_selection_and_members(api: Api, member: str) -> None:
    body = {"name": "Sales", "member_select": SPECIFIC, "members": []}
    answer = await api.post("/extensiongroup/create", {name: body[name] for name in body if name != member})
    assert (answer["errcode"], names(answer)) == (40001, [member])


async def test_a_group_of_everyone_needs_no_members(api: Api) -> None:
    assert (await api.post("/extensiongroup/create", {"name": "All", "member_select": "sel_all_ext"}))["errcode"] == 0
    answer = await api.update_group(2, member_select=SPECIFIC)
    assert (answer["errcode"], names(answer)) == (40001, ["members"])


async def test_groups_of_the_builtin_sync_are_locked_and_used_ones_stay(api: Api) -> None:
    await api.create_group("Sales")
    await api.control("PATCH", "/groups/2", {"owned_by_builtin_sync": True})
    assert (await api.update_group(2, members=[]))["errcode"] == 70084
    assert (await api.get("/extensiongroup/delete", id=2))["errcode"] == 70084
    await api.control("PATCH", "/groups/2", {"owned_by_builtin_sync": False, "used_elsewhere": True})
    answer = await api.get("/extensiongroup/delete", id=2)
    assert (answer["errcode"], answer["errmsg"]) == (70091, "CONNECTION_RELATION_EXISTED")
    assert (await api.update_group(2, members=[]))["errcode"] == 0


# Switches


@pytest.mark.parametrize(
    ("switch", "answers"),
    [
        ("extensiongroup", [0, 10001]),
        ("extension_group", [10001, 0]),
        ("both", [0, 0]),
        ("none", [10001, 10001]),
    ],
)
async def test_firmware_answers_under_one_spelling_both_or_none(api: Api, switch: str, answers: list[int]) -> None:
    await api.control("POST", "/groups", {"name": "Sales"})
    await api.firmware(extension_group_paths=switch)
    for spelling, errcode in zip(("extensiongroup", "extension_group"), answers, strict=True):
        found = [
            await api.errcode("GET", f"/{spelling}/list"),
            await api.errcode("GET", f"/{spelling}/search"),
            await api.errcode("GET", f"/{spelling}/get", {"id": 1}),
            await api.errcode("GET", f"/{spelling}/query", {"ids": "1"}),
            await api.errcode("POST", f"/{spelling}/create", json={"name": spelling, "member_select": "sel_all_ext"}),
            await api.errcode("POST", f"/{spelling}/update", json={"id": 2, "members": []}),
        ]
        assert found == [errcode] * 6
    assert await api.violations() == []


async def test_what_is_wrong_is_a_violation_even_where_the_spelling_is_not_answered(api: Api) -> None:
    assert await api.errcode("GET", "/extension_group/list", {"top": 1}) == 10001
    assert await api.violations() == [("parameter", "top")]


async def test_a_create_may_answer_no_id(api: Api) -> None:
    await api.firmware(group_create_returns_id=False)
    assert await api.create_group("Sales") == {"errcode": 0, "errmsg": "SUCCESS"}
    assert "id" in await api.create("1500")


async def test_a_rename_may_be_refused(api: Api) -> None:
    await api.create_group("Sales", 1)
    await api.firmware(group_rename="refused")
    answer = await api.update_group(2, name="Sellers", members=[])
    assert (answer["errcode"], names(answer)) == (40001, ["name"])
    await api.firmware(group_rename_errcode=70084)
    assert (await api.update_group(2, name="Sellers"))["errcode"] == 70084
    assert ((await api.group(2))["name"], members_of(await api.group(2))) == ("Sales", [(1, "user")])
    assert await api.violations() == []


async def test_a_rename_may_be_ignored(api: Api) -> None:
    await api.create_group("Sales", 1)
    await api.firmware(group_rename="ignored")
    assert (await api.update_group(2, name="Sellers", member_select=SPECIFIC, members=[]))["errcode"] == 0
    assert ((await api.group(2))["name"], members_of(await api.group(2))) == ("Sales", [])


async def test_a_membership_of_nobody_may_be_refused(api: Api) -> None:
    await api.firmware(group_empty_members="refused")
    await api.create_group("Sales", 1)
    for answer in (await api.create_group("New"), await api.update_group(2, members=[])):
        assert (answer["errcode"], names(answer)) == (40002, ["members"])
    assert members_of(await api.group(2)) == [(1, "user")]
    assert await api.violations() == []


async def test_groups_meet_the_faults_and_write_outcomes_of_all_endpoints(api: Api) -> None:
    await api.firmware(busy="writes")
    assert (await api.create_group("Sales"))["errcode"] == 70082
    await api.firmware(busy="no", write_outcome="partial", partial_members=["members"])
    answer = await api.create_group("Sales", 1)
    assert (answer["errcode"], names(answer)) == (1, ["members"])
    assert members_of(await api.group(2)) == []
    await api.firmware(write_outcome="in_progress", in_progress_seconds=30)
    assert (await api.get("/extensiongroup/delete", id=2))["errcode"] == 2
    await api.control("POST", "/clock", {"advance_seconds": 31})
    assert (await api.get("/extensiongroup/get", id=2))["errcode"] == 60001
    await api.firmware(error_skeleton=True)
    assert (await api.get("/extensiongroup/query", ids="2"))["data"] == []


# By hand


async def test_an_administrator_makes_changes_and_deletes_groups(api: Api) -> None:
    made = await api.control("POST", "/groups", {"name": "Sales", "members": [{"ext_id": 1, "user_type": "manager"}]})
    assert made["id"] == 2
    await api.control("PATCH", "/groups/2", {"name": "Sellers"})
    assert (await api.control("GET", "/groups/2"))["name"] == "Sellers"
    assert members_of(await api.group(2)) == [(1, "manager")]
    await api.control("DELETE", "/groups/2")
    assert [group["name"] for group in await api.control("GET", "/groups")] == ["Default_All_Extensions"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/groups", {}, 400),
        ("POST", "/groups", {"name": ""}, 400),
        ("POST", "/groups", {"name": "Sales"}, 409),
        ("POST", "/groups", {"name": "New", "id": 2}, 409),
        ("POST", "/groups", {"name": "New", "colour": "red"}, 400),
        ("POST", "/groups", {"name": "New", "members": [{"ext_id": 99}]}, 400),
        ("POST", "/groups", {"name": "New", "members": [{"ext_id": 1}, {"ext_id": 1}]}, 400),
        ("PATCH", "/groups/2", {"member_select": "sel_all_ext"}, 400),
        ("PATCH", "/groups/2", {"members": [{"ext_id": 99}]}, 400),
        ("PATCH", "/groups/2", {"name": "default_all_extensions"}, 409),
        ("PATCH", "/groups/99", {}, 404),
        ("GET", "/groups/99", None, 404),
        ("DELETE", "/groups/99", None, 404),
        ("DELETE", "/groups/1", None, 409),
        ("PUT", "/state", {"groups": [{"name": "A"}, {"name": "a"}]}, 400),
    ],
)
async def test_nonsense_is_refused_in_words_and_changes_nothing(
    api: Api, method: str, path: str, body: Any, status: int
) -> None:
    await api.create_group("Sales", 1)
    before = await api.control("GET", "/state")
    got, answer = await api.try_control(method, path, body)
    assert (got, bool(answer["error"])) == (status, True)
    assert await api.control("GET", "/state") == before


async def test_groups_are_part_of_the_state(api: Api) -> None:
    at_start = await api.control("GET", "/groups")
    await api.create_group("Sales", 1, 2)
    await api.update_group(1, mgr_enb_monitor=1)
    saved = await api.control("GET", "/state")
    await api.control("POST", "/reset")
    assert await api.control("GET", "/groups") == at_start
    await api.control("PUT", "/state", saved)
    assert await api.control("GET", "/state") == saved
    await api.control("PUT", "/state", {"extensions": [{"id": 2, "number": "1001"}]})
    assert [member["ext_id"] for member in (await api.control("GET", "/groups/2"))["members"]] == [2]
