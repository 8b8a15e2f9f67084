"""The system endpoints and the status monitor."""

from typing import Any

import pytest

from tests.pbx_emulator.api import Api, names


async def test_information_tells_clock_and_uptime(api: Api) -> None:
    before = (await api.get("/system/information"))["data"]
    await api.control("POST", "/clock", {"advance_seconds": 600})
    after = (await api.get("/system/information"))["data"]
    assert after["up_time"] - before["up_time"] == pytest.approx(600, abs=2)
    assert after["timestamp"] - before["timestamp"] == pytest.approx(600, abs=2)
    assert after["model_name"] == "Yeastar P570"


async def test_capacity_counts_extensions(api: Api) -> None:
    await api.create("1500")
    data = (await api.get("/system/capacity"))["data"]
    assert (data["extension_capacity"], data["extension_used"]) == (20, 4)


@pytest.mark.parametrize("menu", ["phonebook", "trunk", "queue", "conference", "org_list"])
async def test_known_option_families_may_be_empty(api: Api, menu: str) -> None:
    assert (await api.get("/system/get_menuoptions", menu=menu))["data"] == []


async def test_extensions_and_organisations_are_option_families(api: Api) -> None:
    await api.control("PUT", "/settings", {"organizations_enabled": True, "organizations": {"7": "Sales"}})
    extensions = (await api.get("/system/get_menuoptions", menu="extension"))["data"]
    assert extensions[0] == {"text": "Ada Lovelace", "value": "1", "type": "extension"}
    assert (await api.get("/system/get_menuoptions", menu="org_list"))["data"] == [{"text": "Sales", "value": "7"}]


async def test_an_unknown_option_family_is_40002(api: Api) -> None:
    answer = await api.get("/system/get_menuoptions", menu="role")
    assert (answer["errcode"], names(answer)) == (40002, ["menu"])
    assert (await api.get("/system/get_menuoptions"))["errcode"] == 40001


async def test_roles_are_listed_under_the_name_that_the_switch_gives(api: Api) -> None:
    await api.firmware(role_menu="user_role")
    roles = (await api.get("/system/get_menuoptions", menu="user_role"))["data"]
    assert {"text": "Employee", "value": "4"} in roles


async def test_a_sent_email_is_kept(api: Api) -> None:
    body = {"recipient": ["a@example.com"], "cc": ["b@example.com"], "subject": "S", "body": "B", "force_attach": 0}
    assert (await api.post("/system/sendemail", body))["errcode"] == 0
    (email,) = await api.control("GET", "/emails")
    assert (email["kind"], email["recipients"], email["subject"]) == ("message", ["a@example.com"], "S")
    assert email["options"] == {"cc": ["b@example.com"], "force_attach": 0}
    await api.control("DELETE", "/emails")
    assert await api.control("GET", "/emails") == []


@pytest.mark.parametrize(
    ("member", "value", "errcode"),
    [
        ("recipient", [], 40002),
        ("recipient", ["nobody"], 40002),
        ("recipient", "a@example.com", 40001),
        ("email_server", "own", 40002),
        ("force_attach", 2, 40002),
        ("from", "me@example.com", 40001),
    ],
)
async def test_a_wrong_email_is_not_sent(api: Api, member: str, value: Any, errcode: int) -> None:
    body = {"recipient": ["a@example.com"], "subject": "S", "body": "B", member: value}
    assert (await api.post("/system/sendemail", body))["errcode"] == errcode
    assert await api.control("GET", "/emails") == []


async def test_no_email_leaves_while_the_mail_server_does_not_work(api: Api) -> None:
    await api.control("PUT", "/settings", {"mail_server_works": False})
    body = {"recipient": ["a@example.com"], "subject": "S", "body": "B"}
    assert (await api.post("/system/sendemail", body))["errcode"] == -1


async def test_monitoring_is_switched_per_extension_and_the_rest_stays(api: Api) -> None:
    await api.post("/extension_status_monitor/update", {"ext_monitor_list": [{"ext_id": 1, "enb_call_status": 1}]})
    answer = await api.post(
        "/extension_status_monitor/update",
        {"ext_monitor_list": [{"ext_id": 1, "enb_presence_status": 1}, {"ext_id": 5, "enb_presence_status": 1}]},
    )
    assert answer["errcode"] == 0
    monitors = await api.get("/extension_status_monitor/list", page=1, page_size=2)
    assert monitors["total_number"] == 3
    assert monitors["data"][0] == {
        "ext_id": 1,
        "number": "1000",
        "name": "Ada Lovelace",
        "enb_register_status": 0,
        "enb_call_status": 1,
        "enb_presence_status": 1,
    }
    assert monitors["data"][1]["enb_presence_status"] == 0


async def test_monitoring_of_an_unknown_extension_changes_nothing(api: Api) -> None:
    entries = [{"ext_id": 1, "enb_call_status": 1}, {"ext_id": 99, "enb_call_status": 1}]
    assert (await api.post("/extension_status_monitor/update", {"ext_monitor_list": entries}))["errcode"] == 60001
    assert (await api.get("/extension_status_monitor/list"))["data"][0]["enb_call_status"] == 0


@pytest.mark.parametrize(
    ("entries", "errcode"),
    [([], 40002), ([{}], 40001), ([{"ext_id": 1, "enb_call_status": 2}], 40002), ([{"ext_id": 1, "on": 1}], 40001)],
    ids=str,
)
async def test_wrong_monitoring_is_refused(api: Api, entries: list[Any], errcode: int) -> None:
    assert (await api.post("/extension_status_monitor/update", {"ext_monitor_list": entries}))["errcode"] == errcode
