"""Sends each message of the queue, and each minute, to whoever does the work."""

import datetime
from collections.abc import Callable

from sync import firing, lifecycle, pbx_events, service, subscriptions
from sync.connection import Connection
from sync.messages import Message


async def carry_out(connection: Connection, message: Message, now: Callable[[], datetime.datetime]) -> list[Message]:
    """Do what a message asks for; answers the messages that follow from it."""
    match message.task:
        case "subscriptions":
            if not (await connection.health.load()).disabled:
                await subscriptions.ensure(connection, (await connection.settings.load()).settings, now())
            return []
        case "pbx_events":
            return await pbx_events.look(connection, now())
        case "run":
            return await service.execute(connection, message.run, now)
        case "presence":
            return []  # another room's


async def due(connection: Connection, now: datetime.datetime) -> list[Message]:
    """What announced changes ask for this minute, beside the runs that are due by the clock; and what an administrator
    wants deleted. While the integration is disabled its subscriptions are left to run out."""
    removals = await lifecycle.due(connection, now)
    if (await connection.health.load()).disabled:
        return removals
    settings = (await connection.settings.load()).settings
    return [
        *removals,
        *await firing.due(connection, settings, now),
        *await subscriptions.due(connection, settings, now),
        *await pbx_events.due(connection, settings),
    ]
