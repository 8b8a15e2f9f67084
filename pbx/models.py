"""The PBX's objects, as far as the bridge reads and writes them. Unknown members are ignored."""

from typing import Any

import msgspec

FIELDS = ("first_name", "last_name", "email_addr", "mobile_number", "title")
"""The synced fields of an extension: only these are ever overwritten."""


class Answer(msgspec.Struct, frozen=True):
    """The envelope of every answer; read ``errcode`` before anything else, an error may carry an empty payload."""

    errcode: int
    errmsg: str = ""
    invalid_param_list: Any = None


class TokenAnswer(Answer, frozen=True):
    access_token: str = ""
    access_token_expire_time: int = 1800
    refresh_token: str = ""
    refresh_token_expire_time: int = 86400
    block_expire_time: Any = None

    def __repr__(self) -> str:
        return f"TokenAnswer(errcode={self.errcode})"

    __str__ = __repr__


class Information(msgspec.Struct, frozen=True):
    model_name: str = ""
    firmware_version: str = ""
    sn: str = ""


class InformationAnswer(Answer, frozen=True):
    data: Information = Information()


class Capacity(msgspec.Struct, frozen=True):
    extension_capacity: int | None = None
    extension_used: int | None = None


class CapacityAnswer(Answer, frozen=True):
    data: Capacity = Capacity()


class Row(msgspec.Struct, frozen=True):
    """What the PBX lists or gives in full, by its id."""

    id: int


class Rows[R: Row](Answer, frozen=True):
    """Several objects in full."""

    data: list[R] | None = None


class Page[R: Row](Rows[R], frozen=True):
    """A page of a list or a search."""

    total_number: int | None = None


class ExtensionRow(Row, frozen=True):
    """A row of ``extension/list``: enough to find an extension by number or e-mail."""

    number: str
    email_addr: str | None = None


class Extension(Row, frozen=True):
    """An extension in full, as ``extension/query`` gives it."""

    number: str
    first_name: str | None = None
    last_name: str | None = None
    email_addr: str | None = None
    mobile_number: str | None = None
    title: str | None = None

    def fields(self) -> dict[str, str]:
        """The synced fields; a missing one is empty."""
        return {name: getattr(self, name) or "" for name in FIELDS}


class CreatedAnswer(Answer, frozen=True):
    id: int | None = None
    """Not every firmware answers it."""


class NewExtension(msgspec.Struct, frozen=True, kw_only=True):
    """What a create sends. The passwords go to the PBX and nowhere else."""

    number: str
    user_password: str
    reg_password: str
    fields: dict[str, str]
    """Synced fields; empty ones are left out."""

    def body(self) -> dict[str, Any]:
        """The documented members that a create requires, and the synced fields."""
        return {
            "type": "SIP",
            "number": self.number,
            "user_password": self.user_password,
            "reg_name": self.number,
            "reg_password": self.reg_password,
            "concurrent_registrations": 1,
            "presence_status": "available",
            **{name: value for name, value in self.fields.items() if value},
        }

    def __repr__(self) -> str:
        return f"NewExtension(number={self.number!r})"

    __str__ = __repr__
