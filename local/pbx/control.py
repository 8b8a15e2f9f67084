"""The emulator's own control routes: what an administrator does on the PBX by hand, switches, and what to look at.

- ``GET`` / ``POST /_control/extensions``, ``GET`` / ``PATCH`` / ``DELETE /_control/extensions/{id}``
- ``PUT /_control/extensions/{id}/presence`` ``{"status": "lunch", "custom": ""}`` the presence that a person chooses
- the same for ``/_control/groups``, the extension groups
- ``GET`` / ``PUT /_control/webhooks`` up to five, and how deliveries go wrong
- ``GET`` / ``DELETE /_control/deliveries`` what webhooks were sent, and their answers
- ``GET`` / ``PUT /_control/application`` client id and secret, permitted addresses, enabled
- ``GET`` / ``PUT /_control/firmware``, ``/_control/settings``, ``/_control/capacity``
- ``GET /_control/tokens`` live tokens and the history of requests for them, ``DELETE`` revokes all
- ``GET`` / ``DELETE /_control/blocked`` addresses blocked after failed authentications
- ``GET`` / ``DELETE /_control/emails``, ``GET`` / ``DELETE /_control/violations?kind=``

``PUT`` changes the members that are sent and leaves the others; 400 says what is wrong and changes nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from local.emulator import json_response
from local.pbx.directory import Clash, Extension, Status
from local.pbx.groups import LIMIT, Group
from local.pbx.machine import Machine
from local.pbx.sender import Sender
from local.pbx.settings import changed
from local.pbx.violations import Violations

type Handler = Callable[[web.Request], Awaitable[web.Response]]

PARTS = ("application", "firmware", "settings", "capacity", "webhooks")


class ChosenPresence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person chooses in Linkus; ``custom`` is the name of a custom presence, empty for none."""

    status: Status
    custom: str = ""


