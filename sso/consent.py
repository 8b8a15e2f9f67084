"""The permissions of Microsoft Graph that the features need, and which of them the tenant granted."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from sso.account import read_account
from sso.place import Place
from store.document import Settings

type Kind = Literal["application", "delegated"]


class Permission(msgspec.Struct, frozen=True):
    """One permission as an administrator sees it."""

    name: str
    kind: Kind
    feature: str
    granted: bool
    is_needed: bool
    """Without it something that is switched on does not work."""
    why: str


class _Wanted(msgspec.Struct, frozen=True):
    """A permission of the catalogue. ``wider`` are those that include it."""

    name: str
    kind: Kind
    feature: str
    why: str
    is_needed: Callable[[Settings], bool]
    wider: tuple[str, ...] = ()


def _always(_: Settings) -> bool:
    return True


def _never(_: Settings) -> bool:
    return False


def _with_groups(settings: Settings) -> bool:
    by_group = settings.users.enabled and settings.users.scope.kind == "groups"
    presence_by_group = settings.presence.enabled and settings.presence.users == "groups"
    return settings.groups.enabled or by_group or presence_by_group


def _with_presence(settings: Settings) -> bool:
    return settings.presence.enabled


DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")
SIGN_IN = "User.Read"
PRESENCE = "Presence.Read.All"
FURTHER_SCOPES = (SIGN_IN, PRESENCE)
"""What further accounts are asked for: they are there for presence only."""
CATALOGUE = (
    _Wanted(
        "User.Read.All",
        "application",
        "users",
        "Reads the users of the tenant and hears of their changes.",
        _always,
        ("User.ReadWrite.All", *DIRECTORY),
    ),
    _Wanted(
        "Group.Read.All",
        "application",
        "groups",
        "Reads groups and their members, and hears of their changes: for extension groups, and where people are "
        "chosen by group.",
        _with_groups,
        ("Group.ReadWrite.All", *DIRECTORY),
    ),
    _Wanted(
        "Member.Read.Hidden",
        "application",
        "groups",
        "Reads the members of groups that hide them. Without it such groups count as empty.",
        _never,
    ),
    _Wanted(
        "Application.Read.All",
        "application",
        "credential expiry",
        "Reads when the client secret or the certificate expires, to warn in time. Without it nobody is warned.",
        _never,
        ("Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", *DIRECTORY),
    ),
    _Wanted(
        PRESENCE,
        "application",
        "presence",
        "Reads what people show in Teams.",
        _with_presence,
    ),
    _Wanted(
        SIGN_IN,
        "delegated",
        "sign-in",
        "Signs administrators in and tells who they are.",
        _always,
        ("User.ReadWrite", "User.Read.All", "User.ReadWrite.All"),
    ),
    _Wanted(
        PRESENCE,
        "delegated",
        "presence",
        "Hears at once what people show in Teams: Graph announces that to an account only, never to an application.",
        _with_presence,
    ),
)
"""Least privilege for each feature (https://learn.microsoft.com/graph/permissions-reference)."""


async def permissions(place: Place, app_roles_of_token: Sequence[str]) -> list[Permission]:
    """What the features need and what is granted. ``app_roles_of_token``: the ``roles`` of an access token of the
    application. Delegated permissions are known from the last sign-in of the authorization account."""
    settings = (await place.settings.load()).settings
    account = await read_account(place)
    granted: dict[Kind, Sequence[str]] = {
        "application": app_roles_of_token,
        "delegated": [] if account is None else account.scopes,
    }
    return [
        Permission(
            name=wanted.name,
            kind=wanted.kind,
            feature=wanted.feature,
            granted=not {wanted.name, *wanted.wider}.isdisjoint(granted[wanted.kind]),
            is_needed=wanted.is_needed(settings),
            why=wanted.why,
        )
        for wanted in CATALOGUE
    ]


def delegated_scopes(settings: Settings) -> list[str]:
    """What the authorization account is asked for: the delegated permissions of the features that are on."""
    return [wanted.name for wanted in CATALOGUE if wanted.kind == "delegated" and wanted.is_needed(settings)]
