"""Runs and items for pages to show, as if they had been carried out."""

import secrets
from typing import Any

from store.runs import Run, RunItem, run_id
from tests.console.page import Page
from tests.console.site import Site

UNKNOWN = "99999999-9999-4999-8999-999999999999"
"""The object id of nobody."""


async def recorded(site: Site, *items: RunItem, **changes: Any) -> Run:
    """Store a run with these items; unless told otherwise it succeeded."""
    stamp = site.world.tell()
    usual: dict[str, Any] = {
        "what": ["users"],
        "mode": "full",
        "status": "succeeded",
        "started_by": "schedule",
        "requested_at": stamp.isoformat(timespec="milliseconds"),
        "items": len(items),
    }
    run = Run(id=run_id(stamp, secrets.token_hex(3)), **(usual | changes))
    await site.connection.runs.create(run)
    await site.connection.runs.add_items(run.id, 0, items)
    return run


def item(**members: Any) -> RunItem:
    """An item; unless told otherwise somebody unknown was updated."""
    usual: dict[str, Any] = {
        "operation": "update",
        "outcome": "done",
        "object_id": UNKNOWN,
        "name": "Ann",
        "reason": "Changed.",
    }
    return RunItem(**(usual | members))


def has_notice(page: Page, words: str) -> bool:
    return any(words in notice for notice in page.notices)
