"""Passwords for new extensions: made to the PBX's rules, sent to it, and then forgotten.

The rules (vendor's page "Add an Extension", newest firmware): 10 to 63 characters with a digit, an upper-case and a
lower-case letter; no four consecutive and no four equal digits; the extension number and the names not inside.
"""

import re
import secrets
import string
from collections.abc import Sequence

LENGTH = 24
LETTERS = string.ascii_uppercase + string.ascii_lowercase
SPECIAL_FREE = LETTERS + string.digits
BITS = 320
"""Taken at once from the system's randomness; 24 places use 140 of them, so what the division leaves over does not tell
one place's letters apart."""


def new_password(forbidden: Sequence[str]) -> str:
    """A random password of 24 letters and digits that contains none of ``forbidden`` (number, names), in any case."""
    words = [word.casefold() for word in forbidden if word]
    while True:
        password = _candidate()
        if not any(word in password.casefold() for word in words):
            return password


def _candidate() -> str:
    """Letters with single digits between them: no two digits in a row, so no run of four of any kind."""
    number = secrets.randbits(BITS)
    password = ""
    for alphabet in (LETTERS, SPECIAL_FREE) * (LENGTH // 2):
        number, index = divmod(number, len(alphabet))
        password += alphabet[index]
    has_all = re.search(r"[0-9]", password) and re.search(r"[a-z]", password) and re.search(r"[A-Z]", password)
    return password if has_all else _candidate()
