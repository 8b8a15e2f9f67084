"""The Azure libraries' errors never leave the room."""

import datetime
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from azure.core import exceptions as azure

from store.audit import AuditStore, Entry
from store.changes import Announced, Batch, ChangeStore, Event, Fired, PbxEvent, PbxEventStore
from store.cursors import Cursor, CursorStore
from store.document import Settings
from store.environment import Environment, StorageAccount
from store.errors import AccessDenied, AlreadyExists, Changed, InvalidRecord, StoreError, StoreUnavailable, translated
from store.health import HealthStore
from store.leases import Lease, LeaseStore
from store.links import Link, LinkStore
from store.listing import ListStore
from store.runs import Run, RunItem, RunStore
from store.secrets import SecretStore
from store.sessions import AccountRecord, AttemptStore, SessionRecord, SessionStore, UsedStates
from store.settings import SettingsStore, Stored
from store.subscriptions import Subscription, SubscriptionStore
from store.tables import Row, Tables, Write
from store.tokens import TokenStore

ENVIRONMENT = Environment(storage=StorageAccount())
ROW = Row("p", "k", {}, 'W/"x"')
EVENT = Event("users", "o", "m")
NOW = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
LINK = Link(object_id="o")
RUN = Run(id="r", what=[], mode="full", started_by="api", requested_at="")
SESSION = SessionRecord(id="s", name="", account="", role="admin", basis="role", csrf="", started_at="", ends_at="")
ACCOUNT = AccountRecord(
    tenant_id="t", object_id="o", name="", user_principal_name="", signed_in_at="", token_version="1"
)

CALLS: dict[type, dict[str, Callable[[Any], Any]]] = {
    Tables: {
        "get": lambda it: it.get("t", "p", "k"),
        "get_timed": lambda it: it.get_timed("t", "p", "k"),
        "query": lambda it: it.query("t", "p"),
        "keys": lambda it: it.keys("t", "p", ["k"]),
        "having": lambda it: it.having("t", "p", "c", ["v"]),
        "create": lambda it: it.create("t", ROW),
        "upsert": lambda it: it.upsert("t", ROW),
        "replace": lambda it: it.replace("t", ROW, 'W/"x"'),
        "delete": lambda it: it.delete("t", "p", "k"),
        "clear": lambda it: it.clear("t", "p"),
        "write": lambda it: it.write("t", [Write("upsert", ROW)]),
    },
    SettingsStore: {
        "load": lambda it: it.load(),
        "save": lambda it: it.save(Settings(), Stored(Settings(), 1, 'W/"x"')),
        "reset": lambda it: it.reset(),
    },
    LinkStore: {
        "get": lambda it: it.get("o"),
        "some": lambda it: it.some(["o"]),
        "numbered": lambda it: it.numbered(["1000"]),
        "first": lambda it: it.first(1),
        "all": lambda it: it.all(),
        "after": lambda it: it.after("o"),
        "write": lambda it: it.write([LINK], ["x"]),
        "clear": lambda it: it.clear(),
    },
    CursorStore: {
        "load": lambda it: it.load("users"),
        "save": lambda it: it.save("users", Cursor(link="", selected="", scope="", made_at="")),
        "update": lambda it: it.update("users", lambda old: old),
        "clear": lambda it: it.clear("users"),
    },
    ChangeStore: {
        "add": lambda it: it.add([EVENT], NOW),
        "batch": lambda it: it.batch(),
        "mark_fired": lambda it: it.mark_fired(Fired("")),
        "name_run": lambda it: it.name_run(Fired("")),
        "remove": lambda it: it.remove(Batch((Announced("1", "", (EVENT,)),)), [], NOW),
    },
    PbxEventStore: {
        "add": lambda it: it.add("1001", NOW),
        "some": lambda it: it.some(1),
        "remove": lambda it: it.remove([PbxEvent("1001", "", 'W/"x"')]),
    },
    SubscriptionStore: {
        "all": lambda it: it.all(),
        "save": lambda it: it.save(Subscription(resource="users")),
        "update": lambda it: it.update("users", lambda old: old),
        "remove": lambda it: it.remove("users"),
    },
    RunStore: {
        "create": lambda it: it.create(RUN),
        "save": lambda it: it.save(RUN),
        "get": lambda it: it.get("r"),
        "load": lambda it: it.load("r"),
        "replace": lambda it: it.replace(RUN, 'W/"x"'),
        "newest": lambda it: it.newest(1),
        "since": lambda it: it.since(NOW, 1),
        "newer": lambda it: it.newer("r", 1),
        "keep_settings": lambda it: it.keep_settings("r", Settings()),
        "settings": lambda it: it.settings("r"),
        "drop_settings": lambda it: it.drop_settings("r"),
        "add_items": lambda it: it.add_items("r", 0, [RunItem(operation="", outcome="done", object_id="")]),
        "items": lambda it: it.items("r"),
    },
    ListStore: {
        "load": lambda it: it.load(),
        "save": lambda it: it.save(b"{}", ""),
    },
    HealthStore: {
        "load": lambda it: it.load(),
        "load_with_etag": lambda it: it.load_with_etag(),
        "update": lambda it: it.update(lambda old: old),
        "drop_reasons": lambda it: it.drop_reasons("sign_in_needed"),
        "clear": lambda it: it.clear(),
    },
    LeaseStore: {
        "acquire": lambda it: it.acquire("sync", "r"),
        "holder": lambda it: it.holder("sync"),
        "note": lambda it: it.note("sync"),
        "tell_to_stop": lambda it: it.tell_to_stop("sync"),
    },
    AuditStore: {
        "add": lambda it: it.add(Entry(at=NOW.isoformat(), who="", action="")),
        "newest": lambda it: it.newest(1),
    },
    SessionStore: {
        "add": lambda it: it.add(SESSION),
        "load": lambda it: it.load("s"),
        "end": lambda it: it.end("s"),
        "end_all": lambda it: it.end_all(),
        "sweep": lambda it: it.sweep(NOW),
        "account": lambda it: it.account(),
        "further_accounts": lambda it: it.further_accounts(),
        "save_account": lambda it: it.save_account(ACCOUNT),
        "replace_account": lambda it: it.replace_account(ACCOUNT, 'W/"x"'),
        "forget_account": lambda it: it.forget_account(),
    },
    UsedStates: {
        "use": lambda it: it.use("s", NOW),
        "sweep": lambda it: it.sweep(NOW),
    },
    AttemptStore: {
        "add": lambda it: it.add("a", NOW),
        "since": lambda it: it.since(NOW),
        "remove": lambda it: it.remove("k"),
        "sweep": lambda it: it.sweep(NOW),
    },
    TokenStore: {
        "read": lambda it: it.read(),
        "swap": lambda it: it.swap("t", 'W/"x"'),
    },
}


