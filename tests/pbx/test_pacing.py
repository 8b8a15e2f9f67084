"""Pacing of writes, on a clock of its own."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbx.address import Address
from pbx.client import Pbx
from pbx.pacing import Pacer, concurrent_writes
from tests.pbx.support import Office


class Clock:
    """A clock that only sleeping and ``wait`` move; sleepers do not hold each other up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 5), min_size=1, max_size=40))
def test_writes_keep_their_pace_whenever_they_come(per_second: float, pauses: list[float]) -> None:
    """Neither a burst nor a rest beforehand lets two writes through closer together than the pace."""
    clock = Clock()
    pacer = Pacer(per_second, clock.time, clock.sleep)
    slots = []
    for pause in pauses:
        clock.now += pause
        clock.slept.clear()
        asyncio.run(pacer.turn())
        slots.append(clock.now + sum(clock.slept))
    assert all(later - earlier >= 1 / per_second - 1e-6 for earlier, later in pairwise(slots))
    assert slots[0] == pauses[0], "the first one waits for nothing"


@given(st.floats(0.1, 1000), st.integers(1, 50))
def test_a_burst_takes_as_long_as_its_pace_says_and_no_longer(per_second: float, count: int) -> None:
    clock = Clock()
    pacer = Pacer(per_second, clock.time, clock.sleep)

    async def burst() -> None:
        await asyncio.gather(*(pacer.turn() for _ in range(count)))

    asyncio.run(burst())
    assert max(clock.slept, default=0) == pytest.approx((count - 1) / per_second)
    assert clock.slept == sorted(clock.slept), "in the order they asked"


@pytest.mark.parametrize(("pace", "at_once"), [(0.5, 1), (4, 1), (7.9, 1), (8, 2), (20, 5), (1000, 8)])
def test_more_writes_are_under_way_only_at_paces_beyond_an_appliances(pace: float, at_once: int) -> None:
    assert concurrent_writes(pace) == at_once
    assert Pbx(Address("pbx.example.com"), max_writes_per_second=pace).concurrency == at_once


async def test_writes_are_paced_and_reads_are_not(office: Office) -> None:
    clock = Clock()
    pbx = office.client()
    pbx.pacer = Pacer(4, clock.time, clock.sleep)
    for index in range(4):
        await pbx.update_extension(1, {"title": f"{index}"})
        await pbx.capacity()
    await pbx.delete_extension(1)
    assert clock.slept == [0.25, 0.5, 0.75, 1.0]
