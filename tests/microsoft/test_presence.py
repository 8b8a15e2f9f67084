"""Presence as Graph shows it: who may read whose, the words, the limits, and what the control API may set."""

import asyncio
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import sample
from local.microsoft import MicrosoftEmulator
from local.microsoft.presence_values import (
    LONG_STANDING,
    NEW_DAY,
    NEWEST,
    OLD_DAY,
    Vocabulary,
    at_start,
    check,
    company_day,
)
from local.sample import user_id
from tests.microsoft.subscriber import PATIENCE_SECONDS
from tests.microsoft.support import Answer, Client, small_tenant

NOOR, IMRE, SEAN, GUEST, DELETED = user_id(1), user_id(2), user_id(3), user_id(5), user_id(6)
NOBODY = user_id(999)
BY_ID = "communications/getPresencesByUserId"


def act_for(client: Client, user: str, *scopes: str, seconds: int = 3600) -> None:
    """The client carries a delegated token from now on."""
    emulator = client.emulator
    app = emulator.authority.apps[sample.CLIENT_ID]
    client.token = emulator.tokens.for_user(app, user, scopes, seconds)


async def put(client: Client, user: str, **changes: Any) -> dict[str, Any]:
    answer = await client.control("PUT", f"presence/users/{user}", changes)
    assert answer.status == 200, answer.text
    shown: dict[str, Any] = answer.json
    return shown


async def turn(client: Client, **switches: Any) -> None:
    answer = await client.control("PUT", "presence", switches)
    assert answer.status == 200, answer.text


async def by_ids(client: Client, *ids: str) -> Answer:
    return await client.send("POST", f"/v1.0/{BY_ID}", json={"ids": list(ids)})


# Reading


async def test_a_presence_comes_whole(client: Client) -> None:
    shown = await put(client, NOOR, availability="Busy", activity="InACall")
    expected = {
        "id": NOOR,
        "availability": "Busy",
        "activity": "InACall",
        "statusMessage": None,
        "outOfOfficeSettings": {"isOutOfOffice": False, "message": None},
        "sequenceNumber": shown["sequenceNumber"],
        "workLocation": None,
    }
    root = f"{client.emulator.url}/v1.0/$metadata#"
    of_user = (await client.graph(f"users/{NOOR}/presence")).json
    assert of_user == {"@odata.context": f"{root}users('{NOOR}')/presence/$entity", **expected}
    of_id = (await client.graph(f"communications/presences/{NOOR.upper()}")).json
    assert of_id == {"@odata.context": f"{root}communications/presences/$entity", **expected}
    of_many = (await by_ids(client, NOOR)).json
    assert of_many == {"@odata.context": f"{root}Collection(microsoft.graph.presence)", "value": [expected]}


async def test_messages_come_along(client: Client) -> None:
    await put(client, NOOR, status_message="Back at three", out_of_office=True, out_of_office_message="On holiday")
    shown = (await client.graph(f"users/{NOOR}/presence")).json
    assert shown["outOfOfficeSettings"] == {"isOutOfOffice": True, "message": "On holiday"}
    assert shown["statusMessage"]["message"] == {"content": "Back at three", "contentType": "text"}
    assert shown["statusMessage"]["publishedDateTime"].endswith("Z")
    again = await put(client, NOOR, status_message="Back at three")
    assert again["statusMessage"] == shown["statusMessage"], "the same message is no other one"
    assert (await put(client, NOOR, status_message=None))["statusMessage"] is None


async def test_many_come_in_the_order_asked_for_each_once(client: Client) -> None:
    found = (await by_ids(client, SEAN, NOOR, SEAN.upper())).json["value"]
    assert [item["id"] for item in found] == [SEAN, NOOR]


async def test_at_most_650_ids_go_into_one_call(client: Client) -> None:
    many = [user_id(number) for number in range(1, 651)]
    assert len((await by_ids(client, *many)).json["value"]) == 650
    refused = await by_ids(client, *many, user_id(651))
    assert (refused.status, refused.code) == (400, "BadRequest")
    assert "650" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": NOOR},
        {"ids": [1]},
        {"ids": [NOOR], "select": "id"},
        {"ids": ["user1@contoso.example"]},
        {"ids": [f"{NOOR} "]},
        [],
    ],
    ids=str,
)
async def test_a_wrong_body_is_refused(client: Client, body: Any) -> None:
    assert (await client.send("POST", f"/v1.0/{BY_ID}", json=body)).status == 400


