"""Shares the pace of the PBX between a run and presence, which are written by different processes."""

import time
from collections.abc import Callable

from pbx.client import Pbx
from store.leases import PRESENCE, LeaseStore

SHARE = 0.5
LOOK_SECONDS = 2.0
"""So often a run looks whether presence is being written; one that is over sooner never does."""


class Sharing:
    """Leaves presence its half while both write."""

    def __init__(self, pbx: Pbx, leases: LeaseStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._pbx = pbx
        self._leases = leases
        self._clock = clock
        self._looked_at = clock()

    async def look(self) -> None:
        """Slow down or speed up; costs one request, and nothing for a while after it."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            is_shared = await self._leases.holder(PRESENCE) is not None
            self._pbx.pacer.share = SHARE if is_shared else 1.0
