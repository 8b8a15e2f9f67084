"""What a map of presence would do now, by what is remembered about everybody. Pure; nothing is written."""

from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from console.presence_words import STATUSES
from presence.mapping import INITIAL, Current, decide, effective_map, follows
from store.document import Presence
from store.presence import UserPresence

LEFT = {
    "leave": "The map leaves them as they are",
    "manual": "Somebody chose another status on the phone",
    "custom": "A custom presence is set",
    "unheard": "It is not known yet what Teams shows",
    "gone": "The extension was not found on the PBX",
}
"""Why extensions stay as they are."""


class Line(msgspec.Struct, frozen=True):
    """A status, and how many extensions have to do with it."""

    words: str
    changes: int
    """Would be told to show it."""
    shows: int
    """Show it already."""


class Forecast(msgspec.Struct, frozen=True):
    """What the rules would do now."""

    followed: int
    lines: list[Line]
    left: list[tuple[str, int]]
    """Why others are left alone, and how many."""
    declined: int = 0
    """Users whom the rules are about and who do not follow."""

    @property
    def changes(self) -> int:
        return sum(line.changes for line in self.lines)


def forecast(
    rows: Iterable[UserPresence], object_ids: Iterable[str], presence: Presence, members: Collection[str]
) -> Forecast:
    """``rows``: what is remembered; ``object_ids``: who has a synced extension, in lower case; ``members``: who is in
    the chosen groups."""
    known = {row.object_id: row for row in rows}
    users = [known.get(key) or UserPresence(object_id=key) for key in object_ids]
    about = {user.object_id for user in users if is_about(user.object_id, presence, members)}
    followed = [user for user in users if follows(user.preference, presence, in_scope=user.object_id in about)]
    told: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for user in followed:
        why, status = _verdict(user, presence)
        {"write": told, "same": shown}.get(why, left)[status if why in {"write", "same"} else why] += 1
    return Forecast(
        len(followed),
        [Line(words, told[status], shown[status]) for status, words in STATUSES.items()
         if told[status] or shown[status]],
        [(words, left[why]) for why, words in LEFT.items() if left[why]],
        sum(user.preference.follows is False for user in users if user.object_id in about),
    )  # fmt: skip


def is_about(object_id: str, presence: Presence, members: Collection[str]) -> bool:
    """Whether the rules are about a user."""
    return presence.users == "all" or (presence.users == "groups" and object_id in members)


def _verdict(user: UserPresence, presence: Presence) -> tuple[str, str]:
    """Why, and the status that it is about."""
    if not user.heard_at:
        return "unheard", ""
    if user.outcome == "gone":
        return "gone", ""
    # What the extension showed when it was last looked at; a new one shows what new ones do.
    current = Current(user.seen or user.written or INITIAL, "custom" if user.outcome == "custom" else "")
    table = effective_map(presence.default_map, user.preference.map)
    verdict = decide(user, table, current, presence.respect_manual)
    return verdict.why, verdict.status or current.status
