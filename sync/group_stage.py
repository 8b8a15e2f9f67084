"""Groups in a run: what is read, planned and kept."""

from collections.abc import Mapping, Sequence

import msgspec

from pbx.errors import FeatureMissing
from pbx.groups import ExtensionGroup, ExtensionGroups, GroupRow
from store.health import Health, Reason
from store.leases import Lease
from store.links import Kind, Link
from store.runs import RunItem, Step
from sync.applying import Writer
from sync.connection import GROUPS_UNAVAILABLE
from sync.group_plan import LIMIT, GroupsInput, PbxGroup, in_scope, plan_groups
from sync.group_writes import GroupWriter, hand_over
from sync.plan import Linked, Operation
from sync.stage import Context, Stage
from sync.user_stage import MOVED_LIMIT


class GroupStage(Stage):
    """Entra groups become extension groups of the users who have an extension."""

    kind: Kind = "groups"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._groups = ExtensionGroups(context.pbx)
        self._links: dict[str, Link] = {}
        self._are_links_read = False
        self._users: dict[str, Link] = {}
        """The links of users, by object id: as they will be, in a preview."""
        self._details: dict[int, ExtensionGroup] = {}
        self._adopted: list[Link] = []
        """What an interrupted run made: new extension groups, and successors of those that it was to rename."""
        self._replaced: dict[str, int] = {}
        """By object id the extension groups that such successors are to take the place of."""
        self._was_asked = False
        """The PBX was asked for its extension groups."""
        self._trouble: FeatureMissing | None = None

    async def prepare(self) -> None:
        context = self.context
        await context.groups.read()
        is_asked = context.moved or context.journal.run.object_id is not None or context.book.of("groups")
        if context.groups.is_quiet and not is_asked:
            return
        await context.groups.open()
        self.is_complete = context.groups.complete and context.journal.run.object_id is None
        self._are_links_read = True
        self._links = {link.object_id: link async for link in context.connection.links("groups").all()}
        looked_at = await self._looked_at()
        if not looked_at and not self.is_complete:
            return
        self._users = await self._extensions()
        self._was_asked = True
        try:
            inventory = await self._inventory(looked_at)
        except FeatureMissing as error:
            self._trouble = error
            return
        await self._plan(looked_at, inventory)

    async def _looked_at(self) -> frozenset[str]:
        """The groups that may have to be written: all of them, or those that something happened to."""
        context, run = self.context, self.context.journal.run
        groups = context.groups
        if run.object_id is not None:
            return frozenset({run.object_id})
        if groups.complete:
            return frozenset(groups.groups) | self._links.keys()
        touched = groups.named | groups.removed | groups.retry
        found = groups.containing(touched) | (touched & (groups.groups.keys() | self._links.keys()))
        moved = context.moved | groups.retry
        if moved:
            found |= _of(moved, await groups.members(self._followers()))
        return frozenset(found) | {intent.object_id for intent in context.book.of("groups")}

    def _followers(self) -> list[str]:
        """The groups in which it counts who has an extension: those that are linked, and while there is room also those
        that are not, perhaps because nobody in them had one so far."""
        active = {link.object_id for link in self._links.values() if link.state == "linked"}
        if len(active) + 1 < LIMIT:  # the built-in group counts as well
            rules = self.context.settings.groups
            active |= {one for one, group in self.context.groups.groups.items() if in_scope(group, rules)}
        return sorted(active)

    async def _extensions(self) -> dict[str, Link]:
        """The users who have an extension; in a preview those who would have one when the groups' turn comes."""
        links = [link async for link in self.context.connection.links("users").all()]
        users = {link.object_id: link for link in links if link.state == "linked"}
        for operation in self.context.previewed:
            if operation.kind in {"create", "associate"}:
                users[operation.object_id] = Link(
                    object_id=operation.object_id, number=operation.number, pbx_id=operation.pbx_id
                )
            elif operation.kind in {"delete", "release"}:
                users.pop(operation.object_id, None)
        return users

    async def _inventory(self, looked_at: frozenset[str]) -> dict[int, PbxGroup]:
        """All extension groups, with the members of those that the plan may touch."""
        rows = await self._groups.all()
        self._adopt(rows)
        touched = {link.pbx_id for link in self._links.values() if link.object_id in looked_at}
        touched |= set(self._replaced.values())
        names = {
            self.context.groups.groups[one].name.casefold() for one in looked_at & self.context.groups.groups.keys()
        }
        wanted = [row.id for row in rows if row.id in touched or (row.name.casefold() in names and not row.everyone)]
        self._details = {group.id: group for group in await self._groups.details(wanted)}
        numbers = await self._numbers()
        going = set(self._replaced.values())
        return {
            row.id: PbxGroup(row.id, row.name, row.everyone, self._members(row.id, numbers))
            for row in rows
            if row.id not in going
        }

    async def _numbers(self) -> dict[int, str]:
        """The numbers of extensions by their id; of those that somebody else put into our groups as well."""
        numbers = {link.pbx_id: link.number for link in self._users.values() if link.pbx_id is not None}
        members = {member.ext_id for group in self._details.values() for member in group.members}
        foreign = sorted(members - numbers.keys())
        found = await self.context.pbx.details(foreign) if foreign else []
        return numbers | {extension.id: extension.number for extension in found}

    def _members(self, pbx_id: int, numbers: Mapping[int, str]) -> frozenset[str] | None:
        group = self._details.get(pbx_id)
        if group is None:
            return None
        # An extension that is deleted leaves its groups by itself; in a preview it would have.
        gone = {operation.pbx_id for operation in self.context.previewed if operation.kind == "delete"}
        staying = [member.ext_id for member in group.members if member.ext_id not in gone]
        return frozenset(numbers.get(ext_id, f"id {ext_id}") for ext_id in staying)

    def _adopt(self, rows: Sequence[GroupRow]) -> None:
        """Find what creates of an interrupted run made. What it was to rename and gave a successor instead is planned
        as if the successor had taken its place already: it does so before anything else."""
        made = {row.name: row.id for row in rows}
        names = {row.id: row.name for row in rows}
        taken = {link.pbx_id for link in self._links.values()}
        for intent in self.context.book.of("groups"):
            pbx_id = made.get(intent.written.get("name", ""))
            if pbx_id is None or pbx_id in taken:
                continue
            before = self._links.get(intent.object_id)
            if before is not None and before.state == "linked" and _is_as_written(before, names):
                self._replaced[intent.object_id] = before.pbx_id or 0
            link = msgspec.structs.replace(intent, state="linked", pbx_id=pbx_id)
            self._links[intent.object_id] = link
            self._adopted.append(link)

    async def _plan(self, looked_at: frozenset[str], inventory: Mapping[int, PbxGroup]) -> None:
        context = self.context
        groups = {one: context.groups.groups[one] for one in looked_at if one in context.groups.groups}
        wanted = [one for one, group in groups.items() if in_scope(group, context.settings.groups)]
        linked = [one for one in groups if one in self._links]
        members = await context.groups.members({*wanted, *linked})
        data = GroupsInput(
            groups=groups,
            complete=self.is_complete,
            removed=context.groups.removed | (looked_at - groups.keys()),
            changed=context.groups.changed() | _of(context.moved, members),
            members=members,
            links={object_id: _linked(link) for object_id, link in self._links.items()},
            extensions={object_id: link.number for object_id, link in self._users.items()},
            rules=context.settings.groups,
            inventory=inventory,
        )
        plan = plan_groups(data)
        number = sum(link.state == "linked" for link in self._links.values())
        self.held = self.guard(plan, linked=number, is_empty=self.is_complete and not groups)
        if self.held.object_ids:
            plan = plan_groups(msgspec.structs.replace(data, held=self.held.object_ids))
        self.plan = plan

    async def apply(self, lease: Lease) -> bool:
        await self._settle()
        return await super().apply(lease)

    async def _settle(self) -> None:
        """Finish and put on record what an interrupted run made; what it did not make is planned again."""
        if self._adopted:
            items = [await self._finish(link) for link in self._adopted]
            await self.context.connection.links("groups").write(save=self._adopted)
            await self.context.journal.record(items)
        if self._trouble is None:
            book = self.context.book
            book.settle("groups", [intent.object_id for intent in book.of("groups")])

    async def _finish(self, link: Link) -> RunItem:
        stamp = self.context.journal.stamp()
        old = self._details.get(self._replaced.get(link.object_id, 0))
        new = self._details.get(link.pbx_id or 0)
        if old is None or new is None:
            return _adopted_item(link, stamp)
        words = await hand_over(self._groups, old, new.id, [member.ext_id for member in new.members])
        return msgspec.structs.replace(
            _adopted_item(link, stamp),
            operation="update",
            reason="Renamed by a run that was interrupted; finished by this one.",
            before={"name": old.name},
            notes=[words],
        )

    def numbers(self) -> dict[str, int]:
        plan = self.plan
        return {"read": plan.read, "unchanged": plan.unchanged, "out_of_scope": plan.out_of_scope}

    def links(self) -> dict[str, Link]:
        return self._links

    def linked_before(self) -> int | None:
        if not self._are_links_read:
            return None
        return sum(link.state == "linked" for link in self._links.values())

    def writer(self, lease: Lease) -> Writer:
        context = self.context
        return GroupWriter(
            groups=self._groups,
            details=self._details,
            extensions={one: link.pbx_id for one, link in self._users.items() if link.pbx_id is not None},
            known=self._links,
            book=context.book,
            run_id=context.journal.run.id,
            fence=lease.fence,
            now=context.now,
        )

    def explain(self, object_id: str) -> list[Step]:
        group = self.context.groups.groups.get(object_id)
        if group is None:
            return []
        operation = next((one for one in self.plan.operations if one.object_id == object_id), None)
        inside = in_scope(group, self.context.settings.groups)
        link = self._links.get(object_id)
        is_linked = link is not None and link.state == "linked"
        return [
            Step("Found in Entra?", "yes", f"The group {group.name}, {group.kind}."),
            Step("In scope?", "yes" if inside else "no", "As the rules for groups say."),
            Step(
                "Matched to an extension group?", "yes" if is_linked else "no", link.name if link and is_linked else ""
            ),
            _changes(operation),
        ]

    def remark(self) -> str:
        return "" if self._trouble is None else f"Groups were left out: {self._trouble}."

    async def keep(self) -> None:
        """The cursor of groups is shared with the users' scope; it moves when all stages are done. In a run without
        users their next one has to be told whom that concerns."""
        context, scope = self.context, self.context.settings.users.scope
        if context.groups.is_followed or context.groups.is_quiet or scope.kind != "groups":
            return
        cursors = context.connection.cursors
        moved = await context.groups.moved(scope.group_ids)
        if moved is None or len(moved) > MOVED_LIMIT:
            await cursors.clear("users")  # the next read is one of the whole directory
        elif moved:
            await cursors.update(
                "users", lambda old: msgspec.structs.replace(old, retry=sorted(moved.union(old.retry)))
            )

    def look_again(self) -> list[str]:
        return [] if self._trouble is not None else super().look_again()

    def remembered(self, health: Health) -> Health:
        others = [reason for reason in health.reasons if reason.code != GROUPS_UNAVAILABLE]
        changed = super().remembered(msgspec.structs.replace(health, reasons=others))
        earlier = next((reason for reason in self.context.health[0].reasons if reason.code == GROUPS_UNAVAILABLE), None)
        if self._trouble is not None:
            since = earlier.since if earlier else self.context.journal.stamp()
            words = f"{self._trouble}"
            reason = Reason(GROUPS_UNAVAILABLE, f"{words[:1].upper()}{words[1:]}.", self._trouble.action, since)
        elif earlier is not None and not self._was_asked:
            reason = earlier
        else:
            return changed
        return msgspec.structs.replace(changed, reasons=[*changed.reasons, reason])


def _of(users: frozenset[str], members: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The groups that one of these users is in."""
    return frozenset(group_id for group_id, inside in members.items() if not inside.isdisjoint(users))


def _is_as_written(link: Link, names: Mapping[int, str]) -> bool:
    """Whether its extension group is still there under the name that was written; else it may be another one."""
    name = names.get(link.pbx_id or 0)
    return name is not None and name.casefold() == link.written.get("name", "").casefold()


def _linked(link: Link) -> Linked:
    return Linked(
        object_id=link.object_id,
        pbx_id=link.pbx_id or 0,
        number="",
        name=link.name,
        written=link.written,
        released=link.state == "released",
    )


def _changes(operation: Operation | None) -> Step:
    if operation is None:
        return Step("What changes?", "nothing", "The extension group is as it should be, or none is wanted.")
    return Step("What changes?", operation.kind, operation.reason)


def _adopted_item(link: Link, stamp: str) -> RunItem:
    return RunItem(
        kind="groups",
        operation="create",
        outcome="done",
        object_id=link.object_id,
        name=link.name,
        pbx_id=link.pbx_id,
        reason="Created by a run that was interrupted; found on the PBX and linked.",
        after=dict(link.written),
        at=stamp,
    )
