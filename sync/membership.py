"""Who is in which group of the tenant: applies ``groups/delta`` to what is known, and looks into nested groups. Pure.

Delta tells direct members only, and only what changed, so both halves are ours to do
(https://learn.microsoft.com/graph/delta-query-groups).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from graph.models import Group, Member
from store.groups import DirectoryGroup, GroupKind

USER = "#microsoft.graph.user"
GROUP = "#microsoft.graph.group"


class Merged(msgspec.Struct, frozen=True):
    """What is known after a round."""

    groups: dict[str, DirectoryGroup]
    """All groups of the tenant."""
    changed: frozenset[str]
    """Groups that are not as they were known before, new ones included: what has to be stored."""
    removed: frozenset[str]
    """Groups that Entra does not have any more, known before or not."""
    named: frozenset[str]
    """Groups that the round had entries about and that exist: what has to be looked at. More than ``changed`` when a
    round is read again."""


def merge(known: Mapping[str, DirectoryGroup], entries: Iterable[Group], complete: bool) -> Merged:
    """Apply a round of delta to the groups ``known`` before; of those that the round does not name, the users do not
    matter. A ``complete`` round is an initial one: what it does not return is gone, and nothing known before counts.

    Of the entries of one group the last one wins, property by property and member by member, so that a round may be
    read twice, and cut into slices anywhere. A property that is ``None`` was left out: never set, or not changed.
    """
    drafts: dict[str, _Draft] = {}
    for entry in entries:
        if entry.id not in drafts:
            before = None if complete else known.get(entry.id)
            drafts[entry.id] = _Draft(before or DirectoryGroup(id=entry.id))
        drafts[entry.id].apply(entry)
    named = {group_id: draft.group() for group_id, draft in drafts.items() if not draft.is_removed}
    removed = {group_id for group_id, draft in drafts.items() if draft.is_removed}
    if complete:
        removed |= known.keys() - named.keys()
    groups = {group_id: group for group_id, group in known.items() if group_id not in removed} | named
    return Merged(
        groups,
        changed=frozenset(group_id for group_id, group in named.items() if known.get(group_id) != group),
        removed=frozenset(removed),
        named=frozenset(named),
    )


class _Draft:
    """A group while the entries about it are applied."""

    def __init__(self, before: DirectoryGroup) -> None:
        self._id = before.id
        self._name = before.name
        self._is_unified = before.kind == "microsoft365"
        self._is_security = before.kind == "security"
        self._users = set(before.users)
        self._groups = set(before.groups)
        self.is_removed = False

    def apply(self, entry: Group) -> None:
        self.is_removed = entry.removed is not None
        if entry.display_name is not None:
            self._name = entry.display_name
        if entry.group_types is not None:
            self._is_unified = "Unified" in entry.group_types
        if entry.security_enabled is not None:
            self._is_security = entry.security_enabled
        for member in entry.members:
            self._link(member)

    def _link(self, member: Member) -> None:
        """Devices, contacts and service principals may be members as well; they have no extension."""
        kind = (member.odata_type or USER).casefold()
        if member.removed is not None:
            self._users.discard(member.id)
            self._groups.discard(member.id)
        elif kind == USER:
            self._users.add(member.id)
        elif kind == GROUP:
            self._groups.add(member.id)

    def group(self) -> DirectoryGroup:
        return DirectoryGroup(
            id=self._id,
            name=self._name,
            kind=self._kind(),
            users=frozenset(self._users),
            groups=frozenset(self._groups),
        )

    def _kind(self) -> GroupKind:
        if self._is_unified:
            return "microsoft365"
        return "security" if self._is_security else "other"


class Tree:
    """The groups of a tenant as they are nested. Groups may contain each other in a circle, and name groups that are
    not there; both is harmless."""

    def __init__(self, groups: Mapping[str, DirectoryGroup]) -> None:
        self._groups = groups
        self._closed: dict[str, frozenset[str]] = {}
        """The users of the groups asked for so far and of all groups within them."""
        self._parents: dict[str, list[str]] = {}
        for group in groups.values():
            for nested in group.groups:
                self._parents.setdefault(nested, []).append(group.id)

    def users(self, group_id: str) -> frozenset[str]:
        """All users in a group and in the groups nested in it; nobody in a group that is not there."""
        if group_id in self._groups and group_id not in self._closed:
            self._close(_reach([group_id], self._nested, besides=self._closed))
        return self._closed.get(group_id, frozenset())

    def within(self, ids: Iterable[str]) -> frozenset[str]:
        """These groups and all that are nested in them, as far as they are there."""
        return frozenset(_reach(ids, self._nested)).intersection(self._groups)

    def ancestors(self, ids: Iterable[str]) -> frozenset[str]:
        """All groups that contain one of these, and these themselves as far as they are there. The ids of groups that
        are gone may be among them: their parents are found all the same."""
        return frozenset(_reach(ids, self._containing)).intersection(self._groups)

    def _nested(self, group_id: str) -> Collection[str]:
        group = self._groups.get(group_id)
        return group.groups if group is not None else ()

    def _containing(self, group_id: str) -> Collection[str]:
        return self._parents.get(group_id, ())

    def _close(self, open_ids: Collection[str]) -> None:
        """Kosaraju's algorithm: groups that contain each other have the same users, and each such circle is met after
        everything nested in it, so that no group is gone through twice."""
        for root in reversed(_finished(open_ids, lambda group_id: self._open_parents(group_id, open_ids))):
            if root not in self._closed:
                circle = _reach([root], self._nested, besides=self._closed)
                inner = {nested for member in circle for nested in self._nested(member)} & self._closed.keys()
                direct = [self._groups[member].users for member in circle if member in self._groups]
                users = _union([*direct, *(self._closed[nested] for nested in inner)])
                self._closed.update(dict.fromkeys(circle, users))

    def _open_parents(self, group_id: str, open_ids: Collection[str]) -> list[str]:
        return [parent for parent in self._containing(group_id) if parent in open_ids]


def _reach(
    start: Iterable[str], step: Callable[[str], Iterable[str]], besides: Collection[str] = frozenset()
) -> set[str]:
    """Everything that can be reached from ``start``, itself included, without going through ``besides``."""
    todo = [group_id for group_id in start if group_id not in besides]
    seen = set(todo)
    while todo:
        fresh = [found for found in step(todo.pop()) if found not in seen and found not in besides]
        seen.update(fresh)
        todo += fresh
    return seen


def _finished(nodes: Iterable[str], step: Callable[[str], Iterable[str]]) -> list[str]:
    """The nodes in the order in which a search in depth is done with them: each after all that it leads to, except in
    circles."""
    order: list[str] = []
    seen: set[str] = set()
    for root in nodes:
        if root in seen:
            continue
        seen.add(root)
        path = [(root, iter(step(root)))]
        while path:
            node, rest = path[-1]
            found = next((found for found in rest if found not in seen), None)
            if found is None:
                order.append(node)
                path.pop()
            else:
                seen.add(found)
                path.append((found, iter(step(found))))
    return order


def _union(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    """All of them in one; the largest itself where it holds the others, since copies of large groups take memory."""
    largest = max(sets, key=len, default=frozenset())
    return largest if all(other <= largest for other in sets) else largest.union(*sets)
