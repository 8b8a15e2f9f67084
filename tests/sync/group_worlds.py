"""Whole small worlds of groups, and a model of the PBX that applies a plan to them, as ``strategies`` has for users."""

import random
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec
from hypothesis import strategies as st

from store.document import Groups, GroupScope
from store.groups import DirectoryGroup
from sync.group_plan import GroupsInput, PbxGroup, plan_groups
from sync.plan import Linked, Operation, Plan

IDS = tuple(f"group-{number}" for number in range(6))
NAMES = ("Sales", "SALES", "West", "East", "North", "South", "n" * 63 + "1", "n" * 63 + "2")
ODD_NAMES = ("", "default_all_extensions", " Sales ")
EXTENSIONS = {"ann": "1000", "bob": "1001", "cyd": "1002", "dee": "999"}
USERS = (*EXTENSIONS, "eve", "fay")
"""The last two have no extension."""
STRANGE_NUMBER = "1003"
"""Of an extension that no user has."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    groups: dict[str, DirectoryGroup]
    members: dict[str, frozenset[str]]
    links: dict[str, Linked]
    pbx: dict[int, PbxGroup]
    limit: int
    rules: Groups

    def data(self, *, only: Collection[str] | None = None, held: Iterable[str] = ()) -> GroupsInput:
        """The planner's input of a full run, or of an incremental one about the groups ``only``."""
        chosen = {name: one for name, one in self.groups.items() if only is None or name in only}
        return GroupsInput(
            groups=chosen,
            members={name: self.members[name] for name in chosen},
            complete=only is None,
            removed=frozenset(only or ()) - self.groups.keys(),
            links=self.links,
            extensions=EXTENSIONS,
            rules=self.rules,
            inventory=self.pbx,
            limit=self.limit,
            held=frozenset(held),
        )

    def plan(self) -> Plan:
        return plan_groups(self.data())

    def wants(self, group: DirectoryGroup) -> bool:
        """Whether the rules make an extension group of it, told apart from the planner's own code."""
        scope = self.rules.scope
        return {"all": True, "types": group.kind in scope.group_types, "groups": group.id in scope.group_ids}[
            scope.kind
        ]

    def numbers(self, object_id: str) -> frozenset[str]:
        """The numbers that the group's members have."""
        return frozenset(EXTENSIONS[user] for user in self.members[object_id] & EXTENSIONS.keys())


def pbx_name(group: DirectoryGroup) -> str:
    return group.name.strip()[:63]


class Collision(Exception):
    """The PBX would answer 40003 (in use already) or 60002 (limit reached)."""


def apply(world: World, plan: Plan, *, besides: Collection[str] = ()) -> World:
    """What the PBX and the links are after ``plan``, its operations about ``besides`` left out; ``Collision`` where the
    PBX would refuse an operation."""
    machine = _Machine(world)
    for operation in plan.operations:
        if operation.object_id not in besides:
            machine.apply(operation)
    return msgspec.structs.replace(world, links=machine.links, pbx=machine.pbx)


class _Machine:
    def __init__(self, world: World) -> None:
        self.links = dict(world.links)
        self.pbx = dict(world.pbx)
        self._limit = world.limit
        self._next_id = max([0, *world.pbx, *(link.pbx_id for link in world.links.values())]) + 1

    def apply(self, operation: Operation) -> None:
        match operation.kind:
            case "create":
                self._create(operation)
            case "update" | "associate":
                self._overwrite(operation)
            case "delete":
                self._delete(operation)
            case "release":
                link = self.links[operation.object_id]
                self.links[operation.object_id] = msgspec.structs.replace(link, released=True)

    def _create(self, operation: Operation) -> None:
        assert operation.pbx_id is None
        assert operation.after == {"name": operation.fields["name"], "members": _joined(_numbers(operation))}
        if len(self.pbx) >= self._limit:
            raise Collision("there is no room")
        self._put(self._next_id, operation)
        self._next_id += 1

    def _overwrite(self, operation: Operation) -> None:
        assert operation.pbx_id is not None
        current = self.pbx[operation.pbx_id]
        shown = _shown(current)
        assert {name: shown[name] for name in operation.before} == operation.before
        now = {"name": operation.fields["name"], "members": _joined(_numbers(operation))}
        assert {**shown, **operation.after} == now
        assert all(shown[name] != value for name, value in operation.after.items())
        self._put(operation.pbx_id, operation)

    def _delete(self, operation: Operation) -> None:
        assert operation.pbx_id is not None
        found = self.pbx.pop(operation.pbx_id, None)
        assert found is None or operation.before == _shown(found)
        del self.links[operation.object_id]

    def _put(self, pbx_id: int, operation: Operation) -> None:
        name = operation.fields["name"]
        for other in self.pbx.values():
            if other.pbx_id != pbx_id and other.name.casefold() == name.casefold():
                raise Collision(f"the name {name} is in use")
        self.pbx[pbx_id] = PbxGroup(pbx_id, name, members=_numbers(operation))
        self.links[operation.object_id] = Linked(
            object_id=operation.object_id, pbx_id=pbx_id, number="", name=operation.name, written=operation.fields
        )


