"""Subscriptions: made, renewed, listed and ended, and every way in which Graph refuses one."""

import datetime
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.client import Graph
from graph.credentials import tenant_of
from graph.errors import (
    BadRequest,
    ConsentMissing,
    HandshakeFailed,
    NotFound,
    NotSubscribed,
    QuotaReached,
    SubscriptionExists,
    Throttled,
    Unavailable,
)
from graph.subscriptions import NewSubscription, graph_time, refused
from local.microsoft import MicrosoftEmulator
from local.sample import CLIENT_ID, TENANT_ID, user_id
from tests.graph.conftest import Open
from tests.graph.endpoint import Endpoint
from tests.graph.tenant import fault, refusal, seen

PATH = "/v1.0/subscriptions*"
STATE = "a-state-that-nobody-can-guess-0123456789abcd"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with Endpoint() as endpoint:
        yield endpoint


def new(endpoint: Endpoint, **changes: Any) -> NewSubscription:
    usual = {
        "resource": "users",
        "notification_url": endpoint.notification_url,
        "lifecycle_notification_url": endpoint.lifecycle_url,
        "expiration_date_time": graph_time(in_days(3)),
        "client_state": STATE,
    }
    return NewSubscription(**{**usual, **changes})


def in_days(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


async def test_a_subscription_is_made_after_both_addresses_answered_and_announces_changes(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint
) -> None:
    wish = new(endpoint)
    made = await reader.subscribe(wish)
    assert endpoint.handshakes == ["/notifications/directory", "/notifications/lifecycle"]
    assert (made.resource, made.client_state) == ("users", STATE)
    assert datetime.datetime.fromisoformat(made.expiration_date_time) == datetime.datetime.fromisoformat(
        wish.expiration_date_time
    )
    emulator.directory.update(emulator.directory.entities[user_id(3)], {"jobTitle": "Chef"})
    await emulator.postman.settle(1)
    assert [(item["subscriptionId"], item["clientState"]) for item in endpoint.items] == [(made.id, STATE)]


async def test_what_is_there_is_listed_over_all_pages_without_its_client_state(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint
) -> None:
    made = [await reader.subscribe(new(endpoint, resource=resource)) for resource in ("users", "groups")]
    emulator.postman.switches.list_page_size = 1
    found = await reader.subscriptions()
    assert [(one.id, one.resource, one.client_state) for one in found] == [
        (made[0].id, "users", None),
        (made[1].id, "groups", None),
    ]
    assert {one.notification_url for one in found} == {endpoint.notification_url}
    assert {(one.application_id, one.creator_id is None) for one in found} == {(CLIENT_ID, False)}


async def test_a_list_that_leads_to_another_host_is_not_followed(
    reader: Graph, emulator: MicrosoftEmulator, elsewhere: MicrosoftEmulator
) -> None:
    page = {"value": [], "@odata.nextLink": f"{elsewhere.url}/v1.0/subscriptions?$skiptoken=s0"}
    emulator.faults.append(fault(status=200, path=PATH, body=page))
    with pytest.raises(BadRequest, match="another host"):
        await reader.subscriptions()
    assert elsewhere.requests == []


async def test_a_renewal_moves_the_end(reader: Graph, endpoint: Endpoint) -> None:
    made = await reader.subscribe(new(endpoint))
    end = in_days(5).replace(microsecond=0)
    renewed = await reader.renew_subscription(made.id, end)
    assert renewed.id == made.id
    assert datetime.datetime.fromisoformat(renewed.expiration_date_time) == end


async def test_what_ended_cannot_be_renewed_and_is_ended_without_complaint(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint
) -> None:
    made = await reader.subscribe(new(endpoint))
    emulator.subscriptions.expire(made.id)
    with pytest.raises(NotFound):
        await reader.renew_subscription(made.id, in_days(3))
    await reader.delete_subscription(made.id)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, {"error": {"code": "ExtensionError", "message": "In words."}}),
        (404, {"error": {"code": "NotFound", "message": ""}}),
        (404, {"error": {"code": "itemNotFound", "message": ""}}),
        (404, ""),
        (410, {"error": {"code": "Gone", "message": ""}}),
    ],
    ids=lambda value: value["error"]["code"] if isinstance(value, dict) else str(value) or "no body",
)
async def test_in_whatever_words_a_subscription_is_gone(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, status: int, answer: Any
) -> None:
    made = await reader.subscribe(new(endpoint))
    emulator.faults += [fault(status=status, path=PATH, body=answer, method=verb) for verb in ("PATCH", "DELETE")]
    with pytest.raises(NotFound):
        await reader.renew_subscription(made.id, in_days(3))
    await reader.delete_subscription(made.id)
    assert [one.method for one in seen(emulator, "subscriptions/")] == ["PATCH", "DELETE"]


async def test_ending_a_subscription_leaves_none(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint
) -> None:
    made = await reader.subscribe(new(endpoint))
    await reader.delete_subscription(made.id)
    assert emulator.subscriptions.live() == []
    assert await reader.subscriptions() == []


# Refusals


async def test_a_second_one_for_the_same_changes_is_refused_by_name(reader: Graph, endpoint: Endpoint) -> None:
    await reader.subscribe(new(endpoint))
    with pytest.raises(SubscriptionExists) as caught:
        await reader.subscribe(new(endpoint))
    assert "Remove the other subscription" in caught.value.action


