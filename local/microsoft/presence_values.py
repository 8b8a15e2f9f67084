"""The words of a presence, and a company's day in them.

Two lists are documented for each of the two members: the long-standing one and that of the newest schema ("presence
resource type" of the Microsoft Graph v1.0 reference). Services mix them, and both members are plain strings.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Literal

type Vocabulary = Literal["long_standing", "newest", "both", "free"]
type Words = tuple[str, str]
"""Availability and activity."""

_OLD_AVAILABILITIES = """
    Available AvailableIdle Away BeRightBack Busy BusyIdle DoNotDisturb Offline PresenceUnknown
"""
_OLD_ACTIVITIES = """
    Available Away BeRightBack Busy DoNotDisturb InACall InAConferenceCall Inactive InAMeeting Offline OffWork
    OutOfOffice PresenceUnknown Presenting UrgentInterruptionsOnly
"""
_NEW_AVAILABILITIES = """
    Available Away BeRightBack Busy DoNotDisturb Focusing InACall InAMeeting Offline Presenting PresenceUnknown
"""
_NEW_ACTIVITIES = "Available Away BeRightBack Busy DoNotDisturb Offline OutOfOffice PresenceUnknown"

LONG_STANDING = (frozenset(_OLD_AVAILABILITIES.split()), frozenset(_OLD_ACTIVITIES.split()))
NEWEST = (frozenset(_NEW_AVAILABILITIES.split()), frozenset(_NEW_ACTIVITIES.split()))
UNKNOWN: Words = ("PresenceUnknown", "PresenceUnknown")
"""Of users without a Teams licence and of those nothing is known about."""

OLD_DAY: Sequence[Words] = (
    ("Available", "Available"),
    ("Busy", "InAMeeting"),
    ("Available", "Available"),
    ("Busy", "InACall"),
    ("BusyIdle", "Busy"),
    ("BeRightBack", "BeRightBack"),
    ("AvailableIdle", "Inactive"),
    ("Away", "Away"),
    ("DoNotDisturb", "Presenting"),
    ("Available", "Available"),
    ("Busy", "InAConferenceCall"),
    ("DoNotDisturb", "UrgentInterruptionsOnly"),
    ("Away", "OutOfOffice"),
    ("Offline", "OffWork"),
)
NEW_DAY: Sequence[Words] = (
    ("Available", "Available"),
    ("InAMeeting", "Busy"),
    ("Available", "Available"),
    ("InACall", "Busy"),
    ("BeRightBack", "BeRightBack"),
    ("Away", "Away"),
    ("Presenting", "DoNotDisturb"),
    ("Available", "Available"),
    ("Focusing", "DoNotDisturb"),
    ("Available", "OutOfOffice"),
    ("Offline", "Offline"),
)


def check(vocabulary: Vocabulary, words: Words) -> None:
    """``ValueError`` for a word that is not in the vocabulary; ``both`` is the union of the two lists."""
    for name, word, old, new in zip(("availability", "activity"), words, LONG_STANDING, NEWEST, strict=True):
        known = {"long_standing": old, "newest": new, "both": old | new, "free": frozenset({word})}[vocabulary]
        if not word or word not in known:
            raise ValueError(f"{word!r} is no {name} of the vocabulary {vocabulary!r}: {', '.join(sorted(known))}")


def script(vocabulary: Vocabulary, user_number: int) -> Sequence[Words]:
    """What one user goes through in a day; with both lists, half of the users speak the newest one."""
    if vocabulary == "newest" or (vocabulary in ("both", "free") and user_number % 2):
        return NEW_DAY
    return OLD_DAY


def company_day(users: Sequence[str], vocabulary: Vocabulary, seed: int) -> Iterator[tuple[str, Words]]:
    """Whose presence becomes what, without end: each user goes through a day of their own, begun somewhere in it."""
    chance = random.Random(seed)
    places = [chance.randrange(len(script(vocabulary, number))) for number in range(len(users))]
    while True:
        number = chance.randrange(len(users))
        steps = script(vocabulary, number)
        places[number] = (places[number] + 1) % len(steps)
        yield users[number], steps[places[number]]


def at_start(user_number: int) -> Words:
    """The presence of one of the sample's users, as varied as a company's."""
    steps = script("both", user_number)
    return steps[user_number // 2 % len(steps)]
