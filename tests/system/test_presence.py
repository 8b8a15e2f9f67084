"""Extensions follow Teams through the running cloud: announced or polled, whatever happens on the way.

All tests share one cloud with more people than one subscription takes, whose clock only moves forward. None of them
relies on what another one left but for the first sync and the sign-in.
"""

import contextlib
import datetime
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import msgspec
import pytest
import pytest_asyncio

from local.cloud import Cloud
from local.microsoft.presence_forgeries import TOKEN_FLAWS
from local.sample import ADMINISTRATORS, user_id
from tests.system.client import Client, until
from tests.system.slow_storage import SlowStorage
from tests.system.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS = 720
ANNOUNCED = 650
"""As many as one subscription takes."""
POLL = 10.0
MINUTE, HOUR = 60.0, 3600.0
SWEEP = 10 * MINUTE
"""As often everybody is asked about, and looked for."""
FOLLOWED = {"DoNotDisturb": "do_not_disturb", "Busy": "away", "Available": "available"}
"""What an extension shows for what Teams shows, as delivered."""
PATH = "/notifications/presence"
UPDATE = "requests?path=/openapi/v1.0/extension/update"
SLOW_MS = 2_000
"""Of every request to the PBX, in milliseconds: two of them take longer than Graph waits for an answer."""
LATE = 3.0
"""Seconds of every request to storage: recording a change takes longer then than the bridge lets Graph wait."""


class Person(NamedTuple):
    """A user with an extension."""

    object_id: str
    pbx_id: int


