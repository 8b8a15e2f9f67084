"""What is sent to Graph about subscriptions, and how it refuses them
(https://learn.microsoft.com/graph/api/resources/subscription)."""

import datetime
import re
from collections.abc import Callable, Mapping

import msgspec

from graph.answers import detail_of, typed, typed_naming
from graph.errors import ConsentMissing, GraphError, HandshakeFailed, NotFound, QuotaReached, SubscriptionExists

type Refusal = Callable[[int, Mapping[str, str], bytes], GraphError]

QUOTA = re.compile(r"quota|limit|maximum|exceed|too many", re.IGNORECASE)
HANDSHAKE = re.compile(r"validation request|validationerror|notification endpoint|endpoint must respond", re.IGNORECASE)
GROUPS_TOO = (
    "In the Entra admin center, open the app registration > API permissions, add the application permissions "
    "User.Read.All and Group.Read.All (change notifications of groups need the latter) and grant admin consent."
)


class NewSubscription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription to be made. The addresses have to be https; the client state has at most 128 characters."""

    resource: str
    """``users`` or ``groups``; one of each covers the tenant."""
    change_type: str = "updated,deleted"
    """Of users and groups ``updated`` includes created and soft-deleted; ``deleted`` is gone for good."""
    notification_url: str
    lifecycle_notification_url: str
    """It cannot be added later."""
    expiration_date_time: str
    """RFC 3339 in UTC; for users and groups at most 41,760 minutes ahead."""
    client_state: str

    def body(self) -> bytes:
        return msgspec.json.encode(self)

    def __repr__(self) -> str:
        return f"NewSubscription(resource={self.resource!r}, expires={self.expiration_date_time!r})"

    __str__ = __repr__


def renewal(expires: datetime.datetime) -> bytes:
    """The body that moves a subscription's end."""
    return msgspec.json.encode({"expirationDateTime": graph_time(expires)})


def graph_time(moment: datetime.datetime) -> str:
    """A moment as Graph writes it, in UTC to the second."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refused(status: int, headers: Mapping[str, str], body: bytes) -> GraphError:
    """The typed error of a subscription that was not made."""
    detail = detail_of(body)
    if status == 409:
        return SubscriptionExists("the application has a subscription for this already")
    if status == 400 and HANDSHAKE.search(f"{detail.code} {detail.message}"):
        return HandshakeFailed(f"Graph could not validate our notification address: {detail.message}"[:300])
    if status == 403 and QUOTA.search(detail.message):
        return QuotaReached(f"Graph allows no more subscriptions: {detail.message}"[:300])
    if status == 403:
        return ConsentMissing("the application lacks the permission to be told about changes", GROUPS_TOO)
    return typed_naming(status, headers, body)


def missing(status: int, headers: Mapping[str, str], body: bytes) -> GraphError:
    """The typed error of a call about one subscription. 404 and 410 say that it is gone, whatever the words: each
    service behind Graph has its own. Where a gateway said so instead, making it anew finds the one that is there."""
    if status in {404, 410}:
        return NotFound(f"there is no such subscription any more ({detail_of(body).code or 'HTTP'} {status})")
    return typed(status, headers, body)
