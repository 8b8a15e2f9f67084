"""Presence in Teams: read for many users at once, and subscribed to in the name of a person.

Reading works with the application's own credential; subscribing takes a delegated token
(https://learn.microsoft.com/graph/change-notifications-for-presence).
"""

import time
from collections.abc import Iterable, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

import msgspec

from graph.answers import typed_naming
from graph.client import Graph
from graph.credentials import Application, ApplicationCredential
from graph.errors import NotFound, Unavailable
from graph.subscriptions import NewSubscription

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

IDS_A_CALL = 650
"""Of getPresencesByUserId, and of a subscription."""
STRANGERS = 16
"""So many users in a row that do not exist, and not one that does, are no users that went: something else is wrong."""
TOKEN_SECONDS = 300
"""A delegated token is used at once; whoever gave it keeps its end."""


class Presence(msgspec.Struct, frozen=True, rename="camel"):
    """What Teams shows of a user."""

    id: str
    availability: str | None = None
    activity: str | None = None
    sequence_number: str | int | None = None


class _Presences(msgspec.Struct, frozen=True):
    value: list[Presence]


class NewPresenceSubscription(NewSubscription, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A subscription to presence that is to be made. It lives 60 minutes at most, and an account has one."""

    change_type: str = ""
    include_resource_data: bool | None = None
    encryption_certificate: str | None = None
    """The public part: DER in base64."""
    encryption_certificate_id: str | None = None


class DelegatedCredential(ApplicationCredential):
    """A token credential that has one token, of a person."""

    def __init__(self, token: str) -> None:
        super().__init__(Application(tenant_id="", client_id="", authority="", kind="federated"))
        self._token = token

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """The token, whatever is asked for."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + TOKEN_SECONDS)


def delegated_graph(base_url: str, token: str) -> Graph:
    """Graph in the name of a person."""
    return Graph(base_url, DelegatedCredential(token))


def presence_resource(object_ids: Sequence[str]) -> str:
    """What a subscription for these users names; at most 650 GUIDs."""
    quoted = ",".join(f"'{object_id}'" for object_id in object_ids)
    return f"/communications/presences?$filter=id in ({quoted})"


async def get_presences(graph: Graph, object_ids: Iterable[str]) -> list[Presence]:
    """The presence of these users, as far as they exist; one request for each 650, and some more to find out who does
    not exist."""
    found: list[Presence] = []
    for some in batched(dict.fromkeys(object_ids), IDS_A_CALL, strict=False):
        found += await _presences(graph, some)
    return found


async def _presences(graph: Graph, object_ids: Sequence[str]) -> list[Presence]:
    """As one user that does not exist may fail all the others, it is halved until that one is alone."""
    found: list[Presence] = []
    strangers, waiting = 0, [object_ids]
    while waiting:
        some = waiting.pop()
        try:
            found += await _asked(graph, some)
        except NotFound:
            if len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
                continue
            strangers += 1
            if strangers == STRANGERS and not found:
                raise Unavailable("Graph knows none of the users whose presence it was asked for") from None
    return found


async def _asked(graph: Graph, object_ids: Sequence[str]) -> list[Presence]:
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation

    builder = graph._open().communications.get_presences_by_user_id  # noqa: SLF001 - of the same gateway
    info = RequestInformation(Method.POST, builder.url_template, builder.path_parameters)
    info.headers.try_add("Accept", "application/json")
    info.set_stream_content(msgspec.json.encode({"ids": object_ids}), "application/json")
    return (await graph._decode(info, _Presences, typed_naming)).value  # noqa: SLF001 - of the same gateway
