"""The extension-group endpoints, in the vendor's spelling and in the one that several public clients use.

https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/query-extension-group-list.html and its sibling pages
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from local.pbx.answers import Errcode, Payload, Problem, Refused
from local.pbx.endpoints import Call, Endpoint, Reads, Writes
from local.pbx.fields import FLAG
from local.pbx.firmware import Firmware
from local.pbx.groups import LONGEST_NAME, Group, GroupMember, twice_named
from local.pbx.machine import Commit, Machine
from local.pbx.paging import IDS, ONE_ID, PAGE, asked_ids, page
from local.pbx.validation import Choice, Items, Members, Parameters, Rule, Text, Whole, syntax, unwelcome

SPELLINGS = ("extensiongroup", "extension_group")
ORDER: Mapping[str, Rule] = {"sort_by": Choice(("id", "name")), "order_by": Choice(("asc", "desc"))}
RIGHTS = tuple(
    f"mgr_enb_{right}"
    for right in (
        "chg_presence", "call_distribution", "call_conn", "monitor", "call_park", "ctrl_ivr", "ctrl_call_flow",
        "ctrl_ai_receptionist", "office_time_switch", "mgr_recording", "company_contact_match", "ext_call_distribution",
        "ext_call_conn",
    )
)  # fmt: skip
MEMBERSHIP = ("name", "member_select", "members")
EMPTY_ROWS: Payload = {"total_number": 0, "data": []}


@dataclass(frozen=True, slots=True)
class GroupBody(Members):
    """The members of a group; ``sel_specific`` comes with its list."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        yield from Members.problems(self, name, value)
        if isinstance(value, dict) and value.get("member_select") == "sel_specific" and "members" not in value:
            yield syntax("members", "", "is missing beside sel_specific")


def list_rows(machine: Machine, call: Call) -> Payload:
    return page(_ordered(machine.groups, call.query), call.query, machine.firmware, lambda group: _row(machine, group))


def search(machine: Machine, call: Call) -> Payload:
    """Rows with the keyword anywhere in the name, letter case aside."""
    keyword = call.query.get("search_value", "").casefold()
    found = _ordered((group for group in machine.groups if keyword in group.name.casefold()), call.query)
    return page(found, call.query, machine.firmware, lambda group: _row(machine, group))


def get(machine: Machine, call: Call) -> Payload:
    return {"data": _detail(machine, machine.group(call.query["id"]))}


def query(machine: Machine, call: Call) -> Payload:
    """The groups that exist among ``ids``; 60001 when none does."""
    found = [group for number in asked_ids(machine.firmware, call.query) if (group := machine.groups.get(number))]
    if not found:
        raise Refused(Errcode.NOT_FOUND)
    return {"data": [_detail(machine, group) for group in found]}


def create(machine: Machine, call: Call) -> Commit:
    group = _written(machine, Group(name=call.body["name"]), call.body)
    _check_name(machine, group)
    if machine.groups.full:
        raise Refused(Errcode.LIMIT)

    def commit() -> Payload:
        added = machine.groups.add(group)
        return {"id": added.id} if machine.firmware.group_create_returns_id else {}

    return commit


def update(machine: Machine, call: Call) -> Commit:
    """Members left out stay as they are; ``members`` replaces the whole membership."""
    old = machine.group(call.body["id"])
    _check_not_locked(old)
    if old.is_default and not call.body.keys().isdisjoint(MEMBERSHIP):
        raise Refused(Errcode.FORBIDDEN)
    new = _written(machine, old, _without_rename(machine.firmware, call.body))
    _check_name(machine, new)

    def commit() -> Payload:
        machine.groups.replace(new)
        return {}

    return commit


def delete(machine: Machine, call: Call) -> Commit:
    group = machine.group(call.query["id"])
    _check_not_locked(group)
    if group.is_default:
        raise Refused(Errcode.FORBIDDEN)
    if group.used_elsewhere:
        raise Refused(Errcode.REFERENCED)

    def commit() -> Payload:
        machine.groups.remove(group.id)
        return {}

    return commit


def _check_not_locked(group: Group) -> None:
    if group.owned_by_builtin_sync:
        raise Refused(Errcode.FORBIDDEN)


def _check_name(machine: Machine, group: Group) -> None:
    if machine.groups.taken(group.name, group.id):
        raise Refused(Errcode.DUPLICATE, [Problem(Errcode.DUPLICATE, "name", group.name, "is taken", None)])


