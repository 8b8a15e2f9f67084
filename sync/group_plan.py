"""Plans groups: which become, stay or cease to be an extension group. Pure: data in, plan out, no I/O, clock or
randomness.

The order of the input never matters: groups are taken by name and then by object id. Names are compared without regard
to case, and no two extension groups ever have the same one while a plan is carried out in its order.
"""

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from store.document import Groups
from store.groups import DirectoryGroup
from sync.fields import NAME_LENGTH, clean, cut
from sync.plan import Kind, Linked, Operation, Plan

LIMIT = 63
"""Extension groups of a PBX, on every model; those made by hand and the built-in one count as well."""
BUILT_IN = "Default_All_Extensions"
"""The PBX's own group of all extensions."""
WHOLE = 20
"""Memberships of up to so many numbers are shown whole, before and after; of larger ones only what changes."""
LISTED = 100
"""Numbers that are shown at most; how many more there are is said."""


class PbxGroup(msgspec.Struct, frozen=True):
    """What the planner knows of an extension group."""

    pbx_id: int
    name: str
    everyone: bool = False
    """It holds every extension, now and later (``sel_all_ext``)."""
    members: frozenset[str] | None = None
    """The numbers of its extensions; ``None`` when they were not read, and then they are written again."""


class GroupsInput(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plan depends on."""

    groups: Mapping[str, DirectoryGroup]
    """The groups to look at, by object id: all of the tenant when ``complete``, else those that are affected."""
    complete: bool
    """The whole directory was read, so a link without a group means that the group is gone."""
    removed: frozenset[str] = frozenset()
    """Object ids of groups that Entra named as removed."""
    changed: frozenset[str] = frozenset()
    """Object ids of groups in which something changed since they were last written: their name or members in Entra, or
    which of their members have an extension. In a complete round the others are put right if they differ, and in an
    incremental one every group counts as changed."""
    members: Mapping[str, frozenset[str]]
    """By object id of a group all users in it, nested groups included; at least of the groups in the scope."""
    links: Mapping[str, Linked]
    """By object id; all links of groups."""
    extensions: Mapping[str, str]
    """By object id of a user the number of the linked extension, those included that the same run creates first."""
    rules: Groups
    inventory: Mapping[int, PbxGroup]
    """All extension groups of the PBX, by their id there."""
    limit: int = LIMIT
    held: frozenset[str] = frozenset()
    """Object ids whose removal waits for an administrator: planned, but nothing else may count on it."""


def plan_groups(data: GroupsInput) -> Plan:
    """The one plan that a preview shows and a run carries out."""
    return _Planner(data).plan()


def in_scope(group: DirectoryGroup, rules: Groups) -> bool:
    """Whether the rules make an extension group of this group. Groups nested in a chosen one only lend their users."""
    match rules.scope.kind:
        case "types":
            return group.kind in rules.scope.group_types
        case "groups":
            return group.id.lower() in {group_id.lower() for group_id in rules.scope.group_ids}
        case _:
            return True


class _Want(msgspec.Struct, frozen=True):
    """A group as the PBX should have it."""

    group: DirectoryGroup
    name: str
    """Cleaned, and cut to what fits; empty when nothing is left."""
    notes: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.group.id


class _Crew(msgspec.Struct, frozen=True):
    """The members that an extension group should have."""

    users: tuple[str, ...]
    """Object ids, in order."""
    numbers: frozenset[str]
    notes: tuple[str, ...]


class _Planner:
    """The state of one planning: the PBX as it will be after the operations so far.

    Operations come in an order in which no name and no place is ever held twice: first removals, then extension groups
    that stay (a name is given when its holder has let go of it), then what is new.
    """

    def __init__(self, data: GroupsInput) -> None:
        self._data = data
        self._rules = data.rules
        self._inventory = dict(sorted(data.inventory.items()))
        self._homes: dict[str, PbxGroup] = {}
        """The extension group of each linked group, by object id."""
        self._holders: dict[int, str] = {}
        """The same the other way round: whose extension group it is, by its id on the PBX."""
        self._strangers: dict[str, PbxGroup] = {}
        """By object id the extension group that has the id of a link, but is most likely another one."""
        self._names: dict[str, list[int | str]] = {}
        """Who has a name, casefolded: the id on the PBX, or the object id where the plan creates the group."""
        for group in self._inventory.values():
            self._names.setdefault(group.name.casefold(), []).append(group.pbx_id)
        self._removals: list[Operation] = []
        self._changes: list[Operation] = []
        self._creations: list[Operation] = []
        self._skips: list[Operation] = []
        self._unchanged = 0
        self._out_of_scope = 0

    def plan(self) -> Plan:
        self._find_homes()
        self._plan_gone()
        wanted = sorted(
            (self._want(group) for _, group in sorted(self._data.groups.items()) if self._is_wanted(group)),
            key=lambda want: (want.name.casefold(), want.id),
        )
        named = [want for want in wanted if self._has_name(want)]
        self._take_back(named)
        self._plan_kept([want for want in named if want.id in self._homes])
        self._plan_homeless([want for want in named if want.id not in self._homes])
        return Plan(
            operations=(*self._removals, *self._changes, *self._creations, *self._skips),
            unchanged=self._unchanged,
            out_of_scope=self._out_of_scope,
            read=len(self._data.groups),
        )

    # What each group should be

    def _want(self, group: DirectoryGroup) -> _Want:
        if group.id not in self._data.members:
            raise ValueError("a group cannot be planned without its members")
        notes: list[str] = []
        name = _pbx_name(group, notes)
        return _Want(group, name, tuple(notes))

    def _crew(self, want: _Want) -> _Crew:
        """The members with an extension. Asked for what is written only: a tenant has more groups than a PBX takes."""
        everybody = self._data.members[want.id]
        users = tuple(sorted(user for user in everybody if user in self._data.extensions))
        notes = want.notes
        if missing := len(everybody) - len(users):
            verb = "has" if missing == 1 else "have"
            notes = (*notes, f"{missing:,} of {len(everybody):,} members {verb} no extension.")
        return _Crew(users, frozenset(self._data.extensions[user] for user in users), notes)

    def _has_name(self, want: _Want) -> bool:
        if not want.name:
            home = self._homes.get(want.id)
            self._skip(want, "The group has no name.", pbx_id=None if home is None else home.pbx_id)
        return bool(want.name)

    # Who has which extension group

    def _find_homes(self) -> None:
        """Those that carry the right name come first: a doubtful claim never takes one of them away."""
        doubtful: list[tuple[Linked, PbxGroup]] = []
        for link in self._active_links():
            group = self._inventory.get(link.pbx_id)
            if group is None:
                continue
            if not self._is_looked_at(link) or self._is_named_as_ours(group, link):
                self._settle_in(link.object_id, group)
            else:
                doubtful.append((link, group))
        for link, group in doubtful:
            if group.pbx_id not in self._holders and self._is_renamed_by_hand(group, link):
                self._settle_in(link.object_id, group)
            else:
                self._strangers[link.object_id] = group

    def _take_back(self, wanted: list[_Want]) -> None:
        """Groups whose link was released find their extension group again, unless it was changed to another since."""
        for want in wanted:
            link = self._data.links.get(want.id)
            if link is None or not link.released:
                continue
            group = self._inventory.get(link.pbx_id)
            if group is not None and _is_takeable(group) and group.name.casefold() == _written(link).casefold():
                self._settle_in(want.id, group)

    def _settle_in(self, object_id: str, group: PbxGroup) -> None:
        if group.pbx_id not in self._holders:
            self._homes[object_id] = group
            self._holders[group.pbx_id] = object_id

    def _is_named_as_ours(self, group: PbxGroup, link: Linked) -> bool:
        """Whether it has the name that was written, or the one that would be now: a rename that was not recorded."""
        if _is_built_in(group):
            return False
        source = self._data.groups.get(link.object_id)
        new = "" if source is None else _pbx_name(source, [])
        return group.name.casefold() in {_written(link).casefold(), new.casefold()} - {""}

    def _is_renamed_by_hand(self, group: PbxGroup, link: Linked) -> bool:
        """Whether an extension group under another name is ours nevertheless. After a factory reset, or on another PBX,
        ids mean other groups, so it has to have some of our members, or none at all, and no other group our name."""
        namesakes = self._names.get(_written(link).casefold(), [])
        if _is_built_in(group) or group.everyone or group.members is None or namesakes:
            return False
        ours = {self._data.extensions.get(user) for user in self._data.members.get(link.object_id, ())}
        return not group.members or not group.members.isdisjoint(ours)

    # Removals

    def _plan_gone(self) -> None:
        """Groups that Entra no longer has: named as removed, or missing from a complete read."""
        for link in self._active_links():
            if self._is_gone(link):
                self._remove(link, link.name, "The group was deleted in Entra.")

    def _is_wanted(self, group: DirectoryGroup) -> bool:
        """Whether there should be an extension group. If not, what becomes of one that is linked is planned here."""
        if in_scope(group, self._rules):
            return True
        link = self._active_link(group.id)
        if link is None:
            self._out_of_scope += 1
        else:
            self._remove(link, _display_name(group), "The group is no longer in the scope.")
        return False

    def _remove(self, link: Linked, name: str, reason: str) -> None:
        home = self._homes.get(link.object_id)
        group = self._inventory.get(link.pbx_id)
        is_other = group is not None and not (group is home and self._is_surely_ours(group, link))
        delete = self._rules.delete_out_of_scope and not is_other
        if is_other and group is not None:
            reason = f"{reason} Its id on the PBX belongs to the extension group {group.name} now."
        elif not delete:
            reason = f"{reason} The extension group stays and is managed on the PBX from now on."
        self._removals.append(
            Operation(
                kind="delete" if delete else "release",
                object_id=link.object_id,
                name=name,
                pbx_id=link.pbx_id,
                reason=reason,
                before=_content(group, _written(link)) if delete else {},
            )
        )
        if home is None or link.object_id in self._data.held:
            return  # what is held stays whose it is, with its name and its place
        del self._homes[link.object_id], self._holders[home.pbx_id]
        if delete:
            del self._inventory[home.pbx_id]
            self._let_go(home)

    def _is_surely_ours(self, group: PbxGroup, link: Linked) -> bool:
        """Whether it may be deleted: an empty group under another name is ours only perhaps."""
        return self._is_named_as_ours(group, link) or bool(group.members)

    # Groups with an extension group

    def _plan_kept(self, wanted: list[_Want]) -> None:
        """Update what is linked. A name that moves between two groups is freed before it is given.

        Groups that wait for each other's name in a circle keep the one they have: no order of writes could swap them.
        """
        waiting: dict[str, list[_Want]] = {}
        queue = deque(wanted)
        while queue:
            want = queue.popleft()
            if self._others_named(want.name, self._homes[want.id].pbx_id):
                waiting.setdefault(want.name.casefold(), []).append(want)
                continue
            freed = self._plan_keep(want)
            queue.extend(waiting.pop(freed, ()))
        for want in (want for wants in waiting.values() for want in wants):
            self._plan_keep(want)

    def _plan_keep(self, want: _Want) -> str:
        """Plan one group that has an extension group; returns the name that becomes free by it, casefolded."""
        group, link = self._homes[want.id], self._data.links[want.id]
        if link.released:
            self._overwrite("associate", want, group, "The group is back; its extension group is linked again.")
        else:
            self._update(want, group, link)
        return self._rename(group, self._name_for(want, group))

    def _update(self, want: _Want, group: PbxGroup, link: Linked) -> None:
        name, numbers = self._name_for(want, group), self._crew(want).numbers
        is_same = name == group.name and not group.everyone and group.members == numbers
        if not is_same:
            self._overwrite("update", want, group, self._cause(want, group, link))
        elif _written(link) != name:
            # Written by a run that could not record it, or by hand: what the link remembers has to follow.
            self._overwrite("update", want, group, "The PBX has these values already; noted.")
        elif name != want.name:
            self._skip(want, self._blocked(want, group), pbx_id=group.pbx_id)
        else:
            self._unchanged += 1

    def _cause(self, want: _Want, group: PbxGroup, link: Linked) -> str:
        """Whether Entra or somebody at the PBX made the difference."""
        name, written = self._name_for(want, group), _written(link)
        is_by_hand = written == name and (group.everyone or group.name != name)
        is_changed = written != name or not self._data.complete or want.id in self._data.changed
        return "Changed in Entra." if is_changed and not is_by_hand else "Changed by hand on the PBX; put right."

    def _name_for(self, want: _Want, group: PbxGroup) -> str:
        """The name that the extension group gets: its old one while another group has the new one."""
        return group.name if self._others_named(want.name, group.pbx_id) else want.name

    def _blocked(self, want: _Want, group: PbxGroup) -> str:
        owner = self._others_named(want.name, group.pbx_id)[0]
        return f"It keeps the name {group.name}: {self._owner_words(owner)} has the name {want.name}."

    def _overwrite(self, kind: Kind, want: _Want, group: PbxGroup, reason: str) -> None:
        name = self._name_for(want, group)
        notes = () if name == want.name else (self._blocked(want, group),)
        before, after = _compared(group, self._crew(want).numbers)
        if name != group.name:
            before, after = {"name": group.name, **before}, {"name": name, **after}
        self._changes.append(
            self._operation(kind, want, reason, pbx_id=group.pbx_id, before=before, after=after, name=name, notes=notes)
        )

    # Groups without an extension group

    def _plan_homeless(self, wanted: list[_Want]) -> None:
        """Give an extension group to what has none. Groups that had one come first: they keep their place."""
        for want in sorted(wanted, key=lambda want: self._active_link(want.id) is None):
            holders = self._names.get(want.name.casefold(), [])
            stranger = self._strangers.get(want.id)
            if holders:
                self._plan_taken(want, holders)
            elif stranger is not None:
                self._skip(want, _estranged(stranger))
            elif len(self._inventory) + len(self._creations) >= self._data.limit:
                self._skip(want, f"The PBX takes {self._data.limit} extension groups, and has no room for another one.")
            else:
                self._create(want)

    def _plan_taken(self, want: _Want, holders: list[int | str]) -> None:
        """A group whose name is there already: taken over if the rules allow it, else skipped."""
        linked = [owner for owner in holders if isinstance(owner, str) or owner in self._holders]
        others = [self._inventory[owner] for owner in holders if isinstance(owner, int) and owner not in self._holders]
        takeable = [group for group in others if _is_takeable(group)]
        if takeable and self._rules.associate_by_name:
            exact = next((group for group in takeable if group.name == want.name), takeable[0])
            self._settle_in(want.id, exact)
            self._overwrite("associate", want, exact, f"The extension group {exact.name} has the same name.")
            self._rename(exact, self._name_for(want, exact))
        elif linked:
            owner = self._owner_words(linked[0])
            self._skip(want, f"{owner[:1].upper()}{owner[1:]} has the name {want.name} already; a name is given once.")
        elif takeable:
            words = f"The PBX has an extension group {want.name} already"
            self._skip(want, f"{words}. Switch on association by name to take it over.")
        else:
            self._skip(want, f"The PBX has a group {want.name} of all extensions, which is never taken over.")

    def _create(self, want: _Want) -> None:
        had_one = self._active_link(want.id) is not None
        reason = "Its extension group was deleted on the PBX; it is created again." if had_one else "New group."
        after = {"name": want.name, "members": _listed(self._crew(want).numbers)}
        self._names[want.name.casefold()] = [want.id]
        self._creations.append(self._operation("create", want, reason, pbx_id=None, after=after, name=want.name))

    # Names

    def _others_named(self, name: str, pbx_id: int) -> list[int | str]:
        """Who else has this name."""
        return [owner for owner in self._names.get(name.casefold(), ()) if owner != pbx_id]

    def _rename(self, group: PbxGroup, new: str) -> str:
        """Give ``group`` the name ``new``; returns the one it had when that becomes free by it, casefolded."""
        old = group.name.casefold()
        if old == new.casefold():
            return ""
        self._let_go(group)
        self._names.setdefault(new.casefold(), []).append(group.pbx_id)
        return "" if old in self._names else old

    def _let_go(self, group: PbxGroup) -> None:
        old = group.name.casefold()
        rest = [owner for owner in self._names[old] if owner != group.pbx_id]
        del self._names[old]
        if rest:
            self._names[old] = rest

    def _owner_words(self, owner: int | str) -> str:
        """Who has a name, for people: two groups of a tenant may be told apart by their object ids alone."""
        object_id = self._holders.get(owner) if isinstance(owner, int) else owner
        if object_id is None:
            return "an extension group that is not linked"
        group, link = self._data.groups.get(object_id), self._data.links.get(object_id)
        name = _display_name(group) if group is not None else (link.name if link is not None else "")
        return f"the group {name} ({object_id})"

    # Small parts

    def _active_links(self) -> Iterable[Linked]:
        return [link for _, link in sorted(self._data.links.items()) if not link.released]

    def _active_link(self, object_id: str) -> Linked | None:
        link = self._data.links.get(object_id)
        return None if link is None or link.released else link

    def _is_gone(self, link: Linked) -> bool:
        is_missing = link.object_id not in self._data.groups
        return is_missing and (self._data.complete or link.object_id in self._data.removed)

    def _is_looked_at(self, link: Linked) -> bool:
        return link.object_id in self._data.groups or self._is_gone(link)

    def _skip(self, want: _Want, reason: str, *, pbx_id: int | None = None) -> None:
        operation = Operation(
            kind="skip", object_id=want.id, name=_display_name(want.group), pbx_id=pbx_id, reason=reason
        )
        self._skips.append(operation)

    def _operation(
        self,
        kind: Kind,
        want: _Want,
        reason: str,
        *,
        pbx_id: int | None,
        name: str,
        before: dict[str, str] | None = None,
        after: dict[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Operation:
        crew = self._crew(want)
        return Operation(
            kind=kind,
            object_id=want.id,
            name=_display_name(want.group),
            pbx_id=pbx_id,
            reason=reason,
            before=before or {},
            after=after or {},
            fields={"name": name},
            notes=(*crew.notes, *notes),
            members=crew.users,
        )


def _pbx_name(group: DirectoryGroup, notes: list[str]) -> str:
    """The name that fits the PBX; empty when nothing readable is in it."""
    return cut(clean(group.name), NAME_LENGTH, "name", notes)


def _display_name(group: DirectoryGroup) -> str:
    return clean(group.name) or group.id


def _written(link: Linked) -> str:
    return link.written.get("name", "")


def _is_built_in(group: PbxGroup) -> bool:
    return group.name.casefold() == BUILT_IN.casefold()


def _is_takeable(group: PbxGroup) -> bool:
    """Whether an extension group may be linked at all: one of everybody is not about a group of the tenant."""
    return not group.everyone and not _is_built_in(group)


def _estranged(group: PbxGroup) -> str:
    words = f"The id of its extension group belongs to {group.name} on the PBX, which may be another one"
    return f"{words} and is left alone. Give it the name of this group to link it again, or delete it."


def _content(group: PbxGroup | None, name: str) -> dict[str, str]:
    """An extension group as it is; one that is gone already as it was written."""
    if group is None:
        return {"name": name}
    members = {} if group.members is None else {"members": _listed(group.members)}
    return {"name": group.name, **({"members": "everyone"} if group.everyone else members)}


def _compared(group: PbxGroup, numbers: frozenset[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The members before and after, for people; nothing of what stays as it is."""
    current = group.members
    if group.everyone:
        return {"members": "everyone"}, {"members": _listed(numbers)}
    if current is None:
        return {}, {"members": _listed(numbers)}
    if current == numbers:
        return {}, {}
    if max(len(current), len(numbers)) <= WHOLE:
        return {"members": _listed(current)}, {"members": _listed(numbers)}
    added, gone = (_by_number(some) for some in (numbers - current, current - numbers))
    return {}, {"members": _joined([*(f"+{number}" for number in added), *(f"-{number}" for number in gone)])}


def _listed(numbers: Iterable[str]) -> str:
    return _joined(_by_number(numbers))


def _by_number(numbers: Iterable[str]) -> list[str]:
    return sorted(numbers, key=lambda number: (len(number), number))


def _joined(parts: list[str]) -> str:
    shown = ", ".join(parts[:LISTED])
    return shown if len(parts) <= LISTED else f"{shown} ... and {len(parts) - LISTED:,} more"