@pytest.mark.parametrize("answer", [(403, "no"), (200, "something else"), (500, "")], ids=str)
async def test_a_failed_handshake_says_what_to_look_at(
    reader: Graph, endpoint: Endpoint, answer: tuple[int, str]
) -> None:
    endpoint.answer = answer
    with pytest.raises(HandshakeFailed) as caught:
        await reader.subscribe(new(endpoint))
    assert "PUBLIC_BASE_URL" in caught.value.action
    assert len(endpoint.handshakes) == 1
    assert reader.requests == 1


async def test_a_missing_permission_for_groups_is_named(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint
) -> None:
    emulator.authority.apps = {name: _without(app, "Group.Read.All") for name, app in emulator.authority.apps.items()}
    with pytest.raises(ConsentMissing) as caught:
        await reader.subscribe(new(endpoint, resource="groups"))
    assert "Group.Read.All" in caught.value.action


def _without(app: Any, role: str) -> Any:
    return msgspec.structs.replace(app, roles=[name for name in app.roles if name != role])


async def test_a_used_up_quota_is_no_missing_permission(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.microsoft.subscription_calls.MOST_PER_APP", 1)
    await reader.subscribe(new(endpoint, change_type="deleted"))
    with pytest.raises(QuotaReached):
        await reader.subscribe(new(endpoint))


async def test_another_fault_of_the_request_stays_what_it_is(reader: Graph, endpoint: Endpoint) -> None:
    with pytest.raises(BadRequest):
        await reader.subscribe(new(endpoint, expiration_date_time=graph_time(in_days(40))))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [({"error": {"code": "ExtensionError", "message": "In words."}}, NotFound), ("<html>", Unavailable)],
    ids=["Graph", "a gateway"],
)
async def test_whether_something_does_not_exist_is_for_graph_to_say(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, answer: Any, kind: type[Exception]
) -> None:
    emulator.faults.append(fault(status=404, path=PATH, method="POST", body=answer))
    with pytest.raises(kind):
        await reader.subscribe(new(endpoint))


@given(
    st.sampled_from([400, 401, 403, 404, 408, 409, 410, 429, 500, 503]),
    st.text(max_size=40),
    st.text(max_size=80),
)
def test_every_refusal_has_a_type_and_a_bounded_text(status: int, code: str, message: str) -> None:
    error = refused(status, {}, msgspec.json.encode({"error": {"code": code, "message": message}}))
    assert len(str(error)) <= 500
    assert isinstance(error, SubscriptionExists) == (status == 409)
    assert not isinstance(error, NotSubscribed) or status in {400, 403, 409}


# Answers that do not come


@pytest.mark.parametrize("kind", ["drop", "commit_then_drop", "status"])
async def test_a_create_without_an_answer_is_never_sent_twice(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, kind: str
) -> None:
    emulator.faults.append(fault(kind=kind, path=PATH, method="POST"))
    with pytest.raises(Unavailable):
        await reader.subscribe(new(endpoint))
    assert len([request for request in seen(emulator, "subscriptions") if request.method == "POST"]) == 1
    assert len(emulator.subscriptions.live()) == (kind == "commit_then_drop")


async def test_a_create_that_is_throttled_was_not_begun_and_is_sent_again(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, pauses: list[float]
) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", path=PATH, headers={"Retry-After": "3"}))
    await reader.subscribe(new(endpoint))
    assert pauses == [3.0]
    assert len(emulator.subscriptions.live()) == 1


async def test_a_long_pause_surfaces(reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint) -> None:
    emulator.faults.append(refusal(429, "TooManyRequests", path=PATH, headers={"Retry-After": "600"}))
    with pytest.raises(Throttled) as caught:
        await reader.subscribe(new(endpoint))
    assert caught.value.retry_after == 600


@pytest.mark.parametrize("kind", ["drop", "commit_then_drop", "status"])
async def test_renewing_and_ending_are_repeated_because_twice_is_no_more_than_once(
    reader: Graph, emulator: MicrosoftEmulator, endpoint: Endpoint, kind: str
) -> None:
    made = await reader.subscribe(new(endpoint))
    emulator.faults.append(fault(kind=kind, path=PATH, method="PATCH"))
    await reader.renew_subscription(made.id, in_days(4))
    emulator.faults.append(fault(kind=kind, path=PATH, method="DELETE"))
    await reader.delete_subscription(made.id)
    assert emulator.subscriptions.live() == []


# Secrets


async def test_no_text_shows_the_client_state(reader: Graph, endpoint: Endpoint) -> None:
    wish = new(endpoint)
    made = await reader.subscribe(wish)
    assert STATE not in f"{wish} {wish!r} {made} {made!r}"


# The tenant


async def test_our_own_token_tells_the_tenant_and_costs_no_request_of_its_own(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    await reader.user(user_id(1), ("id",))
    emulator.requests.clear()
    assert await reader.tenant_id() == TENANT_ID.lower()
    assert emulator.requests == []


async def test_a_tenant_that_is_named_by_a_domain_is_told_by_its_id(
    open_graph: Open, emulator: MicrosoftEmulator
) -> None:
    domain = next(iter(emulator.authority.domains))
    assert await open_graph(tenant_id=domain).tenant_id() == TENANT_ID.lower()


@given(st.one_of(st.text(), st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True)))
def test_a_token_that_says_nothing_gives_no_tenant_and_no_error(token: str) -> None:
    assert tenant_of(token) == ""