class Company:
    """Everybody's extension follows Teams. The administrator of the tenant is the authorization account."""

    def __init__(self, cloud: Cloud, client: Client, visitor: Visitor, storage: SlowStorage) -> None:
        self.cloud = cloud
        self.client = client
        self.visitor = visitor
        self.storage = storage
        self._people: dict[str, Person] = {}
        self._met: set[str] = set()

    async def open(self) -> None:
        """After the first sync: sign in, and wait until changes are announced and everybody is up to date."""
        links = (await self.client.get(f"/api/links?kind=users&top={USERS}"))["value"]
        self._people = {one["object_id"]: Person(one["object_id"], one["pbx_id"]) for one in links}
        await self.visitor.enter()
        await self.visitor.connect_account(ADMINISTRATORS[0])
        await self.cloud.advance(MINUTE)
        await self.subscription()
        await self.quiet()

    # People

    async def announced_person(self) -> Person:
        """Somebody new whose changes are announced."""
        return self._new_in(set((await self.subscription())["target"]["ids"]))

    async def polled_person(self) -> Person:
        """Somebody new whose changes are not."""
        return self._new_in(set(self._people) - set((await self.subscription())["target"]["ids"]))

    async def hire(self, name: str) -> Person:
        """Somebody new in the tenant, who gets an extension."""
        address = f"{name.lower().replace(' ', '.')}@contoso.example"
        properties = {"displayName": name, "userPrincipalName": address, "mail": address, "accountEnabled": True}
        user = await self.client.microsoft("POST", "users", properties)
        assert (await self.client.sync(mode="incremental", what=["users"]))["status"] == "succeeded"
        [link] = (await self.client.get(f"/api/links?kind=users&search={address}"))["value"]
        return Person(user["id"], link["pbx_id"])

    def _new_in(self, object_ids: set[str]) -> Person:
        found = self._people[min(object_ids & set(self._people) - self._met)]
        self._met.add(found.object_id)
        return found

    async def show(self, person: Person, name: str) -> None:
        """Somebody shows ``name`` in Teams."""
        await self.client.microsoft(
            "PUT", f"presence/users/{person.object_id}", {"availability": name, "activity": name}
        )

    async def change(self, person: Person) -> str:
        """Somebody shows something else in Teams; answers what the extension should show then."""
        now = (await self.extension(person))["presence_status"]
        name = next(name for name, status in FOLLOWED.items() if status != now)
        await self.show(person, name)
        return FOLLOWED[name]

    async def choose(self, person: Person, status: str, custom: str = "") -> None:
        """Somebody chooses a status on the phone."""
        await self.client.pbx("PUT", f"extensions/{person.pbx_id}/presence", {"status": status, "custom": custom})

    async def extension(self, person: Person) -> Any:
        return await self.client.pbx("GET", f"extensions/{person.pbx_id}")

    async def shows(self, person: Person, status: str) -> None:
        """Wait until the extension shows it."""

        async def look() -> bool | None:
            return True if (await self.extension(person))["presence_status"] == status else None

        await until(look)

    async def follows(self, person: Person) -> None:
        """A change in Teams is announced, and on the PBX."""
        before = len(await self.posts())
        await self.shows(person, await self.change(person))
        await self.heard()
        told = [one for post in (await self.posts())[before:] for one in post["body"]["value"]]
        assert person.object_id in {item["resourceData"]["id"] for item in told}

    async def shows_after(self, person: Person, name: str, status: str) -> None:
        """Somebody shows ``name`` in Teams; wait until the extension shows ``status``."""
        await self.show(person, name)
        await self.shows(person, status)
        await self.quiet()

    async def follows_polled(self, person: Person) -> None:
        """A change in Teams is on the PBX although nobody announces it."""
        before = len(await self.posts())
        status = await self.change(person)
        await self.cloud.advance(POLL)
        await self.shows(person, status)
        assert len(await self.posts()) == before

    # The bridge

    async def status(self) -> Any:
        return await self.client.get("/api/status")

    async def figures(self) -> Any:
        return (await self.status())["presence"]

    async def heard(self) -> None:
        """Wait until Graph has told everything."""
        await self.client.microsoft("POST", "notifications/settle")

    async def failing(self) -> Any:
        """The figures as soon as they tell why nothing is announced."""

        async def look() -> Any:
            figures = await self.figures()
            return figures if figures["accounts"][0]["last_error"] else None

        return await until(look)

    async def quiet(self) -> None:
        """Wait until Graph has told everything, and the bridge has done what follows from it."""
        await self.heard()

        async def done() -> bool | None:
            return True if (await self.figures())["pending"] == 0 else None

        await until(done)

    async def subscription(self) -> Any:
        """The one to presence, as Graph has it, as soon as there is one."""

        async def look() -> Any:
            return next(iter(await self.subscriptions()), None)

        return await until(look)

    async def have_subscriptions(self, number: int) -> None:
        """Wait until Graph has so many."""

        async def look() -> bool | None:
            return True if len(await self.subscriptions()) == number else None

        await until(look)

    async def subscriptions(self) -> list[Any]:
        found = await self.client.microsoft("GET", "subscriptions")
        return [one for one in found if one["target"]["kind"] == "presence"]

    @contextlib.asynccontextmanager
    async def without_subscriptions(self) -> AsyncIterator[None]:
        """Meanwhile Graph refuses to make or renew any."""
        fault = {"kind": "status", "path": "/v1.0/subscriptions*", "status": 500, "times": None}
        await self.client.microsoft("POST", "faults", fault)
        try:
            yield
        finally:
            await self.client.microsoft("DELETE", "faults")

    async def another_than(self, before: Any) -> Any:
        """Another subscription than this one, as soon as there is one."""

        async def look() -> Any:
            return next((one for one in await self.subscriptions() if one["id"] != before["id"]), None)

        try:
            return await until(look)
        except TimeoutError:
            raise AssertionError(f"there is none: {await self.status()}") from None

    async def posts(self, kind: str = "notification") -> list[Any]:
        """What Graph posted about presence."""
        found = await self.client.microsoft("GET", f"notifications/deliveries?kind={kind}&url=*{PATH}")
        return [one for one in found if kind == "forged" or one["state"] == "delivered"]

    async def written(self) -> int:
        """How often the PBX was told to change an extension."""
        return len(await self.client.pbx("GET", UPDATE))

    async def refused(self) -> int:
        """How many notifications were not believed."""
        return int((await self.figures())["refused"])

    async def idle(self) -> None:
        """Let pass the time in which everything that was taken in would be worked on."""
        await self.quiet()
        await self.cloud.advance(POLL)
        await self.quiet()

    def assert_secret(self, texts: Sequence[str]) -> None:
        """None of this is in the log of the host."""
        log = self.cloud.host.log()
        assert [text for text in texts if text and text in log] == []

    async def asked_about(self, person: Person) -> int:
        """How often Graph was asked what somebody shows."""
        found = await self.client.microsoft("GET", "requests?path=*/getPresencesByUserId")
        return sum(person.object_id in request["body"] for request in found)

    async def rules(self, **presence: Any) -> None:
        """Change the rules, and let pass the time for which a process goes by the former ones."""
        await self.client.configure(lambda document: document["presence"].update(presence))
        await self.cloud.advance(MINUTE)
        await self.quiet()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Company]:
    async with SlowStorage() as storage:
        cloud = Cloud(
            message_lease=3,
            microsoft_options=("--users", str(USERS)),
            pbx_options=("--sample", "--capacity", str(USERS + 20)),
            extra_environment={"AzureWebJobsStorage": storage.connection_string},
        )
        storage.lead_to(cloud.azurite)
        async with cloud, Client(cloud) as client, Visitor(cloud) as visitor:
            await client.secrets()
            await client.configure(_users)
            assert (await client.newest_run())["status"] == "succeeded"
            await client.configure(_presence)
            company = Company(cloud, client, visitor, storage)
            await company.open()
            yield company


