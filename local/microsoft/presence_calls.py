"""The presence of one user or of many, and of the signed-in one.

After "presence: get" and "cloudCommunications: getPresencesByUserId" in the Microsoft Graph v1.0 reference.
"""

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from local.microsoft.directory import Directory, Entity
from local.microsoft.errors import bad_request, denied, not_found
from local.microsoft.me import signed_in
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.permissions import EVERYBODY, OWN_PRESENCE, PRESENCE_READ
from local.microsoft.presence import Presences
from local.microsoft.presence_meter import PresenceMeter
from local.microsoft.presence_subscriptions import GUID, MOST_USERS
from local.microsoft.query import allowed
from local.microsoft.router import Route
from local.microsoft.users import single


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ids: list[str]
    odata_type: str | UnsetType = msgspec.field(name="@odata.type", default=UNSET)


class PresenceCalls:
    def __init__(self, directory: Directory, presences: Presences, meter: PresenceMeter) -> None:
        self._directory = directory
        self._presences = presences
        self._meter = meter

    def routes(self) -> tuple[Route, ...]:
        """The permission depends on whom it is about, so the calls check it."""
        take = self._meter.take
        return (
            Route("GET", "users/{id}/presence", self.of_user, EVERYBODY, meter=take),
            Route("GET", "communications/presences/{id}", self.of_id, EVERYBODY, meter=take),
            Route("GET", "me/presence", self.own, EVERYBODY, meter=take),
            Route("POST", "communications/getPresencesByUserId", self.of_many, EVERYBODY, meter=take),
        )

    def of_user(self, request: GraphRequest, identifier: str) -> GraphResponse:
        user = self._readable(request, identifier)
        return self._shown(request, user, f"users('{user.id}')/presence")

    def of_id(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._shown(request, self._readable(request, identifier), "communications/presences")

    def own(self, request: GraphRequest) -> GraphResponse:
        user = signed_in(self._directory, request)
        if not request.principal.roles & (PRESENCE_READ | OWN_PRESENCE):
            raise denied()
        return self._shown(request, user, f"users('{user.id}')/presence")

    def of_many(self, request: GraphRequest) -> GraphResponse:
        """In the order asked for, each once."""
        allowed(request, frozenset())
        if not request.principal.roles & PRESENCE_READ:
            raise denied()
        found = [self._of_one(identifier) for identifier in dict.fromkeys(_read_ids(request.body))]
        context = f"{request.root}/$metadata#Collection(microsoft.graph.presence)"
        return answer({"@odata.context": context, "value": [shown for shown in found if shown is not None]})

    def _of_one(self, identifier: str) -> dict[str, Any] | None:
        """``None`` when an id of nobody is left out."""
        known = self._directory.find("user", identifier) is not None
        if not known and self._presences.switches.unknown_ids == "refused":
            raise not_found(identifier)
        if not known and self._presences.switches.unknown_ids == "omitted":
            return None
        return self._presences.of(identifier if known else "").shown(identifier)

    def _readable(self, request: GraphRequest, identifier: str) -> Entity:
        """The user. ``GraphError`` 400 for a name instead of an id, 403 without the permission, 404 for nobody."""
        identifier = _object_id(identifier)
        principal = request.principal
        own = principal.delegated and principal.object_id == identifier
        if not principal.roles & (PRESENCE_READ | OWN_PRESENCE if own else PRESENCE_READ):
            raise denied()
        user = self._directory.find("user", identifier)
        if user is None:
            raise not_found(identifier)
        return user

    def _shown(self, request: GraphRequest, user: Entity, collection: str) -> GraphResponse:
        allowed(request, frozenset())
        return answer(single(request, collection, None, self._presences.of(user.id).shown(user.id)))


def _read_ids(body: bytes) -> list[str]:
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"The body of getPresencesByUserId is {{'ids': ['...']}}: {error}", "BadRequest") from None
    if not 1 <= len(asked.ids) <= MOST_USERS:
        raise bad_request(f"ids has to name 1 to {MOST_USERS} users, not {len(asked.ids)}.", "BadRequest")
    return [_object_id(identifier) for identifier in asked.ids]


def _object_id(text: str) -> str:
    if not re.fullmatch(GUID, text):
        message = f"'{text[:80]}' is no object id: presences are not found by user principal name."
        raise bad_request(message, "BadRequest")
    return text.lower()
