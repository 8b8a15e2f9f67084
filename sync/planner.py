"""Plans users: who becomes, stays or ceases to be an extension. Pure: data in, plan out, no I/O, clock or randomness.

The order of the input never matters: users are taken by name and then by object id, so that a directory read in another
order gives the same numbers.
"""

from collections.abc import Iterable, Mapping

import msgspec

from graph.models import User
from store.document import Users
from sync.fields import Desired, desired, display_name
from sync.numbers import Numbers, Unusable, number_from
from sync.plan import Extension, Inventory, Kind, Linked, Operation, Plan


class UsersInput(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plan depends on."""

    users: Mapping[str, User]
    """What was read from Entra, by object id; the last entry of a round."""
    complete: bool
    """The whole directory was read, so a link without a user means that the user is gone."""
    links: Mapping[str, Linked]
    """By object id. All of them when ``complete``, else at least those of ``users``."""
    rules: Users
    members: frozenset[str] | None = None
    """Object ids of the users in the groups of the scope; ``None`` when the scope is not by group."""
    inventory: Inventory | None = None
    """The PBX's extensions; ``None`` in an incremental run that creates and associates nothing."""


def plan_users(data: UsersInput) -> Plan:
    """The one plan that a preview shows and a run carries out."""
    return _Planner(data).plan()


def needs_inventory(
    users: Iterable[User], links: Mapping[str, Linked], rules: Users, members: frozenset[str] | None
) -> bool:
    """Whether planning these users takes the list of all extensions: only a create or an associate does."""
    return any(
        (user.id not in links or links[user.id].released)
        and user.removed is None
        and _in_scope(user, rules, members)
        and not _is_dropped(user, rules)
        for user in users
    )


class _Planner:
    """The state of one planning: what is taken, and the operations so far."""

    def __init__(self, data: UsersInput) -> None:
        self._data = data
        self._rules = data.rules
        inventory = data.inventory or Inventory()
        self._extensions = inventory.extensions
        self._free = inventory.free
        self._numbers = Numbers(_numbers_in_use(inventory, data.links), data.rules.number.start)
        self._emails = {
            extension.email.casefold(): extension for extension in self._extensions.values() if extension.email
        }
        self._linked_ids = {link.pbx_id for link in data.links.values() if not link.released}
        self._claimed_emails: dict[str, str] = {}
        self._removals: list[Operation] = []
        self._changes: list[Operation] = []
        self._creations: list[Operation] = []
        self._skips: list[Operation] = []
        self._unchanged = 0
        self._out_of_scope = 0

    def plan(self) -> Plan:
        data = self._data
        present = sorted(
            (user for user in data.users.values() if user.removed is None),
            key=lambda user: (display_name(user).casefold(), user.id),
        )
        self._plan_gone(present)
        wanted = [user for user in present if self._is_wanted(user)]
        linked = [user for user in wanted if self._active_link(user.id) is not None]
        self._plan_linked(linked)
        for user in wanted:
            if self._active_link(user.id) is None:
                self._plan_new(user)
        return Plan(
            operations=(*self._removals, *self._changes, *self._creations, *self._skips),
            unchanged=self._unchanged,
            out_of_scope=self._out_of_scope,
            read=len(present),
        )

    # Removals

    def _plan_gone(self, present: list[User]) -> None:
        """Users that Entra no longer has: named as removed, or missing from a complete read."""
        here = {user.id for user in present}
        for object_id, link in sorted(self._data.links.items()):
            user = self._data.users.get(object_id)
            is_gone = (self._data.complete and object_id not in here) or (user is not None and user.removed is not None)
            if is_gone and not link.released:
                by_rule = "deleted" in self._rules.delete_when
                self._remove(link, link.name, "The user was deleted in Entra.", delete=by_rule)

    def _remove(self, link: Linked, name: str, reason: str, *, delete: bool) -> None:
        extension = self._extensions.get(link.pbx_id)
        if extension is not None and self._standing(link) is None:
            delete, reason = False, f"{reason} Its id on the PBX belongs to extension {extension.number} now."
        kept = "" if delete else " The extension stays and is managed on the PBX from now on."
        before = dict(extension.fields or {}) if extension else dict(link.written)
        self._removals.append(
            Operation(
                kind="delete" if delete else "release",
                object_id=link.object_id,
                name=name,
                user_principal_name=link.user_principal_name,
                number=link.number,
                pbx_id=link.pbx_id,
                reason=reason + kept,
                before=before if delete else {},
            )
        )
        if delete and extension is not None and extension.email:
            # The address is free again for somebody who gets an extension in the same run.
            self._emails.pop(extension.email.casefold(), None)
            self._free = None if self._free is None else self._free + 1

    def _is_wanted(self, user: User) -> bool:
        """Whether the user should have an extension. If not, what becomes of one that is linked is planned here."""
        link = self._active_link(user.id)
        is_disabled = _is_dropped(user, self._rules)
        if _in_scope(user, self._rules, self._data.members):
            if is_disabled and link is not None:
                self._remove(link, display_name(user), "The account is disabled in Entra.", delete=True)
            elif is_disabled:
                self._skip(user, "The account is disabled in Entra.")
            return not is_disabled
        if link is not None and is_disabled:
            self._remove(link, display_name(user), "The account is disabled in Entra.", delete=True)
        elif link is not None:
            self._remove(
                link, display_name(user), "The user is no longer in the scope.", delete=self._rules.delete_out_of_scope
            )
        else:
            self._out_of_scope += 1
        return False

    # Users with an extension

    def _plan_linked(self, users: list[User]) -> None:
        """Update who is linked. An address that moves between two users is freed before it is given."""
        waiting = [user for user in users if self._plan_update(user, is_last=False)]
        while waiting:
            still = [user for user in waiting if self._plan_update(user, is_last=False)]
            if len(still) == len(waiting):
                break
            waiting = still
        for user in waiting:
            self._plan_update(user, is_last=True)

    def _plan_update(self, user: User, *, is_last: bool) -> bool:
        """Plan one linked user; ``True`` when its address is still another's and may become free in this plan."""
        link = self._data.links[user.id]
        if self._data.inventory is not None and self._standing(link) is None:
            self._plan_again(user, link)
            return False
        extension = self._extensions.get(link.pbx_id)
        current = dict(link.written) if extension is None or extension.fields is None else dict(extension.fields)
        want = desired(user)
        fields, notes = want.fields(), list(want.notes)
        owner = self._owner_of(fields["email_addr"], besides=link.pbx_id)
        if owner is not None and not is_last:
            return True
        if owner is not None:
            notes.append(f"The e-mail address {fields['email_addr']} was left as it is: extension {owner} has it.")
            fields["email_addr"] = current.get("email_addr", "")
        self._change(user, link, current, fields, tuple(notes), is_blocked=owner is not None)
        return False

    def _change(
        self,
        user: User,
        link: Linked,
        current: dict[str, str],
        fields: dict[str, str],
        notes: tuple[str, ...],
        *,
        is_blocked: bool,
    ) -> None:
        self._move_email(link.pbx_id, current.get("email_addr", ""), fields["email_addr"], link.number)
        differing = [name for name, value in fields.items() if current.get(name, "") != value]
        if not differing and is_blocked:
            self._skip(user, notes[-1], number=link.number, pbx_id=link.pbx_id)
            return
        if not differing:
            self._unchanged += 1
            return
        drifted = [name for name in differing if link.written.get(name, "") == fields[name]]
        reason = "Changed in Entra." if len(drifted) < len(differing) else "Changed by hand on the PBX; put right."
        self._changes.append(
            self._operation(
                "update",
                user,
                reason,
                number=link.number,
                pbx_id=link.pbx_id,
                before={name: current.get(name, "") for name in differing},
                after={name: fields[name] for name in differing},
                fields=fields,
                notes=notes,
            )
        )

    def _plan_again(self, user: User, link: Linked) -> None:
        """The linked extension is gone from the PBX: it comes back with its number, if that is free."""
        holder = next((ext for ext in self._extensions.values() if ext.number == link.number), None)
        if holder is not None:
            self._skip(
                user, f"Its extension was deleted on the PBX, and the number {link.number} belongs to another one now."
            )
            return
        self._create(user, link.number, "Its extension was deleted on the PBX; it is created again with its number.")

    def _standing(self, link: Linked) -> Extension | None:
        """The extension that a link means. An id that now has another number *and* another address is another
        extension (after a factory reset or a restored backup), which is not ours to touch."""
        extension = self._extensions.get(link.pbx_id)
        if extension is None or extension.number == link.number:
            return extension
        address = link.written.get("email_addr", "")
        return extension if address and extension.email.casefold() == address.casefold() else None

    # Users without an extension

    def _plan_new(self, user: User) -> None:
        want = desired(user)
        remembered = self._remembered(user)
        if remembered is not None:
            self._associate(user, want, remembered, "The user is back; the extension it had is linked again.")
            return
        address = want.email_addr.casefold()
        if address and address in self._claimed_emails:
            self._skip(
                user,
                f"The e-mail address {want.email_addr} belongs to {self._claimed_emails[address]} as well, "
                "and the PBX allows an address only once.",
            )
            return
        owner = self._emails.get(address) if address else None
        if owner is None:
            self._number_and_create(user)
        elif owner.pbx_id in self._linked_ids:
            self._skip(
                user, f"The e-mail address {want.email_addr} is in use by extension {owner.number}, linked already."
            )
        elif self._rules.associate_by_email:
            self._associate(user, want, owner, f"Extension {owner.number} has the same e-mail address.")
        else:
            self._skip(
                user,
                f"Extension {owner.number} has the e-mail address {want.email_addr} already. Switch on association by "
                "e-mail to take it over.",
                number=owner.number,
            )

    def _remembered(self, user: User) -> Extension | None:
        link = self._data.links.get(user.id)
        extension = self._standing(link) if link is not None and link.released else None
        return extension if extension is not None and extension.pbx_id not in self._linked_ids else None

    def _associate(self, user: User, want: Desired, extension: Extension, reason: str) -> None:
        current = dict(extension.fields or {})
        fields, notes = want.fields(), list(want.notes)
        taker = self._owner_of(fields["email_addr"], besides=extension.pbx_id)
        if taker is not None:
            notes.append(f"The e-mail address {fields['email_addr']} was left out: extension {taker} has it.")
            fields["email_addr"] = extension.email
        differing = [name for name, value in fields.items() if current.get(name, "") != value]
        self._linked_ids.add(extension.pbx_id)
        self._move_email(extension.pbx_id, extension.email, fields["email_addr"], extension.number)
        self._claim_email(fields["email_addr"], user)
        self._changes.append(
            self._operation(
                "associate",
                user,
                reason,
                number=extension.number,
                pbx_id=extension.pbx_id,
                before={name: current.get(name, "") for name in differing},
                after={name: fields[name] for name in differing},
                fields=fields,
                notes=tuple(notes),
            )
        )

    def _number_and_create(self, user: User) -> None:
        rule = self._rules.number
        if rule.kind == "property" and rule.property is not None:
            number = number_from(user, rule.property)
            if isinstance(number, Unusable):
                self._skip(user, number.reason)
            elif self._numbers.is_taken(number):
                self._skip(user, f"The number {number} from {rule.property} is taken already.", number=number)
            else:
                self._create(user, number, f"New user; the number is from {rule.property}.")
            return
        if not self._has_room(user):
            return
        free = self._numbers.first_free()
        if free is None:
            self._skip(user, f"There is no free number from {rule.start} upward.")
        else:
            self._create(user, free, "New user; the first free number.")

    def _create(self, user: User, number: str, reason: str) -> None:
        if not self._has_room(user):
            return
        want = desired(user)
        fields, notes = want.fields(), list(want.notes)
        owner = self._owner_of(fields["email_addr"], besides=None)
        if owner is not None:
            notes.append(f"The e-mail address {fields['email_addr']} was left out: extension {owner} has it.")
            fields["email_addr"] = ""
        self._numbers.take(number)
        self._claim_email(fields["email_addr"], user)
        self._free = None if self._free is None else self._free - 1
        self._creations.append(
            self._operation(
                "create", user, reason, number=number, after=fields, fields=fields, notes=tuple(notes), pbx_id=None
            )
        )

    def _has_room(self, user: User) -> bool:
        if self._free is None or self._free > 0:
            return True
        self._skip(user, "The PBX has no room for another extension: the limit of its licence is reached.")
        return False

    # Small parts

    def _active_link(self, object_id: str) -> Linked | None:
        link = self._data.links.get(object_id)
        return None if link is None or link.released else link

    def _owner_of(self, email: str, *, besides: int | None) -> str | None:
        """The number of the extension, or the name of the user, that has this address."""
        if not email:
            return None
        owner = self._emails.get(email.casefold())
        if owner is not None and owner.pbx_id != besides:
            return owner.number
        return None

    def _move_email(self, pbx_id: int, old: str, new: str, number: str) -> None:
        if old.casefold() == new.casefold():
            return
        if old and (owner := self._emails.get(old.casefold())) is not None and owner.pbx_id == pbx_id:
            del self._emails[old.casefold()]
        if new:
            self._emails[new.casefold()] = Extension(pbx_id, number, new)

    def _claim_email(self, email: str, user: User) -> None:
        if email:
            self._claimed_emails[email.casefold()] = display_name(user)

    def _skip(self, user: User, reason: str, *, number: str = "", pbx_id: int | None = None) -> None:
        self._skips.append(self._operation("skip", user, reason, number=number, pbx_id=pbx_id))

    def _operation(
        self,
        kind: Kind,
        user: User,
        reason: str,
        *,
        number: str,
        pbx_id: int | None,
        before: dict[str, str] | None = None,
        after: dict[str, str] | None = None,
        fields: dict[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Operation:
        return Operation(
            kind=kind,
            object_id=user.id,
            name=display_name(user),
            user_principal_name=user.user_principal_name or "",
            number=number,
            pbx_id=pbx_id,
            reason=reason,
            before=before or {},
            after=after or {},
            fields=fields or {},
            notes=notes,
        )


def _numbers_in_use(inventory: Inventory, links: Mapping[str, Linked]) -> set[str]:
    """Numbers on the PBX, and those of links: a number is not given away while its extension may come back."""
    return {extension.number for extension in inventory.extensions.values()} | {
        link.number for link in links.values() if not link.released
    }


def _in_scope(user: User, rules: Users, members: frozenset[str] | None) -> bool:
    match rules.scope.kind:
        case "types":
            return _user_type(user) in rules.scope.user_types
        case "groups":
            return user.id in (members or frozenset())
        case _:
            return True


def _user_type(user: User) -> str:
    """Member or Guest. Old objects have no type; a guest among them is told by its name."""
    if user.user_type:
        return user.user_type
    return "Guest" if "#EXT#" in (user.user_principal_name or "").upper() else "Member"


def _is_dropped(user: User, rules: Users) -> bool:
    return user.account_enabled is False and "disabled" in rules.delete_when
