"""Turns what pages know into HTML. Everything is escaped; only templates of this room write markup."""

import datetime
import functools
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from console.plain import plain

STATES = {
    "not_connected": "Not connected",
    "connected": "Connected",
    "paused": "Paused",
    "disabled": "Disabled",
    "needs_attention": "Needs attention",
}
OUTCOMES = {
    "planned": "Planned",
    "done": "Done",
    "skipped": "Skipped",
    "held": "Held",
    "failed": "Failed",
}
OPERATIONS = {
    "create": "Create",
    "associate": "Associate",
    "update": "Update",
    "delete": "Delete",
    "release": "Release",
    "skip": "Skip",
}
STATUSES = {
    "queued": "Queued",
    "running": "Running",
    "succeeded": "Succeeded",
    "partial": "Partly done",
    "failed": "Failed",
    "refused": "Not started",
    "cancelled": "Stopped",
}
STARTERS = {
    "api": "Through the API",
    "console": "By hand",
    "schedule": "On schedule",
    "changes": "Changes in Microsoft 365",
    "poll": "Regular look for changes",
    "pbx": "A change on the PBX",
    "retry": "Another try after a failure",
    "initial": "First synchronization",
    "approval": "Approved deletions",
    "resume": "Resumed",
    "enable": "Enabled",
    "pause": "Paused with deletion",
    "disable": "Disabled with deletion",
    "disconnect": "Disconnected",
}
FIELDS = {
    "first_name": "First name",
    "last_name": "Last name",
    "email_addr": "E-mail",
    "mobile_number": "Mobile number",
    "title": "Job title",
    "job_title": "Job title",
    "number": "Number",
    "name": "Name",
    "members": "Members",
}
DONE = {
    "saved": "Saved.",
    "presence-saved": "Saved. Extensions follow these rules within half a minute.",
    "presence-followed": "Done. What Teams shows is written to these extensions in a moment.",
    "presence-unfollowed": "Done. These extensions do not follow Teams any more, and keep what they show now.",
    "presence-ruled": "Done. The rules decide about these users again.",
    "presence-mapped": "Done. These users have a map of their own.",
    "presence-unmapped": "Done. These users have the default map again.",
    "saved-started": "Saved. A full run with these rules starts in a moment.",
    "started": "The run was queued and starts in a moment.",
    "approved": "Approved. The deletions are carried out by a run of their own.",
    "rejected": "Rejected. Nothing of it is deleted.",
    "paused": "Paused.",
    "resumed": "Resumed. A full run puts right what changed meanwhile.",
    "disabled": "Disabled. Nothing is synchronized any more.",
    "enabled": "Enabled. A full run puts right what changed meanwhile.",
    "disconnected": "Disconnected.",
    "connected": "Connected. You are signed in.",
    "presence-mine-reset": "Done. All is as the company has it.",
    "presence-account-added": "The account was added. You are still signed in as yourself.",
    "presence-account-removed": "The account was removed. Whom it heard of is asked about until another one does.",
    "signed-out": "You are signed out.",
    "session-ended": "Your session has ended. Sign in to go on where you were.",
    "consented": "The permissions were granted. It can take a minute until Microsoft tells everybody.",
    "secret-replaced": "The new secret works and replaced the old one.",
    "secret-stored": "The new secret was stored.",
    "microsoft-works": "The application works and was saved.",
    "pbx-works": "The PBX works and was saved.",
    "ended": "Everybody was signed out.",
}


@functools.cache
def environment() -> Environment:
    """The templates; an unknown name in one is an error, not an empty text."""
    made = Environment(
        loader=PackageLoader("console"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The files' module belongs to the pages, which need this one.
    from console.static_files import address

    made.globals |= {"static": address, "STATES": STATES, "OUTCOMES": OUTCOMES, "OPERATIONS": OPERATIONS,
                     "STATUSES": STATUSES, "STARTERS": STARTERS, "FIELDS": FIELDS, "DONE": DONE}  # fmt: skip
    made.filters |= {"moment": moment, "clock": clock, "since": since, "number": "{:,}".format, "plain": plain}
    return made


def page(template: str, context: dict[str, Any]) -> str:
    """A template with what it shows."""
    return environment().get_template(template).render(context)


def moment(value: str | datetime.datetime | None, zone: str = "UTC") -> str:
    """A time as people write it, in the time zone of the schedule."""
    if not value:
        return "never"
    at = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def clock(at: datetime.datetime, zone: str = "UTC") -> str:
    """The time of a day with its seconds, where something changes while one looks."""
    return f"{at.astimezone(ZoneInfo(zone)):%H:%M:%S}"


def since(value: str | None, now: datetime.datetime) -> str:
    """How long ago, or in how long, roughly."""
    if not value:
        return "never"
    seconds = (now - datetime.datetime.fromisoformat(value)).total_seconds()
    amount, unit = _rough(abs(seconds))
    if not amount:
        return "now"
    words = f"{amount} {unit}{'s' if amount != 1 else ''}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def _rough(seconds: float) -> tuple[int, str]:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return int(seconds // length), unit
    return (int(seconds), "second") if seconds >= 1 else (0, "second")
