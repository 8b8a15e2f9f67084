"""Executes one run: read, plan, guard, apply, record."""

import asyncio
import contextlib
import datetime
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from graph.client import Graph
from graph.errors import GraphError
from graph.models import selected
from pbx.client import Pbx
from pbx.errors import PbxError
from pbx.models import Capacity, Information
from store.cursors import Cursor
from store.document import Settings
from store.health import Deletions, Health, PbxFacts, Reason
from store.leases import DURATION, Holder, Lease
from store.links import Link
from store.runs import FINISHED, Run, RunItem, Step
from sync.applying import Applied, Applier, decode_intents, preview_items
from sync.connection import Connection
from sync.explain import explain_user
from sync.faults import NotReady, explain
from sync.guard import check
from sync.plan import Held, Plan
from sync.planner import UsersInput, plan_users
from sync.reading import Directory, Gathered, gather, linked_count, read_directory, read_members, read_one

log = logging.getLogger("sync")

BUDGET_SECONDS = 20 * 60.0
"""A run stops cleanly after so long and continues in a new execution; the function's limit is 30 minutes."""
ITEMS_AN_EXECUTION = 1_000_000
RETRY_LIMIT = 2000
"""With more objects to be tried again than this the cursor stays where it is, and the next run reads them anew."""
LEASE_NAME = "run"
HELD = "deletions_held"
MEMORY = datetime.timedelta(days=1)
"""How long the guard remembers deletions: many small runs delete no more than one large one."""


