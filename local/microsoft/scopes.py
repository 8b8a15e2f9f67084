"""The delegated permissions of Microsoft Graph that apps may ask people for, and how a ``scope`` parameter is read.

After the "Microsoft Graph permissions reference" and "Scopes and permissions in the Microsoft identity platform".
"""

from collections.abc import Iterable

import msgspec

from local.microsoft.apps import GRAPH, RESOURCES
from local.microsoft.entra_errors import EntraError

OPENID = ("openid", "profile", "email", "offline_access")
DEFAULT = ".default"


class Permission(msgspec.Struct, frozen=True):
    """``text`` is what the consent page says; ``needs_admin`` when only an administrator may consent to it."""

    name: str
    text: str
    needs_admin: bool = False


_CATALOGUE = (
    Permission("openid", "Sign you in"),
    Permission("profile", "View your basic profile"),
    Permission("email", "View your email address"),
    Permission("offline_access", "Maintain access to data you have given it access to"),
    Permission("User.Read", "Sign you in and read your profile"),
    Permission("User.ReadBasic.All", "Read all users' basic profiles"),
    Permission("User.Read.All", "Read all users' full profiles", needs_admin=True),
    Permission("Group.Read.All", "Read all groups", needs_admin=True),
    Permission("GroupMember.Read.All", "Read group memberships", needs_admin=True),
    Permission("Member.Read.Hidden", "Read hidden memberships", needs_admin=True),
    Permission("Directory.Read.All", "Read directory data", needs_admin=True),
    Permission("Organization.Read.All", "Read organization information", needs_admin=True),
    Permission("Application.Read.All", "Read applications", needs_admin=True),
    Permission("Application.ReadWrite.All", "Read and write all applications", needs_admin=True),
    Permission("Contacts.Read", "Read your contacts"),
    Permission("Contacts.Read.Shared", "Read your and shared contacts"),
    Permission("MailboxSettings.Read", "Read your mailbox settings"),
    Permission("Presence.Read", "Read your presence information"),
    Permission("Presence.Read.All", "Read presence information of all users in your organization", needs_admin=True),
)
DELEGATED = {permission.name: permission for permission in _CATALOGUE}


def read_scopes(text: str, listed: Iterable[str]) -> tuple[str, ...]:
    """The names in a ``scope`` parameter, each once, without the resource in front of them.

    ``.default`` stands for the permissions ``listed`` on the registration. ``EntraError`` for a scope that does not
    exist, for a foreign resource and for ``.default`` beside other permissions.
    """
    names = [_name(scope) for scope in text.split()]
    if not names:
        raise EntraError(70011, f"The provided value for the input parameter 'scope' is not valid. Scope: '{text}'.")
    own = [name for name in names if name not in OPENID]
    if DEFAULT in own:
        if set(own) != {DEFAULT}:
            raise EntraError(
                70011,
                f"The provided value for the input parameter 'scope' is not valid: {text}. The .default scope can't be "
                "combined with resource-specific scopes.",
            )
        own = [name for name in listed if name not in OPENID]
    return tuple(dict.fromkeys([*own, *(name for name in OPENID if name in names)]))


def full_name(scope: str) -> str:
    """The name with its resource: ``https://graph.microsoft.com/User.Read``."""
    return scope if scope in OPENID else f"{GRAPH}/{scope}"


def api_scopes(scopes: Iterable[str]) -> list[str]:
    """What an access token and the ``scope`` of an answer name: all but ``offline_access``."""
    chosen = set(scopes)
    return sorted(chosen.difference(OPENID)) + [name for name in OPENID[:3] if name in chosen]


def _name(scope: str) -> str:
    resource, separator, name = scope.rpartition("/")
    if separator and resource.rstrip("/") in RESOURCES - {GRAPH}:
        raise EntraError(
            28000,
            "Provided value for the input parameter scope is not valid because it contains more than one resource. "
            f"Scope {scope} is not valid.",
        )
    if separator and resource.rstrip("/") != GRAPH:
        raise EntraError(500011, f"The resource principal named {resource} was not found in the tenant.")
    if name not in DELEGATED and not (separator and name == DEFAULT):
        raise EntraError(
            650053, f"The application asked for scope '{name}' that doesn't exist on the resource '{GRAPH}'."
        )
    return name