HELD = {"renew", "check", "release", "kept", "write_note", "keep_note"}
ABOUT_A_RESPONSE = {"StreamConsumedError", "StreamClosedError", "ResponseNotReadError", "ODataV4Error"}


def made(kind: type, tables: Tables) -> Any:
    more: dict[type, tuple[Any, ...]] = {
        SettingsStore: ("c", ENVIRONMENT),
        LinkStore: ("c", "users"),
        ListStore: ("c", "users"),
        TokenStore: ("c", "pbx"),
        Tables: (),
    }
    return tables if kind is Tables else kind(tables, *more.get(kind, ("c",)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, calls in CALLS.items() for name in calls],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_every_method_says_in_our_words_that_storage_is_away(dead_tables: Tables, kind: type, name: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await finished(CALLS[kind][name](made(kind, dead_tables)))


@pytest.mark.parametrize("kind", [*CALLS, SecretStore, Lease], ids=lambda kind: kind.__name__)
def test_no_public_method_is_left_out_above(kind: type) -> None:
    elsewhere = {"close"} | {SecretStore: {"read", "write", "delete"}, Lease: HELD}.get(kind, set())
    public = {name for name, member in vars(kind).items() if not name.startswith("_") and inspect.isfunction(member)}
    assert public - elsewhere == CALLS.get(kind, {}).keys()


async def test_a_lease_that_is_held_says_so_too(dead_tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.leases.RENEW_AFTER_SECONDS", 0)
    lease = Lease(dead_tables, Row("c", "sync", {"owner": "r", "fence": 1}), 'W/"x"')
    for call in (lease.renew, lease.release, lambda: lease.write_note("busy")):
        with pytest.raises(StoreUnavailable):
            await call()


def test_every_error_of_azure_core_has_a_word_of_ours() -> None:
    kinds = {kind for kind in vars(azure).values() if isinstance(kind, type) and issubclass(kind, azure.AzureError)}
    assert len(kinds) > 15
    for kind in kinds:
        with pytest.raises(StoreError), translated("the table t"):
            raise kind(Mock(status_code=500) if kind.__name__ in ABOUT_A_RESPONSE else "text")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRecord), (401, AccessDenied), (403, AccessDenied), (404, InvalidRecord), (408, StoreUnavailable),
        (409, AlreadyExists), (412, Changed), (413, InvalidRecord), (429, StoreUnavailable), (500, StoreUnavailable),
        (503, StoreUnavailable), (302, StoreUnavailable),
    ],
)  # fmt: skip
def test_a_status_means_what_the_caller_can_do(status: int, error: type[StoreError]) -> None:
    failure = azure.HttpResponseError("text")
    failure.status_code = status
    with pytest.raises(error), translated("the table t"):
        raise failure


def test_our_own_errors_and_bugs_pass_unchanged() -> None:
    for own in (Changed("x"), KeyError("x")):
        with pytest.raises(type(own)) as caught, translated("the table t"):
            raise own
        assert caught.value is own


async def finished(call: Any) -> None:
    if isinstance(call, AsyncIterator):
        async for _ in call:
            pass
    else:
        await call
