"""Who may call: the application's credentials, permitted addresses and the block after failed authentications.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/authorization-rule.html
"""

import secrets
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

import msgspec

FAILURES_UNTIL_BLOCKED = 5


class Application(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry under Integrations > API."""

    client_id: str
    client_secret: str
    permitted_ips: tuple[str, ...] = ()
    """Addresses or networks; empty permits every caller."""
    enabled: bool = True

    def __post_init__(self) -> None:
        for network in self.permitted_ips:
            ip_network(network, strict=False)

    def permits(self, caller: str) -> bool:
        address = ip_address(caller)
        return not self.permitted_ips or any(
            address in ip_network(network, strict=False) for network in self.permitted_ips
        )

    def accepts(self, client_id: str, client_secret: str) -> bool:
        return secrets.compare_digest(
            f"{self.client_id}\n{self.client_secret}".encode(), f"{client_id}\n{client_secret}".encode()
        )


class BlockedIps:
    """Callers with failed authentications: five in a row block an address until its time is over."""

    def __init__(self, failures: Mapping[str, int] | None = None, until: Mapping[str, float] | None = None) -> None:
        self.failures = dict(failures or {})
        self.until = dict(until or {})

    def blocked_until(self, caller: str, now: float) -> float | None:
        """When the block of ``caller`` ends, in seconds since the epoch; ``None`` when there is none."""
        end = self.until.get(caller)
        if end is not None and end <= now:
            del self.until[caller]
            return None
        return end

    def failed(self, caller: str, now: float, seconds: float) -> None:
        count = self.failures.pop(caller, 0) + 1
        if count >= FAILURES_UNTIL_BLOCKED:
            self.until[caller] = now + seconds
        else:
            self.failures[caller] = count

    def succeeded(self, caller: str) -> None:
        self.failures.pop(caller, None)

    def clear(self) -> None:
        self.failures.clear()
        self.until.clear()
