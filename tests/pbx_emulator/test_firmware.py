"""The firmware switches, each for itself."""

import time
from typing import Any

import pytest

from tests.pbx_emulator.api import Api, names


async def test_a_create_without_id_is_found_by_its_number(api: Api) -> None:
    await api.firmware(create_returns_id=False)
    answer = await api.create("1500")
    assert answer == {"errcode": 0, "errmsg": "SUCCESS"}
    assert (await api.get("/extension/search", search_value="1500"))["total_number"] == 1


@pytest.mark.parametrize(
    ("path", "query", "skeleton"),
    [
        ("/extension/list", {"page": 0}, {"total_number": 0, "data": []}),
        ("/extension/get", {"id": 99}, {"data": {"id": 0, "number": ""}}),
        ("/extension/query", {"ids": "99"}, {"data": []}),
        ("/system/get_menuoptions", {"menu": "x"}, {"data": []}),
        (
            "/system/capacity",
            {"access_token": "x"},
            {"data": dict.fromkeys(("extension_capacity", "extension_used", "cc_capacity", "cc_used"), 0)},
        ),
    ],
)
async def test_failures_may_carry_an_empty_skeleton(
    api: Api, path: str, query: dict[str, Any], skeleton: dict[str, Any]
) -> None:
    plain = await api.get(path, **query)
    await api.firmware(error_skeleton=True)
    assert await api.get(path, **query) == {**plain, **skeleton}
    assert skeleton.keys().isdisjoint(plain)


async def test_a_refused_token_may_come_with_empty_tokens(stranger: Api) -> None:
    await stranger.firmware(error_skeleton=True)
    answer = await stranger.get_token(client_secret="wrong")
    assert (answer["errcode"], answer["access_token"]) == (1, "")


async def test_old_firmware_reports_lunch_as_launch_and_takes_only_lunch(api: Api) -> None:
    await api.firmware(lunch_as_launch=True)
    assert (await api.update(1, presence_status="lunch"))["errcode"] == 0
    api.as_documented = False
    assert (await api.detail(1))["presence_status"] == "launch"
    rows = (await api.get("/extension/list"))["data"]
    assert [row["presence_status"] for row in rows] == ["launch", "available", "available"]
    assert (await api.update(1, presence_status="launch"))["errcode"] == 40002


async def test_rows_may_lack_the_email_address(api: Api) -> None:
    await api.firmware(rows_without_email=True)
    rows = (await api.get("/extension/list"))["data"] + (await api.get("/extension/search"))["data"]
    assert not any("email_addr" in row for row in rows)
    assert (await api.detail(1))["email_addr"] == "ada@example.com"


@pytest.mark.parametrize("errcode", [10001, 70123])
async def test_a_p520_has_no_api(api: Api, errcode: int) -> None:
    await api.firmware(model="P520", no_api_errcode=errcode)
    assert (await api.get_token())["errcode"] == errcode
    assert await api.errcode("GET", "/system/information") == errcode


async def test_model_and_firmware_are_what_the_switches_say(api: Api) -> None:
    await api.firmware(model="P550", firmware_version="83.8.0.25")
    data = (await api.get("/system/information"))["data"]
    assert (data["model_name"], data["firmware_version"]) == ("Yeastar P550", "83.8.0.25")


async def test_a_page_above_the_maximum_is_refused_or_clamped(api: Api) -> None:
    await api.firmware(max_page_size=2)
    answer = await api.get("/extension/list", page_size=3)
    assert (answer["errcode"], names(answer)) == (40002, ["page_size"])
    assert await api.violations() == []
    await api.firmware(page_size_overflow="clamp")
    answer = await api.get("/extension/list", page_size=3)
    assert (len(answer["data"]), answer["total_number"]) == (2, 3)


async def test_the_default_page_is_small(api: Api) -> None:
    await api.firmware(default_page_size=1)
    assert len((await api.get("/extension/list"))["data"]) == 1


async def test_a_query_may_take_only_so_many_ids(api: Api) -> None:
    await api.firmware(max_query_ids=2)
    assert (await api.get("/extension/query", ids="1,2,5"))["errcode"] == 40002
    assert (await api.get("/extension/query", ids="1,2"))["errcode"] == 0


