"""Carries a plan out on the PBX, and records what the PBX confirmed. The one place that writes.

Work goes in chunks: the intents of a chunk's creates are noted first, on the lease, which also proves that the lease
is still ours; then its operations are sent, then links and items are stored. Whoever holds the lease next finds the
intents and looks what became of them.
"""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import batched

import msgspec

from pbx.client import Pbx
from pbx.errors import Conflict, ItemError, LimitReached, NotFound, OutcomeUnknown, PbxError, Retry, Stop
from pbx.models import NewExtension
from store.errors import InvalidRecord
from store.leases import Lease
from store.links import Link, LinkStore
from store.runs import Outcome, RunItem
from sync.passwords import new_password
from sync.plan import Held, Operation, Plan

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


class Applier:
    """Applies one plan under a lease."""

    def __init__(
        self,
        *,
        pbx: Pbx,
        links: LinkStore,
        known: Mapping[str, Link],
        lease: Lease,
        record: Recorder,
        run_id: str,
        welcome: bool,
        pace: float,
        deadline: float,
        is_read: bool,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._pbx = pbx
        self._links = links
        self._known = known
        self._lease = lease
        self._record = record
        self._run_id = run_id
        self._welcome = welcome
        self._chunk = max(10, min(CHUNK, int(pace * CHUNK_SECONDS)))
        self._deadline = deadline
        self._is_read = is_read
        self._now = now
        self._uncertain: list[Link] = []
        self._failures = 0
        self._full = False
        self._stopped: Exception | None = None

    async def apply(self, plan: Plan, held: Held) -> Applied:
        """Carry out ``plan`` except what is ``held``. Raises ``pbx.errors.Stop`` and ``Retry`` when going on makes no
        sense, after everything that was done is recorded."""
        retry: set[str] = set()
        linked = 0
        for chunk in batched(plan.operations, self._chunk, strict=False):
            if time.monotonic() > self._deadline:
                return Applied(finished=False, retry=frozenset(retry), linked=linked)
            results = await self._apply_chunk(chunk, held)
            retry.update(done.item.object_id for done in results if done.retry)
            linked += sum(self._gain(done) for done in results)
            if self._stopped is not None:
                raise self._stopped
        return Applied(finished=True, retry=frozenset(retry), linked=linked)

    async def _apply_chunk(self, chunk: Sequence[Operation], held: Held) -> list[Done]:
        self._lease.check()
        intents = [self._intent(operation) for operation in chunk if operation.kind == "create"]
        if intents:
            await self._lease.write_note(encode_intents([*self._uncertain, *intents]))
        strangers = await self._strangers(chunk)
        limit = asyncio.Semaphore(self._pbx.concurrency)

        async def one(operation: Operation) -> Done | None:
            async with limit:
                return await self._one(operation, held, strangers)

        results: list[Done] = []
        for wave in waves(chunk):
            async with asyncio.TaskGroup() as group:  # when the run is cancelled, no write goes on behind its back
                tasks = [group.create_task(one(operation)) for operation in wave]
            results += [done for task in tasks if (done := task.result()) is not None]
        await self._links.write(
            save=[done.save for done in results if done.save is not None],
            remove=[done.forget for done in results if done.forget],
        )
        await self._record([done.item for done in results])
        certain = {done.item.object_id for done in results if not done.is_uncertain}
        self._uncertain += [intent for intent in intents if intent.object_id not in certain]
        self._lease.keep_note(encode_intents(self._uncertain))
        return results

    async def _one(self, operation: Operation, held: Held, strangers: frozenset[str]) -> Done | None:
        """One operation; ``None`` when the run stopped before its turn."""
        if self._stopped is not None:
            return None
        if operation.object_id in held.object_ids:
            return Done(self._item(operation, "held", reason=f"{operation.reason} {held.reason}"))
        try:
            self._lease.check()
            done = await self._send(operation, strangers)
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
        return done

    async def _send(self, operation: Operation, strangers: frozenset[str]) -> Done:
        match operation.kind:
            case "create":
                return await self._create(operation)
            case "update" | "associate" if operation.object_id in strangers:
                reason = "The extension with this id is another one now; the next full run looks for the right one."
                return Done(self._item(operation, "skipped", reason=reason))
            case "update" | "associate":
                return await self._overwrite(operation)
            case "delete":
                return await self._delete(operation, strangers)
            case "release":
                return Done(self._item(operation, "done"), save=self._released(operation))
            case _:
                return Done(self._item(operation, "skipped"))

    async def _create(self, operation: Operation) -> Done:
        if self._full:
            return self._no_room(operation)
        forbidden = [operation.number, operation.fields["first_name"], operation.fields["last_name"]]
        new = NewExtension(
            number=operation.number,
            user_password=new_password(forbidden),
            reg_password=new_password(forbidden),
            fields=operation.fields,
        )
        try:
            pbx_id = await self._pbx.create_extension(new)
        except LimitReached:
            self._full = True
            return self._no_room(operation)
        except (Retry, Conflict) as error:
            # Sent, and perhaps carried out: the PBX is read again before anything else.
            adopted = await self._adopt(operation)
            if adopted is None:
                raise
            pbx_id = adopted
            operation = msgspec.structs.replace(
                operation, notes=(*operation.notes, f"Found on the PBX after its answer was lost ({error}).")
            )
        return await self._welcomed(operation, pbx_id)

    async def _adopt(self, operation: Operation) -> int | None:
        """The id of the extension that this create made after all; ``None`` if there is none."""
        row = await self._pbx.find_by_number(operation.number)
        if row is None:
            return None
        details = await self._pbx.details([row.id])
        is_ours = bool(details) and details[0].fields() == {**details[0].fields(), **operation.fields}
        return row.id if is_ours else None

    async def _welcomed(self, operation: Operation, pbx_id: int) -> Done:
        notes = operation.notes
        if self._welcome and operation.fields["email_addr"]:
            try:
                await self._pbx.send_welcome_email(pbx_id)
                notes = (*notes, "The welcome e-mail was sent.")
            except PbxError as error:
                notes = (*notes, f"The welcome e-mail could not be sent: {error}.")
        done = msgspec.structs.replace(operation, pbx_id=pbx_id, notes=notes)
        return Done(self._item(done, "done"), save=self._link(done, pbx_id))

    def _no_room(self, operation: Operation) -> Done:
        reason = "The PBX has no room for another extension: the limit of its licence is reached."
        return Done(self._item(operation, "skipped", reason=reason))

    async def _overwrite(self, operation: Operation) -> Done:
        """Update, or take over, an extension. Sending the fields twice does no harm, so a lost answer is repeated."""
        pbx_id = _id(operation)
        try:
            await self._update(pbx_id, operation.after)
        except Conflict:
            return await self._without_address(operation)
        return Done(self._item(operation, "done"), save=self._link(operation, pbx_id))

    async def _update(self, pbx_id: int, fields: Mapping[str, str]) -> None:
        if not fields:
            return
        try:
            await self._pbx.update_extension(pbx_id, fields)
        except OutcomeUnknown:
            await self._pbx.update_extension(pbx_id, fields)

    async def _without_address(self, operation: Operation) -> Done:
        """An update whose address somebody else has, which a run that did not list the PBX cannot know: the rest of it
        is written all the same."""
        rest = {name: value for name, value in operation.after.items() if name != "email_addr"}
        words = f"The e-mail address {operation.after.get('email_addr', '')} is in use by another extension."
        if len(rest) == len(operation.after):
            raise Conflict(words)
        if not rest:
            return Done(self._item(operation, "skipped", reason=words))
        await self._update(_id(operation), rest)
        fields = {**operation.fields, "email_addr": operation.before.get("email_addr", "")}
        done = msgspec.structs.replace(operation, after=rest, fields=fields, notes=(*operation.notes, words))
        return Done(self._item(done, "done"), save=self._link(done, _id(done)))

    async def _delete(self, operation: Operation, strangers: frozenset[str]) -> Done:
        if operation.object_id in strangers:
            reason = "The extension with this id has another number and another address now; it was left alone."
            return Done(self._item(operation, "skipped", reason=reason), forget=operation.object_id)
        pbx_id = _id(operation)
        try:
            await self._pbx.delete_extension(pbx_id)
        except OutcomeUnknown:
            if await self._pbx.details([pbx_id]):
                raise
        return Done(self._item(operation, "done"), forget=operation.object_id)

    async def _strangers(self, chunk: Sequence[Operation]) -> frozenset[str]:
        """The object ids whose extension id means another extension now, after a factory reset or a restored backup.

        A delete is for good, so each is read once more right before; an update only where the plan was made without
        reading the PBX.
        """
        kinds = {"delete"} if self._is_read else {"delete", "update"}
        touched = {_id(operation): operation for operation in chunk if operation.kind in kinds}
        if not touched:
            return frozenset()
        return frozenset(
            touched[extension.id].object_id
            for extension in await self._pbx.details(list(touched))
            if extension.number != touched[extension.id].number
            and not _same_address(extension.email_addr, self._known.get(touched[extension.id].object_id))
        )

    # Records

    def _intent(self, operation: Operation) -> Link:
        link = self._link(operation, None)
        return msgspec.structs.replace(link, state="intent")

    def _link(self, operation: Operation, pbx_id: int | None) -> Link:
        return Link(
            object_id=operation.object_id,
            pbx_id=pbx_id,
            number=operation.number,
            name=operation.name,
            email=operation.fields["email_addr"],
            user_principal_name=operation.user_principal_name,
            written=operation.fields,
            associated=operation.kind == "associate" or self._was_associated(operation),
            changed_at=self._now().isoformat(timespec="seconds"),
            run_id=self._run_id,
            fence=self._lease.fence,
        )

    def _was_associated(self, operation: Operation) -> bool:
        link = self._known.get(operation.object_id)
        return link is not None and link.associated and operation.kind == "update"

    def _released(self, operation: Operation) -> Link | None:
        link = self._known.get(operation.object_id)
        return None if link is None else msgspec.structs.replace(link, state="released", run_id=self._run_id)

    def _failed(self, operation: Operation, error: PbxError) -> Done:
        reason = f"{operation.reason} Not done: {error}."
        item = self._item(operation, "failed", reason=reason, errcode=error.errcode)
        is_uncertain = operation.kind == "create" and not isinstance(error, ItemError | LimitReached)
        link = self._known.get(operation.object_id)
        is_unsure = operation.kind == "update" and isinstance(error, Retry | NotFound) and link is not None
        save = msgspec.structs.replace(link, unsure=True) if is_unsure and link is not None else None
        return Done(item, save=save, retry=True, is_uncertain=is_uncertain)

    def _item(self, operation: Operation, outcome: Outcome, *, reason: str = "", errcode: int | None = None) -> RunItem:
        return msgspec.structs.replace(
            planned_item(operation, outcome),
            reason=reason or operation.reason,
            errcode=errcode,
            at=self._now().isoformat(timespec="seconds"),
        )

    def _gain(self, done: Done) -> int:
        """1 for a link that is new, -1 for one that is lost."""
        before = self._known.get(done.item.object_id)
        was_linked = before is not None and before.state == "linked"
        if done.save is not None:
            return int(done.save.state == "linked") - int(was_linked)
        return -int(was_linked) if done.forget else 0


def waves(chunk: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Parts of a chunk whose operations may be sent side by side: one that takes an address or a number which an
    earlier one gives up begins a new part."""
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


def _taken(operation: Operation) -> set[str]:
    """The address and the number that an operation needs to be free."""
    number = {operation.number} if operation.kind == "create" else set()
    return {operation.after.get("email_addr", "").casefold(), *number} - {""}


def _given_up(operation: Operation) -> set[str]:
    """The address and the number that are free after an operation."""
    number = {operation.number} if operation.kind == "delete" else set()
    return {operation.before.get("email_addr", "").casefold(), *number} - {""}


def encode_intents(intents: Sequence[Link]) -> str:
    """Intents as the lease notes them."""
    return msgspec.json.encode(intents).decode() if intents else ""


def decode_intents(note: str) -> list[Link]:
    """The intents that a lease notes; ``InvalidRecord`` when they do not decode."""
    try:
        return msgspec.json.decode(note, type=list[Link]) if note else []
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the intents of the last run do not decode: {error}") from error


def planned_item(operation: Operation, outcome: Outcome) -> RunItem:
    """The record of an operation, as a preview shows it."""
    return RunItem(
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


def preview_items(plan: Plan, held: Held) -> Iterator[RunItem]:
    """What a run of this plan would do."""
    for operation in plan.operations:
        if operation.object_id in held.object_ids:
            item = planned_item(operation, "held")
            yield msgspec.structs.replace(item, reason=f"{operation.reason} {held.reason}")
        else:
            yield planned_item(operation, "skipped" if operation.kind == "skip" else "planned")


def _same_address(address: str | None, link: Link | None) -> bool:
    known = link.written.get("email_addr", "") if link is not None else ""
    return bool(known) and (address or "").casefold() == known.casefold()


def _id(operation: Operation) -> int:
    if operation.pbx_id is None:
        raise ValueError(f"a {operation.kind} without the id of an extension")
    return operation.pbx_id
