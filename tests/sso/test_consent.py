"""Which permissions are needed, and which of them are granted."""

from typing import Any

import pytest

from local.sample import ROLES
from sso.consent import CATALOGUE, delegated_scopes, permissions
from store.document import Settings
from tests.sso.site import NOOR, Site


async def names(site: Site, member: str, roles: tuple[str, ...] = ()) -> set[str]:
    return {permission.name for permission in await permissions(site.place, roles) if getattr(permission, member)}


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, {"User.Read.All", "User.Read"}),
        ({"groups": {"enabled": True}}, {"User.Read.All", "User.Read", "Group.Read.All"}),
        ({"presence": {"enabled": True}}, {"User.Read.All", "User.Read", "Presence.Read.All"}),
        (
            {"presence": {"enabled": True, "users": "groups", "group_ids": [NOOR]}},
            {"User.Read.All", "User.Read", "Presence.Read.All", "Group.Read.All"},
        ),
        (
            {"users": {"enabled": True, "scope": {"kind": "groups", "user_types": [], "group_ids": [NOOR]}}},
            {"User.Read.All", "User.Read", "Group.Read.All"},
        ),
    ],
    ids=["nothing on", "groups", "presence", "presence by group", "users by group"],
)
async def test_needed_is_what_the_settings_switch_on(site: Site, settings: dict[str, Any], needed: set[str]) -> None:
    await site.settings(**settings)
    assert await names(site, "is_needed") == needed


async def test_granted_is_what_the_tokens_carry(site: Site) -> None:
    assert await names(site, "granted") == set()
    assert await names(site, "granted", ROLES) == {
        "User.Read.All",
        "Group.Read.All",
        "Application.Read.All",
        "Presence.Read.All",
    }
    await site.connect(NOOR)
    assert await names(site, "granted") == {"User.Read"}


@pytest.mark.parametrize("wider", ["Directory.Read.All", "Group.ReadWrite.All"])
async def test_a_wider_permission_is_as_good(site: Site, wider: str) -> None:
    assert "Group.Read.All" in await names(site, "granted", (wider,))


async def test_each_says_what_it_is_for(site: Site) -> None:
    for permission in await permissions(site.place, ()):
        assert permission.why.endswith(".")
        assert permission.kind in {"application", "delegated"}


def test_a_sign_in_asks_for_delegated_permissions_only() -> None:
    delegated = {wanted.name for wanted in CATALOGUE if wanted.kind == "delegated"}
    assert delegated_scopes(Settings()) == ["User.Read"]
    assert set(delegated_scopes(Settings())) <= delegated
