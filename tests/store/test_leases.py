"""The lease: one holder, judged by the clock of the storage service."""

import asyncio
import datetime
import time

import pytest
import time_machine

from store import leases
from store.errors import AskedToStop, Changed, LeaseLost, StoreUnavailable
from store.leases import Holder, Lease, LeaseStore
from store.tables import Row, Tables


@pytest.fixture
def store(tables: Tables, connection: str) -> LeaseStore:
    return LeaseStore(tables, connection)


@pytest.fixture
def service_clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime.timedelta]:
    """Moves the clock that the storage service tells: put in by how much."""
    moved = [datetime.timedelta()]
    original = Tables.get_timed

    async def get_timed(self: Tables, table: str, partition: str, key: str) -> tuple[Row | None, datetime.datetime]:
        row, now = await original(self, table, partition, key)
        return row, now + moved[0]

    monkeypatch.setattr(Tables, "get_timed", get_timed)
    return moved


async def held(store: LeaseStore, owner: str = "one") -> Lease:
    lease = await store.acquire("sync", owner)
    assert isinstance(lease, Lease)
    return lease


async def test_a_lease_is_held_by_one(store: LeaseStore) -> None:
    lease = await held(store, "one")
    assert await store.acquire("sync", "two") == Holder("one", lease.fence)
    assert await store.holder("sync") == Holder("one", lease.fence)


async def test_an_owner_has_to_wait_for_itself(store: LeaseStore) -> None:
    await held(store, "one")
    assert await store.acquire("sync", "one") == Holder("one", 1)


async def test_leases_of_other_names_and_connections_are_apart(tables: Tables, store: LeaseStore) -> None:
    await held(store)
    assert isinstance(await store.acquire("other", "two"), Lease)
    assert isinstance(await LeaseStore(tables, f"{time.time_ns()}").acquire("sync", "two"), Lease)


async def test_of_twenty_at_once_exactly_one_gets_it(store: LeaseStore) -> None:
    for free_again in (False, True):
        outcomes = await asyncio.gather(*(store.acquire("sync", f"run-{index}") for index in range(20)))
        won = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
        assert len(won) == 1, f"free again: {free_again}"
        await won[0].release()


async def test_a_released_lease_is_free_with_a_higher_fence(store: LeaseStore) -> None:
    first = await held(store, "one")
    await first.release()
    assert await store.holder("sync") is None
    second = await held(store, "two")
    assert second.fence > first.fence


async def test_a_lease_runs_out_by_the_services_clock(
    store: LeaseStore, service_clock: list[datetime.timedelta]
) -> None:
    await held(store, "one")
    service_clock[0] = leases.DURATION - datetime.timedelta(seconds=3)
    assert await store.acquire("sync", "two") == Holder("one", 1)
    service_clock[0] = leases.DURATION + datetime.timedelta(seconds=1)
    assert await store.holder("sync") is None
    assert (await held(store, "two")).fence == 2


@pytest.mark.parametrize("skew", [datetime.timedelta(hours=-3), datetime.timedelta(hours=3)])
async def test_a_machine_with_a_wrong_clock_takes_nothing_over(store: LeaseStore, skew: datetime.timedelta) -> None:
    await held(store, "one")
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + skew):
        assert await store.acquire("sync", "two") == Holder("one", 1)


