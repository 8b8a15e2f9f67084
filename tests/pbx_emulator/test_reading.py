"""extension/list, search, get, query and getpassword."""

from typing import Any

import pytest

from tests.pbx_emulator.api import REG_PASSWORD, Api, names


def numbers(answer: dict[str, Any]) -> list[str]:
    return [row["number"] for row in answer["data"]]


async def test_rows_have_the_documented_columns(api: Api) -> None:
    await api.control("PATCH", "/extensions/1", {"role_id": 3, "online": ["linkus_web", "sip_phone"]})
    answer = await api.get("/extension/list", page_size=1)
    assert answer["data"] == [
        {
            "id": 1,
            "number": "1000",
            "caller_id_name": "Ada Lovelace",
            "role_name": "Operator",
            "email_addr": "ada@example.com",
            "mobile_number": "",
            "presence_status": "available",
            "custom_presence_status": "",
            "online_status": {
                "sip_phone": {"ext_dev_type": "sip", "status_list": [{"status": 1, "ip": "192.0.2.10"}]},
                "linkus_desktop": {"status": 0, "ext_dev_type": "linkusdesktop"},
                "linkus_mobile": {"status": 0, "ext_dev_type": "linkusmobile"},
                "linkus_web": {"status": 1, "ext_dev_type": "linkusweb"},
            },
        }
    ]


async def test_without_names_the_caller_id_name_is_the_number(api: Api) -> None:
    answer = await api.get("/extension/search", search_value="20")
    assert [row["caller_id_name"] for row in answer["data"]] == ["20"]


async def test_a_list_is_paged_and_counts_all_rows(api: Api) -> None:
    first = await api.get("/extension/list", page=1, page_size=2)
    second = await api.get("/extension/list", page=2, page_size=2)
    third = await api.get("/extension/list", page=3, page_size=2)
    assert [numbers(answer) for answer in (first, second, third)] == [["1000", "1001"], ["20"], []]
    assert {answer["total_number"] for answer in (first, second, third)} == {3}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["1000", "1001", "20"]),
        ({"order_by": "desc"}, ["20", "1001", "1000"]),
        ({"sort_by": "number"}, ["20", "1000", "1001"]),
        ({"sort_by": "number", "order_by": "desc"}, ["1001", "1000", "20"]),
    ],
)
async def test_rows_come_by_id_or_by_number(api: Api, query: dict[str, str], expected: list[str]) -> None:
    assert numbers(await api.get("/extension/list", **query)) == expected


@pytest.mark.parametrize(
    ("parameter", "value", "errcode"),
    [
        ("page", "0", 40002),
        ("page", "-1", 40002),
        ("page", "one", 40001),
        ("page", "", 40001),
        ("page_size", "0", 40002),
        ("page_size", "10001", 40002),
        ("page_size", "1.5", 40001),
        ("order_by", "up", 40002),
        ("sort_by", "shoe_size", 40002),
    ],
)
async def test_wrong_paging_is_refused_by_name(api: Api, parameter: str, value: str, errcode: int) -> None:
    answer = await api.get("/extension/list", **{parameter: value})
    assert (answer["errcode"], answer["invalid_param_list"]) == (errcode, [{"value": value, "name": parameter}])
    assert await api.violations() == [("parameter", parameter)]


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [("100", ["1000", "1001"]), ("LOVE", ["1000"]), ("a l", ["1000"]), ("EXAMPLE.com", ["1000"]), ("zzz", [])],
    ids=["number", "name", "across names", "e-mail", "nothing"],
)
async def test_search_finds_substrings_of_number_name_and_email(api: Api, keyword: str, expected: list[str]) -> None:
    answer = await api.get("/extension/search", search_value=keyword, page="1", page_size="100")
    assert (numbers(answer), answer["total_number"]) == (expected, len(expected))


async def test_search_does_not_look_at_mobile_numbers(api: Api) -> None:
    assert (await api.get("/extension/search", search_value="4915112"))["total_number"] == 0


async def test_search_without_a_keyword_finds_everything(api: Api) -> None:
    assert (await api.get("/extension/search"))["total_number"] == 3


async def test_the_detail_has_every_member_but_the_passwords(api: Api) -> None:
    created = await api.create(
        "1500", first_name="Eve", title="Chief", caller_id="+49 30".replace(" ", ""), vm_pin="4711", enb_vm_pin=1
    )
    detail = await api.detail(created["id"])
    assert {"user_password", "reg_password", "vm_pin"}.isdisjoint(detail)
    assert REG_PASSWORD not in str(detail)
    assert detail["first_name"] == "Eve"
    assert (detail["title"], detail["caller_id"], detail["enb_vm_pin"]) == ("Chief", "+4930", 1)
    assert (detail["type"], detail["number"], detail["reg_name"]) == ("SIP", "1500", "sip1500")
    assert "organization_list" not in detail


async def test_the_caller_id_defaults_to_the_number(api: Api) -> None:
    created = await api.create("1500")
    assert (await api.detail(created["id"]))["caller_id"] == "1500"


@pytest.mark.parametrize("endpoint", ["get", "delete", "getpassword"])
@pytest.mark.parametrize(("value", "errcode"), [("99", 60001), ("0", 40002), ("x", 40001), (None, 40001)], ids=str)
async def test_one_extension_is_named_by_an_id(api: Api, endpoint: str, value: str | None, errcode: int) -> None:
    answer = await api.get(f"/extension/{endpoint}", id=value)
    assert answer["errcode"] == errcode


async def test_query_gives_the_ids_that_exist(api: Api) -> None:
    answer = await api.get("/extension/query", ids="5,99,1")
    assert [detail["id"] for detail in answer["data"]] == [5, 1]
    assert (await api.get("/extension/query", ids="98,99"))["errcode"] == 60001


@pytest.mark.parametrize("ids", ["", "1,", "1;2", "1, 2", "a"])
async def test_query_takes_ids_with_commas_only(api: Api, ids: str) -> None:
    assert (await api.get("/extension/query", ids=ids))["errcode"] == 40002


async def test_getpassword_is_the_only_way_to_a_password(api: Api) -> None:
    created = await api.create("1500", vm_pin="4711")
    answer = await api.get("/extension/getpassword", id=created["id"])
    assert answer["data"] == {"reg_password": REG_PASSWORD, "vm_pin": "4711"}
    assert names(await api.get("/extension/getpassword")) == ["id"]
