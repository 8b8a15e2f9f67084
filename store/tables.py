"""Table Storage in the few verbs that the repositories need, with its limits enforced here.

Azurite accepts entities, keys and batches that Azure refuses, so the limits are checked before anything is sent:
100 operations and 4 MiB a transaction, 1 MiB an entity, 32 Ki UTF-16 units a string, no ``/ \\ # ?`` or control
characters in keys (https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
"""

import datetime
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from store.environment import Environment
from store.errors import AlreadyExists, Changed, InvalidRecord, Misconfigured, translated
from store.identity import PATIENCE, azure_credential, retries

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableClient, TableServiceClient

TRANSACTION_OPERATIONS = 100
TRANSACTION_BYTES = 1_000_000  # of 4 MiB; a larger body would hold up the event loop while it is sent
ENTITY_BYTES = 1_048_576
COLUMNS = 252
CHUNK = 16_000
"""Characters of one text property: 32 Ki UTF-16 units hold twice as many unless all of them are surrogate pairs."""

UNFIT = re.compile("[/\\\\#?'%\x00-\x1f\x7f-\x9f\ud800-\udfff]")
KEYS = frozenset({"PartitionKey", "RowKey"})
SURROGATE = re.compile("[\ud800-\udfff]")

type Value = str | int | float | bool
type Verb = Literal["create", "upsert", "replace", "delete"]