@pytest.mark.parametrize("path", ["users/{}/presence", "communications/presences/{}"])
async def test_users_are_found_by_object_id_only(client: Client, path: str) -> None:
    assert (await client.graph(path.format("user1@contoso.example"))).status == 400
    assert (await client.graph(path.format(NOBODY))).status == 404
    assert (await client.graph(path.format(DELETED))).status == 404
    assert (await client.graph(path.format(NOOR) + "?$select=id")).status == 400
    assert (await client.send("POST", f"/v1.0/{path.format(NOOR)}", json={})).status == 405


@pytest.mark.parametrize(("what", "expected"), [("unknown", [NOOR, NOBODY, DELETED]), ("omitted", [NOOR])])
async def test_ids_of_nobody_are_unknown_or_left_out(client: Client, what: str, expected: list[str]) -> None:
    await turn(client, unknown_ids=what)
    found = {item["id"]: item["availability"] for item in (await by_ids(client, NOOR, NOBODY, DELETED)).json["value"]}
    assert list(found) == expected
    assert {found[identifier] for identifier in expected[1:]} <= {"PresenceUnknown"}


async def test_ids_of_nobody_may_spoil_the_whole_call(client: Client) -> None:
    await turn(client, unknown_ids="refused")
    assert (await by_ids(client, NOOR, NOBODY)).status == 404


async def test_who_has_no_teams_is_unknown(client: Client) -> None:
    for user in (GUEST, IMRE):
        shown = (await client.graph(f"users/{user}/presence")).json
        assert (shown["availability"], shown["activity"]) == ("PresenceUnknown", "PresenceUnknown")
    new = (await client.control("POST", "users", {"displayName": "New", "userPrincipalName": "n@contoso.example"})).json
    assert (await client.graph(f"users/{new['id']}/presence")).json["availability"] == "PresenceUnknown"


async def test_a_restored_user_has_the_presence_of_before(client: Client) -> None:
    await put(client, NOOR, availability="Away")
    await client.control("DELETE", f"users/{NOOR}")
    assert (await client.graph(f"users/{NOOR}/presence")).status == 404
    await client.control("POST", f"users/{NOOR}/restore")
    assert (await client.graph(f"users/{NOOR}/presence")).json["availability"] == "Away"


# Permissions


@pytest.mark.parametrize(
    ("role", "status"), [("Presence.Read.All", 200), ("Presence.Read", 403), ("User.Read.All", 403)]
)
async def test_an_app_needs_the_permission_on_all(client: Client, role: str, status: int) -> None:
    client.token = client.emulator.token_for(role)
    for path in (f"users/{NOOR}/presence", f"communications/presences/{NOOR}"):
        assert (await client.graph(path)).status == status
    assert (await by_ids(client, NOOR)).status == status


async def test_ones_own_presence_can_be_read_with_less(client: Client) -> None:
    act_for(client, NOOR, "Presence.Read")
    for path in ("me/presence", f"users/{NOOR}/presence", f"communications/presences/{NOOR}"):
        assert (await client.graph(path)).json["id"] == NOOR
    assert (await client.graph(f"users/{SEAN}/presence")).status == 403
    assert (await by_ids(client, NOOR)).status == 403
    act_for(client, NOOR, "Presence.Read.All")
    assert (await client.graph(f"users/{SEAN}/presence")).status == 200
    assert (await client.graph("me/presence")).status == 200
    act_for(client, NOOR, "User.Read")
    assert (await client.graph("me/presence")).status == 403


async def test_an_app_has_no_presence_of_its_own(client: Client) -> None:
    assert (await client.graph("me/presence")).status == 400


# The limit


