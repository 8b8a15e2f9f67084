"""The webhooks of the PBX as an administrator sets them up, and the event that they are told.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/monitor-events-via-webhook.html
https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/event-extension-configuration-changed.html
"""

import base64
import hmac
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from local.pbx.directory import Change

MOST_WEBHOOKS = 5
SECRET_LENGTH = 32
EXTENSION_CHANGED = 30022


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry under Integrations > API; ``ValueError`` when it makes no sense."""

    url: str
    secret: str
    method: Literal["POST"] = "POST"
    topics: tuple[int, ...] = (EXTENSION_CHANGED,)
    """Event numbers; this PBX raises 30022 only."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.url!r} is no address of a web server")
        if len(self.secret) != SECRET_LENGTH:
            raise ValueError(f"the secret of a webhook has {SECRET_LENGTH} characters")

    def signature(self, body: bytes) -> str:
        """What the header ``X-Signature`` says of ``body``."""
        return base64.b64encode(hmac.digest(self.secret.encode(), body, "sha256")).decode()


class Webhooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The webhooks, and how their deliveries go wrong. ``ValueError`` for more than five."""

    webhooks: tuple[Webhook, ...] = ()
    drop: bool = False
    """Events that are raised now are never sent."""
    repeat: int = 0
    """Each event is delivered so many times more."""
    delay_seconds: float = 0.0
    """By the emulator's clock, from the event to its delivery."""
    retries: int = 0
    """Further tries, at once, when the answer is not 2xx or none comes; the vendor does not say that there are any."""

    def __post_init__(self) -> None:
        if len(self.webhooks) > MOST_WEBHOOKS:
            raise ValueError(f"the PBX takes {MOST_WEBHOOKS} webhooks at most")


class Event(msgspec.Struct, frozen=True):
    """An event 30022: somebody created, edited or deleted the extension ``number``."""

    number: str
    change: Change
    message: Literal["text", "object"] = "text"

    def body(self) -> bytes:
        """As in the vendor's sample, which has no serial number."""
        message: Any = {"ext_number": self.number, "option": self.change}
        if self.message == "text":
            message = msgspec.json.encode(message).decode()
        return msgspec.json.encode({"type": EXTENSION_CHANGED, "msg": message})
