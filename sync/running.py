"""Executes one run: for each kind of objects read, plan, guard, apply, record."""

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Callable

import msgspec

from graph.client import Graph
from graph.errors import GraphError
from pbx.client import Pbx
from pbx.errors import PbxError
from pbx.models import Capacity, Information
from store.document import Settings
from store.errors import AskedToStop, StoreError
from store.health import Health, PbxFacts
from store.leases import DURATION, RUN, Holder, Lease
from store.links import Kind
from store.runs import FINISHED, Run
from sync import batches, listing, removal
from sync.applying import CHUNK, IntentBook, decode_intents
from sync.connection import GROUPS_UNAVAILABLE, Connection, is_standing
from sync.faults import NotReady, explain
from sync.group_stage import GroupStage
from sync.journal import Journal, summary
from sync.stage import Context, Stage
from sync.tenant_groups import TenantGroups
from sync.user_stage import UserStage

log = logging.getLogger("sync")

BUDGET_SECONDS = 20 * 60.0
"""A run stops cleanly after so long and continues in a new execution; the function's limit is 30 minutes."""
STAGES: dict[Kind, type[Stage]] = {"users": UserStage, "groups": GroupStage}
"""In the order in which a run does them: the members of a group need their extensions first."""
PATIENT = frozenset({"approval", "resume", "enable", "pause", "disable", "disconnect"})
"""Who asked for runs that wait for the one in progress, instead of being refused."""
REPEATED = frozenset({"api", "changes", "console", "poll"})
"""Who asked for runs that need no second try: whoever asked asks again."""

MOVES = ("create", "associate", "delete", "release")
"""Operations that change who has an extension of ours."""


