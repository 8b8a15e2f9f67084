"""What is decided about single users: whether their extensions follow Teams, and by which map."""

from collections.abc import Iterable, Mapping
from itertools import batched
from typing import Literal

import msgspec

from presence.mapping import STATES, follows
from presence.messages import Update
from presence.room import Room, memory_of
from store.document import Presence, PresenceChoice
from store.presence import Chooser, Preference, UserPresence

CHOICES: dict[str, bool | None] = {"on": True, "off": False, "rule": None}
MOST = 5_000
"""Users that are changed in one go: all records are read for it once."""

type Follows = Literal["on", "off", "rule"]


class UnknownState(ValueError):
    """A map names something that Teams does not show."""


class Decided(msgspec.Struct, frozen=True):
    """What came of a decision: who has another preference now, and the messages to queue."""

    changed: list[UserPresence]
    updates: list[Update]


async def set_preferences(
    room: Room,
    object_ids: Iterable[str],
    *,
    follows: Follows | None = None,
    own_map: Mapping[str, PresenceChoice] | None = None,
    by: Literal["administrator", "person"],
) -> Decided:
    """Decide about users. ``None`` leaves as it is, an empty map is the rules' one. Users without an extension of ours
    are left out. ``UnknownState`` for a map with another name than ``presence.mapping.STATES``."""
    unknown = set(own_map or ()).difference(STATES)
    if unknown:
        raise UnknownState(f"Teams shows nothing called {min(unknown)}")
    presence, moment = (await room.settings.load()).settings.presence, room.now().isoformat(timespec="seconds")

    def change(_key: str, row: UserPresence | None) -> UserPresence | None:
        if row is None or row.pbx_id is None:
            return None
        decided = _decided(row.preference, follows, own_map, by, moment)
        return None if _is_same(decided, row.preference) else _followed(row, decided, presence)

    changed: list[UserPresence] = []
    for some in batched(dict.fromkeys(object_ids), MOST, strict=False):
        changed += await room.store.change(some, change)
    if changed:
        await room.store.new_edition()
        memory_of(room).known = None
    is_news = any(row.is_pending for row in changed)
    return Decided(changed, [Update(room.id)] if is_news and presence.enabled else [])


def _decided(
    before: Preference,
    follows: Follows | None,
    own_map: Mapping[str, PresenceChoice] | None,
    by: Chooser,
    moment: str,
) -> Preference:
    """Who repeats a decision does not make it his own: what an administrator switched on for somebody outside of the
    rules stays on when that person saves a map."""
    chosen = before.follows if follows is None else CHOICES[follows]
    is_repeated = chosen is not None and chosen == before.follows
    return Preference(
        follows=chosen,
        map=dict(before.map if own_map is None else own_map),
        set_by=before.set_by if is_repeated else by,
        set_at=moment,
    )


def _is_same(one: Preference, other: Preference) -> bool:
    """Whether two preferences have the same effect, whenever they were set."""
    return (one.follows, one.map) == (other.follows, other.map)


def _followed(row: UserPresence, preference: Preference, presence: Presence) -> UserPresence:
    """The user with another preference. Who follows is looked at again, as far as Teams has said anything."""
    is_followed = follows(preference, presence, in_scope=row.in_scope)
    return msgspec.structs.replace(
        row,
        preference=preference,
        is_followed=is_followed,
        is_pending=is_followed and (row.is_pending or bool(row.heard_at)),
        is_recheck=row.is_recheck or not row.is_pending,
    )
