"""Plans users: who becomes, stays or ceases to be an extension. Pure: data in, plan out, no I/O, clock or randomness.

The order of the input never matters: users are taken by name and then by object id, so that a directory read in another
order gives the same numbers.
"""

import datetime
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from graph.models import User
from store.document import Users
from sync.fields import Desired, desired, display_name
from sync.grace import due, forecast
from sync.numbers import Numbers, Unusable, number_from
from sync.plan import Extension, Inventory, Kind, Leaving, Linked, Operation, Plan

BACK = "The user is wanted again: the mark for deletion is removed."


class UsersInput(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the plan depends on."""

    users: Mapping[str, User]
    """What was read from Entra, by object id; the last entry of a round."""
    complete: bool
    """The whole directory was read, so a link without a user means that the user is gone."""
    links: Mapping[str, Linked]
    """By object id. All of them when ``complete`` or with an ``inventory``, else at least those of ``users``."""
    rules: Users
    members: frozenset[str] | None = None
    """Object ids of the users in the groups of the scope; ``None`` when the scope is not by group."""
    inventory: Inventory | None = None
    """The PBX's extensions; ``None`` in an incremental run that creates and associates nothing."""
    interrupted: Mapping[str, str] = {}
    """By object id the numbers of creates that were begun and did not happen: the users get just these."""
    held: frozenset[str] = frozenset()
    """Object ids whose removal waits for an administrator: planned, but nothing else may count on it."""
    now: datetime.datetime | None = None
    """The moment of the run; needed with days of grace."""
    decided: frozenset[str] = frozenset()
    """Object ids whose deletion was held before: about it an administrator decides, and no days of grace."""


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
        and in_scope(user, rules, members)
        and not _is_dropped(user, rules)
        for user in users
    )


