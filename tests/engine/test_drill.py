"""The drill for the guard, after Microsoft's own for accidental deletions: the threshold at three, five users taken
away in each way there is, and each time the deletions wait for an administrator."""

from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from local.azurite import Azurite
from local.tls import ServerCertificate
from store.health import Reason
from store.runs import Run, RunItem
from sync.service import decide
from sync.status import read_status
from tests.engine.world import World, empty_world

STAFF = 8
TAKEN = 5
NUMBERS = {"1000", "1001", "1002", "1003", "1004"}
"""The extensions of those who are taken away."""


class Way(NamedTuple):
    """A way in which users cease to be wanted, and how they return."""

    take: Callable[[World, str, str], Any]
    """Takes one user away; the second word is the object id of the group of the scope."""
    put_back: Callable[[World, str, str], Any]
    reason: str
    rules: Mapping[str, Any] = MappingProxyType({})
    is_grouped: bool = False


WAYS = {
    "deleted": Way(
        lambda world, user, _: world.delete_user(user),
        lambda world, user, _: world.restore_user(user),
        "The user was deleted in Entra.",
    ),
    "disabled": Way(
        lambda world, user, _: world.change_user(user, accountEnabled=False),
        lambda world, user, _: world.change_user(user, accountEnabled=True),
        "The account is disabled in Entra.",
    ),
    "out-of-scope": Way(
        lambda world, user, _: world.change_user(user, userType="Guest"),
        lambda world, user, _: world.change_user(user, userType="Member"),
        "The user is no longer in the scope.",
        {"scope": {"kind": "types", "user_types": ["Member"]}, "delete_out_of_scope": True},
    ),
    "out-of-the-group": Way(
        lambda world, user, group: world.leave(group, user),
        lambda world, user, group: world.join(group, user),
        "The user is no longer in the scope.",
        {"delete_out_of_scope": True},
        is_grouped=True,
    ),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
EACH_MODE = pytest.mark.parametrize("mode", ["full", "incremental"])


class Drill(NamedTuple):
    """A world in which eight users have their extensions, and the guard lets three be deleted."""

    world: World
    ids: list[str]
    group: str

    @property
    def taken(self) -> list[str]:
        return self.ids[:TAKEN]

    @property
    def stays(self) -> str:
        return self.ids[-1]

    def take(self, way: Way, number: int = TAKEN) -> None:
        for object_id in self.ids[:number]:
            way.take(self.world, object_id, self.group)

    async def held(self, run: Run) -> list[RunItem]:
        return [item for item in await self.world.items(run) if item.outcome == "held"]

    async def reasons(self) -> list[Reason]:
        return (await read_status(self.world.connection, self.world.tell())).reasons

    async def decide(self, run: Run, decision: Any) -> list[Run]:
        """Decide about what a run holds; the run that follows, if one does."""
        _, messages = await decide(self.world.connection, run.id, decision, self.world.tell())
        return [await self.world.execute(message) for message in messages]


@pytest.fixture
async def drill(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]], way: Way
) -> AsyncIterator[Drill]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        ids = await world.staff(STAFF)
        group = world.group("Everybody with a phone", *ids)
        by_group = {"scope": {"kind": "groups", "group_ids": [group]}} if way.is_grouped else {}
        await world.secrets()
        await world.settings(lambda document: document["guard"].update(max_deletions=3, max_deletion_percent=100))
        [message] = await world.enable(**way.rules, **by_group)
        run = await world.execute(message)
        assert (run.status, run.counts["unchanged"]) == ("succeeded", STAFF), run
        yield Drill(world, ids, group)


@EACH_WAY
@EACH_MODE
async def test_five_deletions_are_held_and_listed_and_everything_else_goes_on(
    drill: Drill, way: Way, mode: str
) -> None:
    world = drill.world
    drill.take(way)
    world.change_user(drill.stays, jobTitle="Still served")
    run = await world.run(mode=mode)
    held = await drill.held(run)
    assert (run.status, run.counts["delete.held"], run.counts["update.done"]) == ("succeeded", TAKEN, 1)
    assert {(item.operation, item.object_id) for item in held} == {("delete", one) for one in drill.taken}
    assert {item.extension for item in held} == NUMBERS
    assert {item.reason for item in held} == {f"{way.reason} 5 deletions are more than the 3 of the guard."}
    assert len(world.extensions()) == STAFF
    assert world.writes() == ["update"]


@EACH_WAY
@EACH_MODE
async def test_an_administrator_is_told_once_however_many_runs_find_the_same(drill: Drill, way: Way, mode: str) -> None:
    drill.take(way)
    first = await drill.world.run(mode=mode)
    [told] = await drill.reasons()
    assert told.code == "deletions_held"
    assert told.message == "5 deletions wait for a decision. 5 deletions are more than the 3 of the guard."
    assert first.id in told.action
    for again in ("incremental", "full", mode):
        run = await drill.world.run(mode=again)
        assert len(await drill.held(run)) == TAKEN
        [reason] = await drill.reasons()
        assert (reason.code, reason.message, reason.since) == (told.code, told.message, told.since)
    assert len(drill.world.extensions()) == STAFF


@EACH_WAY
@EACH_MODE
async def test_what_is_approved_is_deleted_and_the_alert_is_over(drill: Drill, way: Way, mode: str) -> None:
    world = drill.world
    drill.take(way)
    held = await world.run(mode=mode)
    [run] = await drill.decide(held, "approved")
    assert (run.status, run.counts["delete.done"]) == ("succeeded", TAKEN)
    assert NUMBERS.isdisjoint(world.extensions())
    assert len(world.extensions()) == len(await world.links()) == STAFF - TAKEN
    assert await drill.reasons() == []
    after = await world.run(mode=mode)
    assert {item.operation for item in await world.items(after)} <= {"skip"}
    assert (await drill.held(after), await drill.reasons()) == ([], [])


@EACH_WAY
@EACH_MODE
async def test_what_is_rejected_stays_and_nobody_is_asked_again(drill: Drill, way: Way, mode: str) -> None:
    world = drill.world
    drill.take(way)
    held = await world.run(mode=mode)
    before = world.extensions()
    assert await drill.decide(held, "rejected") == []
    for again in (mode, "full", "incremental"):
        run = await world.run(mode=again)
        assert len(await drill.held(run)) == TAKEN
        assert await drill.reasons() == []
    assert world.extensions() == before
    assert world.writes() == []


@EACH_WAY
@EACH_MODE
async def test_users_who_return_end_the_alert_without_a_decision(drill: Drill, way: Way, mode: str) -> None:
    world = drill.world
    drill.take(way)
    await world.run(mode=mode)
    for object_id in drill.taken:
        way.put_back(world, object_id, drill.group)
    run = await world.run()
    assert (await world.items(run), await drill.reasons()) == ([], [])
    assert len(world.extensions()) == STAFF
    assert world.writes() == []


@EACH_WAY
@EACH_MODE
async def test_three_deletions_pass_and_the_fourth_of_the_day_waits(drill: Drill, way: Way, mode: str) -> None:
    world = drill.world
    drill.take(way, 3)
    assert (await world.run(mode=mode)).counts["delete.done"] == 3
    assert await drill.reasons() == []
    way.take(world, drill.ids[3], drill.group)
    run = await world.run(mode=mode)
    [item] = await drill.held(run)
    assert item.reason == f"{way.reason} 4 deletions within a day are more than the 3 of the guard."
    assert "1003" in world.extensions()