async def test_an_app_is_throttled_by_the_number_of_its_requests(client: Client) -> None:
    await turn(client, requests_per_30_seconds=3)
    assert [(await client.graph(f"users/{NOOR}/presence")).status for _ in range(3)] == [200] * 3
    refused = await by_ids(client, NOOR)
    assert (refused.status, refused.code) == (429, "TooManyRequests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert (await client.graph("organization")).status == 200, "other services go on"
    await client.control("POST", "clock", {"advance_seconds": int(refused.headers["Retry-After"])})
    assert (await by_ids(client, NOOR)).status == 200


async def test_refused_requests_count_too(client: Client) -> None:
    await turn(client, requests_per_30_seconds=2, send_retry_after=False)
    answers = [await by_ids(client, NOOR) for _ in range(3)]
    await client.control("POST", "clock", {"advance_seconds": 20})
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "Retry-After" not in answers[2].headers
    assert (await by_ids(client, NOOR)).status == 429
    await client.control("POST", "clock", {"advance_seconds": 15})
    assert (await by_ids(client, NOOR)).status == 200, "the one of before is still counted"
    assert (await by_ids(client, NOOR)).status == 429


async def test_the_documented_limit_is_the_default(client: Client) -> None:
    meter_limit = (await client.control("GET", "presence")).json["requests_per_30_seconds"]
    assert meter_limit == 1500
    await turn(client, requests_per_30_seconds=None)
    assert (await by_ids(client, NOOR)).status == 200


# The words


@pytest.mark.parametrize(
    ("vocabulary", "availability", "activity", "allowed"),
    [
        ("long_standing", "BusyIdle", "InAConferenceCall", True),
        ("long_standing", "Focusing", "DoNotDisturb", False),
        ("newest", "Focusing", "DoNotDisturb", True),
        ("newest", "InACall", "InACall", False),
        ("newest", "BusyIdle", "Busy", False),
        ("both", "Focusing", "UrgentInterruptionsOnly", True),
        ("both", "busy", "Busy", False),
        ("both", "", "Busy", False),
        ("free", "Teleporting", "Beaming", True),
    ],
)
async def test_the_words_are_those_of_the_vocabulary(
    client: Client, vocabulary: str, availability: str, activity: str, allowed: bool
) -> None:
    await turn(client, vocabulary=vocabulary)
    before = (await client.control("GET", f"presence/users/{NOOR}")).json
    answer = await client.control("PUT", f"presence/users/{NOOR}", {"availability": availability, "activity": activity})
    assert (answer.status == 200) is allowed
    shown = (await client.graph(f"users/{NOOR}/presence")).json
    words = (availability, activity) if allowed else (before["availability"], before["activity"])
    assert (shown["availability"], shown["activity"]) == words


async def test_an_availability_that_is_an_activity_too_stands_for_both(client: Client) -> None:
    shown = await put(client, NOOR, availability="Away")
    assert (shown["availability"], shown["activity"]) == ("Away", "Away")
    shown = await put(client, NOOR, availability="Focusing")
    assert (shown["availability"], shown["activity"]) == ("Focusing", "Away"), "it stays where there is no such word"


async def test_every_change_has_a_greater_sequence_number_and_no_change_has_none(client: Client) -> None:
    shown = [await put(client, user, availability=word) for word in ("Away", "Busy") for user in (NOOR, SEAN)]
    numbers = [item["sequenceNumber"] for item in shown]
    assert numbers == sorted(set(numbers)), "also as text"
    assert (await put(client, SEAN, availability="Busy"))["sequenceNumber"] == numbers[-1]


@given(st.sampled_from(["long_standing", "newest", "both", "free"]), st.integers(0, 2**32), st.integers(1, 20))
def test_a_day_speaks_the_vocabulary_and_always_changes_something(
    vocabulary: Vocabulary, seed: int, users: int
) -> None:
    ids = [user_id(number) for number in range(users)]
    steps = list(islice(company_day(ids, vocabulary, seed), 200))
    assert steps == list(islice(company_day(ids, vocabulary, seed), 200)), "the seed makes the day"
    last: dict[str, Any] = {}
    for user, words in steps:
        check(vocabulary, words)
        assert last.get(user) != words
        last[user] = words


def test_both_lists_occur_in_a_day_and_at_the_start() -> None:
    for day, (availabilities, activities) in ((OLD_DAY, LONG_STANDING), (NEW_DAY, NEWEST)):
        assert all(words[0] in availabilities and words[1] in activities for words in day)
    started = {at_start(number) for number in range(200)}
    assert started == set(OLD_DAY) | set(NEW_DAY)


def test_the_sample_company_is_at_work() -> None:
    emulator = MicrosoftEmulator(small_tenant())
    assert set(emulator.presences.content.users) == {user_id(number) for number in (1, 3, 4)}


# The control API


async def test_everybody_known_is_listed(client: Client) -> None:
    await put(client, GUEST, availability="Away")
    listed = {item["id"]: item["availability"] for item in (await client.control("GET", "presence/users")).json}
    assert (len(listed), listed[GUEST]) == (4, "Away")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", f"presence/users/{NOBODY}", {"availability": "Away"}, 404),
        ("PUT", f"presence/users/{NOOR}", {"availability": "Here"}, 400),
        ("PUT", f"presence/users/{NOOR}", {"activity": "Walking"}, 400),
        ("PUT", f"presence/users/{NOOR}", {"mood": "good"}, 400),
        ("PUT", f"presence/users/{NOOR}", {"out_of_office": None}, 400),
        ("PUT", "presence", {"token_seconds": 0}, 400),
        ("PUT", "presence", {"requests_per_30_seconds": 0}, 400),
        ("PUT", "presence", {"forge_next": ["sorcery"]}, 400),
        ("PUT", "presence", {"colour": "red"}, 400),
        ("POST", "presence/day", {"changes_per_second": 0, "seconds": 1}, 400),
        ("POST", "presence/day", {"changes_per_second": 1001, "seconds": 1}, 400),
        ("POST", "presence/day", {"changes_per_second": 1, "seconds": 0}, 400),
        ("POST", "presence/day", {"changes_per_second": 1, "seconds": 1, "users": []}, 400),
        ("POST", "presence/day", {"changes_per_second": 1, "seconds": 1, "users": [NOBODY]}, 404),
        ("POST", "presence/forge", {"subscription": "none", "flaw": "expired"}, 404),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(
    client: Client, method: str, path: str, body: Any, status: int
) -> None:
    before = (await client.control("GET", "state")).json
    answer = await client.control(method, path, body)
    assert (answer.status, bool(answer.json["error"])) == (status, True)
    assert (await client.control("GET", "state")).json == before


async def test_the_presences_are_part_of_the_content(client: Client) -> None:
    await put(client, NOOR, availability="Busy", activity="InACall", status_message="x", out_of_office=True)
    await turn(client, vocabulary="newest", forge_next=["expired"])
    saved = (await client.control("GET", "state")).json
    await client.control("POST", "reset")
    assert (await client.control("GET", "presence")).json["vocabulary"] == "both"
    assert (await client.control("PUT", "state", saved)).status == 204
    assert (await client.control("GET", "state")).json == saved


# A day


async def finished(client: Client) -> dict[str, Any]:
    """Wait for the end of the day; its clock is moved to it."""
    task = client.emulator.day._task
    assert task is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        await task
    progress: dict[str, Any] = (await client.control("GET", "presence/day")).json
    return progress


async def test_a_day_makes_as_many_changes_as_were_ordered(client: Client) -> None:
    heard: list[str] = []
    half = asyncio.Event()

    def hear(user: str, *_: Any) -> None:
        heard.append(user)
        if len(heard) == 3600:
            half.set()

    client.emulator.presences.on_change = hear
    order = {"changes_per_second": 2, "seconds": 3600, "users": [NOOR, "user3@contoso.example"]}
    started = await client.control("POST", "presence/day", order)
    assert (started.status, started.json["planned"], started.json["running"]) == (202, 7200, True)
    await client.control("POST", "clock", {"advance_seconds": 1800})
    async with asyncio.timeout(PATIENCE_SECONDS):
        await half.wait()
    assert client.emulator.day.progress.made < 7200, "the rest is not due"
    await client.control("POST", "clock", {"advance_seconds": 1800})
    assert await finished(client) == {"running": False, "planned": 7200, "made": 7200}
    assert (len(heard), set(heard)) == (7200, {NOOR, SEAN})


async def test_a_day_is_ended_by_hand_by_another_one_and_by_a_reset(client: Client) -> None:
    order = {"changes_per_second": 1, "seconds": 3600}
    for end in (("DELETE", "presence/day", None), ("POST", "presence/day", order), ("POST", "reset", None)):
        await client.control("POST", "presence/day", order)
        task = client.emulator.day._task
        assert task is not None
        await client.control(*end)
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert task.cancelled()
    assert not (await client.control("GET", "presence/day")).json["running"]


async def test_a_day_needs_somebody(client: Client) -> None:
    client.emulator.presences.content.users.clear()
    assert (await client.control("POST", "presence/day", {"changes_per_second": 1, "seconds": 1})).status == 400
