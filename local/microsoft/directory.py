"""The objects of the tenant, their links, and the log of changes that delta queries read.

An object's ``properties`` holds only what was ever set: a cleared property stays as ``None``, because delta queries
tell the two apart.
"""

import datetime
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from local.microsoft import properties as schema

RETENTION = datetime.timedelta(days=30)
"""How long a deleted object can be restored ("directory: List deletedItems")."""

RELATIONS = ("members", "owners")


class Action(StrEnum):
    CREATED = "created"
    """Also a restored object: delta shows it as a new one."""
    UPDATED = "updated"
    DELETED = "deleted"
    PURGED = "purged"
    LINKED = "linked"


class Entity(msgspec.Struct):
    """A directory object. ``links`` holds per relation the linked ids with the link's serial number."""

    id: str
    kind: str
    properties: dict[str, Any]
    deleted: datetime.datetime | None = None
    links: dict[str, dict[str, int]] = {}
    manager: str | None = None


class Change(msgspec.Struct, frozen=True):
    """One line of the log.

    ``before`` maps each changed property to ``[old value]``, or to ``[]`` when it had never been set; ``links`` names
    touched (relation, id) pairs; ``poll`` is the number of delta polls that had been answered when it happened.
    """

    id: str
    action: Action
    poll: int
    before: dict[str, list[Any]] = {}
    links: tuple[tuple[str, str], ...] = ()


