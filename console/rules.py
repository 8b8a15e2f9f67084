"""The settings document as forms: a section becomes fields named by their JSON pointers, and a sent form a document."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect
from starlette.datastructures import FormData

from console.presence_words import TEAMS
from console.visit import Visit
from store.document import Settings
from store.errors import Changed
from store.health import Health
from store.links import Kind
from store.settings import Stored
from store.validation import InvalidSettings, Problem, parse_settings
from sync.messages import Message
from sync.service import Conflict, save_if_matching

type Sections = dict[str, Any]
"""Sections of the document as a form shows them. A number may be any text that somebody typed."""

SECTIONS = {field.encode_name: inspect.type_info(field.type) for field in msgspec.structs.fields(Settings)}
WHOLE = re.compile(r"-?[0-9]{1,18}")
DECIMAL = re.compile(r"-?[0-9]{1,12}([.,][0-9]{1,12})?")
SHOWN_VALUES = 5
"""So many entries of a list are told in a sentence."""
LABELS = {
    "/microsoft/tenant_id": "Directory (tenant) id",
    "/microsoft/client_id": "Application (client) id",
    "/microsoft/credential": "How the application proves itself",
    "/pbx/fqdn": "Address of the PBX",
    "/pbx/client_id": "Client id of the PBX's API",
    "/pbx/ca_certificate": "Certificate of the PBX's authority",
    "/pbx/max_writes_per_second": "Changes per second",
    "/console/setup_key": "Sign-in with the setup key",
    "/users/enabled": "Synchronize users",
    "/users/scope/kind": "Which users get an extension",
    "/users/scope/user_types": "Types of users",
    "/users/scope/group_ids": "Groups whose members get an extension",
    "/users/number/kind": "Where extension numbers come from",
    "/users/number/start": "First number",
    "/users/number/property": "Property with the number",
    "/users/delete_when": "Delete the extension when the account is",
    "/users/delete_out_of_scope": "Delete the extension of who leaves the scope",
    "/users/delete_grace_days": "Days before a deletion",
    "/users/associate_by_email": "Take over extensions with the same e-mail address",
    "/users/send_welcome_email": "Send the welcome e-mail",
    "/groups/enabled": "Synchronize groups",
    "/groups/scope/kind": "Which groups become extension groups",
    "/groups/scope/group_types": "Types of groups",
    "/groups/scope/group_ids": "Groups",
    "/groups/delete_out_of_scope": "Delete the extension group of a group that leaves the scope",
    "/groups/associate_by_name": "Take over extension groups with the same name",
    "/guard/max_deletions": "Deletions in one run",
    "/guard/max_deletion_percent": "Share of what is linked",
    "/presence/enabled": "Extensions follow Teams",
    "/presence/users": "Whose extension follows Teams",
    "/presence/group_ids": "Groups whose members follow Teams",
    "/presence/poll_seconds": "Seconds between two looks",
    "/presence/respect_manual": "Leave alone what somebody chose on the phone",
    **{f"/presence/default_map/{name}": f"What “{words}” in Teams does" for name, words in TEAMS.items()},
    "/schedule/kind": "How often",
    "/schedule/days": "Days",
    "/schedule/at": "Time",
    "/schedule/time_zone": "Time zone",
    "/schedule/change_delay_minutes": "Minutes after the first change",
    "/schedule/change_count": "Changes that do not wait",
    "/schedule/poll_minutes": "Minutes between looks for changes",
}
"""What the pages call the members of the document."""


class Change(msgspec.Struct, frozen=True):
    """A member that somebody else changed since the form was opened, and what it is now."""

    path: str
    label: str
    value: str


class Sheet(msgspec.Struct, frozen=True):
    """What a form shows: the sections as typed, which document they were typed for, and what stands in the way."""

    sections: Sections
    revision: str
    """The ETag of the document that the form was opened with."""
    base: str
    """Its ``fingerprint``."""
    faults: Mapping[str, str] = {}
    """What is wrong, by the field's path."""
    elsewhere: Sequence[str] = ()
    """What is wrong with the document outside this form."""
    others: Sequence[Change] = ()
    """What somebody else changed meanwhile."""
    obstacle: str = ""
    """Why the state of the connection does not allow the change."""

    @property
    def is_fine(self) -> bool:
        return self.status == 200

    @property
    def status(self) -> int:
        """The status of a page that shows this instead of doing what was asked."""
        if self.others or self.obstacle:
            return 409
        return 422 if self.faults or self.elsewhere else 200


def stored_sheet(stored: Stored, names: Sequence[str]) -> Sheet:
    """What is stored, to be shown in a form of these sections."""
    document = _plain(msgspec.to_builtins(stored.settings))
    return Sheet({name: document[name] for name in names}, stored.http_etag, fingerprint(stored.settings))


def sent_sheet(form: FormData, names: Sequence[str]) -> Sheet:
    """What somebody typed into a form of these sections; nothing of it is checked yet."""
    sections = {name: _typed(form, f"/{name}", SECTIONS[name]) for name in names}
    return Sheet(sections, _text(form, "revision"), _text(form, "base"))


