"""What subscribers are told of a changed presence: basic items without it, or rich ones with it encrypted.

After "Get change notifications for presence updates using Microsoft Graph" and "Set up change notifications that
include resource data".
"""

import uuid
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import msgspec

from local.microsoft.delivery import Delivery, Postman
from local.microsoft.directory import exact_instant
from local.microsoft.presence import Presence, Presences
from local.microsoft.presence_forgeries import TOKEN_FLAWS, Flaw, ValidationTokens, forged_item
from local.microsoft.presence_sealing import seal
from local.microsoft.subscriptions import Subscription, Subscriptions

SAMPLE_MEMBERS = ("id", "availability", "activity")
"""What the guide's sample of decrypted data has, besides its annotations."""


class PresenceNotifications:
    """Listens to the presences, and completes the POSTs that carry resource data."""

    def __init__(
        self,
        *,
        tenant_id: str,
        presences: Presences,
        subscriptions: Subscriptions,
        postman: Postman,
        tokens: ValidationTokens,
    ) -> None:
        self._tenant_id = tenant_id
        self._presences = presences
        self._subscriptions = subscriptions
        self._postman = postman
        self._tokens = tokens
        self._casings: Iterator[Callable[[str], str]] = cycle([str, str.lower, str.upper])

    def changed(self, user_id: str, before: Presence, now: Presence) -> None:
        told = [now, before] if self._presences.switches.stale else [now]
        for subscription in self._subscriptions.live():
            if subscription.target.kind == "presence" and user_id in subscription.target.ids:
                for presence in told:
                    self._subscriptions.deliver(subscription, self._item(subscription, user_id, presence))

    def complete(self, delivery: Delivery) -> None:
        """Put validation tokens into a POST that carries resource data: one for each app among its subscriptions."""
        if _is_rich(delivery.body):
            delivery.body = self._with_tokens(delivery.body, None)

    def forgeries(self, delivery: Delivery) -> list[bytes]:
        """The forged copy that travels behind a POST, when one is planned."""
        planned = self._presences.switches.forge_next
        if not planned or not _is_rich(delivery.body):
            return []
        return [self.forged(delivery.body, planned.pop(0))]

    def forged(self, body: dict[str, Any], flaw: Flaw) -> bytes:
        """A genuine POST with a flaw. ``LookupError`` when a subscription in it is gone."""
        items = [forged_item(item, self._certificate(item), flaw) for item in body["value"] if _is_rich_item(item)]
        copy = body if flaw == "replay" else self._with_tokens({"value": items}, flaw)
        return msgspec.json.encode(copy)

    def made_up(self, subscription: Subscription, user_id: str, flaw: Flaw) -> bytes:
        """A POST about a user that nothing happened to. ``ValueError`` without resource data."""
        if subscription.encryption_certificate is None:
            raise ValueError(f"the subscription {subscription.id} has no resource data to forge")
        item = self._item(subscription, user_id, self._presences.of(user_id))
        return self.forged({"value": [item]}, flaw)

    def _with_tokens(self, body: dict[str, Any], flaw: Flaw | None) -> dict[str, Any]:
        found = (self._subscriptions.find(item["subscriptionId"]) for item in body["value"])
        switches, flawed = self._presences.switches, flaw if flaw in TOKEN_FLAWS else None
        tokens = [
            self._tokens.make(app_id, switches.token_shape, switches.token_seconds, flawed)
            for app_id in dict.fromkeys(subscription.app_id for subscription in found)
        ]
        return {"value": body["value"]} | ({} if flaw == "missing" else {"validationTokens": tokens})

    def _certificate(self, item: dict[str, Any]) -> str:
        return self._subscriptions.find(item["subscriptionId"]).encryption_certificate or ""

    def _item(self, subscription: Subscription, user_id: str, presence: Presence) -> dict[str, Any]:
        switches = self._postman.switches
        spell = next(self._casings) if switches.vary_casing else str
        path = f"{spell('communications/presences')}/{user_id}"
        data = {
            "@odata.id": f"users/{user_id}/presence",
            "@odata.type": spell("#microsoft.graph.presence"),
            "id": f"/{path}" if self._presences.switches.full_path_ids else user_id,
        }
        item: dict[str, Any] = {
            "subscriptionId": subscription.id,
            "clientState": subscription.client_state,
            "changeType": "updated",
            "tenantId": self._tenant_id,
            "organizationId": self._tenant_id,
            "resource": path,
            "subscriptionExpirationDateTime": exact_instant(subscription.expires),
            "resourceData": data,
        }
        if subscription.encryption_certificate is not None:
            content = self._content(data, user_id, presence)
            certificate_id = subscription.encryption_certificate_id
            item["encryptedContent"] = seal(content, subscription.encryption_certificate, certificate_id)
        return item | ({"id": str(uuid.uuid4())} if switches.item_ids else {})

    def _content(self, data: dict[str, Any], user_id: str, presence: Presence) -> dict[str, Any]:
        shown = presence.shown(user_id)
        if self._presences.switches.content == "sample":
            shown = {name: shown[name] for name in SAMPLE_MEMBERS}
        return data | shown


def _is_rich(body: dict[str, Any]) -> bool:
    return any(_is_rich_item(item) for item in body["value"])


def _is_rich_item(item: dict[str, Any]) -> bool:
    return "encryptedContent" in item
