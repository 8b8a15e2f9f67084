"""``/subscriptions``: create, list, get, renew, reauthorize, delete.

After "Create subscription", "Update subscription" and "subscription: reauthorize" in the Microsoft Graph v1.0
reference.
"""

import datetime
import re
import uuid
from typing import Any

from msgspec import UNSET

from local.emulator import Clock
from local.microsoft import presence_subscriptions as presence
from local.microsoft import subscription_rules as rules
from local.microsoft.delivery import Postman
from local.microsoft.directory import Directory, exact_instant
from local.microsoft.errors import GraphError, bad_request, denied
from local.microsoft.handshake import validate
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.permissions import EVERYBODY, GROUPS_SUBSCRIBE, PRESENCE_READ, USERS_SUBSCRIBE
from local.microsoft.presence import Presences
from local.microsoft.query import allowed
from local.microsoft.router import Route
from local.microsoft.subscriptions import Subscription, Subscriptions, Target
from local.microsoft.users import single

MOST_PER_APP, MOST_PER_TENANT = 100, 1000
"""Of users and of groups each; the 50,000 of one app over all tenants cannot be reached in one tenant."""
REQUIRED = {"user": USERS_SUBSCRIBE, "group": GROUPS_SUBSCRIBE, presence.KIND: PRESENCE_READ}