class Execution:
    """One execution of a run. A run that is interrupted or out of time is executed again until it is finished."""

    def __init__(
        self,
        connection: Connection,
        run: Run,
        *,
        now: Callable[[], datetime.datetime],
        budget: float = BUDGET_SECONDS,
    ) -> None:
        self._connection = connection
        self._take(run)
        self._now = now
        self._deadline = time.monotonic() + budget
        self._next_item = 0
        self._health: tuple[Health, str] = (Health(), "")
        self._intents: list[Link] = []
        self._unapproved = 0
        self._gateways: tuple[Graph, Pbx] | None = None

    async def execute(self) -> bool:
        """Work on the run; ``True`` when another execution has to continue it."""
        if self._run.status in FINISHED:
            return False
        if self._run.preview:
            return await self._guarded(None)
        lease = await self._acquire()
        if lease is None:
            return False
        async with lease.kept():
            # Another execution may have worked on it while this one waited.
            run = await self._connection.runs.get(self._run.id)
            if run is None or run.status in FINISHED:
                return False
            self._take(run)
            return await self._guarded(lease)

    def _take(self, run: Run) -> None:
        self._run = run
        self._resumed = run.executions > 0
        self._earlier_requests = run.requests

    async def _acquire(self) -> Lease | None:
        """The lease; ``None`` when another run has it, which is recorded, or another execution of this one."""
        # A crashed execution of this very run still holds the lease for a while: wait for it to run out.
        patience = time.monotonic() + DURATION.total_seconds() + 10
        while True:
            got = await self._connection.leases.acquire(LEASE_NAME, self._run.id)
            if isinstance(got, Lease):
                return got
            if got.owner != self._run.id:
                await self._refuse(got)
                return None
            if time.monotonic() > patience:
                return None
            await asyncio.sleep(2)

    async def _refuse(self, holder: Holder) -> None:
        run = await self._connection.runs.get(self._run.id)
        if run is None or run.status in FINISHED:
            return
        self._take(run)
        log.info("Run %s finds %s in progress", run.id, holder.owner)
        if run.started_by == "approval":
            await self._save(is_waiting=True, message=f"Waits for the run {holder.owner}.")
            return
        message = f"Not started: the run {holder.owner} is in progress. Ask again when it is finished."
        await self._save(status="refused", finished_at=self._stamp(), message=message)
        if run.started_by != "api":
            await self._connection.try_again(self._now())

    async def _guarded(self, lease: Lease | None) -> bool:
        """Do the work; whatever goes wrong becomes a fault of the run."""
        try:
            await self._begin()
            return await self._work(lease)
        except Exception as error:  # noqa: BLE001 - the run itself reports it, with its policy
            await self._fail(error)
            return False

    async def _begin(self) -> None:
        executions = self._run.executions + 1
        self._next_item = (executions - 1) * ITEMS_AN_EXECUTION
        started = self._run.started_at or self._stamp()
        if self._resumed:
            await self._recount()
        await self._save(
            status="running", started_at=started, executions=executions, is_waiting=False, message="", fault=None
        )

    async def _recount(self) -> None:
        """Count the items of earlier executions: one that was killed stored items that it did not come to count."""
        items = [item async for item in self._connection.runs.items(self._run.id)]
        counts = {name: number for name, number in self._run.counts.items() if "." not in name}
        # What was not done is planned again, and counted then.
        counts = _counted(counts, [item for item in items if item.outcome == "done"])
        self._run = msgspec.structs.replace(self._run, counts=counts, items=len(items))

    async def _work(self, lease: Lease | None) -> bool:
        connection = self._connection
        settings = (await connection.settings.load()).settings
        self._check_ready(settings)
        self._health = await connection.health.load_with_etag()
        self._intents = decode_intents(lease.note if lease else await connection.leases.note(LEASE_NAME))
        health, _ = self._health
        async with (
            await connection.open_graph(settings, health) as graph,
            await connection.open_pbx(settings, health) as pbx,
        ):
            self._gateways = (graph, pbx)
            facts, capacity = await pbx.information(), await pbx.capacity()
            directory, gathered = await self._read(settings, graph, pbx, capacity)
            plan, held = await self._plan(settings, gathered.data)
            self._run = msgspec.structs.replace(
                self._run, counts=self._counts(plan), explanation=self._explain(gathered.data, plan, held)
            )
            if lease is None:
                await self._record(list(preview_items(plan, held)))
                await self._connection.recovered(self._stamp())
                await self._finish(f"Nothing was changed; a run would do: {summary(self._run.counts)}")
                return False
            applied = await self._apply(settings, pbx, lease, plan=plan, held=held, gathered=gathered)
            if not applied.finished:
                await self._save(message="Out of time; continues in a moment.")
                return True
            await self._keep_cursor(settings, directory, applied, held)
            expiry = None
            # The work is done and recorded: what is only good to know may fail.
            with contextlib.suppress(GraphError, PbxError):
                expiry = await self._connection.secret_expiry(settings, graph, health, self._now())
            with contextlib.suppress(PbxError):
                if any(name in self._run.counts for name in ("create.done", "delete.done")):
                    capacity = await pbx.capacity()
            memory = _facts(facts, capacity, self._stamp())
            await self._remember(memory, expiry, gathered=gathered, applied=applied, held=held)
            await self._finish("")
        return False

    def _check_ready(self, settings: Settings) -> None:
        missing = settings.missing()
        if missing:
            names = ", ".join(missing)
            raise NotReady("not_connected", f"the settings lack {names}", "Fill them in: PUT /api/settings.")
        if not settings.users.enabled and not self._run.preview:
            raise NotReady("users_disabled", "the synchronization of users is off", "Set users.enabled to true.")

    async def _read(self, settings: Settings, graph: Graph, pbx: Pbx, capacity: Capacity) -> tuple[Directory, Gathered]:
        rules = settings.users
        directory = await self._directory(settings, graph, selection(settings))
        members = await read_members(graph, rules.scope.group_ids) if rules.scope.kind == "groups" else None
        links = self._connection.links("users")
        gathered = await gather(
            directory,
            links=links,
            pbx=pbx,
            rules=rules,
            members=members,
            capacity=capacity,
            intents=self._intents,
        )
        if not self._run.preview and gathered.adopted:
            await links.write(save=gathered.adopted)
            await self._record([_adopted_item(link, self._stamp()) for link in gathered.adopted])
        return directory, gathered

    async def _directory(self, settings: Settings, graph: Graph, select: Sequence[str]) -> Directory:
        if self._run.object_id is not None:
            return await read_one(graph, select, [self._run.object_id])
        cursor = await self._connection.cursors.load("users") if self._run.mode == "incremental" else None
        if cursor is None or cursor.selected != ",".join(select) or cursor.scope != scope_mark(settings):
            return await read_directory(graph, select, None)
        # Membership is not part of users/delta, so a scope by group reads everything.
        link = None if settings.users.scope.kind == "groups" else cursor.link
        directory = await read_directory(graph, select, link)
        unsettled = {*cursor.retry, *(intent.object_id for intent in self._intents)}
        again = sorted(unsettled - set(directory.users))
        if directory.complete or not again:
            return directory
        return Directory(
            {**directory.users, **(await read_one(graph, select, again)).users},
            complete=False,
            delta_link=directory.delta_link,
        )

    async def _plan(self, settings: Settings, data: UsersInput) -> tuple[Plan, Held]:
        """The plan, and what of it the guard holds. Nothing else in the plan counts on what is held."""
        plan = plan_users(data)
        linked = sum(not link.released for link in data.links.values())
        if not data.complete:
            linked = max(linked, self._health[0].counts.get("users", 0))
        approved = await self._approved()
        held = check(
            plan,
            linked,
            settings.guard,
            approved=approved,
            waiting=self._health[0].held.keys(),
            recent=sum(entry.number for entry in self._recent()),
            is_empty=data.complete and (plan.read == 0 or (data.members is not None and not data.members)),
        )
        self._unapproved = sum(
            operation.kind == "delete" and operation.object_id not in held.object_ids | approved
            for operation in plan.operations
        )
        if held.object_ids:
            plan = plan_users(msgspec.structs.replace(data, held=held.object_ids))
        return plan, held

    def _recent(self) -> list[Deletions]:
        """Deletions of the last day that nobody had to approve."""
        since = (self._now() - MEMORY).isoformat(timespec="seconds")
        earlier = [entry for entry in self._health[0].deletions if entry.at > since]
        return [entry for entry in earlier if entry.run_id != self._run.id]  # its own, from before an interruption

    async def _remember_deletions(self) -> None:
        """Before the first of them is made: a run that is killed counts as well."""
        entries = [
            *self._recent(),
            Deletions(self._now().isoformat(timespec="seconds"), self._unapproved, self._run.id),
        ]
        await self._connection.health.update(lambda health: msgspec.structs.replace(health, deletions=entries))
        self._health = await self._connection.health.load_with_etag()

    async def _approved(self) -> frozenset[str]:
        """The objects whose deletion an administrator approved: those that the decided run held, and no others."""
        if self._run.decides is None:
            return frozenset()
        items = self._connection.runs.items(self._run.decides)
        return frozenset([item.object_id async for item in items if item.outcome == "held"])

    async def _apply(
        self, settings: Settings, pbx: Pbx, lease: Lease, *, plan: Plan, held: Held, gathered: Gathered
    ) -> Applied:
        if self._unapproved and not self._resumed:
            await self._remember_deletions()
        pbx.before_write = lease.check
        applier = Applier(
            pbx=pbx,
            links=self._connection.links("users"),
            known=gathered.links,
            lease=lease,
            record=self._record,
            run_id=self._run.id,
            welcome=settings.users.send_welcome_email,
            pace=settings.pbx.max_writes_per_second,
            deadline=self._deadline,
            is_read=gathered.data.inventory is not None,
            now=self._now,
        )
        return await applier.apply(plan, held)

    async def _keep_cursor(self, settings: Settings, directory: Directory, applied: Applied, held: Held) -> None:
        """Move the cursor: everything read was applied, or is remembered to be looked at again."""
        again = sorted(applied.retry | held.object_ids)
        if directory.delta_link is None or len(again) > RETRY_LIMIT:
            return
        cursor = Cursor(
            link=directory.delta_link,
            selected=",".join(selection(settings)),
            scope=scope_mark(settings),
            made_at=self._stamp(),
            retry=again,
        )
        await self._connection.cursors.save("users", cursor)

    async def _record(self, items: Sequence[RunItem]) -> None:
        """Store items and count them on the run."""
        self._next_item = await self._connection.runs.add_items(self._run.id, self._next_item, items)
        counts = _counted(self._run.counts, items)
        self._run = msgspec.structs.replace(self._run, counts=counts, items=self._run.items + len(items))
        if self._run.items < counts.get("total", 0):
            await self._save()  # so that somebody who watches sees it grow; the last of it is saved with the end

    def _counts(self, plan: Plan) -> dict[str, int]:
        """What is planned. An execution that continues a run plans what is left; what was read stays as it was."""
        counts = dict(self._run.counts)
        if "read" not in counts:
            counts |= {"read": plan.read, "unchanged": plan.unchanged, "out_of_scope": plan.out_of_scope}
        counts["total"] = self._run.items + len(plan.operations)
        return counts

    async def _remember(
        self,
        facts: PbxFacts,
        expiry: str | None,
        *,
        gathered: Gathered,
        applied: Applied,
        held: Held,
    ) -> None:
        """Keep what outlives the run: it worked, so earlier reasons for attention are gone."""
        stamp = self._stamp()
        before = linked_count(gathered.links)
        is_full = gathered.data.complete

        def change(health: Health) -> Health:
            linked = (before if is_full else health.counts.get("users", 0)) + applied.linked
            waiting = _waiting(health, held, is_full=is_full)
            return msgspec.structs.replace(
                health,
                held=waiting,
                reasons=_held_reasons(health, waiting, held, self._run.id, stamp),
                pbx=facts,
                secret_expires_at=expiry or health.secret_expires_at,
                secret_checked_at=stamp if expiry else health.secret_checked_at,
                initial_pending=health.initial_pending and not is_full,
                last_run=self._run.id,
                last_full_success=stamp if is_full else health.last_full_success,
                counts={**health.counts, "users": max(0, linked)},
                failures=0 if is_full else health.failures,
                retry_at=None if is_full else health.retry_at,
            )

        await self._connection.health.update(change, self._health)

    async def _finish(self, message: str) -> None:
        failed = sum(number for name, number in self._run.counts.items() if name.endswith(".failed"))
        await self._save(
            status="partial" if failed else "succeeded",
            finished_at=self._stamp(),
            duration_seconds=self._duration(),
            message=message or summary(self._run.counts),
        )
        log.info("Run %s finished: %s", self._run.id, self._run.message)

    async def _fail(self, error: Exception) -> None:
        policy, fault = explain(error)
        if fault.code == "users_disabled":
            # Nobody needs to be told: it is what an administrator chose since the run was asked for.
            await self._save(status="refused", finished_at=self._stamp(), message="Users were switched off meanwhile.")
            return
        level = logging.ERROR if policy == "bug" else logging.WARNING
        log.log(level, "Run %s ended: %s", self._run.id, fault.message, exc_info=error if policy == "bug" else None)
        await self._save(
            status="failed",
            finished_at=self._stamp(),
            duration_seconds=self._duration(),
            fault=fault,
            message=f"{fault.message[:1].upper()}{fault.message[1:]}.",
        )
        await self._connection.failed(policy, fault, self._now(), self._run)

    def _requests(self) -> dict[str, int]:
        """What this run sent so far, in all its executions."""
        if self._gateways is None:
            return self._earlier_requests
        graph, pbx = self._gateways
        sent = {"graph": graph.requests, "pbx": pbx.requests, "pbx_writes": pbx.writes}
        return {name: self._earlier_requests.get(name, 0) + number for name, number in sent.items()}

    def _explain(self, data: UsersInput, plan: Plan, held: Held) -> list[Step]:
        return [] if self._run.object_id is None else explain_user(data, plan, held, self._run.object_id)

    def _duration(self) -> float | None:
        if self._run.started_at is None:
            return None
        started = datetime.datetime.fromisoformat(self._run.started_at)
        return round((self._now() - started).total_seconds(), 3)

    def _stamp(self) -> str:
        return self._now().isoformat(timespec="milliseconds")

    async def _save(self, **changes: Any) -> None:
        self._run = msgspec.structs.replace(self._run, requests=self._requests(), **changes)
        await self._connection.runs.save(self._run)


