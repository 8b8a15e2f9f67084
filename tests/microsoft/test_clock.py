"""The emulator's clock: what waits for it is woken when it is moved."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.emulator import Clock


async def waiting(clock: Clock, seconds: float) -> "asyncio.Task[str]":
    """A task that waits so long at most."""

    async def wait() -> str:
        try:
            async with clock.timeout(seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            return "over"
        raise AssertionError

    task = asyncio.create_task(wait())
    await turns()
    assert clock.watchers
    return task


async def turns() -> None:
    """Let everything run that can run now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_timeout_ends_when_the_clock_has_been_moved_far_enough() -> None:
    clock = Clock()
    task = await waiting(clock, 1000)
    clock.offset += 900
    await turns()
    assert not task.done()
    clock.offset += 100
    async with asyncio.timeout(5):
        assert await task == "over"
    assert clock.watchers == []


async def test_moving_the_clock_on_and_on_ends_it_once() -> None:
    clock = Clock()
    task = await waiting(clock, 1000)
    clock.offset += 5000
    clock.offset += 5000
    async with asyncio.timeout(5):
        assert await task == "over"


async def test_moving_the_clock_back_gives_more_time() -> None:
    clock = Clock()
    task = await waiting(clock, 1000)
    clock.offset -= 500
    clock.offset += 1400
    await turns()
    assert not task.done()
    clock.offset += 100
    async with asyncio.timeout(5):
        assert await task == "over"


async def test_a_block_that_ends_in_time_leaves_no_watcher() -> None:
    clock = Clock()
    async with clock.timeout(1000):
        assert len(clock.watchers) == 1
    assert clock.watchers == []


async def test_a_cancelled_block_stays_cancelled() -> None:
    clock = Clock()
    task = await waiting(clock, 1000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.watchers == []


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=8))
def test_every_move_is_told(moves: list[float]) -> None:
    clock, seen = Clock(), list[float]()
    clock.watchers.append(lambda: seen.append(clock.offset))
    for move in moves:
        clock.offset = move
    assert seen == moves
