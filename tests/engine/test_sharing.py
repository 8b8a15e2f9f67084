"""A run and presence on the same PBX: together they keep its pace, and neither waits for the other."""

from pbx.pacing import Pacer
from store.leases import PRESENCE, Lease
from sync.sharing import LOOK_SECONDS, Sharing
from tests.engine.world import World


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_run_leaves_presence_half_while_it_is_written(world: World) -> None:
    clock = Clock()
    await world.secrets()
    async with await world.connection.open_pbx(
        (await world.connection.settings.load()).settings, await world.connection.health.load()
    ) as pbx:
        sharing = Sharing(pbx, world.connection.leases, clock)
        held = await world.connection.leases.acquire(PRESENCE, "one")
        assert isinstance(held, Lease)
        requests = world.connection.tables.traffic.requests
        await sharing.look()
        assert world.connection.tables.traffic.requests == requests, "a short run does not look"
        clock.now += LOOK_SECONDS
        await sharing.look()
        assert pbx.pacer.share == 0.5
        await held.release()
        await sharing.look()
        assert pbx.pacer.share == 0.5, "it looks now and then"
        clock.now += LOOK_SECONDS
        await sharing.look()
        assert pbx.pacer.share == 1.0


async def test_a_share_of_the_pace_is_a_slower_one() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    pacer = Pacer(10, lambda: 0.0, sleep)
    pacer.share = 0.5
    for _ in range(4):
        await pacer.turn()
    assert [round(seconds, 9) for seconds in slept] == [0.2, 0.4, 0.6]
