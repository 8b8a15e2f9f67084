"""Extension numbers: from a property of the user, or the first free one. Pure."""

import re
from collections.abc import Collection

import msgspec

from graph.models import User
from sync.fields import EXTENSION_MARK, ascii_digits, clean

LAST = 9_999_999
"""An extension number has 1 to 7 digits."""


class Unusable(msgspec.Struct, frozen=True):
    """Why a property gives no number, in plain words."""

    reason: str


def number_from(user: User, property_name: str) -> str | Unusable:
    """The extension number that a property holds.

    All digits of the value are the number, unless it ends in an extension part: ``+31 20 123 4567 ext. 2041`` means
    2041. Leading zeros are kept, they are part of a number that people dial.
    """
    value = ascii_digits(clean(_property(user, property_name)))
    if not value:
        return Unusable(f"The property {property_name}, which holds the extension number, is empty.")
    tail = EXTENSION_MARK.search(value)
    digits = tail.group(1) if tail else re.sub(r"[^0-9]", "", value)
    if 1 <= len(digits) <= 7:
        return digits
    named = f"The property {property_name} is {value!r}:"
    if not digits:
        return Unusable(f"{named} there are no digits in it.")
    return Unusable(f"{named} an extension number has at most 7 digits.")


class Numbers:
    """Hands out the free numbers from ``start`` upward, each once.

    Numbers in ``later`` become free in the same plan: somebody who needs one of them gets it, but the first free number
    is one of them only when there is no other. So a number does not change hands from one day to the next.
    """

    def __init__(self, taken: Collection[str], start: int, later: Collection[str] = ()) -> None:
        self._taken = set(taken)
        self._later = set(later) - self._taken
        self._start = start
        self._next = start

    def is_taken(self, number: str) -> bool:
        return number in self._taken

    def take(self, number: str) -> None:
        self._taken.add(number)
        self._later.discard(number)

    def give_back(self, number: str) -> None:
        """The number is free after all, and handed out last."""
        self._taken.discard(number)
        self._later.add(number)

    def first_free(self) -> str | None:
        """The next free number, taken at once; ``None`` when there is none up to 9999999."""
        while self._next <= LAST:
            number = str(self._next)
            self._next += 1
            if number not in self._taken and number not in self._later:
                self.take(number)
                return number
        return self._last_resort()

    def _last_resort(self) -> str | None:
        fitting = [number for number in self._later if number[0] != "0" and int(number) >= self._start]
        if not fitting:
            return None
        number = min(fitting, key=int)
        self.take(number)
        return number


def _property(user: User, name: str) -> str | None:
    if name == "businessPhones":
        return next(iter(user.business_phones or []), None)
    group, _, member = name.partition(".")
    if group == "onPremisesExtensionAttributes":
        return (user.on_premises_extension_attributes or {}).get(member)
    value = getattr(user, _snake(name), None)
    return value if isinstance(value, str) else None


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match.group(1).lower()}", name)
