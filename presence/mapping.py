"""What an extension should show for what Teams shows, and whether it may be written. Pure.

Graph has two lists of values for both of its fields, and tenants are somewhere between them: a name counts wherever it
stands (https://learn.microsoft.com/graph/api/resources/presence).
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from store.document import Presence, PresenceChoice, PresenceMap
from store.presence import Preference, Status, Teams, UserPresence

STATES = tuple(PresenceMap.__struct_encode_fields__)
"""All the names that Teams may show."""
GENERAL = frozenset({"Available", "Away", "BeRightBack", "Busy", "DoNotDisturb", "Offline", "PresenceUnknown"})
"""Names that say how available somebody is; the others also say why, and are preferred."""
QUIET = frozenset({"DoNotDisturb", "Presenting", "UrgentInterruptionsOnly"})
INITIAL: Status = "available"
"""What a new extension shows."""

type Map = Mapping[str, PresenceChoice]
type Why = Literal["write", "same", "leave", "custom", "manual"]

_NAMES = {name.casefold(): name for name in STATES}


class Current(msgspec.Struct, frozen=True):
    """What the extension shows now."""

    status: str
    """Empty when the PBX does not say it, which is nobody's choice."""
    custom: str = ""
    """The name of a custom presence, which can be read and not set."""


class Verdict(msgspec.Struct, frozen=True):
    """What to write, if anything, and why."""

    status: Status | None
    why: Why


def follows(preference: Preference, presence: Presence, *, in_scope: bool) -> bool:
    """Whether an extension follows. Anybody may decline, and an administrator decides for anybody; who asks for it
    himself is heard where the rules leave it to people, or are about him anyway."""
    if preference.follows is None or (preference.follows and preference.set_by != "administrator"):
        return in_scope or (preference.follows is True and presence.users == "opt_in")
    return preference.follows


def effective_map(default: PresenceMap, own: Map) -> dict[str, PresenceChoice]:
    """The administrator's map with what a user chose instead."""
    return {**msgspec.to_builtins(default), **own}


def state_of(teams: Teams) -> str | None:
    """The one of ``STATES`` that counts; ``None`` when neither field has a known name."""
    activity, availability = (_NAMES.get(text.casefold()) for text in (teams.activity, teams.availability))
    if availability == "DoNotDisturb" and activity not in QUIET:
        return availability  # who asked for quiet gets it, in a call too
    known = [name for name in (activity, availability) if name is not None and name not in GENERAL]
    return next(iter(known), availability or activity)


def target_of(teams: Teams, table: Map) -> Status | None:
    """The status that Teams asks for; ``None`` when it asks for nothing."""
    choice = table.get(state_of(teams) or "", "leave")
    return None if choice == "leave" else choice


def wanted(teams: Teams, table: Map, current: Current, last_written: str, respect_manual: bool) -> Verdict:
    """What to write to an extension. ``last_written`` is the status that is known not to be anybody's new choice.

    A custom presence is never overwritten, because it could not be restored; a status that somebody chose is not
    overwritten while ``respect_manual``; and what is shown already is not written again.
    """
    target = target_of(teams, table)
    if target is None:
        return Verdict(None, "leave")
    if current.custom:
        return Verdict(None, "custom")
    if current.status == target:
        return Verdict(None, "same")
    if respect_manual and current.status != last_written:
        return Verdict(None, "manual")
    return Verdict(target, "write")


def decide(row: UserPresence, table: Map, current: Current, respect_manual: bool) -> Verdict:
    """``wanted`` for a user, with what is remembered: a choice that was left alone before stands until Teams asks for
    another status than it asked for then."""
    is_over = bool(row.left) and row.left != target_of(row.teams, table) and current.status == row.seen
    sent = {row.sent, *(target_of(teams, table) for teams in row.earlier)}
    is_sent = bool(current.status) and current.status in sent
    known = current.status if is_over or is_sent or not current.status else row.written or INITIAL
    return wanted(row.teams, table, current, known, respect_manual)


def settled(row: UserPresence, verdict: Verdict, table: Map, current: Current, stamp: str) -> UserPresence:
    """The user after ``verdict`` was carried out."""
    common: dict[str, object] = {"is_pending": False, "outcome": verdict.why, "error": "", "earlier": []}
    if verdict.status is not None:
        done = {"written": verdict.status, "written_at": stamp, "seen": verdict.status, "left": "", "sent": ""}
        return msgspec.structs.replace(row, **common, **done)
    if verdict.why == "same":
        done = {"written": current.status, "seen": current.status, "left": "", "sent": ""}
        return msgspec.structs.replace(row, **common, **done)
    left = target_of(row.teams, table) if verdict.why == "manual" else row.left
    return msgspec.structs.replace(row, **common, seen=current.status, left=left or "")
