"""What the content of an extension has to meet beyond its shape: firmware, settings and other extensions decide."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.pbx.answers import Errcode, Problem, Refused
from local.pbx.firmware import Firmware
from local.pbx.machine import Machine
from local.pbx.passwords import weakness
from local.pbx.validation import unwelcome, wrong

# Characters from the CSV import rules of the administrator guide; the plus sign is not among them.
EMAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'-]*@[A-Za-z0-9_.-]+\.[A-Za-z0-9]{2,}")
EMAIL_WITH_PLUS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'+-]*@[A-Za-z0-9_.-]+\.[A-Za-z0-9]{2,}")
PIN = re.compile(r"[0-9]*", re.ASCII)

type Body = Mapping[str, Any]


def value_problems(firmware: Firmware, body: Body, owner: tuple[str, ...]) -> list[Problem]:
    """Values that this firmware refuses; ``owner`` are number, first and last name as they will be."""
    return [
        *_email(firmware, body),
        *_names(firmware, body),
        *_title(firmware, body),
        *_pin(body),
        *_passwords(firmware, body, owner),
    ]


def check_number(machine: Machine, number: str) -> None:
    """Refuse with 40002 a number outside the ranges of the PBX."""
    if not any(low <= int(number) <= high for low, high in machine.settings.number_ranges):
        raise Refused(Errcode.VALUE, [unwelcome("number", number, "is outside the extension ranges")])


def check_references(machine: Machine, body: Body, *, new: bool) -> None:
    """Refuse a role (60101) or an organisation that does not exist, and organisations when they are off (70120)."""
    role = body.get("role_id", 0)
    if role and str(role) not in machine.settings.roles:
        raise Refused(Errcode.NO_ROLE)
    if not machine.settings.organizations_enabled:
        if "organization_list" in body:
            raise Refused(Errcode.NO_ORGANIZATIONS)
        return
    if "organization_list" not in body and new:
        raise Refused(Errcode.SYNTAX, [_missing_organization()])
    unknown = [
        unwelcome("organization_list", entry.get("value", ""), "is no organisation")
        for entry in body.get("organization_list", [])
        if entry.get("value") not in machine.settings.organizations
    ]
    if unknown or body.get("organization_list") == []:
        raise Refused(Errcode.VALUE, unknown or [unwelcome("organization_list", "[]", "is empty")])


def check_unique(machine: Machine, body: Body, own: int = 0) -> None:
    """Refuse with 40003 what another extension has; every duplicate is named."""
    names = machine.directory.clashes(body, own)
    if names:
        raise Refused(
            Errcode.DUPLICATE, [Problem(Errcode.DUPLICATE, name, body[name], "is taken", None) for name in names]
        )


def _missing_organization() -> Problem:
    return Problem(Errcode.SYNTAX, "organization_list", "", "is missing while organisations are on", None)


def _email(firmware: Firmware, body: Body) -> Iterator[Problem]:
    address = body.get("email_addr")
    pattern = EMAIL_WITH_PLUS if firmware.plus_addresses else EMAIL
    if address and not pattern.fullmatch(address):
        yield wrong("email_addr", address, "is no address that the PBX accepts")


def _names(firmware: Firmware, body: Body) -> Iterator[Problem]:
    for name in ("first_name", "last_name"):
        if not firmware.umlauts and not body.get(name, "").isascii():
            yield unwelcome(name, body[name], "has characters outside ASCII")


def _title(firmware: Firmware, body: Body) -> Iterator[Problem]:
    title = body.get("title", "")
    if len(title) > firmware.title_limit:
        yield unwelcome("title", title, f"has more than {firmware.title_limit} characters")


def _pin(body: Body) -> Iterator[Problem]:
    if not PIN.fullmatch(body.get("vm_pin", "")):
        yield wrong("vm_pin", "", "has more than digits")


def _passwords(firmware: Firmware, body: Body, owner: tuple[str, ...]) -> Iterator[Problem]:
    if not firmware.new_password_rules:
        return
    for name in ("user_password", "reg_password"):
        reason = weakness(body[name], owner) if name in body else None
        if reason:
            yield wrong(name, "", reason)
