"""What is on the shelf is never older than what this process wrote or found out, however long reads take."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from store.presence import KeptUser, PresenceStore, UserPresence
from store.shelf import Shelf
from store.tables import Row, Tables

keys = st.sampled_from("abc")


@dataclass
class Read:
    moment: int
    found: dict[str, int]
    asked: set[str]


class Reading(RuleBasedStateMachine):
    """One process that reads and writes at its leisure, beside others that write too. Values grow with each write."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf: Shelf[int] = Shelf(most=3)
        self.stored: dict[str, int] = {}
        self.least = dict.fromkeys("abc", 0)
        """What this process knows at least to be there."""
        self.reads: list[Read] = []
        self.value = 0

    @rule(key=keys)
    def write(self, key: str) -> None:
        self.value += 1
        self.stored[key] = self.least[key] = self.value
        self.shelf.put({key: self.value}, self.shelf.moment())

    @rule(key=keys)
    def another_process_writes_and_we_find_out(self, key: str) -> None:
        self.value += 1
        self.stored[key] = self.least[key] = self.value
        self.shelf.take([key])

    @rule(key=keys)
    def another_process_writes(self, key: str) -> None:
        self.value += 1
        self.stored[key] = self.value

    @rule(asked=st.sets(keys, min_size=1))
    def begin_to_read(self, asked: set[str]) -> None:
        moment = self.shelf.moment()
        self.reads.append(Read(moment, {key: self.stored[key] for key in asked if key in self.stored}, asked))

    @rule(choice=st.integers(0, 10))
    def end_reading(self, choice: int) -> None:
        if self.reads:
            read = self.reads.pop(choice % len(self.reads))
            if len(read.asked) == len("abc"):
                self.shelf.put_all(read.found, read.moment)
            else:
                self.shelf.put(read.found, read.moment, missing=read.asked - read.found.keys())

    @rule()
    def clear(self) -> None:
        self.least = {key: self.stored.get(key, 0) for key in "abc"}
        self.shelf.clear()

    @invariant()
    def nothing_is_older_than_what_is_known(self) -> None:
        for key, least in self.least.items():
            assert (self.shelf.get(key) or least) >= least


TestReading = Reading.TestCase


@given(st.lists(keys, max_size=8, unique=True), st.integers(0, 3))
def test_it_holds_so_many_at_most(written: list[str], most: int) -> None:
    shelf: Shelf[str] = Shelf(most)
    for key in written:
        shelf.put({key: key}, shelf.moment())
        assert len(shelf) <= most


def test_what_is_on_it_is_found_again() -> None:
    shelf: Shelf[str] = Shelf()
    shelf.put({"a": "one"}, shelf.moment())
    shelf.put_all({"a": "two", "b": "two"}, shelf.moment())
    assert (shelf.get("a"), shelf.get("b"), shelf.get("c")) == ("two", "two", None)
    shelf.put_all({"b": "three"}, shelf.moment())
    assert (shelf.get("a"), shelf.get("b")) == (None, "three")


@pytest.mark.parametrize("way", ["all", "pending", "some"])
async def test_what_is_written_while_all_are_read_is_not_taken_for_older(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    store = PresenceStore(tables, uuid.uuid4().hex, Shelf())

    def counted(key: str, row: UserPresence | None) -> UserPresence:
        row = row or UserPresence(object_id=key)
        return msgspec.structs.replace(row, changes=row.changes + 1, is_pending=True)

    await store.change(["a"], counted)
    read, go_on = asyncio.Event(), asyncio.Event()

    async def held[T](found: T) -> T:
        read.set()
        await go_on.wait()
        return found

    page, get = tables._page, tables.get

    async def slow_page(*args: object) -> list[Row] | None:
        return await held(await page(*args))  # type: ignore[arg-type]

    async def slow_get(*args: str) -> Row | None:
        return await held(await get(*args))

    monkeypatch.setattr(tables, "_page", slow_page)
    monkeypatch.setattr(tables, "get", slow_get)
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "all": store.all,
        "pending": store.pending,
        "some": lambda: store.some(["a"]),
    }
    reading = asyncio.ensure_future(ways[way]())
    await read.wait()
    await store.change(["a"], counted)
    go_on.set()
    await reading
    assert (await store.some(["a"], shelved=True))["a"].changes == 2
    assert isinstance(store._shelf.get("a"), KeptUser)
