"""What extensions show, for whoever writes many of them."""

import asyncio
import datetime
from collections.abc import Callable

import msgspec

from pbx.client import PAGE_SIZE, Pbx
from pbx.presence import FEW, Shown, list_presence, search_presence

LISTED = datetime.timedelta(seconds=5)
"""So long a list of all extensions counts from when it was read, while many users wait: it would be read all the time,
and a long one takes seconds."""
RENEWED = datetime.timedelta(seconds=4)
"""From then on whoever looks at it reads it anew, while the others go on with it as it is."""


class Listing:
    """A list of what all extensions show, kept for a moment with what is written meanwhile. What somebody chooses in
    that moment is as if he had chosen it before."""

    def __init__(self) -> None:
        self._pbx: Pbx | None = None
        self._read_at: datetime.datetime | None = None
        self._shown: dict[int, Shown] = {}
        self._noted: dict[int, tuple[int, Shown | None]] = {}
        """What was written since the list was begun to be read, numbered; ``None``: perhaps written."""
        self._count = 0
        self._pages = 0
        """How long it was the last time: to search for so many extensions costs less."""
        self._reading = asyncio.Lock()

    async def shown(
        self, pbx: Pbx, pbx_id: int, number: str, waiting: int, now: Callable[[], datetime.datetime]
    ) -> Shown | None:
        """What an extension shows, while so many wait; ``None`` when there is none with this id and number."""
        if pbx is not self._pbx:  # the list of another one is worse than none
            self.forget()
            self._pbx = pbx
        if waiting > max(FEW, self._pages):
            if not self._is_younger(LISTED if self._reading.locked() else RENEWED, now()):
                async with self._reading:
                    if not self._is_younger(RENEWED, now()):
                        await self._read(pbx, now)
            if pbx_id not in self._noted:
                found = self._shown.get(pbx_id)
                return found if found is not None and found.number == number else None
            if (noted := self._noted[pbx_id][1]) is not None:
                return noted
        return (await search_presence(pbx, {pbx_id: number})).get(pbx_id)

    def note(self, found: Shown, status: str, now: datetime.datetime) -> None:
        """The PBX confirmed that an extension shows this status now; empty: perhaps it does."""
        if not (self._reading.locked() or self._is_younger(LISTED, now)):
            self.forget()
            return
        self._count += 1
        changed = msgspec.structs.replace(found, presence_status=status, custom_presence_status="")
        self._noted[found.id] = self._count, changed if status else None

    def forget(self) -> None:
        """Have the list read anew the next time."""
        self._read_at = None
        self._shown.clear()
        self._noted.clear()

    async def _read(self, pbx: Pbx, now: Callable[[], datetime.datetime]) -> None:
        before = self._count
        shown = await list_presence(pbx)
        if pbx is not self._pbx:
            return
        self._shown, self._read_at = shown, now()
        # What was confirmed before it was asked for is in the list.
        self._noted = {pbx_id: noted for pbx_id, noted in self._noted.items() if noted[0] > before}
        self._pages = len(self._shown) // PAGE_SIZE

    def _is_younger(self, age: datetime.timedelta, now: datetime.datetime) -> bool:
        return self._read_at is not None and self._read_at <= now < self._read_at + age
