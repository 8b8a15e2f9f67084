"""The control API beside the common routes: what an administrator of the tenant, or time, would do.

- ``POST /_control/users`` (and ``groups``), ``PATCH`` / ``DELETE /_control/users/{id}``, ``POST .../restore``,
  ``POST .../purge``, ``GET`` one; ``DELETE`` is the restorable kind
- ``POST /_control/groups/{id}/members`` and ``/owners`` with ``{"add": [], "remove": []}``, thousands at once if need
  be, and ``{"add_all_users": true}``
- ``GET`` / ``PUT /_control/delta`` the switches of delta queries
- ``POST /_control/expire-tokens`` ends all delta tokens given out so far
- ``GET`` / ``PUT /_control/app?client_id=`` credentials and roles of an app registration (unknown id: a new one)
- ``GET`` / ``PUT /_control/identity``, ``GET`` / ``PUT /_control/throttle``
- ``POST /_control/rotate-keys`` ``{"keep": true}``
- subscriptions and notifications: ``control_notifications``; presence: ``presence_control``

A PUT changes the members it names and leaves the others. Wrong input is answered 400 and changes nothing.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from local.emulator import json_response
from local.microsoft.apps import App, FederatedCredential, ManagedIdentity, Secret, certificate_from_pem
from local.microsoft.delta import Switches
from local.microsoft.directory import Entity, instant
from local.microsoft.errors import GraphError
from local.microsoft.notification_switches import NotificationSwitches
from local.microsoft.presence import PresenceSwitches
from local.microsoft.throttle import Throttle

if TYPE_CHECKING:
    from local.microsoft.emulator import MicrosoftEmulator

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KINDS = {"users": "user", "groups": "group", "objects": ""}


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: list[str] = []
    remove: list[str] = []
    add_all_users: bool = False
    """Adds everybody who is not in yet: a large group at once."""


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret: str
    start: str = "2020-01-01T00:00:00Z"
    end: str = "2099-12-31T00:00:00Z"
    display_name: str | None = None
    key_id: str | None = None


class NewCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pem: str
    display_name: str | None = None


class AppChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    display_name: str | msgspec.UnsetType = msgspec.UNSET
    secrets: list[NewSecret] | msgspec.UnsetType = msgspec.UNSET
    certificates: list[NewCertificate] | msgspec.UnsetType = msgspec.UNSET
    federated: list[FederatedCredential] | msgspec.UnsetType = msgspec.UNSET
    roles: list[str] | msgspec.UnsetType = msgspec.UNSET
    vault_access: bool | msgspec.UnsetType = msgspec.UNSET
    token_seconds: int | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keep: bool = True


class Control:
    def __init__(self, emulator: "MicrosoftEmulator") -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        collection, one = "/_control/{collection:users|groups}", "/_control/{collection:users|groups}/{id}"
        table: list[tuple[str, str, Handler]] = [
            ("POST", collection, self._create),
            ("GET", one, self._get),
            ("PATCH", one, self._update),
            ("DELETE", one, self._delete),
            ("POST", one + "/restore", self._restore),
            ("POST", one + "/purge", self._purge),
            ("POST", "/_control/groups/{id}/{relation:members|owners}", self._link),
            ("GET", "/_control/delta", self._get_delta),
            ("PUT", "/_control/delta", self._put_delta),
            ("POST", "/_control/expire-tokens", self._expire_tokens),
            ("POST", "/_control/rotate-keys", self._rotate_keys),
            ("GET", "/_control/app", self._get_app),
            ("PUT", "/_control/app", self._put_app),
            ("GET", "/_control/identity", self._get_identity),
            ("PUT", "/_control/identity", self._put_identity),
            ("GET", "/_control/throttle", self._get_throttle),
            ("PUT", "/_control/throttle", self._put_throttle),
        ]
        return [web.route(method, path, in_plain_words(handler)) for method, path, handler in table]

    # Objects

    async def _create(self, request: web.Request) -> web.Response:
        properties = await read_body(request, dict[str, Any])
        manager = properties.pop("manager", None)
        kind = KINDS[request.match_info["collection"]]
        return _shown(self._emulator.directory.create(kind, properties, manager), 201)

    async def _get(self, request: web.Request) -> web.Response:
        return _shown(self._entity(request))

    async def _update(self, request: web.Request) -> web.Response:
        properties = await read_body(request, dict[str, Any])
        entity = self._entity(request)
        directory = self._emulator.directory
        if "manager" in properties:
            directory.set_manager(entity, properties.pop("manager"))
        return _shown(directory.update(entity, properties))

    async def _delete(self, request: web.Request) -> web.Response:
        self._emulator.directory.delete(self._entity(request))
        return web.Response(status=204)

    async def _restore(self, request: web.Request) -> web.Response:
        return _shown(self._emulator.directory.restore(self._entity(request)))

    async def _purge(self, request: web.Request) -> web.Response:
        self._emulator.directory.purge(self._entity(request))
        return web.Response(status=204)

    async def _link(self, request: web.Request) -> web.Response:
        links = await read_body(request, Links)
        group = self._entity(request, "group")
        directory = self._emulator.directory
        everybody = [user.id for _, user in directory.live("user")] if links.add_all_users else []
        directory.link(group, request.match_info["relation"], [*links.add, *everybody], links.remove)
        return _shown(group)

    def _entity(self, request: web.Request, kind: str = "") -> Entity:
        kind = kind or KINDS[request.match_info["collection"]]
        identifier = request.match_info["id"]
        directory = self._emulator.directory
        entity = directory.entities.get(identifier.lower()) or directory.find(kind, identifier)
        if entity is None or entity.kind != kind:
            raise LookupError(f"there is no {kind} {identifier!r}")
        return entity

    # Switches

    async def _get_delta(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.graph.delta.switches)

    async def _put_delta(self, request: web.Request) -> web.Response:
        delta = self._emulator.graph.delta
        delta.switches = await merged(request, delta.switches, Switches)
        self._emulator.directory.delete_groups_softly = delta.switches.delete_groups_softly
        return await self._get_delta(request)

    async def _expire_tokens(self, _: web.Request) -> web.Response:
        self._emulator.graph.delta.expire()
        return web.Response(status=204)

    async def _get_throttle(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.graph.bucket.settings)

    async def _put_throttle(self, request: web.Request) -> web.Response:
        bucket = self._emulator.graph.bucket
        bucket.settings = await merged(request, bucket.settings, Throttle)
        bucket.empty()
        return await self._get_throttle(request)

    # Credentials

    async def _rotate_keys(self, request: web.Request) -> web.Response:
        rotation = await read_body(request, Rotation) if request.can_read_body else Rotation()
        self._emulator.keys.rotate(keep=rotation.keep)
        return json_response({"kids": [key.kid for key in self._emulator.keys.keys]})

    async def _get_app(self, request: web.Request) -> web.Response:
        client_id = self._client_id(request)
        if client_id not in self._emulator.authority.apps:
            raise LookupError(f"there is no app {client_id!r}")
        return json_response(self._emulator.authority.apps[client_id])

    async def _put_app(self, request: web.Request) -> web.Response:
        client_id = self._client_id(request)
        changes = await read_body(request, AppChanges)
        apps = self._emulator.authority.apps
        changed = _changed(apps.get(client_id) or _new_app(client_id), changes)
        apps[client_id] = changed
        self._emulator.open_vault()
        return json_response(changed)

    def _client_id(self, request: web.Request) -> str:
        default = next(iter(self._emulator.authority.apps), "")
        return request.query.get("client_id", default).lower()

    async def _get_identity(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.identity.identity)

    async def _put_identity(self, request: web.Request) -> web.Response:
        endpoint = self._emulator.identity
        endpoint.identity = await merged(request, endpoint.identity, ManagedIdentity)
        self._emulator.open_vault()
        return await self._get_identity(request)


def in_plain_words(handler: Handler) -> Handler:
    """Answer wrong input with 400 and an unknown object with 404, in plain words."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except LookupError as error:
            return json_response({"error": str(error.args[0])}, 404)
        except GraphError as error:
            return json_response({"error": error.message}, 400)
        except (ValueError, TypeError) as error:
            return json_response({"error": str(error)}, 400)

    return guarded