@dataclass(frozen=True, slots=True)
class Row:
    """One entity: its keys, its columns and, when it was read, its ETag and the service's time of the last write."""

    partition: str
    key: str
    values: Mapping[str, Value]
    etag: str = ""
    written_at: datetime.datetime | None = None

    def text(self, name: str = "data") -> str:
        """The text stored by ``long_text`` under ``name``."""
        parts = int(self.values.get(f"{name}_parts", 1))
        return "".join(str(self.values.get(_part(name, index), "")) for index in range(parts))


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a transaction. ``etag`` makes ``replace`` and ``delete`` conditional."""

    verb: Verb
    row: Row
    etag: str = ""


@dataclass(slots=True)
class Traffic:
    """How many requests the repositories sent; runs report it and benchmarks compare it."""

    requests: int = 0
    by_table: dict[str, int] = field(default_factory=dict)

    def count(self, table: str) -> None:
        self.requests += 1
        self.by_table[table] = self.by_table.get(table, 0) + 1


class Tables:
    """The tables of one storage account. A table is created when it is first found missing."""

    def __init__(self, service: "TableServiceClient", credential: "AsyncTokenCredential | None" = None) -> None:
        self._service = service
        self._credential = credential
        self._clients: dict[str, TableClient] = {}
        self.traffic = Traffic()

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Read one row; ``None`` when it is missing."""
        row, _ = await self.get_timed(table, partition, key)
        return row

    async def get_timed(self, table: str, partition: str, key: str) -> tuple[Row | None, datetime.datetime]:
        """Read one row together with the time on the service's own clock (1 s fine), so that skewed clocks agree."""
        from azure.core.exceptions import ResourceNotFoundError

        times: list[str] = []
        self.traffic.count(table)
        try:
            with translated(f"the table {table}"):
                entity = await self._client(table).get_entity(
                    check_key(partition),
                    check_key(key),
                    raw_response_hook=lambda response: times.append(response.http_response.headers.get("Date", "")),
                )
        except InvalidRecord as error:
            if not isinstance(error.__cause__, ResourceNotFoundError):
                raise
            return None, _server_time(times)
        return _row(entity), _server_time(times)

    async def query(
        self, table: str, partition: str, *, low: str = "", high: str = "", select: Sequence[str] = (), top: int = 0
    ) -> AsyncIterator[Row]:
        """The rows of a partition in key order, ``low <= key < high`` where given, at most ``top`` when not 0."""
        clauses = [f"PartitionKey eq '{check_key(partition)}'"]
        clauses += [f"RowKey ge '{check_key(low)}'"] if low else []
        clauses += [f"RowKey lt '{check_key(high)}'"] if high else []
        async for row in self._rows(table, " and ".join(clauses), select, top):
            yield row

    async def keys(self, table: str, partition: str, keys: Sequence[str]) -> AsyncIterator[Row]:
        """The rows of a partition with these keys, at most 14 (15 comparisons a filter), as far as they exist."""
        async for row in self.having(table, partition, "RowKey", keys):
            yield row

    async def having(self, table: str, partition: str, column: str, values: Sequence[str]) -> AsyncIterator[Row]:
        """The rows of a partition in whose ``column`` is one of these values (at most 14, and usable as keys). Another
        column than the key is no index: the service goes through the whole partition, 1,000 rows a request."""
        wanted = " or ".join(f"{column} eq '{check_key(value)}'" for value in values)
        async for row in self._rows(table, f"PartitionKey eq '{check_key(partition)}' and ({wanted})", (), 0):
            yield row

    async def _rows(self, table: str, clauses: str, select: Sequence[str], top: int) -> AsyncIterator[Row]:
        columns = list(dict.fromkeys(["PartitionKey", "RowKey", *select])) if select else None
        pages = self._client(table).query_entities(clauses, select=columns, results_per_page=min(top or 1000, 1000))
        seen = 0
        iterator = pages.by_page()
        while True:
            rows = await self._page(table, iterator)
            if rows is None:
                return
            self.traffic.count(table)
            for row in rows:
                yield row
                seen += 1
                if seen == top:
                    return

    async def create(self, table: str, row: Row) -> str:
        """Insert; ``AlreadyExists`` when the key is taken. Answers the ETag."""
        return await self._single(table, lambda client: client.create_entity(_entity(row)))

    async def upsert(self, table: str, row: Row) -> str:
        """Insert or replace, whatever is there. Answers the ETag."""
        from azure.data.tables import UpdateMode

        return await self._single(table, lambda client: client.upsert_entity(_entity(row), mode=UpdateMode.REPLACE))

    async def replace(self, table: str, row: Row, etag: str) -> str:
        """Replace the row read with ``etag``; ``Changed`` when it was written or removed since. Answers the ETag."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceNotFoundError
        from azure.data.tables import UpdateMode

        try:
            return await self._single(
                table,
                lambda client: client.update_entity(
                    _entity(row), mode=UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
                ),
            )
        except InvalidRecord as error:
            if isinstance(error.__cause__, ResourceNotFoundError):
                raise Changed(f"the table {table}: the record is gone") from error
            raise

    async def delete(self, table: str, partition: str, key: str) -> None:
        """Remove a row; a missing one is no error."""
        self.traffic.count(table)
        with translated(f"the table {table}"):
            await self._client(table).delete_entity(check_key(partition), check_key(key))

    async def clear(self, table: str, partition: str) -> None:
        """Remove every row of a partition. A row that somebody else removes meanwhile is no error."""
        gone = [Row(partition, row.key, {}) async for row in self.query(table, partition, select=("RowKey",))]
        try:
            await self.write(table, [Write("delete", row) for row in gone])
        except InvalidRecord:
            for row in gone:
                await self.delete(table, partition, row.key)

    async def write(self, table: str, writes: Iterable[Write]) -> list[str]:
        """Apply writes of **one partition**, in transactions of at most 100; each transaction is all or nothing.
        Answers the new ETags in the order of the writes, empty for deletions."""
        etags: list[str] = []
        for batch in _batches(list(writes)):
            etags += await self._transaction(table, batch)
        return etags

    async def close(self) -> None:
        await self._service.close()
        if self._credential is not None:
            await self._credential.close()

    async def _transaction(self, table: str, batch: Sequence[Write]) -> list[str]:
        operations = [_operation(write) for write in batch]
        return [_etag(one) for one in await self._sent(table, lambda client: client.submit_transaction(operations))]

    async def _single(self, table: str, send: Callable[["TableClient"], Awaitable[Any]]) -> str:
        """Send one write; answers its ETag."""
        return _etag(await self._sent(table, send))

    async def _sent(self, table: str, send: Callable[["TableClient"], Awaitable[Any]]) -> Any:
        """Send it; a missing table is created and the write sent again."""
        from azure.core.exceptions import HttpResponseError

        self.traffic.count(table)
        client = self._client(table)
        try:
            with translated(f"the table {table}"):
                return await send(client)
        except InvalidRecord as error:
            cause = error.__cause__
            if not isinstance(cause, HttpResponseError) or not _table_missing(cause):
                raise
        await self._create_table(table)
        with translated(f"the table {table}"):
            return await send(client)

    async def _create_table(self, table: str) -> None:
        try:
            with translated(f"the table {table}"):
                await self._client(table).create_table()
        except AlreadyExists:
            pass  # another instance was faster

    async def _page(self, table: str, iterator: Any) -> list[Row] | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with translated(f"the table {table}"):
                page = await anext(iterator)
                return [_row(entity) async for entity in page]
        except StopAsyncIteration:
            return None
        except InvalidRecord as error:
            if isinstance(error.__cause__, ResourceNotFoundError):
                return None  # the table is not there yet, so it holds nothing
            raise

    def _client(self, table: str) -> "TableClient":
        if table not in self._clients:
            self._clients[table] = self._service.get_table_client(table)
        return self._clients[table]


def open_tables(environment: Environment) -> Tables:
    """Open the storage account that the application settings name; ``InvalidRecord`` when they name none."""
    from azure.data.tables.aio import TableServiceClient

    storage = environment.storage
    # Five repetitions with growing pauses bridge a restart of the storage service; the default three do not.
    options = {**retries(5), **PATIENCE}
    if storage.connection_string:
        try:
            return Tables(TableServiceClient.from_connection_string(storage.connection_string, **options))
        except ValueError:
            # Without the cause: it may quote the account key.
            raise Misconfigured(
                "the application setting AzureWebJobsStorage is no connection string of a storage account"
            ) from None
    if not storage.table_uri:
        raise Misconfigured(
            "the application setting AzureWebJobsStorage is not set: give a connection string or its identity form."
        )
    credential = azure_credential(environment, storage.table_uri, storage.client_id)
    return Tables(TableServiceClient(storage.table_uri, credential=credential, **options), credential)


def check_key(key: str) -> str:
    """Answer ``key`` if Table Storage takes it as a key and it needs no escaping in a query."""
    if not key or UNFIT.search(key) or _bytes(key) > 1024:
        raise InvalidRecord(f"{key[:80]!r} is no usable table key")
    return key


def long_text(text: str, name: str = "data") -> dict[str, Value]:
    """Columns that hold a text of up to half a million characters (a quarter of a million of those outside the Basic
    Multilingual Plane, as emoji); read it back with ``Row.text``."""
    if not is_unicode(text):
        raise InvalidRecord("the text holds half a surrogate pair")
    if _bytes(text) > 1_000_000:  # of 1 MiB an entity, with room for the other columns
        raise InvalidRecord(f"a text of {len(text)} characters does not fit into one record")
    parts = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)] or [""]
    columns: dict[str, Value] = {_part(name, index): part for index, part in enumerate(parts)}
    if len(parts) > 1:
        columns[f"{name}_parts"] = len(parts)
    return columns


def _part(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


def _row(entity: Any) -> Row:
    # Azure answers null for a selected column that a row does not have.
    values = {name: value for name, value in entity.items() if name not in KEYS and value is not None}
    metadata = entity.metadata
    return Row(
        entity.get("PartitionKey", ""),
        entity.get("RowKey", ""),
        values,
        metadata.get("etag", ""),
        metadata.get("timestamp"),
    )


def _entity(row: Row) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": check_key(row.partition), "RowKey": check_key(row.key)}
    if len(row.values) > COLUMNS:
        raise InvalidRecord(f"{len(row.values)} columns are more than a record takes")
    for name, value in row.values.items():
        _check_value(name, value)
        is_large = isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31
        entity[name] = (value, "Edm.Int64") if is_large else value
    if _entity_bytes(row) > ENTITY_BYTES:
        raise InvalidRecord(f"the record {row.key[:80]!r} holds more than 1 MiB")
    return entity


def _check_value(name: str, value: Value) -> None:
    if isinstance(value, str):
        if not is_unicode(value):
            raise InvalidRecord(f"the column {name} holds half a surrogate pair")
        if _bytes(value) > 65_536:
            raise InvalidRecord(f"the column {name} holds more than 64 KiB")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidRecord(f"the column {name} holds a number of more than 64 bits")


def _entity_bytes(row: Row) -> int:
    """The size as Azure counts it (the data model page above): texts in UTF-16, numbers with up to 8 bytes."""
    size = 4 + _bytes(row.partition) + _bytes(row.key)
    for name, value in row.values.items():
        size += 8 + _bytes(name) + (_bytes(value) + 4 if isinstance(value, str) else 8)
    return size


def _bytes(text: str) -> int:
    """Bytes in UTF-16, the encoding that the service counts in."""
    return len(text.encode("utf-16-le", "surrogatepass"))


def is_unicode(text: str) -> bool:
    """Whether it can be sent at all: half a surrogate pair cannot."""
    return text.isascii() or not SURROGATE.search(text)


def _operation(write: Write) -> Any:
    from azure.core import MatchConditions
    from azure.data.tables import UpdateMode

    entity = _entity(write.row)
    if write.verb == "delete":
        entity = {"PartitionKey": entity["PartitionKey"], "RowKey": entity["RowKey"]}
    options: dict[str, Any] = {"mode": UpdateMode.REPLACE} if write.verb in {"upsert", "replace"} else {}
    if write.etag:
        options |= {"etag": write.etag, "match_condition": MatchConditions.IfNotModified}
    return ({"replace": "update"}.get(write.verb, write.verb), entity, options)


def _batches(writes: Sequence[Write]) -> Iterable[list[Write]]:
    batch: list[Write] = []
    keys: set[str] = set()
    size = 0
    for write in writes:
        cost = sum(_body_bytes(value) + len(name) + 64 for name, value in write.row.values.items()) + 1024
        full = len(batch) == TRANSACTION_OPERATIONS or size + cost > TRANSACTION_BYTES
        if batch and (full or write.row.key in keys):
            yield batch
            batch, keys, size = [], set(), 0
        batch.append(write)
        keys.add(write.row.key)
        size += cost
    if batch:
        yield batch


def _body_bytes(value: Value) -> int:
    """Bytes in the body of a request: the library escapes quotes, and everything beyond ASCII with 6 or 12 bytes."""
    return len(json.dumps(value)) if isinstance(value, str) else 40


def _etag(answer: Any) -> str:
    return str(answer.get("etag", "")) if isinstance(answer, dict) else ""


def _table_missing(error: Any) -> bool:
    """Whether a 404 is about the table. The library drops the code of a single insert's, which can mean only that."""
    code = getattr(error, "error_code", None)
    return error.status_code == 404 and (code is None or "TABLE_NOT_FOUND" in str(code) or code == "TableNotFound")


def _server_time(dates: Sequence[str]) -> datetime.datetime:
    if dates and dates[-1]:
        return parsedate_to_datetime(dates[-1])
    return datetime.datetime.now(datetime.UTC)
