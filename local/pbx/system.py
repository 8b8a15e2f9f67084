"""The system endpoints: what the PBX is, how much it takes, its option lists, and mail through it.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/query-pbx-information.html
https://help.yeastar.com/zh-cn/p-series-software-edition/developer-guide/query-pbx-capacity.html
https://help.yeastar.com/en/p-series/developer-guide/get-menu-options.html
https://help.yeastar.com/zh-cn/p-series-cloud-edition/developer-guide/send-an-email.html
"""

import re

from local.pbx.answers import Errcode, Payload, Refused
from local.pbx.endpoints import Call, Endpoint, Reads, Writes
from local.pbx.machine import Commit, Email, Machine
from local.pbx.validation import Choice, Items, Members, Parameters, Text, Whole, unwelcome

ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
EMPTY_FAMILIES = ("phonebook", "trunk", "queue", "conference")
"""Families that the guide names and this PBX has no entries in."""
NAMES = ("device_name", "model_name", "sn", "hardware_version", "firmware_version", "system_time")
CAPACITIES = ("extension_capacity", "extension_used", "cc_capacity", "cc_used")


def information(machine: Machine, _: Call) -> Payload:
    firmware, now = machine.firmware, machine.clock.now()
    return {
        "data": {
            "device_name": firmware.device_name,
            "model_name": f"Yeastar {firmware.model}",
            "sn": firmware.serial_number,
            "hardware_version": firmware.hardware_version,
            "firmware_version": firmware.firmware_version,
            "system_time": now.strftime("%Y-%m-%d %H:%M:%S"),
            "up_time": max(0, int(machine.clock.time() - machine.started)),
            "system_date_format": "YYYY-MM-DD",
            "system_time_format": "HH:mm:ss",
            "timestamp": int(machine.clock.time()),
        }
    }


def capacity(machine: Machine, _: Call) -> Payload:
    return {
        "data": {
            "extension_capacity": machine.capacity.extensions,
            "extension_used": len(machine.directory),
            "cc_capacity": machine.capacity.concurrent_calls,
            "cc_used": 0,
        }
    }


def menu_options(machine: Machine, call: Call) -> Payload:
    """The families that public sources name; 40002 for another."""
    menu = call.query["menu"]
    if menu == "extension":
        return {"data": [_option(extension.name, extension.id, "extension") for extension in machine.directory]}
    if menu == "org_list":
        return {"data": [_option(name, number) for number, name in machine.settings.organizations.items()]}
    if menu and menu == machine.firmware.role_menu:
        return {"data": [_option(name, number) for number, name in machine.settings.roles.items()]}
    if menu in EMPTY_FAMILIES:
        return {"data": []}
    raise Refused(Errcode.VALUE, [unwelcome("menu", menu, "is no option family")])


def send_email(machine: Machine, call: Call) -> Commit:
    """Every mail is kept for ``/_control/emails``; -1 while the mail server does not work."""
    if not machine.settings.mail_server_works:
        raise Refused(Errcode.FAILURE)
    body = dict(call.body)
    email = Email(
        machine.clock.now().isoformat(),
        "message",
        tuple(body.pop("recipient")),
        subject=body.pop("subject"),
        body=body.pop("body"),
        options=body,
    )

    def commit() -> Payload:
        machine.send(email)
        return {}

    return commit


def _option(text: str, value: object, kind: str = "") -> Payload:
    option: Payload = {"text": text, "value": str(value)}
    return {**option, "type": kind} if kind else option


ENDPOINTS = [
    Endpoint(
        "GET",
        "/system/information",
        Reads(information),
        skeleton={"data": {**dict.fromkeys(NAMES, ""), "up_time": 0, "timestamp": 0}},
    ),
    Endpoint("GET", "/system/capacity", Reads(capacity), skeleton={"data": dict.fromkeys(CAPACITIES, 0)}),
    Endpoint(
        "GET",
        "/system/get_menuoptions",
        Reads(menu_options),
        parameters=Parameters({"menu": Text(), "id": Whole()}, frozenset({"menu"})),
        skeleton={"data": []},
    ),
    Endpoint(
        "POST",
        "/system/sendemail",
        Writes(send_email),
        body=Members(
            {
                "email_server": Choice(("follow_system", "ys", "custom")),
                "recipient": Items(Text(pattern=ADDRESS), 1),
                "cc": Items(Text(pattern=ADDRESS)),
                "bcc": Items(Text(pattern=ADDRESS)),
                "subject": Text(),
                "body": Text(),
                "attachments": Items(Text()),
                "force_attach": Whole(values=(0, 1)),
            },
            frozenset({"recipient", "subject", "body"}),
        ),
    ),
]