def _users(document: Any) -> None:
    # The clock moves by hours, and no scheduled run shall start.
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    document["schedule"] |= {"kind": "weekly", "days": [f"{yesterday:%a}".lower()]}
    document["users"]["enabled"] = True


def _presence(document: Any) -> None:
    document["presence"] |= {"enabled": True, "poll_seconds": int(POLL)}


@pytest_asyncio.fixture(loop_scope="module")
async def company(opened: Company) -> Company:
    """The company while nothing is under way, with a live subscription and a process that can read what it says."""
    await opened.cloud.advance(MINUTE)
    await opened.subscription()
    await opened.quiet()
    person = await opened.announced_person()

    async def is_read() -> bool | None:
        before = await opened.asked_about(person)
        await opened.follows(person)
        return True if await opened.asked_about(person) == before else None

    await until(is_read)
    return opened


# Sources


async def test_a_change_in_teams_is_announced_and_its_extension_follows(company: Company) -> None:
    person = await company.announced_person()
    asked = await company.asked_about(person)
    await company.follows(person)
    assert await company.asked_about(person) == asked
    [post] = [one for one in await company.posts() if person.object_id in msgspec.json.encode(one["body"]).decode()]
    assert [attempt["status"] for attempt in post["attempts"]] == [202]
    assert all("encryptedContent" in item for item in post["body"]["value"])


async def test_who_is_one_too_many_for_the_subscription_is_polled_and_follows_as_well(company: Company) -> None:
    subscription = await company.subscription()
    assert len(subscription["target"]["ids"]) == ANNOUNCED
    await company.follows_polled(await company.polled_person())


async def test_who_gets_an_extension_is_followed_after_the_next_look_at_everybody(company: Company) -> None:
    person = await company.hire("Rosalind Franklin")
    await company.cloud.advance(SWEEP)
    await company.quiet()
    await company.follows_polled(person)


# The life of the subscription


async def test_a_subscription_is_renewed_as_soon_as_graph_asks_for_it(company: Company) -> None:
    before = await company.subscription()
    await company.cloud.advance(10 * MINUTE)
    event = {"event": "reauthorizationRequired", "pause_after_seconds": 0.0}
    await company.client.microsoft("POST", f"subscriptions/{before['id']}/lifecycle", event)
    await company.follows(await company.announced_person())
    after = await company.subscription()
    assert (after["id"], after["pause"]) == (before["id"], None)
    assert after["expires"] > before["expires"]


async def test_what_is_said_to_be_removed_is_made_anew(company: Company) -> None:
    before = await company.subscription()
    event = {"event": "subscriptionRemoved", "force": True}
    await company.client.microsoft("POST", f"subscriptions/{before['id']}/lifecycle", event)
    await company.another_than(before)
    assert len(await company.subscriptions()) == 1
    await company.quiet()
    await company.follows(await company.announced_person())


async def test_what_vanished_without_a_word_is_made_anew_when_it_is_to_be_renewed(company: Company) -> None:
    before = await company.subscription()
    await company.client.microsoft("DELETE", f"subscriptions/{before['id']}")
    await company.cloud.advance(40 * MINUTE)
    await company.another_than(before)
    await company.quiet()
    await company.follows(await company.announced_person())


async def test_while_a_subscription_cannot_be_renewed_its_users_are_polled_and_then_announced_again(
    company: Company,
) -> None:
    before, person = await company.subscription(), await company.announced_person()
    async with company.without_subscriptions():
        for _ in range(4):
            await company.cloud.advance(20 * MINUTE)
        assert await company.subscriptions() == []
        await company.quiet()
        figures = await company.failing()
        assert (figures["covered"], figures["polled"]) == (0, figures["users"])
        await company.follows_polled(person)
    await company.cloud.advance(HOUR)
    await company.another_than(before)
    await company.quiet()
    await company.follows(person)


async def test_a_host_that_was_down_for_longer_than_a_subscription_lives_makes_another(company: Company) -> None:
    before, person = await company.subscription(), await company.announced_person()
    status = await company.change(person)
    await company.quiet()
    await company.shows(person, status)
    await company.cloud.advance(2 * HOUR)
    await company.another_than(before)
    await company.quiet()
    await company.follows(person)


