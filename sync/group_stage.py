"""Groups in a run: what is read, planned and kept."""

from collections.abc import Mapping

import msgspec

from pbx.errors import FeatureMissing
from pbx.groups import ExtensionGroup, ExtensionGroups
from store.health import Health, Reason
from store.leases import Lease
from store.links import Kind, Link
from store.runs import RunItem, Step
from sync.applying import Writer
from sync.group_plan import GroupsInput, PbxGroup, in_scope, plan_groups
from sync.group_writes import GroupWriter
from sync.plan import Linked, Operation
from sync.stage import Context, Stage

UNAVAILABLE = "groups_unavailable"
"""The reason for attention where the firmware has no extension groups."""


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
        self._half_made: dict[str, int] = {}
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
            active = [link.object_id for link in self._links.values() if link.state == "linked"]
            found |= _of(moved, await groups.members(active))
        return frozenset(found) | {intent.object_id for intent in context.book.of("groups")}

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
        touched = {link.pbx_id for link in self._links.values() if link.object_id in looked_at}
        names = {
            self.context.groups.groups[one].name.casefold() for one in looked_at & self.context.groups.groups.keys()
        }
        wanted = [row.id for row in rows if row.id in touched or (row.name.casefold() in names and not row.everyone)]
        self._details = {group.id: group for group in await self._groups.details(wanted)}
        numbers = await self._numbers()
        self._adopt(rows_by_name={row.name: row.id for row in rows})
        hidden = set(self._half_made.values())
        return {
            row.id: PbxGroup(row.id, row.name, row.everyone, self._members(row.id, numbers))
            for row in rows
            if row.id not in hidden
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
        return frozenset(numbers.get(member.ext_id, f"id {member.ext_id}") for member in group.members)

    def _adopt(self, rows_by_name: Mapping[str, int]) -> None:
        """Find what creates of an interrupted run made: the group itself, or the successor of one to be renamed."""
        taken = {link.pbx_id for link in self._links.values()}
        for intent in self.context.book.of("groups"):
            pbx_id = rows_by_name.get(intent.written.get("name", ""))
            if pbx_id is None or pbx_id in taken:
                continue
            before = self._links.get(intent.object_id)
            if before is not None and before.state == "linked":
                self._half_made[intent.object_id] = pbx_id
            else:
                self._links[intent.object_id] = msgspec.structs.replace(intent, state="linked", pbx_id=pbx_id)

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
        """Put on record what an interrupted run made; what it did not make is planned again."""
        book = self.context.book
        intents = book.of("groups")
        adopted = [self._links[one.object_id] for one in intents if self._is_adopted(one)]
        if adopted:
            await self.context.connection.links("groups").write(save=adopted)
            stamp = self.context.journal.stamp()
            await self.context.journal.record([_adopted_item(link, stamp) for link in adopted])
        if self._trouble is None:
            book.settle("groups", [intent.object_id for intent in intents])

    def _is_adopted(self, intent: Link) -> bool:
        link = self._links.get(intent.object_id)
        return link is not None and link == msgspec.structs.replace(intent, state="linked", pbx_id=link.pbx_id)

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
            half_made=self._half_made,
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
        """The cursor of groups is shared with the users' scope; it moves when all stages are done."""

    def look_again(self) -> list[str]:
        return [] if self._trouble is not None else super().look_again()

    def remembered(self, health: Health) -> Health:
        others = [reason for reason in health.reasons if reason.code != UNAVAILABLE]
        changed = super().remembered(msgspec.structs.replace(health, reasons=others))
        if self._trouble is None:
            return changed
        earlier = next((reason for reason in self.context.health[0].reasons if reason.code == UNAVAILABLE), None)
        since = earlier.since if earlier else self.context.journal.stamp()
        words = f"{self._trouble}"
        reason = Reason(UNAVAILABLE, f"{words[:1].upper()}{words[1:]}.", self._trouble.action, since)
        return msgspec.structs.replace(changed, reasons=[*changed.reasons, reason])


def _of(users: frozenset[str], members: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The groups that one of these users is in."""
    return frozenset(group_id for group_id, inside in members.items() if not inside.isdisjoint(users))


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
