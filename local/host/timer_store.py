"""Remembers when a timer last ran and is due next, so that a host that was down knows what it missed.

Microsoft's host keeps this in a blob; here it is the table ``hosttimers`` of AzureWebJobsStorage (partition: host id,
row: function name), as the app's own table client is at hand.
"""

from datetime import datetime
from typing import Protocol

import msgspec
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from local.host.storage import TIMEOUTS, Health

TABLE = "hosttimers"


class TimerStatus(msgspec.Struct, frozen=True):
    """One timer's memory; ``schedule`` is the expression it was made under."""

    last: datetime | None
    next: datetime | None
    schedule: str


class TimerStore(Protocol):
    """Where timers keep their status. Neither call raises: a timer works without a memory."""

    async def read(self, function: str) -> TimerStatus | None:
        """The stored status, None when there is none or it cannot be read."""
        ...

    async def write(self, function: str, status: TimerStatus) -> None:
        """Store it."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class MemoryTimerStore:
    """Remembers only as long as the object lives: no storage account, or a unit test."""

    def __init__(self) -> None:
        self.statuses: dict[str, TimerStatus] = {}

    async def read(self, function: str) -> TimerStatus | None:
        """See TimerStore."""
        return self.statuses.get(function)

    async def write(self, function: str, status: TimerStatus) -> None:
        """See TimerStore."""
        self.statuses[function] = status

    async def close(self) -> None:
        """Nothing to close."""


class TableTimerStore:
    """Remembers in a storage table; an outage is logged once and costs only the memory."""

    def __init__(self, connection: str, host_id: str) -> None:
        from azure.data.tables.aio import TableClient

        self._table = TableClient.from_connection_string(connection, TABLE, **TIMEOUTS)
        self._host_id = host_id
        self._health = Health("the timers' memory (table storage)")

    async def read(self, function: str) -> TimerStatus | None:
        """See TimerStore."""
        try:
            row = await self._table.get_entity(self._host_id, function)
        except ResourceNotFoundError:
            return None
        except (AzureError, OSError) as error:
            self._health.failed(error)
            return None
        self._health.works()
        try:
            return msgspec.json.decode(row["Status"], type=TimerStatus)
        except (msgspec.DecodeError, KeyError):
            return None

    async def write(self, function: str, status: TimerStatus) -> None:
        """See TimerStore."""
        row = {"PartitionKey": self._host_id, "RowKey": function, "Status": msgspec.json.encode(status).decode()}
        try:
            try:
                await self._table.upsert_entity(row)
            except ResourceNotFoundError:
                await self._create()
                await self._table.upsert_entity(row)
        except (AzureError, OSError) as error:
            self._health.failed(error)
        else:
            self._health.works()

    async def _create(self) -> None:
        try:
            await self._table.create_table()
        except ResourceExistsError:
            return

    async def close(self) -> None:
        """See TimerStore."""
        await self._table.close()
