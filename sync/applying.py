"""Carries a plan out on the PBX, and records what the PBX confirmed. The one place that writes.

Work goes in chunks: the intents of a chunk's creates are noted first, on the lease, which also proves that the lease
is still ours; then its operations are sent, then links and items are stored. While a chunk is being sent, the one
before is stored and the one after is noted, so that the PBX does not wait for storage. Whoever holds the lease next
finds the intents and looks what became of them.
"""

import asyncio
import contextlib
import datetime
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import batched
from typing import Protocol

import msgspec

from pbx.errors import ItemError, LimitReached, NotFound, PbxError, Retry, Stop
from store.errors import InvalidRecord, StoreError
from store.leases import Lease
from store.links import Kind, Link, LinkStore
from store.runs import Outcome, RunItem
from sync.plan import Held, Operation, Plan
from sync.sharing import Sharing

CHUNK = 100
"""One transaction of links and one of items for each chunk; Table Storage takes 100 operations a transaction."""
CHUNK_SECONDS = 5
"""At a slow pace chunks are smaller, so that somebody who watches sees progress every few seconds."""
GIVE_UP_AFTER = 5
"""So many failures in a row that pass by themselves mean that the PBX is away: the run ends instead of going through
everybody."""


class Done(msgspec.Struct, frozen=True):
    """What became of one operation."""

    item: RunItem
    save: Link | None = None
    forget: str = ""
    """Object id of a link to remove."""
    retry: bool = False
    """The next run has to look at this object again."""
    is_uncertain: bool = False
    """A create that may have been carried out."""


class Applied(msgspec.Struct, frozen=True):
    """What became of a plan."""

    finished: bool
    """``False``: the time was up; what is left is planned anew by the continuation."""
    retry: frozenset[str] = frozenset()
    """Object ids that failed and are tried again by the next run."""
    linked: int = 0
    """Links gained, less links lost."""


type Recorder = Callable[[Sequence[RunItem]], Awaitable[None]]


class Writer(Protocol):
    """What carrying out an operation means for one kind of objects."""

    kind: Kind

    async def look(self, chunk: Sequence[Operation]) -> None:
        """Read what has to be read right before a chunk is sent."""

    async def send(self, operation: Operation) -> Done:
        """Carry out one operation; raises ``pbx.errors``."""

    def intent(self, operation: Operation) -> Link:
        """The record of a create that is about to be sent."""


class Intent(msgspec.Struct, frozen=True):
    """A create that was begun and whose outcome is not on record yet."""

    kind: Kind
    link: Link


class IntentBook:
    """The intents of a connection, noted on its lease from before a create is sent until its outcome is stored."""

    def __init__(self, lease: Lease | None, found: Iterable[Intent]) -> None:
        self._lease = lease
        self._open = {(intent.kind, intent.link.object_id): intent for intent in found}

    def of(self, kind: Kind) -> list[Link]:
        return [intent.link for intent in self._open.values() if intent.kind == kind]

    async def begin(self, kind: Kind, links: Sequence[Link]) -> None:
        """Note creates that are about to be sent. Raises what ``Lease.write_note`` raises."""
        if links and self._lease is not None:
            self._open |= {(kind, link.object_id): Intent(kind, link) for link in links}
            await self._lease.write_note(encode_intents(list(self._open.values())))

    def settle(self, kind: Kind, object_ids: Iterable[str]) -> None:
        """Forget intents whose outcome is stored; the lease's next write tells it."""
        for object_id in object_ids:
            self._open.pop((kind, object_id), None)
        if self._lease is not None:
            self._lease.keep_note(encode_intents(list(self._open.values())))


