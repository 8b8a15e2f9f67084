"""Whole small worlds: a tenant, a PBX, the links between them and rules; and a model of the PBX that applies a plan.

The pools are small on purpose, so that addresses, numbers and names meet all the time.
"""

import datetime
import random
from collections.abc import Iterable
from typing import Literal

import msgspec
from hypothesis import strategies as st

from graph.models import Removed, User
from store.document import Numbering, Users, UserScope
from sync.plan import Extension, Inventory, Leaving, Linked, Operation, Plan
from sync.planner import UsersInput, plan_users

IDS = tuple(f"user-{number}" for number in range(6))
ADDRESSES = ("a@x.example", "b@x.example", "B@x.example", "c@x.example", "d@x.example", "e@x.example")
NUMBERS = tuple(str(number) for number in range(998, 1004))
NOW = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
PROPERTY_VALUES = ("1000", "1001", "1002", "+31 20 1234567 ext. 1003", "998", "no digits", "12345678", "0")


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    users: dict[str, User]
    links: dict[str, Linked]
    extensions: dict[int, Extension]
    capacity: int | None
    rules: Users
    members: frozenset[str] | None
    now: datetime.datetime = NOW

    def data(self, *, only: Iterable[str] | None = None) -> UsersInput:
        """The planner's input of a full run, or of an incremental one about the users ``only``."""
        chosen = self.users if only is None else {name: self.users[name] for name in only if name in self.users}
        free = None if self.capacity is None else max(0, self.capacity - len(self.extensions))
        return UsersInput(
            users=chosen,
            complete=only is None,
            links=self.links,
            rules=self.rules,
            members=self.members,
            inventory=Inventory(self.extensions, free),
            now=self.now,
        )

    def plan(self) -> Plan:
        return plan_users(self.data())

    def wants(self, user: User) -> bool:
        """Whether the rules give this user an extension, told apart from the planner's own code."""
        is_guest = user.user_type == "Guest" or (not user.user_type and "#EXT#" in (user.user_principal_name or ""))
        scope = self.rules.scope
        in_scope = {
            "all": True,
            "types": ("Guest" if is_guest else "Member") in scope.user_types,
            "groups": user.id in (self.members or ()),
        }[scope.kind]
        return in_scope and not (user.account_enabled is False and "disabled" in self.rules.delete_when)


class Collision(Exception):
    """The PBX would answer 40003 (in use already) or 60002 (limit reached)."""


def apply(world: World, plan: Plan) -> World:
    """What the PBX and the links are after ``plan``; ``Collision`` where the PBX would refuse an operation."""
    machine = _Machine(world)
    for operation in plan.operations:
        machine.apply(operation)
    return msgspec.structs.replace(world, links=machine.links, extensions=machine.extensions)


class _Machine:
    def __init__(self, world: World) -> None:
        self.links = dict(world.links)
        self.extensions = dict(world.extensions)
        self._capacity = world.capacity
        self._next_id = max([0, *world.extensions, *(link.pbx_id for link in world.links.values())]) + 1

    def apply(self, operation: Operation) -> None:
        match operation.kind:
            case "create":
                self._create(operation)
            case "update" | "associate":
                self._overwrite(operation)
            case "delete":
                self.extensions.pop(_id(operation), None)
                del self.links[operation.object_id]
            case "release":
                link = self.links[operation.object_id]
                self.links[operation.object_id] = msgspec.structs.replace(link, released=True, leaving=Leaving())
            case "skip" if operation.leaving is not None:
                link = self.links[operation.object_id]
                self.links[operation.object_id] = msgspec.structs.replace(link, leaving=operation.leaving)

    def _create(self, operation: Operation) -> None:
        if any(extension.number == operation.number for extension in self.extensions.values()):
            raise Collision(f"the number {operation.number} is in use")
        if self._capacity is not None and len(self.extensions) >= self._capacity:
            raise Collision("there is no room")
        self._put(self._next_id, operation)
        self._next_id += 1

    def _overwrite(self, operation: Operation) -> None:
        pbx_id = _id(operation)
        extension = self.extensions[pbx_id]
        assert extension.number == operation.number
        assert extension.fields is not None
        assert {name: extension.fields[name] for name in operation.before} == operation.before
        assert {**extension.fields, **operation.after} == operation.fields
        self._put(pbx_id, operation)

    def _put(self, pbx_id: int, operation: Operation) -> None:
        email = operation.fields["email_addr"]
        for other in self.extensions.values():
            if email and other.pbx_id != pbx_id and other.email.casefold() == email.casefold():
                raise Collision(f"the address {email} is in use by {other.number}")
        self.extensions[pbx_id] = Extension(pbx_id, operation.number, email, operation.fields)
        self.links[operation.object_id] = Linked(
            object_id=operation.object_id,
            pbx_id=pbx_id,
            number=operation.number,
            name=operation.name,
            user_principal_name=operation.user_principal_name,
            written=operation.fields,
        )


def _id(operation: Operation) -> int:
    assert operation.pbx_id is not None
    return operation.pbx_id


def shuffled(world: World, seed: int) -> World:
    """The same world, read in another order."""
    chance = random.Random(seed)  # noqa: S311 - a shuffle

    def mixed[K, V](items: dict[K, V]) -> dict[K, V]:
        pairs = list(items.items())
        chance.shuffle(pairs)
        return dict(pairs)

    return msgspec.structs.replace(
        world, users=mixed(world.users), links=mixed(world.links), extensions=mixed(world.extensions)
    )


