"""Whatever happens to the directory, however oddly delta answers: a client that follows it ends up with the truth."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from local.microsoft import MicrosoftEmulator
from local.microsoft.apps import GRAPH
from local.microsoft.delta import DeltaService
from local.microsoft.directory import Directory
from local.microsoft.messages import GraphRequest
from local.microsoft.tokens import Principal
from local.sample import group_id, user_id
from tests.microsoft.support import small_tenant

NAMES = ("displayName", "mail", "mobilePhone", "jobTitle", "accountEnabled")
NUMBERS = st.integers(1, 9)

actions = st.one_of(
    st.tuples(st.just("create"), NUMBERS, st.none()),
    st.tuples(st.just("update"), NUMBERS, st.sampled_from(["mail", "mobilePhone", "jobTitle"])),
    st.tuples(st.just("clear"), NUMBERS, st.sampled_from(["mail", "mobilePhone", "jobTitle"])),
    st.tuples(st.just("disable"), NUMBERS, st.none()),
    st.tuples(st.sampled_from(["delete", "restore", "purge"]), NUMBERS, st.none()),
    st.tuples(st.sampled_from(["join", "leave"]), NUMBERS, st.integers(1, 4)),
    st.tuples(st.sampled_from(["delete group", "restore group"]), st.integers(1, 4), st.none()),
    st.tuples(st.just("poll"), st.just(0), st.none()),
)
switches = st.fixed_dictionaries(
    {
        "page_size": st.integers(1, 7),
        "duplicates": st.booleans(),
        "stale_duplicates": st.booleans(),
        "out_of_order": st.booleans(),
        "empty_pages": st.integers(0, 2),
        "replay": st.integers(0, 5),
        "removed_in_first_round": st.booleans(),
    }
)


class Follower:
    """A client of one delta: keeps what it was told, the last entry wins, links merge."""

    def __init__(self, emulator: MicrosoftEmulator, kind: str, select: tuple[str, ...]) -> None:
        self._delta: DeltaService = emulator.graph.delta
        self._kind = kind
        self._path = f"/{kind}s/delta"
        self._query = f"$select={','.join(select)}"
        self.known: dict[str, dict[str, Any]] = {}
        self.members: dict[str, set[str]] = {}

    def poll(self) -> None:
        while True:
            page = self._get(self._query)
            for entry in page["value"]:
                self._take(entry)
            link = page.get("@odata.nextLink") or page["@odata.deltaLink"]
            self._query = link.partition("?")[2]
            if "@odata.deltaLink" in page:
                return

    def _get(self, query: str) -> dict[str, Any]:
        principal = Principal("app", "oid", GRAPH, frozenset({"Member.Read.Hidden"}), 0.0)
        request = GraphRequest("GET", self._path, query, {}, b"", "https://localhost", principal)
        decoded: dict[str, Any] = msgspec.json.decode(self._delta.serve(request, self._kind).body)
        return decoded

    def _take(self, entry: dict[str, Any]) -> None:
        identifier = entry["id"]
        if "@removed" in entry:
            self.known.pop(identifier, None)
            self.members.pop(identifier, None)
            return
        members = self.members.setdefault(identifier, set())
        for link in entry.pop("members@delta", []):
            if "@removed" in link:
                members.discard(link["id"])
            else:
                members.add(link["id"])
        self.known[identifier] = entry


def apply(directory: Directory, action: str, number: int, detail: Any) -> None:
    """Do one thing that an administrator might; what is impossible at that moment is skipped."""
    identifier = group_id(number) if action.endswith("group") else user_id(number)
    entity = directory.entities.get(identifier)
    try:
        if action == "create":
            upn = f"user{number}@contoso.example"
            directory.create("user", {"id": identifier, "displayName": "New", "userPrincipalName": upn})
        elif entity is None:
            return
        elif action in ("update", "clear"):
            value = f"value {len(directory.log['user'])}" if action == "update" else None
            directory.update(entity, {detail: value})
        elif action == "disable":
            directory.update(entity, {"accountEnabled": not entity.properties["accountEnabled"]})
        elif action in ("join", "leave"):
            group = directory.entities[group_id(detail)]
            add, remove = ([identifier], []) if action == "join" else ([], [identifier])
            directory.link(group, "members", add, remove)
        else:
            verb = action.partition(" ")[0]
            {"delete": directory.delete, "restore": directory.restore, "purge": directory.purge}[verb](entity)
    except (ValueError, KeyError):
        return


def truth(directory: Directory, kind: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {
        entity.id: {name: entity.properties[name] for name in ("id", *names) if name in entity.properties}
        for _, entity in directory.live(kind)
    }


@settings(max_examples=120, deadline=None)
@given(steps=st.lists(actions, max_size=40), odd=switches)
def test_following_delta_gives_the_same_as_reading_everything(
    steps: list[tuple[str, int, Any]], odd: dict[str, Any]
) -> None:
    emulator = MicrosoftEmulator(small_tenant())
    emulator.graph.delta.switches = msgspec.convert(odd, type(emulator.graph.delta.switches))
    directory = emulator.directory
    users, groups = Follower(emulator, "user", NAMES), Follower(emulator, "group", ("displayName", "members"))
    users.poll()
    groups.poll()
    for action, number, detail in steps:
        if action == "poll":
            users.poll()
            groups.poll()
        else:
            apply(directory, action, number, detail)
    users.poll()
    groups.poll()
    assert users.known == truth(directory, "user", NAMES)
    assert groups.known == truth(directory, "group", ("displayName",))
    assert {identifier: members for identifier, members in groups.members.items() if members} == {
        group.id: set(group.links["members"]) for _, group in directory.live("group") if group.links.get("members")
    }


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(actions, max_size=30))
def test_delete_restore_and_purge_keep_the_directory_consistent(steps: list[tuple[str, int, Any]]) -> None:
    directory = MicrosoftEmulator(small_tenant()).directory
    for action, number, detail in steps:
        apply(directory, action, number, detail)
    entities = directory.entities
    assert set(directory.deleted) == {entity.id for entity in entities.values() if entity.deleted is not None}
    for group in (entity for entity in entities.values() if entity.kind == "group"):
        assert set(group.links.get("members", {})) <= set(entities), "a link to nothing"
    for _, user in directory.live("user"):
        assert directory.find("user", user.properties["userPrincipalName"]) is user
    purged = {change.id for change in directory.log["user"] if change.action == "purged"}
    assert not purged & set(entities), "a purged object never comes back"


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(actions, max_size=25), odd=switches, later=st.lists(actions, max_size=8))
def test_a_loaded_state_is_the_saved_one_and_goes_on_alike(
    signing_keys: list[dict[str, str]], steps: list[Any], odd: dict[str, Any], later: list[Any]
) -> None:
    first, second = MicrosoftEmulator(small_tenant()), MicrosoftEmulator(small_tenant())
    first.keys.load(signing_keys)
    first.graph.delta.switches = msgspec.convert(odd, type(first.graph.delta.switches))
    follower = Follower(first, "user", NAMES)
    for action, number, detail in steps:
        follower.poll() if action == "poll" else apply(first.directory, action, number, detail)
    follower.poll()
    saved = msgspec.json.decode(msgspec.json.encode(first.state()))
    second.load(saved)
    assert msgspec.json.decode(msgspec.json.encode(second.state())) == saved
    for action, number, detail in later:
        apply(second.directory, action, number, detail)
    follower._delta = second.graph.delta
    follower.poll()
    assert follower.known == truth(second.directory, "user", NAMES)
