"""What Teams knows of the presence of each user.

After the "presence resource type" of the Microsoft Graph v1.0 reference.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from local.emulator import Clock
from local.microsoft.directory import Directory, exact_instant
from local.microsoft.notifications import EPOCH_TICKS
from local.microsoft.presence_forgeries import Flaw, TokenShape
from local.microsoft.presence_values import UNKNOWN, Vocabulary, Words, at_start

LIMIT = 1500
"""Requests about presence in 30 s, per app and tenant ("Microsoft Graph service-specific throttling limits")."""


class PresenceSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """Where services differ or the reference is silent."""

    vocabulary: Vocabulary = "both"
    """Which words the control API takes; ``free`` takes any, as clients have to."""
    unknown_ids: Literal["unknown", "omitted", "refused"] = "unknown"
    """What becomes of ids of nobody in ``getPresencesByUserId`` and, when ``refused``, in a subscription: 404."""
    content: Literal["whole", "sample"] = "whole"
    """What resource data decrypts to: the whole object, or the five members of the guide's sample."""
    token_shape: TokenShape = "v1"
    """Of the validation tokens: ``sts.windows.net`` with ``appid``, or the v2.0 issuer with ``azp``."""
    token_seconds: int = 3600
    """Lifetime of a validation token."""
    full_path_ids: bool = False
    """An older form: ``id`` of ``resourceData`` is the whole path."""
    stale: bool = False
    """Behind each notification comes one with the presence before it, and its lower sequence number."""
    forge_next: list[Flaw] = []
    """Behind each of the next POSTs with resource data comes a forged copy, one for each flaw in turn."""
    requests_per_30_seconds: int | None = LIMIT
    """``None`` for any number."""
    send_retry_after: bool = True

    def check(self) -> None:
        """``ValueError`` for a number that makes no sense."""
        requests = 1 if self.requests_per_30_seconds is None else self.requests_per_30_seconds
        if min(self.token_seconds, requests) < 1:
            raise ValueError("token_seconds and requests_per_30_seconds start at 1")


class Presence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one user. ``sequence`` sorts as text: the greatest is the newest."""

    availability: str
    activity: str
    sequence: str
    status_message: str | None = None
    status_message_since: str | None = None
    out_of_office: bool = False
    out_of_office_message: str | None = None

    @property
    def words(self) -> Words:
        return self.availability, self.activity

    def shown(self, user_id: str) -> dict[str, Any]:
        return {
            "id": user_id,
            "availability": self.availability,
            "activity": self.activity,
            "statusMessage": self._status_message(),
            "outOfOfficeSettings": {"isOutOfOffice": self.out_of_office, "message": self.out_of_office_message},
            "sequenceNumber": self.sequence,
            "workLocation": None,
        }

    def _status_message(self) -> dict[str, Any] | None:
        if self.status_message is None:
            return None
        return {
            "message": {"content": self.status_message, "contentType": "text"},
            "publishedDateTime": self.status_message_since,
            "expiryDateTime": None,
        }


class PresenceContent(msgspec.Struct, forbid_unknown_fields=True):
    """``users`` has those of whom anything is known."""

    switches: PresenceSwitches = msgspec.field(default_factory=PresenceSwitches)
    users: dict[str, Presence] = {}
    sequence: int = 0


class Presences:
    """The presence of every user. Deleted users keep theirs: they may be restored."""

    def __init__(self, clock: Clock, content: PresenceContent | None = None) -> None:
        self._clock = clock
        self.content = content or PresenceContent()
        self.on_change: Callable[[str, Presence, Presence], None] = lambda *_: None
        """Told of each change once it is made: whose it is, what was before and what is now."""

    @property
    def switches(self) -> PresenceSwitches:
        return self.content.switches

    def of(self, user_id: str) -> Presence:
        return self.content.users.get(user_id) or Presence(*UNKNOWN, sequence=_sequence(0))

    def change(self, user_id: str, changes: Mapping[str, Any]) -> Presence:
        """Replace members; what stays equal is no change."""
        before = self.of(user_id)
        named = dict(changes)
        if "status_message" in named:
            named["status_message_since"] = None if named["status_message"] is None else self._now()
        if named.get("status_message") == before.status_message:
            named.pop("status_message_since", None)
        now = msgspec.structs.replace(before, **named)
        if now == before:
            return before
        now = msgspec.structs.replace(now, sequence=self._next_sequence())
        self.content.users[user_id] = now
        self.on_change(user_id, before, now)
        return now

    def fill(self, directory: Directory) -> None:
        """Content at start: everybody is somewhere in their day but guests and disabled users, who have no Teams."""
        for number, (_, user) in enumerate(directory.live("user")):
            if user.properties["accountEnabled"] and user.properties.get("userType") != "Guest":
                self.content.users[user.id] = Presence(*at_start(number), sequence=self._next_sequence())

    def _next_sequence(self) -> str:
        ticks = EPOCH_TICKS + int(self._clock.time() * 10_000_000)
        self.content.sequence = max(self.content.sequence + 1, ticks)
        return _sequence(self.content.sequence)

    def _now(self) -> str:
        return exact_instant(self._clock.now())


def _sequence(number: int) -> str:
    return f"{number:020d}"