async def test_after_a_takeover_the_old_holder_is_told_and_its_release_changes_nothing(
    store: LeaseStore, service_clock: list[datetime.timedelta], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    old = await held(store, "one")
    service_clock[0] = datetime.timedelta(seconds=61)
    new = await held(store, "two")
    with pytest.raises(LeaseLost, match="took over"):
        await old.renew()
    await old.release()
    service_clock[0] = datetime.timedelta()
    assert await store.holder("sync") == Holder("two", new.fence)
    await new.renew()


async def test_the_same_run_in_a_second_execution_takes_over_like_any_other(
    store: LeaseStore, service_clock: list[datetime.timedelta], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    old = await held(store, "one")
    service_clock[0] = datetime.timedelta(seconds=61)
    await held(store, "one")
    with pytest.raises(LeaseLost):
        await old.renew()


async def test_a_renewal_is_written_only_when_it_is_due(
    store: LeaseStore, tables: Tables, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await held(store)
    before = await tables.get("leases", connection, "sync")
    await lease.renew()
    assert await tables.get("leases", connection, "sync") == before
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    await lease.renew()
    after = await tables.get("leases", connection, "sync")
    assert before is not None
    assert after is not None
    assert after.etag != before.etag
    assert after.values == before.values


async def test_renewals_at_once_do_not_trip_over_each_other(store: LeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    lease = await held(store)
    await asyncio.gather(*(lease.renew() for _ in range(5)), lease.release())
    assert await store.holder("sync") is None


async def test_a_renewal_whose_answer_was_lost_is_no_takeover(
    store: LeaseStore, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library sends the write again, and the service refuses it because the first one was carried out."""
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    lease = await held(store)
    original = Tables.replace

    async def twice(self: Tables, table: str, row: Row, etag: str) -> str:
        await original(self, table, row, etag)
        raise Changed("the record changed meanwhile")

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "replace", twice)
        await lease.renew()
    await lease.renew()
    assert await store.holder("sync") == Holder("one", lease.fence)


async def test_a_holder_that_cannot_renew_stops_before_anybody_takes_over(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await held(store)
    lease.check()
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start + leases.STALE_AFTER_SECONDS + 1)
    assert leases.DURATION.total_seconds() > leases.STALE_AFTER_SECONDS
    with pytest.raises(LeaseLost, match="in time"):
        lease.check()
    await lease.renew()
    lease.check()


async def test_a_failed_renewal_does_not_lose_the_lease(store: LeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0)
    lease = await held(store)

    async def down(*_: object) -> str:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "replace", down)
        with pytest.raises(StoreUnavailable):
            await lease.renew()
    lease.check()
    await lease.renew()


async def test_a_note_outlives_its_holder_and_is_found_by_the_next_one(store: LeaseStore) -> None:
    first = await held(store, "one")
    await first.write_note("x" * 70_000)
    await first.write_note("in the middle of something")
    await first.release()
    assert await store.note("sync") == "in the middle of something"
    second = await held(store, "two")
    assert second.note == "in the middle of something"
    await second.write_note("")
    assert await store.note("sync") == ""


async def test_a_holder_that_was_replaced_can_note_nothing(
    store: LeaseStore, service_clock: list[datetime.timedelta]
) -> None:
    first = await held(store, "one")
    service_clock[0] = leases.DURATION + datetime.timedelta(seconds=1)
    await held(store, "two")
    with pytest.raises(LeaseLost):
        await first.write_note("mine")
    with pytest.raises(LeaseLost):
        first.check()
    assert await store.note("sync") == ""


async def test_a_kept_lease_is_renewed_in_the_background_and_free_at_the_end(
    store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_AFTER_SECONDS", 0.01)
    renewed = asyncio.Event()
    lease = await held(store, "one")
    original = lease._renew

    async def noticed() -> None:
        await original()
        renewed.set()

    monkeypatch.setattr(lease, "_renew", noticed)
    async with lease.kept():
        await asyncio.wait_for(renewed.wait(), 5)
        assert await store.holder("sync") == Holder("one", 1)
    assert await store.holder("sync") is None


async def test_a_holder_that_is_told_to_stop_learns_it_by_its_next_renewal_and_keeps_its_note(
    store: LeaseStore,
) -> None:
    lease = await held(store, "one")
    await store.tell_to_stop("sync")
    lease.check()
    await lease.write_note("what is under way")
    with pytest.raises(AskedToStop):
        lease.check()
    assert await store.note("sync") == "what is under way"
    await lease.release()
    following = await held(store, "two")
    following.check()
    await following.write_note("more")
    following.check()


async def test_nobody_is_told_to_stop_while_the_lease_is_free(store: LeaseStore) -> None:
    await store.tell_to_stop("sync")
    await (await held(store, "one")).release()
    await store.tell_to_stop("sync")
    lease = await held(store, "two")
    await lease.write_note("goes on")
    lease.check()