class Execution:
    """One execution of a run. A run that is interrupted or out of time is executed again until it is finished."""

    def __init__(
        self,
        connection: Connection,
        run: Run,
        etag: str,
        *,
        now: Callable[[], datetime.datetime],
        budget: float = BUDGET_SECONDS,
    ) -> None:
        self._connection = connection
        self._journal = Journal(connection.runs, run, etag, now)
        self._now = now
        self._deadline = time.monotonic() + budget

    @property
    def has_moved_users(self) -> bool:
        """Whether other users are linked now than before the run, or with other extensions."""
        run = self._journal.run
        return not run.preview and any(run.counts.get(f"{name}.done") for name in MOVES)

    async def execute(self) -> bool:
        """Work on the run; ``True`` when another execution has to continue it."""
        run = self._journal.run
        if run.status in FINISHED:
            return False
        if run.preview:
            return await self._preview()
        lease = await self._acquire()
        if lease is None:
            return False
        async with lease.kept():
            return await self._guarded(lease)

    async def _preview(self) -> bool:
        """A preview needs no lease. Settings that were kept for it go with its end."""
        continues = await self._guarded(None)
        run = self._journal.run
        if run.unsaved_settings and run.status in FINISHED:
            await self._connection.runs.drop_settings(run.id)
        return continues

    async def _acquire(self) -> Lease | None:
        """The lease; ``None`` when another run has it, which is recorded, or another execution of this one."""
        # A crashed execution of this very run still holds the lease for a while: wait for it to run out.
        patience = time.monotonic() + DURATION.total_seconds() + 10
        while True:
            got = await self._connection.leases.acquire(RUN, self._journal.run.id)
            if isinstance(got, Lease):
                return got
            if got.owner != self._journal.run.id:
                await self._refuse(got)
                return None
            if time.monotonic() > patience:
                return None
            await asyncio.sleep(2)

    async def _refuse(self, holder: Holder) -> None:
        if not await self._journal.reload():
            return
        run = self._journal.run
        log.info("Run %s finds %s in progress", run.id, holder.owner)
        if run.started_by in PATIENT:
            await self._journal.save(is_waiting=True, message=f"Waits for the run {holder.owner}.")
            return
        message = f"Not started: the run {holder.owner} is in progress. Ask again when it is finished."
        await self._journal.save(status="refused", finished_at=self._journal.stamp(), message=message)
        if run.started_by not in REPEATED:
            await self._connection.try_again(self._now())

    async def _guarded(self, lease: Lease | None) -> bool:
        """Do the work; whatever goes wrong becomes a fault of the run."""
        try:
            return await self._journal.begin() and await self._work(lease)
        except AskedToStop:
            await self._journal.end("cancelled", "Stopped: the state of the connection was changed meanwhile.")
            if self._journal.run.task == "sync":
                await self._go_on()
        except Exception as error:  # noqa: BLE001 - the run itself reports it, with its policy
            await self._fail(error)
        return False

    async def _go_on(self) -> None:
        """Have what was not paused synced by another run."""
        settings = (await self._connection.settings.load()).settings
        if set(self._journal.run.what).intersection(active_kinds(settings, await self._connection.health.load())):
            await self._connection.try_again(self._now())

    async def _remove(self, lease: Lease | None) -> bool:
        note = lease.note if lease else await self._connection.leases.note(RUN)
        return await removal.carry_out(
            self._connection, self._journal, lease, note=note, deadline=self._deadline, now=self._now
        )

    async def _work(self, lease: Lease | None) -> bool:
        connection, journal = self._connection, self._journal
        if journal.run.task == "remove":
            return await self._remove(lease)
        settings = await self._settings()
        health, etag = await connection.health.load_with_etag()
        kinds = self._kinds(settings, health)
        found = decode_intents(lease.note if lease else await connection.leases.note(RUN))
        async with (
            await connection.open_graph(settings, health) as graph,
            await connection.open_pbx(settings, health) as pbx,
        ):
            journal.sent = lambda: {"graph": graph.requests, "pbx": pbx.requests, "pbx_writes": pbx.writes}
            facts, capacity = await pbx.information(), await pbx.capacity()
            if lease is not None:
                pbx.before_write = lease.check
            context = Context(
                connection=connection,
                settings=settings,
                health=(health, etag),
                journal=journal,
                graph=graph,
                pbx=pbx,
                capacity=capacity,
                book=IntentBook(lease, found),
                approved=await self._approved(),
                deadline=self._deadline,
                now=self._now,
                groups=TenantGroups(
                    graph,
                    connection.groups,
                    connection.cursors,
                    settings=settings,
                    is_full=journal.run.mode == "full" and journal.run.object_id is None,
                ),
            )
            batch = await batches.opened(connection) if lease is not None and journal.run.object_id is None else None
            stages = [STAGES[kind](context) for kind in kinds]
            for stage in stages:
                if not await self._do(stage, lease):
                    await journal.save(message="Out of time; continues in a moment.")
                    return True
            if lease is None:
                await connection.recovered(journal.stamp())
                await journal.finish(f"Nothing was changed; a run would do: {summary(journal.run.counts)}")
                return False
            await self._keep_groups(context, stages)
            if batch is not None:
                await batches.consume(connection, batch, *_seen(context, stages), self._now())
            expiry = await self._expiry(settings, graph, health)
            capacity = await self._capacity(pbx) or capacity
            tenant = await self._tenant(settings, graph) or health.tenant
            await self._remember(context, stages, _facts(facts, capacity, journal.stamp()), expiry, tenant)
            remarks = " ".join(filter(None, (stage.remark() for stage in stages)))
            await journal.finish(f"{summary(journal.run.counts)} {remarks}".strip())
            await self._list(kinds)
        return False

    async def _settings(self) -> Settings:
        """The saved settings; for a preview of unsaved ones these, at the tenant and the PBX of the saved ones."""
        saved = (await self._connection.settings.load()).settings
        run = self._journal.run
        if not run.unsaved_settings:
            return saved
        kept = await self._connection.runs.settings(run.id)
        if kept is None:
            raise NotReady("preview_over", "the settings to be previewed are gone", "Ask for another preview.")
        return msgspec.structs.replace(kept, microsoft=saved.microsoft, pbx=saved.pbx)

    async def _list(self, kinds: list[Kind]) -> None:
        """Bring the list up to date after a run over everybody, which changes most of it. Whoever looks at it would do
        the same: it may fail."""
        run = self._journal.run
        if run.mode == "full" and run.object_id is None:
            with contextlib.suppress(StoreError):
                for kind in kinds:
                    await listing.follow(self._connection, kind)

    def _kinds(self, settings: Settings, health: Health) -> list[Kind]:
        """What the run is about, as far as it may be synced now; ``NotReady`` when that is nothing."""
        missing = settings.missing()
        if missing:
            names = ", ".join(missing)
            raise NotReady("not_connected", f"the settings lack {names}", "Fill them in: PUT /api/settings.")
        run = self._journal.run
        kinds = [kind for kind in STAGES if kind in run.what]
        allowed = kinds if run.preview else [kind for kind in kinds if kind in active_kinds(settings, health)]
        if not allowed:
            raise NotReady("switched_off", f"the synchronization of {' and '.join(run.what)} is off or paused")
        return allowed

    async def _do(self, stage: Stage, lease: Lease | None) -> bool:
        """One stage from its reading to its cursor; ``False`` when the time was up."""
        journal = self._journal
        await stage.prepare()
        journal.planned(stage.kind, stage.numbers(), len(stage.plan.operations))
        if journal.run.object_id is not None:
            journal.explain([*journal.run.explanation, *stage.explain(journal.run.object_id)])
        if lease is None:
            await stage.preview()
            return True
        if len(stage.plan.operations) > CHUNK:
            await journal.save()  # who watches learns how much there is to do
        if not await stage.apply(lease):
            return False
        await stage.keep()
        return True

    async def _keep_groups(self, context: Context, stages: list[Stage]) -> None:
        """Move the cursor of groups, which two stages read. What no stage applied is left to the next run."""
        groups = context.groups
        if not groups.was_read or self._journal.run.object_id is not None:
            return
        again = {object_id for stage in stages if stage.kind == "groups" for object_id in stage.look_again()}
        if all(stage.kind != "groups" for stage in stages) and context.settings.groups.enabled:
            await groups.open()
            again |= groups.retry | groups.named | groups.removed | context.moved
        await groups.keep(again, self._journal.stamp())

    async def _approved(self) -> frozenset[str]:
        """The objects whose deletion an administrator approved: those that the decided run held, and no others."""
        decides = self._journal.run.decides
        if decides is None:
            return frozenset()
        items = self._connection.runs.items(decides)
        return frozenset([item.object_id async for item in items if item.outcome == "held"])

    async def _expiry(self, settings: Settings, graph: Graph, health: Health) -> str | None:
        """When the credential ends. The work is done and recorded: what is only good to know may fail."""
        with contextlib.suppress(GraphError, PbxError):
            return await self._connection.secret_expiry(settings, graph, health, self._now())
        return None

    async def _tenant(self, settings: Settings, graph: Graph) -> list[str]:
        """The names of the tenant that was read; none when it cannot be told now."""
        with contextlib.suppress(GraphError):
            return sorted({settings.microsoft.tenant_id.lower(), await graph.tenant_id()} - {""})
        return []

    async def _capacity(self, pbx: Pbx) -> Capacity | None:
        """The capacity after extensions came or went."""
        if not any(name in self._journal.run.counts for name in ("create.done", "delete.done")):
            return None
        with contextlib.suppress(PbxError):
            return await pbx.capacity()
        return None

    async def _remember(
        self, context: Context, stages: list[Stage], facts: PbxFacts, expiry: str | None, tenant: list[str]
    ) -> None:
        """Keep what outlives the run: it worked, so earlier reasons for attention are gone."""
        stamp = self._journal.stamp()
        is_full = all(stage.is_complete for stage in stages)
        over = set() if context.settings.groups.enabled else {GROUPS_UNAVAILABLE}

        def change(health: Health) -> Health:
            changed = msgspec.structs.replace(
                health,
                reasons=[reason for reason in health.reasons if is_standing(reason.code) and reason.code not in over],
                pbx=facts,
                tenant=tenant,
                secret_expires_at=expiry or health.secret_expires_at,
                secret_checked_at=stamp if expiry else health.secret_checked_at,
                initial_pending=health.initial_pending and not is_full,
                last_run=self._journal.run.id,
                last_full_success=stamp if is_full else health.last_full_success,
                failures=0 if is_full else health.failures,
                retry_at=None if is_full else health.retry_at,
            )
            for stage in stages:
                changed = stage.remembered(changed)
            return changed

        await self._connection.health.update(change, context.health)

    async def _fail(self, error: Exception) -> None:
        policy, fault = explain(error)
        if fault.code == "switched_off":
            # Nobody needs to be told: it is what an administrator chose since the run was asked for.
            is_sync = self._journal.run.task == "sync"
            words = "It was switched off or paused meanwhile." if is_sync else "It was taken back meanwhile."
            await self._journal.save(status="refused", finished_at=self._journal.stamp(), message=words)
            return
        run = self._journal.run
        level = logging.ERROR if policy == "bug" else logging.WARNING
        log.log(level, "Run %s ended: %s", run.id, fault.message, exc_info=error if policy == "bug" else None)
        await self._journal.end("failed", f"{fault.message[:1].upper()}{fault.message[1:]}.", fault=fault)
        if run.unsaved_settings and isinstance(error, NotReady):
            return  # the fault is in settings that nobody saved: nothing is wrong with the connection
        await self._connection.failed(policy, fault, self._now(), self._journal.run)


def _seen(context: Context, stages: list[Stage]) -> tuple[set[str], list[Kind]]:
    """The object ids that were read from Graph, and the kinds that were read at all."""
    ids = {object_id for stage in stages for object_id in stage.seen_ids()}
    kinds = [stage.kind for stage in stages]
    if context.groups.was_read:
        ids |= context.groups.entry_ids()
        kinds.append("groups")
    return ids, kinds


def enabled_kinds(settings: Settings) -> list[Kind]:
    """What the settings say is synced, in the order of a run."""
    enabled: dict[Kind, bool] = {"users": settings.users.enabled, "groups": settings.groups.enabled}
    return [kind for kind in STAGES if enabled[kind]]


def active_kinds(settings: Settings, health: Health) -> list[Kind]:
    """What is synced now: enabled in the settings, and neither paused nor disabled."""
    if health.disabled:
        return []
    return [kind for kind in enabled_kinds(settings) if kind not in health.paused]


def _facts(information: Information, capacity: Capacity, stamp: str) -> PbxFacts:
    return PbxFacts(
        model=information.model_name,
        firmware=information.firmware_version,
        serial=information.sn,
        extension_capacity=capacity.extension_capacity,
        extension_used=capacity.extension_used,
        read_at=stamp,
    )
