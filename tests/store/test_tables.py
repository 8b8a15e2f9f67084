"""Table Storage: the verbs against a real service, and Azure's limits before anything is sent."""

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.data.tables import TableEntity
from hypothesis import given
from hypothesis import strategies as st

from local.azurite import ACCOUNT, KEY
from store.environment import Environment, StorageAccount
from store.errors import AlreadyExists, Changed, InvalidRecord, StoreError, StoreUnavailable
from store.tables import Row, Tables, Value, Write, _row, check_key, long_text, open_tables

VERBS: dict[str, Callable[[Tables, str], Any]] = {
    "create": lambda tables, table: tables.create(table, Row("p", "a", {"n": 1})),
    "upsert": lambda tables, table: tables.upsert(table, Row("p", "a", {"n": 1})),
    "transaction": lambda tables, table: tables.write(table, [Write("upsert", Row("p", "a", {"n": 1}))]),
}


async def rows(tables: Tables, table: str, partition: str = "p", **options: Any) -> list[str]:
    return [row.key async for row in tables.query(table, partition, **options)]


@pytest.mark.parametrize("verb", VERBS)
async def test_every_write_makes_a_missing_table(tables: Tables, new_table: str, verb: str) -> None:
    await VERBS[verb](tables, new_table)
    row = await tables.get(new_table, "p", "a")
    assert row is not None
    assert row.values == {"n": 1}


async def test_a_missing_table_reads_as_empty_and_takes_deletes(tables: Tables, new_table: str) -> None:
    assert await tables.get(new_table, "p", "a") is None
    assert await rows(tables, new_table) == []
    assert [row async for row in tables.keys(new_table, "p", ["a"])] == []
    await tables.delete(new_table, "p", "a")
    with pytest.raises(Changed):
        await tables.replace(new_table, Row("p", "a", {}), "W/\"datetime'2026-01-01T00%3A00%3A00Z'\"")


async def test_twenty_first_writers_of_a_missing_table_all_succeed(tables: Tables, new_table: str) -> None:
    await asyncio.gather(*(tables.upsert(new_table, Row("p", f"{index}", {})) for index in range(20)))
    assert len(await rows(tables, new_table)) == 20


async def test_a_row_comes_back_as_it_was_written(tables: Tables, new_table: str) -> None:
    values: dict[str, Value] = {
        "text": "Zoë 😀",
        "small": -5,
        "large": 2**40,
        "edge": 2**31,
        "low": -(2**31),
        "part": 0.5,
        "yes": True,
    }
    etag = await tables.create(new_table, Row("p", "k", values))
    row, now = await tables.get_timed(new_table, "p", "k")
    assert row is not None
    assert {name: getattr(value, "value", value) for name, value in row.values.items()} == values
    assert row.etag == etag
    assert row.written_at is not None
    assert abs(now - row.written_at) < datetime.timedelta(seconds=5)


async def test_a_key_can_be_created_once(tables: Tables, new_table: str) -> None:
    await tables.create(new_table, Row("p", "k", {}))
    with pytest.raises(AlreadyExists):
        await tables.create(new_table, Row("p", "k", {}))


async def test_of_twenty_replacements_of_one_version_exactly_one_wins(tables: Tables, new_table: str) -> None:
    etag = await tables.create(new_table, Row("p", "k", {"n": -1}))

    async def replace(number: int) -> bool:
        try:
            await tables.replace(new_table, Row("p", "k", {"n": number}), etag)
        except Changed:
            return False
        return True

    won = [number for number, done in enumerate(await asyncio.gather(*map(replace, range(20)))) if done]
    row = await tables.get(new_table, "p", "k")
    assert row is not None
    assert won == [row.values["n"]]


async def test_replacing_a_removed_row_is_a_change_by_somebody_else(tables: Tables, new_table: str) -> None:
    etag = await tables.create(new_table, Row("p", "k", {}))
    await tables.delete(new_table, "p", "k")
    with pytest.raises(Changed):
        await tables.replace(new_table, Row("p", "k", {}), etag)


async def test_a_replacement_drops_the_columns_it_does_not_name(tables: Tables, new_table: str) -> None:
    etag = await tables.create(new_table, Row("p", "k", {"old": 1}))
    await tables.replace(new_table, Row("p", "k", {"new": 2}), etag)
    await tables.upsert(new_table, Row("p", "other", {"old": 1}))
    await tables.upsert(new_table, Row("p", "other", {"new": 2}))
    assert [dict(row.values) async for row in tables.query(new_table, "p")] == [{"new": 2}, {"new": 2}]


# Queries


