"""What an administrator and the licence set on the PBX and the Open API depends on."""

from typing import Any

import msgspec

BUILTIN_ROLES = {"1": "Administrator", "2": "Supervisor", "3": "Operator", "4": "Employee"}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The PBX settings."""

    number_ranges: tuple[tuple[int, int], ...] = ((0, 9_999_999),)
    """Where extension numbers may lie, both ends included; 40002 outside."""
    organizations_enabled: bool = False
    organizations: dict[str, str] = {}
    """Id to name."""
    roles: dict[str, str] = msgspec.field(default_factory=BUILTIN_ROLES.copy)
    """Id to name; 0 stands for no role."""
    mail_server_works: bool = True


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The licence."""

    extensions: int = 500
    concurrent_calls: int = 125


def changed[T: msgspec.Struct](current: T, members: Any) -> T:
    """``current`` with ``members`` replaced; ``ValueError`` when one of them makes no sense."""
    if not isinstance(members, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - every wrong state is a ValueError
    try:
        return msgspec.convert({**msgspec.to_builtins(current), **members}, type(current))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
