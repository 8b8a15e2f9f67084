"""Tells administrators what keeps presence from working: a reason in the state of the connection, once, until it is
over."""

import logging

import msgspec

from presence.room import Room
from store.health import Health, Reason

log = logging.getLogger("presence")

UNREAD = "presence_unread"
"""Microsoft Graph cannot be asked about presence."""
UNWRITTEN = "presence_unwritten"
"""The PBX does not take presence."""


async def tell_reason(room: Room, code: str, message: str, action: str) -> None:
    """Add a reason for attention; one that is known keeps its time."""
    known = {reason.code: reason for reason in (await room.health.load()).reasons}
    since = known[code].since if code in known else room.now().isoformat(timespec="seconds")
    told = Reason(code, message, action, since)

    def change(health: Health) -> Health:
        others = [reason for reason in health.reasons if reason.code != code]
        return health if told in health.reasons else msgspec.structs.replace(health, reasons=[*others, told])

    await room.health.update(change)
    if code not in known:
        log.error("Attention needed: %s %s", message, action)
