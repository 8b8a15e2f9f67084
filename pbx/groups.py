"""The extension groups of the PBX.

The vendor spells the paths ``extensiongroup/...``, some firmware answers ``extension_group/...`` instead, and firmware
up to 37.23 was seen to answer neither: the first list finds out.
https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/query-extension-group-list.html
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pbx.client import Pbx
from pbx.errors import FeatureMissing, LimitReached, OutcomeUnknown, PbxError
from pbx.models import Answer, CreatedAnswer, Page, Row, Rows

SPELLINGS = ("extensiongroup", "extension_group")
NO_ENDPOINT = 10001
EVERYONE = "sel_all_ext"
NAMED = "sel_specific"
MAX_GROUPS = 63
"""On any model, the built-in Default_All_Extensions probably counted."""


class GroupMember(msgspec.Struct, frozen=True):
    """An extension of a group."""

    ext_id: int
    user_type: str | None = None
    """manager, user or custom: its rights in the Operator Panel, which an administrator gives on the PBX."""


class ExtensionGroup(msgspec.Struct, frozen=True):
    """A group with its members; one of ``everyone`` need not name them."""

    id: int
    name: str
    everyone: bool
    members: tuple[GroupMember, ...]

    def membership(self, ext_ids: Iterable[int]) -> tuple[GroupMember, ...]:
        """These extensions as members; those that are members already keep their ``user_type``."""
        known = {member.ext_id: member for member in self.members}
        return tuple(known.get(ext_id, GroupMember(ext_id)) for ext_id in dict.fromkeys(ext_ids))


class GroupRow(msgspec.Struct, frozen=True):
    """A row of the list of groups."""

    id: int
    name: str
    everyone: bool
    total: int | None
    """How many extensions it has; ``None`` where the PBX does not say."""


class _Listed(Row, frozen=True):
    """ExtGroupInfo."""

    name: str
    member_select: str = ""
    total_extensions: int | None = None

    def row(self) -> GroupRow:
        return GroupRow(self.id, self.name, self.member_select == EVERYONE, self.total_extensions)


class _Detail(Row, frozen=True):
    """ExtGroupDetail."""

    name: str = ""
    member_select: str = ""
    members: tuple[GroupMember, ...] | None = None

    def group(self) -> ExtensionGroup:
        return ExtensionGroup(self.id, self.name, self.member_select == EVERYONE, self.members or ())


class ExtensionGroups:
    """The groups of one PBX, through its client. Every method raises ``FeatureMissing`` where the firmware has none."""

    def __init__(self, pbx: Pbx) -> None:
        self._pbx = pbx
        self._spelling = ""

    async def all(self) -> list[GroupRow]:
        """Every group, each once, in the order of ids."""
        if self._spelling:
            return await self._listed(self._spelling)
        for spelling in SPELLINGS:
            try:
                rows = await self._listed(spelling)
            except FeatureMissing as error:
                if error.errcode != NO_ENDPOINT:
                    raise
            else:
                self._spelling = spelling
                return rows
        raise FeatureMissing(
            "the firmware of this PBX has no API for extension groups; update it to 37.24, 83.24 or 84.24 at least, "
            "or switch the synchronization of groups off",
            NO_ENDPOINT,
        )

    async def details(self, ids: Sequence[int]) -> list[ExtensionGroup]:
        """The groups with these ids; those that are gone are left out."""
        if not ids:
            return []
        found = await self._pbx.queried(await self._path("query"), ids, Rows[_Detail])
        return [detail.group() for detail in found]

    async def create(self, name: str, ext_ids: Sequence[int]) -> int:
        """Create a group of these extensions and answer its id; its name has 1 to 63 characters.

        ``OutcomeUnknown``: it may exist, look for its name. ``Conflict``: a group has the name already.
        ``LimitReached``: there are 63 groups.
        """
        members = [GroupMember(ext_id) for ext_id in ext_ids]
        path = await self._path("create")
        try:
            answer = await self._pbx.write(path, {"name": name, **_membership(members)}, CreatedAnswer)
        except LimitReached as error:
            words = f"the PBX takes {MAX_GROUPS} extension groups at most [errcode {error.errcode}]"
            raise LimitReached(words, error.errcode) from None
        return answer.id or await self._id_of(name)

    async def update(
        self, group_id: int, *, name: str | None = None, members: Sequence[GroupMember] | None = None
    ) -> None:
        """Rename a group, or give it exactly these ``members``, or both; what is ``None`` stays. Repeating it does no
        harm. ``ExtensionGroup.membership`` keeps the rights of those who stay.

        ``NotFound``: the group is gone. Whether firmware can rename is not documented: it may answer ``Refused``, or
        succeed and leave the old name.
        """
        body: dict[str, Any] = {"id": group_id}
        if name is not None:
            body["name"] = name
        if members is not None:
            body.update(_membership(members))
        await self._pbx.write(await self._path("update"), body, Answer)

    async def delete(self, group_id: int) -> None:
        """Delete a group, not its extensions. One that is gone already is a success; ``Refused`` for the built-in one,
        ``StillReferenced`` while another setting of the PBX uses it."""
        await self._pbx.remove(await self._path("delete"), group_id)

    async def _listed(self, spelling: str) -> list[GroupRow]:
        rows = await self._pbx.listed(f"{spelling}/list", {"sort_by": "id"}, Page[_Listed])
        return [row.row() for row in rows]

    async def _path(self, operation: str) -> str:
        if not self._spelling:
            await self.all()
        return f"{self._spelling}/{operation}"

    async def _id_of(self, name: str) -> int:
        """The id of the group that was just created, where the firmware does not answer it."""
        try:
            rows = await self.all()
        except PbxError as error:
            # Whatever this read met, the group is there: the caller must not take it for a create that failed.
            raise OutcomeUnknown(f"the PBX confirmed the group {name!r}, its id could not be read") from error
        for row in rows:
            if row.name == name:
                return row.id
        raise OutcomeUnknown(f"the PBX confirmed the group {name!r}, but does not list it")


def _membership(members: Iterable[GroupMember]) -> dict[str, Any]:
    """The part of a body that names a whole membership, each extension once."""
    distinct = {member.ext_id: member for member in members}
    return {"member_select": NAMED, "members": [_written(member) for member in distinct.values()]}


def _written(member: GroupMember) -> dict[str, Any]:
    """A member as it is sent: rights that nobody gave are left to the PBX's default."""
    return {"ext_id": member.ext_id, **({"user_type": member.user_type} if member.user_type else {})}
