"""The audit trail: who changed what, newest first."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.visit import Refusal, Visit
from store.audit import AuditStore, Entry

A_PAGE = 50
KEY = re.compile(r"[0-9A-Za-z-]{0,64}")
ACTIONS = {
    "settings.saved": "Saved settings",
    "secret.replaced": "Replaced a secret",
    "sync.started": "Started a run",
    "sync.previewed": "Asked for a preview",
    "preview.started": "Asked for a preview of changed rules",
    "held.approved": "Approved held removals",
    "held.rejected": "Rejected held removals",
    "signed_in": "Signed in",
    "signed_out": "Signed out",
    "sign_in_refused": "Was refused a sign-in",
    "account.connected": "Signed in as the authorization account",
    "presence_account.added": "Added an account for presence",
    "presence_account.removed": "Removed an account for presence",
    "consent.granted": "Granted the permissions",
    "sessions.ended": "Signed everybody out",
    "diagnostics.downloaded": "Downloaded the diagnostics",
    "presence.preference": "Decided who follows Teams, and how",
    "users.paused": "Paused users",
    "users.resumed": "Resumed users",
    "groups.paused": "Paused groups",
    "groups.resumed": "Resumed groups",
    "integration.disabled": "Disabled the integration",
    "integration.enabled": "Enabled the integration",
    "connection.ended": "Disconnected",
}
RUN_ID = re.compile(r"[0-9]{14}-[0-9a-z]+")

pages = Pages()


class Difference(msgspec.Struct, frozen=True):
    """One thing that a deed changed."""

    name: str
    """Its place in a settings document; empty for a plain text."""
    before: str
    after: str


class Deed(msgspec.Struct, frozen=True):
    """An entry as the page shows it."""

    entry: Entry
    words: str
    address: str
    """The page about what it was done to; empty when there is none."""
    differences: list[Difference]


@pages.get("/console/activity")
async def activity(visit: Visit) -> Response:
    """A page of the trail."""
    before_key = visit.query("after")
    if not KEY.fullmatch(before_key):
        raise Refusal(404, "No such page", "The trail has no such page.", link=("Newest", "/console/activity"))
    store = AuditStore(visit.connection.tables, visit.connection.id)
    entries = await store.newest(A_PAGE + 1, before_key)
    shown = entries[:A_PAGE]
    return visit.render(
        "activity.html",
        deeds=[deed(entry) for entry in shown],
        older=shown[-1].key if len(entries) > A_PAGE else "",
        is_newest=not before_key,
        zone=(await visit.settings()).schedule.time_zone,
    )


def deed(entry: Entry) -> Deed:
    """An entry in words; an action that has none is shown as it is."""
    address = f"/console/runs/{entry.object}" if RUN_ID.fullmatch(entry.object) else ""
    words = ACTIONS.get(entry.action, entry.action.replace(".", ": ").replace("_", " "))
    return Deed(entry, words, address, differences(entry.before, entry.after))


def differences(before: str, after: str) -> list[Difference]:
    """What changed from one text to the other; of JSON objects only the members that differ."""
    old, new = _object(before), _object(after)
    if old is None or new is None:
        return [Difference("", before, after)] if before or after else []
    flat_old, flat_new = dict(_flat(old)), dict(_flat(new))
    names = list(dict.fromkeys([*flat_old, *flat_new]))
    return [
        Difference(name, flat_old.get(name, ""), flat_new.get(name, ""))
        for name in names
        if flat_old.get(name) != flat_new.get(name)
    ]


def _object(text: str) -> dict[str, Any] | None:
    """The members of a JSON object; ``None`` for other texts. No text at all has no members."""
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:  # also what was too long, and cut
        return None


def _flat(members: dict[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", _words(value)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
