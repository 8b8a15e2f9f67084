"""The control API of subscriptions and notifications.

- ``GET /_control/subscriptions`` all of them, with their state and what is kept for them
- ``DELETE /_control/subscriptions/{id}`` without telling anybody, ``POST .../expire``
- ``POST /_control/subscriptions/{id}/lifecycle`` ``{"event": "reauthorizationRequired"}``, see ``Lifecycle``
- ``GET`` / ``PUT /_control/notifications`` the switches, see ``NotificationSwitches``
- ``GET /_control/notifications/deliveries?since=&kind=&state=&url=`` every POST with its attempts (``url`` is a glob),
  ``DELETE`` clears the record
- ``GET /_control/notifications/endpoints`` which are slow or dropped
- ``POST /_control/notifications/settle`` answers once nothing is under way or due
- ``POST /_control/notifications/send`` ``{"url": "...", "body": ...}`` posts anything, genuine or forged

``POST /_control/clock`` makes retries due and ends the patience with endpoints that hang.
"""

import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from local.emulator import json_response
from local.microsoft.control import Handler, in_plain_words, merged, read_body
from local.microsoft.delivery import RETRY_TIMEOUT
from local.microsoft.notification_switches import NotificationSwitches
from local.microsoft.subscription_rules import check_url
from local.microsoft.subscriptions import Event, Pause, Subscription

if TYPE_CHECKING:
    from local.microsoft.emulator import MicrosoftEmulator


class Lifecycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lifecycle event. After a reauthorizationRequired that stays undone, delivery pauses."""

    event: Event
    force: bool = False
    """Send it although subscriptions on users, groups and presences never get it."""
    pause_after_seconds: float = 3600.0
    """How long delivery goes on: the access token that the service keeps lives about an hour."""
    cause: Literal["token", "permission"] = "token"
    """Of an expired token the notifications are kept for 4 hours, of a withdrawn permission they are lost."""


class Settle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    within_seconds: float = 1.0
    """What becomes due so soon is waited for too; a retry later than that is not."""


class ByHand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    body: Any
    """Any JSON value; text goes out as it is."""
    content_type: str = "application/json"


class NotificationControl:
    def __init__(self, emulator: "MicrosoftEmulator") -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        one, notifications = "/_control/subscriptions/{id}", "/_control/notifications"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/_control/subscriptions", self._list),
            ("DELETE", one, self._remove),
            ("POST", one + "/expire", self._expire),
            ("POST", one + "/lifecycle", self._lifecycle),
            ("GET", notifications, self._get_switches),
            ("PUT", notifications, self._put_switches),
            ("GET", notifications + "/deliveries", self._get_deliveries),
            ("DELETE", notifications + "/deliveries", self._delete_deliveries),
            ("GET", notifications + "/endpoints", self._endpoints),
            ("POST", notifications + "/settle", self._settle),
            ("POST", notifications + "/send", self._send),
        ]
        return [web.route(method, path, in_plain_words(handler)) for method, path, handler in table]

    async def _list(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.subscriptions.live())

    async def _remove(self, request: web.Request) -> web.Response:
        self._emulator.subscriptions.remove(request.match_info["id"])
        return web.Response(status=204)

    async def _expire(self, request: web.Request) -> web.Response:
        self._emulator.subscriptions.expire(request.match_info["id"])
        return web.Response(status=204)

    async def _lifecycle(self, request: web.Request) -> web.Response:
        asked = await read_body(request, Lifecycle)
        item = self._subscription(request)
        start = self._emulator.clock.now() + datetime.timedelta(seconds=asked.pause_after_seconds)
        pause = Pause(start, keeps=asked.cause == "token")
        self._emulator.subscriptions.send_lifecycle(item, asked.event, pause, forced=asked.force)
        return json_response(item, 202)

    def _subscription(self, request: web.Request) -> Subscription:
        return self._emulator.subscriptions.find(request.match_info["id"])

    async def _get_switches(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.postman.switches)

    async def _put_switches(self, request: web.Request) -> web.Response:
        postman = self._emulator.postman
        postman.switches = await merged(request, postman.switches, NotificationSwitches)
        postman.stir()
        return await self._get_switches(request)

    async def _get_deliveries(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        kind, state, url = (request.query.get(name, "*") for name in ("kind", "state", "url"))
        chosen = [
            delivery
            for delivery in self._emulator.postman.deliveries
            if delivery.number > since
            and fnmatchcase(delivery.kind, kind)
            and fnmatchcase(delivery.state, state)
            and fnmatchcase(delivery.url, url)
        ]
        return json_response(chosen)

    async def _delete_deliveries(self, _: web.Request) -> web.Response:
        self._emulator.postman.deliveries.clear()
        return web.Response(status=204)

    async def _endpoints(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.postman.endpoints.states(self._emulator.clock.time()))

    async def _settle(self, request: web.Request) -> web.Response:
        asked = await read_body(request, Settle) if request.can_read_body else Settle()
        await self._emulator.postman.settle(asked.within_seconds)
        return web.Response(status=204)

    async def _send(self, request: web.Request) -> web.Response:
        asked = await read_body(request, ByHand)
        postman = self._emulator.postman
        check_url("url", asked.url, http_loopback=postman.switches.allow_http_loopback)
        body = asked.body.encode() if isinstance(asked.body, str) else msgspec.json.encode(asked.body)
        outcome = await postman.post_once("by_hand", asked.url, body, asked.content_type, RETRY_TIMEOUT)
        return json_response({"status": outcome.status, "problem": outcome.problem})
