"""The extensions of the PBX, with an index for everything that must not occur twice."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from local.pbx.fields import NUMBER

type Client = Literal["sip_phone", "linkus_desktop", "linkus_mobile", "linkus_web"]
type Change = Literal["CREATE", "UPDATE", "DELETE"]
type Author = Literal["api", "hand"]
"""Who changed something: a client of the Open API, or a person on the PBX."""
type Status = Literal["available", "away", "business_trip", "do_not_disturb", "lunch", "off_work"]


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Passwords in clear, kept for tests only: the Open API gives them away through getpassword alone."""

    user_password: str = ""
    reg_password: str = ""
    vm_pin: str = ""
    meets_newest_rules: bool | None = None
    """Whether both passwords met the newest rules when they were set, whatever the firmware asked for."""


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events the PBX sends for an extension."""

    enb_register_status: int = 0
    enb_call_status: int = 0
    enb_presence_status: int = 0


class Extension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One extension; the members are named as in the Open API up to ``enb_vm_pin``."""

    id: int = 0
    number: str
    type: Literal["SIP", "FXS"] = "SIP"
    first_name: str = ""
    last_name: str = ""
    email_addr: str = ""
    mobile_number: str = ""
    role_id: int = 0
    organization_list: tuple[dict[str, str], ...] = ()
    title: str = ""
    email_language: str = "follow_system"
    user_lang: str = "follow_system"
    vm_lang: str = "follow_system"
    caller_id: str = ""
    reg_name: str = ""
    concurrent_registrations: int = 1
    presence_status: Status = "available"
    presence_list: tuple[dict[str, Any], ...] = ()
    """Settings that differ from the defaults, one per status at most."""
    presence_mobile_prefix: str = ""
    agent_id: str = ""
    enb_vm: int = 1
    enb_vm_pin: int = 0
    custom_presence_status: str = ""
    """Set by a person in Linkus; the Open API can only read it."""
    online: tuple[Client, ...] = ()
    owned_by_builtin_sync: bool = False
    """Made by the PBX's own directory sync, which locks it."""
    monitor: Monitor = Monitor()
    test_only_secrets: Secrets = Secrets()

    @property
    def name(self) -> str:
        """The caller ID name: the names joined, or the number when there are none."""
        return f"{self.first_name} {self.last_name}".strip() or self.number


class Clash(ValueError):
    """Values that another object of its ``kind`` has; ``names`` are the members."""

    def __init__(self, names: Iterable[str], kind: str = "extension") -> None:
        self.names = tuple(names)
        super().__init__(f"already used by another {kind}: {', '.join(self.names)}")


class Directory:
    """Extensions by id. Numbers, registration names and e-mail addresses are unique, letter case aside."""

    def __init__(self, extensions: Iterable[Extension] = (), next_id: int = 1) -> None:
        self.next_id = next_id
        self.watcher: Callable[[Change, Extension, Author, Extension | None], None] = lambda *_: None
        """Told of every change after it was made; the last argument is what was there before."""
        self._by_id: dict[int, Extension] = {}
        self._owners: dict[str, dict[str, int]] = {"number": {}, "reg_name": {}, "email_addr": {}}
        self._search: dict[int, str] = {}
        for extension in extensions:
            self.add(extension)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Extension]:
        """In the order of ids."""
        return (self._by_id[number] for number in sorted(self._by_id))

    def get(self, number: int) -> Extension | None:
        """The extension with the id ``number``."""
        return self._by_id.get(number)

    def matching(self, keyword: str) -> Iterator[Extension]:
        """Extensions whose number, name or e-mail address holds ``keyword``, in the order of ids."""
        folded = keyword.casefold()
        return (extension for extension in self if folded in self._search[extension.id])

    def clashes(self, values: Mapping[str, Any], own: int = 0) -> list[str]:
        """The members of ``values`` that an extension other than ``own`` has already."""
        return [
            name
            for name, owners in self._owners.items()
            if (value := values.get(name)) and owners.get(value.casefold(), own) != own
        ]

    def add(self, extension: Extension, author: Author = "hand") -> Extension:
        """Keep a new extension, with the next id unless it has one. ``Clash``, or ``ValueError`` for a wrong number."""
        if extension.id in self._by_id:
            raise Clash(["id"])
        filled = msgspec.structs.replace(
            extension, id=extension.id or self.next_id, reg_name=extension.reg_name or extension.number
        )
        self._check(filled, 0)
        self._index(filled)
        self.next_id = max(self.next_id, filled.id + 1)
        self.watcher("CREATE", filled, author, None)
        return filled

    def replace(self, extension: Extension, author: Author = "hand") -> None:
        """Put ``extension`` in the place of the one with its id. Errors as in ``add``; nothing is changed then."""
        self._check(extension, extension.id)
        before = self._by_id[extension.id]
        self._unindex(before)
        self._index(extension)
        self.watcher("UPDATE", extension, author, before)

    def remove(self, number: int, author: Author = "hand") -> None:
        """Delete the extension with the id ``number``; the id is never used again."""
        extension = self._by_id.pop(number)
        self._unindex(extension)
        del self._search[number]
        self.watcher("DELETE", extension, author, extension)

    def _check(self, extension: Extension, own: int) -> None:
        if not NUMBER.fullmatch(extension.number):
            raise ValueError(f"the number {extension.number!r} is not 1 to 7 digits")
        names = self.clashes({name: getattr(extension, name) for name in self._owners}, own)
        if names:
            raise Clash(names)

    def _index(self, extension: Extension) -> None:
        self._by_id[extension.id] = extension
        self._search[extension.id] = f"{extension.number}\n{extension.name}\n{extension.email_addr}".casefold()
        for name, owners in self._owners.items():
            if value := getattr(extension, name):
                owners[value.casefold()] = extension.id

    def _unindex(self, extension: Extension) -> None:
        for name, owners in self._owners.items():
            if value := getattr(extension, name):
                del owners[value.casefold()]
