"""Presence in words for people: what Teams shows, what an extension shows, and what came of it."""

from collections.abc import Mapping

import msgspec

from presence.mapping import state_of
from store.presence import Teams, UserPresence

STATUSES: Mapping[str, str] = {
    "available": "Available",
    "away": "Away",
    "business_trip": "Business trip",
    "do_not_disturb": "Do not disturb",
    "lunch": "Lunch break",
    "off_work": "Off work",
}
"""What an extension may show."""
CHOICES: Mapping[str, str] = {**STATUSES, "leave": "Leave as it is"}
"""What a map may say."""


class TeamsGroup(msgspec.Struct, frozen=True):
    """States of Teams that belong together."""

    id: str
    title: str
    states: Mapping[str, str]
    """By Graph's name."""


GROUPS = (
    TeamsGroup("available", "Available", {"Available": "Available", "AvailableIdle": "Available, computer idle"}),
    TeamsGroup(
        "away",
        "Away",
        {"Away": "Away", "BeRightBack": "Be right back", "Inactive": "Inactive, computer idle or locked"},
    ),
    TeamsGroup(
        "busy",
        "Busy and in calls",
        {
            "Busy": "Busy",
            "BusyIdle": "Busy, computer idle",
            "InACall": "In a call",
            "InAConferenceCall": "In a call with several people",
            "InAMeeting": "In a meeting",
            "Focusing": "Focusing",
        },
    ),
    TeamsGroup(
        "quiet",
        "Do not disturb",
        {
            "DoNotDisturb": "Do not disturb",
            "Presenting": "Presenting",
            "UrgentInterruptionsOnly": "Urgent interruptions only",
        },
    ),
    TeamsGroup(
        "gone",
        "Offline and out of office",
        {
            "Offline": "Offline",
            "OffWork": "Off work",
            "OutOfOffice": "Out of office",
            "PresenceUnknown": "Not known",
        },
    ),
)
"""Every state that Teams may show, as the form of the rules has them."""
TEAMS = {name: words for group in GROUPS for name, words in group.states.items()}
WARNINGS: Mapping[str, str] = {
    "do_not_disturb": "Calls do not ring on the extension.",
    "off_work": "Calls go where the extension sends them when off work, as to voicemail.",
}
"""What the PBX does with calls as well."""


class Result(msgspec.Struct, frozen=True):
    """What came of the last look at a user, and when."""

    words: str
    colour: str
    at: str = ""


def teams_words(teams: Teams) -> str:
    """What Teams shows; in Graph's words where there are no others, empty before anything was heard."""
    state = state_of(teams)
    return TEAMS[state] if state else teams.activity or teams.availability


def graph_words(teams: Teams) -> str:
    """The same as Graph tells it, for who compares."""
    return ", ".join(dict.fromkeys(text for text in (teams.availability, teams.activity) if text))


def status_words(status: str) -> str:
    """What an extension shows; as the PBX tells it where there are no other words."""
    return STATUSES.get(status, status)


def result(user: UserPresence) -> Result:
    """What came of the last look at a user."""
    if user.is_pending:
        return Result("Is being written", "info", user.heard_at)
    match user.outcome:
        case "write":
            return Result("Set because of Teams", "good", user.written_at)
        case "same":
            return Result("Showed it already", "good", user.heard_at)
        case "leave":
            return Result("Left as it is, by the map", "calm", user.heard_at)
        case "manual":
            return Result("Left alone: somebody chose it on the phone", "info", user.heard_at)
        case "custom":
            return Result("Left alone: a custom presence is set", "info", user.heard_at)
        case "gone" | "failed":
            return Result(user.error or "It did not work.", "bad", user.heard_at)
        case _:
            return Result("Nothing yet", "calm")


def follows_words(user: UserPresence) -> str:
    """Whether the extension follows Teams, and who decided that."""
    preference = user.preference
    if preference.follows is None:
        return "On, by the rules" if user.is_followed else "Off, by the rules"
    chooser = {"administrator": ", set by an administrator", "person": ", chosen by the person"}
    return f"{'On' if preference.follows else 'Off'}{chooser.get(preference.set_by, '')}"


def duration(milliseconds: int | None) -> str:
    """A delay as people say it; empty without one."""
    if milliseconds is None:
        return ""
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