class Applier:
    """Applies one plan under a lease."""

    def __init__(
        self,
        *,
        writer: Writer,
        links: LinkStore,
        known: Mapping[str, Link],
        lease: Lease,
        book: IntentBook,
        record: Recorder,
        sharing: Sharing,
        concurrency: int,
        pace: float,
        deadline: float,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._writer = writer
        self._links = links
        self._known = known
        self._lease = lease
        self._book = book
        self._record = record
        self._sharing = sharing
        self._limit = asyncio.Semaphore(concurrency)
        self._chunk = max(10, min(CHUNK, int(pace * CHUNK_SECONDS)))
        self._deadline = deadline
        self._now = now
        self._failures = 0
        self._stopped: Exception | None = None
        self._storing: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._sent = 0
        """Chunks that were sent, or begun to be."""

    async def apply(self, plan: Plan, held: Held) -> Applied:
        """Carry out ``plan`` except what is ``held``. Raises ``pbx.errors.Stop`` and ``Retry`` when going on makes no
        sense, after everything that was done is recorded."""
        chunks = list(batched(plan.operations, self._chunk, strict=False))
        applied = Applied(finished=True)
        try:
            await self._lease.renew()  # what went before may have kept the process too busy to do it in time
            for index, chunk in enumerate(chunks):
                if time.monotonic() > self._deadline:
                    applied = msgspec.structs.replace(applied, finished=False)
                    break
                await (self._noting or self._note(chunk))
                self._noting = asyncio.create_task(self._note(chunks[index + 1])) if chunks[index + 1 :] else None
                results = await self._apply_chunk(chunk, held)
                applied = self._sum(applied, results)
                await self._stored()
                self._storing = asyncio.create_task(self._store(results))
                if self._stopped is not None:
                    break
        finally:
            await self._unnoted(chunks)
            await self._stored()
        if self._stopped is not None:
            raise self._stopped
        return applied

    async def _note(self, chunk: Sequence[Operation]) -> None:
        """Note the creates of a chunk, while the one before it is being sent."""
        kind = self._writer.kind
        await self._book.begin(kind, [self._writer.intent(each) for each in chunk if each.kind == "create"])

    async def _unnoted(self, chunks: Sequence[Sequence[Operation]]) -> None:
        """Forget what was noted ahead and will not be sent."""
        noting, self._noting = self._noting, None
        if noting is None:
            return
        with contextlib.suppress(StoreError):  # the reason why the run ends comes first
            await noting
        unsent = [operation.object_id for chunk in chunks[self._sent :] for operation in chunk]
        self._book.settle(self._writer.kind, unsent)

    async def _apply_chunk(self, chunk: Sequence[Operation], held: Held) -> list[Done]:
        await self._sharing.look()
        self._lease.check()
        self._sent += 1
        await self._writer.look([each for each in chunk if each.object_id not in held.object_ids])

        async def one(operation: Operation) -> Done | None:
            async with self._limit:
                return await self._one(operation, held)

        results: list[Done] = []
        for wave in waves(chunk):
            async with asyncio.TaskGroup() as group:  # when the run is cancelled, no write goes on behind its back
                tasks = [group.create_task(one(operation)) for operation in wave]
            results += [done for task in tasks if (done := task.result()) is not None]
        return results

    async def _store(self, results: Sequence[Done]) -> None:
        await self._links.write(
            save=[done.save for done in results if done.save is not None],
            remove=[done.forget for done in results if done.forget],
        )
        await self._record([done.item for done in results])
        self._book.settle(self._writer.kind, [done.item.object_id for done in results if not done.is_uncertain])

    async def _stored(self) -> None:
        """Wait for the chunk before: at most one is on its way to storage while the next is sent."""
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    async def _one(self, operation: Operation, held: Held) -> Done | None:
        """One operation; ``None`` when the run stopped before its turn."""
        if self._stopped is not None:
            return None
        if operation.object_id in held.object_ids:
            return Done(self._item(operation, "held", reason=f"{operation.reason} {held.reason}"))
        try:
            self._lease.check()
            done = await self._writer.send(operation)
        except Stop as error:
            self._stopped = error
            return self._failed(operation, error)
        except Retry as error:
            self._failures += 1
            if self._failures >= GIVE_UP_AFTER:
                self._stopped = error
            return self._failed(operation, error)
        except PbxError as error:
            return self._failed(operation, error)
        except Exception as error:  # noqa: BLE001 - what the others of the chunk did is recorded before it is raised
            self._stopped = self._stopped or error
            return None
        self._failures = 0
        return msgspec.structs.replace(done, item=self._stamped(done.item))

    def _failed(self, operation: Operation, error: PbxError) -> Done:
        reason = f"{operation.reason} Not done: {error}."
        item = self._item(operation, "failed", reason=reason, errcode=error.errcode)
        is_uncertain = operation.kind == "create" and not isinstance(error, ItemError | LimitReached)
        link = self._known.get(operation.object_id)
        is_unsure = operation.kind == "update" and isinstance(error, Retry | NotFound) and link is not None
        save = msgspec.structs.replace(link, unsure=True) if is_unsure and link is not None else None
        return Done(item, save=save, retry=True, is_uncertain=is_uncertain)

    def _item(self, operation: Operation, outcome: Outcome, *, reason: str, errcode: int | None = None) -> RunItem:
        item = planned_item(operation, outcome, self._writer.kind)
        return self._stamped(msgspec.structs.replace(item, reason=reason, errcode=errcode))

    def _stamped(self, item: RunItem) -> RunItem:
        return msgspec.structs.replace(item, at=self._now().isoformat(timespec="seconds"))

    def _sum(self, applied: Applied, results: Sequence[Done]) -> Applied:
        return Applied(
            finished=True,
            retry=applied.retry | {done.item.object_id for done in results if done.retry},
            linked=applied.linked + sum(map(self._gain, results)),
        )

    def _gain(self, done: Done) -> int:
        """1 for a link that is new, -1 for one that is lost."""
        was_linked = self._was_linked(done)
        if done.save is not None:
            return int(done.save.state == "linked") - int(was_linked)
        return -int(was_linked) if done.forget else 0

    def _was_linked(self, done: Done) -> bool:
        before = self._known.get(done.item.object_id)
        return before is not None and before.state == "linked"


def waves(chunk: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Parts of a chunk whose operations may be sent side by side: one that takes an address, a name, a number or a
    place which an earlier one gives up begins a new part."""
    wave: list[Operation] = []
    given_up: set[str] = set()
    for operation in chunk:
        if wave and _taken(operation) & given_up:
            yield wave
            wave, given_up = [], set()
        wave.append(operation)
        given_up |= _given_up(operation)
    if wave:
        yield wave


PLACE = "a place"
"""Of the licence's, or of the 63 extension groups; no address, name or number looks like it."""


def _taken(operation: Operation) -> set[str]:
    """What an operation needs to be free."""
    place = {operation.number, PLACE} if operation.kind == "create" else set()
    return ({operation.after.get(name, "").casefold() for name in ("email_addr", "name")} | place) - {""}


def _given_up(operation: Operation) -> set[str]:
    """What is free after an operation."""
    place = {operation.number, PLACE} if operation.kind == "delete" else set()
    return ({operation.before.get(name, "").casefold() for name in ("email_addr", "name")} | place) - {""}


def encode_intents(intents: Sequence[Intent]) -> str:
    """Intents as the lease notes them."""
    return msgspec.json.encode(intents).decode() if intents else ""


def decode_intents(note: str) -> list[Intent]:
    """The intents that a lease notes; ``InvalidRecord`` when they do not decode."""
    try:
        return msgspec.json.decode(note, type=list[Intent]) if note else []
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the intents of the last run do not decode: {error}") from error


def planned_item(operation: Operation, outcome: Outcome, kind: Kind) -> RunItem:
    """The record of an operation, as a preview shows it."""
    return RunItem(
        kind=kind,
        operation=operation.kind,
        outcome=outcome,
        object_id=operation.object_id,
        name=operation.name,
        user_principal_name=operation.user_principal_name,
        extension=operation.number,
        pbx_id=operation.pbx_id,
        reason=operation.reason,
        before=operation.before,
        after=operation.after,
        notes=list(operation.notes),
    )


def preview_items(plan: Plan, held: Held, kind: Kind) -> Iterator[RunItem]:
    """What a run of this plan would do."""
    for operation in plan.operations:
        if operation.object_id in held.object_ids:
            item = planned_item(operation, "held", kind)
            yield msgspec.structs.replace(item, reason=f"{operation.reason} {held.reason}")
        else:
            yield planned_item(operation, "skipped" if operation.kind == "skip" else "planned", kind)


def pbx_id_of(operation: Operation) -> int:
    """The id of the PBX object that an operation is about."""
    if operation.pbx_id is None:
        raise ValueError(f"a {operation.kind} without the id of a PBX object")
    return operation.pbx_id
