"""What a subscription may look like: the members of the bodies, resources, change types, URLs and lifetimes.

After "subscription resource type" of the Microsoft Graph v1.0 reference.
"""

import datetime
import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from local.microsoft import presence_subscriptions as presence
from local.microsoft.directory import Directory
from local.microsoft.errors import GraphError, bad_request, not_found
from local.microsoft.subscriptions import Target

LEAST_LIFE = datetime.timedelta(minutes=45)
"""A shorter one is raised to this."""
LONGEST_LIFE = datetime.timedelta(minutes=41_760)
"""Of a subscription on users or groups."""
LONGEST_STATE = 128
CHANGE_TYPES = ("created", "updated", "deleted")

type Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True)]
type Type = Literal["#microsoft.graph.subscription"]


class NewSubscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The body of a POST."""

    change_type: str
    resource: str
    notification_url: str
    expiration_date_time: Moment
    lifecycle_notification_url: str | None = None
    client_state: str | None = None
    latest_supported_tls_version: Literal["v1_0", "v1_1", "v1_2", "v1_3"] | None = None
    include_resource_data: bool | None = None
    encryption_certificate: str | None = None
    encryption_certificate_id: str | None = None
    notification_query_options: str | None = None
    notification_url_app_id: str | None = None
    odata_type: Type | UnsetType = msgspec.field(name="@odata.type", default=UNSET)


class Renewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The body of a PATCH."""

    expiration_date_time: Moment | UnsetType = UNSET
    notification_url: str | UnsetType = UNSET
    lifecycle_notification_url: str | UnsetType | None = UNSET
    encryption_certificate: str | UnsetType = UNSET
    encryption_certificate_id: str | UnsetType = UNSET
    odata_type: Type | UnsetType = msgspec.field(name="@odata.type", default=UNSET)


def refused(message: str) -> GraphError:
    return bad_request(message, "InvalidRequest")


def read[T: (NewSubscription, Renewal)](body: bytes, kind: type[T]) -> T:
    """``GraphError`` for a missing, unknown or wrong member."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        asked = "creation" if kind is NewSubscription else "update"
        raise refused(
            f"Could not process subscription {asked} payload. Are all property names spelled and camelCased properly? "
            f"({error})"
        ) from None


def check_new(asked: NewSubscription, kind: str) -> None:
    """What the kind of resource does not offer, and the length of the state."""
    if kind == presence.KIND:
        presence.check_resource_data(
            included=asked.include_resource_data,
            certificate=asked.encryption_certificate,
            certificate_id=asked.encryption_certificate_id,
        )
    elif asked.include_resource_data or asked.encryption_certificate or asked.encryption_certificate_id:
        raise refused("Users and groups have no rich notifications: resource data cannot be included.")
    if asked.notification_query_options or asked.notification_url_app_id:
        raise refused("notificationQueryOptions and notificationUrlAppId are not supported for this resource.")
    if asked.client_state is not None and len(asked.client_state) > LONGEST_STATE:
        raise refused(f"clientState can have at most {LONGEST_STATE} characters.")


def check_renewal(asked: Renewal, *, rich: bool) -> None:
    """A certificate is changed together with its id, and only where resource data comes."""
    if asked.lifecycle_notification_url is not UNSET:
        raise refused(
            "lifecycleNotificationUrl cannot be added or changed later: delete the subscription and create it anew."
        )
    certificate, identifier = asked.encryption_certificate, asked.encryption_certificate_id
    if asked.expiration_date_time is UNSET and asked.notification_url is UNSET and certificate is UNSET is identifier:
        raise refused("There is nothing to change: expirationDateTime or notificationUrl has to be given.")
    if certificate is not UNSET or identifier is not UNSET:
        presence.check_resource_data(
            included=rich,
            certificate="" if certificate is UNSET else certificate,
            certificate_id="" if identifier is UNSET else identifier,
        )


def read_change_type(text: str, kind: str) -> str:
    """Users and groups know ``updated`` (created, updated and soft-deleted) and ``deleted`` (for good)."""
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in CHANGE_TYPES]:
        raise refused(f"Invalid changeType '{unknown[0]}': it has to be one or more of {', '.join(CHANGE_TYPES)}.")
    if len(set(words)) < len(words):
        raise refused(f"The changeType '{text}' names one type twice.")
    if kind == presence.KIND:
        presence.check_change_type(words)
    if "created" in words:
        raise refused("changeType 'created' is not supported for users and groups: 'updated' covers new objects.")
    return ",".join(words)


def read_resource(resource: str, directory: Directory, *, refuse_unknown: bool) -> Target:
    """``GraphError`` 400 for what the emulator does not notify of, 404 for an object that does not exist.

    Users whose presence is watched have to exist only to ``refuse_unknown``.
    """
    watched = presence.read_resource(resource, directory, refuse_unknown=refuse_unknown)
    if watched is not None:
        return watched
    match = re.fullmatch(r"/?(user|group)s(?:/([^/?#]+))?(/members)?", resource, re.IGNORECASE)
    if match is None or (match[3] and (match[2] is None or match[1].lower() == "user")):
        raise refused(
            f"The resource '{resource}' is not supported: this emulator notifies of users, users/{{id}}, groups, "
            "groups/{id}, groups/{id}/members and communications/presences, written as a path without the base URL."
        )
    kind, identifier = match[1].lower(), match[2]
    if identifier is None:
        return Target(kind)
    entity = directory.find(kind, identifier)
    if entity is None:
        raise not_found(identifier)
    return Target(kind, entity.id, members=match[3] is not None)


def check_url(name: str, url: str, *, http_loopback: bool) -> None:
    """https only; with ``http_loopback`` also http to a loopback host."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise refused(f"{name} is not a URL.") from None
    if not host or parts.fragment or parts.username is not None or re.search(r"[^\x21-\x7e]", url):
        raise refused(f"{name} has to be an absolute URL with a host and without user, fragment and blanks.")
    if scheme != "https" and not (scheme == "http" and http_loopback and is_loopback(host)):
        raise refused(f"{name} has to be an https URL.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def expiry(asked: datetime.datetime, now: datetime.datetime, kind: str) -> datetime.datetime:
    """The moment a subscription ends that was asked to end at ``asked``, in UTC."""
    longest = presence.LONGEST_LIFE if kind == presence.KIND else LONGEST_LIFE
    if asked > now + longest:
        minutes = longest // datetime.timedelta(minutes=1)
        raise bad_request(f"Subscription expiration can only be {minutes} minutes in the future.", "ExtensionError")
    return max(asked.astimezone(datetime.UTC), now + LEAST_LIFE)
