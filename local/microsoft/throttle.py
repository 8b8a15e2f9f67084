"""Throttling of the identity service: a bucket of resource units per app.

After "Microsoft Graph service-specific throttling limits".
"""

import math

import msgspec

from local.emulator import Clock

WINDOW = 10.0
"""Seconds in which the whole bucket refills."""


class Throttle(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = False
    limit: int | None = None
    """Resource units per 10 s; ``None`` takes the documented limit for the size of the tenant."""
    send_retry_after: bool = True
    retry_after: int | None = None
    """Seconds to announce; ``None`` announces the time until the request fits."""

    def check(self) -> None:
        """``ValueError`` for a number that makes no sense."""
        if (self.limit is not None and self.limit < 1) or (self.retry_after is not None and self.retry_after < 0):
            raise ValueError("limit has to be at least 1 and retry_after at least 0")


class Verdict(msgspec.Struct, frozen=True):
    allowed: bool
    headers: dict[str, str]


class Bucket:
    """Counts every request, also the refused ones: usage keeps counting while throttled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.settings = Throttle()
        self._used: dict[str, tuple[float, float]] = {}

    def take(self, app_id: str, cost: int, users: int) -> Verdict:
        """Charge ``cost`` units to an app and say whether the request may pass."""
        headers = {"x-ms-resource-unit": str(cost)}
        if not self.settings.enabled:
            return Verdict(allowed=True, headers=headers)
        limit = self.settings.limit or tenant_limit(users)
        now = self._clock.time()
        before, at = self._used.get(app_id, (0.0, now))
        used = max(0.0, before - (now - at) * limit / WINDOW) + cost
        self._used[app_id] = (min(used, 2.0 * limit), now)
        if used / limit > 0.8:
            headers["x-ms-throttle-limit-percentage"] = f"{used / limit:.2f}"
        if used <= limit:
            return Verdict(allowed=True, headers=headers)
        headers["x-ms-throttle-scope"] = f"Tenant_Application/ReadWrite/{app_id}"
        headers["x-ms-throttle-information"] = "ResourceUnitLimitExceeded"
        if self.settings.send_retry_after:
            wait = max(1, math.ceil((used - limit) * WINDOW / limit))
            headers["Retry-After"] = str(wait if self.settings.retry_after is None else self.settings.retry_after)
        return Verdict(allowed=False, headers=headers)

    def empty(self) -> None:
        self._used.clear()


def tenant_limit(users: int) -> int:
    """Resource units per 10 s for one app in a tenant of this size."""
    if users < 50:
        return 3500
    return 5000 if users <= 500 else 8000
