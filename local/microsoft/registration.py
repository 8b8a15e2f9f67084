"""What an app registration says about people who sign in: redirect URIs, permissions, app roles and consent."""

from collections.abc import Iterable
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from local import sample

DEFAULT_ROLE = "00000000-0000-0000-0000-000000000000"
"""The role of an assignment that names none: it lets people in and puts nothing into their tokens."""
LOOPBACK = frozenset({"localhost", "127.0.0.1"})

type GroupClaims = Literal["None", "SecurityGroup", "ApplicationGroup", "All"]


class AppRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that the app defines; ``value`` is what the ``roles`` claim carries."""

    id: str
    value: str
    display_name: str


class Assignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user or group with a role of the app ("appRoleAssignment resource type")."""

    principal_id: str
    role_id: str = DEFAULT_ROLE


class Consent(msgspec.Struct, forbid_unknown_fields=True):
    """Delegated permissions that were granted: for everybody, and by single users (by object id) for themselves."""

    organization: list[str] = []
    users: dict[str, list[str]] = {}

    def granted(self, user_id: str) -> frozenset[str]:
        return frozenset(self.organization) | frozenset(self.users.get(user_id, ()))

    def missing(self, user_id: str, scopes: Iterable[str]) -> list[str]:
        granted = self.granted(user_id)
        return [scope for scope in scopes if scope not in granted]

    def grant(self, scopes: Iterable[str], user_id: str | None = None) -> None:
        """``user_id`` ``None`` grants for the organization."""
        self._set([*self._of(user_id), *scopes], user_id)

    def withdraw(self, scopes: Iterable[str], user_id: str | None = None) -> None:
        """``ValueError`` for a permission that was not granted; nothing is withdrawn then."""
        before, gone = self._of(user_id), set(scopes)
        if unknown := gone.difference(before):
            raise ValueError(f"{sorted(unknown)[0]} is not granted")
        self._set([scope for scope in before if scope not in gone], user_id)

    def _of(self, user_id: str | None) -> list[str]:
        return self.organization if user_id is None else self.users.get(user_id, [])

    def _set(self, scopes: list[str], user_id: str | None) -> None:
        unique = list(dict.fromkeys(scopes))
        if user_id is None:
            self.organization = unique
        else:
            self.users[user_id] = unique


class Registration(msgspec.Struct, forbid_unknown_fields=True):
    """The part of an app registration that sign-in needs."""

    redirect_uris: list[str] = []
    """Of the platform "Web"."""
    delegated: list[str] = []
    """Delegated permissions that it lists: what ``.default`` stands for."""
    application: list[str] = []
    """Application permissions that it lists; those that were granted are ``App.roles``."""
    app_roles: list[AppRole] = []
    assignments: list[Assignment] = []
    assignment_required: bool = False
    """Whether only assigned users get in; others meet AADSTS50105."""
    group_claims: GroupClaims = "None"
    """``groupMembershipClaims``: which groups the ``groups`` claim lists."""
    multi_tenant: bool = False
    """Whether ``common`` and ``organizations`` may stand for the tenant."""

    def check(self) -> None:
        """``ValueError`` in plain words for what the portal would not take."""
        for uri in self.redirect_uris:
            _check_redirect_uri(uri)
        if len({role.id for role in self.app_roles}) < len(self.app_roles):
            raise ValueError("two app roles have the same id")
        if len({role.value for role in self.app_roles}) < len(self.app_roles):
            raise ValueError("two app roles have the same value")
        known = {DEFAULT_ROLE, *(role.id for role in self.app_roles)}
        for assignment in self.assignments:
            if assignment.role_id not in known:
                raise ValueError(f"there is no app role {assignment.role_id!r}")

    def accepts(self, redirect_uri: str) -> bool:
        return any(_same(registered, redirect_uri) for registered in self.redirect_uris)

    def role_named(self, value: str) -> AppRole:
        """``LookupError`` when the app defines no such role."""
        for role in self.app_roles:
            if role.value == value:
                return role
        raise LookupError(f"there is no app role {value!r}")

    def roles_of(self, principals: Iterable[str]) -> list[str]:
        """Values of the roles that are assigned to any of ``principals``."""
        holders = set(principals)
        held = {item.role_id for item in self.assignments if item.principal_id in holders}
        return sorted(role.value for role in self.app_roles if role.id in held)

    def is_assigned(self, principals: Iterable[str]) -> bool:
        holders = set(principals)
        return any(item.principal_id in holders for item in self.assignments)


def sample_registration() -> Registration:
    """The sign-in part of the sample app."""
    roles = [AppRole(identifier, value, name) for identifier, value, name in sample.APP_ROLES]
    ids = {role.value: role.id for role in roles}
    return Registration(
        redirect_uris=list(sample.REDIRECT_URIS),
        delegated=list(sample.DELEGATED),
        application=list(sample.ROLES),
        app_roles=roles,
        assignments=[Assignment(principal, ids[value]) for principal, value in sample.APP_ROLE_ASSIGNMENTS],
    )


def _check_redirect_uri(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"a redirect URI begins with https:// (http:// for a loopback address only), not {uri!r}")
    if not parts.hostname or parts.fragment or "*" in uri:
        raise ValueError(f"a redirect URI has a host, no fragment and no wildcard, unlike {uri!r}")


def _same(registered: str, given: str) -> bool:
    """Exactly the same; of a loopback address over plain http the port does not count.

    After "Redirect URI (reply URL) restrictions and limitations", section "Localhost exceptions".
    """
    if registered == given:
        return True
    one, other = _without_port(registered), _without_port(given)
    return one is not None and one == other


def _without_port(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port == 0:
            return None
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.netloc.partition(":")[0] != host:
        return None
    return parts._replace(netloc=host)
