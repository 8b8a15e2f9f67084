"""What is believed of a request that announces something, and when a batch is due: without storage, by properties."""

import base64
import datetime
import hashlib
import hmac
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbx.models import FIELDS, Extension
from store.changes import Announced, Batch, Event
from store.document import Groups, Schedule, Settings, Users, UserScope
from store.environment import Environment, StorageAccount
from store.links import Link
from store.subscriptions import Subscription
from sync.batches import is_full, is_old, left_over, poll_due
from sync.firing import concerning
from sync.notifications import LONGEST_TOKEN, Item, handshake, parse
from sync.pbx_events import differs, is_signed, reported
from sync.subscriptions import LIFETIME, Aim, aim, step, unreachable

NOW = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
ID = "aaaa0001-0000-4000-8000-000000000001"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
events = st.builds(
    Event,
    st.sampled_from(["users", "groups"]),
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from("mnopq"),
    st.booleans(),
)
batches = st.lists(st.lists(events, max_size=4), max_size=5).map(
    lambda rows: Batch(tuple(Announced(str(n), NOW.isoformat(), tuple(row)) for n, row in enumerate(rows)))
)


def item(**changes: Any) -> dict[str, Any]:
    usual = {
        "subscriptionId": "cccc0001",
        "clientState": "state",
        "changeType": "updated",
        "tenantId": "t",
        "resource": f"Users/{ID}",
        "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": ID, "sequenceNumber": 7},
    }
    return {**usual, **changes}


def decoded(*items: Any) -> list[Item]:
    return parse(msgspec.json.encode({"value": items}))[0]


# Notifications


@given(st.binary())
def test_no_body_breaks_the_reading(body: bytes) -> None:
    items, unread = parse(body)
    assert items == []
    assert unread <= 1


@given(st.lists(json_values, max_size=5), st.integers(0, 3))
def test_whatever_travels_along_the_true_items_are_read(others: list[Any], place: int) -> None:
    values = [*others[:place], item(), *others[place:]]
    items, unread = parse(msgspec.json.encode({"value": values, "validationTokens": []}))
    assert "cccc0001" in {one.subscription_id for one in items}
    assert len(items) + unread == len(values)


@pytest.mark.parametrize("depth", [10_000, 200_000])
def test_nesting_without_end_is_dropped(depth: int) -> None:
    assert parse(b'{"value":' + b"[" * depth)[0] == []
    assert parse(b'{"value":[' + b'{"a":' * depth + b"1" + b"}" * depth + b"]}") == ([], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resourceData": {"id": ID.upper()}},
        {"resourceData": None},
        {"resourceData": {}},
        {"resource": f"users('x')/{ID}/", "resourceData": {"id": ""}},
        {"resource": "Users/other", "resourceData": {"id": ID}},
    ],
    ids=str,
)
def test_the_object_is_found_wherever_it_is_named(changes: dict[str, Any]) -> None:
    [found] = decoded(item(**changes))
    assert found.event("users").object_id == ID


@pytest.mark.parametrize("name", ["", "1/2", "x" * 2000, "😀", "../../secrets"], ids=repr)
def test_what_is_no_object_id_is_a_hint_without_an_object(name: str) -> None:
    [found] = decoded(item(resource="Users", resourceData={"id": name}))
    assert found.event("users").object_id == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"subscriptionId": "other"},
        {"changeType": "deleted"},
        {"resource": "Users/other"},
        {"resourceData": {"id": ID, "sequenceNumber": 8}},
    ],
    ids=str,
)
def test_a_repeated_notification_is_the_same_event_and_any_other_is_another(changes: dict[str, Any]) -> None:
    first, repeated, other = decoded(item(), item(clientState="any"), item(**changes))
    assert first.event("users").mark == repeated.event("users").mark
    assert first.event("users").mark != other.event("users").mark


# The handshake


@given(st.text())
def test_a_handshake_repeats_the_token_or_nothing_of_it(token: str) -> None:
    outcome = handshake(token)
    is_harmless = not any(character in "<>\x7f" or character < " " for character in token)
    assert outcome.status == (200 if is_harmless else 400)
    assert (outcome.text == token) == is_harmless
    assert outcome.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("token", ["<script>", "a\r\nb", "x" * (LONGEST_TOKEN + 1)])
