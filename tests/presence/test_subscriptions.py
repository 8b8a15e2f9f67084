"""The subscription of the authorization account: made, renewed, made anew; and what goes wrong with it."""

import datetime
from typing import Any

import msgspec
import pytest

from local.emulator import Fault
from presence.certificates import LIFETIME, RENEW_BEFORE, current_certificate
from presence.room import memory_of
from presence.subscriptions import ACCOUNT, choose, step, unreachable
from presence.trust import STORED_AS
from store.presence import PresenceSubscription, UserPresence
from tests.engine.world import START
from tests.presence.desk import Desk

NOW = START


@pytest.fixture
async def served(desk: Desk) -> Desk:
    """Three people are followed, one of them is the authorization account, and Graph can reach the bridge."""
    await desk.serve()
    ids = await desk.staff(3)
    desk.account = ids[0]
    return desk


def at_graph(desk: Desk) -> list[dict[str, Any]]:
    """The subscriptions that Graph has."""
    return [
        {"id": one.id, "resource": one.resource, "certificate": one.encryption_certificate_id}
        for one in desk.world.microsoft.subscriptions.live()
    ]


async def test_a_subscription_announces_all_who_are_followed_with_their_presence(served: Desk) -> None:
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.last_error, len(record.users)) == ("live", "", 3)
    [made] = at_graph(served)
    assert (made["id"], made["certificate"]) == (record.id, record.certificate_id)
    assert all(user in made["resource"] for user in record.users)
    assert served.tokens == [("Presence.Read.All",)]
    assert await served.ensure() == record, "nothing more is to do"
    assert len(served.tokens) == 1


async def test_a_change_in_teams_is_on_the_pbx_by_its_notification(served: Desk) -> None:
    record = await served.ensure()
    assert record is not None
    await memory_of(served.room).trust.load(served.room.secrets, record.certificate_id)
    served.teams(record.users[0], "Busy")
    await served.world.microsoft.postman.settle()
    assert "away" in served.shown().values()
    assert served.asked() == []


