"""Deletes what is synced because an administrator asked for it, and forgets a connection. Needs the PBX, not Entra."""

import contextlib
import datetime
from collections.abc import Callable, Mapping, Sequence
from itertools import batched

import msgspec

from pbx.client import Pbx
from pbx.errors import PbxError
from pbx.groups import ExtensionGroups
from pbx.models import Answer
from store.document import Settings
from store.errors import StoreError
from store.health import Health, Reason, Removal
from store.leases import Lease
from store.links import Kind, Link
from store.runs import Run, RunItem
from store.secrets import SECRET_NAMES, InternalName, SecretName
from store.sessions import SessionStore, forget_accounts
from store.tokens import TokenStore
from sync import subscriptions
from sync.applying import CHUNK, Applied, Applier, IntentBook, decode_intents, pbx_id_of, planned_item
from sync.connection import REMOVAL_INCOMPLETE, Connection, later
from sync.faults import NotReady
from sync.group_writes import GroupWriter
from sync.intents import settle
from sync.journal import Journal, summary
from sync.numbers import Numbers
from sync.plan import Extension, Held, Operation, Plan
from sync.sharing import Sharing
from sync.stage import HELD
from sync.user_writes import UserWriter

ORDER: tuple[Kind, ...] = ("groups", "users")
"""The PBX takes no extension group without members, so groups go before the extensions in them."""
SECRETS: tuple[SecretName | InternalName, ...] = (
    *SECRET_NAMES,
    "presence-certificate",
)
"""What ends with the connection, beside the refresh tokens of its accounts."""
WORDS = {
    "pause": "The synchronization was paused, and what was synced is to be deleted.",
    "disable": "The integration was disabled, and what was synced is to be deleted.",
    "disconnect": "The connection was ended, and what was synced is to be deleted.",
}
FOREIGN = "Another object of the PBX has this id now; it is left alone."
EARLIER = "It was there before the bridge took it over."


