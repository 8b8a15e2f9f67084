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
EXTENSION_MARK = re.compile(r"[\s,;/]*(?:;?ext(?:ension)?\b[.:=]?|\bx\.?|#)\s*(\d+)\s*$", re.IGNORECASE)
"""The tail of a telephone number that names an extension, as in ``+31 20 123 4567 ext. 2041``."""
NEXT_NUMBER = re.compile(r"\s/\s|[;,\n]|\bor\b|\s\|\s", re.IGNORECASE)
"""Where a second number begins in the same field, as in ``06 0000 0046 / 06 0000 0047``."""
PHONE_DIGITS = 15
"""A telephone number has at most 15 digits (ITU-T E.164)."""
DIALABLE = re.compile(r"[^0-9.+*#()-]")


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
    first, last = _names(user)
    return Desired(
        first_name=_cut(first, NAME_LENGTH, "first name", notes),
        last_name=_cut(last, NAME_LENGTH, "last name", notes),
        email_addr=_email(clean(user.mail), notes),
        mobile_number=_phone(clean(user.mobile_phone), notes),
        title=_cut(clean(user.job_title), TITLE_LENGTH, "job title", notes),
        notes=tuple(notes),
    )


def display_name(user: User) -> str:
    """How people call this user in lists."""
    joined = " ".join(part for part in (clean(user.given_name), clean(user.surname)) if part)
    return clean(user.display_name) or joined or clean(user.user_principal_name) or user.id


def clean(text: str | None) -> str:
    """One line, composed (NFC), without control characters and without blanks around or doubled."""
    composed = unicodedata.normalize("NFC", text or "")
    visible = "".join(" " if char.isspace() else char for char in composed if char.isspace() or char.isprintable())
    return " ".join(visible.split())


def _names(user: User) -> tuple[str, str]:
    first, last = clean(user.given_name), clean(user.surname)
    if first or last:
        return first, last
    # The PBX would show the number of an extension without any name.
    return display_name(user), ""


def _cut(text: str, length: int, what: str, notes: list[str]) -> str:
    if len(text) <= length:
        return text
    notes.append(f"The {what} was shortened to {length} characters.")
    return text[:length].rstrip()


def _email(address: str, notes: list[str]) -> str:
    if not address or (EMAIL.fullmatch(address) and len(address) <= EMAIL_LENGTH):
        return address
    notes.append(f"The e-mail address {address} was left out: the PBX does not take it.")
    return ""


def _phone(text: str, notes: list[str]) -> str:
    """The mobile number without blanks, slashes and an extension part; the first one where there are several."""
    first = NEXT_NUMBER.split(text, maxsplit=1)[0]
    number = DIALABLE.sub("", EXTENSION_MARK.sub("", first))
    digits = sum(char.isdigit() for char in number)
    if not text:
        return ""
    if not digits or digits > PHONE_DIGITS or len(number) > PHONE_LENGTH:
        fault = f"has more than {PHONE_DIGITS} digits" if digits else "has no digits"
        notes.append(f"The mobile number {text} was left out: it {fault}.")
        return ""
    if number != text:
        notes.append(f"The mobile number {text} was written as {number}.")
    return number
