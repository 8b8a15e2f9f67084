"""An extension as the endpoints show it: rows of lists, the detail, never a password."""

from typing import Any

from local.pbx.answers import Payload
from local.pbx.directory import Extension
from local.pbx.fields import PRESENCES
from local.pbx.firmware import Firmware
from local.pbx.machine import Machine

SIP_ADDRESS = "192.0.2.10"
"""From the documentation range of RFC 5737."""
DETAIL_MEMBERS = (
    "id",
    "type",
    "number",
    "first_name",
    "last_name",
    "email_addr",
    "mobile_number",
    "role_id",
    "title",
    "email_language",
    "user_lang",
    "vm_lang",
    "caller_id",
    "reg_name",
    "concurrent_registrations",
    "presence_mobile_prefix",
    "agent_id",
    "enb_vm",
    "enb_vm_pin",
)
EMPTY_DETAIL: Payload = {"data": {"id": 0, "number": ""}}


def row(machine: Machine, extension: Extension) -> Payload:
    """A row of extension/list and extension/search (ExtBasicInfo)."""
    shown = {
        "id": extension.id,
        "number": extension.number,
        "caller_id_name": extension.name,
        "role_name": machine.settings.roles.get(str(extension.role_id), ""),
        "email_addr": extension.email_addr,
        "mobile_number": extension.mobile_number,
        "presence_status": _presence(machine.firmware, extension),
        "custom_presence_status": extension.custom_presence_status,
        "online_status": _online(extension),
    }
    if machine.firmware.rows_without_email:
        del shown["email_addr"]
    if machine.firmware.custom_presence_in == "nothing":
        del shown["custom_presence_status"]
    return shown


def detail(machine: Machine, extension: Extension) -> Payload:
    """The data of extension/get and extension/query (ExtDetail)."""
    shown = {name: getattr(extension, name) for name in DETAIL_MEMBERS}
    shown["presence_status"] = _presence(machine.firmware, extension)
    if machine.firmware.custom_presence_in == "rows_and_details":
        shown["custom_presence_status"] = extension.custom_presence_status
    shown["presence_list"] = _presence_list(extension)
    if machine.settings.organizations_enabled:
        shown["organization_list"] = extension.organization_list
    return shown


def _presence(firmware: Firmware, extension: Extension) -> str:
    if firmware.lunch_as_launch and extension.presence_status == "lunch":
        return "launch"
    return extension.presence_status


def _presence_list(extension: Extension) -> list[dict[str, Any]]:
    changed = {setting["status"]: setting for setting in extension.presence_list}
    return [{**_default_setting(status), **changed.get(status, {})} for status in PRESENCES]


def _default_setting(status: str) -> dict[str, Any]:
    timeout = {} if status == "do_not_disturb" else {"ring_timeout": 30}
    return {"status": status, "information": "", **timeout}


def _online(extension: Extension) -> dict[str, Any]:
    sip: dict[str, Any] = {"ext_dev_type": "sip"}
    if "sip_phone" in extension.online:
        sip["status_list"] = [{"status": 1, "ip": SIP_ADDRESS}]
    return {
        "sip_phone": sip,
        "linkus_desktop": {"status": int("linkus_desktop" in extension.online), "ext_dev_type": "linkusdesktop"},
        "linkus_mobile": {"status": int("linkus_mobile" in extension.online), "ext_dev_type": "linkusmobile"},
        "linkus_web": {"status": int("linkus_web" in extension.online), "ext_dev_type": "linkusweb"},
    }
