"""The presence of extensions: written by the API, chosen by people, told by event 30009."""

from typing import Any

import msgspec
import pytest

from tests.pbx_emulator.api import Api, names
from tests.pbx_emulator.contract import SPEC, load_contract

STATUSES = ("available", "away", "business_trip", "do_not_disturb", "lunch", "off_work")


async def watch(api: Api, *ids: int, topics: tuple[int, ...] = (30009,)) -> None:
    """A webhook for ``topics``, and monitoring of the presence of these extensions."""
    webhook = {"url": "https://localhost:1/", "secret": "x" * 32, "topics": topics}
    await api.control("PUT", "/webhooks", {"webhooks": [webhook]})
    entries = [{"ext_id": number, "enb_presence_status": 1} for number in ids]
    if entries:
        await api.post("/extension_status_monitor/update", {"ext_monitor_list": entries})
    await api.control("DELETE", "/deliveries")


async def choose(api: Api, number: int, status: str, custom: str = "") -> Any:
    return await api.control("PUT", f"/extensions/{number}/presence", {"status": status, "custom": custom})


async def events(api: Api) -> list[Any]:
    """The bodies that were sent since the last look."""
    found = [msgspec.json.decode(delivery["body"]) for delivery in await api.control("GET", "/deliveries")]
    await api.control("DELETE", "/deliveries")
    return found


async def told(api: Api) -> list[tuple[str, str]]:
    """Number and status of each event 30009 since the last look."""
    messages = [msgspec.json.decode(event["msg"]) for event in await events(api) if event["type"] == 30009]
    return [(message["extension"], message["status"]) for message in messages]


async def row(api: Api, number: int) -> dict[str, Any]:
    rows = (await api.get("/extension/list"))["data"]
    return next(row for row in rows if row["id"] == number)


async def shown(api: Api, number: int) -> set[tuple[str, str]]:
    """The status and the custom presence, as every way of reading shows them."""
    found = [await row(api, number), await api.detail(number), *(await api.get("/extension/query", ids=number))["data"]]
    found += (await api.get("/extension/search", search_value=found[0]["number"]))["data"]
    return {(item["presence_status"], item["custom_presence_status"]) for item in found}


@pytest.mark.parametrize("status", STATUSES)
async def test_every_documented_status_is_taken_and_shown_everywhere(api: Api, status: str) -> None:
    assert (await api.update(1, presence_status=status))["errcode"] == 0
    assert await shown(api, 1) == {(status, "")}


@pytest.mark.parametrize(
    ("value", "errcode"),
    [("Away", 40002), ("", 40002), ("busy", 40002), ("leave", 40002), ("launch", 40002), (None, 40001), (1, 40001)],
)
async def test_another_status_is_refused_and_changes_nothing(api: Api, value: Any, errcode: int) -> None:
    answer = await api.update(1, presence_status=value)
    assert (answer["errcode"], names(answer)) == (errcode, ["presence_status"])
    assert await shown(api, 1) == {("available", "")}


async def test_a_custom_presence_can_be_read_and_not_written(api: Api) -> None:
    await choose(api, 1, "away", "Gone fishing")
    assert await shown(api, 1) == {("away", "Gone fishing")}
    answer = await api.update(1, custom_presence_status="At sea")
    assert (answer["errcode"], names(answer)) == (40001, ["custom_presence_status"])
    assert await shown(api, 1) == {("away", "Gone fishing")}
    assert (await api.update(1, title="Countess"))["errcode"] == 0
    assert await shown(api, 1) == {("away", "Gone fishing")}, "another change leaves it alone"


@pytest.mark.parametrize(
    ("where", "in_row", "in_detail"),
    [("rows_and_details", True, True), ("rows", True, False), ("nothing", False, False)],
)
async def test_older_firmware_shows_no_custom_presence(api: Api, where: str, in_row: bool, in_detail: bool) -> None:
    await api.firmware(custom_presence_in=where)
    assert ("custom_presence_status" in await row(api, 1)) is in_row
    assert ("custom_presence_status" in await api.detail(1)) is in_detail


async def test_what_a_person_chooses_is_told_of_monitored_extensions_only(api: Api) -> None:
    await watch(api, 1)
    await choose(api, 1, "lunch")
    await choose(api, 2, "lunch")
    assert await told(api) == [("1000", "lunch")]
    assert await shown(api, 2) == {("lunch", "")}
    off = {"ext_monitor_list": [{"ext_id": 1, "enb_presence_status": 0}]}
    await api.post("/extension_status_monitor/update", off)
    await choose(api, 1, "away")
    assert await told(api) == []


