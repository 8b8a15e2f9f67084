"""The signed-in user: ``/me``, the groups that a token had no room for, and ``/oidc/userinfo``."""

import msgspec
from aiohttp import web

from local.emulator import json_response
from local.microsoft.apps import GRAPH
from local.microsoft.directory import Directory, Entity
from local.microsoft.errors import GraphError, bad_request, denied, not_found
from local.microsoft.id_tokens import pairwise
from local.microsoft.memberships import all_groups
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.permissions import DIRECTORY_READ, EVERYBODY, GROUPS_READ, USERS_READ, USERS_READ_BASIC
from local.microsoft.query import allowed, read_select, shown
from local.microsoft.router import Route
from local.microsoft.tokens import InvalidTokenError, TokenService
from local.microsoft.users import project, single

OWN_PROFILE = frozenset({"User.Read", "User.ReadWrite"})


class Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    security_enabled_only: bool


class Me:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def routes(self) -> tuple[Route, ...]:
        """The permission depends on whom it is about, so the calls check it."""
        return (
            Route("GET", "me", self.get, EVERYBODY, 2),
            Route("POST", "me/getMemberObjects", self.own_groups, EVERYBODY, 2),
            Route("POST", "users/{id}/getMemberObjects", self.groups, EVERYBODY, 2),
        )

    def get(self, request: GraphRequest) -> GraphResponse:
        user = signed_in(self._directory, request)
        if not request.principal.roles & (OWN_PROFILE | USERS_READ):
            raise denied()
        select = read_select(allowed(request, frozenset({"$select"})), ("user",))
        return answer(single(request, "users", select, project(user, shown(select, "user"))))

    def own_groups(self, request: GraphRequest) -> GraphResponse:
        return self._groups(request, signed_in(self._directory, request))

    def groups(self, request: GraphRequest, identifier: str) -> GraphResponse:
        user = self._directory.find("user", identifier)
        if user is None:
            raise not_found(identifier)
        return self._groups(request, user)

    def _groups(self, request: GraphRequest, user: Entity) -> GraphResponse:
        """Ids of all groups, nested ones too ("directoryObject: getMemberObjects")."""
        allowed(request, frozenset())
        if not _may_read_groups(request, user):
            raise denied()
        which = _read_which(request.body)
        groups = all_groups(self._directory, user.id)
        chosen = [
            group.id for group in groups if group.properties["securityEnabled"] or not which.security_enabled_only
        ]
        return answer({"@odata.context": f"{request.root}/$metadata#Collection(Edm.String)", "value": chosen})


class UserInfo:
    """``/oidc/userinfo``: what an ID token says already ("Microsoft identity platform UserInfo endpoint")."""

    def __init__(self, directory: Directory, tokens: TokenService) -> None:
        self._directory = directory
        self._tokens = tokens

    async def answer(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise InvalidTokenError("Access token is empty.")  # noqa: TRY301 - answered like any bad token
            principal = self._tokens.validate(token, GRAPH)
        except InvalidTokenError as error:
            return _refused(str(error))
        user = self._directory.find("user", principal.object_id)
        if user is None or not principal.delegated or "openid" not in principal.roles:
            return _refused("The token does not carry the scope openid of a user.")
        values, claims = user.properties, {"sub": pairwise(principal.app_id, user.id)}
        if "profile" in principal.roles:
            named = {"name": "displayName", "given_name": "givenName", "family_name": "surname"}
            claims |= {claim: values[name] for claim, name in named.items() if values.get(name)}
        if "email" in principal.roles and values.get("mail"):
            claims["email"] = values["mail"]
        return json_response(claims)


def signed_in(directory: Directory, request: GraphRequest) -> Entity:
    """The user of a delegated token. ``GraphError`` 400 for another token, 404 for a user who is gone."""
    if not request.principal.delegated:
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    user = directory.find("user", request.principal.object_id)
    if user is None:
        raise not_found(request.principal.object_id)
    return user


def _refused(message: str) -> web.Response:
    body = {"error": {"code": "InvalidAuthenticationToken", "message": message}}
    return json_response(body, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _may_read_groups(request: GraphRequest, user: Entity) -> bool:
    """Of oneself with ``User.Read``; of others with a permission on users and one on memberships."""
    roles, principal = request.principal.roles, request.principal
    if principal.delegated and principal.object_id == user.id and roles & OWN_PROFILE:
        return True
    return bool(roles & DIRECTORY_READ or (roles & USERS_READ_BASIC and roles & GROUPS_READ))


def _read_which(body: bytes) -> Which:
    try:
        return msgspec.json.decode(body, type=Which)
    except msgspec.DecodeError as error:
        raise bad_request(
            f"The body of getMemberObjects is {{'securityEnabledOnly': true or false}}: {error}"
        ) from None
