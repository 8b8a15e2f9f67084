"""Days of grace: an extension that is to be deleted stays, marked, until they have passed. Pure."""

import datetime

from sync.plan import Leaving


def due(leaving: Leaving, days: int) -> datetime.datetime:
    """When an extension with this mark is deleted, as the rules are now."""
    return datetime.datetime.fromisoformat(leaving.since) + datetime.timedelta(days=days)


def forecast(leaving: Leaving, days: int) -> str:
    """What happens to an extension with this mark, and when."""
    moment = due(leaving, days).astimezone(datetime.UTC)
    return (
        f"{leaving.reason} The first full run after {moment:%Y-%m-%d %H:%M} UTC deletes the extension, unless the "
        "user returns."
    )
