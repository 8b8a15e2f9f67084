"""The documented members of an extension as they are written, with their limits.

https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/add-an-extension.html
Lengths and characters of names, e-mail and mobile number are those of the CSV import:
https://help.yeastar.com/en/p-series/administrator-guide/import-and-export-parameters-extension.html
"""

import re
from collections.abc import Mapping

from local.pbx.validation import Choice, Items, Members, Rule, Text, Whole

PRESENCES = ("available", "away", "business_trip", "do_not_disturb", "lunch", "off_work")
LANGUAGES = ("follow_system", "zh-cn", "en", "ru", "de", "fr", "bp", "it", "tr")
FLAG = Whole(values=(0, 1))
NUMBER = re.compile(r"[0-9]{1,7}")
PHONE = re.compile(r"[0-9A-Za-z().+*#-]{0,31}")
PASSWORD = re.compile(r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z]).{10,63}")

_PRESENCE_FLAGS = (
    *(f"enb_{side}_{case}_forward" for side in ("in", "ex") for case in ("always", "no_answer", "busy")),
    *(f"enb_ring{ring}_endpoints" for ring in (1, 2)),
    *(f"enb_ring{ring}_{client}_client" for ring in (1, 2) for client in ("mobile", "desktop", "web")),
    "enb_ring_mobile",
)
_PRESENCE_TEXTS = (
    *(f"{side}_{case}_forward_dest" for side in ("in", "ex") for case in ("always", "no_answer", "busy")),
    "information",
    "dynamic_agent_action",
    "vm_greeting",
)
PRESENCE_SETTING = Members(
    {
        "status": Choice(PRESENCES),
        "ring_timeout": Whole(),
        **dict.fromkeys(_PRESENCE_FLAGS, FLAG),
        **dict.fromkeys(_PRESENCE_TEXTS, Text()),
    },
    frozenset({"status"}),
)
ORGANIZATION = Members({"value": Text(), "text": Text()})

SECRETS = ("user_password", "reg_password", "vm_pin")
_EDITABLE: Mapping[str, Rule] = {
    "first_name": Text(63),
    "last_name": Text(63),
    "email_addr": Text(255),
    "mobile_number": Text(31, pattern=PHONE),
    "user_password": Text(63, 10, PASSWORD, secret=True),
    "role_id": Whole(),
    "organization_list": Items(ORGANIZATION),
    "title": Text(),
    "email_language": Choice(LANGUAGES),
    "user_lang": Text(),
    "vm_lang": Text(),
    "caller_id": Text(31, pattern=PHONE),
    "reg_name": Text(63, 1),
    "reg_password": Text(63, 8, secret=True),
    "concurrent_registrations": Whole(values=(1, 2, 3)),
    "presence_status": Choice(PRESENCES),
    "presence_list": Items(PRESENCE_SETTING),
    "presence_mobile_prefix": Text(),
    "agent_id": Text(),
    "enb_vm": FLAG,
    "enb_vm_pin": FLAG,
    "vm_pin": Text(secret=True),
}

CREATE = Members(
    {"type": Choice(("SIP",)), "number": Text(pattern=NUMBER), **_EDITABLE},
    frozenset(
        {
            "type",
            "number",
            "user_password",
            "reg_name",
            "reg_password",
            "concurrent_registrations",
            "presence_status",
        }
    ),
)
UPDATE = Members({"id": Whole(), **_EDITABLE}, frozenset({"id"}))
"""``type`` and ``number`` are not among the members of extension/update."""
