"""The webhooks of the PBX as an administrator sets them up, and the events that they are told.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/monitor-events-via-webhook.html
https://help.yeastar.com/en/p-series-cloud-edition/developer-guide/event-extension-configuration-changed.html
https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/event-extension-presence-status-changed.html
"""

import base64
import hmac
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from local.pbx.directory import Change, Extension

MOST_WEBHOOKS = 5
SECRET_LENGTH = 32
PRESENCE_CHANGED = 30009
EXTENSION_CHANGED = 30022

type MessageForm = Literal["text", "object"]


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry under Integrations > API; ``ValueError`` when it makes no sense."""

    url: str
    secret: str
    method: Literal["POST"] = "POST"
    topics: tuple[int, ...] = (EXTENSION_CHANGED,)
    """Event numbers; this PBX raises 30009 and 30022 only."""

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
    """What somebody did to an extension; ``serial_number`` is that of the PBX, where the event tells it."""

    type: int
    message: dict[str, str]
    form: MessageForm = "text"
    serial_number: str | None = None

    def body(self) -> bytes:
        """As in the vendor's samples: ``msg`` is JSON inside a string, unless the form says otherwise."""
        serial = {} if self.serial_number is None else {"sn": self.serial_number}
        message: Any = self.message if self.form == "object" else msgspec.json.encode(self.message).decode()
        return msgspec.json.encode({"type": self.type, **serial, "msg": message})


def extension_changed(number: str, change: Change, form: MessageForm) -> Event:
    """30022: somebody created, edited or deleted the extension. The vendor's sample has no serial number."""
    return Event(EXTENSION_CHANGED, {"ext_number": number, "option": change}, form)


def presence_changed(extension: Extension, form: MessageForm, serial_number: str) -> Event:
    """30009: the extension's presence is another one; of a custom presence it tells the status below it."""
    message = {"extension": extension.number, "status": extension.presence_status}
    return Event(PRESENCE_CHANGED, message, form, serial_number)