async def test_without_a_sign_in_users_are_polled_attention_is_asked_for_and_a_new_sign_in_mends_it(
    company: Company,
) -> None:
    before, person = await company.subscription(), await company.announced_person()
    await company.client.microsoft("POST", f"users/{ADMINISTRATORS[0]}/revoke")
    for _ in range(5):  # what Entra gave out before stays good for up to 90 minutes
        await company.cloud.advance(30 * MINUTE)
        await company.quiet()
    status = await company.status()
    assert status["state"] == "needs_attention"
    assert [reason["code"] for reason in status["reasons"]] == ["sign_in_needed"]
    assert "sign in" in status["reasons"][0]["message"]
    assert await company.subscriptions() == []
    assert status["presence"]["covered"] == 0
    await company.follows_polled(person)

    await company.visitor.enter()
    await company.visitor.connect_account(ADMINISTRATORS[0])
    await company.cloud.advance(MINUTE)
    await company.another_than(before)
    await company.quiet()
    status = await company.status()
    assert (status["state"], status["reasons"]) == ("connected", [])
    assert status["presence"]["covered"] == ANNOUNCED
    await company.follows(person)


# What anybody may send


async def test_the_handshake_is_answered_with_its_token_as_plain_text(company: Company) -> None:
    token = "Validation: Testing client application reachability for subscription Request-Id: a+b&c=d"
    status, body, headers = await company.client.call("POST", f"{PATH}?validationToken={quote_plus(token)}", key="")
    assert (status, body.decode()) == (200, token)
    assert headers["content-type"].replace(" ", "").lower() == "text/plain;charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"


FLAWS = sorted({*TOKEN_FLAWS, "wrong_client_state", "foreign_item", "altered_content", "truncated_content",
                "unknown_certificate"})  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
async def test_what_is_forged_gets_the_same_answer_and_is_counted_and_does_nothing(company: Company, flaw: str) -> None:
    person, subscription = await company.announced_person(), await company.subscription()
    shown, written, refused = await company.extension(person), await company.written(), await company.refused()
    asked = {"subscription": subscription["id"], "user": person.object_id, "flaw": flaw}
    answer = await company.client.microsoft("POST", "presence/forge", asked)
    assert answer == {"status": 202, "problem": None}
    await company.idle()
    assert (await company.extension(person), await company.written()) == (shown, written)
    assert await company.refused() > refused
    [*_, post] = await company.posts("forged")
    company.assert_secret(
        [*post["body"].get("validationTokens", []), *(item["clientState"] for item in post["body"]["value"])]
    )


async def test_a_genuine_post_that_comes_again_does_nothing(company: Company) -> None:
    person, subscription = await company.announced_person(), await company.subscription()
    await company.follows(person)
    await company.follows(person)
    shown, written = await company.extension(person), await company.written()
    asked = {"subscription": subscription["id"], "flaw": "replay"}
    answer = await company.client.microsoft("POST", "presence/forge", asked)
    assert answer == {"status": 202, "problem": None}
    await company.idle()
    assert (await company.extension(person), await company.written()) == (shown, written)


MARK = "what-nobody-may-read-in-a-log"
NO_POSTS = {
    "4 MB": b'{"value":[{"clientState":"' + MARK.encode() + b"x" * 4_000_000 + b'"}]}',
    "4 MB of nothing": b"[" * 4_000_000,
    "cut off": b'{"value":[{"subscriptionId":"' + MARK.encode() + b'","clientState":"',
    "no JSON": b"\xff\xfe" + MARK.encode(),
    "no notifications": b'{"value":"' + MARK.encode() + b'"}',
    "of no subscription": b'{"value":[{"subscriptionId":"' + MARK.encode() + b'","clientState":"c","tenantId":"t"}]}',
    "nothing": b"",
}


@pytest.mark.parametrize("body", NO_POSTS.values(), ids=NO_POSTS)
async def test_what_is_no_post_of_graph_gets_the_same_answer_and_is_counted(company: Company, body: bytes) -> None:
    written, refused = await company.written(), await company.refused()
    status, answer, _ = await company.client.call("POST", PATH, raw=body, key="")
    assert (status, answer) == (202, b"")
    await company.idle()
    assert await company.written() == written
    assert await company.refused() > refused
    company.assert_secret([MARK])


# Slow neighbours


