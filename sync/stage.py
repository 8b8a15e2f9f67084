"""A run does one kind of objects after the other; this is what the kinds have in common."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import msgspec

from graph.client import Graph
from pbx.client import Pbx
from pbx.models import Capacity
from store.document import Settings
from store.health import Decisions, Deletions, Health, Reason
from store.leases import Lease
from store.links import Kind, Link
from store.runs import RunItem, Step
from sync.applying import Applied, Applier, IntentBook, Writer, preview_items
from sync.collector import resting
from sync.connection import Connection
from sync.guard import check
from sync.journal import Journal
from sync.plan import Held, Operation, Plan
from sync.sharing import Sharing
from sync.tenant_groups import TenantGroups

RETRY_LIMIT = 2000
"""With more objects to be tried again than this the cursor stays where it is, and the next run reads them anew."""
HELD: Mapping[Kind, str] = {"users": "deletions_held", "groups": "group_deletions_held"}
"""The reasons for attention while deletions wait for a decision."""
THINGS: Mapping[Kind, str] = {"users": "extensions", "groups": "extension groups"}
MEMORY = datetime.timedelta(days=1)
"""How long the guard remembers deletions: many small runs delete no more than one large one."""


class Context(msgspec.Struct, kw_only=True):
    """What the stages of one execution share."""

    connection: Connection
    settings: Settings
    health: tuple[Health, str]
    """As loaded, with its ETag."""
    journal: Journal
    graph: Graph
    pbx: Pbx
    capacity: Capacity
    book: IntentBook
    approved: frozenset[str]
    """Object ids whose deletion an administrator approved."""
    deadline: float
    """On the monotonic clock."""
    now: Callable[[], datetime.datetime]
    groups: TenantGroups
    moved: frozenset[str] = frozenset()
    """Users whose extension comes or goes in this run: their groups have to follow."""
    previewed: tuple[Operation, ...] = ()
    """In a preview what would have been done to users when the groups' turn comes."""


