"""The mirror of the tenant's groups."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import groups
from store.errors import InvalidRecord
from store.groups import DirectoryGroup, GroupStore, Skeleton
from store.tables import Row, Tables, Write, long_text


def object_id(number: int) -> str:
    return f"{number:08x}-bbbb-4bbb-8bbb-bbbbbbbbbbbb"


def ids(numbers: Iterable[int]) -> frozenset[str]:
    return frozenset(map(object_id, numbers))


def group(number: int, users: Iterable[int] = (), nested: Iterable[int] = (), **more: Any) -> DirectoryGroup:
    return DirectoryGroup(
        id=object_id(number), **{"name": f"Group {number}", **more}, users=ids(users), groups=ids(nested)
    )


@pytest.fixture
def mirror(tables: Tables, connection: str) -> GroupStore:
    return GroupStore(tables, connection)


@pytest.fixture
def small_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of three ids, so that groups have many."""
    monkeypatch.setattr(groups, "IDS_A_ROW", 3)


async def keys(tables: Tables, connection: str) -> list[str]:
    return [row.key async for row in tables.query("groups", connection)]


async def test_a_group_is_read_back_as_it_was_written(mirror: GroupStore) -> None:
    sales = group(1, range(20), [2, 3], name="Sales “Ÿ” 🚀", kind="microsoft365")
    await mirror.write([sales, group(2, kind="security")])
    assert await mirror.skeleton() == {
        sales.id: Skeleton("Sales “Ÿ” 🚀", "microsoft365", ids([2, 3])),
        object_id(2): Skeleton("Group 2", "security", frozenset()),
    }
    assert await mirror.users([sales.id, object_id(2)]) == {sales.id: sales.users, object_id(2): frozenset()}


async def test_a_mirror_that_was_never_written_is_empty(mirror: GroupStore) -> None:
    assert await mirror.skeleton() == {}
    assert await mirror.users([object_id(1)]) == {}
    assert await mirror.users([]) == {}


async def test_groups_are_found_by_an_id_in_any_case(mirror: GroupStore) -> None:
    await mirror.write([group(10, [1])])
    upper = object_id(10).upper()
    assert await mirror.users([upper]) == {upper: ids([1])}
    await mirror.write(remove=[upper])
    assert await mirror.skeleton() == {}


async def test_only_the_groups_asked_for_are_answered(mirror: GroupStore) -> None:
    await mirror.write([group(number, [number]) for number in range(30)])
    assert await mirror.users(ids([3, 28, 99])) == {object_id(3): ids([3]), object_id(28): ids([28])}


async def test_users_of_some_groups_cost_a_request_for_each_fourteen(mirror: GroupStore, tables: Tables) -> None:
    await mirror.write([group(number, [number]) for number in range(40)])
    before = tables.traffic.by_table["groups"]
    assert len(await mirror.users(ids(range(40)))) == 40
    assert tables.traffic.by_table["groups"] - before <= 3 * 2


async def test_users_of_all_groups_are_read_in_one_pass(
    mirror: GroupStore, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "ONE_PASS", 30)
    await mirror.write([group(number, [number]) for number in range(40)])
    before = tables.traffic.by_table["groups"]
    assert await mirror.users(ids(range(2, 50))) == {object_id(number): ids([number]) for number in range(2, 40)}
    assert tables.traffic.by_table["groups"] - before <= 2


async def test_removing_a_group_that_is_not_there_leaves_the_others_alone(mirror: GroupStore) -> None:
    await mirror.write([group(1), group(2)])
    await mirror.write([group(3)], remove=[object_id(2), object_id(9)])
    assert set(await mirror.skeleton()) == ids([1, 3])


async def test_mirrors_of_other_connections_are_apart(tables: Tables, connection: str) -> None:
    await GroupStore(tables, connection).write([group(1)])
    assert await GroupStore(tables, f"{connection}2").skeleton() == {}


async def test_a_group_of_thousands_fits(mirror: GroupStore, tables: Tables, connection: str) -> None:
    large = group(1, range(25_000), range(30_000, 31_000))
    await mirror.write([large])
    assert len(await keys(tables, connection)) == 3
    assert await mirror.users([large.id]) == {large.id: large.users}
    assert (await mirror.skeleton())[large.id].groups == large.groups


async def test_more_nested_groups_than_fit_are_refused_by_name(mirror: GroupStore) -> None:
    with pytest.raises(InvalidRecord, match="'Group 1' has 10001 nested groups"):
        await mirror.write([group(1, nested=range(10_001))])


