"""Users in a run: what is read, planned and kept."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence

import msgspec

from graph.models import selected
from store.cursors import Cursor
from store.document import Settings
from store.leases import Lease
from store.links import Kind, Link
from store.runs import RunItem, Step
from sync.applying import Writer
from sync.explain import explain_user
from sync.faults import NotReady
from sync.guard import forewarn
from sync.numbers import Numbers
from sync.planner import UsersInput, plan_users
from sync.reading import Directory, Gathered, gather, linked_count, read_directory, read_one
from sync.stage import RETRY_LIMIT, Context, Stage
from sync.tenant_groups import CURSOR
from sync.user_writes import UserWriter

MOVED_LIMIT = 200
"""With more users in and out of the scope's groups than this the whole directory is read: it takes fewer requests."""
MOVING = frozenset({"create", "associate", "delete", "release"})
"""Operations by which an extension comes or goes."""


class UserStage(Stage):
    """Entra users become extensions."""

    kind: Kind = "users"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._directory: Directory
        self._gathered: Gathered
        self._forewarning = ""

    async def prepare(self) -> None:
        context = self.context
        rules = context.settings.users
        intents = context.book.of("users")
        members = await self._members()
        self._directory = await self._read(selection(context.settings), intents, members)
        self._gathered = await gather(
            self._directory,
            links=context.connection.links("users"),
            pbx=context.pbx,
            rules=rules,
            members=members,
            capacity=context.capacity,
            intents=intents,
        )
        self.is_complete = self._directory.complete
        if not context.journal.run.preview:
            await self._adopt(intents)
        # 100,000 users take seconds to plan: meanwhile the lease is renewed and notifications are answered.
        await asyncio.to_thread(self._plan, self._gathered.data)

    async def _adopt(self, intents: Sequence[Link]) -> None:
        """Put on record what creates of an interrupted run made; what they did not make is planned again."""
        adopted = self._gathered.adopted
        if adopted:
            await self.context.connection.links("users").write(save=adopted)
            await self._record([_adopted_item(link, self.context.journal.stamp()) for link in adopted])
        if intents:
            self.context.book.settle("users", [intent.object_id for intent in intents])

    async def _members(self) -> frozenset[str] | None:
        """The users in the groups of the scope; ``None`` when the scope is not by group.

        A missing group stops the run: were it taken as empty, everybody in it would leave the scope.
        """
        scope, groups = self.context.settings.users.scope, self.context.groups
        if scope.kind != "groups":
            return None
        groups.is_followed = True
        await groups.open()
        wanted = [group_id.lower() for group_id in scope.group_ids]
        for group_id in wanted:
            if group_id not in groups.groups:
                raise NotReady(
                    "scope_group_missing",
                    f"the group {group_id} of the users' scope does not exist in Entra (any more)",
                    "Remove it from the scope, or restore it in Entra. Nothing was changed.",
                )
        return frozenset[str]().union(*(await groups.members(wanted)).values())

    async def _read(self, select: Sequence[str], intents: Sequence[Link], members: frozenset[str] | None) -> Directory:
        context, run = self.context, self.context.journal.run
        if run.object_id is not None:
            return await read_one(context.graph, select, [run.object_id])
        cursor = await context.connection.cursors.load("users") if run.mode == "incremental" else None
        if cursor is None or cursor.selected != ",".join(select) or cursor.scope != scope_mark(context.settings):
            return await read_directory(context.graph, select, None)
        moved = await self._moved(members)
        if moved is None or len(moved) > MOVED_LIMIT:
            return await read_directory(context.graph, select, None)
        directory = await read_directory(context.graph, select, cursor.link)
        unsettled = {*cursor.retry, *(intent.object_id for intent in intents), *moved}
        again = sorted(unsettled - set(directory.users))
        if directory.complete or not again:
            return directory
        return Directory(
            {**directory.users, **(await read_one(context.graph, select, again)).users},
            complete=False,
            delta_link=directory.delta_link,
        )

    async def _moved(self, members: frozenset[str] | None) -> frozenset[str] | None:
        """The users who entered or left the groups of the scope, which ``users/delta`` does not tell; ``None`` when it
        is not known who was in them before."""
        if members is None:
            return frozenset()
        return await self.context.groups.moved(self.context.settings.users.scope.group_ids)

    def _plan(self, data: UsersInput) -> None:
        """The plan, and what of it the guard holds. Nothing else in the plan counts on what is held."""
        decided = self.context.approved.union(self.context.health[0].waiting("users"))
        data = msgspec.structs.replace(data, now=self.context.now(), decided=decided)
        self.plan = plan_users(data)
        linked = sum(not link.released for link in data.links.values())
        if not data.complete:
            linked = max(linked, self.context.health[0].counts.get("users", 0))
        is_empty = (data.complete and self.plan.read == 0) or (data.members is not None and not data.members)
        self.held = self.guard(self.plan, linked=linked, is_empty=is_empty)
        if self.held.object_ids:
            self.plan = plan_users(msgspec.structs.replace(data, held=self.held.object_ids))
        self._forewarning = forewarn(self.plan, linked, self.context.settings.guard)
        going = [operation for operation in self.plan.operations if operation.object_id not in self.held.object_ids]
        self.context.moved = frozenset(one.object_id for one in going if one.kind in MOVING)
        if self.context.journal.run.preview:
            self.context.previewed = tuple(going)

    async def apply(self, lease: Lease) -> bool:
        await self._announce()
        return await super().apply(lease)

    async def _announce(self) -> None:
        """Before extensions come or go: remember whose groups have to follow, should this run not live to see to it."""
        moved, cursors = self.context.moved, self.context.connection.cursors
        if not moved or not self.context.settings.groups.enabled:
            return
        if len(moved) > RETRY_LIMIT:
            await cursors.clear(CURSOR)  # the next read is one of all groups
            return
        await cursors.update(CURSOR, lambda old: msgspec.structs.replace(old, retry=sorted(moved.union(old.retry))))

    def numbers(self) -> dict[str, int]:
        plan = self.plan
        return {
            "read": plan.read,
            "unchanged": plan.unchanged,
            "out_of_scope": plan.out_of_scope,
            "leaving": plan.leaving,
        }

    def remark(self) -> str:
        return self._forewarning

    def seen_ids(self) -> Collection[str]:
        return self._directory.users.keys()

    def links(self) -> dict[str, Link]:
        return self._gathered.links

    def linked_before(self) -> int | None:
        return linked_count(self._gathered.links) if self.is_complete else None

    def writer(self, lease: Lease) -> Writer:
        context = self.context
        return UserWriter(
            pbx=context.pbx,
            known=self._gathered.links,
            run_id=context.journal.run.id,
            fence=lease.fence,
            welcome=context.settings.users.send_welcome_email,
            is_read=self._gathered.data.inventory is not None,
            numbers=self._spare_numbers(),
            book=context.book,
            now=context.now,
        )

    def _spare_numbers(self) -> Numbers:
        """For creates whose number is taken meanwhile: what neither an extension, nor a link, nor this plan has."""
        data = self._gathered.data
        extensions = data.inventory.extensions.values() if data.inventory is not None else ()
        taken = {operation.number for operation in self.plan.operations}
        taken |= {link.number for link in data.links.values()} | {extension.number for extension in extensions}
        return Numbers(taken, data.rules.number.start)

    def explain(self, object_id: str) -> list[Step]:
        return explain_user(self._gathered.data, self.plan, self.held, object_id)

    async def keep(self) -> None:
        again = self.look_again()
        if self._directory.delta_link is None or len(again) > RETRY_LIMIT:
            return
        cursor = Cursor(
            link=self._directory.delta_link,
            selected=",".join(selection(self.context.settings)),
            scope=scope_mark(self.context.settings),
            made_at=self.context.journal.stamp(),
            retry=again,
        )
        await self.context.connection.cursors.save("users", cursor)


def selection(settings: Settings) -> tuple[str, ...]:
    """The user properties that the rules need."""
    number = settings.users.number
    return selected(number.property if number.kind == "property" else None)


def scope_mark(settings: Settings) -> str:
    """A fingerprint of the rules that decide about users who did not change: when they do, everything is read."""
    users = settings.users
    decisive = (settings.microsoft.tenant_id, settings.pbx.fqdn, users.scope, users.delete_when, users.number,
                users.delete_out_of_scope, users.delete_grace_days, users.associate_by_email)  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()[:16]


def _adopted_item(link: Link, stamp: str) -> RunItem:
    """The record of a create whose confirmation an earlier run did not live to see."""
    return RunItem(
        operation="create",
        outcome="done",
        object_id=link.object_id,
        name=link.name,
        user_principal_name=link.user_principal_name,
        extension=link.number,
        pbx_id=link.pbx_id,
        reason="Created by a run that was interrupted; found on the PBX and linked.",
        after=dict(link.written),
        at=stamp,
    )