def test_a_token_that_could_be_something_else_is_refused(token: str) -> None:
    outcome = handshake(token)
    assert outcome.status == 400
    assert token not in outcome.text


# Batches


@given(batches, st.sets(st.sampled_from("ABC")))
def test_what_was_seen_or_looked_at_twice_is_settled_and_the_rest_is_looked_at_once_more(
    batch: Batch, seen: set[str]
) -> None:
    left = left_over(batch, seen, ("users", "groups"))
    marks = [event.mark for event in left]
    assert len(set(marks)) == len(marks)
    assert all(event.looked and event.object_id and event.object_id.upper() not in seen for event in left)
    again = Batch((Announced("0", NOW.isoformat(), tuple(left)),))
    assert left_over(again, set(), ("users", "groups")) == []
    assert again.distinct() == 0


@given(batches)
def test_a_run_that_did_not_read_groups_settles_nothing_about_them(batch: Batch) -> None:
    untouched = {mark: event for mark, event in batch.events().items() if event.kind == "groups"}
    left = {event.mark: event for event in left_over(batch, set(), ("users",)) if event.kind == "groups"}
    assert left == untouched


def announced(number: int, minutes: float = 0.0) -> Batch:
    at = (NOW - datetime.timedelta(minutes=minutes)).isoformat()
    return Batch((Announced("1", at, tuple(Event("users", "a", str(n)) for n in range(number))),))


@pytest.mark.parametrize(("number", "minutes", "due"), [(9, 9.9, False), (10, 0, True), (1, 10, True), (0, 99, True)])
def test_a_batch_is_due_by_its_number_or_by_its_age(number: int, minutes: float, due: bool) -> None:
    batch = announced(number, minutes)
    assert (is_full(batch, Schedule()) or is_old(batch, Schedule(), NOW)) == due


def test_an_empty_batch_is_never_old() -> None:
    assert not is_old(Batch(), Schedule(change_delay_minutes=0), NOW)


@pytest.mark.parametrize(("minutes", "due"), [(59, False), (60, True), (600, True)])
def test_the_slow_poll_keeps_its_time(minutes: int, due: bool) -> None:
    assert poll_due(Settings(), (NOW - datetime.timedelta(minutes=minutes)).isoformat(), NOW) == due


def test_nothing_is_polled_before_the_first_run() -> None:
    assert not poll_due(Settings(), None, NOW)


@pytest.mark.parametrize(
    ("kinds", "scope", "expected"),
    [
        ([], "all", set()),
        (["users"], "all", {"users"}),
        (["users"], "groups", {"users", "groups"}),
        (["groups"], "all", {"users", "groups"}),
    ],
)
def test_only_changes_that_matter_to_what_is_synced_count(kinds: list[Any], scope: Any, expected: set[str]) -> None:
    assert concerning(Settings(users=Users(scope=UserScope(kind=scope))), kinds) == expected


# Subscriptions

URL = "https://bridge.example"
WANTED = Aim(frozenset({"users"}), URL, "tenant|client")
LIVE = Subscription(
    resource="users",
    state="live",
    id="1",
    application="tenant|client",
    notification_url=WANTED.notification_url,
    expires_at=(NOW + LIFETIME).isoformat(),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"expires_at": (NOW + LIFETIME / 2 + datetime.timedelta(seconds=1)).isoformat()}, None),
        ({"expires_at": (NOW + LIFETIME / 2).isoformat()}, "renew"),
        ({"expires_at": (NOW - LIFETIME).isoformat()}, "renew"),
        ({"state": "renew"}, "renew"),
        ({"state": "asked", "id": ""}, "find"),
        ({"state": "gone"}, "create"),
        ({"id": ""}, "create"),
        ({"notification_url": "https://elsewhere.example/notifications/directory"}, "replace"),
        ({"application": "tenant|other"}, "replace"),
        ({"state": "gone", "next_try_at": (NOW + LIFETIME).isoformat()}, None),
        ({"state": "gone", "next_try_at": NOW.isoformat()}, "create"),
    ],
    ids=str,
)
def test_what_is_done_about_a_subscription(changes: dict[str, Any], expected: str | None) -> None:
    assert step(msgspec.structs.replace(LIVE, **changes), "users", WANTED, NOW) == expected