@pytest.mark.usefixtures("small_rows")
@pytest.mark.parametrize("sizes", [(10, 4), (4, 10), (10, 2), (2, 10), (10, 0), (7, 7)])
async def test_a_group_that_grows_or_shrinks_leaves_no_row_behind(
    mirror: GroupStore, tables: Tables, connection: str, sizes: tuple[int, int]
) -> None:
    await mirror.write([group(0, range(8))])
    for size in sizes:
        await mirror.write([group(1, range(size))])
        assert await mirror.users(ids([0, 1])) == {object_id(0): ids(range(8)), object_id(1): ids(range(size))}
        assert len(await keys(tables, connection)) == 3 + max(1, -(-size // 3))


@pytest.mark.usefixtures("small_rows")
async def test_a_removed_group_takes_its_further_rows_with_it(
    mirror: GroupStore, tables: Tables, connection: str
) -> None:
    await mirror.write([group(1, range(10)), group(2)])
    await mirror.write(remove=[object_id(1)])
    assert await keys(tables, connection) == [object_id(2)]


@pytest.mark.usefixtures("small_rows")
@pytest.mark.parametrize("done", range(12))
async def test_a_write_that_is_cut_off_leaves_the_users_of_before_or_of_after(
    mirror: GroupStore, tables: Tables, connection: str, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    old, new = group(1, range(10)), group(1, range(1, 14))
    await mirror.write([old, group(2, range(5))])
    whole = tables.write

    async def cut_off(table: str, writes: Iterable[Write]) -> None:
        await whole(table, list(writes)[:done])

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write", cut_off)
        await mirror.write([new], remove=[object_id(2)])
    assert (await mirror.users([old.id]))[old.id] in {old.users, new.users}
    await mirror.write([new], remove=[object_id(2)])
    assert await mirror.users(ids([1, 2])) == {new.id: new.users}
    assert len(await keys(tables, connection)) == 5


@pytest.mark.usefixtures("small_rows")
async def test_a_group_that_lacks_a_row_is_an_error_and_no_smaller_group(
    mirror: GroupStore, tables: Tables, connection: str
) -> None:
    await mirror.write([group(1, range(10))])
    await tables.delete("groups", connection, (await keys(tables, connection))[2])
    with pytest.raises(InvalidRecord, match="'Group 1' lacks 1 of its further rows"):
        await mirror.users([object_id(1)])


@pytest.mark.parametrize("columns", [long_text("{"), {}])
async def test_a_record_that_does_not_decode_is_named(columns: Any) -> None:
    mirror = GroupStore(Answers([Row("c", object_id(1), columns)]), "c")
    with pytest.raises(InvalidRecord, match=object_id(1)):
        await mirror.skeleton()


async def test_users_that_do_not_decode_are_named(mirror: GroupStore, tables: Tables, connection: str) -> None:
    await mirror.write([group(1)])
    row = await tables.get("groups", connection, object_id(1))
    assert row is not None
    await tables.upsert("groups", Row(connection, row.key, {**row.values, **long_text("{", "users")}))
    with pytest.raises(InvalidRecord, match=object_id(1)):
        await mirror.users([object_id(1)])


class Answers(Tables):
    """Tables that answer every query with the same rows."""

    def __init__(self, rows: list[Row]) -> None:
        self._answer = rows

    async def query(self, *_arguments: Any, **_options: Any) -> AsyncIterator[Row]:
        for row in self._answer:
            yield row


@given(
    st.lists(st.tuples(st.integers(0, 3), st.frozensets(st.integers(0, 9)), st.frozensets(st.integers(0, 3)))),
    st.integers(3, 5),
)
async def test_whatever_is_written_is_what_is_read(
    steps: list[tuple[int, frozenset[int], frozenset[int]]], size: int
) -> None:
    memory = Memory()
    mirror = GroupStore(memory, "c")
    expected: dict[str, DirectoryGroup] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "IDS_A_ROW", size)
        for number, users, nested in steps:
            one = group(number, users, nested)
            if 9 in users:
                expected.pop(one.id, None)
                await mirror.write(remove=[one.id])
            elif len(nested) <= size:
                expected[one.id] = one
                await mirror.write([one])
        assert await mirror.users(ids(range(5))) == {key: one.users for key, one in expected.items()}
        assert {key: one.groups for key, one in (await mirror.skeleton()).items()} == {
            key: one.groups for key, one in expected.items()
        }
    assert len(memory.rows) == sum(
        1 + max(0, -(-(len(one.users) - size + len(one.groups)) // size)) for one in expected.values()
    )


class Memory(Tables):
    """Tables of one partition in memory, with keys in order."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    async def query(self, *_arguments: Any, **bounds: Any) -> AsyncIterator[Row]:
        for row in self._between(bounds.get("low", ""), bounds.get("high", "~")):
            yield row

    async def keys(self, _table: str, _partition: str, keys: Any) -> AsyncIterator[Row]:
        for key in sorted(keys):
            if key in self.rows:
                yield self.rows[key]

    async def write(self, _table: str, writes: Iterable[Write]) -> list[str]:
        for write in writes:
            if write.verb == "delete":
                del self.rows[write.row.key]
            else:
                self.rows[write.row.key] = write.row
        return []

    def _between(self, low: str, high: str) -> Iterator[Row]:
        yield from (self.rows[key] for key in sorted(self.rows) if low <= key < high)