class SubscriptionCalls:
    def __init__(
        self,
        clock: Clock,
        directory: Directory,
        presences: Presences,
        subscriptions: Subscriptions,
        postman: Postman,
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._presences = presences
        self._subscriptions = subscriptions
        self._postman = postman

    def routes(self) -> tuple[Route, ...]:
        """The permission depends on the resource, so the calls check it."""
        return (
            Route("POST", "subscriptions", self.create, EVERYBODY),
            Route("GET", "subscriptions", self.all, EVERYBODY),
            Route("GET", "subscriptions/{id}", self.get, EVERYBODY),
            Route("PATCH", "subscriptions/{id}", self.update, EVERYBODY),
            Route("DELETE", "subscriptions/{id}", self.delete, EVERYBODY),
            Route("POST", "subscriptions/{id}/reauthorize", self.reauthorize, EVERYBODY),
        )

    async def create(self, request: GraphRequest) -> GraphResponse:
        """201 once both URLs have passed the handshake."""
        allowed(request, frozenset())
        asked = rules.read(request.body, rules.NewSubscription)
        refuse_unknown = self._presences.switches.unknown_ids == "refused"
        target = rules.read_resource(asked.resource, self._directory, refuse_unknown=refuse_unknown)
        _permit(request, target)
        rules.check_new(asked, target.kind)
        made = self._made(request, asked, target)
        self._check_urls(made)
        self._check_room(made)
        await self._shake_hands(made.notification_url, made.lifecycle_notification_url)
        self._check_room(made)  # another request may have created it during the handshake
        self._subscriptions.add(made)
        self._subscriptions.authorize(made, _token_ends(request))
        body = _shown(made) | {"clientState": made.client_state}
        return answer(single(request, "subscriptions", None, body), 201)

    def all(self, request: GraphRequest) -> GraphResponse:
        """The app's own subscriptions, those of the signed-in user only if there is one; the size of a page is the
        service's choice."""
        options = allowed(request, frozenset({"$skiptoken"}))
        after, size = _read_skiptoken(options.get("$skiptoken")), self._postman.switches.list_page_size
        own = [item for item in self._subscriptions.live() if _may_see(request, item)]
        rest = [item for item in own if item.number > after]
        body: dict[str, Any] = {"@odata.context": f"{request.root}/$metadata#subscriptions"}
        if len(rest) > size:
            body["@odata.nextLink"] = f"{request.root}/subscriptions?$skiptoken={_skiptoken(rest[size - 1].number)}"
        return answer(body | {"value": [_shown(item) for item in rest[:size]]})

    def get(self, request: GraphRequest, identifier: str) -> GraphResponse:
        allowed(request, frozenset())
        return answer(single(request, "subscriptions", None, _shown(self._own(request, identifier))))

    async def update(self, request: GraphRequest, identifier: str) -> GraphResponse:
        """Renew, which also reauthorizes, or send notifications elsewhere after another handshake."""
        allowed(request, frozenset())
        item = self._own(request, identifier)
        _permit(request, item.target)
        asked = rules.read(request.body, rules.Renewal)
        rules.check_renewal(asked, rich=item.encryption_certificate is not None)
        expires, url = item.expires, item.notification_url
        if asked.expiration_date_time is not UNSET:
            expires = rules.expiry(asked.expiration_date_time, self._clock.now(), item.target.kind)
        if asked.notification_url is not UNSET:
            url = asked.notification_url
            self._check_url("notificationUrl", url)
            await self._shake_hands(url, item.lifecycle_notification_url)
            self._own(request, identifier)  # it may have ended during the handshake
        item.expires, item.notification_url = expires, url
        if asked.encryption_certificate is not UNSET and asked.encryption_certificate_id is not UNSET:
            item.encryption_certificate = asked.encryption_certificate
            item.encryption_certificate_id = asked.encryption_certificate_id
        if asked.expiration_date_time is not UNSET:
            self._subscriptions.authorize(item, _token_ends(request))
        return answer(single(request, "subscriptions", None, _shown(item)))

    def reauthorize(self, request: GraphRequest, identifier: str) -> GraphResponse:
        """Deliveries go on; the subscription ends when it would have ended."""
        allowed(request, frozenset())
        if request.body.strip() not in (b"", b"{}"):
            raise bad_request("The reauthorize action takes no body.")
        item = self._own(request, identifier)
        _permit(request, item.target)
        self._subscriptions.authorize(item, _token_ends(request))
        return GraphResponse(status=204)

    def delete(self, request: GraphRequest, identifier: str) -> GraphResponse:
        allowed(request, frozenset())
        self._subscriptions.remove(self._own(request, identifier).id)
        return GraphResponse(status=204)

    def _own(self, request: GraphRequest, identifier: str) -> Subscription:
        """Subscriptions of other apps, and of other users of the app, are not found either."""
        try:
            item = self._subscriptions.find(identifier)
        except LookupError:
            raise _gone() from None
        if not _may_see(request, item):
            raise _gone()
        return item

    def _made(self, request: GraphRequest, asked: rules.NewSubscription, target: Target) -> Subscription:
        return Subscription(
            id=str(uuid.uuid4()),
            app_id=request.principal.app_id,
            creator_id=request.principal.object_id,
            resource=asked.resource,
            target=target,
            change_type=rules.read_change_type(asked.change_type, target.kind),
            notification_url=asked.notification_url,
            lifecycle_notification_url=asked.lifecycle_notification_url,
            expires=rules.expiry(asked.expiration_date_time, self._clock.now(), target.kind),
            client_state=asked.client_state,
            tls_version=asked.latest_supported_tls_version or "v1_2",
            encryption_certificate=asked.encryption_certificate,
            encryption_certificate_id=asked.encryption_certificate_id,
        )

    def _check_urls(self, made: Subscription) -> None:
        self._check_url("notificationUrl", made.notification_url)
        if made.lifecycle_notification_url is not None:
            self._check_url("lifecycleNotificationUrl", made.lifecycle_notification_url)

    def _check_url(self, name: str, url: str) -> None:
        rules.check_url(name, url, http_loopback=self._postman.switches.allow_http_loopback)

    def _check_room(self, made: Subscription) -> None:
        """409 for what the app has already, 403 above the quotas."""
        alike = [item for item in self._subscriptions.live() if item.target.kind == made.target.kind]
        own = [item for item in alike if item.app_id == made.app_id]
        if made.target.kind == presence.KIND:
            if any(item.creator_id == made.creator_id for item in own):
                raise presence.conflict()
            return
        for item in own:
            if item.target == made.target and item.change_types == made.change_types:
                message = f"Subscription Id {item.id} already exists for the requested combination"
                raise GraphError(409, "Conflict", message)
        if len(own) >= MOST_PER_APP:
            raise _over_quota(f"{MOST_PER_APP} subscriptions per app and tenant", made)
        if len(alike) >= MOST_PER_TENANT:
            raise _over_quota(f"{MOST_PER_TENANT} subscriptions per tenant", made)

    async def _shake_hands(self, *urls: str | None) -> None:
        """One handshake for each URL, also when they are the same."""
        for url in urls:
            if url is not None:
                await validate(self._postman, url)


def _may_see(request: GraphRequest, item: Subscription) -> bool:
    principal = request.principal
    own = not principal.delegated or item.creator_id == principal.object_id
    return own and item.app_id == principal.app_id


def _token_ends(request: GraphRequest) -> datetime.datetime | None:
    """When the token of a person ends; ``None`` of an application's, which Graph renews by itself."""
    principal = request.principal
    return datetime.datetime.fromtimestamp(principal.expires, datetime.UTC) if principal.delegated else None


def _permit(request: GraphRequest, target: Target) -> None:
    """Presences are watched for a signed-in user only, whatever an app may read by itself."""
    if target.kind == presence.KIND and not request.principal.delegated:
        raise denied()
    if not request.principal.roles & REQUIRED[target.kind]:
        raise denied()


def _gone() -> GraphError:
    return GraphError(404, "ResourceNotFound", "The object was not found.")


def _over_quota(limit: str, made: Subscription) -> GraphError:
    return GraphError(403, "Forbidden", f"The quota of {limit} is used up for {made.target.kind} resources.")


def _shown(item: Subscription) -> dict[str, Any]:
    """The state is told only to the one who creates it."""
    return {
        "id": item.id,
        "resource": item.resource,
        "applicationId": item.app_id,
        "changeType": item.change_type,
        "clientState": None,
        "notificationUrl": item.notification_url,
        "lifecycleNotificationUrl": item.lifecycle_notification_url,
        "notificationQueryOptions": None,
        "expirationDateTime": exact_instant(item.expires),
        "creatorId": item.creator_id,
        "includeResourceData": None if item.encryption_certificate is None else True,
        "latestSupportedTlsVersion": item.tls_version,
        "encryptionCertificate": item.encryption_certificate,
        "encryptionCertificateId": item.encryption_certificate_id,
        "notificationUrlAppId": None,
    }


def _skiptoken(number: int) -> str:
    return f"s{number:012x}"


def _read_skiptoken(text: str | None) -> int:
    if text is None:
        return 0
    if not re.fullmatch("s[0-9a-f]{12}", text):
        raise bad_request("The $skiptoken is invalid: follow @odata.nextLink unchanged.")
    return int(text[1:], 16)
