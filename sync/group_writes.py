"""Carries out operations on extension groups."""

import datetime
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pbx.errors import Conflict, ItemError, LimitReached, OutcomeUnknown, PbxError, Refused, Retry
from pbx.groups import ExtensionGroup, ExtensionGroups
from store.links import Kind, Link
from store.runs import Outcome, RunItem
from sync.applying import Done, IntentBook, pbx_id_of, planned_item
from sync.plan import Operation

NO_ROOM = "The PBX has no room for another extension group: it takes 63."
EMPTY = "The PBX takes no extension group without members; it is made as soon as a member has an extension."
EMPTIED = "The PBX takes no extension group without members; this one keeps its last members until there are others."
REPLACED = "The firmware does not rename extension groups: a new one was made with its members, and the old deleted."
USUAL_RIGHTS = {None, "user"}
"""What the PBX gives a member of whom nothing is said."""


class GroupWriter:
    """Writes extension groups, one operation at a time."""

    kind: Kind = "groups"

    def __init__(
        self,
        *,
        groups: ExtensionGroups,
        details: Mapping[int, ExtensionGroup],
        extensions: Mapping[str, int],
        known: Mapping[str, Link],
        book: IntentBook,
        run_id: str,
        fence: int,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._groups = groups
        self._details = details
        """Extension groups as they were read for the plan."""
        self._extensions = extensions
        """The PBX's ids of linked extensions, by the user's object id."""
        self._known = known
        self._book = book
        self._run_id = run_id
        self._fence = fence
        self._now = now
        self._full = False
        self.strangers: frozenset[str] = frozenset()

    async def look(self, chunk: Sequence[Operation]) -> None:
        """Read once more what is to be deleted: a delete is for good, and ids mean other groups after a restore."""
        touched = {pbx_id_of(operation): operation for operation in chunk if operation.kind == "delete"}
        found = await self._groups.details(list(touched)) if touched else []
        self.strangers = frozenset(
            touched[group.id].object_id
            for group in found
            if group.name.casefold() != touched[group.id].before.get("name", group.name).casefold()
        )

    async def send(self, operation: Operation) -> Done:
        match operation.kind:
            case "create":
                return await self._create(operation)
            case "update" | "associate":
                return await self._overwrite(operation)
            case "delete" if operation.object_id in self.strangers:
                reason = "The extension group with this id has another name now; it was left alone."
                return Done(self._item(operation, "skipped", reason=reason), forget=operation.object_id)
            case "delete":
                await _delete(self._groups, pbx_id_of(operation))
                return Done(self._item(operation, "done"), forget=operation.object_id)
            case "release":
                return Done(self._item(operation, "done"), save=self._released(operation))
            case _:
                return Done(self._item(operation, "skipped"))

    def intent(self, operation: Operation) -> Link:
        return msgspec.structs.replace(self._link(operation, None), state="intent")

    # Creating

    async def _create(self, operation: Operation) -> Done:
        if self._full:
            return Done(self._item(operation, "skipped", reason=NO_ROOM))
        ids = self._ids(operation)
        try:
            pbx_id = await self._groups.create(operation.fields["name"], ids)
        except LimitReached:
            self._full = True
            return Done(self._item(operation, "skipped", reason=NO_ROOM))
        except Refused as error:
            if ids:
                raise
            return Done(self._item(operation, "skipped", reason=EMPTY, errcode=error.errcode))
        except (Retry, Conflict) as error:
            # Sent, and perhaps carried out: the PBX is read again before anything else.
            adopted = await self._adopt(operation.fields["name"], ids)
            if adopted is None:
                raise
            pbx_id = adopted
            operation = _noted(operation, f"Found on the PBX after its answer was lost ({error}).")
        done = msgspec.structs.replace(operation, pbx_id=pbx_id)
        return Done(self._item(done, "done"), save=self._link(done, pbx_id))

    async def _adopt(self, name: str, ids: Sequence[int]) -> int | None:
        """The id of the group that a create made after all: it has the name and exactly the members that were sent."""
        rows = [row.id for row in await self._groups.all() if row.name == name and not row.everyone]
        for group in await self._groups.details(rows):
            if {member.ext_id for member in group.members} == set(ids):
                return group.id
        return None

    # Updating

    async def _overwrite(self, operation: Operation) -> Done:
        pbx_id = pbx_id_of(operation)
        if "name" in operation.after:
            return await self._rename(operation, pbx_id)
        if "members" not in operation.after:
            return self._kept(operation, pbx_id)
        return await self._regroup(operation, pbx_id)

    async def _regroup(self, operation: Operation, pbx_id: int) -> Done:
        """Write the members alone."""
        ids = self._ids(operation)
        try:
            await self._write(pbx_id, ids)
        except Refused as error:
            if ids:
                raise
            return Done(self._item(operation, "skipped", reason=EMPTIED, errcode=error.errcode))
        return self._kept(operation, pbx_id)

    async def _write(self, pbx_id: int, ids: Sequence[int] | None, name: str | None = None) -> None:
        """Replace the members unless ``ids`` is ``None``; who stays keeps the rights that an administrator gave.
        Repeating it does no harm."""
        members = None if ids is None else self._as_read(pbx_id).membership(ids)
        try:
            await self._groups.update(pbx_id, name=name, members=members)
        except OutcomeUnknown:
            await self._groups.update(pbx_id, name=name, members=members)

    async def _rename(self, operation: Operation, pbx_id: int) -> Done:
        """Rename by an update if the firmware takes it, which it need not say; else by a new group in place of the old.

        Renaming is not among the documented members of the update, so what became of it is read again.
        """
        name, ids = operation.after["name"], self._ids(operation)
        try:
            await self._write(pbx_id, ids if "members" in operation.after else None, name)
        except Conflict:
            raise
        except ItemError:
            return await self._replace(operation, pbx_id, name, ids)
        found = await self._groups.details([pbx_id])
        if found and found[0].name == name:
            return self._kept(_noted(operation, "Renamed by an update."), pbx_id)
        return await self._replace(operation, pbx_id, name, ids)

    async def _replace(self, operation: Operation, pbx_id: int, name: str, ids: Sequence[int]) -> Done:
        """Make a group with the new name, then delete the old one: nobody is without a group in between. What is begun
        stays noted until it is done, so that a later run finishes it."""
        await self._book.begin("groups", [self.intent(operation)])
        try:
            new_id = await self._made(name, ids)
            words = await hand_over(self._groups, self._as_read(pbx_id), new_id, ids)
        except LimitReached:
            return await self._unnamed(operation, pbx_id, f"{NO_ROOM} It keeps its name.")
        except ItemError as error:
            if ids:
                raise
            return await self._unnamed(operation, pbx_id, f"It keeps its name: {error}.")
        except PbxError as error:
            reason = f"{operation.reason} Not finished: {error}. The next run looks what became of it."
            item = self._item(operation, "failed", reason=reason, errcode=error.errcode)
            return Done(item, retry=True, is_uncertain=True)
        return self._kept(msgspec.structs.replace(_noted(operation, words), pbx_id=new_id), new_id)

    async def _made(self, name: str, ids: Sequence[int]) -> int:
        try:
            return await self._groups.create(name, ids)
        except Retry:
            adopted = await self._adopt(name, ids)
            if adopted is None:
                raise
            return adopted

    async def _unnamed(self, operation: Operation, pbx_id: int, words: str) -> Done:
        """Write the members alone; the name has to wait."""
        if "members" not in operation.after:
            return Done(self._item(operation, "skipped", reason=words))
        old = operation.before.get("name", "")
        after = {name: value for name, value in operation.after.items() if name != "name"}
        nameless = msgspec.structs.replace(_noted(operation, words), after=after, fields={"name": old})
        return await self._regroup(nameless, pbx_id)

    def _as_read(self, pbx_id: int) -> ExtensionGroup:
        return self._details.get(pbx_id, ExtensionGroup(pbx_id, "", everyone=False, members=()))

    # Records

    def _ids(self, operation: Operation) -> list[int]:
        """The members' ids on the PBX; who lost the extension since the plan was made is left out."""
        return sorted(self._extensions[user] for user in operation.members if user in self._extensions)

    def _kept(self, operation: Operation, pbx_id: int) -> Done:
        return Done(self._item(operation, "done"), save=self._link(operation, pbx_id))

    def _link(self, operation: Operation, pbx_id: int | None) -> Link:
        before = self._known.get(operation.object_id)
        was_associated = before is not None and before.associated and operation.kind == "update"
        return Link(
            object_id=operation.object_id,
            pbx_id=pbx_id,
            name=operation.name,
            written=operation.fields,
            associated=operation.kind == "associate" or was_associated,
            changed_at=self._now().isoformat(timespec="seconds"),
            run_id=self._run_id,
            fence=self._fence,
        )

    def _released(self, operation: Operation) -> Link | None:
        link = self._known.get(operation.object_id)
        return None if link is None else msgspec.structs.replace(link, state="released", run_id=self._run_id)

    def _item(self, operation: Operation, outcome: Outcome, *, reason: str = "", errcode: int | None = None) -> RunItem:
        item = planned_item(operation, outcome, self.kind)
        return msgspec.structs.replace(item, reason=reason or operation.reason, errcode=errcode)


def _noted(operation: Operation, words: str) -> Operation:
    return msgspec.structs.replace(operation, notes=(*operation.notes, words))


async def hand_over(groups: ExtensionGroups, old: ExtensionGroup, new_id: int, ids: Sequence[int]) -> str:
    """Let the extension group ``new_id`` of the members ``ids`` take the place of ``old``: give it the rights that the
    members had there, and delete the old one. Answers what became of it, for people. Raises what is not about the two
    groups, and may be done again then."""
    members = old.membership(ids)
    try:
        if any(member.user_type not in USUAL_RIGHTS for member in members):
            await groups.update(new_id, members=members)
        await _delete(groups, old.id)
    except ItemError as error:
        return f"A new extension group was made with the members; the old one could not be deleted: {error}."
    return REPLACED


async def _delete(groups: ExtensionGroups, pbx_id: int) -> None:
    try:
        await groups.delete(pbx_id)
    except OutcomeUnknown:
        if await groups.details([pbx_id]):
            raise
