"""The accidental-deletion check."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.document import Guard
from sync.guard import check
from sync.plan import Held, Kind, Operation, Plan


def plan(*, delete: int = 0, release: int = 0, update: int = 0, read: int = 100) -> Plan:
    wanted: dict[Kind, int] = {"delete": delete, "release": release, "update": update}
    operations = tuple(
        Operation(kind=kind, object_id=f"{kind}-{index}", reason="Because.")
        for kind, count in wanted.items()
        for index in range(count)
    )
    return Plan(operations=operations, read=read)


def held(found: Held) -> set[str]:
    return {object_id.partition("-")[0] for object_id in found.object_ids}


def test_a_few_deletions_pass() -> None:
    assert check(plan(delete=3), 100, Guard()) == Held()


@pytest.mark.parametrize(("deletions", "is_held"), [(20, False), (21, True)])
def test_more_deletions_than_the_number_wait_all_of_them(deletions: int, is_held: bool) -> None:
    found = check(plan(delete=deletions, update=5), 10_000, Guard())
    assert len(found.object_ids) == (deletions if is_held else 0)
    assert (found.reason == "21 deletions are more than the 20 of the guard.") == is_held


@pytest.mark.parametrize(("deletions", "is_held"), [(2, False), (3, True)])
def test_a_larger_share_than_the_percentage_waits(deletions: int, is_held: bool) -> None:
    found = check(plan(delete=deletions), 10, Guard())
    assert bool(found.object_ids) == is_held
    assert (found.reason == "3 of 10 extensions (30 %) are more than the guard's 20 %.") == is_held


def test_only_deletions_wait_the_rest_is_carried_out() -> None:
    found = check(plan(delete=30, release=30, update=30), 1000, Guard())
    assert held(found) == {"delete"}


def test_an_empty_directory_holds_deletions_and_releases_alike() -> None:
    found = check(plan(delete=1, release=1, read=0), 1000, Guard(), is_empty=True)
    assert held(found) == {"delete", "release"}
    assert "nobody at all" in found.reason


def test_an_incremental_run_that_reads_nobody_is_no_empty_directory() -> None:
    assert check(plan(delete=1, read=0), 1000, Guard()) == Held()


def test_an_empty_directory_with_nothing_linked_holds_nothing() -> None:
    assert check(plan(read=0), 0, Guard(), is_empty=True) == Held()


def test_what_an_administrator_approved_passes() -> None:
    big = plan(delete=30)
    approved = [operation.object_id for operation in big.operations]
    assert check(big, 30, Guard(), approved=approved) == Held()


def test_deletions_beyond_the_approved_ones_are_judged_by_themselves() -> None:
    big = plan(delete=60)
    approved = [operation.object_id for operation in big.operations[:30]]
    found = check(big, 1000, Guard(), approved=approved)
    assert found.object_ids == {operation.object_id for operation in big.operations[30:]}


def test_a_guard_of_nothing_holds_every_deletion() -> None:
    assert len(check(plan(delete=1), 1000, Guard(max_deletions=0)).object_ids) == 1
    assert len(check(plan(delete=1), 1000, Guard(max_deletion_percent=0)).object_ids) == 1


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 5), st.integers(0, 200), st.booleans())
def test_all_deletions_wait_or_none(delete: int, release: int, linked: int, is_empty: bool) -> None:
    found = check(plan(delete=delete, release=release), linked, Guard(), is_empty=is_empty)
    assert len(found.object_ids) in {0, delete, delete + release}
    assert bool(found.reason) == bool(found.object_ids)


def test_deletions_of_the_last_day_count_as_if_they_were_made_now() -> None:
    assert check(plan(delete=10), 1000, Guard(), recent=10) == Held()
    found = check(plan(delete=10), 1000, Guard(), recent=11)
    assert held(found) == {"delete"}
    assert "21 deletions within a day" in found.reason
    assert held(check(plan(delete=2), 8, Guard(), recent=1)) == {"delete"}


def test_what_was_held_stays_held_until_it_is_approved_however_small_the_run() -> None:
    one = plan(delete=1)
    [object_id] = [operation.object_id for operation in one.operations]
    assert check(one, 1000, Guard(), waiting={object_id}).object_ids == {object_id}
    assert check(one, 1000, Guard(), waiting={object_id}, approved={object_id}) == Held()
