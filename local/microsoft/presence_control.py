"""The control API of presence.

- ``GET`` / ``PUT /_control/presence`` the switches, see ``PresenceSwitches``
- ``GET /_control/presence/users`` everybody of whom anything is known; ``GET`` / ``PUT .../users/{id}`` one:
  ``{"availability": "Busy", "activity": "InACall"}`` (the activity may be left out when it is the same word),
  ``status_message``, ``out_of_office``, ``out_of_office_message``
- ``POST /_control/presence/day`` ``{"changes_per_second": 5, "seconds": 60}`` a scripted company day, see ``Day``;
  ``GET`` how far it is, ``DELETE`` ends it
- ``POST /_control/presence/forge`` ``{"subscription": "...", "user": "...", "flaw": "wrong_key"}`` sends a forged POST
  about a user that nothing happened to, see ``Flaw``; with ``replay`` an earlier genuine one comes again
"""

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from local.emulator import json_response
from local.microsoft.control import Handler, in_plain_words, merged, read_body
from local.microsoft.delivery import RETRY_TIMEOUT
from local.microsoft.presence import PresenceSwitches
from local.microsoft.presence_day import Day
from local.microsoft.presence_forgeries import Flaw
from local.microsoft.presence_values import LONG_STANDING, NEWEST, check
from local.microsoft.subscriptions import Subscription

if TYPE_CHECKING:
    from local.microsoft.emulator import MicrosoftEmulator


class PresenceChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Members that are left out stay."""

    availability: str | UnsetType = UNSET
    activity: str | UnsetType = UNSET
    status_message: str | UnsetType | None = UNSET
    out_of_office: bool | UnsetType = UNSET
    out_of_office_message: str | UnsetType | None = UNSET

    def named(self) -> dict[str, Any]:
        found = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}
        if "availability" in found and found["availability"] in LONG_STANDING[1] | NEWEST[1]:
            found.setdefault("activity", found["availability"])
        return found


class Forgery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subscription: str
    flaw: Flaw
    user: str | None = None
    """Id of the user it is about; the first one that the subscription watches when left out."""


class PresenceControl:
    def __init__(self, emulator: "MicrosoftEmulator") -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        root, one, day = "/_control/presence", "/_control/presence/users/{id}", "/_control/presence/day"
        table: list[tuple[str, str, Handler]] = [
            ("GET", root, self._get_switches),
            ("PUT", root, self._put_switches),
            ("GET", root + "/users", self._list),
            ("GET", one, self._get),
            ("PUT", one, self._put),
            ("GET", day, self._get_day),
            ("POST", day, self._start_day),
            ("DELETE", day, self._stop_day),
            ("POST", root + "/forge", self._forge),
        ]
        return [web.route(method, path, in_plain_words(handler)) for method, path, handler in table]

    async def _get_switches(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.presences.switches)

    async def _put_switches(self, request: web.Request) -> web.Response:
        content = self._emulator.presences.content
        content.switches = await merged(request, content.switches, PresenceSwitches)
        return await self._get_switches(request)

    async def _list(self, _: web.Request) -> web.Response:
        users = self._emulator.presences.content.users
        return json_response([presence.shown(user_id) for user_id, presence in users.items()])

    async def _get(self, request: web.Request) -> web.Response:
        user_id = self._user_id(request.match_info["id"])
        return json_response(self._emulator.presences.of(user_id).shown(user_id))

    async def _put(self, request: web.Request) -> web.Response:
        changes = (await read_body(request, PresenceChange)).named()
        user_id, presences = self._user_id(request.match_info["id"]), self._emulator.presences
        check(presences.switches.vocabulary, msgspec.structs.replace(presences.of(user_id), **changes).words)
        return json_response(presences.change(user_id, changes).shown(user_id))

    async def _get_day(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.day.progress)

    async def _start_day(self, request: web.Request) -> web.Response:
        day = await read_body(request, Day)
        if day.users is not None:
            day = msgspec.structs.replace(day, users=[self._user_id(named) for named in day.users])
        self._emulator.day.start(day, self._emulator.presences)
        return json_response(self._emulator.day.progress, 202)

    async def _stop_day(self, _: web.Request) -> web.Response:
        self._emulator.day.stop()
        return web.Response(status=204)

    async def _forge(self, request: web.Request) -> web.Response:
        asked = await read_body(request, Forgery)
        subscription = self._emulator.subscriptions.find(asked.subscription)
        body = self._replayed(subscription) if asked.flaw == "replay" else self._made_up(subscription, asked)
        url = subscription.notification_url
        outcome = await self._emulator.postman.post_once("forged", url, body, "application/json", RETRY_TIMEOUT)
        return json_response({"status": outcome.status, "problem": outcome.problem})

    def _made_up(self, subscription: Subscription, asked: Forgery) -> bytes:
        if not subscription.target.ids:
            raise ValueError(f"the subscription {subscription.id} is not about presence")
        user_id = subscription.target.ids[0] if asked.user is None else self._user_id(asked.user)
        return self._emulator.presence_notifications.made_up(subscription, user_id, asked.flaw)

    def _replayed(self, subscription: Subscription) -> bytes:
        """The first POST that was delivered for the subscription, as it was."""
        for delivery in self._emulator.postman.deliveries:
            genuine = delivery.kind == "notification" and delivery.state == "delivered"
            if genuine and subscription.id in delivery.subscription_ids:
                return msgspec.json.encode(delivery.body)
        raise LookupError(f"nothing was delivered for the subscription {subscription.id} that could come again")

    def _user_id(self, identifier: str) -> str:
        user = self._emulator.directory.find("user", identifier)
        if user is None:
            raise LookupError(f"there is no user {identifier!r}")
        return user.id
