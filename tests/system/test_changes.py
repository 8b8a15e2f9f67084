"""Changes reach the PBX by themselves: announced by Graph or by the PBX, through the running cloud.

All tests share one cloud whose clock only moves forward; each has people of its own.
"""

import datetime
from collections.abc import AsyncIterator, Container
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from local.cloud import Cloud
from tests.system.client import Client, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBHOOK_SECRET = "w" * 32
TEAM = {"displayName": "Night shift", "mailEnabled": False, "securityEnabled": True, "mailNickname": "nightshift"}
MINUTE, HOUR = 60.0, 3600.0
DELAY = 10 * MINUTE
POLL_MINUTES = 1440
HALF_LIFE = 36 * HOUR
"""When a subscription is renewed."""


class Person(NamedTuple):
    """A synced user."""

    object_id: str
    pbx_id: int
    number: str


class Office:
    """A company whose users and groups are synced, and who works there."""

    def __init__(self, cloud: Cloud, client: Client, team: str) -> None:
        self.cloud = cloud
        self.client = client
        self.team = team
        self._people: list[Person] = []

    async def open(self) -> None:
        """Wait for the end of the first sync."""

        async def synced() -> bool | None:
            return True if "succeeded" in {run["status"] for run in (await self.quiet()).values()} else None

        await until(synced)
        links = (await self.client.get("/api/links?kind=users"))["value"]
        self._people = [Person(link["object_id"], link["pbx_id"], link["extension"]) for link in links]

    def person(self) -> Person:
        """Somebody who was in no test before."""
        return self._people.pop()

    async def rename(self, person: Person, name: str) -> None:
        await self.client.microsoft("PATCH", f"users/{person.object_id}", {"givenName": name})

    async def name(self, person: Person) -> str:
        """On the PBX."""
        return str((await self.extension(person))["first_name"])

    async def extension(self, person: Person) -> Any:
        found = [one for one in await self.client.pbx("GET", "extensions") if one["number"] == person.number]
        return found[0] if found else None

    async def is_named(self, person: Person, name: str) -> None:
        """Wait until the PBX has the name."""

        async def look() -> bool | None:
            extension = await self.extension(person)
            return True if extension is not None and extension["first_name"] == name else None

        await until(look)

    async def switch(self, **switches: Any) -> None:
        """Turn the delivery of Graph's notifications."""
        await self.client.microsoft("PUT", "notifications", switches)

    async def heard(self) -> None:
        """Wait until Graph has delivered what it has to tell."""
        await self.client.microsoft("POST", "notifications/settle")

    async def subscriptions(self) -> dict[str, Any]:
        """Those that Graph has, by resource."""
        return {one["resource"]: one for one in await self.client.microsoft("GET", "subscriptions")}

    async def notification(self, person: Person) -> dict[str, Any]:
        """A genuine one, made by hand: that somebody changed, and for the other address that renewal is due."""
        subscription = (await self.subscriptions())["users"]
        settings = await self.client.get("/api/settings")
        return {
            "subscriptionId": subscription["id"],
            "clientState": subscription["client_state"],
            "tenantId": settings["microsoft"]["tenant_id"],
            "changeType": "updated",
            "lifecycleEvent": "reauthorizationRequired",
            "resource": f"Users/{person.object_id}",
            "resourceData": {"id": person.object_id},
        }

    async def asked_of_graph(self, method: str) -> list[str]:
        """Paths of the requests about subscriptions."""
        found = await self.client.microsoft("GET", f"requests?method={method}&path=/v1.0/subscriptions*")
        return [request["path"] for request in found]

    async def runs(self) -> dict[str, Any]:
        return {run["id"]: run for run in (await self.client.get("/api/runs?top=200"))["value"]}

    async def quiet(self) -> dict[str, Any]:
        """All runs, when none is under way and the PBX has no event to tell."""

        async def look() -> dict[str, Any] | None:
            runs, events = await self.runs(), await self.client.pbx("GET", "deliveries")
            is_busy = any(run["status"] in {"queued", "running"} for run in runs.values())
            return None if is_busy or any(one["state"] == "waiting" for one in events) else runs

        found: dict[str, Any] = await until(look)
        return found

    async def new_runs(self, before: Container[str]) -> list[Any]:
        """Runs since ``before`` that started by themselves, when all is quiet. What the queue holds is done first."""
        await self.cloud.advance(MINUTE)
        await self.sync()
        return [run for key, run in (await self.quiet()).items() if key not in before and run["started_by"] != "api"]

    async def sync(self) -> None:
        """Sync by hand, behind everything that was queued before; again when another run was in progress."""

        async def run() -> bool | None:
            await self.quiet()
            run = await self.client.sync(mode="incremental", what=["users", "groups"])
            assert run["status"] in {"succeeded", "refused"}, run
            return True if run["status"] == "succeeded" else None

        await until(run)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connected() -> AsyncIterator[Office]:
    async with (
        Cloud(message_lease=3, microsoft_options=("--users", "80")) as cloud,
        Client(cloud) as client,
    ):
        yield await _connect(cloud, client)