async def test_a_query_answers_the_range_in_key_order(tables: Tables, new_table: str) -> None:
    await tables.write(new_table, [Write("upsert", Row("p", key, {"n": 1, "m": 2})) for key in "dbaec"])
    await tables.upsert(new_table, Row("q", "z", {}))
    assert await rows(tables, new_table) == list("abcde")
    assert await rows(tables, new_table, low="b") == list("bcde")
    assert await rows(tables, new_table, low="b", high="d") == list("bc")
    assert await rows(tables, new_table, top=2) == list("ab")
    assert [row.values async for row in tables.query(new_table, "p", select=["n"], top=1)] == [{"n": 1}]
    assert [row.key async for row in tables.keys(new_table, "p", ["c", "a", "missing"])] == ["a", "c"]


async def test_a_query_goes_on_beyond_a_page_of_a_thousand(tables: Tables, new_table: str) -> None:
    await tables.write(new_table, [Write("create", Row("p", f"{index:05d}", {})) for index in range(1250)])
    before = tables.traffic.requests
    assert await rows(tables, new_table) == [f"{index:05d}" for index in range(1250)]
    assert tables.traffic.requests - before <= 3
    assert len(await rows(tables, new_table, top=1100)) == 1100


# Transactions


def sent(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> list[int]:
    """The sizes of the transactions that ``tables`` sends from now on, in operations."""
    sizes: list[int] = []
    original = Tables._transaction

    async def spy(self: Tables, table: str, batch: list[Write]) -> list[str]:
        sizes.append(len(batch))
        return await original(self, table, batch)

    monkeypatch.setattr(Tables, "_transaction", spy)
    return sizes


async def test_writes_go_in_transactions_of_a_hundred(
    tables: Tables, new_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sent(monkeypatch, tables)
    await tables.write(new_table, (Write("upsert", Row("p", f"{index:03d}", {})) for index in range(205)))
    assert sizes == [100, 100, 5]
    assert len(await rows(tables, new_table)) == 205


@pytest.mark.parametrize(("text", "most"), [("x" * 100_000, 9), ("é" * 100_000, 1), ('"' * 100_000, 4)])
async def test_a_transaction_keeps_below_a_megabyte_on_the_wire(
    tables: Tables, new_table: str, monkeypatch: pytest.MonkeyPatch, text: str, most: int
) -> None:
    """The library sends everything beyond ASCII with six bytes and a quote with two."""
    sizes = sent(monkeypatch, tables)
    await tables.write(new_table, [Write("upsert", Row("p", f"{index}", long_text(text))) for index in range(9)])
    assert max(sizes) == most
    assert sum(sizes) == 9


async def test_a_repeated_key_starts_a_new_transaction_and_the_last_write_wins(
    tables: Tables, new_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sent(monkeypatch, tables)
    await tables.write(new_table, [Write("upsert", Row("p", key, {"n": n})) for n, key in enumerate("abab")])
    assert sizes == [2, 2]
    assert [row.values["n"] async for row in tables.query(new_table, "p")] == [2, 3]


async def test_a_transaction_answers_the_new_etags_in_its_order(tables: Tables, new_table: str) -> None:
    etags = await tables.write(new_table, [Write("upsert", Row("p", key, {"n": 1})) for key in "cab"])
    found = {row.key: row.etag async for row in tables.query(new_table, "p")}
    assert etags == [found[key] for key in "cab"]
    [again] = await tables.write(new_table, [Write("replace", Row("p", "a", {"n": 2}), found["a"])])
    assert again not in {"", found["a"]}


async def test_a_transaction_mixes_verbs(tables: Tables, new_table: str) -> None:
    await tables.write(new_table, [Write("upsert", Row("p", key, {"n": 1})) for key in "abc"])
    changes = [
        Write("delete", Row("p", "a", {"n": 1})),
        Write("replace", Row("p", "b", {"n": 2})),
        Write("create", Row("p", "d", {})),
    ]
    await tables.write(new_table, changes)
    assert {row.key: dict(row.values) async for row in tables.query(new_table, "p")} == {
        "b": {"n": 2},
        "c": {"n": 1},
        "d": {},
    }


@pytest.mark.parametrize(
    ("spoiler", "error"),
    [
        (Write("create", Row("p", "there", {})), AlreadyExists),
        (Write("replace", Row("p", "there", {}), "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""), Changed),
        (Write("delete", Row("p", "there", {}), "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""), Changed),
        (Write("delete", Row("p", "missing", {})), InvalidRecord),
    ],
    ids=["create", "replace", "delete", "delete of a missing row"],
)
async def test_a_transaction_that_fails_leaves_nothing_behind(
    tables: Tables, new_table: str, spoiler: Write, error: type[StoreError]
) -> None:
    await tables.upsert(new_table, Row("p", "there", {"n": 1}))
    with pytest.raises(error):
        await tables.write(new_table, [Write("upsert", Row("p", "new", {})), spoiler])
    assert await rows(tables, new_table) == ["there"]


# Limits, checked before anything is sent


@pytest.mark.parametrize(
    "key", ["", "a/b", "a\\b", "a#b", "a?b", "a'b", "a%b", "a\nb", "a\x7fb", "x" * 513, "😀" * 300, "\ud800"]
)
async def test_a_key_that_azure_refuses_is_refused_here(dead_tables: Tables, key: str) -> None:
    with pytest.raises(InvalidRecord):
        await dead_tables.create("t", Row("p", key, {}))
    with pytest.raises(InvalidRecord):
        await dead_tables.write("t", [Write("upsert", Row(key, "k", {}))])
    with pytest.raises(InvalidRecord):
        await dead_tables.get("t", "p", key)
    with pytest.raises(InvalidRecord):
        await dead_tables.delete("t", key, "k")
    with pytest.raises(InvalidRecord):
        await rows(dead_tables, "t", key)


@pytest.mark.parametrize("key", ["x" * 512, "ü", "a b", "@:,;=&+$"])
def test_a_key_that_azure_takes_is_taken_here(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "values",
    [
        {"a": "x" * 32_769},
        {"a": "😀" * 16_385},
        {"a": "\ud800"},
        {"a": 2**63},
        {f"c{index}": "x" * 32_000 for index in range(17)},
        {f"c{index}": 1 for index in range(253)},
    ],
    ids=["a long text", "many emoji", "half a pair", "a large number", "a large record", "many columns"],
)
async def test_a_value_that_azure_refuses_is_refused_here(
    dead_tables: Tables, values: dict[str, int | str | float | bool]
) -> None:
    with pytest.raises(InvalidRecord):
        await dead_tables.upsert("t", Row("p", "k", values))


async def test_the_largest_text_of_a_column_is_taken(tables: Tables, new_table: str) -> None:
    await tables.upsert(new_table, Row("p", "k", {"a": "x" * 32_768, "b": "😀" * 16_384}))


# Long texts


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40_000))
def test_a_long_text_comes_back_as_it_was(text: str, repeats: int) -> None:
    whole = (text * repeats)[:240_000]
    columns = long_text(whole)
    assert Row("p", "k", columns).text() == whole
    assert all(len(str(part).encode("utf-16-le")) <= 65_536 for part in columns.values())


@pytest.mark.parametrize("text", ["a" * 500_000, "é" * 170_000, "😀" * 80_000, ""])
async def test_a_very_long_text_makes_the_round_trip_through_storage(tables: Tables, new_table: str, text: str) -> None:
    """Azure counts two bytes a character; Azurite counts the body, where some take six."""
    await tables.upsert(new_table, Row("p", "k", {"number": 1, **long_text(text)}))
    row = await tables.get(new_table, "p", "k")
    assert row is not None
    assert row.text() == text


@pytest.mark.parametrize("text", ["é" * 500_000, "😀" * 250_000, "a😀" * 166_666])
def test_half_a_million_units_are_taken_whatever_they_are(text: str) -> None:
    assert Row("p", "k", long_text(text)).text() == text


@pytest.mark.parametrize("text", ["a" * 500_001, "😀" * 250_001, "a\udc00"])
def test_a_text_that_fits_into_no_record_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecord):
        long_text(text)


# Opening


@pytest.mark.parametrize("text", ["", "nonsense", "AccountKey=very-secret"])
def test_a_storage_account_that_is_not_named_is_said_in_plain_words(text: str) -> None:
    with pytest.raises(InvalidRecord, match="AzureWebJobsStorage") as caught:
        open_tables(Environment(storage=StorageAccount(connection_string=text)))
    assert "very-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_restart_of_the_storage_service_is_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def answer(_: web.Request) -> web.Response:
        asked.append(sum(pauses))
        return web.json_response({"n": 1}) if len(asked) == 6 else web.Response(status=503)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    async with TestServer(app) as server:
        text = f"AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint={server.make_url('/')};"
        tables = open_tables(Environment(storage=StorageAccount(connection_string=text)))
        row = await tables.get("t", "p", "k")
        await tables.close()
    assert row is not None
    assert asked[-1] > 10, "seconds"


async def test_a_storage_account_that_does_not_answer_is_unavailable(dead_tables: Tables) -> None:
    with pytest.raises(StoreUnavailable, match="the table t cannot be reached"):
        await dead_tables.get("t", "p", "k")


def test_columns_that_azure_answers_as_null_are_columns_that_are_not_there() -> None:
    entity = TableEntity({"PartitionKey": "p", "RowKey": "k", "data": "text", "data_parts": None})
    entity._metadata = {"etag": "e", "timestamp": None}
    row = _row(entity)
    assert (row.values, row.text()) == ({"data": "text"}, "text")