def selection(settings: Settings) -> tuple[str, ...]:
    """The user properties that the rules need."""
    number = settings.users.number
    return selected(number.property if number.kind == "property" else None)


def scope_mark(settings: Settings) -> str:
    """A fingerprint of the rules that decide about users who did not change: when they do, everything is read."""
    users = settings.users
    decisive = (settings.microsoft.tenant_id, settings.pbx.fqdn, users.scope, users.delete_when, users.number,
                users.delete_out_of_scope, users.associate_by_email)  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()[:16]


def summary(counts: Mapping[str, int]) -> str:
    """A run in one sentence."""
    words = {
        "create.done": "created", "associate.done": "associated", "update.done": "updated", "delete.done": "deleted",
        "release.done": "released", "create.planned": "to create", "associate.planned": "to associate",
        "update.planned": "to update", "delete.planned": "to delete", "release.planned": "to release",
        "unchanged": "unchanged",
    }  # fmt: skip
    parts = [f"{counts[name]} {word}" for name, word in words.items() if counts.get(name)]
    for outcome in ("skipped", "held", "failed"):
        number = sum(value for name, value in counts.items() if name.endswith(f".{outcome}"))
        parts += [f"{number} {outcome}"] if number else []
    return f"{', '.join(parts)}." if parts else "Nothing to do."