class Directory:
    """The object store. Ids and user principal names are unique; every change is logged per kind of object."""

    def __init__(self, now: Callable[[], datetime.datetime]) -> None:
        self.now = now
        self.entities: dict[str, Entity] = {}
        self.order: dict[str, list[str]] = {kind: [] for kind in schema.SCHEMA}
        """Ids in order of creation; the ids of purged objects stay, so positions never shift."""
        self.log: dict[str, list[Change]] = {"user": [], "group": []}
        self.polls: dict[str, int] = {"user": 0, "group": 0}
        self.deleted: dict[str, None] = {}
        """Restorable objects, longest deleted first."""
        self.link_serial = 0
        self._names: dict[str, str] = {}
        self._linked_from: dict[str, set[str]] = {}
        self._spent: dict[str, str] = {}
        """The ids of purged objects with their kind."""
        self.on_change: Callable[[Entity, Change], None] | None = None
        """Told of each logged change once it is made."""
        self.delete_groups_softly = False
        """Whether security and distribution groups can be restored, as Microsoft 365 groups always can."""

    # Reading

    def find(self, kind: str, identifier: str) -> Entity | None:
        """The live object with this id (users also: user principal name, letter case ignored)."""
        identifier = identifier.lower()
        entity = self.entities.get(identifier)
        if entity is None and kind == "user":
            entity = self.entities.get(self._names.get(identifier, ""))
        if entity is None or entity.kind != kind or entity.deleted is not None:
            return None
        return entity

    def live(self, kind: str, start: int = 0) -> Iterator[tuple[int, Entity]]:
        """Live objects with their position, from position ``start`` on."""
        order = self.order[kind]
        for position in range(start, len(order)):
            entity = self.entities.get(order[position])
            if entity is not None and entity.deleted is None:
                yield position, entity

    def kind_of(self, identifier: str) -> str:
        """The kind of an object that exists or was purged. ``KeyError`` for an id that never was."""
        entity = self.entities.get(identifier)
        return entity.kind if entity is not None else self._spent[identifier]

    def count(self, kind: str) -> int:
        return sum(1 for _ in self.live(kind))

    def members(self, group: Entity, relation: str = "members") -> list[Entity]:
        """Directly linked live objects, in the order they were linked."""
        linked = (self.entities.get(identifier) for identifier in group.links.get(relation, {}))
        return [entity for entity in linked if entity is not None and entity.deleted is None]

    def transitive_members(self, group: Entity) -> list[Entity]:
        """Members through any depth of nesting, each once, the group itself never; circles end."""
        found: dict[str, Entity] = {group.id: group}
        waiting = [group]
        while waiting:
            for entity in self.members(waiting.pop(0)):
                if entity.id in found:
                    continue
                found[entity.id] = entity
                if entity.kind == "group":
                    waiting.append(entity)
        del found[group.id]
        return list(found.values())

    def visible_log_length(self, kind: str, polls_late: int) -> int:
        """How much of the log a poll may see when changes show only ``polls_late`` polls later."""
        latest = self.polls[kind] - polls_late
        return bisect_right(self.log[kind], latest, key=lambda change: change.poll)

    # Changing

    def add(self, entity: Entity) -> Entity:
        """Put an object in place without logging it: content at start."""
        schema.check(entity.kind, entity.properties)
        if entity.id in self.entities or entity.id in self._spent:
            raise ValueError(f"the id {entity.id} is taken")
        if entity.deleted is None:
            self._claim_name(entity)
        self.entities[entity.id] = entity
        self.order[entity.kind].append(entity.id)
        if entity.deleted is not None:
            self.deleted[entity.id] = None
        for relation in entity.links:
            for linked in entity.links[relation]:
                self._linked_from.setdefault(linked, set()).add(entity.id)
        return entity

    def join(self, group: Entity, relation: str, linked: Iterable[str]) -> None:
        """Link without logging: content at start."""
        into = group.links.setdefault(relation, {})
        for identifier in linked:
            if identifier not in self.entities:
                raise ValueError(f"{group.id} links to the unknown {identifier}")
            self.link_serial += 1
            into[identifier] = self.link_serial
            self._linked_from.setdefault(identifier, set()).add(group.id)

    def adopt(
        self,
        order: dict[str, list[str]],
        log: dict[str, list[Change]],
        polls: dict[str, int],
        deleted: list[str],
        link_serial: int,
    ) -> None:
        """Take over the history of saved content whose objects were added already."""
        self.order, self.log, self.polls, self.link_serial = order, log, polls, link_serial
        self.deleted = dict.fromkeys(deleted)
        placed = ((identifier, kind) for kind in order for identifier in order[kind])
        self._spent = {identifier: kind for identifier, kind in placed if identifier not in self.entities}

    def create(self, kind: str, properties: dict[str, Any], manager: str | None = None) -> Entity:
        """Create an object; ``id``, ``createdDateTime`` and the usual values of a new object are filled in."""
        identifier = str(properties.get("id") or uuid.uuid4()).lower()
        if not _is_guid(identifier):
            raise ValueError(f"id has to be a GUID, not {identifier!r}")
        if manager is not None:
            self._living_user(manager)
        created = {"createdDateTime": instant(self.now())}
        filled = {**_defaults(kind), **created, **properties, "id": identifier}
        for required in _REQUIRED[kind]:
            if not filled.get(required):
                raise ValueError(f"a {kind} needs {required}")
        entity = self.add(Entity(id=identifier, kind=kind, properties=filled, manager=manager))
        self._record(entity, Action.CREATED)
        return entity

    def update(self, entity: Entity, properties: dict[str, Any]) -> Entity:
        """Change properties; values that stay equal are no change and are not logged."""
        schema.check(entity.kind, properties)
        if fixed := {"id", "createdDateTime", "deletedDateTime"} & set(properties):
            raise ValueError(f"{sorted(fixed)[0]} cannot be changed")
        self._require_live(entity)
        for required in _REQUIRED[entity.kind]:
            if required in properties and not properties[required]:
                raise ValueError(f"{required} cannot be cleared")
        before = {
            name: [entity.properties[name]] if name in entity.properties else []
            for name, value in properties.items()
            if entity.properties.get(name, msgspec.UNSET) != value
        }
        if "userPrincipalName" in before:
            self._rename(entity, properties["userPrincipalName"])
        entity.properties.update(properties)
        if before:
            self._record(entity, Action.UPDATED, before)
        return entity

    def set_manager(self, entity: Entity, manager: str | None) -> None:
        self._require_live(entity)
        if manager is not None:
            manager = self._living_user(manager).id
        if manager != entity.manager:
            before = {"manager": [entity.manager] if entity.manager else []}
            entity.manager = manager
            self._record(entity, Action.UPDATED, before)

    def delete(self, entity: Entity) -> None:
        """Delete restorably; a group that is not a Microsoft 365 group goes for good."""
        self._require_live(entity)
        unified = "Unified" in entity.properties.get("groupTypes", [])
        if entity.kind == "group" and not unified and not self.delete_groups_softly:
            self.purge(entity)
            return
        entity.deleted = self.now().replace(microsecond=0)
        self.deleted[entity.id] = None
        self._release_name(entity)
        self._record(entity, Action.DELETED)

    def restore(self, entity: Entity) -> Entity:
        """Bring a deleted object back; ``ValueError`` when its user principal name was taken meanwhile."""
        if entity.deleted is None:
            raise ValueError(f"{entity.id} is not deleted")
        self._claim_name(entity)
        entity.deleted = None
        del self.deleted[entity.id]
        self._record(entity, Action.CREATED)
        return entity

    def purge(self, entity: Entity) -> None:
        """Remove for good, with every link to it."""
        if entity.deleted is None:
            self._release_name(entity)
        for holder_id in sorted(self._linked_from.pop(entity.id, ())):
            self._unlink(self.entities[holder_id], entity.id)
        for relation in entity.links:
            for linked in entity.links[relation]:
                if linked in self._linked_from:
                    self._linked_from[linked].discard(entity.id)
        self.deleted.pop(entity.id, None)
        del self.entities[entity.id]
        self._spent[entity.id] = entity.kind
        self._record(entity, Action.PURGED)

    def sweep(self) -> None:
        """Purge what was deleted 30 days ago; costs nothing when there is nothing to purge."""
        limit = self.now() - RETENTION
        while self.deleted:
            entity = self.entities[next(iter(self.deleted))]
            if entity.deleted is None or entity.deleted > limit:
                return
            self.purge(entity)

    def link(self, group: Entity, relation: str, add: list[str], remove: list[str]) -> None:
        """Add and remove members or owners; all ids are checked before anything changes."""
        self._require_live(group)
        for identifier in add:
            other = self.entities.get(identifier)
            if other is None or other.deleted is not None:
                raise ValueError(f"there is no object {identifier!r} to add")
            if identifier == group.id:
                raise ValueError("a group cannot be a member of itself")
        linked = group.links.setdefault(relation, {})
        if absent := [identifier for identifier in remove if identifier not in linked]:
            raise ValueError(f"{absent[0]!r} is not among the {relation}")
        if both := set(add) & set(remove):
            raise ValueError(f"{sorted(both)[0]!r} is both added and removed")
        for identifier in remove:
            self._forget_link(group, relation, identifier)
        added = [identifier for identifier in dict.fromkeys(add) if identifier not in linked]
        for identifier in added:
            self.link_serial += 1
            linked[identifier] = self.link_serial
            self._linked_from.setdefault(identifier, set()).add(group.id)
        if touched := tuple((relation, identifier) for identifier in [*remove, *added]):
            self._record(group, Action.LINKED, links=touched)

    # Inside

    def _unlink(self, group: Entity, identifier: str) -> None:
        touched = tuple((relation, identifier) for relation in group.links if identifier in group.links[relation])
        for relation, _ in touched:
            del group.links[relation][identifier]
        self._record(group, Action.LINKED, links=touched)

    def _forget_link(self, group: Entity, relation: str, identifier: str) -> None:
        del group.links[relation][identifier]
        if not any(identifier in linked for linked in group.links.values()):
            self._linked_from[identifier].discard(group.id)

    def _record(
        self,
        entity: Entity,
        action: Action,
        before: dict[str, list[Any]] | None = None,
        links: tuple[tuple[str, str], ...] = (),
    ) -> None:
        if entity.kind not in self.log:
            return
        change = Change(entity.id, action, self.polls[entity.kind], before or {}, links)
        self.log[entity.kind].append(change)
        if self.on_change is not None:
            self.on_change(entity, change)

    def _require_live(self, entity: Entity) -> None:
        if entity.deleted is not None:
            raise ValueError(f"{entity.id} is deleted")

    def _living_user(self, identifier: str) -> Entity:
        user = self.find("user", identifier)
        if user is None:
            raise ValueError(f"there is no user {identifier!r}")
        return user

    def _claim_name(self, entity: Entity) -> None:
        name = str(entity.properties.get("userPrincipalName") or "").lower()
        if not name:
            return
        if self._names.get(name, entity.id) != entity.id:
            raise ValueError(f"the userPrincipalName {name} is taken")
        self._names[name] = entity.id

    def _release_name(self, entity: Entity) -> None:
        self._names.pop(str(entity.properties.get("userPrincipalName") or "").lower(), None)

    def _rename(self, entity: Entity, name: str) -> None:
        if self._names.get(name.lower(), entity.id) != entity.id:
            raise ValueError(f"the userPrincipalName {name} is taken")
        self._release_name(entity)
        self._names[name.lower()] = entity.id


_REQUIRED = {
    "user": ("displayName", "userPrincipalName"),
    "group": ("displayName",),
    "device": ("displayName",),
    "orgContact": ("displayName",),
    "servicePrincipal": ("displayName",),
}


def _defaults(kind: str) -> dict[str, Any]:
    if kind == "user":
        return {"accountEnabled": True, "userType": "Member"}
    if kind == "group":
        return {"groupTypes": [], "mailEnabled": False, "securityEnabled": True}
    return {}


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def instant(moment: datetime.datetime) -> str:
    """A moment as Graph writes it: ``2026-03-02T09:15:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_instant(moment: datetime.datetime) -> str:
    """A moment with its fraction of a second, as far as it has one: ``2026-03-02T09:15:03.1Z``."""
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