class _Planner:
    """The state of one planning: the PBX as it will be after the operations so far.

    Operations come in an order in which no number and no address is ever held twice: first removals, then extensions
    that stay (an address is given when its holder has let go of it), then what is new.
    """

    def __init__(self, data: UsersInput) -> None:
        self._data = data
        self._rules = data.rules
        self._extensions = dict(_known_extensions(data))
        self._free = data.inventory.free if data.inventory is not None else None
        self._homes: dict[str, Extension] = {}
        """The extension of each linked user, by object id."""
        self._holders: dict[int, str] = {}
        """The same the other way round: whose extension it is, by its id on the PBX."""
        self._emails = {
            extension.email.casefold(): _Owner(extension.pbx_id, extension.number)
            for extension in self._extensions.values()
            if extension.email
        }
        self._vacated: set[str] = set()
        self._forgotten: set[str] = set()
        self._removals: list[Operation] = []
        self._changes: list[Operation] = []
        self._creations: list[Operation] = []
        self._skips: list[Operation] = []
        self._unchanged = 0
        self._leaving = 0
        self._out_of_scope = 0

    def plan(self) -> Plan:
        present = sorted(
            (user for user in self._data.users.values() if user.removed is None),
            key=lambda user: (display_name(user).casefold(), user.id),
        )
        self._find_homes()
        self._plan_gone({user.id for user in present})
        wanted = [user for user in present if self._is_wanted(user)]
        self._take_back(wanted)
        self._plan_kept([user for user in wanted if user.id in self._homes])
        homeless = [user for user in wanted if user.id not in self._homes]
        self._plan_homeless(homeless)
        return Plan(
            operations=(*self._removals, *self._changes, *self._creations, *self._skips),
            unchanged=self._unchanged,
            out_of_scope=self._out_of_scope,
            read=len(present),
            leaving=self._leaving,
        )

    # Who has which extension

    def _find_homes(self) -> None:
        for object_id, link in sorted(self._data.links.items()):
            if not link.released:
                self._settle_in(object_id, self._standing(link))

    def _take_back(self, wanted: list[User]) -> None:
        """Users whose link was released find their extension again, unless it was given to somebody else since."""
        for user in wanted:
            link = self._data.links.get(user.id)
            if link is None or not link.released:
                continue
            extension = self._standing(link)
            if extension is not None and _is_still(extension, link, user):
                self._settle_in(user.id, extension)

    def _settle_in(self, object_id: str, extension: Extension | None) -> None:
        if extension is not None and extension.pbx_id not in self._holders:
            self._homes[object_id] = extension
            self._holders[extension.pbx_id] = object_id

    def _standing(self, link: Linked) -> Extension | None:
        """The extension that a link means. An id that now has another number *and* another address, or another address
        *and* other names, is another extension (after a factory reset, a restored backup or a replaced PBX), which is
        not ours to touch."""
        extension = self._extensions.get(link.pbx_id)
        return None if extension is None or is_stranger(extension, link.number, link.written) else extension

    # Removals

    def _plan_gone(self, here: set[str]) -> None:
        """Users that Entra no longer has: named as removed, or missing from a complete read."""
        for object_id, link in sorted(self._data.links.items()):
            is_gone = object_id not in here and (self._data.complete or object_id in self._data.users)
            if is_gone and not link.released:
                by_rule = "deleted" in self._rules.delete_when
                self._remove(link, link.name, "The user was deleted in Entra.", delete=by_rule)

    def _is_wanted(self, user: User) -> bool:
        """Whether the user should have an extension. If not, what becomes of one that is linked is planned here."""
        link = self._active_link(user.id)
        is_disabled = _is_dropped(user, self._rules)
        is_in_scope = in_scope(user, self._rules, self._data.members)
        if is_in_scope and not is_disabled:
            return True
        if link is None and is_in_scope:
            self._skip(user, "The account is disabled in Entra.")
        elif link is None:
            self._out_of_scope += 1
        elif is_disabled:
            self._remove(link, display_name(user), "The account is disabled in Entra.", delete=True)
        else:
            by_rule = self._rules.delete_out_of_scope
            self._remove(link, display_name(user), "The user is no longer in the scope.", delete=by_rule)
        return False

    def _remove(self, link: Linked, name: str, reason: str, *, delete: bool) -> None:
        extension = self._homes.get(link.object_id)
        stranger = self._extensions.get(link.pbx_id) if extension is None else None
        if stranger is not None:
            delete, reason = False, f"{reason} Its id on the PBX belongs to extension {stranger.number} now."
        days = self._rules.delete_grace_days
        if delete and self._is_over(link):
            reason = f"{reason} Its {days} days of grace, from {link.leaving.since[:10]} on, are over."
        elif delete and days and link.object_id not in self._data.decided:
            self._mark(link, name, reason)
            return
        kept = "" if delete else " The extension stays and is managed on the PBX from now on."
        self._removals.append(
            Operation(
                kind="delete" if delete else "release",
                object_id=link.object_id,
                name=name,
                user_principal_name=link.user_principal_name,
                number=link.number,
                pbx_id=link.pbx_id,
                reason=reason if stranger is not None else reason + kept,
                before=_current(extension, link) if delete else {},
            )
        )
        if link.object_id in self._data.held:
            return  # the extension stays whose it is, with its number, its address and its place
        self._homes.pop(link.object_id, None)
        self._forgotten.add(link.object_id)
        if extension is not None:
            del self._holders[extension.pbx_id]
            if delete:
                self._vacate(extension)

    def _is_over(self, link: Linked) -> bool:
        """Whether an extension was marked, and has been for all its days of grace."""
        days = self._rules.delete_grace_days
        return bool(days and link.leaving.since) and self._moment() >= due(link.leaving, days)

    def _mark(self, link: Linked, name: str, reason: str) -> None:
        """Leave an extension as it is, and have its link say since when it is to be deleted, and why."""
        self._leaving += 1
        leaving = Leaving(link.leaving.since or self._moment().isoformat(timespec="seconds"), reason)
        if leaving == link.leaving:
            return
        self._skips.append(
            Operation(
                kind="skip",
                object_id=link.object_id,
                name=name,
                user_principal_name=link.user_principal_name,
                number=link.number,
                pbx_id=link.pbx_id,
                reason=forecast(leaving, self._rules.delete_grace_days),
                leaving=leaving,
            )
        )

    def _moment(self) -> datetime.datetime:
        if self._data.now is None:
            raise ValueError("days of grace cannot be planned without the moment of the run")
        return self._data.now

    def _vacate(self, extension: Extension) -> None:
        """A deleted extension leaves its number, its address and its place to others of the same plan."""
        del self._extensions[extension.pbx_id]
        self._vacated.add(extension.number)
        self._let_go(extension.pbx_id, extension.email)
        self._free = None if self._free is None else self._free + 1

    # Users with an extension

    def _plan_kept(self, users: list[User]) -> None:
        """Update who has an extension. An address that moves between two users is freed before it is given.

        Users who wait for each other's address in a circle keep the one they have: no order of writes could swap them,
        because the PBX allows an address only once.
        """
        waiting: dict[str, list[tuple[User, Desired]]] = {}
        queue = deque((user, desired(user)) for user in users)
        while queue:
            user, want = queue.popleft()
            if self._owner_besides(self._homes[user.id].pbx_id, want.email_addr) is not None:
                waiting.setdefault(want.email_addr.casefold(), []).append((user, want))
                continue
            freed = self._plan_keep(user, want)
            queue.extend(waiting.pop(freed, ()))
        for user, want in (pair for pairs in waiting.values() for pair in pairs):
            self._plan_keep(user, want)

    def _plan_keep(self, user: User, want: Desired) -> str:
        """Plan one user who has an extension; returns the address that becomes free by it, casefolded."""
        extension, link = self._homes[user.id], self._data.links[user.id]
        fields, notes = want.fields(), want.notes
        owner = self._owner_besides(extension.pbx_id, want.email_addr)
        if owner is not None:
            blocked = f"The e-mail address {want.email_addr} was left as it is: extension {owner.number} has it."
            fields["email_addr"], notes = extension.email, (*notes, blocked)
        if link.released:
            current = _current(extension, None)
            reason = "The user is back; the extension it had is linked again."
            self._overwrite("associate", user, extension, current=current, fields=fields, notes=notes, reason=reason)
        else:
            self._update(user, link, fields, notes, is_blocked=owner is not None)
        return self._move_email(extension, fields["email_addr"])

    def _update(
        self, user: User, link: Linked, fields: dict[str, str], notes: tuple[str, ...], *, is_blocked: bool
    ) -> None:
        extension = self._homes[user.id]
        current = _current(extension, link)
        differing = _differing(current, fields)
        is_written = link.written == fields and link.number == extension.number
        is_remembered = is_written and _is_named(link, user) and not link.leaving.since
        if not differing and is_remembered and is_blocked:
            self._skip(user, notes[-1], number=extension.number, pbx_id=extension.pbx_id)
            return
        if not differing and is_remembered:
            self._unchanged += 1
            return
        if differing and link.leaving.since:
            notes = (*notes, BACK)
        reason = _why(link, fields, differing, is_written=is_written)
        self._overwrite("update", user, extension, current=current, fields=fields, notes=notes, reason=reason)

    def _overwrite(
        self,
        kind: Kind,
        user: User,
        extension: Extension,
        *,
        current: Mapping[str, str],
        fields: dict[str, str],
        notes: tuple[str, ...],
        reason: str,
    ) -> None:
        differing = _differing(current, fields)
        self._changes.append(
            self._operation(
                kind,
                user,
                reason,
                number=extension.number,
                pbx_id=extension.pbx_id,
                before={name: current.get(name, "") for name in differing},
                after={name: fields[name] for name in differing},
                fields=fields,
                notes=notes,
            )
        )

    # Users without an extension

    def _plan_homeless(self, users: list[User]) -> None:
        """Give an extension to who has none. Those who have a number already come first: it is kept for them."""
        if self._data.inventory is None and any(self._active_link(user.id) is None for user in users):
            raise ValueError("a create or an associate cannot be planned without the list of extensions")
        self._on_pbx = {extension.number for extension in self._extensions.values()}
        self._numbers = Numbers(self._on_pbx | self._reserved(), self._rules.number.start, later=self._vacated)
        begun = self._begun(users)
        fresh: list[User] = []
        for user in users:
            if (link := self._active_link(user.id)) is not None:
                reason = "Its extension was deleted on the PBX; it is created again with its number."
                self._plan_numbered(user, desired(user), link.number, reason)
            elif user.id in begun:
                reason = "Its creation was interrupted and is repeated."
                any_number = self._rules.number.kind == "sequential"
                self._plan_numbered(user, desired(user), begun[user.id], reason, any_number=any_number)
            else:
                fresh.append(user)
        for user in fresh:
            self._plan_new(user, desired(user))

    def _begun(self, users: list[User]) -> dict[str, str]:
        """The numbers of interrupted creates that are still free and by the rule; nobody else gets them."""
        begun: dict[str, str] = {}
        for user in users:
            number = self._data.interrupted.get(user.id)
            if number is not None and self._follows_rule(user, number) and not self._numbers.is_taken(number):
                self._numbers.take(number)
                begun[user.id] = number
        return begun

    def _follows_rule(self, user: User, number: str) -> bool:
        """Whether a number is one that the rule gives: it may have changed since the number was chosen."""
        rule = self._rules.number
        if rule.kind == "property" and rule.property is not None:
            return number_from(user, rule.property) == number
        return not number.startswith("0") and int(number) >= rule.start

    def _reserved(self) -> set[str]:
        """The numbers of linked users whose extension is gone: it may come back."""
        return {
            link.number
            for object_id, link in self._data.links.items()
            if not (link.released or object_id in self._homes or object_id in self._forgotten)
        }

    def _plan_numbered(self, user: User, want: Desired, number: str, reason: str, *, any_number: bool = False) -> None:
        """Create an extension with a number that is the user's already, if nobody else took it on the PBX."""
        if not self._is_address_free(user, want):
            return
        if number in self._on_pbx:
            self._skip(user, f"Its extension is gone from the PBX, and the number {number} belongs to another one now.")
        elif self._has_room(user):
            self._create(user, want, number, reason, any_number=any_number)

    def _plan_new(self, user: User, want: Desired) -> None:
        if not self._is_address_free(user, want) or not self._has_room(user):
            return
        rule = self._rules.number
        if rule.kind == "property" and rule.property is not None:
            self._create_with_property(user, want, rule.property)
            return
        free = self._numbers.first_free()
        if free is None:
            self._skip(user, f"There is no free number from {rule.start} upward.")
        else:
            self._create(user, want, free, "New user; the first free number.", any_number=True)

    def _create_with_property(self, user: User, want: Desired, name: str) -> None:
        number = number_from(user, name)
        if isinstance(number, Unusable):
            self._skip(user, number.reason)
        elif self._numbers.is_taken(number):
            self._skip(user, f"The number {number} from {name} is taken already.", number=number)
        else:
            self._create(user, want, number, f"New user; the number is from {name}.")

    def _is_address_free(self, user: User, want: Desired) -> bool:
        """Whether nobody has the user's address. If somebody has, the user is associated or skipped here."""
        owner = self._emails.get(want.email_addr.casefold())
        if owner is None:
            return True
        holder = owner.key if isinstance(owner.key, str) else self._holders.get(owner.key)
        words = f"The e-mail address {want.email_addr} is in use by extension {owner.number} already"
        if isinstance(owner.key, int) and holder is None and self._rules.associate_by_email:
            self._take_over(user, want, self._extensions[owner.key])
        elif holder is None:
            self._skip(user, f"{words}. Switch on association by e-mail to take it over.", number=owner.number)
        else:
            name = self._name_of(holder)
            self._skip(user, f"{words}, which belongs to {name}. The PBX allows an address only once.")
        return False

    def _take_over(self, user: User, want: Desired, extension: Extension) -> None:
        reason = f"Extension {extension.number} has the same e-mail address."
        current = _current(extension, None)
        self._overwrite(
            "associate", user, extension, current=current, fields=want.fields(), notes=want.notes, reason=reason
        )
        self._settle_in(user.id, extension)
        link = self._active_link(user.id)
        if link is not None and link.number not in self._on_pbx:
            self._numbers.give_back(link.number)

    def _create(self, user: User, want: Desired, number: str, reason: str, *, any_number: bool = False) -> None:
        fields = want.fields()
        self._numbers.take(number)
        self._free = None if self._free is None else self._free - 1
        if want.email_addr:
            self._emails[want.email_addr.casefold()] = _Owner(user.id, number)
        operation = self._operation(
            "create", user, reason, number=number, after=fields, fields=fields, notes=want.notes, pbx_id=None
        )
        self._creations.append(msgspec.structs.replace(operation, any_number=any_number))

    def _has_room(self, user: User) -> bool:
        if self._free is None or self._free > 0:
            return True
        self._skip(user, "The PBX has no room for another extension: the limit of its licence is reached.")
        return False

    # Addresses

    def _owner_besides(self, pbx_id: int, email: str) -> "_Owner | None":
        """Who has this address, if it is another extension."""
        owner = self._emails.get(email.casefold())
        return None if owner is None or owner.key == pbx_id else owner

    def _move_email(self, extension: Extension, new: str) -> str:
        """Give ``extension`` the address ``new``; returns the one it had when that becomes free by it."""
        old = extension.email.casefold()
        if old == new.casefold():
            return ""
        self._let_go(extension.pbx_id, old)
        if new:
            self._emails[new.casefold()] = _Owner(extension.pbx_id, extension.number)
        return old

    def _let_go(self, pbx_id: int, email: str) -> None:
        owner = self._emails.get(email.casefold())
        if owner is not None and owner.key == pbx_id:
            del self._emails[email.casefold()]

    # Small parts

    def _active_link(self, object_id: str) -> Linked | None:
        link = self._data.links.get(object_id)
        return None if link is None or link.released else link

    def _name_of(self, object_id: str) -> str:
        user, link = self._data.users.get(object_id), self._data.links.get(object_id)
        return display_name(user) if user is not None else (link.name if link is not None else object_id)

    def _skip(self, user: User, reason: str, *, number: str = "", pbx_id: int | None = None) -> None:
        """Leave a user out. Only somebody wanted is left out in spite of a link, so a mark on it has had its day."""
        link = self._active_link(user.id)
        operation = self._operation("skip", user, reason, number=number, pbx_id=pbx_id)
        if link is not None and link.leaving.since:
            operation = msgspec.structs.replace(operation, leaving=Leaving(), notes=(BACK,))
        self._skips.append(operation)

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


