"""Questions of several, asked in one go."""

import asyncio
from collections.abc import Sequence

import pytest

from presence.together import Together


class Asked:
    """A question whose answer comes when the test lets it."""

    def __init__(self) -> None:
        self.times: list[list[str]] = []
        self.answer = asyncio.Event()
        self.fault: Exception | None = None

    async def __call__(self, ids: Sequence[str]) -> set[str]:
        self.times.append(list(ids))
        await self.answer.wait()
        if self.fault is not None:
            raise self.fault
        return set(ids)


async def test_who_comes_while_one_is_asked_waits_for_the_next_with_all_others() -> None:
    together, asked = Together[set[str]](), Asked()
    first = asyncio.create_task(together.ask(["a"], asked))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(together.ask([one, "x"], asked)) for one in "bcd"]
    await asyncio.sleep(0)
    asked.answer.set()
    assert await first == {"a"}
    assert [await one for one in others] == [{"b", "c", "d", "x"}] * 3
    assert asked.times == [["a"], ["b", "x", "c", "d"]]


async def test_a_fault_is_of_all_who_asked_together_and_of_nobody_else() -> None:
    together, asked = Together[set[str]](), Asked()
    asked.fault = ValueError("it is away")
    asked.answer.set()
    with pytest.raises(ValueError, match="away"):
        await together.ask(["a"], asked)
    asked.fault = None
    assert await together.ask(["b"], asked) == {"b"}


async def test_who_gives_up_does_not_end_it_for_others() -> None:
    together, asked = Together[set[str]](), Asked()
    leaving, staying = (asyncio.create_task(together.ask([one], asked)) for one in "ab")
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    asked.answer.set()
    assert "b" in await staying