async def test_graph_is_answered_at_once_when_the_pbx_is_slow_and_the_change_arrives_later(company: Company) -> None:
    person = await company.announced_person()
    before = len(await company.posts())
    await company.client.pbx("PUT", "firmware", {"read_latency_ms": SLOW_MS, "write_latency_ms": SLOW_MS})
    try:
        status = await company.change(person)
        await company.heard()
        assert (await company.extension(person))["presence_status"] != status
        [post] = (await company.posts())[before:]
    finally:
        await company.client.pbx("PUT", "firmware", {"read_latency_ms": 0, "write_latency_ms": 0})
    assert [attempt["status"] for attempt in post["attempts"]] == [202]
    await company.shows(person, status)


async def test_graph_is_answered_at_once_when_storage_is_slow_and_the_change_arrives_later(company: Company) -> None:
    person = await company.announced_person()
    before = len(await company.posts())
    company.storage.delay = LATE
    try:
        status = await company.change(person)
        await company.heard()
        [post] = (await company.posts())[before:]
    finally:
        company.storage.delay = 0.0
    assert [attempt["status"] for attempt in post["attempts"]] == [202]
    assert post["attempts"][0]["seconds"] < LATE, "the answer waits for no request to storage, nor to its queue"
    await company.shows(person, status)


# What somebody chose on the phone


async def test_what_somebody_chose_on_the_phone_stays_until_teams_asks_for_another_status(company: Company) -> None:
    person = await company.announced_person()
    await company.shows_after(person, "Available", "available")
    await company.choose(person, "lunch")
    written = await company.written()
    await company.show(person, "Busy")
    await company.quiet()
    await company.cloud.advance(SWEEP)
    await company.quiet()
    assert ((await company.extension(person))["presence_status"], await company.written()) == ("lunch", written)
    await company.shows_after(person, "DoNotDisturb", "do_not_disturb")


async def test_it_is_overwritten_where_the_rules_say_so(company: Company) -> None:
    person = await company.announced_person()
    await company.rules(respect_manual=False)
    try:
        await company.choose(person, "lunch")
        await company.follows(person)
    finally:
        await company.rules(respect_manual=True)


async def test_a_custom_presence_is_never_overwritten(company: Company) -> None:
    person = await company.announced_person()
    await company.rules(respect_manual=False)
    try:
        await company.choose(person, "available", "On site")
        shown, written = await company.extension(person), await company.written()
        for name in ("Busy", "DoNotDisturb"):
            await company.show(person, name)
            await company.quiet()
        assert (await company.extension(person), await company.written()) == (shown, written)
    finally:
        await company.rules(respect_manual=True)


# What the bridge says about it


async def test_the_status_tells_who_is_covered_and_how_long_changes_take(company: Company) -> None:
    await company.follows(await company.announced_person())
    await company.follows_polled(await company.polled_person())
    await company.quiet()
    figures = await company.figures()
    people = len((await company.client.get(f"/api/links?kind=users&top={USERS}"))["value"])
    assert (figures["enabled"], figures["users"], figures["pending"]) == (True, people, 0)
    assert (figures["covered"], figures["polled"]) == (ANNOUNCED, people - ANNOUNCED)
    assert figures["delay_ms"]["changes"] >= 2
    assert 0 <= figures["delay_ms"]["p50"] <= figures["delay_ms"]["p95"]
    now = (await company.client.microsoft("GET", "clock"))["now"]
    for moment in (figures["last_notification"], figures["last_poll"]):
        assert datetime.datetime.fromisoformat(moment) <= datetime.datetime.fromisoformat(now)
    [account] = figures["accounts"]
    assert (account["state"], account["users"], account["rich"], account["last_error"]) == ("live", ANNOUNCED, True, "")
    assert figures["last_error"] == ""


# More than one account


async def test_a_second_account_announces_those_for_whom_the_first_has_no_room(company: Company) -> None:
    person = await company.polled_person()
    await company.visitor.enter()
    await company.visitor.connect_account(user_id(27), step="presence")
    await company.cloud.advance(MINUTE)
    await company.have_subscriptions(2)
    await company.quiet()
    figures = await company.figures()
    assert (figures["covered"], figures["polled"]) == (figures["users"], 0)
    assert sorted(one["users"] for one in figures["accounts"]) == [figures["users"] - ANNOUNCED, ANNOUNCED]
    assert {one["state"] for one in figures["accounts"]} == {"live"}
    await company.follows(person)
    await company.follows(await company.announced_person())


async def test_nothing_was_sent_to_the_pbx_that_its_guide_does_not_know(company: Company) -> None:
    assert await company.client.pbx("GET", "violations") == []