class _Owner(msgspec.Struct, frozen=True):
    """Who has an e-mail address at a point of the plan."""

    key: int | str
    """The extension's id, or the object id of the user for whom the plan creates one."""
    number: str


def _known_extensions(data: UsersInput) -> Mapping[int, Extension]:
    """The PBX's extensions; without a list of them, those of the links as they were last written."""
    if data.inventory is not None:
        return data.inventory.extensions
    return {
        link.pbx_id: Extension(link.pbx_id, link.number, link.written.get("email_addr", ""), link.written)
        for link in data.links.values()
        if not link.released
    }


def _why(link: Linked, fields: Mapping[str, str], differing: list[str], *, is_written: bool) -> str:
    """Why a link and its extension do not stay as they are."""
    if differing and all(link.written.get(name, "") == fields[name] for name in differing):
        return "Changed by hand on the PBX; put right."
    if differing:
        return "Changed in Entra."
    if link.leaving.since:
        return BACK
    if not is_written:
        # Written by a run that could not record it, or by hand: what the link remembers has to follow.
        return "The PBX has these values already; noted."
    return "The name in Entra changed; noted."


def _is_named(link: Linked, user: User) -> bool:
    """Whether a link calls its user as Entra does, for those who read lists."""
    return (link.name, link.user_principal_name) == (display_name(user), user.user_principal_name or "")


