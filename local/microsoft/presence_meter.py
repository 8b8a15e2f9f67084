"""The limit of the presence service: so many requests of one app in 30 seconds, whatever they cost elsewhere.

After "Microsoft Graph service-specific throttling limits". Refused requests count as well.
"""

import math
from collections import deque

from local.emulator import Clock
from local.microsoft.presence import Presences
from local.microsoft.throttle import Verdict

WINDOW = 30.0


class PresenceMeter:
    def __init__(self, clock: Clock, presences: Presences) -> None:
        self._clock = clock
        self._presences = presences
        self._taken: dict[str, deque[float]] = {}

    def take(self, app_id: str) -> Verdict:
        """Count a request of an app and say whether it may pass."""
        limit, now = self._presences.switches.requests_per_30_seconds, self._clock.time()
        if limit is None:
            return Verdict(allowed=True, headers={})
        taken = self._taken.setdefault(app_id, deque())
        while taken and taken[0] <= now - WINDOW:
            taken.popleft()
        taken.append(now)
        if len(taken) <= limit:
            return Verdict(allowed=True, headers={})
        wait = max(1, math.ceil(taken[-limit] + WINDOW - now))
        return Verdict(allowed=False, headers=self._headers(wait))

    def _headers(self, wait: int) -> dict[str, str]:
        return {"Retry-After": str(wait)} if self._presences.switches.send_retry_after else {}