NAMES = (("", ""), ("Ann", ""), ("Ann", "Dee"), ("", "Eff"), ("Bo", "Eff"))
CALLED = (None, "Zoe", "Abe")
STATES = (
    *[(True, "Member", None)] * 6,
    (True, "Guest", None),
    (None, None, None),
    (False, "Member", None),
    (False, "Guest", None),
    (True, "Member", Removed()),
    (None, None, Removed(reason="deleted")),
)
MORE = ((None, None), ("+3161234", None), ("+31 6 1234", "Chef"), (None, "Chef"))
SYNCED_MORE = (("", ""), ("+3161234", ""), ("", "Chef"))


@st.composite
def users(draw: st.DrawFn, object_id: str) -> User:
    given, surname = draw(st.sampled_from(NAMES))
    enabled, user_type, removed = draw(st.sampled_from(STATES))
    mobile, title = draw(st.sampled_from(MORE))
    return User(
        id=object_id,
        user_principal_name=object_id + draw(st.sampled_from(["@x.example", "#EXT#@x.example"])),
        display_name=draw(st.sampled_from([*CALLED, object_id])),
        given_name=given,
        surname=surname,
        mail=draw(st.sampled_from([None, "not an address", *ADDRESSES])),
        mobile_phone=mobile,
        job_title=title,
        account_enabled=enabled,
        user_type=user_type,
        business_phones=draw(st.sampled_from([None, [], *([value] for value in PROPERTY_VALUES)])),
        removed=removed,
    )


@st.composite
def synced_fields(draw: st.DrawFn, email: str) -> dict[str, str]:
    first, last = draw(st.sampled_from(NAMES))
    mobile, title = draw(st.sampled_from(SYNCED_MORE))
    return {"first_name": first, "last_name": last, "email_addr": email, "mobile_number": mobile, "title": title}


@st.composite
def contents(draw: st.DrawFn) -> dict[int, Extension]:
    """The extensions of a PBX: numbers and addresses are unique, as the PBX sees to."""
    numbers = draw(st.lists(st.sampled_from(NUMBERS), unique=True, max_size=5))
    addresses = draw(st.lists(st.sampled_from(ADDRESSES), unique_by=str.casefold, min_size=0, max_size=len(numbers)))
    padded = [*addresses, *[""] * (len(numbers) - len(addresses))]
    made = {}
    for pbx_id, (number, email) in enumerate(zip(numbers, draw(st.permutations(padded)), strict=True), start=1):
        made[pbx_id] = Extension(pbx_id, number, email, draw(synced_fields(email)))
    return made


@st.composite
def links(draw: st.DrawFn, extensions: dict[int, Extension]) -> dict[str, Linked]:
    """Links that mostly mean an extension; some are of extensions that are gone, or whose id is a stranger's now."""
    owners = draw(st.lists(st.sampled_from([*IDS, "gone-1", "gone-2"]), unique=True, max_size=6))
    pbx_ids = draw(st.permutations([*extensions, 101, 102, 103]))
    spare = draw(st.permutations([number for number in NUMBERS if not _has(extensions, number)]))
    made = {}
    for owner, pbx_id in zip(owners, pbx_ids, strict=False):
        extension = extensions.get(pbx_id)
        is_exact = extension is not None and draw(st.integers(0, 5)) > 0
        if extension is not None and is_exact:
            number, written = extension.number, draw(st.sampled_from([dict(extension.fields or {}), {}]))
        elif spare:
            number, written = spare.pop(), draw(synced_fields(draw(st.sampled_from(["", *ADDRESSES]))))
        else:
            continue
        made[owner] = Linked(
            object_id=owner,
            pbx_id=pbx_id,
            number=number,
            name=f"Name of {owner}",
            written=written,
            released=draw(st.integers(0, 3)) == 0,
        )
    return made


def _has(extensions: dict[int, Extension], number: str) -> bool:
    return any(extension.number == number for extension in extensions.values())


@st.composite
def rules(draw: st.DrawFn, grace_days: tuple[int, ...] = (0,)) -> Users:
    kind: Literal["all", "types", "groups"] = draw(st.sampled_from(("all", "all", "types", "groups")))
    by_property = draw(st.booleans())
    return Users(
        enabled=True,
        scope=UserScope(kind=kind, user_types=draw(st.sampled_from([["Member"], ["Guest"], ["Member", "Guest"]]))),
        number=Numbering(
            kind="property" if by_property else "sequential",
            start=draw(st.sampled_from([1, 999, 1000, 9_999_998])),
            property="businessPhones" if by_property else None,
        ),
        delete_when=draw(st.sampled_from([[], ["disabled"], ["deleted"], ["disabled", "deleted"]])),
        delete_out_of_scope=draw(st.booleans()),
        delete_grace_days=draw(st.sampled_from(grace_days)),
        associate_by_email=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn, grace_days: tuple[int, ...] = (0,)) -> World:
    present = draw(st.lists(st.sampled_from(IDS), unique=True))
    extensions = draw(contents())
    chosen = draw(rules(grace_days))
    return World(
        users={name: draw(users(name)) for name in present},
        links=draw(links(extensions)),
        extensions=extensions,
        capacity=draw(st.sampled_from([None, len(extensions), len(extensions) + 1, len(extensions) + 20])),
        rules=chosen,
        members=draw(st.frozensets(st.sampled_from(IDS))) if chosen.scope.kind == "groups" else None,
    )