async def test_our_own_writes_come_back_as_events(api: Api) -> None:
    await watch(api, 1)
    await api.update(1, presence_status="off_work")
    assert await told(api) == [("1000", "off_work")]
    await api.firmware(api_writes_raise_events=False)
    await api.update(1, presence_status="away")
    await choose(api, 1, "lunch")
    assert await told(api) == [("1000", "lunch")]


async def test_what_is_no_change_is_not_told(api: Api) -> None:
    await watch(api, 1, topics=(30009, 30022))
    await choose(api, 1, "available")
    assert await events(api) == []
    await api.update(1, presence_status="available")
    await api.update(1, title="Countess")
    assert await told(api) == []


async def test_a_custom_presence_is_told_with_the_status_below_it(api: Api) -> None:
    await watch(api, 1)
    await choose(api, 1, "available", "Gone fishing")
    await choose(api, 1, "available", "Gone fishing")
    await choose(api, 1, "available")
    assert await told(api) == [("1000", "available")] * 2


async def test_another_presence_may_or_may_not_count_as_an_edited_extension(api: Api) -> None:
    await watch(api, 1, topics=(30009, 30022))
    await choose(api, 1, "away")
    assert [event["type"] for event in await events(api)] == [30009, 30022]
    await api.firmware(presence_raises_edited=False)
    await choose(api, 1, "lunch")
    await api.update(1, presence_status="off_work")
    assert [event["type"] for event in await events(api)] == [30009, 30009]
    await api.update(1, presence_status="away", title="Countess")
    await api.update(2, presence_status="away", title="Baron")
    await api.control("DELETE", "/extensions/2")
    assert [event["type"] for event in await events(api)] == [30009, 30022, 30022, 30022]


async def test_an_event_is_that_of_the_document(api: Api) -> None:
    await watch(api, 1)
    await choose(api, 1, "do_not_disturb")
    await api.firmware(event_message="object")
    await choose(api, 1, "away")
    text, plain = await events(api)
    assert text == {"type": 30009, "sn": "3631A2145678", "msg": '{"extension":"1000","status":"do_not_disturb"}'}
    assert plain == {"type": 30009, "sn": "3631A2145678", "msg": {"extension": "1000", "status": "away"}}


@pytest.mark.skipif(not SPEC.exists(), reason=f"the OpenAPI document is not at {SPEC}")
async def test_an_event_fits_the_document(api: Api) -> None:
    await watch(api, 1)
    for status in (*STATUSES[1:], STATUSES[0]):
        await choose(api, 1, status)
    contract, found = load_contract(SPEC), await events(api)
    assert len(found) == len(STATUSES)
    for event in found:
        assert contract.validator("/components/schemas/EventPresence").is_valid(event)
        message = msgspec.json.decode(event["msg"])
        assert contract.validator("/components/schemas/EventPresenceMsg").is_valid(message)


async def test_a_presence_survives_a_round_trip_of_the_state(api: Api) -> None:
    await watch(api, 1)
    await choose(api, 1, "lunch", "Gone fishing")
    saved = await api.control("GET", "/state")
    await api.control("POST", "/reset")
    await api.control("PUT", "/state", saved)
    assert await events(api) == [], "content that is loaded is no event"
    assert (await api.control("GET", "/state")) == saved


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/extensions/1/presence", {"status": "launch"}, 400),
        ("/extensions/1/presence", {}, 400),
        ("/extensions/1/presence", {"status": "away", "colour": "red"}, 400),
        ("/extensions/1/presence", {"status": "away", "custom": None}, 400),
        ("/extensions/99/presence", {"status": "away"}, 404),
    ],
)
async def test_a_choice_that_makes_no_sense_is_refused(api: Api, path: str, body: Any, status: int) -> None:
    before = await api.control("GET", "/state")
    got, answer = await api.try_control("PUT", path, body)
    assert got == status
    assert answer["error"]
    assert await api.control("GET", "/state") == before


async def test_nobody_can_put_an_unknown_status_into_the_content(api: Api) -> None:
    got, answer = await api.try_control("PATCH", "/extensions/1", {"presence_status": "busy"})
    assert (got, "busy" in answer["error"]) == (400, True)