def _counted(counts: Mapping[str, int], items: Sequence[RunItem]) -> dict[str, int]:
    """``counts`` with these items added, by operation and outcome."""
    total = dict(counts)
    for item in items:
        name = f"{item.operation}.{item.outcome}"
        total[name] = total.get(name, 0) + 1
    return total


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


def _facts(information: Information, capacity: Capacity, stamp: str) -> PbxFacts:
    return PbxFacts(
        model=information.model_name,
        firmware=information.firmware_version,
        serial=information.sn,
        extension_capacity=capacity.extension_capacity,
        extension_used=capacity.extension_used,
        read_at=stamp,
    )


def _waiting(health: Health, held: Held, *, is_full: bool) -> dict[str, Literal["open", "rejected"]]:
    """What is held after a run. A full run sees everybody: who is no longer held there is not held any more."""
    kept = {} if is_full else dict(health.held)
    return kept | {object_id: health.held.get(object_id, "open") for object_id in sorted(held.object_ids)}


def _held_reasons(health: Health, waiting: Mapping[str, str], held: Held, run_id: str, stamp: str) -> list[Reason]:
    """One reason while something waits for a decision; what was rejected does not."""
    earlier = next((reason for reason in health.reasons if reason.code == HELD), None)
    number = sum(state == "open" for state in waiting.values())
    if not number:
        return []
    if not held.object_ids:
        return [earlier] if earlier else []
    return [
        Reason(
            HELD,
            f"{number} deletions wait for a decision. {held.reason}",
            f"Look at the held items of run {run_id}, then approve or reject them: POST /api/runs/{run_id}/approve.",
            earlier.since if earlier else stamp,
        )
    ]
