"""The subscriptions of the tenant, whose turn it is to hear of something, and what pauses and ends them."""

import datetime
from typing import Any, Literal

import msgspec

from local.emulator import Clock
from local.microsoft.delivery import Postman
from local.microsoft.directory import exact_instant

KEPT = datetime.timedelta(hours=4)
"""How long notifications wait for a paused subscription ("Lifecycle notifications", reauthorizationRequired)."""

type Event = Literal["reauthorizationRequired", "subscriptionRemoved", "missed"]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is watched: all objects of a kind, or one; with ``members`` only who belongs to it. ``ids`` are the users
    whose presence is watched."""

    kind: str
    id: str | None = None
    members: bool = False
    ids: tuple[str, ...] = ()


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``start`` on nothing is delivered until the app reauthorizes; ``keeps`` says whether it comes then."""

    start: datetime.datetime
    keeps: bool


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: datetime.datetime
    item: dict[str, Any]


class Subscription(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    number: int = 0
    """Counts up; lists are in this order."""
    app_id: str
    creator_id: str
    resource: str
    """As the app wrote it."""
    target: Target
    change_type: str
    notification_url: str
    lifecycle_notification_url: str | None
    expires: datetime.datetime
    client_state: str | None
    tls_version: str
    encryption_certificate: str | None = None
    """Base64 DER; given together with its id by those who want resource data."""
    encryption_certificate_id: str | None = None
    pause: Pause | None = None
    token_ends: datetime.datetime | None = None
    """The end of the access token it was made or authorized with; ``None`` of an application's, which ends nothing."""
    kept: list[Kept] = []

    @property
    def change_types(self) -> frozenset[str]:
        return frozenset(self.change_type.split(","))


class Subscriptions:
    """Expired subscriptions vanish by the emulator's clock."""

    def __init__(self, clock: Clock, tenant_id: str, postman: Postman) -> None:
        self._clock = clock
        self._tenant_id = tenant_id
        self._postman = postman
        self._items: dict[str, Subscription] = {}

    def live(self) -> list[Subscription]:
        now = self._clock.now()
        for expired in [item.id for item in self._items.values() if item.expires <= now]:
            del self._items[expired]
        return list(self._items.values())

    def find(self, identifier: str) -> Subscription:
        """``LookupError`` for one that is gone or never was."""
        item = self._items.get(identifier.lower())
        if item is None or item.expires <= self._clock.now():
            raise LookupError(f"there is no subscription {identifier!r}")
        return item

    def is_known(self, identifier: str) -> bool:
        item = self._items.get(identifier)
        return item is not None and item.expires > self._clock.now()

    def add(self, item: Subscription) -> None:
        """Put it behind all others."""
        item.number = max((other.number for other in self._items.values()), default=0) + 1
        self._items[item.id] = item

    def load(self, items: list[Subscription]) -> None:
        """Take over saved content."""
        self._items = {item.id: item for item in items}

    def remove(self, identifier: str) -> None:
        del self._items[self.find(identifier).id]

    def expire(self, identifier: str) -> None:
        self.find(identifier).expires = self._clock.now()

    def deliver(self, item: Subscription, notification: dict[str, Any]) -> None:
        """Hand a notification to the postman; keep or lose it while the subscription is paused, keep it when its token
        has ended."""
        now = self._clock.now()
        is_over = item.token_ends is not None and now >= item.token_ends
        pause = item.pause if item.pause is not None and now >= item.pause.start else None
        if pause is None and not is_over:
            self._postman.put(notification, item.id, item.notification_url, "notification")
        elif pause is None or pause.keeps:
            item.kept = [*item.kept, Kept(now, notification)]
        else:
            self._lose(item, notification)

    def authorize(self, item: Subscription, token_ends: datetime.datetime | None) -> None:
        """End a pause and deliver what was kept for less than 4 hours. The access token of a person is kept: after its
        end nothing is delivered until another one comes."""
        kept, oldest = item.kept, self._clock.now() - KEPT
        item.pause, item.kept, item.token_ends = None, [], token_ends
        for each in kept:
            if each.at >= oldest:
                self.deliver(item, each.item)
            else:
                self._lose(item, each.item)

    def send_lifecycle(self, item: Subscription, event: Event, pause: Pause, *, forced: bool) -> None:
        """Post a lifecycle event; a reauthorizationRequired brings the ``pause`` that comes unless it is answered.

        ``ValueError`` for a subscription without a URL for it, and for an event that subscriptions on users, groups
        and presences never get, unless it is ``forced``.
        """
        if item.lifecycle_notification_url is None:
            raise ValueError(f"the subscription {item.id} has no lifecycleNotificationUrl")
        if event != "reauthorizationRequired" and not forced:
            raise ValueError(f"users, groups and presences never send {event}; with force it is sent nevertheless")
        notification = {
            "subscriptionId": item.id,
            "subscriptionExpirationDateTime": exact_instant(item.expires),
            "tenantId": self._tenant_id,
            "clientState": item.client_state,
            "lifecycleEvent": event,
        }
        self._postman.put(notification, item.id, item.lifecycle_notification_url, "lifecycle")
        if event == "reauthorizationRequired":
            item.pause = pause

    def _lose(self, item: Subscription, notification: dict[str, Any]) -> None:
        reason = "The subscription was not reauthorized in time."
        self._postman.drop(notification, item.id, item.notification_url, "notification", reason)
