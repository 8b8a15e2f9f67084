"""What subscribers are told of a change in the directory: basic items, without the changed data.

After "Change notifications for Microsoft Graph resources": ``updated`` stands for created, updated, soft-deleted and
restored objects and for changed memberships, ``deleted`` for those removed for good.
"""

import uuid
from itertools import batched, cycle
from typing import Any

from local.emulator import Clock
from local.microsoft.delivery import Postman
from local.microsoft.directory import Action, Change, Entity, exact_instant
from local.microsoft.subscriptions import Subscription, Subscriptions, Target

MOST_LINKS = 20
"""Members in one item: Graph adds at most so many in a request, so larger changes are several."""
EPOCH_TICKS = 621_355_968_000_000_000
"""1970 in ticks of 100 ns since the year 1, as sequence numbers count."""

type Links = tuple[dict[str, Any], ...]


class Notifications:
    """Listens to the directory and gives each subscription the items that are meant for it."""

    def __init__(self, clock: Clock, tenant_id: str, subscriptions: Subscriptions, postman: Postman) -> None:
        self._clock = clock
        self._tenant_id = tenant_id
        self._subscriptions = subscriptions
        self._postman = postman
        self._sequence = 0
        self._casings = cycle([_as_documented, str.lower, str.upper])

    def changed(self, entity: Entity, change: Change) -> None:
        if change.action is Action.LINKED and entity.deleted is not None:
            return
        change_type = "deleted" if change.action is Action.PURGED else "updated"
        for subscription in self._subscriptions.live():
            if change_type in subscription.change_types and _concerns(subscription.target, change, entity.kind):
                for links in _portions(entity, change):
                    self._subscriptions.deliver(subscription, self._item(subscription, entity, change_type, links))

    def _item(self, subscription: Subscription, entity: Entity, change_type: str, links: Links) -> dict[str, Any]:
        spell = next(self._casings) if self._postman.switches.vary_casing else _as_documented
        path = f"{spell(f'{entity.kind.capitalize()}s')}/{entity.id}"
        item = {
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": exact_instant(subscription.expires).removesuffix("Z") + "+00:00",
            "clientState": subscription.client_state,
            "changeType": change_type,
            "tenantId": self._tenant_id,
            "resource": path,
            "resourceData": {
                "@odata.type": spell(f"#Microsoft.Graph.{entity.kind.capitalize()}"),
                "@odata.id": path,
                "id": entity.id,
                "organizationId": self._tenant_id,
                **self._unpromised(links),
            },
        }
        return item | ({"id": str(uuid.uuid4())} if self._postman.switches.item_ids else {})

    def _unpromised(self, links: Links) -> dict[str, Any]:
        """Members that usually come and that nobody may count on."""
        if not self._postman.switches.unpromised_members:
            return {}
        now = self._clock.now()
        self._sequence = max(self._sequence + 1, EPOCH_TICKS + int(now.timestamp() * 10_000_000))
        head: dict[str, Any] = {"eventTime": exact_instant(now), "sequenceNumber": self._sequence}
        return head | ({"members@delta": list(links)} if links else {})


def _concerns(target: Target, change: Change, kind: str) -> bool:
    if target.kind != kind or target.id not in (None, change.id):
        return False
    return not target.members or any(relation == "members" for relation, _ in change.links)


def _portions(entity: Entity, change: Change) -> list[Links]:
    """The changed members, a portion for each item; hidden memberships are not told."""
    if entity.properties.get("visibility") == "HiddenMembership":
        return [()]
    present = entity.links.get("members", {})
    links = [
        {"id": identifier} if identifier in present else {"id": identifier, "@removed": "deleted"}
        for relation, identifier in change.links
        if relation == "members"
    ]
    return list(batched(links, MOST_LINKS, strict=False)) or [()]


def _as_documented(text: str) -> str:
    return text