async def _connect(cloud: Cloud, client: Client) -> Office:
    team = await client.microsoft("POST", "groups", TEAM)
    url = f"{cloud.environment['PUBLIC_BASE_URL']}/pbx/events"
    await client.pbx("PUT", "webhooks", {"webhooks": [{"url": url, "secret": WEBHOOK_SECRET}]})
    await client.secrets(pbx_webhook_secret=WEBHOOK_SECRET)
    await client.configure(_rules)
    office = Office(cloud, client, team["id"])
    await office.open()
    return office


def _rules(document: Any) -> None:
    # The clock moves by days, and nothing but what the tests do shall start a run.
    later = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    document["schedule"] |= {"kind": "weekly", "days": [f"{later:%a}".lower()], "poll_minutes": POLL_MINUTES}
    document["users"]["enabled"] = document["groups"]["enabled"] = True


@pytest_asyncio.fixture(loop_scope="module")
async def office(connected: Office) -> Office:
    """The office after a quiet minute, with its subscriptions and an empty batch."""
    await connected.cloud.advance(MINUTE)
    await connected.quiet()

    async def subscribed() -> bool | None:
        return True if len(await connected.subscriptions()) == 2 else None

    await until(subscribed)
    for _ in range(2):  # what a run does not find is looked for once more
        await connected.sync()
    return connected


# What Graph announces