@pytest.mark.parametrize(("switch", "slow"), [("read_latency_ms", "list"), ("write_latency_ms", "delete?id=99")])
async def test_reads_and_writes_have_a_latency_each(api: Api, switch: str, slow: str) -> None:
    await api.firmware(**{switch: 120})
    seconds = {}
    for endpoint in ("list", "delete?id=99"):
        started = time.perf_counter()
        await api.call("GET", f"/extension/{endpoint}")
        seconds[endpoint] = time.perf_counter() - started
    assert seconds.pop(slow) >= 0.12
    assert min(seconds.values()) < 0.12


async def test_a_busy_pbx_refuses_writes(api: Api) -> None:
    await api.firmware(busy="writes")
    answer = await api.create("1500")
    assert (answer["errcode"], answer["errmsg"]) == (70082, "OVERLOAD_TASK_RUNNING")
    assert (await api.get("/extension/delete", id=1))["errcode"] == 70082
    assert (await api.get("/extension/list"))["total_number"] == 3


async def test_a_very_busy_pbx_refuses_reads_too_but_gives_tokens(api: Api) -> None:
    await api.firmware(busy="all")
    assert await api.errcode("GET", "/extension/list") == 70082
    assert (await api.get_token())["errcode"] == 0


async def test_a_partial_write_leaves_some_members_out_and_names_them(api: Api) -> None:
    await api.firmware(write_outcome="partial")
    answer = await api.create("1500", first_name="Eve", title="Boss")
    assert (answer["errcode"], names(answer)) == (1, ["title"])
    detail = await api.detail(answer["id"])
    assert (detail["first_name"], detail["title"]) == ("Eve", "")


async def test_a_write_in_progress_is_committed_later(api: Api) -> None:
    await api.firmware(write_outcome="in_progress", in_progress_seconds=30)
    answer = await api.create("1500")
    assert (answer["errcode"], answer["errmsg"]) == (2, "PROCESSING")
    assert (await api.get("/extension/delete", id=1))["errcode"] == 2
    assert (await api.get("/extension/list"))["total_number"] == 3
    await api.control("POST", "/clock", {"advance_seconds": 31})
    rows = (await api.get("/extension/list"))["data"]
    assert [row["number"] for row in rows] == ["1001", "20", "1500"]


async def test_a_write_in_progress_is_checked_at_once_and_may_still_be_lost(api: Api) -> None:
    await api.firmware(write_outcome="in_progress", in_progress_seconds=30)
    assert (await api.create("1000"))["errcode"] == 40003
    assert (await api.create("1500"))["errcode"] == 2
    await api.control("POST", "/extensions", {"number": "1500", "first_name": "By hand"})
    await api.control("POST", "/clock", {"advance_seconds": 31})
    rows = (await api.get("/extension/search", search_value="1500"))["data"]
    assert [row["caller_id_name"] for row in rows] == ["By hand"]


async def test_plus_addresses_are_accepted_only_by_switch(api: Api) -> None:
    assert (await api.update(1, email_addr="ada+phone@example.com"))["errcode"] == 40002
    assert await api.violations() == [("value", "email_addr")]
    await api.control("DELETE", "/violations")
    await api.firmware(plus_addresses=True)
    assert (await api.update(1, email_addr="ada+phone@example.com"))["errcode"] == 0
    assert await api.violations() == []


async def test_umlauts_in_names_are_refused_only_by_switch(api: Api) -> None:
    assert (await api.update(1, last_name="Müller"))["errcode"] == 0
    await api.firmware(umlauts=False)
    answer = await api.update(1, last_name="Möller")
    assert (answer["errcode"], names(answer)) == (40002, ["last_name"])
    assert await api.violations() == []


async def test_the_limit_of_titles_is_a_switch(api: Api) -> None:
    await api.firmware(title_limit=100)
    assert (await api.update(1, title="x" * 100))["errcode"] == 0


@pytest.mark.parametrize("body", [{"colour": "red"}, {"busy": "maybe"}, {"block_seconds": "long"}, []])
async def test_wrong_switches_are_refused_and_change_nothing(api: Api, body: Any) -> None:
    before = await api.control("GET", "/firmware")
    status, answer = await api.try_control("PUT", "/firmware", body)
    assert status == 400
    assert answer["error"]
    assert await api.control("GET", "/firmware") == before
