"""What people do: in Entra, in the rules, and on the PBX by hand. Each change draws what it does and says it."""

import uuid
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from local.microsoft.directory import Directory, Entity
from local.pbx.directory import Clash, Extension
from local.sample import Group, Tenant, User, group_id, user_id
from tests.engine.world import World

FIRST = ("Ada", "Bo", "Chris", "Dana", "Emre", "Fleur", "Gijs", "Hana")
LAST = ("Berg", "Cohen", "Dekker", "Evers", "Fischer")
TITLES = (None, "", "Nurse", "Head of IT", "Fitter")
PHONES = (None, "", "+31 6 00000001", "+31600000002", "0600000003")
IDS = (None, "", "2041", "ext. 2042", "20 43", "12345678", "none", "1001", "007")
GROUPS = (group_id(1), group_id(2))

type Change = Callable[[World, Random], str]


def first_tenant(chance: Random) -> Tenant:
    """A handful of people in two groups, of which one is in the other."""
    people = [_user(user_id(number), chance) for number in range(1, chance.randint(6, 13))]
    groups = tuple(
        Group(id=one, display_name=f"Group {one[-1]}", mail_enabled=False, security_enabled=True) for one in GROUPS
    )
    ids = [one.id for one in people]
    members = {GROUPS[0]: (*chance.sample(ids, len(ids) // 2), GROUPS[1]), GROUPS[1]: tuple(chance.sample(ids, 3))}
    return Tenant(users=tuple(people), groups=groups, members=members)


def first_extensions(chance: Random) -> list[dict[str, object]]:
    """What the PBX had before the bridge came."""
    rows: list[dict[str, object]] = [{"number": "1001", "first_name": "Reception"}, {"number": "2041"}]
    if chance.random() < 0.7:
        rows.append({"number": "1003", "first_name": "By hand", "email_addr": _mail(chance) or "", "title": "Old"})
    return rows


def _user(object_id: str, chance: Random) -> User:
    return msgspec.convert({"id": object_id, **_properties(object_id, chance)}, User)


def _properties(object_id: str, chance: Random) -> dict[str, Any]:
    first, last = chance.choice(FIRST), chance.choice(LAST)
    is_guest = chance.random() < 0.15
    return {
        "displayName": f"{first} {last}",
        "givenName": first,
        "surname": last,
        "userPrincipalName": f"{object_id}{'#EXT#' if is_guest else ''}@contoso.example",
        "mail": _mail(chance),
        "accountEnabled": chance.random() < 0.92,
        "userType": chance.choice(["Guest", None]) if is_guest else "Member",
        "jobTitle": chance.choice(TITLES),
        "mobilePhone": chance.choice(PHONES),
        "employeeId": chance.choice(IDS),
    }


def _mail(chance: Random) -> str | None:
    """From a small stock, so that people come to want the same one."""
    draw = chance.random()
    if draw < 0.2:
        return None
    address = f"{chance.choice(FIRST)}.{chance.choice(LAST)}@contoso.example"
    if draw < 0.3:
        return address.replace("@", "+work@")
    return address if draw < 0.5 else address.lower()


# In Entra


def _one(world: World, chance: Random) -> Entity | None:
    people = [entity for _, entity in world.microsoft.directory.live("user")]
    return chance.choice(people) if people else None


def _name(entity: Entity) -> str:
    return f"{entity.properties['displayName']} ({entity.id[:8]})"


def hire(world: World, chance: Random) -> str:
    object_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    directory = world.microsoft.directory
    entity = directory.create("user", {"id": object_id, **_properties(object_id, chance)})
    if chance.random() < 0.5:
        _join(directory, entity, chance)
    return f"hires {_name(entity)} {entity.properties['mail']}"


def edit(world: World, chance: Random) -> str:
    entity = _one(world, chance)
    if entity is None:
        return "edits nobody"
    fresh = _properties(entity.id, chance)
    names = chance.sample(["displayName", "givenName", "surname", "mail", "jobTitle", "mobilePhone", "employeeId"], 2)
    changed = {name: fresh[name] for name in names}
    before = _name(entity)
    world.microsoft.directory.update(entity, changed)
    return f"edits {before}: {changed}"


def swap_mail(world: World, chance: Random) -> str:
    people = [entity for _, entity in world.microsoft.directory.live("user")]
    if len(people) < 2:
        return "swaps nothing"
    one, other = chance.sample(people, 2)
    mails = one.properties["mail"], other.properties["mail"]
    world.microsoft.directory.update(one, {"mail": mails[1]})
    world.microsoft.directory.update(other, {"mail": mails[0]})
    return f"swaps the addresses {mails} of {_name(one)} and {_name(other)}"


def switch(world: World, chance: Random) -> str:
    entity = _one(world, chance)
    if entity is None:
        return "switches nobody"
    world.microsoft.directory.update(entity, {"accountEnabled": not entity.properties["accountEnabled"]})
    return f"{'enables' if entity.properties['accountEnabled'] else 'disables'} {_name(entity)}"


def retype(world: World, chance: Random) -> str:
    entity = _one(world, chance)
    if entity is None:
        return "retypes nobody"
    world.microsoft.directory.update(entity, {"userType": chance.choice(["Member", "Guest", None])})
    return f"makes {_name(entity)} a {entity.properties['userType']}"


def fire(world: World, chance: Random) -> str:
    entity = _one(world, chance)
    if entity is None:
        return "fires nobody"
    world.microsoft.directory.delete(entity)
    return f"deletes {_name(entity)}"


def fire_many(world: World, chance: Random) -> str:
    people = [entity for _, entity in world.microsoft.directory.live("user")]
    gone = people if chance.random() < 0.3 else chance.sample(people, len(people) // 2)
    for entity in gone:
        world.microsoft.directory.delete(entity)
    return f"deletes {[_name(entity) for entity in gone]}"


def rehire(world: World, chance: Random) -> str:
    directory = world.microsoft.directory
    gone = [directory.entities[one] for one in directory.deleted]
    if not gone:
        return "restores nobody"
    back = gone if chance.random() < 0.3 else [chance.choice(gone)]
    for entity in back:
        directory.restore(entity)
    return f"restores {[_name(entity) for entity in back]}"


def purge(world: World, chance: Random) -> str:
    directory = world.microsoft.directory
    gone = [directory.entities[one] for one in directory.deleted] or [entity for _, entity in directory.live("user")]
    if not gone:
        return "purges nobody"
    entity = chance.choice(gone)
    directory.purge(entity)
    return f"purges {_name(entity)}"


def regroup(world: World, chance: Random) -> str:
    entity = _one(world, chance)
    return "regroups nobody" if entity is None else _join(world.microsoft.directory, entity, chance)


def _join(directory: Directory, entity: Entity, chance: Random) -> str:
    group = directory.find("group", chance.choice(GROUPS))
    if group is None:
        return "finds no group"
    is_in = entity.id in group.links.get("members", {})
    directory.link(group, "members", [] if is_in else [entity.id], [entity.id] if is_in else [])
    return f"{'removes' if is_in else 'adds'} {_name(entity)} {'from' if is_in else 'to'} {group.id[-1]}"


def drop_group(world: World, chance: Random) -> str:
    group = world.microsoft.directory.find("group", chance.choice(GROUPS))
    if group is None or chance.random() < 0.7:
        return "drops no group"
    world.microsoft.directory.purge(group)
    return f"drops the group {group.id[-1]}"


TENANT: list[Change] = [
    hire, hire, edit, edit, edit, swap_mail, switch, switch, retype, fire, fire_many, rehire, purge, regroup,
    drop_group,
]  # fmt: skip


# The rules


def rules(chance: Random) -> dict[str, Any]:
    """The first rules of a connection."""
    return {**_scope(chance), **_number(chance), **_leaving(chance), "associate_by_email": chance.random() < 0.5}


def guard(chance: Random) -> dict[str, Any]:
    return chance.choice(
        [
            {"max_deletions": 20, "max_deletion_percent": 20},
            {"max_deletions": 20, "max_deletion_percent": 100},
            {"max_deletions": 1, "max_deletion_percent": 50},
            {"max_deletions": 0, "max_deletion_percent": 0},
        ]
    )


def _scope(chance: Random) -> dict[str, Any]:
    kind = chance.choice(["all", "all", "types", "groups"])
    scope: dict[str, Any] = {"kind": kind}
    if kind == "types":
        scope["user_types"] = chance.choice([["Member"], ["Guest"], ["Member", "Guest"]])
    if kind == "groups":
        scope["group_ids"] = chance.sample(GROUPS, chance.randint(1, 2))
    return {"scope": scope}


def _number(chance: Random) -> dict[str, Any]:
    if chance.random() < 0.3:
        return {"number": {"kind": "property", "property": "employeeId", "start": 1000}}
    return {"number": {"kind": "sequential", "start": chance.choice([1000, 1000, 2040])}}


def _leaving(chance: Random) -> dict[str, Any]:
    when = chance.choice([["disabled", "deleted"], ["disabled", "deleted"], ["deleted"], ["disabled"], []])
    return {"delete_when": when, "delete_out_of_scope": chance.random() < 0.5}


def new_rules(chance: Random) -> dict[str, Any]:
    """What an administrator changes of the rules in one save."""
    draws: list[Callable[[Random], dict[str, Any]]] = [_scope, _number, _leaving, _association]
    return chance.choice(draws)(chance)


def _association(chance: Random) -> dict[str, Any]:
    return {"associate_by_email": chance.random() < 0.5}


# On the PBX by hand


def _pick(world: World, chance: Random) -> Extension | None:
    extensions = list(world.pbx.machine.directory)
    return chance.choice(extensions) if extensions else None


def make_extension(world: World, chance: Random) -> str:
    extension = Extension(
        number=str(chance.choice([1000, 2040]) + chance.randint(0, 12)),
        first_name="By hand",
        email_addr=(_mail(chance) or "").replace("+", "."),
    )
    try:
        world.pbx.machine.directory.add(extension)
    except Clash:
        return "makes no extension"
    return f"makes extension {extension.number} {extension.email_addr}"


def edit_extension(world: World, chance: Random) -> str:
    extension = _pick(world, chance)
    if extension is None:
        return "edits no extension"
    changed = chance.choice(
        [
            {"title": "By hand"},
            {"first_name": "Changed", "last_name": ""},
            {"mobile_number": "0699999999"},
            {"email_addr": (_mail(chance) or "").replace("+", ".")},
        ]
    )
    try:
        world.pbx.machine.directory.replace(msgspec.structs.replace(extension, **changed))
    except Clash:
        return "edits no extension"
    return f"edits extension {extension.number}: {changed}"


def remove_extension(world: World, chance: Random) -> str:
    extension = _pick(world, chance)
    if extension is None:
        return "removes no extension"
    world.pbx.machine.directory.remove(extension.id)
    return f"removes extension {extension.number}"


def licence(world: World, chance: Random) -> str:
    room = chance.choice([0, 1, 3, 400])
    world.licence(len(world.pbx.machine.directory) + room)
    return f"leaves room for {room} extensions"


BY_HAND: list[Change] = [make_extension, edit_extension, edit_extension, remove_extension, licence]