def _numbers(operation: Operation) -> frozenset[str]:
    return frozenset(EXTENSIONS[user] for user in operation.members)


def _shown(group: PbxGroup) -> dict[str, str]:
    assert group.members is not None
    return {"name": group.name, "members": "everyone" if group.everyone else _joined(group.members)}


def _joined(numbers: Iterable[str]) -> str:
    return ", ".join(sorted(numbers, key=int))


def shuffled(world: World, seed: int) -> World:
    """The same world, read in another order."""
    chance = random.Random(seed)  # noqa: S311 - a shuffle

    def mixed[K, V](items: dict[K, V]) -> dict[K, V]:
        pairs = list(items.items())
        chance.shuffle(pairs)
        return dict(pairs)

    return msgspec.structs.replace(
        world,
        groups=mixed(world.groups),
        members=mixed(world.members),
        links=mixed(world.links),
        pbx=mixed(world.pbx),
    )


NUMBER_SETS = st.frozensets(st.sampled_from([*EXTENSIONS.values(), STRANGE_NUMBER]), max_size=4)
USER_SETS = st.frozensets(st.sampled_from(USERS), max_size=4)


@st.composite
def groups(draw: st.DrawFn, object_id: str) -> DirectoryGroup:
    name = draw(st.sampled_from([*NAMES * 3, *ODD_NAMES]))
    return DirectoryGroup(id=object_id, name=name, kind=draw(st.sampled_from(["security", "microsoft365", "other"])))


@st.composite
def contents(draw: st.DrawFn) -> dict[int, PbxGroup]:
    """The extension groups of a PBX: names are unique, as the PBX sees to."""
    names = draw(st.lists(st.sampled_from([*NAMES[:-2], "n" * 63, "By hand"]), unique_by=str.casefold, max_size=6))
    made = {1: PbxGroup(1, "Default_All_Extensions", everyone=True, members=frozenset())}
    for pbx_id, name in enumerate(names, start=2):
        everyone = draw(st.integers(0, 9)) == 0
        made[pbx_id] = PbxGroup(pbx_id, name, everyone, draw(NUMBER_SETS))
    return made


@st.composite
def links(draw: st.DrawFn, pbx: dict[int, PbxGroup]) -> dict[str, Linked]:
    """Links that mostly mean an extension group; some are of one that is gone, or whose id is a stranger's now."""
    owners = draw(st.lists(st.sampled_from([*IDS, "gone-1", "gone-2"]), unique=True, max_size=6))
    pbx_ids = draw(st.permutations([*pbx, 101, 102, 103]))
    made = {}
    for owner, pbx_id in zip(owners, pbx_ids, strict=False):
        name = draw(st.sampled_from(NAMES[:-2]))
        if pbx_id in pbx and draw(st.integers(0, 3)) > 0:
            name = pbx[pbx_id].name
        written = {} if draw(st.integers(0, 9)) == 0 else {"name": name}
        released = draw(st.integers(0, 3)) == 0
        made[owner] = Linked(object_id=owner, pbx_id=pbx_id, number="", name=name, written=written, released=released)
    return made


@st.composite
def rules(draw: st.DrawFn) -> Groups:
    kind: Literal["all", "types", "groups"] = draw(st.sampled_from(("all", "all", "types", "groups")))
    return Groups(
        enabled=True,
        scope=GroupScope(
            kind=kind,
            group_types=draw(st.sampled_from([["security"], ["microsoft365"], ["security", "microsoft365"]])),
            group_ids=draw(st.lists(st.sampled_from(IDS), unique=True)),
        ),
        delete_out_of_scope=draw(st.booleans()),
        associate_by_name=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    present = draw(st.lists(st.sampled_from(IDS), unique=True))
    pbx = draw(contents())
    return World(
        groups={name: draw(groups(name)) for name in present},
        members={name: draw(USER_SETS) for name in present},
        links=draw(links(pbx)),
        pbx=pbx,
        limit=draw(st.sampled_from([len(pbx), len(pbx) + 1, 63])),
        rules=draw(rules()),
    )


@st.composite
def new_worlds(draw: st.DrawFn) -> World:
    """Worlds before the first run: nothing is linked."""
    return msgspec.structs.replace(draw(worlds()), links={})