async def read_body[T](request: web.Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


async def merged[T: (Switches, Throttle, ManagedIdentity, NotificationSwitches, PresenceSwitches)](
    request: web.Request, current: T, kind: type[T]
) -> T:
    """``current`` with the members that the request names; checked whole."""
    changes = await read_body(request, dict[str, Any])
    made = msgspec.convert({**msgspec.to_builtins(current), **changes}, kind)
    if not isinstance(made, ManagedIdentity):
        made.check()
    return made


def _shown(entity: Entity, status: int = 200) -> web.Response:
    links = {relation: list(linked) for relation, linked in entity.links.items()}
    deleted = {"deletedDateTime": instant(entity.deleted)} if entity.deleted is not None else {}
    return json_response(entity.properties | links | {"manager": entity.manager} | deleted, status)


def _new_app(client_id: str) -> App:
    if len(client_id) != 36:
        raise ValueError(f"client_id has to be a GUID, not {client_id!r}")
    return App(client_id, str(uuid.uuid4()), str(uuid.uuid4()), "New app")


def _changed(app: App, changes: AppChanges) -> App:
    """A copy of ``app`` with the named members replaced."""
    named: dict[str, Any] = {
        name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not msgspec.UNSET
    }
    if "secrets" in named:
        named["secrets"] = [_secret(item) for item in named["secrets"]]
    if "certificates" in named:
        certificates = named["certificates"]
        named["certificates"] = [
            certificate_from_pem(str(uuid.uuid4()), item.pem, item.display_name) for item in certificates
        ]
    if named.get("token_seconds", 1) < 1:
        raise ValueError("token_seconds has to be at least 1")
    return msgspec.structs.replace(app, **named)


def _secret(new: NewSecret) -> Secret:
    key: dict[Literal["key_id"], str] = {"key_id": new.key_id or str(uuid.uuid4())}
    made = msgspec.convert({**msgspec.to_builtins(new), **key}, Secret)
    if made.start.tzinfo is None or made.end.tzinfo is None:
        raise ValueError("start and end of a secret need a time zone, as 2026-01-01T00:00:00Z")
    if made.start >= made.end:
        raise ValueError("a secret has to end after it starts")
    return made
