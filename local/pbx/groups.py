"""The extension groups of the PBX.

https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/add-an-extension-group.html
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from local.pbx.directory import Clash

LIMIT = 63
"""Groups on any model, the built-in one counted."""
LONGEST_NAME = 63
DEFAULT_ID = 1
DEFAULT_NAME = "Default_All_Extensions"

type MemberSelect = Literal["sel_all_ext", "sel_specific"]
type UserType = Literal["manager", "user", "custom"]


class GroupMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An extension by its id, and what it may do in the Operator Panel."""

    ext_id: int
    user_type: UserType = "user"


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One extension group; ``ValueError`` when it makes no sense."""

    id: int = 0
    name: str
    member_select: MemberSelect = "sel_specific"
    members: tuple[GroupMember, ...] = ()
    """Of ``sel_specific``; ``sel_all_ext`` means everyone, now and later."""
    rights: dict[str, int] = {}
    """The ``mgr_enb_...`` members of the Open API that were set."""
    owned_by_builtin_sync: bool = False
    """Made by the PBX's own directory sync, which locks it."""
    used_elsewhere: bool = False
    """Another setting of the PBX refers to it: it cannot be deleted (70091)."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= LONGEST_NAME:
            raise ValueError(f"a group's name has 1 to {LONGEST_NAME} characters")
        if self.member_select == "sel_all_ext" and self.members:
            raise ValueError("a group of all extensions has no members of its own")
        twice = twice_named(member.ext_id for member in self.members)
        if twice:
            raise ValueError(f"extension {twice[0]} is a member twice")

    @property
    def is_default(self) -> bool:
        return self.id == DEFAULT_ID


def twice_named(ids: Iterable[int]) -> list[int]:
    return [number for number, count in Counter(ids).items() if count > 1]


class Groups:
    """Groups by id. Names are unique, letter case aside; the default group is always there."""

    def __init__(self, groups: Iterable[Group] = (), next_id: int = DEFAULT_ID + 1) -> None:
        self.next_id = max(next_id, DEFAULT_ID + 1)
        self._by_id: dict[int, Group] = {}
        for group in groups:
            self.add(group)
        if DEFAULT_ID not in self._by_id:
            self.add(Group(id=DEFAULT_ID, name=DEFAULT_NAME, member_select="sel_all_ext"))

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Group]:
        """In the order of ids."""
        return (self._by_id[number] for number in sorted(self._by_id))

    @property
    def full(self) -> bool:
        return len(self) >= LIMIT

    def get(self, number: int) -> Group | None:
        return self._by_id.get(number)

    def taken(self, name: str, own: int = 0) -> bool:
        """Whether a group other than ``own`` has this name."""
        return any(group.name.casefold() == name.casefold() and group.id != own for group in self)

    def add(self, group: Group) -> Group:
        """Keep a new group, with the next id unless it has one. ``Clash`` for an id or a name in use."""
        if group.id in self._by_id:
            raise Clash(["id"], "group")
        self._check_name(group)
        kept = msgspec.structs.replace(group, id=group.id or self.next_id)
        self._by_id[kept.id] = kept
        self.next_id = max(self.next_id, kept.id + 1)
        return kept

    def replace(self, group: Group) -> None:
        """Put ``group`` in the place of the one with its id; ``Clash`` changes nothing."""
        self._check_name(group)
        self._by_id[group.id] = group

    def remove(self, number: int) -> None:
        """Delete the group with the id ``number``; the id is never used again."""
        del self._by_id[number]

    def forget(self, extension: int) -> None:
        """The extension with the id ``extension`` is gone: it leaves every group."""
        for group in [group for group in self if any(member.ext_id == extension for member in group.members)]:
            left = tuple(member for member in group.members if member.ext_id != extension)
            self._by_id[group.id] = msgspec.structs.replace(group, members=left)

    def _check_name(self, group: Group) -> None:
        if self.taken(group.name, group.id):
            raise Clash(["name"], "group")
