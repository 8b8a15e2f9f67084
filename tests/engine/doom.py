"""A process that may be killed at any request that it makes of storage, the Key Vault, Graph or the PBX: right before
it is sent, or right after it was carried out but not answered.

From then on the process is dead: no request of its gets through, not even those that clean up.
"""

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from graph.client import Graph
from pbx.client import Pbx
from store.secrets import SecretStore
from store.tables import Tables
from sync.messages import Message
from tests.engine.world import World

DOORS: list[tuple[type, str]] = [
    (Tables, "get_timed"),
    (Tables, "_page"),
    (Tables, "_sent"),
    (Tables, "delete"),
    (Pbx, "_send"),
    (Graph, "_send"),
    (SecretStore, "read"),
]
"""Everything that leaves the process goes through one of these."""


class Killed(BaseException):
    """The process is gone; nothing catches this."""


class Doom:
    """Lets so many requests through, and then nothing any more."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.after_the_fact = False
        self.passed = 0

    async def meet(self, request: Callable[[], Awaitable[Any]]) -> Any:
        if self.left is None:
            self.passed += 1
            return await request()
        if self.left > 0:
            self.left -= 1
            return await request()
        if self.left == 0 and self.after_the_fact:
            self.left = -1
            await request()
        raise Killed


def doomed(monkeypatch: pytest.MonkeyPatch) -> Doom:
    """Put every door of this process under a doom, which lets everything through until it is told otherwise."""
    doom = Doom()

    def guarded(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def method(*arguments: Any, **options: Any) -> Any:
            return await doom.meet(lambda: original(*arguments, **options))

        return method

    for owner, name in DOORS:
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))
    # A dead process keeps its lease; the next one finds it run out.
    monkeypatch.setattr("store.leases.DURATION", datetime.timedelta(seconds=-5))
    return doom


async def is_killed(world: World, message: Message) -> bool:
    """Execute; whether the process died before its end."""
    try:
        await world.execute(message)
    except (Killed, BaseExceptionGroup):
        return True
    return False