async def checked(visit: Visit, sheet: Sheet) -> tuple[Sheet, Stored, Settings | None]:
    """The document with what was typed, and the stored one. ``None`` when something is wrong, which the sheet tells."""
    stored = await visit.connection.settings.load()
    settings: Settings | None = None
    document = msgspec.to_builtins(stored.settings)
    typed = {name: _in_stored_order(section, document[name]) for name, section in sheet.sections.items()}
    try:
        settings = parse_settings(msgspec.json.encode({**document, **typed}))
    except InvalidSettings as error:
        faults, elsewhere = _placed(error.problems, sheet.sections)
        sheet = msgspec.structs.replace(sheet, faults=faults, elsewhere=elsewhere)
    if sheet.revision != stored.http_etag:
        others = changed_since(sheet.base, stored.settings)
        base = fingerprint(stored.settings)
        sheet = msgspec.structs.replace(sheet, revision=stored.http_etag, base=base, others=others)
    return sheet, stored, settings if sheet.is_fine else None


class Saved(msgspec.Struct, frozen=True):
    """The document as it is now, and what has to be queued."""

    settings: Settings
    messages: list[Message]


async def save(visit: Visit, sheet: Sheet) -> Saved | Sheet:
    """Save what was typed and record who did. Answers the sheet when something stands in the way, with the reason."""
    sheet, stored, settings = await checked(visit, sheet)
    if settings is None:
        return sheet
    if settings == stored.settings:
        return Saved(settings, [])
    try:
        after, messages = await save_if_matching(visit.connection, settings, [stored.http_etag], visit.now)
    except Changed:
        return await save(visit, sheet)  # somebody was faster; now it is known what they changed
    except Conflict as error:
        return msgspec.structs.replace(sheet, obstacle=str(error))
    visit.queue(messages)
    for name in sheet.sections:
        before, now = (msgspec.json.encode(getattr(one, name)).decode() for one in (stored.settings, after.settings))
        if before != now:
            await visit.audit("settings.saved", subject=f"/{name}", before=before, after=now)
    return Saved(after.settings, messages)


def read_only(health: Health, kind: Kind | None = None) -> str:
    """Why the rules cannot be changed now; empty when they can. Saving decides by the same."""
    if health.is_disconnecting:
        return "The connection is being ended, so its settings cannot be changed any more."
    if health.disabled:
        return "The integration is disabled, so its settings are read-only. Enable it first."
    if kind in health.paused:
        return f"The synchronization of {kind} is paused, so its rules are read-only. Resume it first."
    return ""


def fingerprint(settings: Settings) -> str:
    """What a form carries along to tell later which members changed: a short hash of each."""
    return msgspec.json.encode({path: _hash(value) for path, value in _members(settings)}).decode()


def changed_since(base: str, settings: Settings) -> list[Change]:
    """The members that differ from the document that ``base`` is the fingerprint of; all when it is none."""
    try:
        known = msgspec.json.decode(base, type=dict[str, str])
    except msgspec.DecodeError:
        known = {}
    return [
        Change(path, LABELS.get(path, path), _words(value))
        for path, value in _members(settings)
        if known.get(path) != _hash(value)
    ]


def _typed(form: FormData, path: str, kind: inspect.Type) -> Any:
    match kind:
        case inspect.StructType():
            return {one.encode_name: _typed(form, f"{path}/{one.encode_name}", one.type) for one in kind.fields}
        case inspect.ListType():
            return [value for value in form.getlist(path) if isinstance(value, str)]
        case inspect.BoolType():
            return bool(_text(form, path))
        case inspect.IntType() | inspect.FloatType():
            return _number(_text(form, path), kind)
        case inspect.UnionType():
            return _text(form, path) or None
        case _:
            return _text(form, path)


def _number(text: str, kind: inspect.Type) -> int | float | str:
    """The number that was typed, or the text when it is none: the check of the document says so then."""
    if WHOLE.fullmatch(text):
        return int(text)
    is_decimal = isinstance(kind, inspect.FloatType) and DECIMAL.fullmatch(text)
    return float(text.replace(",", ".")) if is_decimal else text


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def _in_stored_order(typed: Any, stored: Any) -> Any:
    """What was typed, with lists in the order in which they are stored if they hold the same: a form has another."""
    match typed, stored:
        case dict(), dict():
            return {name: _in_stored_order(member, stored.get(name)) for name, member in typed.items()}
        case list(), list():
            return stored if sorted(typed) == sorted(stored) else typed
        case _:
            return typed


def _placed(problems: Sequence[Problem], sections: Sections) -> tuple[dict[str, str], list[str]]:
    """Each problem at the field that it is about; those of other sections in words."""
    fields = {path for name in sections for path, _ in _leaves(sections[name], f"/{name}")}
    faults: dict[str, str] = {}
    elsewhere: list[str] = []
    for problem in problems:
        path = problem.path if problem.path in fields else problem.path.rpartition("/")[0]
        if path in fields:
            faults.setdefault(path, f"This {problem.message}.")
        else:
            elsewhere.append(f"{problem.path or 'The document'} {problem.message}.")
    return faults, elsewhere


def _members(settings: Settings) -> Iterator[tuple[str, Any]]:
    return _leaves(_plain(msgspec.to_builtins(settings)), "")


def _plain(value: Any) -> Any:
    """The document with whole numbers written as such: 20 and 20.0 are the same, to people and to a fingerprint."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for name, member in value.items():
        yield from _leaves(member, f"{path}/{name}")


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:12]


def _words(value: Any) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case None | "" | []:
            return "nothing"
        case list():
            more = f" and {len(value) - SHOWN_VALUES} more" if len(value) > SHOWN_VALUES else ""
            return ", ".join(map(str, value[:SHOWN_VALUES])) + more
        case _:
            return str(value)