class Stage(ABC):
    """One kind of objects in one execution of a run: read, plan, guard, apply, remember."""

    kind: Kind

    def __init__(self, context: Context) -> None:
        self.context = context
        self.plan = Plan()
        self.held = Held()
        self.applied = Applied(finished=True)
        self.is_complete = False
        """The whole directory was read."""
        self._unapproved = 0

    @abstractmethod
    async def prepare(self) -> None:
        """Read what is needed, plan, and ask the guard. Changes nothing on the PBX."""

    @abstractmethod
    def numbers(self) -> dict[str, int]:
        """What was found besides the operations, to be counted on the run."""

    @abstractmethod
    async def keep(self) -> None:
        """Move the cursor: everything read was applied, or is remembered to be looked at again."""

    @abstractmethod
    def linked_before(self) -> int | None:
        """How many objects were linked before the run; ``None`` when not all links were read."""

    @abstractmethod
    def writer(self, lease: Lease) -> Writer:
        """Carries out the operations of this kind."""

    @abstractmethod
    def links(self) -> Mapping[str, Link]:
        """The links that were read, by object id."""

    def explain(self, object_id: str) -> list[Step]:
        """The steps of a run about one object; none for a stage that is not about it."""
        return []

    def seen_ids(self) -> Collection[str]:
        """The object ids that were read from Graph."""
        return ()

    def remark(self) -> str:
        """What the run's message has to say besides its counts."""
        return ""

    async def preview(self) -> None:
        """Record what a run of this plan would do."""
        await self._record(list(preview_items(self.plan, self.held, self.kind)))

    async def apply(self, lease: Lease) -> bool:
        """Carry the plan out; ``False`` when the time was up."""
        context = self.context
        if self._unapproved and not context.journal.is_resumed:
            await self._remember_deletions()
        applier = Applier(
            writer=self.writer(lease),
            links=context.connection.links(self.kind),
            known=self.links(),
            lease=lease,
            book=context.book,
            record=context.journal.record,
            sharing=Sharing(context.pbx, context.connection.leases),
            concurrency=context.pbx.concurrency,
            pace=context.settings.pbx.max_writes_per_second,
            deadline=context.deadline,
            now=context.now,
        )
        with resting():
            self.applied = await applier.apply(self.plan, self.held)
        return self.applied.finished

    def remembered(self, health: Health) -> Health:
        """What outlives the run: the links counted, and what is held."""
        before = self.linked_before()
        linked = (health.counts.get(self.kind, 0) if before is None else before) + self.applied.linked
        waiting = self._waiting(health)
        reasons = [reason for reason in health.reasons if reason.code != HELD[self.kind]]
        changed = msgspec.structs.replace(
            health,
            counts={**health.counts, self.kind: max(0, linked)},
            reasons=[*reasons, *self._held_reasons(health, waiting)],
        )
        if self.kind == "groups":
            return msgspec.structs.replace(changed, held_groups=waiting)
        return msgspec.structs.replace(changed, held=waiting)

    def look_again(self) -> list[str]:
        """Object ids that the next run has to look at, whatever the cursor says."""
        return sorted(self.applied.retry | self.held.object_ids)

    async def _record(self, items: list[RunItem]) -> None:
        await self.context.journal.record(items)

    # The guard

    def guard(self, plan: Plan, *, linked: int, is_empty: bool) -> Held:
        """What of ``plan`` has to wait. ``is_empty``: everything was read, and there was nobody."""
        context = self.context
        held = check(
            plan,
            linked,
            context.settings.guard,
            approved=context.approved,
            waiting=context.health[0].waiting(self.kind).keys(),
            recent=sum(entry.number for entry in self._recent() if entry.kind == self.kind),
            is_empty=is_empty,
            things=THINGS[self.kind],
        )
        self._unapproved = sum(
            operation.kind == "delete" and operation.object_id not in held.object_ids | context.approved
            for operation in plan.operations
        )
        return held

    def _recent(self) -> list[Deletions]:
        """Deletions of the last day that nobody had to approve, without those of this very run."""
        since = (self.context.now() - MEMORY).isoformat(timespec="seconds")
        earlier = [entry for entry in self.context.health[0].deletions if entry.at > since]
        mine = (self.context.journal.run.id, self.kind)
        return [entry for entry in earlier if (entry.run_id, entry.kind) != mine]

    async def _remember_deletions(self) -> None:
        """Before the first of them is made: a run that is killed counts as well."""
        context = self.context
        stamp = context.now().isoformat(timespec="seconds")
        entries = [*self._recent(), Deletions(stamp, self._unapproved, context.journal.run.id, self.kind)]
        store = context.connection.health
        await store.update(lambda health: msgspec.structs.replace(health, deletions=entries))
        context.health = await store.load_with_etag()

    def _waiting(self, health: Health) -> Decisions:
        """What is held after a run. A full run sees everybody: who is no longer held there is not held any more."""
        before = health.waiting(self.kind)
        kept: Decisions = {} if self.is_complete else dict(before)
        now: dict[str, Literal["open", "rejected"]] = {
            object_id: before.get(object_id, "open") for object_id in sorted(self.held.object_ids)
        }
        return kept | now

    def _held_reasons(self, health: Health, waiting: Decisions) -> list[Reason]:
        """One reason while something waits for a decision; what was rejected does not."""
        code, run_id = HELD[self.kind], self.context.journal.run.id
        earlier = next((reason for reason in health.reasons if reason.code == code), None)
        number = sum(state == "open" for state in waiting.values())
        if not number:
            return []
        if not self.held.object_ids:
            return [earlier] if earlier else []
        what = "deletions" if self.kind == "users" else "deletions of extension groups"
        return [
            Reason(
                code,
                f"{number} {what} wait for a decision. {self.held.reason}",
                f"Look at what run {run_id} holds, then approve or reject it: POST /api/runs/{run_id}/approve.",
                earlier.since if earlier else self.context.journal.stamp(),
            )
        ]