class Deletions:
    """All linked objects of one kind, to be deleted."""

    def __init__(
        self,
        kind: Kind,
        *,
        connection: Connection,
        settings: Settings,
        pbx: Pbx,
        journal: Journal,
        book: IntentBook,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self.kind = kind
        self.plan = Plan()
        self._connection = connection
        self._settings = settings
        self._pbx = pbx
        self._groups = ExtensionGroups(pbx)
        self._journal = journal
        self._book = book
        self._now = now
        self._links: Mapping[str, Link] = {}
        self._made: list[Link] = []
        """Links of what an interrupted run made, to be stored."""
        self._half_made: list[Operation] = []
        """Extension groups that an interrupted rename made, to take the place of a linked one."""

    async def prepare(self) -> None:
        """Read the links, find what an interrupted run made, and plan. Changes nothing."""
        stored = [link async for link in self._connection.links(self.kind).all()]
        intents = self._book.of(self.kind)
        self._links = await self._settled(stored, intents) if intents else {link.object_id: link for link in stored}
        known = {link.object_id for link in stored if link.state == "linked"}
        linked = [link for link in self._links.values() if link.state == "linked"]
        self._made = [link for link in linked if link.object_id not in known]
        self.plan = Plan(operations=tuple(self._deletion(link) for link in linked))
        self._journal.planned(self.kind, {}, len(self.plan.operations) + len(self._half_made))

    async def _settled(self, stored: Sequence[Link], intents: Sequence[Link]) -> Mapping[str, Link]:
        if self.kind == "groups":
            return await self._settled_groups(stored, intents)
        numbers = {intent.number for intent in intents}
        rows = [row.id for row in await self._pbx.extensions() if row.number in numbers]
        found = {
            one.id: Extension(one.id, one.number, one.email_addr or "", one.fields())
            for one in await self._pbx.details(rows)
        }
        return settle([*stored, *intents], found)

    async def _settled_groups(self, stored: Sequence[Link], intents: Sequence[Link]) -> Mapping[str, Link]:
        links = {link.object_id: link for link in stored}
        linked = {link.pbx_id for link in stored if link.state == "linked"}
        made = {row.name: row.id for row in await self._groups.all() if row.id not in linked and not row.everyone}
        for intent in intents:
            before, pbx_id = links.get(intent.object_id), made.get(intent.written.get("name", ""))
            if pbx_id is None:
                continue
            link = msgspec.structs.replace(intent, state="linked", pbx_id=pbx_id)
            if before is not None and before.state == "linked":
                self._half_made.append(self._deletion(link))
            else:
                links[intent.object_id] = link
        return links

    async def preview(self) -> None:
        """Record each deletion that would be made."""
        writer = self._writer(0)
        for chunk in batched(self.plan.operations, CHUNK, strict=False):
            await writer.look(chunk)
            await self._journal.record([self._planned(operation, writer.strangers) for operation in chunk])
        await self._journal.record([planned_item(operation, "planned", self.kind) for operation in self._half_made])

    def _planned(self, operation: Operation, strangers: frozenset[str]) -> RunItem:
        if operation.object_id in strangers:
            return msgspec.structs.replace(planned_item(operation, "skipped", self.kind), reason=FOREIGN)
        return planned_item(operation, "planned", self.kind)

    async def apply(self, lease: Lease, deadline: float) -> Applied:
        """Delete; a link goes when the PBX confirmed. Raises what ``Applier.apply`` raises."""
        links = self._connection.links(self.kind)
        self._pbx.before_write = lease.check
        await links.write(save=self._made)
        for operation in self._half_made:
            await self._groups.delete(pbx_id_of(operation))
            item = planned_item(operation, "done", self.kind)
            await self._journal.record([msgspec.structs.replace(item, at=self._now().isoformat(timespec="seconds"))])
        self._book.settle(self.kind, [intent.object_id for intent in self._book.of(self.kind)])
        applier = Applier(
            writer=self._writer(lease.fence),
            links=links,
            known=self._links,
            lease=lease,
            book=self._book,
            record=self._journal.record,
            sharing=Sharing(self._pbx, self._connection.leases),
            concurrency=self._pbx.concurrency,
            pace=self._settings.pbx.max_writes_per_second,
            deadline=deadline,
            now=self._now,
        )
        try:
            return await applier.apply(self.plan, Held())
        finally:
            await self._count()

    async def _count(self) -> None:
        """How many links are left, for the status. A store that fails here fails everything else as well."""
        with contextlib.suppress(StoreError):
            left = [link async for link in self._connection.links(self.kind).all()]
            number = sum(link.state == "linked" for link in left)
            await self._connection.health.update(
                lambda health: msgspec.structs.replace(health, counts={**health.counts, self.kind: number})
            )

    def _deletion(self, link: Link) -> Operation:
        return Operation(
            kind="delete",
            object_id=link.object_id,
            name=link.name,
            user_principal_name=link.user_principal_name,
            number=link.number,
            pbx_id=link.pbx_id,
            reason=WORDS[self._journal.run.started_by],
            before=link.written,
            notes=(EARLIER,) if link.associated else (),
        )

    def _writer(self, fence: int) -> UserWriter | GroupWriter:
        run_id = self._journal.run.id
        if self.kind == "groups":
            return GroupWriter(
                groups=self._groups,
                details={},
                extensions={},
                known=self._links,
                book=self._book,
                run_id=run_id,
                fence=fence,
                now=self._now,
            )
        return UserWriter(
            pbx=self._pbx,
            known=self._links,
            run_id=run_id,
            fence=fence,
            welcome=False,
            is_read=True,
            numbers=Numbers((), self._settings.users.number.start),
            book=self._book,
            now=self._now,
        )


async def carry_out(
    connection: Connection,
    journal: Journal,
    lease: Lease | None,
    *,
    note: str,
    deadline: float,
    now: Callable[[], datetime.datetime],
) -> bool:
    """Do what a run of the task ``remove`` is about; ``True`` when another execution has to continue it. Without a
    lease it is a preview. ``NotReady`` when nobody wants it any more."""
    settings = (await connection.settings.load()).settings
    health = await connection.health.load()
    run = journal.run
    if lease is not None and not _is_wanted(run, health):
        if not journal.is_resumed:
            raise NotReady("switched_off", "the deletion was taken back meanwhile")
        await journal.finish(_words(run))  # it was killed after its last deed
        return False
    book = IntentBook(lease, decode_intents(note))
    kinds = [kind for kind in ORDER if kind in (run.what if lease is None else _left(run, health))]
    applied: dict[Kind, Applied] = {}
    if kinds:
        async with await connection.open_pbx(settings, health) as pbx:
            journal.sent = lambda: {"pbx": pbx.requests, "pbx_writes": pbx.writes}
            stages = [
                Deletions(kind, connection=connection, settings=settings, pbx=pbx, journal=journal, book=book, now=now)
                for kind in kinds
            ]
            applied = await _do(stages, lease, deadline)
    if lease is None:
        await journal.finish(f"Nothing was changed; it would do: {summary(journal.run.counts)}")
        return False
    if not all(one.finished for one in applied.values()):
        await journal.save(message="Out of time; continues in a moment.")
        return True
    removal = await _settle(connection, journal, applied, now())
    words = [_words(journal.run)]
    if removal is not None and removal.asked_by == "disconnect" and not removal.what:
        lease.check()
        words = ["Disconnected.", *words, *await _forget(connection, settings, book)]
    await journal.finish(" ".join(filter(None, words)))
    return False


async def _do(stages: Sequence[Deletions], lease: Lease | None, deadline: float) -> dict[Kind, Applied]:
    """What became of each kind, up to the one at which the time was up. Without a lease they are listed only."""
    applied: dict[Kind, Applied] = {}
    for stage in stages:
        await stage.prepare()
        if lease is None:
            await stage.preview()
            continue
        applied[stage.kind] = await stage.apply(lease, deadline)
        if not applied[stage.kind].finished:
            break
    return applied


def _words(run: Run) -> str:
    """What was deleted, as a sentence; nothing when that was not the question."""
    return summary(run.counts) if run.what else ""


def _is_wanted(run: Run, health: Health) -> bool:
    removal = health.removal
    if removal is None:
        return False
    return bool(_left(run, health)) or (removal.asked_by == run.started_by == "disconnect")


def _left(run: Run, health: Health) -> list[Kind]:
    return [] if health.removal is None else [kind for kind in run.what if kind in health.removal.what]


async def _settle(
    connection: Connection, journal: Journal, applied: Mapping[Kind, Applied], now: datetime.datetime
) -> Removal | None:
    """Note what is done. What the PBX refused to delete stays wanted, is told, and is tried again."""
    run = journal.run
    done = {kind for kind, one in applied.items() if not one.retry}

    def change(health: Health) -> Health:
        removal = health.removal
        if removal is None:
            return health
        left = [kind for kind in removal.what if kind not in done]
        reasons = [reason for reason in health.reasons if reason.code != REMOVAL_INCOMPLETE]
        kept: Removal | None = msgspec.structs.replace(removal, what=left)
        if len(done) < len(applied):
            kept = later(msgspec.structs.replace(removal, what=left), now)
            reasons.append(_incomplete(health, run, now))
        elif not left and removal.asked_by != "disconnect":
            kept = None
        held = {} if "users" in done else health.held
        held_groups = {} if "groups" in done else health.held_groups
        gone = {code for kind, code in HELD.items() if kind in done}
        return msgspec.structs.replace(
            health,
            removal=kept,
            reasons=[reason for reason in reasons if reason.code not in gone],
            held=held,
            held_groups=held_groups,
        )

    return (await connection.tell(change)).removal


def _incomplete(health: Health, run: Run, now: datetime.datetime) -> Reason:
    number = sum(value for name, value in run.counts.items() if name.endswith("delete.failed"))
    earlier = next((reason for reason in health.reasons if reason.code == REMOVAL_INCOMPLETE), None)
    return Reason(
        REMOVAL_INCOMPLETE,
        f"The PBX did not delete {number} of the objects that are to be deleted; they are still linked.",
        f"It is tried again by itself. The items of run {run.id} say why each of them failed.",
        earlier.since if earlier else now.isoformat(timespec="seconds"),
    )


async def _forget(connection: Connection, settings: Settings, book: IntentBook) -> list[str]:
    """Forget the connection, except its runs. The memory goes last: as long as it is there, an interrupted
    disconnection is continued. Answers what could not be ended elsewhere, for people."""
    troubles = await subscriptions.remove_all(connection, settings)
    if connection.parting is not None:
        troubles += await connection.parting(connection)
    await _sign_out(connection, settings)
    await forget_accounts(SessionStore(connection.tables, connection.id), connection.secrets)
    for name in SECRETS:
        await connection.secrets.delete(name)
    for kind in ORDER:
        book.settle(kind, [intent.object_id for intent in book.of(kind)])
        await connection.links(kind).clear()
    for table, partition in _rows(connection.id):
        await connection.tables.clear(table, partition)
    await connection.settings.reset()
    await connection.health.clear()
    return troubles


async def _sign_out(connection: Connection, settings: Settings) -> None:
    """Give the PBX's token back, if there is one. Without an answer it ends by itself within 30 minutes."""
    with contextlib.suppress(PbxError, StoreError):
        if (await TokenStore(connection.tables, connection.id, "pbx").read())[0]:
            async with await connection.open_pbx(settings, await connection.health.load()) as pbx:
                await pbx.read("del_token", {}, Answer)


def _rows(connection_id: str) -> list[tuple[str, str]]:
    """The tables and partitions of what is known besides links, settings and runs."""
    names = ("cursors", "groups", "subscriptions", "tokens", "drafts", "sessions")
    parts = {
        "changes": ("directory", "pbx"),
        "sessions": ("states", "attempts"),
        "presence": ("users", "clock"),
        "subscriptions": ("presence",),
    }
    others = [(name, f"{connection_id}-{part}") for name, several in parts.items() for part in several]
    return [*((name, connection_id) for name in names), *others]