def test_what_is_wanted_is_made_and_what_is_not_is_ended() -> None:
    none = msgspec.structs.replace(WANTED, resources=frozenset())
    assert step(None, "users", WANTED, NOW) == "create"
    assert step(None, "users", none, NOW) is None
    assert step(LIVE, "users", none, NOW) == "remove"


def environment(url: str) -> Environment:
    return Environment(storage=StorageAccount(), public_base_url=url)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), set()),
        (Settings(users=Users(enabled=True)), {"users"}),
        (Settings(users=Users(enabled=True, scope=UserScope(kind="groups"))), {"users", "groups"}),
        (Settings(users=Users(scope=UserScope(kind="groups"))), set()),
        (Settings(groups=Groups(enabled=True)), {"groups"}),
        (Settings(users=Users(enabled=True), groups=Groups(enabled=True)), {"users", "groups"}),
    ],
)
def test_the_rules_decide_what_is_subscribed(settings: Settings, expected: set[str]) -> None:
    assert aim(settings, environment(URL)).resources == expected
    assert aim(settings, environment("")).resources == set()


@pytest.mark.parametrize("url", ["https://bridge.example", "http://127.0.0.1:7071", "http://localhost:7071"])
def test_an_address_that_can_be_called_is_used(url: str) -> None:
    assert unreachable(environment(url)) == ""


@pytest.mark.parametrize("url", ["", "http://bridge.example", "bridge.example", "ftp://x", "https://", "http://[", "x"])
def test_an_address_that_cannot_be_called_is_explained(url: str) -> None:
    assert "PUBLIC_BASE_URL" in unreachable(environment(url))


# Events of the PBX


@given(st.text(min_size=1), st.binary(), st.binary(min_size=1), st.text())
def test_only_the_true_signature_of_the_very_body_is_believed(
    secret: str, body: bytes, more: bytes, other: str
) -> None:
    secret = secret.encode("utf-8", "replace").decode()
    true = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    assert is_signed(secret, true, body)
    assert is_signed(secret, f" {true}\n", body)
    assert not is_signed(secret, true, body + more)
    assert not is_signed(secret + "x", true, body)
    assert other.strip() == true or not is_signed(secret, other, body)


@given(st.binary() | json_values.map(msgspec.json.encode))
def test_no_event_breaks_the_reading(body: bytes) -> None:
    assert reported(body) == ""


def event_body(kind: Any, message: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "sn": "36", "msg": message})


@pytest.mark.parametrize(
    "message",
    [
        '{"ext_number":"1001","option":"UPDATE"}',
        {"ext_number": "1001", "option": "DELETE"},
        {"ext_number": "1001"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [30022, "30022"])
def test_the_message_may_be_a_text_or_an_object(kind: Any, message: Any) -> None:
    assert reported(event_body(kind, message)) == "1001"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (30009, {"ext_number": "1001"}),
        (30022, {}),
        (30022, {"ext_number": "12345678"}),
        (30022, {"ext_number": "1001#"}),
        (30022, {"ext_number": "\u0661\u0662"}),
        (30022, "1001"),
        (30022, "{"),
        (30022, None),
    ],
    ids=str,
)
def test_other_events_and_what_is_no_extension_are_passed_over(kind: int, message: Any) -> None:
    assert reported(event_body(kind, message)) == ""


fields = st.fixed_dictionaries({name: st.sampled_from(["", "a", "b"]) for name in FIELDS})


@given(fields, fields)
def test_an_extension_differs_exactly_when_a_synced_field_does(
    written: dict[str, str], present: dict[str, str]
) -> None:
    link = Link(object_id=ID, pbx_id=1, number="1001", written={name: v for name, v in written.items() if v})
    extension = Extension(id=1, number="1001", **{name: v or None for name, v in present.items()})
    assert differs(link, extension) == (written != present)


def test_an_extension_that_is_gone_or_has_another_number_differs() -> None:
    link = Link(object_id=ID, pbx_id=1, number="1001")
    assert differs(link, None)
    assert differs(link, Extension(id=1, number="1002"))
    assert not differs(link, Extension(id=1, number="1001"))
