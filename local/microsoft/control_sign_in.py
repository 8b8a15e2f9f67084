"""The control API of sign-in.

- ``GET`` / ``PUT /_control/sign-in`` the switches, see ``SignInSwitches``: who signs in without a page, what is
  answered to the consent page, the next errors of the authorize endpoint, lifetimes, administrators, what is wrong
  with the next ID tokens
- ``GET`` / ``PUT /_control/registration?client_id=`` see ``Registration``
- ``POST /_control/assignments?client_id=`` ``{"principal": "user or group", "role": "Bridge.Admin"}`` gives a user or
  group a role of the app (``null``: access without a role), ``DELETE`` with the same members in the query takes it away
- ``GET`` / ``POST /_control/consent?client_id=`` ``{"grant": [], "withdraw": [], "user": null}`` delegated permissions,
  for the organization or for one user
- ``POST /_control/users/{id}/revoke`` ends all sessions, codes and refresh tokens of a user, as a changed password does
- ``POST /_control/id-token`` ``{"user": "...", "nonce": "...", "forgery": {"kind": "expired"}}``, see ``id_tokens``
"""

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from local.emulator import json_response
from local.microsoft.apps import App
from local.microsoft.control import Handler, in_plain_words, read_body
from local.microsoft.directory import Entity
from local.microsoft.id_tokens import Forgery
from local.microsoft.registration import DEFAULT_ROLE, Assignment, Registration
from local.microsoft.scopes import DELEGATED, OPENID
from local.microsoft.sign_in_content import SignInSwitches

if TYPE_CHECKING:
    from local.microsoft.emulator import MicrosoftEmulator


class NewAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    principal: str
    role: str | None = None


class ConsentChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grant: list[str] = []
    withdraw: list[str] = []
    user: str | None = None


class WantedToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    nonce: str | None = None
    scopes: list[str] = msgspec.field(default_factory=lambda: list(OPENID))
    forgery: Forgery = msgspec.field(default_factory=Forgery)


class SignInControl:
    def __init__(self, emulator: "MicrosoftEmulator") -> None:
        self._emulator = emulator

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/_control/sign-in", self._get_switches),
            ("PUT", "/_control/sign-in", self._put_switches),
            ("GET", "/_control/registration", self._get_registration),
            ("PUT", "/_control/registration", self._put_registration),
            ("POST", "/_control/assignments", self._assign),
            ("DELETE", "/_control/assignments", self._unassign),
            ("GET", "/_control/consent", self._get_consent),
            ("POST", "/_control/consent", self._change_consent),
            ("POST", "/_control/users/{id}/revoke", self._revoke),
            ("POST", "/_control/id-token", self._id_token),
        ]
        return [web.route(method, path, in_plain_words(handler)) for method, path, handler in table]

    async def _get_switches(self, _: web.Request) -> web.Response:
        return json_response(self._emulator.sign_in.content.switches)

    async def _put_switches(self, request: web.Request) -> web.Response:
        content = self._emulator.sign_in.content
        changes = await read_body(request, dict[str, Any])
        made = msgspec.convert({**msgspec.to_builtins(content.switches), **changes}, SignInSwitches)
        made.check()
        if made.automatic_user is not None and "automatic_user" in changes:
            self._user(made.automatic_user)
        if "administrators" in changes:
            made.administrators = [self._user(named).id for named in made.administrators]
        content.switches = made
        return json_response(made)

    async def _get_registration(self, request: web.Request) -> web.Response:
        return json_response(self._app(request).registration)

    async def _put_registration(self, request: web.Request) -> web.Response:
        app = self._app(request)
        changes = await read_body(request, dict[str, Any])
        made = msgspec.convert({**msgspec.to_builtins(app.registration), **changes}, Registration)
        made.check()
        if unknown := [name for name in made.delegated if name not in DELEGATED]:
            raise ValueError(f"there is no delegated permission {unknown[0]!r}")
        app.registration = made
        return json_response(made)

    async def _assign(self, request: web.Request) -> web.Response:
        registration = self._app(request).registration
        assignment = self._assignment(registration, await read_body(request, NewAssignment))
        if assignment not in registration.assignments:
            registration.assignments.append(assignment)
        return json_response(registration.assignments, 201)

    async def _unassign(self, request: web.Request) -> web.Response:
        registration = self._app(request).registration
        named = NewAssignment(request.query.get("principal", ""), request.query.get("role"))
        assignment = self._assignment(registration, named)
        if assignment not in registration.assignments:
            raise LookupError(f"{named.principal} is not assigned")
        registration.assignments.remove(assignment)
        return web.Response(status=204)

    async def _get_consent(self, request: web.Request) -> web.Response:
        return json_response(self._app(request).consent)

    async def _change_consent(self, request: web.Request) -> web.Response:
        consent = self._app(request).consent
        change = await read_body(request, ConsentChange)
        user_id = None if change.user is None else self._user(change.user).id
        if unknown := [name for name in change.grant if name not in DELEGATED]:
            raise ValueError(f"there is no delegated permission {unknown[0]!r}")
        consent.withdraw(change.withdraw, user_id)
        consent.grant(change.grant, user_id)
        return json_response(consent)

    async def _revoke(self, request: web.Request) -> web.Response:
        self._emulator.sign_in.content.revoke(self._user(request.match_info["id"]).id)
        return web.Response(status=204)

    async def _id_token(self, request: web.Request) -> web.Response:
        wanted = await read_body(request, WantedToken)
        token = self._emulator.id_tokens.make(
            self._app(request),
            self._user(wanted.user),
            wanted.scopes,
            origin=self._emulator.url,
            seconds=self._emulator.sign_in.content.switches.id_token_seconds,
            session_id="00000000-0000-4000-8000-000000000000",
            nonce=wanted.nonce,
            forgery=wanted.forgery,
        )
        return json_response({"id_token": token})

    def _app(self, request: web.Request) -> App:
        apps = self._emulator.authority.apps
        client_id = request.query.get("client_id", next(iter(apps), "")).lower()
        if client_id not in apps:
            raise LookupError(f"there is no app {client_id!r}")
        return apps[client_id]

    def _user(self, identifier: str) -> Entity:
        user = self._emulator.directory.find("user", identifier)
        if user is None:
            raise LookupError(f"there is no user {identifier!r}")
        return user

    def _assignment(self, registration: Registration, named: NewAssignment) -> Assignment:
        directory = self._emulator.directory
        principal = directory.find("user", named.principal) or directory.find("group", named.principal)
        if principal is None:
            raise LookupError(f"there is no user or group {named.principal!r}")
        role = DEFAULT_ROLE if named.role is None else registration.role_named(named.role).id
        return Assignment(principal.id, role)
