"""Paces writes: the one place that decides how fast the PBX is written to."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pacer:
    """Lets writes through at an even pace of ``per_second``, in the order they ask."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self.share = 1.0
        """The part of the pace that is ours, while somebody else writes as well."""

    async def turn(self) -> None:
        """Wait for the next slot."""
        now = self._clock()
        slot = max(self._next, now)
        self._next = slot + self._interval / self.share
        if slot > now:
            await self._sleep(slot - now)


def concurrent_writes(per_second: float) -> int:
    """How many writes may be under way at once: one at the paces meant for appliances, up to 8 beyond.

    At 4 writes a second one at a time is enough as long as an answer takes under 250 ms; more would only queue up in
    the PBX.
    """
    return min(8, max(1, int(per_second // 4)))
