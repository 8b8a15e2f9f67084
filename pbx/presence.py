"""The presence of extensions: read in bulk, written one at a time.

https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/edit-an-extension.html
"""

import asyncio
from collections.abc import Mapping
from itertools import chain

import msgspec

from pbx.client import Pbx
from pbx.models import Page, Row, Rows

FEW = 8
"""Up to so many extensions are searched for one by one; for more, all extensions are listed."""
MISSPELT = {"launch": "lunch"}
"""What old firmware was seen to answer."""


class Shown(Row, frozen=True):
    """What an extension shows. Rows of a list or a search have both members; an extension in full lacks the second."""

    number: str
    presence_status: str | None = None
    """Not documented as always there."""
    custom_presence_status: str | None = None
    """The name of a custom presence, which no documented request sets."""

    @property
    def status(self) -> str:
        """Empty when the PBX does not say it."""
        return MISSPELT.get(self.presence_status or "", self.presence_status or "")


async def read_presence(pbx: Pbx, extensions: Mapping[int, str]) -> dict[int, Shown]:
    """What the extensions with these ids show, by id; ``extensions`` has their numbers. An id that has another number
    now belongs to somebody else, and is left out like one that is gone."""
    if len(extensions) <= FEW:
        return await search_presence(pbx, extensions)
    return {key: row for key, row in (await list_presence(pbx)).items() if extensions.get(key) == row.number}


async def search_presence(pbx: Pbx, extensions: Mapping[int, str]) -> dict[int, Shown]:
    """The same by a search for each."""
    pages = (pbx.listed("extension/search", {"search_value": one}, Page[Shown]) for one in extensions.values())
    rows = chain.from_iterable(await asyncio.gather(*pages))
    return {row.id: row for row in rows if extensions.get(row.id) == row.number}


async def read_in_full(pbx: Pbx, row: Shown) -> Shown:
    """What an extension shows whose row of a list does not say it; as it is when nothing else says it either."""
    found = await pbx.queried("extension/query", [row.id], Rows[Shown])
    full = next((one for one in found if one.number == row.number and one.presence_status), row)
    return msgspec.structs.replace(row, presence_status=full.presence_status)


async def list_presence(pbx: Pbx) -> dict[int, Shown]:
    """What all extensions show."""
    return {row.id: row for row in await pbx.listed("extension/list", {}, Page[Shown])}


async def write_presence(pbx: Pbx, extension_id: int, status: str) -> None:
    """Have an extension show ``status``, which ends a custom presence too. Repeating it does no harm."""
    await pbx.update_extension(extension_id, {"presence_status": status})
