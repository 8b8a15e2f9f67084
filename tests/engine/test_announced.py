"""Whatever becomes of notifications on their way, the PBX ends up as Entra is.

Each case is a working day of one seed: people and groups change, and what Graph has to tell comes in any order, several
times, or not at all. Afterwards the slow poll has looked once; then a full run finds nothing left to do.
"""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from local.tls import ServerCertificate
from tests.engine.wired import Wired
from tests.engine.world import World, empty_world

SEEDS = range(24)
STEPS = 14


@pytest.fixture
async def wired(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[Wired]:
    async with empty_world(azurite, certificate, signing_keys) as world, Wired(world) as wired:
        yield wired


class Day:
    """What happens in a tenant, by seed."""

    def __init__(self, wired: Wired, chance: random.Random) -> None:
        self.wired = wired
        self.world = wired.world
        self.chance = chance
        self.people: list[str] = []
        self.away: list[str] = []
        self.groups: list[str] = []
        self.hired = 0

    async def begin(self) -> None:
        """A few people and groups, synced, and Graph ready to announce changes."""
        for _ in range(6):
            self.hire()
        self.groups = [self.world.group(name, *self.some()) for name in ("North", "South")]
        await self.world.first_sync(users={"delete_out_of_scope": True}, delete_out_of_scope=True)
        await self.wired.ensure()

    def some(self) -> list[str]:
        return self.chance.sample(self.people, self.chance.randint(0, len(self.people)))

    async def step(self) -> None:
        """Somebody changes something, and something becomes of the news about it."""
        happening = self.chance.choice(
            [self.change, self.change, self.hire, self.leave, self.come_back, self.join, self.drop_out, self.rename]
        )
        happening()
        if self.chance.random() < 0.5:
            await self.wired.heard()
        if self.chance.random() < 0.3:
            await self.wired.work()
        if self.chance.random() < 0.3:
            self.wired.passes(minutes=self.chance.choice([1, 11]))
            await self.wired.work(*await self.wired.minute())

    def change(self) -> None:
        if self.people:
            title = self.chance.choice(["Dispatcher", "Nurse", None])
            self.world.change_user(self.chance.choice(self.people), jobTitle=title)

    def hire(self) -> None:
        self.hired += 1
        self.people.append(self.world.person(f"Person {self.hired}"))

    def leave(self) -> None:
        if self.people:
            gone = self.people.pop(self.chance.randrange(len(self.people)))
            self.world.delete_user(gone)
            self.away.append(gone)

    def come_back(self) -> None:
        if self.away:
            back = self.away.pop()
            self.world.restore_user(back)
            self.people.append(back)

    def join(self) -> None:
        if self.people:
            self.world.join(self.chance.choice(self.groups), self.chance.choice(self.people))

    def drop_out(self) -> None:
        group_id = self.chance.choice(self.groups)
        inside = list(self.world.microsoft.directory.entities[group_id].links.get("members", {}))
        if inside:
            self.world.leave(group_id, self.chance.choice(inside))

    def rename(self) -> None:
        self.world.rename_group(self.chance.choice(self.groups), f"Team {self.chance.randint(1, 9)}")

    def turn(self) -> None:
        """What the way of the next notifications is like."""
        switches = self.world.microsoft.postman.switches
        switches.reorder = self.chance.random() < 0.5
        switches.repeat = self.chance.choice([0, 0, 1, 9])
        switches.vary_casing = self.chance.random() < 0.3
        switches.drop_next = self.chance.choice([0, 0, 1, 3, 50])


@pytest.mark.parametrize("seed", SEEDS)
async def test_order_repetition_and_loss_of_notifications_do_not_change_the_end(wired: Wired, seed: int) -> None:
    day = Day(wired, random.Random(seed))  # noqa: S311 - a tenant, no key
    await day.begin()
    for _ in range(STEPS):
        day.turn()
        await day.step()
    await wired.heard()
    await wired.work()
    for minutes in (11, 61, 61):  # the batch, the slow poll, and once more for what a run left to the next
        wired.passes(minutes=minutes)
        await wired.work(*await wired.minute())
    seen = outcome(day.world)
    writes = len(day.world.writes())
    run = await day.world.sync()
    assert run.status == "succeeded", run
    assert len(day.world.writes()) == writes, f"the full run had to repair something after seed {seed}"
    assert outcome(day.world) == seen
    assert len(seen[0]) == len(day.people)


def outcome(world: World) -> tuple[dict[str, Any], list[Any]]:
    """Extensions and extension groups of the PBX."""
    fields = ("first_name", "last_name", "email_addr", "title")
    extensions = {number: {name: one.get(name) for name in fields} for number, one in world.extensions().items()}
    return extensions, world.pbx_groups()
