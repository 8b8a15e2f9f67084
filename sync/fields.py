"""What a user looks like as an extension. Pure.

The PBX limits its fields (lengths and characters of its CSV import,
https://help.yeastar.com/en/p-series/administrator-guide/import-and-export-parameters-extension.html). A value that does
not fit is made to fit or left out, and a note says so; a run never fails for it. Telephone numbers and e-mail addresses
are never cut short: half of one belongs to somebody else.
"""

import re
import unicodedata

import msgspec

from graph.models import User

NAME_LENGTH = 63
TITLE_LENGTH = 63
EMAIL_LENGTH = 255
PHONE_LENGTH = 31
EMAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'-]*@[A-Za-z0-9_.-]+\.[A-Za-z0-9]{2,}")
EXTENSION_MARK = re.compile(
    r"[\s,;/]*(?:;?(?<![a-z])ext(?:ension)?[.:=]?|(?<![a-z])x\.?|#)\s*([0-9]+)\s*$", re.IGNORECASE
)
"""The tail of a telephone number that names an extension, as in ``+31 20 123 4567 ext. 2041``."""
NEXT_NUMBER = re.compile(r"(?<=[0-9])\s*(?=\+)|[;,&|]|\b(?:or|and)\b", re.IGNORECASE)
"""Where a second number begins in the same field. A slash may do so as well: see ``_before_slash``."""
WHOLE_NUMBER = 7
"""Digits from which on a part is a number by itself, not an area code or a group of digits."""
LABEL = re.compile(r"^[^0-9+*#(]+|\([^0-9()]*\)")
"""What people write beside a number: a word before it, or one in brackets, as in ``mobile: 06 0000 0046 (private)``."""
PHONE_DIGITS = 15
"""A telephone number has at most 15 digits (ITU-T E.164)."""
PLAIN = re.compile(r"(?:\+?[0-9]{1,15})?")
DIALABLE = re.compile(r"[^0-9.+*#()-]")
JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling: Persian and Indic words and many emoji fall apart without them."""


class Desired(msgspec.Struct, frozen=True):
    """The synced fields as the PBX should have them, with notes on what was changed to fit."""

    first_name: str = ""
    last_name: str = ""
    email_addr: str = ""
    mobile_number: str = ""
    title: str = ""
    notes: tuple[str, ...] = ()

    def fields(self) -> dict[str, str]:
        """By the PBX's names."""
        return {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "email_addr": self.email_addr,
            "mobile_number": self.mobile_number,
            "title": self.title,
        }


def desired(user: User) -> Desired:
    """The synced fields for ``user``."""
    notes: list[str] = []
    first, last = _names(user, notes)
    return Desired(
        first_name=cut(first, NAME_LENGTH, "first name", notes),
        last_name=cut(last, NAME_LENGTH, "last name", notes),
        email_addr=_email(_line(user.mail, "e-mail address", notes), notes),
        mobile_number=_phone(user.mobile_phone or "", notes),
        title=cut(_line(user.job_title, "job title", notes), TITLE_LENGTH, "job title", notes),
        notes=tuple(notes),
    )


def display_name(user: User) -> str:
    """How people call this user in lists."""
    joined = " ".join(part for part in (clean(user.given_name), clean(user.surname)) if part)
    return clean(user.display_name) or joined or clean(user.user_principal_name) or user.id


def clean(text: str | None) -> str:
    """One line, composed (NFC), without control characters and without blanks around or doubled."""
    if not text:
        return ""
    composed = unicodedata.normalize("NFC", text)
    if composed.isprintable():
        return " ".join(composed.split())
    composed = "".join(map(_visible, composed))
    words = (word.strip(JOINERS) for word in composed.split())
    # Without what stood between them two characters may compose anew.
    return unicodedata.normalize("NFC", " ".join(word for word in words if word))


def ascii_digits(text: str) -> str:
    """``text`` with the digits of other scripts, and the wide ones of Asian keyboards, as 0 to 9."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text).replace("\uff0b", "+")


def _visible(char: str) -> str:
    if char.isspace():
        return " "
    return char if char.isprintable() or char in JOINERS else ""


def _line(text: str | None, what: str, notes: list[str]) -> str:
    line = clean(text)
    if line != (text or "") and line != unicodedata.normalize("NFC", text or ""):
        notes.append(f"Blanks or invisible characters were left out of the {what}.")
    return line


def _names(user: User, notes: list[str]) -> tuple[str, str]:
    first, last = _line(user.given_name, "first name", notes), _line(user.surname, "last name", notes)
    if first or last:
        return first, last
    # The PBX would show the number of an extension without any name.
    return _line(user.display_name, "display name", notes) or display_name(user), ""


def cut(text: str, length: int, what: str, notes: list[str]) -> str:
    if len(text) <= length:
        return text
    notes.append(f"The {what} was shortened to {length} characters.")
    end = length
    while end > 0 and _continues(text, end):
        end -= 1
    return text[: end or length].rstrip().rstrip(JOINERS)


def _continues(text: str, index: int) -> bool:
    """Whether the character at ``index`` belongs to the one before it: an accent, or a part of an emoji."""
    char = text[index]
    is_skin_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
    return is_skin_tone or char in JOINERS or text[index - 1] in JOINERS or unicodedata.category(char).startswith("M")


def _email(address: str, notes: list[str]) -> str:
    if not address or (EMAIL.fullmatch(address) and len(address) <= EMAIL_LENGTH):
        return address
    notes.append(f"The e-mail address {address} was left out: the PBX does not take it.")
    return ""


def _phone(text: str, notes: list[str]) -> str:
    """The mobile number without blanks, slashes and an extension part; the first one where there are several."""
    if PLAIN.fullmatch(text):
        return text
    line = _line(text, "mobile number", notes)
    parts = NEXT_NUMBER.split(ascii_digits(line))
    first = next((part for part in parts if any(map(str.isdigit, part))), "")
    bare = LABEL.sub("", EXTENSION_MARK.sub("", _before_slash(first)).strip())
    number = DIALABLE.sub("", bare)
    while (shorter := EXTENSION_MARK.sub("", number)) != number:  # what was left out may have stood behind one
        number = shorter
    if line and (fault := _fault(bare, number)):
        notes.append(f"The mobile number {line} was left out: it {fault}.")
        return ""
    if number != line:
        notes.append(f"The mobile number {line} was written as {number}.")
    return number


def _before_slash(text: str) -> str:
    """The first of two numbers with a slash between them. A slash with less than a whole number on either side groups
    the digits of one, as in ``0151/0001234``: then it is all one number."""
    left, _, right = text.partition("/")
    is_two = all(sum(map(str.isdigit, part)) >= WHOLE_NUMBER for part in (left, right))
    return left if is_two else text


def _fault(bare: str, number: str) -> str:
    """Why a mobile number cannot be used; empty when it can."""
    digits = sum(map(str.isdigit, number))
    if not digits:
        return "has no digits"
    if any(map(str.isalpha, bare)):
        return "has letters in it"
    if digits > PHONE_DIGITS:
        return f"has more than {PHONE_DIGITS} digits"
    return f"is longer than {PHONE_LENGTH} characters" if len(number) > PHONE_LENGTH else ""
