"""The extension endpoints.

https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/query-extension-list.html and its sibling pages
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from local.pbx.answers import Errcode, Payload, Refused, refusal
from local.pbx.directory import Extension, Secrets
from local.pbx.endpoints import Call, Endpoint, Reads, Writes
from local.pbx.fields import CREATE, SECRETS, UPDATE
from local.pbx.machine import Commit, Email, Machine
from local.pbx.paging import IDS, ONE_ID, ORDER, PAGE, SORTED, asked_ids, ordered, page
from local.pbx.passwords import weakness
from local.pbx.policy import check_number, check_references, check_unique, value_problems
from local.pbx.shown import EMPTY_DETAIL, detail, row
from local.pbx.validation import Items, Members, Parameters, Text, Whole, unwelcome

EMPTY_ROWS: Payload = {"total_number": 0, "data": []}


def list_rows(machine: Machine, call: Call) -> Payload:
    rows = ordered(machine.directory, call.query)
    return page(rows, call.query, machine.firmware, lambda extension: row(machine, extension))


def search(machine: Machine, call: Call) -> Payload:
    """Rows with the keyword anywhere in number, name or e-mail address: a substring, letter case aside."""
    rows = ordered(machine.directory.matching(call.query.get("search_value", "")), call.query)
    return page(rows, call.query, machine.firmware, lambda extension: row(machine, extension))


def get(machine: Machine, call: Call) -> Payload:
    return {"data": detail(machine, machine.extension(call.query["id"]))}


def query(machine: Machine, call: Call) -> Payload:
    """The extensions that exist among ``ids``; 60001 when none does."""
    ids = asked_ids(machine.firmware, call.query)
    found = [extension for number in ids if (extension := machine.directory.get(number))]
    if not found:
        raise Refused(Errcode.NOT_FOUND)
    return {"data": [detail(machine, extension) for extension in found]}


def get_password(machine: Machine, call: Call) -> Payload:
    """The member names are those of extension/create; the guide records none."""
    secrets = machine.extension(call.query["id"]).test_only_secrets
    return {"data": {"reg_password": secrets.reg_password, "vm_pin": secrets.vm_pin}}


def create(machine: Machine, call: Call) -> Commit:
    body = call.body
    _check_values(machine, body, (body["number"], body.get("first_name", ""), body.get("last_name", "")))
    check_number(machine, body["number"])
    check_references(machine, body, new=True)
    check_unique(machine, body)
    if machine.full():
        raise Refused(Errcode.LIMIT)
    extension = _written(Extension(number=body["number"], caller_id=body["number"]), body)

    def commit() -> Payload:
        added = machine.directory.add(extension, "api")
        return {"id": added.id} if machine.firmware.create_returns_id else {}

    return commit


def update(machine: Machine, call: Call) -> Commit:
    """Members left out stay as they are, an empty string clears."""
    body = call.body
    old = machine.extension(body["id"])
    _check_not_locked(old)
    new = _written(old, body)
    _check_values(machine, body, (new.number, new.first_name, new.last_name))
    check_references(machine, body, new=False)
    check_unique(machine, body, old.id)

    def commit() -> Payload:
        machine.directory.replace(new, "api")
        return {}

    return commit


def delete(machine: Machine, call: Call) -> Commit:
    extension = machine.extension(call.query["id"])
    _check_not_locked(extension)

    def commit() -> Payload:
        machine.directory.remove(extension.id, "api")
        return {}

    return commit


def send_welcome_email(machine: Machine, call: Call) -> Commit:
    """Mails to those of ``id_list`` that have an address; errcode 1 names the others."""
    found = {number: machine.directory.get(number) for number in call.body["id_list"]}
    if not any(found.values()):
        raise Refused(Errcode.NOT_FOUND)
    receivers = [extension for extension in found.values() if extension and extension.email_addr]
    if not receivers or not machine.settings.mail_server_works:
        raise Refused(Errcode.FAILURE)
    reached = {extension.id for extension in receivers}
    failed = [unwelcome("id_list", number, "got no mail") for number in found if number not in reached]

    def commit() -> Payload:
        at = machine.clock.now().isoformat()
        for extension in receivers:
            machine.send(Email(at, "welcome", (extension.email_addr,), extension.id, "Welcome to Linkus"))
        if failed:
            return {"errcode": Errcode.PARTIAL, "invalid_param_list": [problem.entry() for problem in failed]}
        return {}

    return commit


def _check_values(machine: Machine, body: Mapping[str, Any], owner: tuple[str, str, str]) -> None:
    problems = value_problems(machine.firmware, body, owner)
    if problems:
        raise refusal(problems)


def _check_not_locked(extension: Extension) -> None:
    """The PBX's own directory sync locks the user data of its extensions; they cannot be deleted either."""
    if extension.owned_by_builtin_sync:
        raise Refused(Errcode.FORBIDDEN)


def _written(extension: Extension, body: Mapping[str, Any]) -> Extension:
    """``extension`` with the members of ``body``."""
    plain = {name: value for name, value in body.items() if name not in SECRETS}
    if "presence_list" in body:
        plain["presence_list"] = _merged_settings(extension, body["presence_list"])
    if "organization_list" in body:
        plain["organization_list"] = tuple(body["organization_list"])
    if "presence_status" in body:
        plain["custom_presence_status"] = ""
    written = msgspec.structs.replace(extension, **plain)
    if not body.keys().isdisjoint(SECRETS):
        written = msgspec.structs.replace(written, test_only_secrets=_secrets(written, body))
    return written


def _merged_settings(extension: Extension, sent: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    settings = {setting["status"]: setting for setting in extension.presence_list}
    for setting in sent:
        settings[setting["status"]] = {**settings.get(setting["status"], {}), **setting}
    return tuple(settings.values())


def _secrets(extension: Extension, body: Mapping[str, Any]) -> Secrets:
    sent = {name: body[name] for name in SECRETS if name in body}
    secrets = msgspec.structs.replace(extension.test_only_secrets, **sent)
    owner = (extension.number, extension.first_name, extension.last_name)
    met = not any(weakness(password, owner) for password in (secrets.user_password, secrets.reg_password))
    return msgspec.structs.replace(secrets, meets_newest_rules=met)


ENDPOINTS = [
    Endpoint("GET", "/extension/list", Reads(list_rows), parameters=SORTED, skeleton=EMPTY_ROWS),
    Endpoint(
        "GET",
        "/extension/search",
        Reads(search),
        parameters=Parameters({**PAGE, **ORDER, "search_value": Text()}),
        skeleton=EMPTY_ROWS,
    ),
    Endpoint("GET", "/extension/get", Reads(get), parameters=ONE_ID, skeleton=EMPTY_DETAIL),
    Endpoint(
        "GET",
        "/extension/query",
        Reads(query),
        parameters=IDS,
        skeleton={"data": []},
    ),
    Endpoint("GET", "/extension/getpassword", Reads(get_password), parameters=ONE_ID, skeleton={"data": {}}),
    Endpoint("POST", "/extension/create", Writes(create), body=CREATE, skeleton={"id": 0}),
    Endpoint("POST", "/extension/update", Writes(update), body=UPDATE),
    Endpoint("GET", "/extension/delete", Writes(delete), parameters=ONE_ID),
    Endpoint(
        "POST",
        "/extension/send_welcome_email",
        Writes(send_welcome_email),
        body=Members({"id_list": Items(Whole(), 1)}, frozenset({"id_list"})),
    ),
]