async def test_a_rename_reaches_the_pbx_when_its_batch_is_due(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    await office.rename(person, "Wilhelmina")
    await office.heard()
    assert await office.runs() == before
    await office.cloud.advance(DELAY)
    await office.is_named(person, "Wilhelmina")
    [run] = await office.new_runs(before)
    assert (run["started_by"], run["mode"], run["requests"]["pbx_writes"]) == ("changes", "incremental", 1)


async def test_ten_changes_reach_the_pbx_at_once(office: Office) -> None:
    before, people = await office.quiet(), [office.person() for _ in range(10)]
    await office.switch(hold=True)
    for person in people:
        await office.rename(person, "Maximilian")
    await office.switch(hold=False)
    for person in people:
        await office.is_named(person, "Maximilian")
    [run] = await office.new_runs(before)
    assert (run["started_by"], run["requests"]["pbx_writes"]) == ("changes", 10)


async def test_a_new_member_of_a_group_joins_the_extension_group(office: Office) -> None:
    person = office.person()
    await office.client.microsoft("POST", f"groups/{office.team}/members", {"add": [person.object_id]})
    await office.heard()
    await office.cloud.advance(DELAY)

    async def joined() -> bool | None:
        groups = {group["name"]: group for group in await office.client.pbx("GET", "groups")}
        members = groups[TEAM["displayName"]]["members"]
        return True if person.pbx_id in {member["ext_id"] for member in members} else None

    assert await until(joined)


async def test_a_notification_that_comes_ten_times_is_synced_once(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    await office.switch(repeat=9)
    try:
        await office.rename(person, "Alexandra")
        await office.heard()
    finally:
        await office.switch(repeat=0)
    delivered = await office.client.microsoft("GET", "notifications/deliveries?kind=notification")
    assert len(delivered[-1]["body"]["value"]) == 10
    assert await office.runs() == before
    await office.cloud.advance(DELAY)
    await office.is_named(person, "Alexandra")
    [run] = await office.new_runs(before)
    assert run["requests"]["pbx_writes"] == 1


async def test_a_host_killed_between_notification_and_sync_loses_nothing(office: Office) -> None:
    person = office.person()
    await office.rename(person, "Sebastian")
    await office.heard()
    await office.cloud.restart_host(kill=True)
    await office.cloud.advance(DELAY)
    await office.is_named(person, "Sebastian")


async def test_a_change_whose_notification_got_lost_is_found_by_the_slow_poll(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    await office.switch(drop_next=1)
    await office.rename(person, "Theodora")
    await office.cloud.advance(DELAY)
    assert await office.runs() == before
    await office.cloud.advance(POLL_MINUTES * MINUTE)
    await office.is_named(person, "Theodora")
    assert "poll" in {run["started_by"] for run in await office.new_runs(before)}


async def test_what_is_forged_gets_the_same_answer_and_does_nothing(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    item = await office.notification(person)
    forged: list[Any] = [
        {"value": [item | {"clientState": "guessed"}]},
        {"value": [item | {"tenantId": person.object_id}]},
        {"value": [item | {"subscriptionId": person.object_id}]},
        {"value": [item] * 6000},
        [item],
        "garbage",
    ]
    renewals = await office.asked_of_graph("PATCH")
    for path in ("directory", "lifecycle"):
        for body in forged:
            status, answer, _ = await office.client.call("POST", f"/notifications/{path}", body, key="")
            assert (status, answer) == (202, b"")
        status, answer, _ = await office.client.call("POST", f"/notifications/{path}", raw=b"\xff\xfe{", key="")
        assert (status, answer) == (202, b"")
    await office.cloud.advance(DELAY)
    assert await office.quiet() == before
    await office.sync()
    assert await office.asked_of_graph("PATCH") == renewals


async def test_what_is_forged_differs_from_what_is_true_in_nothing_else(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    item = await office.notification(person)
    for path in ("directory", "lifecycle"):
        status, answer, _ = await office.client.call("POST", f"/notifications/{path}", {"value": [item]}, key="")
        assert (status, answer) == (202, b"")
    await office.cloud.advance(DELAY)
    assert [run["started_by"] for run in await office.new_runs(before)] == ["changes"]


# The subscriptions themselves


async def test_the_first_sync_is_followed_by_subscriptions_that_a_restart_does_not_double(office: Office) -> None:
    first = await office.subscriptions()
    assert set(first) == {"users", "groups"}
    base = office.cloud.environment["PUBLIC_BASE_URL"]
    assert {one["notification_url"] for one in first.values()} == {f"{base}/notifications/directory"}
    asked = await office.asked_of_graph("POST")
    await office.cloud.restart_host()
    await office.new_runs(await office.quiet())
    assert await office.subscriptions() == first
    assert await office.asked_of_graph("POST") == asked


async def test_a_subscription_is_renewed_as_soon_as_graph_asks_for_it(office: Office) -> None:
    before = (await office.subscriptions())["users"]
    await office.cloud.advance(HOUR)
    event = {"event": "reauthorizationRequired", "force": True}
    await office.client.microsoft("POST", f"subscriptions/{before['id']}/lifecycle", event)

    async def renewed() -> Any:
        now = (await office.subscriptions())["users"]
        return now if now["expires"] > before["expires"] else None

    after = await until(renewed)
    assert (after["id"], after["client_state"]) == (before["id"], before["client_state"])


async def test_a_subscription_that_vanished_without_a_word_is_made_anew(office: Office) -> None:
    before = (await office.subscriptions())["users"]
    await office.client.microsoft("DELETE", f"subscriptions/{before['id']}")
    await office.cloud.advance(HALF_LIFE)

    async def made() -> Any:
        return (await office.subscriptions()).get("users")

    assert (await until(made))["id"] != before["id"]
    person = office.person()
    await office.rename(person, "Genoveva")
    await office.heard()
    await office.cloud.advance(DELAY)
    await office.is_named(person, "Genoveva")


async def test_after_a_week_the_scheduled_run_starts_and_what_expired_is_made_anew(office: Office) -> None:
    before, subscriptions = await office.quiet(), await office.subscriptions()
    await office.cloud.advance(7 * 24 * HOUR)
    runs = await office.new_runs(before)
    assert [(run["started_by"], run["mode"], run["status"]) for run in runs] == [("schedule", "full", "succeeded")]

    async def made() -> bool | None:
        now = await office.subscriptions()
        return True if set(now) == set(subscriptions) else None

    assert await until(made)
    assert (await office.client.get("/api/status"))["state"] == "connected"
    assert await office.client.pbx("GET", "violations") == []


# What the PBX reports


async def test_a_synced_field_changed_by_hand_is_put_right_at_once_and_our_own_write_does_not_loop(
    office: Office,
) -> None:
    before, person = await office.quiet(), office.person()
    name = await office.name(person)
    await office.client.pbx("DELETE", "deliveries")
    await office.client.pbx("PATCH", f"extensions/{person.pbx_id}", {"first_name": "By hand"})
    await office.is_named(person, name)
    [run] = await office.new_runs(before)
    assert (run["started_by"], run["requests"]["pbx_writes"]) == ("pbx", 1)
    events = await office.client.pbx("GET", "deliveries")
    assert [(event["state"], event["status"]) for event in events] == [("answered", 200)] * 2, "the hand's and ours"


async def test_an_extension_deleted_by_hand_comes_back_with_its_number(office: Office) -> None:
    before, person = await office.quiet(), office.person()
    name = await office.name(person)
    await office.client.pbx("DELETE", f"extensions/{person.pbx_id}")
    await office.is_named(person, name)
    extension = await office.extension(person)
    assert (extension["number"], extension["id"] != person.pbx_id) == (person.number, True)
    assert [run["started_by"] for run in await office.new_runs(before)] == ["pbx"]
