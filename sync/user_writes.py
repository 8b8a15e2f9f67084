"""Carries out operations on extensions."""

import datetime
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pbx.client import Pbx
from pbx.errors import Conflict, LimitReached, OutcomeUnknown, PbxError, Retry
from pbx.models import NewExtension
from store.links import Kind, Link
from store.runs import Outcome, RunItem
from sync.applying import Done, pbx_id_of, planned_item
from sync.passwords import new_password
from sync.plan import Operation


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
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._pbx = pbx
        self._known = known
        self._run_id = run_id
        self._fence = fence
        self._welcome = welcome
        self._is_read = is_read
        """The plan was made with all extensions of the PBX at hand."""
        self._now = now
        self._full = False
        self._strangers: frozenset[str] = frozenset()

    async def look(self, chunk: Sequence[Operation]) -> None:
        """Find the objects whose extension id means another extension now, after a factory reset or a restored backup.

        A delete is for good, so each is read once more right before; an update only where the plan was made without
        reading the PBX.
        """
        kinds = {"delete"} if self._is_read else {"delete", "update"}
        touched = {pbx_id_of(operation): operation for operation in chunk if operation.kind in kinds}
        found = await self._pbx.details(list(touched)) if touched else []
        self._strangers = frozenset(
            touched[extension.id].object_id
            for extension in found
            if extension.number != touched[extension.id].number
            and not _same_address(extension.email_addr, self._known.get(touched[extension.id].object_id))
        )

    async def send(self, operation: Operation) -> Done:
        match operation.kind:
            case "create":
                return await self._create(operation)
            case "update" | "associate" if operation.object_id in self._strangers:
                reason = "The extension with this id is another one now; the next full run looks for the right one."
                return Done(self._item(operation, "skipped", reason=reason))
            case "update" | "associate":
                return await self._overwrite(operation)
            case "delete":
                return await self._delete(operation)
            case "release":
                return Done(self._item(operation, "done"), save=self._released(operation))
            case _:
                return Done(self._item(operation, "skipped"))

    def intent(self, operation: Operation) -> Link:
        return msgspec.structs.replace(self._link(operation, None), state="intent")

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
            return Done(self._item(operation, "skipped", reason=words))
        await self._update(pbx_id_of(operation), rest)
        fields = {**operation.fields, "email_addr": operation.before.get("email_addr", "")}
        done = msgspec.structs.replace(operation, after=rest, fields=fields, notes=(*operation.notes, words))
        return Done(self._item(done, "done"), save=self._link(done, pbx_id_of(done)))

    async def _delete(self, operation: Operation) -> Done:
        if operation.object_id in self._strangers:
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
            changed_at=self._now().isoformat(timespec="seconds"),
            run_id=self._run_id,
            fence=self._fence,
        )

    def _was_associated(self, operation: Operation) -> bool:
        link = self._known.get(operation.object_id)
        return link is not None and link.associated and operation.kind == "update"

    def _released(self, operation: Operation) -> Link | None:
        link = self._known.get(operation.object_id)
        return None if link is None else msgspec.structs.replace(link, state="released", run_id=self._run_id)

    def _item(self, operation: Operation, outcome: Outcome, *, reason: str = "") -> RunItem:
        item = planned_item(operation, outcome, self.kind)
        return msgspec.structs.replace(item, reason=reason) if reason else item


def _same_address(address: str | None, link: Link | None) -> bool:
    known = link.written.get("email_addr", "") if link is not None else ""
    return bool(known) and (address or "").casefold() == known.casefold()