def _without_rename(firmware: Firmware, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What firmware that cannot rename a group makes of ``body``."""
    if "name" not in body or firmware.group_rename == "accepted":
        return body
    if firmware.group_rename == "refused":
        errcode = firmware.group_rename_errcode
        raise Refused(errcode, [Problem(Errcode.VALUE, "name", body["name"], "cannot be changed", None)])
    return {name: value for name, value in body.items() if name != "name"}


def _written(machine: Machine, group: Group, body: Mapping[str, Any]) -> Group:
    """``group`` with the members of ``body``."""
    is_everyone = body.get("member_select", group.member_select) == "sel_all_ext"
    members = group.members
    if "members" in body and not is_everyone:
        members = _members(machine, body["members"])
    return msgspec.structs.replace(
        group,
        name=body.get("name", group.name),
        member_select="sel_all_ext" if is_everyone else "sel_specific",
        members=() if is_everyone else members,
        rights={**group.rights, **{name: body[name] for name in RIGHTS if name in body}},
    )


def _members(machine: Machine, sent: list[dict[str, Any]]) -> tuple[GroupMember, ...]:
    """The membership that was sent; refused with 40002 when it names nobody, somebody twice, or who is not there."""
    if not sent and machine.firmware.group_empty_members == "refused":
        raise Refused(Errcode.VALUE, [unwelcome("members", "[]", "is empty")])
    problems = [
        unwelcome(f"members[{index}].ext_id", entry["ext_id"], "is no extension")
        for index, entry in enumerate(sent)
        if machine.directory.get(entry["ext_id"]) is None
    ]
    problems += [unwelcome("members", number, "is there twice") for number in twice_named(e["ext_id"] for e in sent)]
    if problems:
        raise Refused(Errcode.VALUE, problems)
    return tuple(GroupMember(entry["ext_id"], entry.get("user_type", "user")) for entry in sent)


def _ordered(groups: Iterable[Group], query: Mapping[str, Any]) -> list[Group]:
    rows = list(groups)
    if query.get("sort_by") == "name":
        rows.sort(key=lambda group: group.name.casefold())
    if query.get("order_by") == "desc":
        rows.reverse()
    return rows


def _row(machine: Machine, group: Group) -> Payload:
    """A row of list and search (ExtGroupInfo)."""
    is_everyone = group.member_select == "sel_all_ext"
    return {
        "id": group.id,
        "name": group.name,
        "member_select": group.member_select,
        "total_extensions": len(machine.directory) if is_everyone else len(group.members),
    }


def _detail(machine: Machine, group: Group) -> Payload:
    """The data of get and query (ExtGroupDetail); everyone is not spelled out."""
    return {
        "id": group.id,
        "name": group.name,
        "member_select": group.member_select,
        "members": [
            {
                "ext_id": member.ext_id,
                "user_type": member.user_type,
                "caller_id_name": machine.extension(member.ext_id).name,
            }
            for member in group.members
        ],
        **dict.fromkeys(RIGHTS, 0),
        **group.rights,
    }


MEMBER = Members(
    {"ext_id": Whole(), "user_type": Choice(("manager", "user", "custom")), "caller_id_name": Text()},
    frozenset({"ext_id"}),
)
BODY: Mapping[str, Rule] = {
    "name": Text(LONGEST_NAME, 1),
    "member_select": Choice(("sel_all_ext", "sel_specific")),
    "members": Items(MEMBER),
    **dict.fromkeys(RIGHTS, FLAG),
}


def _spelled(spelling: str) -> list[Endpoint]:
    """The family under one spelling, which the firmware has or has not."""

    def offered(firmware: Firmware) -> bool:
        return firmware.extension_group_paths in {spelling, "both"}

    def read(name: str, work: Callable[[Machine, Call], Payload], takes: Parameters, empty: Payload) -> Endpoint:
        return Endpoint("GET", f"/{spelling}/{name}", Reads(work), takes, skeleton=empty, offered=offered)

    def write(name: str, plan: Callable[[Machine, Call], Commit], body: Members, empty: Payload) -> Endpoint:
        return Endpoint("POST", f"/{spelling}/{name}", Writes(plan), body=body, skeleton=empty, offered=offered)

    return [
        read("list", list_rows, Parameters({**PAGE, **ORDER}), EMPTY_ROWS),
        read("search", search, Parameters({**PAGE, **ORDER, "search_value": Text()}), EMPTY_ROWS),
        read("get", get, ONE_ID, {"data": {"id": 0}}),
        read("query", query, IDS, {"data": []}),
        write("create", create, GroupBody(BODY, frozenset({"name", "member_select"})), {"id": 0}),
        write("update", update, GroupBody({"id": Whole(), **BODY}, frozenset({"id"})), {}),
        Endpoint("GET", f"/{spelling}/delete", Writes(delete), ONE_ID, offered=offered),
    ]


ENDPOINTS = [endpoint for spelling in SPELLINGS for endpoint in _spelled(spelling)]