def _current(extension: Extension | None, link: Linked | None) -> dict[str, str]:
    """The synced fields as they are: as read, or else as last written."""
    if extension is not None and extension.fields is not None:
        return dict(extension.fields)
    return dict(link.written) if link is not None else {}


def _is_still(extension: Extension, link: Linked, user: User) -> bool:
    """Whether an extension that was released still carries the address or the names that its user had or has."""
    addresses = {link.written.get("email_addr", "").casefold(), desired(user).email_addr.casefold()} - {""}
    if extension.email.casefold() in addresses:
        return True
    names = ("first_name", "last_name")
    return extension.fields is not None and all(
        extension.fields.get(name, "") == link.written.get(name, "") for name in names
    )


def is_stranger(extension: Extension, number: str, written: Mapping[str, str]) -> bool:
    """Whether an extension is another one than the one that was written: it has not its address, and not its number or
    neither of its names."""
    address = written.get("email_addr", "")
    if address and extension.email.casefold() == address.casefold():
        return False
    if extension.number != number:
        return True
    fields = extension.fields
    if fields is None or not written:
        return False
    return not any(written.get(name) and fields.get(name) == written[name] for name in ("first_name", "last_name"))


def _differing(current: Mapping[str, str], fields: Mapping[str, str]) -> list[str]:
    return [name for name, value in fields.items() if current.get(name, "") != value]


def in_scope(user: User, rules: Users, members: frozenset[str] | None) -> bool:
    match rules.scope.kind:
        case "types":
            return user_type(user) in rules.scope.user_types
        case "groups":
            if members is None:
                raise ValueError("a scope by groups cannot be planned without the members of the groups")
            return user.id in members
        case _:
            return True


def user_type(user: User) -> str:
    """Member or Guest. Old objects have no type; a guest among them is told by its name."""
    if user.user_type:
        return user.user_type
    return "Guest" if "#EXT#" in (user.user_principal_name or "").upper() else "Member"


def _is_dropped(user: User, rules: Users) -> bool:
    return user.account_enabled is False and "disabled" in rules.delete_when
