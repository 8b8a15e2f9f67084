"""The subscription of the authorization account: made, renewed, made anew; and what goes wrong with it."""

import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.emulator import Fault
from local.microsoft.errors import GraphError
from presence import subscriptions
from presence.certificates import LIFETIME, RENEW_BEFORE, current_certificate
from presence.messages import Update
from presence.poll import carry_out
from presence.room import Subscriber, memory_of
from presence.subscriptions import choose, end, end_all, is_better, step, unreachable
from presence.trust import STORED_AS
from store.presence import PresenceSubscription, UserPresence
from store.sessions import AUTHORIZATION as ACCOUNT
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


PATH = "/v1.0/subscriptions"
ONE = f"{PATH}/*"


def refusing(status: int, code: str, **options: Any) -> Fault:
    """Graph's own kind of error answer."""
    return Fault(kind="status", status=status, body={"error": {"code": code, "message": "In words."}}, **options)


def sent(desk: Desk, method: str) -> int:
    """How many requests about subscriptions reached Graph."""
    return sum(one.method == method and one.path.startswith(PATH) for one in desk.world.microsoft.requests)


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


async def test_it_is_announced_on_after_the_first_token_has_ended(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    await memory_of(served.room).trust.load(served.room.secrets, first.certificate_id)
    served.pass_time(minutes=34)
    await served.ensure()
    served.pass_time(minutes=27)
    served.teams(first.users[0], "Busy")
    await served.world.microsoft.postman.settle()
    assert "away" in served.shown().values()
    assert served.fresh == [True, True], "Graph keeps the token of each step"


async def test_the_tenant_is_that_of_the_sign_in_whatever_is_in_the_token(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.presence.desk.TENANT_ID", "00000000-AAAA-4000-8000-000000000000")
    record = await served.ensure()
    assert record is not None
    assert record.tenant_id == "00000000-aaaa-4000-8000-000000000000"


async def test_a_clock_that_is_a_little_ahead_asks_for_no_more_than_graph_grants(served: Desk) -> None:
    served.later(seconds=30)
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.certificate_id != "", record.last_error) == ("live", True, "")


async def test_what_graph_grants_for_less_is_renewed_when_as_much_of_that_is_left(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    twenty = datetime.timedelta(minutes=20)
    monkeypatch.setattr("local.microsoft.subscription_rules.expiry", lambda _asked, now, _kind: now + twenty)
    first = await served.ensure()
    assert first is not None
    served.pass_time(minutes=10)
    assert await served.ensure() == first
    served.pass_time(minutes=2)
    second = await served.ensure()
    assert second is not None
    assert (second.id, second.expires_at > first.expires_at) == (first.id, True)
    assert await served.ensure() == second


async def test_what_graph_ends_at_once_is_not_made_anew_all_the_time(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.microsoft.subscription_rules.expiry", lambda _asked, now, _kind: now)
    for _ in range(5):
        await served.ensure()
        served.pass_time(seconds=10)
    assert sent(served, "POST") == 1
    served.pass_time(seconds=10)
    await served.ensure()
    assert sent(served, "POST") == 2


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


@pytest.mark.parametrize(
    ("status", "code"), [(404, "ExtensionError"), (404, "itemNotFound"), (410, "Gone"), (400, "BadRequest")]
)
async def test_one_that_cannot_be_renewed_is_made_anew(served: Desk, status: int, code: str) -> None:
    first = await served.ensure()
    served.world.microsoft.faults += [refusing(status, code, method=verb, path=ONE) for verb in ("PATCH", "DELETE")]
    served.pass_time(minutes=34)
    second = await served.ensure()
    assert first is not None
    assert second is not None
    assert (second.state, second.last_error, second.id != first.id) == ("live", "", True)
    assert [made["id"] for made in at_graph(served)] == [second.id]


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


@pytest.mark.parametrize(
    "other",
    [{"creatorId": "bbbb0001-0000-4000-8000-000000000001"}, {"applicationId": "bbbb0002-0000-4000-8000-000000000002"}],
    ids=["person", "application"],
)
@pytest.mark.parametrize("host", ["elsewhere.example", ""])
async def test_those_of_others_are_left_alone_whatever_an_administrator_is_shown(
    served: Desk, other: dict[str, str], host: str
) -> None:
    own = await served.ensure()
    assert own is not None
    await served.room.store.remove_subscription(ACCOUNT)
    [item] = served.world.microsoft.subscriptions.live()
    mine = {"id": item.id, "resource": item.resource, "notificationUrl": item.notification_url}
    url = f"https://{host}/notifications/presence" if host else item.notification_url
    listed = [{**mine, "id": "another-s", "notificationUrl": url, **other}, mine]
    served.world.microsoft.faults.append(
        Fault(kind="status", method="GET", path=PATH, status=200, body={"value": listed})
    )
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.last_error) == ("live", "")
    assert [one.path for one in served.world.microsoft.requests if one.method == "DELETE"] == [f"{PATH}/{own.id}"]


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


async def test_the_certificate_is_offered_again_after_a_while(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "BASIC", datetime.timedelta(minutes=40))
    refusal = {"error": {"code": "InvalidRequest", "message": "Not now."}}
    served.world.microsoft.faults.append(Fault(kind="status", method="POST", path=PATH, status=400, body=refusal))
    first = await served.ensure()
    assert first is not None
    served.pass_time(minutes=33)
    second = await served.ensure()
    assert second is not None
    assert (second.id, second.certificate_id, sent(served, "PATCH")) == (first.id, "", 1)
    served.pass_time(minutes=10)
    served.signed_in_at = "again"
    third = await served.ensure()
    assert third is not None
    assert third.certificate_id
    assert [made["id"] for made in at_graph(served)] == [third.id]


@pytest.mark.parametrize("code", ["Request_ResourceNotFound", "NotFound", "ExtensionError"])
@pytest.mark.parametrize("status", [404, 400])
async def test_who_does_not_exist_any_more_costs_nobody_else_the_announcements(
    served: Desk, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    served.world.microsoft.presences.switches.unknown_ids = "refused"
    monkeypatch.setattr(
        "local.microsoft.presence_subscriptions.not_found", lambda _: GraphError(status, code, "There is no such user.")
    )
    gone = next(key for key in await served.room.store.all() if key != served.account)
    served.world.microsoft.directory.delete(served.world.microsoft.directory.entities[gone])
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.last_error, record.strangers) == ("live", "", [gone])
    assert record.certificate_id, "with the presence in the notifications"
    assert sorted([*record.users, gone]) == sorted(await served.room.store.all())
    assert served.unannounced == record.users
    tries = sent(served, "POST")
    served.pass_time(minutes=34)
    renewed = await served.ensure()
    assert renewed is not None
    assert (renewed.id, renewed.strangers, sent(served, "POST")) == (record.id, [gone], tries)


@pytest.mark.parametrize("answers", ["unknown", "refused"])
async def test_a_refusal_that_is_about_nobody_counts_as_it_was(served: Desk, answers: Any) -> None:
    served.world.microsoft.presences.switches.unknown_ids = answers
    served.world.microsoft.faults.append(refusing(400, "InvalidRequest", method="POST", path=PATH, times=None))
    record = await served.ensure()
    assert record is not None
    assert (record.state, "InvalidRequest 400" in record.last_error) == ("gone", True)
    assert (sent(served, "POST"), len(served.asked())) == (2, 1), "with the certificate and without it, no more"


async def test_when_graph_knows_nobody_or_cannot_say_the_refusal_counts(served: Desk) -> None:
    presences = "/v1.0/communications/getPresencesByUserId"
    for answer in (refusing(404, "NotFound", path=presences, times=None), refusing(403, "Forbidden", path=presences)):
        refusal = refusing(404, "ExtensionError", method="POST", path=PATH)
        served.world.microsoft.faults[:] = [refusal, answer]
        record = await served.ensure()
        assert record is not None
        assert (record.state, "ExtensionError 404" in record.last_error) == ("gone", True)
        served.pass_time(minutes=1)


@pytest.mark.parametrize(
    ("wish", "minutes"), [("30", 1), ("600", 10), ("86400", 60), ("9" * 30, 60)], ids=["short", "long", "day", "ages"]
)
async def test_graph_is_not_asked_again_before_it_wants_to_be(served: Desk, wish: str, minutes: int) -> None:
    fault = refusing(503, "ServiceUnavailable", method="POST", path=PATH, headers={"Retry-After": wish})
    served.world.microsoft.faults.append(fault)
    record = await served.ensure()
    assert record is not None
    pause = datetime.datetime.fromisoformat(record.next_try_at) - served.world.now
    assert datetime.timedelta(minutes=minutes) - pause < datetime.timedelta(seconds=1)


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
    record = await desk.ensure()
    assert record is not None
    assert (record.state, record.id, desk.tokens) == ("gone", "", [])
    await desk.staff(1)
    desk.move_to("")
    assert await desk.ensure() == record
    assert desk.tokens == []


# Several accounts


async def test_a_further_account_announces_those_for_whom_there_is_no_room(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "IDS_A_CALL", 2)
    first = await served.ensure()
    assert first is not None
    assert len(first.users) == 2
    bob = first.users[1]
    served.further = [bob]
    assert await served.ensure() == first
    second = await served.subscription(bob)
    assert second is not None
    assert second.state == "live"
    assert sorted([*first.users, *second.users]) == sorted(await served.room.store.all())
    assert len(at_graph(served)) == 2
    assert served.unannounced == second.users, "they were not announced for a moment"


async def test_who_comes_while_two_accounts_have_room_is_announced(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "IDS_A_CALL", 2)
    first = await served.ensure()
    assert first is not None
    left, bob = first.users
    served.further = [bob]
    await served.ensure()

    async def follow(*, is_followed: bool) -> list[str]:
        def change(_key: str, row: UserPresence | None) -> UserPresence | None:
            return None if row is None else msgspec.structs.replace(row, is_followed=is_followed)

        await served.room.store.change([left], change)
        served.pass_time(minutes=35)
        await served.ensure()
        records = [await served.subscription(), await served.subscription(bob)]
        return sorted(user for record in records if record is not None for user in record.users)

    others = sorted(set(await served.room.store.all()) - {left})
    assert await follow(is_followed=False) == others
    assert await follow(is_followed=True) == sorted([left, *others])


async def test_an_account_that_was_taken_away_leaves_its_users_to_the_poll(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "IDS_A_CALL", 2)
    await served.ensure()
    served.further = [served.account]
    await served.ensure()
    served.further = []
    await served.ensure()
    assert set(await served.room.store.subscriptions()) == {ACCOUNT}


async def test_an_account_that_does_not_work_leaves_its_users_to_the_others(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "IDS_A_CALL", 2)
    bob, served.account = served.account, ""
    served.further = [bob]
    failed = await served.ensure()
    assert failed is not None
    assert failed.users == []
    working = await served.subscription(bob)
    assert working is not None
    assert (working.state, len(working.users)) == ("live", 2)


async def test_who_signs_in_again_is_tried_at_once(served: Desk) -> None:
    account, served.account = served.account, ""
    for _ in range(3):
        await served.ensure()
        served.pass_time(minutes=16)
    served.account, served.signed_in_at = account, "now"
    record = await served.ensure()
    assert record is not None
    assert (record.state, record.last_error, record.failures) == ("live", "", 0)


async def test_another_authorization_account_has_a_subscription_of_its_own(served: Desk) -> None:
    first = await served.ensure()
    ids = sorted(await served.room.store.all())
    served.account = next(one for one in ids if one != served.account)
    second = await served.ensure()
    assert first is not None
    assert second is not None
    assert (second.state, second.id != first.id, second.users) == ("live", True, first.users)


async def test_switched_off_the_subscriptions_end_at_graph(served: Desk) -> None:
    await served.ensure()
    assert await end_all(served.room) == []
    assert at_graph(served) == []
    assert await served.room.store.subscriptions() == {}


async def test_one_is_ended_with_the_token_at_hand_unless_graph_does_not_take_it_any_more(served: Desk) -> None:
    await served.ensure()
    fault = refusing(401, "InvalidAuthenticationToken", method="DELETE", path=ONE)
    served.world.microsoft.faults.append(fault)
    assert await end_all(served.room) == []
    assert at_graph(served) == []
    assert served.fresh == [True, False, True]


async def test_a_token_that_graph_does_not_take_is_not_offered_again(served: Desk) -> None:
    served.world.microsoft.faults.append(refusing(401, "InvalidAuthenticationToken", method="POST", path=PATH))
    refused = await served.ensure()
    assert refused is not None
    assert refused.state == "gone"
    served.pass_time(minutes=1)
    record = await served.ensure()
    assert record is not None
    assert (record.state, served.fresh) == ("live", [True, True])


async def test_one_that_cannot_be_ended_is_forgotten_all_the_same(served: Desk) -> None:
    await served.ensure()
    served.account = ""
    [trouble] = await end_all(served.room)
    assert trouble.startswith("The subscription to presence ends by itself within the hour: No account has signed in")
    assert await served.room.store.subscriptions() == {}


async def test_that_of_one_account_ends_and_the_others_stay(served: Desk) -> None:
    await served.ensure()
    before = at_graph(served)
    assert await end(served.room, "aaaa0009-0000-4000-8000-000000000009") == "", "there is none"
    assert at_graph(served) == before != []
    assert await end(served.room, ACCOUNT) == ""
    assert at_graph(served) == []
    assert await served.room.store.subscriptions() == {}


async def test_what_happens_while_one_takes_another_s_place_is_asked_about(served: Desk) -> None:
    first = await served.ensure()
    assert first is not None
    assert served.unannounced == first.users
    served.pass_time(minutes=34)
    await served.ensure()
    assert served.unannounced == [], "renewing leaves no gap"
    await served.room.store.remove([first.users[0]])
    served.pass_time(minutes=34)
    second = await served.ensure()
    assert second is not None
    assert served.unannounced == second.users


async def test_a_message_makes_the_subscription_and_asks_about_its_users(served: Desk) -> None:
    ids = sorted(await served.room.store.all())
    served.teams(ids[1], "Busy")
    assert await carry_out(served.room, Update(served.room.id, subscriptions=True)) == []
    assert [sorted(some) for some in served.asked()] == [ids]
    assert sorted(served.shown().values()) == ["available", "available", "away"]


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

ADA = Subscriber(ACCOUNT, "ada", "monday")


def wait(minutes: int) -> str:
    return (NOW + datetime.timedelta(minutes=minutes)).isoformat()


def record(**changes: Any) -> PresenceSubscription:
    usual: dict[str, Any] = {
        "account": ACCOUNT,
        "mark": ADA.mark,
        "state": "live",
        "id": "one",
        "application": "app",
        "notification_url": "url",
        "made_at": wait(0),
        "expires_at": (NOW + datetime.timedelta(minutes=60)).isoformat(),
    }
    return PresenceSubscription(**{**usual, **changes})


@pytest.mark.parametrize(
    ("known", "minutes", "expected"),
    [
        pytest.param(None, 0, "create", id="none"),
        pytest.param(record(), 0, None, id="live"),
        pytest.param(record(), 32, None, id="not yet"),
        pytest.param(record(), 33, "renew", id="in time"),
        pytest.param(record(made_at=""), 32, None, id="not yet, made before that was recorded"),
        pytest.param(record(made_at=""), 34, "renew", id="in time, made before that was recorded"),
        pytest.param(record(expires_at=wait(20)), 10, None, id="not yet, granted for less"),
        pytest.param(record(expires_at=wait(20)), 11, "renew", id="in time, granted for less"),
        pytest.param(record(), 60, "create", id="over"),
        pytest.param(record(state="renew"), 60, "create", id="over, as Graph asked"),
        pytest.param(record(mark="ada|sunday"), 60, "create", id="over, signed in again"),
        pytest.param(record(next_try_at=wait(65)), 60, None, id="over, too early"),
        pytest.param(record(state="renew"), 0, "renew", id="as Graph asks"),
        pytest.param(record(state="gone"), 0, "create", id="gone"),
        pytest.param(record(state="asked"), 0, "create", id="unknown"),
        pytest.param(record(application="another"), 0, "create", id="another application"),
        pytest.param(record(notification_url="another"), 0, "create", id="another address"),
        pytest.param(record(state="gone", next_try_at=wait(5)), 4, None, id="too early"),
        pytest.param(record(state="gone", next_try_at=wait(5)), 5, "create", id="early no more"),
        pytest.param(record(state="gone", next_try_at=wait(60), mark="ada|sunday"), 1, "create", id="signed in again"),
        pytest.param(record(mark="ada|sunday"), 1, "renew", id="signed in again while live"),
        pytest.param(record(mark="bob|monday", next_try_at=wait(60)), 1, "create", id="another person"),
    ],
)
def test_what_is_to_do(known: PresenceSubscription | None, minutes: int, expected: str | None) -> None:
    assert step(known, ADA, "app", "url", NOW + datetime.timedelta(minutes=minutes)) == expected


def people(number: int, **changes: Any) -> dict[str, UserPresence]:
    keys = [f"{index:04}" for index in range(number)]
    return {key: UserPresence(object_id=key, is_followed=True, **changes) for key in keys}


def test_of_more_than_650_those_who_change_most_are_announced() -> None:
    rows = {
        key: msgspec.structs.replace(row, changes=index // 2) for index, (key, row) in enumerate(people(700).items())
    }
    rows["idle"] = UserPresence(object_id="idle", changes=9999)
    chosen = choose(rows, {}, [ACCOUNT])
    assert chosen == {ACCOUNT: [f"{number:04}" for number in range(50, 700)]}
    loyal = choose(rows, {ACCOUNT: ["0049"]}, [ACCOUNT])
    assert "0049" in loyal[ACCOUNT], "who is announced stays while others change little more"


def test_each_further_account_announces_650_more() -> None:
    rows = people(1400)
    first = choose(rows, {}, [ACCOUNT])[ACCOUNT]
    both = choose(rows, {ACCOUNT: first}, [ACCOUNT, "bob"])
    assert both[ACCOUNT] == first, "who is announced already stays where he is"
    assert len(both["bob"]) == 650
    assert not set(first).intersection(both["bob"])
    alone = choose(rows, both, ["bob"])["bob"]
    assert len(alone) == 650


@given(
    changes=st.lists(st.integers(0, 50), min_size=0, max_size=60),
    before=st.lists(st.integers(0, 70), max_size=40, unique=True),
    accounts=st.integers(1, 3),
)
def test_nobody_is_announced_twice_and_nobody_is_left_out_for_no_reason(
    changes: list[int], before: list[int], accounts: int
) -> None:
    names = [f"account-{index}" for index in range(accounts)]
    rows = {
        f"{index:04}": UserPresence(object_id=f"{index:04}", is_followed=number % 7 != 0, changes=number)
        for index, number in enumerate(changes)
    }
    announced = {name: [f"{user:04}" for user in before[index::accounts]] for index, name in enumerate(names)}
    places = choose(rows, announced, names)
    users = [user for some in places.values() for user in some]
    assert sorted(users) == sorted(key for key, row in rows.items() if row.is_followed)


def test_a_few_better_choices_are_not_worth_another_subscription() -> None:
    rows, full = people(1000), [f"{index:04}" for index in range(650)]
    assert not is_better(full, full, rows)
    assert not is_better(full, [*full[32:], *(f"{index:04}" for index in range(650, 682))], rows)
    assert is_better(full, [*full[33:], *(f"{index:04}" for index in range(650, 683))], rows)
    assert is_better(full[:5], full[:6], rows), "there is room for somebody else"
    assert is_better(["gone", *full[1:]], full, rows), "somebody in it is followed no more"


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


async def test_whose_account_signs_in_before_anybody_is_followed_is_told_about_them_at_once(desk: Desk) -> None:
    await desk.serve()
    [noor] = await desk.world.staff(1)
    desk.account = noor
    assert await desk.ensure() is not None
    await desk.poll()
    found = await desk.subscription()
    assert found is not None
    assert (found.state, found.users) == ("live", [noor])