async def test_it_is_renewed_in_time_and_not_before(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    served.pass_time(minutes=30)
    assert await served.ensure() == first
    served.pass_time(minutes=4)
    renewed = await served.ensure()
    assert renewed is not None
    assert (renewed.id, renewed.state) == (first.id, "live")
    assert renewed.expires_at > first.expires_at


async def test_when_it_is_renewed_those_who_came_and_went_are_considered(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    gone = first.users[0]
    await served.room.store.remove([gone])
    served.pass_time(minutes=34)
    second = await served.ensure()
    assert second is not None
    assert set(second.users) == set(first.users) - {gone}
    assert [made["id"] for made in at_graph(served)] == [second.id]


async def test_one_that_graph_does_not_know_any_more_is_made_anew(served: Desk) -> None:
    first = await served.ensure()
    served.pass_time(minutes=61)
    second = await served.ensure()
    assert first is not None
    assert second is not None
    assert (second.state, second.id != first.id) == ("live", True)


async def test_graph_may_ask_for_a_renewal(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    kept = (await served.room.store.subscriptions())[ACCOUNT]
    await served.room.store.save_subscription(msgspec.structs.replace(first, state="renew"), kept.etag)
    served.pass_time(minutes=1)
    second = await served.ensure()
    assert second is not None
    assert (second.id, second.state) == (first.id, "live")


async def test_one_of_an_earlier_life_gives_way(served: Desk) -> None:
    first = await served.ensure()
    await served.room.store.remove_subscription(ACCOUNT)
    second = await served.ensure()
    assert first is not None
    assert second is not None
    assert [made["id"] for made in at_graph(served)] == [second.id]
    assert second.client_state != first.client_state


async def test_one_of_another_deployment_does_not(served: Desk) -> None:
    await served.ensure()
    await served.room.store.remove_subscription(ACCOUNT)
    served.move_to("https://elsewhere.example")
    record = await served.ensure()
    assert record is not None
    assert (record.state, len(at_graph(served))) == ("gone", 1)
    assert record.last_error.startswith("Another deployment at 127.0.0.1")


async def test_without_an_account_it_says_so_and_waits_longer_each_time(
    served: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    served.account = ""
    tries = []
    for _ in range(25):
        await served.ensure()
        tries.append(len(served.tokens))
        served.pass_time(minutes=1)
    assert tries[-1] == 4, "after 0, 1, 6 and 21 minutes"
    record = await served.ensure()
    assert record is not None
    assert record.last_error == "No account has signed in for this connection. Sign in on the page Connect."
    assert len([text for text in caplog.messages if "not announced" in text]) == 1


async def test_a_missing_consent_is_explained(served: Desk) -> None:
    served.scopes = ["User.Read"]
    record = await served.ensure()
    assert record is not None
    assert (record.state, "Presence.Read.All" in record.last_error) == ("gone", True)


async def test_where_graph_takes_no_certificate_changes_are_announced_without_the_presence(served: Desk) -> None:
    refusal = {"error": {"code": "InvalidRequest", "message": "The certificate is not good enough."}}
    fault = Fault(kind="status", method="POST", path="/v1.0/subscriptions", status=400, body=refusal)
    served.world.microsoft.faults.append(fault)
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.certificate_id) == ("live", "")
    assert [made["certificate"] for made in at_graph(served)] == [None]


async def test_an_answer_that_got_lost_is_no_second_subscription(served: Desk) -> None:
    fault = Fault(kind="commit_then_drop", method="POST", path="/v1.0/subscriptions")
    served.world.microsoft.faults.append(fault)
    first = await served.ensure()
    assert first is not None
    assert first.state == "asked"
    served.pass_time(minutes=3)
    second = await served.ensure()
    assert second is not None
    assert [made["id"] for made in at_graph(served)] == [second.id]
    assert (second.state, second.failures) == ("live", 0)


async def test_somebody_else_signs_in(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    served.account = first.users[-1]
    refusal = {"error": {"code": "Forbidden", "message": "It belongs to somebody else."}}
    fault = Fault(kind="status", path="/v1.0/subscriptions/*", status=403, times=2, body=refusal)
    served.world.microsoft.faults.append(fault)
    served.pass_time(minutes=34)
    second = await served.ensure()
    assert second is not None
    assert (second.state, second.id != first.id) == ("live", True)


async def test_nothing_is_made_for_nobody_or_where_graph_cannot_reach(desk: Desk) -> None:
    await desk.serve()
    desk.account = "aaaa0001-0000-4000-8000-000000000001"
    assert await desk.ensure() is None
    await desk.staff(1)
    desk.move_to("")
    assert await desk.ensure() is None
    assert desk.tokens == []


# The certificate


async def test_a_certificate_is_made_once_and_anew_before_it_ends(desk: Desk) -> None:
    secrets = desk.room.secrets
    first = await current_certificate(secrets, NOW)
    assert await current_certificate(secrets, NOW + LIFETIME - RENEW_BEFORE - datetime.timedelta(minutes=1)) == first
    second = await current_certificate(secrets, NOW + LIFETIME - RENEW_BEFORE)
    assert second.id != first.id
    assert (await secrets.read(STORED_AS, first.id)).value, "what is under way is encrypted for the earlier one"
    await secrets.write(STORED_AS, "rubbish")
    assert (await current_certificate(secrets, NOW)).text


async def test_a_new_certificate_comes_with_the_next_renewal_and_the_earlier_one_stays_known(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    await served.room.secrets.write(STORED_AS, "rubbish")
    served.pass_time(minutes=34)
    second = await served.ensure()
    assert second is not None
    assert (second.certificate_id != first.certificate_id, second.earlier_certificate_id) == (
        True,
        first.certificate_id,
    )


# Pure


def record(**changes: Any) -> PresenceSubscription:
    usual: dict[str, Any] = {
        "account": ACCOUNT,
        "state": "live",
        "id": "one",
        "application": "app",
        "notification_url": "url",
        "expires_at": (NOW + datetime.timedelta(minutes=60)).isoformat(),
    }
    return PresenceSubscription(**{**usual, **changes})


@pytest.mark.parametrize(
    ("known", "minutes", "expected"),
    [
        (None, 0, "create"),
        (record(), 0, None),
        (record(), 32, None),
        (record(), 33, "renew"),
        (record(state="renew"), 0, "renew"),
        (record(state="gone"), 0, "create"),
        (record(state="asked"), 0, "create"),
        (record(application="another"), 0, "create"),
        (record(notification_url="another"), 0, "create"),
        (record(state="gone", next_try_at=(NOW + datetime.timedelta(minutes=5)).isoformat()), 4, None),
        (record(state="gone", next_try_at=(NOW + datetime.timedelta(minutes=5)).isoformat()), 5, "create"),
    ],
)
def test_what_is_to_do(known: PresenceSubscription | None, minutes: int, expected: str | None) -> None:
    assert step(known, "app", "url", NOW + datetime.timedelta(minutes=minutes)) == expected


def test_of_more_than_650_those_who_change_most_are_announced() -> None:
    rows = {
        key: UserPresence(object_id=key, is_followed=True, changes=index // 2)
        for index, key in enumerate(f"{number:04}" for number in range(700))
    }
    rows["idle"] = UserPresence(object_id="idle", changes=9999)
    chosen = choose(rows, frozenset())
    assert chosen == [f"{number:04}" for number in range(50, 700)]
    assert "0049" in choose(rows, frozenset({"0049"})), "who is announced stays while others change little more"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bridge.example", False),
        ("http://127.0.0.1:7071", False),
        ("http://bridge.example", True),
        ("", True),
        ("https://[bad", True),
    ],
)
def test_graph_reaches_https_addresses_only(url: str, expected: bool) -> None:
    assert unreachable(url) == expected
