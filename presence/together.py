"""Asks about users in batches: while one question is under way those of the next ones gather."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

type Question[T] = Callable[[Sequence[str]], Awaitable[T]]


class Together[T]:
    """One question at a time, for everybody who asked before it began."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._ids: dict[str, None] = {}
        self._next: asyncio.Task[T] | None = None

    async def ask(self, object_ids: Iterable[str], question: Question[T]) -> T:
        """The answer to the question that these users are part of, or its fault."""
        self._ids.update(dict.fromkeys(object_ids))
        if self._next is None:
            self._next = asyncio.create_task(self._ask(question))
        return await asyncio.shield(self._next)  # who gives up does not spoil it for the others

    async def _ask(self, question: Question[T]) -> T:
        async with self._asking:
            ids, self._ids, self._next = list(self._ids), {}, None
            return await question(ids)
