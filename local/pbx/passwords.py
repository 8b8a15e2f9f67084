"""The rules for passwords of an extension.

The composition rule is on every page of the guide; the newer pages add that no four digits may follow each other up,
down or equal, and that the password must not hold the extension number or a name.
https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/add-an-extension.html
"""

import re
from collections.abc import Iterable
from itertools import pairwise

RUN = 4
COMPOSITION = re.compile(r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z]).*", re.DOTALL)


def weakness(password: str, owner: Iterable[str]) -> str | None:
    """Why ``password`` breaks the newer rules; ``owner`` are number, first and last name. ``None`` when it does not."""
    if not COMPOSITION.fullmatch(password):
        return "lacks a digit, an upper-case or a lower-case letter"
    if any(_has_run(password, step) for step in (1, -1)):
        return "has four consecutive digits"
    if _has_run(password, 0):
        return "has four equal digits"
    folded = password.casefold()
    if any(word and word.casefold() in folded for word in owner):
        return "contains the extension number, the first or the last name"
    return None


def _has_run(password: str, step: int) -> bool:
    """Whether four ASCII digits in a row differ by ``step`` each."""
    length = 1
    for left, right in pairwise(password):
        digits = "0" <= left <= "9" and "0" <= right <= "9"
        length = length + 1 if digits and ord(right) - ord(left) == step else 1
        if length >= RUN:
            return True
    return False
