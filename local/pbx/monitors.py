"""Which events the PBX sends for which extension.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/update-extension-status-monitoring-settings.html
"""

import msgspec

from local.pbx.answers import Payload
from local.pbx.directory import Extension, Monitor
from local.pbx.endpoints import Call, Endpoint, Reads, Writes
from local.pbx.fields import FLAG
from local.pbx.machine import Commit, Machine
from local.pbx.paging import PAGED, page
from local.pbx.validation import Items, Members, Text, Whole

FLAGS = ("enb_register_status", "enb_call_status", "enb_presence_status")
MONITOR = Members(
    {"ext_id": Whole(), "number": Text(), "name": Text(), **dict.fromkeys(FLAGS, FLAG)}, frozenset({"ext_id"})
)


def list_monitors(machine: Machine, call: Call) -> Payload:
    return page(list(machine.directory), call.query, machine.firmware, _shown)


def update_monitors(machine: Machine, call: Call) -> Commit:
    """Extensions and members that are left out keep their settings; an unknown id (60001) changes nothing."""
    entries = call.body["ext_monitor_list"]
    for entry in entries:
        machine.extension(entry["ext_id"])

    def commit() -> Payload:
        for entry in entries:
            extension = machine.extension(entry["ext_id"])
            flags = {name: entry[name] for name in FLAGS if name in entry}
            monitor = msgspec.structs.replace(extension.monitor, **flags)
            machine.directory.replace(msgspec.structs.replace(extension, monitor=monitor), "api")
        return {}

    return commit


def _shown(extension: Extension) -> Payload:
    monitor: Monitor = extension.monitor
    return {
        "ext_id": extension.id,
        "number": extension.number,
        "name": extension.name,
        **{name: getattr(monitor, name) for name in FLAGS},
    }


ENDPOINTS = [
    Endpoint(
        "GET",
        "/extension_status_monitor/list",
        Reads(list_monitors),
        parameters=PAGED,
        skeleton={"total_number": 0, "data": []},
    ),
    Endpoint(
        "POST",
        "/extension_status_monitor/update",
        Writes(update_monitors),
        body=Members({"ext_monitor_list": Items(MONITOR, 1)}, frozenset({"ext_monitor_list"})),
    ),
]