class Control:
    """The handlers, over the content of one machine."""

    def __init__(self, machine: Machine, violations: Violations, sender: Sender) -> None:
        self._machine = machine
        self._violations = violations
        self._sender = sender

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/extensions", self._list_extensions),
            web.post("/_control/extensions", self._create_extension),
            web.get("/_control/extensions/{id:[0-9]+}", self._get_extension),
            web.patch("/_control/extensions/{id:[0-9]+}", self._patch_extension),
            web.delete("/_control/extensions/{id:[0-9]+}", self._delete_extension),
            web.put("/_control/extensions/{id:[0-9]+}/presence", self._choose_presence),
            web.get("/_control/groups", self._list_groups),
            web.post("/_control/groups", self._create_group),
            web.get("/_control/groups/{id:[0-9]+}", self._get_group),
            web.patch("/_control/groups/{id:[0-9]+}", self._patch_group),
            web.delete("/_control/groups/{id:[0-9]+}", self._delete_group),
            web.get("/_control/deliveries", self._get_deliveries),
            web.delete("/_control/deliveries", self._delete_deliveries),
            web.get("/_control/tokens", self._get_tokens),
            web.delete("/_control/tokens", self._delete_tokens),
            web.get("/_control/blocked", self._get_blocked),
            web.delete("/_control/blocked", self._delete_blocked),
            web.get("/_control/emails", self._get_emails),
            web.delete("/_control/emails", self._delete_emails),
            web.get("/_control/violations", self._get_violations),
            web.delete("/_control/violations", self._delete_violations),
            *(route for name in PARTS for route in self._part(name)),
        ]

    def _part(self, name: str) -> list[web.RouteDef]:
        """Routes that read and change one of the machine's parts."""

        async def get(_: web.Request) -> web.Response:
            return json_response(getattr(self._machine, name))

        async def put(request: web.Request) -> web.Response:
            try:
                part = changed(getattr(self._machine, name), await _json(request))
            except ValueError as error:
                return _refused(error)
            setattr(self._machine, name, part)
            return json_response(part)

        return [web.get(f"/_control/{name}", get), web.put(f"/_control/{name}", put)]

    async def _list_extensions(self, _: web.Request) -> web.Response:
        self._machine.settle()
        return json_response(list(self._machine.directory))

    async def _create_extension(self, request: web.Request) -> web.Response:
        try:
            extension = msgspec.convert(await _json(request), Extension)
            if self._machine.full():
                return _refused(ValueError("the licence allows no further extension"), status=409)
            return json_response(self._machine.directory.add(extension), status=201)
        except (ValueError, msgspec.ValidationError) as error:
            return _refused(error)

    async def _get_extension(self, request: web.Request) -> web.Response:
        self._machine.settle()
        return json_response(self._extension(request))

    async def _patch_extension(self, request: web.Request) -> web.Response:
        old = self._extension(request)
        try:
            new = changed(old, {**await _json(request), "id": old.id})
            self._machine.directory.replace(new)
        except ValueError as error:
            return _refused(error)
        return json_response(new)

    async def _choose_presence(self, request: web.Request) -> web.Response:
        old = self._extension(request)
        try:
            chosen = msgspec.convert(await _json(request), ChosenPresence)
        except ValueError as error:
            return _refused(error)
        presence: dict[str, Any] = {"presence_status": chosen.status, "custom_presence_status": chosen.custom}
        new = msgspec.structs.replace(old, **presence)
        if new != old:
            self._machine.directory.replace(new)
        return json_response(new)

    async def _delete_extension(self, request: web.Request) -> web.Response:
        self._machine.directory.remove(self._extension(request).id)
        return web.Response(status=204)

    async def _list_groups(self, _: web.Request) -> web.Response:
        self._machine.settle()
        return json_response(list(self._machine.groups))

    async def _create_group(self, request: web.Request) -> web.Response:
        try:
            group = msgspec.convert(await _json(request), Group)
            self._check_members(group)
            if self._machine.groups.full:
                return _refused(ValueError(f"the PBX takes {LIMIT} groups at most"), status=409)
            return json_response(self._machine.groups.add(group), status=201)
        except ValueError as error:
            return _refused(error)

    async def _get_group(self, request: web.Request) -> web.Response:
        self._machine.settle()
        return json_response(self._group(request))

    async def _patch_group(self, request: web.Request) -> web.Response:
        old = self._group(request)
        try:
            new = changed(old, {**await _json(request), "id": old.id})
            self._check_members(new)
            self._machine.groups.replace(new)
        except ValueError as error:
            return _refused(error)
        return json_response(new)

    async def _delete_group(self, request: web.Request) -> web.Response:
        group = self._group(request)
        if group.is_default:
            return _refused(ValueError("the default group cannot be deleted"), status=409)
        self._machine.groups.remove(group.id)
        return web.Response(status=204)

    def _check_members(self, group: Group) -> None:
        for member in group.members:
            if self._machine.directory.get(member.ext_id) is None:
                raise ValueError(f"there is no extension with the id {member.ext_id}")

    async def _get_deliveries(self, _: web.Request) -> web.Response:
        return json_response(self._sender.deliveries)

    async def _delete_deliveries(self, _: web.Request) -> web.Response:
        self._sender.deliveries.clear()
        return web.Response(status=204)

    async def _get_tokens(self, _: web.Request) -> web.Response:
        tokens = self._machine.tokens
        return json_response({"live": tokens.live(self._machine.clock.time()), "history": tokens.history})

    async def _delete_tokens(self, _: web.Request) -> web.Response:
        self._machine.tokens.clear()
        return web.Response(status=204)

    async def _get_blocked(self, _: web.Request) -> web.Response:
        blocked = self._machine.blocked
        return json_response({"failed_authentications": blocked.failures, "blocked_until": blocked.until})

    async def _delete_blocked(self, _: web.Request) -> web.Response:
        self._machine.blocked.clear()
        return web.Response(status=204)

    async def _get_emails(self, _: web.Request) -> web.Response:
        return json_response(self._machine.emails)

    async def _delete_emails(self, _: web.Request) -> web.Response:
        self._machine.emails.clear()
        return web.Response(status=204)

    async def _get_violations(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        return json_response([found for found in self._violations.found if kind in (None, found.kind)])

    async def _delete_violations(self, _: web.Request) -> web.Response:
        self._violations.found.clear()
        return web.Response(status=204)

    def _extension(self, request: web.Request) -> Extension:
        extension = self._machine.directory.get(int(request.match_info["id"]))
        if extension is None:
            raise web.HTTPNotFound(text='{"error":"no such extension"}', content_type="application/json")
        return extension

    def _group(self, request: web.Request) -> Group:
        group = self._machine.groups.get(int(request.match_info["id"]))
        if group is None:
            raise web.HTTPNotFound(text='{"error":"no such group"}', content_type="application/json")
        return group


async def _json(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent; ``ValueError`` when there is none."""
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _refused(error: Exception, status: int = 400) -> web.Response:
    return json_response({"error": str(error)}, status=409 if isinstance(error, Clash) else status)
