"""Carries out operations on extensions."""

import datetime
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pbx.client import Pbx
from pbx.errors import Conflict, LimitReached, OutcomeUnknown, PbxError, Retry
from pbx.models import NewExtension
from store.links import Kind, Link
from store.runs import Outcome, RunItem
from sync.applying import Done, IntentBook, pbx_id_of, planned_item
from sync.numbers import Numbers
from sync.passwords import new_password
from sync.plan import Leaving, Operation

OTHER_NUMBERS = 3
"""How many more numbers a create tries when its own is taken."""


class NumberTaken(Conflict):
    """The number of a create has been given to another extension since the PBX was read."""


class UserWriter:
    """Writes extensions, one operation at a time."""

    kind: Kind = "users"

    def __init__(
        self,
        *,
        pbx: Pbx,
        known: Mapping[str, Link],
        run_id: str,
        fence: int,
        welcome: bool,
        is_read: bool,
        numbers: Numbers,
        book: IntentBook,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._pbx = pbx
        self._known = known
        self._run_id = run_id
        self._fence = fence
        self._welcome = welcome
        self._is_read = is_read
        """The plan was made with all extensions of the PBX at hand."""
        self._numbers = numbers
        """What is still free when a create finds its number taken."""
        self._book = book
        self._now = now
        self._full = False
        self.strangers: frozenset[str] = frozenset()

    async def look(self, chunk: Sequence[Operation]) -> None:
        """Find the objects whose extension id means another extension now, after a factory reset or a restored backup.

        A delete is for good, so each is read once more right before; an update only where the plan was made without
        reading the PBX, and something is written.
        """
        touched = {
            pbx_id_of(operation): operation
            for operation in chunk
            if operation.kind == "delete" or (operation.kind == "update" and operation.after and not self._is_read)
        }
        found = await self._pbx.details(list(touched)) if touched else []
        self.strangers = frozenset(
            touched[extension.id].object_id
            for extension in found
            if extension.number != touched[extension.id].number
            and not _same_address(extension.email_addr, self._known.get(touched[extension.id].object_id))
        )

    async def send(self, operation: Operation) -> Done:
        match operation.kind:
            case "create":
                return await self._create(operation)
            case "update" | "associate" if operation.object_id in self.strangers:
                reason = "The extension with this id is another one now; the next full run looks for the right one."
                return Done(self._item(operation, "skipped", reason=reason))
            case "update" | "associate":
                return await self._overwrite(operation)
            case "delete":
                return await self._delete(operation)
            case "release":
                return Done(self._item(operation, "done"), save=self._released(operation))
            case _:
                return Done(self._item(operation, "skipped"), save=self._with_mark(operation, operation.leaving))

    def intent(self, operation: Operation) -> Link:
        return msgspec.structs.replace(self._link(operation, None), state="intent")

    async def _create(self, operation: Operation) -> Done:
        if self._full:
            return self._no_room(operation)
        try:
            created, pbx_id = await self._numbered(operation)
        except LimitReached:
            self._full = True
            return self._no_room(operation)
        return await self._welcomed(created, pbx_id)

    async def _numbered(self, operation: Operation) -> tuple[Operation, int]:
        """Create, with another free number where the own one was taken meanwhile and any would do."""
        for _ in range(OTHER_NUMBERS):
            try:
                return await self._made(operation)
            except NumberTaken:
                other = self._numbers.first_free() if operation.any_number else None
                if other is None:
                    raise
            operation = await self._renumbered(operation, other)
        return await self._made(operation)

    async def _renumbered(self, operation: Operation, number: str) -> Operation:
        """The same create with another number, noted like the first one before it is sent."""
        words = f"The number {operation.number} was given to another extension meanwhile; {number} was tried next."
        renumbered = msgspec.structs.replace(operation, number=number, notes=(*operation.notes, words))
        await self._book.begin(self.kind, [self.intent(renumbered)])
        return renumbered

    async def _made(self, operation: Operation) -> tuple[Operation, int]:
        """The operation as it was carried out, and the id of the extension."""
        forbidden = [operation.number, operation.fields["first_name"], operation.fields["last_name"]]
        new = NewExtension(
            number=operation.number,
            user_password=new_password(forbidden),
            reg_password=new_password(forbidden),
            fields=operation.fields,
        )
        try:
            return operation, await self._pbx.create_extension(new)
        except (Retry, Conflict) as error:
            # Sent, and perhaps carried out: the PBX is read again before anything else.
            row = await self._pbx.find_by_number(operation.number)
            if row is None:
                raise
            if not await self._is_ours(row.id, operation):
                if isinstance(error, Conflict):
                    words = f"the number {operation.number} has been given to another extension meanwhile"
                    raise NumberTaken(words, error.errcode) from error
                raise
            words = f"Found on the PBX after its answer was lost ({error})."
            return msgspec.structs.replace(operation, notes=(*operation.notes, words)), row.id

    async def _is_ours(self, pbx_id: int, operation: Operation) -> bool:
        """Whether an extension with the number of a create is what the create made after all."""
        details = await self._pbx.details([pbx_id])
        return bool(details) and details[0].fields() == {**details[0].fields(), **operation.fields}

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
        pbx_id = pbx_id_of(operation)
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
            return Done(self._item(operation, "skipped", reason=words), save=self._with_mark(operation, Leaving()))
        await self._update(pbx_id_of(operation), rest)
        fields = {**operation.fields, "email_addr": operation.before.get("email_addr", "")}
        done = msgspec.structs.replace(operation, after=rest, fields=fields, notes=(*operation.notes, words))
        return Done(self._item(done, "done"), save=self._link(done, pbx_id_of(done)))

    async def _delete(self, operation: Operation) -> Done:
        if operation.object_id in self.strangers:
            reason = "The extension with this id has another number and another address now; it was left alone."
            return Done(self._item(operation, "skipped", reason=reason), forget=operation.object_id)
        pbx_id = pbx_id_of(operation)
        try:
            await self._pbx.delete_extension(pbx_id)
        except OutcomeUnknown:
            if await self._pbx.details([pbx_id]):
                raise
        return Done(self._item(operation, "done"), forget=operation.object_id)

    # Records

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
            changed_at=self._changed_at(operation),
            run_id=self._run_id,
            fence=self._fence,
        )

    def _changed_at(self, operation: Operation) -> str:
        """Now, except for an update that wrote nothing to the PBX."""
        link = self._known.get(operation.object_id)
        if link is not None and operation.kind == "update" and not operation.after:
            return link.changed_at
        return self._now().isoformat(timespec="seconds")

    def _was_associated(self, operation: Operation) -> bool:
        link = self._known.get(operation.object_id)
        return link is not None and link.associated and operation.kind == "update"

    def _released(self, operation: Operation) -> Link | None:
        link = self._known.get(operation.object_id)
        if link is None:
            return None
        return msgspec.structs.replace(link, state="released", leaving_since="", leaving_reason="", run_id=self._run_id)

    def _with_mark(self, operation: Operation, leaving: Leaving | None) -> Link | None:
        """The link with this mark, or without one; ``None`` when nothing about it changes."""
        link = self._known.get(operation.object_id)
        if link is None or leaving is None or leaving == Leaving(link.leaving_since, link.leaving_reason):
            return None
        return msgspec.structs.replace(
            link, leaving_since=leaving.since, leaving_reason=leaving.reason, run_id=self._run_id
        )

    def _item(self, operation: Operation, outcome: Outcome, *, reason: str = "") -> RunItem:
        item = planned_item(operation, outcome, self.kind)
        return msgspec.structs.replace(item, reason=reason) if reason else item


def _same_address(address: str | None, link: Link | None) -> bool:
    known = link.written.get("email_addr", "") if link is not None else ""
    return bool(known) and (address or "").casefold() == known.casefold()
